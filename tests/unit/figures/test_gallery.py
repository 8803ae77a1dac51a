"""The sheet of images above their maps: two rows, nothing cut, captions that say what was predicted."""

import cv2
import numpy as np
import pytest

from sentiment.figures import gallery, plots

MAGENTA, BLUE = (255, 0, 255), (0, 0, 255)


def plain(height, width, colour):
    return np.full((height, width, 3), colour, np.uint8)


def exhibit(height=100, width=120, **fields):
    values = {"image": plain(height, width, MAGENTA), "map": plain(height, width, BLUE), "positive": 0.8, "label": 1}
    return gallery.Exhibit(**{**values, "fold": 2, **fields})


def drawn(exhibits, title="Sentiment maps", notes="Notes"):
    """The sheet's pixels, (H, W, 3) RGB."""
    return cv2.imdecode(np.frombuffer(plots.png(gallery.sheet(exhibits, title, notes)), np.uint8), cv2.IMREAD_COLOR)[
        ..., ::-1
    ]


def boxes(pixels, colour):
    """Bounding boxes (top, bottom, left, right) of a colour's patches, from left to right."""
    mask = (np.abs(pixels.astype(int) - colour).max(-1) < 8).astype(np.uint8)
    stats = cv2.connectedComponentsWithStats(mask)[2][1:]
    return sorted(((y, y + h, x, x + w) for x, y, w, h, area in stats if area > 500), key=lambda box: box[2])


@pytest.mark.parametrize("count", [1, 3, 6])
def test_each_image_stands_above_its_map(count):
    pixels = drawn([exhibit() for _ in range(count)])
    above, below = boxes(pixels, MAGENTA), boxes(pixels, BLUE)
    assert len(above) == len(below) == count
    for image, overlay in zip(above, below, strict=True):
        assert image[1] < overlay[0]
        assert image[2:] == pytest.approx(overlay[2:], abs=2)
        assert image[1] - image[0] == pytest.approx(overlay[1] - overlay[0], abs=2)
    assert max(box[3] for box in above) < pixels.shape[1] and max(box[1] for box in below) < pixels.shape[0]


def test_images_keep_their_shape_but_panoramas():
    shapes = [(100, 100), (100, 150), (150, 100), (40, 400)]
    for (height, width), box in zip(shapes, boxes(drawn([exhibit(*shape) for shape in shapes]), MAGENTA), strict=True):
        aspect = (box[3] - box[2]) / (box[1] - box[0])
        assert aspect == pytest.approx(min(width / height, 1.9), rel=0.02)


def test_captions_say_the_prediction_whether_it_is_as_labelled_and_the_fold():
    exhibits = [exhibit(), exhibit(positive=0.25, label=1, fold=3), exhibit(positive=0.1, label=0), exhibit(label=0)]
    [axes] = gallery.sheet(exhibits, "a title", "some notes").axes
    words = [text.get_text() for text in axes.texts]
    assert "a title" in words and "some notes" in words
    captions = [word for word in words if word.startswith(("positive", "negative", "as labelled", "labelled"))]
    assert captions == [
        "positive 0.80", "as labelled, fold 2", "negative 0.75", "labelled positive, fold 3",
        "negative 0.90", "as labelled, fold 2", "positive 0.80", "labelled negative, fold 2",
    ]  # fmt: skip


def test_the_word_has_the_prediction_s_colour():
    colours = {0.8: (26, 143, 26), 0.2: (198, 32, 32)}
    for positive, colour in colours.items():
        pixels = drawn([exhibit(positive=positive)])
        ((_, bottom, left, right),) = boxes(pixels, BLUE)
        caption = pixels[bottom + 5 : bottom + 40, left:right].astype(int)
        assert (np.abs(caption - colour).max(-1) < 8).sum() > 50
        (other,) = set(colours.values()) - {colour}
        assert not (np.abs(caption - other).max(-1) < 8).any()


def test_title_and_notes_stay_on_the_sheet():
    """Long words leave a white margin on the right and below."""
    notes = "\n".join(["x" * 110] * 3)
    pixels = drawn([exhibit()], "DEMO DATA (drawn, not comparable). Sentiment maps: MVSO [EN]", notes)
    assert (pixels[:, -4:] == 255).all() and (pixels[-4:] == 255).all()
