"""WindowData: windows chosen, cropped and placed as in a plain reference, its files, its errors, resuming."""

import json

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import caffe
from caffe.data.windows import read_windows, warp
from caffe.errors import CaffeError
from helpers.layer_checks import build, examples, layer

SIZES = [(40, 60), (31, 25), (50, 50)]  # height, width
# of each image: label, overlap, x1, y1, x2, y2
WINDOWS = [
    [(1, 0.9, 2, 3, 30, 36), (2, 0.5, 20, 0, 59, 39), (7, 0.45, 0, 0, 9, 9), (0, 0.1, 5, 5, 25, 35)],
    [(3, 1.0, 0, 0, 24, 30), (1, 0.2, 10, 2, 12, 28)],
    [(2, 0.75, 11, 12, 40, 47), (4, 0.0, 49, 49, 49, 49), (0, 0.39, 30, 2, 45, 6)],
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Images, a window file of them, and a mean file."""
    folder = tmp_path_factory.mktemp("windows")
    rng, lines = np.random.default_rng(0), []
    for i, ((height, width), windows) in enumerate(zip(SIZES, WINDOWS)):
        cv2.imwrite(str(folder / f"{i}.png"), rng.integers(0, 256, (height, width, 3), np.uint8))
        lines += [
            f"# {i}",
            f"{i}.png",
            f"3 {height} {width}",
            str(len(windows)),
            *(" ".join(map(str, w)) for w in windows),
        ]
    (folder / "windows.txt").write_text("\n".join(lines))
    mean = rng.uniform(100, 130, (1, 3, 30, 26)).astype(np.float32)
    (folder / "mean").write_bytes(caffe.io.array_to_blobproto(mean).SerializeToString())
    np.save(folder / "mean.npy", mean[0])
    return folder


def definition(folder, window="", transform="crop_size: 20", source="windows.txt"):
    text = f"source: '{folder / source}' root_folder: '{folder}/' {window}"
    params = f"window_data_param {{ {text} }} transform_param {{ {transform} }}"
    return f"layer {{ name: 'w' type: 'WindowData' top: 'data' top: 'label' {params} }}"


def square_of(image, box, size, context, square, mirror):
    """The pixels (3, size, size) of one window, NaN beyond the image: number by number in float32, from the sources."""
    f, height, width = np.float32, *image.shape[:2]
    x1, y1, x2, y2 = box
    w, h, left, top = size, size, 0, 0

    def nearest(value):
        return int(np.trunc(float(value) + np.copysign(0.5, float(value))))

    if context or square:
        scale = f(size) / f(size - 2 * context)
        half_h, half_w = f(y2 - y1 + 1) / f(2), f(x2 - x1 + 1) / f(2)
        middle_x, middle_y = f(x1) + half_w, f(y1) + half_h
        if square:
            half_h = half_w = max(half_h, half_w)
        x1, x2 = nearest(middle_x - half_w * scale), nearest(middle_x + half_w * scale)
        y1, y2 = nearest(middle_y - half_h * scale), nearest(middle_y + half_h * scale)
        scale_x, scale_y = f(size) / f(x2 - x1 + 1), f(size) / f(y2 - y1 + 1)
        over = max(0, -x1), max(0, -y1), max(0, x2 - width + 1), max(0, y2 - height + 1)
        x1, y1, x2, y2 = x1 + over[0], y1 + over[1], x2 - over[2], y2 - over[3]
        w, h = nearest(f(x2 - x1 + 1) * scale_x), nearest(f(y2 - y1 + 1) * scale_y)
        top, left = nearest(f(over[1]) * scale_y), nearest(f(over[2 if mirror else 0]) * scale_x)
        h, w = min(h, size - top), min(w, size - left)
    patch = cv2.resize(np.ascontiguousarray(image[y1 : y2 + 1, x1 : x2 + 1]), (w, h), interpolation=cv2.INTER_LINEAR)
    pixels = np.full((3, size, size), np.nan, np.float32)
    pixels[:, top : top + h, left : left + w] = patch[:, :: -1 if mirror else 1].transpose(2, 0, 1)
    return pixels


@examples(20)
@given(st.data())
def test_batches(folder, data):
    size, batch = data.draw(st.sampled_from([13, 20, 26])), data.draw(st.integers(1, 7))
    context, square, mirror = data.draw(st.integers(0, 6)), data.draw(st.booleans()), data.draw(st.booleans())
    fraction, scale = data.draw(st.sampled_from([0, 0.25, 0.6, 1])), data.draw(st.sampled_from([1, 0.5]))
    kind, phase = data.draw(st.sampled_from(["file", "values", "value", ""])), data.draw(st.sampled_from([0, 1]))
    seed, cached = data.draw(st.integers(0, 99)), data.draw(st.booleans())
    mean, text = np.zeros((3, size, size), np.float32), ""
    if kind == "file":
        whole, offset = np.load(folder / "mean.npy"), (26 - size) // 2
        mean, text = whole[:, offset : offset + size, offset : offset + size], f"mean_file: '{folder / 'mean'}'"
    elif kind:
        given_ = [104, 117, 123] if kind == "values" else [110]
        mean = np.broadcast_to(np.float32(given_).reshape(-1, 1, 1), mean.shape)
        text = " ".join(f"mean_value: {value}" for value in given_)
    window = f"batch_size: {batch} context_pad: {context} fg_fraction: {fraction} scale: {scale} bg_threshold: 0.4"
    window += f" cache_images: {str(cached).lower()}" + " crop_mode: 'square'" * square
    caffe.set_random_seed(seed)
    net = build(definition(folder, window, f"crop_size: {size} mirror: {str(mirror).lower()} {text}"), phase)

    words = np.random.RandomState(seed)
    if mirror or phase == caffe.TRAIN:
        words.randint(0, 2**32, dtype=np.uint32)  # of a transformer that is not used
    own = np.random.RandomState(words.randint(0, 2**32, dtype=np.uint32))
    every = [(i, *w) for i, windows in enumerate(WINDOWS) for w in windows]
    far, near = [w for w in every if w[2] < 0.4], [w for w in every if w[2] >= 0.5]
    objects = int(np.float32(batch) * np.float32(fraction))
    for _ in range(2):
        net.forward()
        for n in range(batch):
            chosen = far if n < batch - objects else near
            i, label, _, *box = chosen[own.randint(0, 2**32, dtype=np.uint32) % len(chosen)]
            flip = mirror and own.randint(0, 2**32, dtype=np.uint32) % 2 == 1
            pixels = square_of(cv2.imread(str(folder / f"{i}.png")), box, size, context, square, flip)
            expected = np.nan_to_num((pixels - mean) * np.float32(scale))
            np.testing.assert_array_equal(net.blobs["data"].data[n], expected)
            assert net.blobs["label"].data[n] == (0 if chosen is far else label)


def test_the_streams_of_later_layers_go_on_after_its_four_words(folder):
    caffe.set_random_seed(8)
    noise = "dummy_data_param { shape { dim: 9 } data_filler { type: 'uniform' } }"
    windows = definition(folder, "batch_size: 1", "crop_size: 20 mirror: true")
    net = build(windows + layer("n", "", "n", f"type: 'DummyData' {noise}"))
    net.forward()
    words = np.random.RandomState(8).randint(0, 2**32, 13, np.uint32)[4:].astype(np.float32)
    np.testing.assert_allclose(net.blobs["n"].data, words / 2**32, rtol=1e-6)


def test_it_resumes(folder):
    text = definition(folder, "batch_size: 3", "crop_size: 20 mirror: true")
    nets = build(text), build(text)
    nets[0].forward()
    nets[1].layer_dict["w"].set_state(json.loads(json.dumps(nets[0].layer_dict["w"].state())))
    for _ in range(2):
        for net in nets:
            net.forward()
        np.testing.assert_array_equal(nets[0].blobs["data"].data, nets[1].blobs["data"].data)
    state = nets[0].layer_dict["w"].state()
    state["source"]["windows"] = "another"
    with pytest.raises(CaffeError, match="is not the file of the interrupted run"):
        nets[0].layer_dict["w"].set_state(state)


@pytest.mark.parametrize(
    ("window", "transform", "said"),
    [
        ("batch_size: 1", "", "crop_size must be positive"),
        ("", "crop_size: 20", "Positive batch size"),
        ("batch_size: 1 context_pad: 10", "crop_size: 20", "less than half of crop_size"),
        ("batch_size: 1 fg_threshold: 2", "crop_size: 20", "windows of objects and of background"),
        ("batch_size: 1 crop_size: 20", "", "move it to"),
        ("batch_size: 1", "crop_size: 20 mean_value: [1, 2]", "1 mean_value or as many as channels"),
        ("batch_size: 1", "crop_size: 30 mean_file: 'MEAN'", "does not cover a crop of 30"),
    ],
)
def test_wrong_definitions_are_refused(folder, window, transform, said):
    with pytest.raises(CaffeError, match=said):
        build(definition(folder, window, transform.replace("MEAN", str(folder / "mean"))))


ONE = "# 0 a.png 3 9 9 2 1 0.9 0 0 4 4 0 0.1 1 1 3 3"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "Window file is empty"),
        ("0 a.png", "begins with '0'"),
        ("# 0 a.png 3 9 9 2 1 0.9 0 0 4 4", "image 0 .* is not complete"),
        ("# 0 a.png 3", "is not complete"),
        (ONE.replace("4 4", "4 x"), "image 0 .* is not complete"),
        (ONE.replace("4 4", "4 4.5"), "not integers"),
        (ONE.replace("1 0.9", "0 0.9"), "label is not positive"),
        (ONE.replace("3 9 9", "1 9 9"), "1 channels"),
        (ONE.replace("# 0", "# 1"), "number the 1 images from 0"),
    ],
)
def test_a_damaged_window_file_is_one_sentence(text, said, tmp_path):
    (tmp_path / "w").write_text(text)
    with pytest.raises(CaffeError, match=said):
        read_windows(str(tmp_path / "w"), 0.5, 0.5)
    with pytest.raises(CaffeError, match="Failed to open window file"):
        read_windows(str(tmp_path / "absent"), 0.5, 0.5)


@pytest.mark.parametrize("context", [0, 2])
@pytest.mark.parametrize("box", [(50, 0, 60, 5), (-40, 0, -30, 5), (5, 5, 4, 5)])
def test_a_window_outside_its_image_is_refused(box, context):
    with pytest.raises(CaffeError, match="the window"):
        warp(np.zeros((20, 30, 3), np.uint8), box, 10, context, False, False)


def test_a_window_too_thin_for_its_square_is_refused():
    with pytest.raises(CaffeError, match="no pixel is left"):
        warp(np.zeros((7, 90, 3), np.uint8), (0, 4, 78, 5), 9, 2, True, False)


def test_an_image_that_is_missing_is_named_and_the_batch_tried_again(folder, tmp_path):
    (tmp_path / "windows.txt").write_text(ONE)
    net = build(definition(tmp_path, "batch_size: 2", "crop_size: 5"))
    with pytest.raises(CaffeError, match="a.png.*image 0"):
        net.forward()
    cv2.imwrite(str(tmp_path / "a.png"), np.full((9, 9, 3), 7, np.uint8))
    net.forward()
    assert (net.blobs["data"].data == 7).all()
