"""The demo's images, drawn from a seed, and the five simulated annotators of the sentiment task.

There are two visual tasks. A *scene* shows one or two faces, flowers or hearts in one mood, among objects; five
annotators call it positive or negative by that mood and by what else they know of it, which is not drawn. So they set
the accuracy that can be reached, and not how rounding errors happened to add up in a training. A *concept* shows one
kind of figure; each kind is a class, for training a source network. Colours, places, sizes, tilts and backgrounds are
drawn alike for all classes, so that only shapes distinguish them.

An image depends on its seed and number alone: it is the same in every run, and in any order.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from sentiment.demo.shapes import ASTONISHED, MOODY, OBJECTS, Part, colour, paint
from sentiment.paper import ANNOTATORS, IMAGE_SIZE, LABELLED_IMAGES, NEGATIVE, POSITIVE, SUBSETS
from sentiment.utils.files import temporary
from sentiment.utils.progress import Progress

SEED = 2017
JPEG_QUALITY = 90

POSITIVE_RATE = 0.65  # of scenes drawn happy; DeepSent's labels are 60 to 66 % positive
LEAST_MOOD = 0.7  # a scene is at least this happy or sad, of at most 1
MOOD_SPREAD = 0.1  # standard deviation of its figures' moods around that
INSIDE = 0.9  # at least so much of a figure's radius is within a scene: a single crop may miss what it shows
CONTEXT = 0.85  # standard deviation of what the annotators know beyond the image
LENIENCY = (-0.06, -0.03, 0.0, 0.03, 0.06)  # what each annotator adds to the mood seen
WAVERING = 0.12  # standard deviation of an annotator's judgement

CONCEPTS = {
    **{f"{word} {face}": (MOODY[face], sign) for face in ASTONISHED for word, sign in (("sad", -1), ("happy", 1))},
    "wilted flower": (MOODY["flower"], -1),
    "upright flower": (MOODY["flower"], 1),
    "broken heart": (MOODY["heart"], -1),
    "whole heart": (MOODY["heart"], 1),
    **{f"astonished {face}": (figure, 0) for face, figure in ASTONISHED.items()},
    **{name: (figure, 0) for name, figure in OBJECTS.items()},
}
"""The source task's classes: name -> (figure, mood's sign)."""

_SCENE, _CONCEPT, _LOOK = range(3)  # independent streams of random numbers


def _rng(*key):
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(key)))


@dataclass(frozen=True)
class Drawn:
    """A drawn image, a scene or a concept."""

    name: str  # the file's
    key: tuple  # seeds everything about its looks that `figures` leaves open
    label: int  # what most annotators say of a scene, or the class of a concept, an index into CONCEPTS
    figures: tuple = ()  # what a scene shows: (a name in shapes.MOODY, mood from -1 to 1, radius in pixels) of each
    votes: tuple = ()  # which annotators call a scene positive

    @property
    def agreement(self) -> int:
        """How many annotators agree on a scene's label."""
        return max(sum(self.votes), len(self.votes) - sum(self.votes))

    def draw(self) -> np.ndarray:
        """The image: (256, 256, 3) uint8, BGR."""
        rng = _rng(*self.key, _LOOK)
        inside, shown = INSIDE, [(MOODY[name], mood, size) for name, mood, size in self.figures]
        if not shown:
            figure, sign = list(CONCEPTS.values())[self.label]
            inside, count = 1.0, rng.integers(1, 3)
            shown = [
                (figure, sign * rng.uniform(LEAST_MOOD - MOOD_SPREAD, 1.0), rng.uniform(62, 104 - 12 * count))
                for _ in range(count)
            ]
        shown += [(OBJECTS[name], 0.0, rng.uniform(8, 16)) for name in rng.choice(list(OBJECTS), rng.integers(3))]
        canvas = _background(rng)
        centres = _centres(rng, [size for *_, size in shown], inside)
        for k in rng.permutation(len(shown)):
            figure, mood, size = shown[k]
            tilt = rng.uniform(-12, 12)
            paint(canvas, figure(rng, mood), centres[k], size, tilt)
        return canvas


def scenes(seed: int = SEED) -> list[Drawn]:
    """The demo's 1,269 scenes: all annotators agree on 882 of them, four on 234, three on 153.

    Scenes are made up and judged one after another, and kept while more of their agreement are needed.
    """
    least = {ANNOTATORS[subset]: LABELLED_IMAGES[subset] for subset in SUBSETS}
    needed = {agreement: count - least.get(agreement + 1, 0) for agreement, count in least.items()}
    found: list[Drawn] = []
    number = 0
    while any(needed.values()):
        key = (seed, _SCENE, number)
        figures, votes = _judged(_rng(*key))
        label = POSITIVE if 2 * sum(votes) > len(votes) else NEGATIVE
        scene = Drawn(f"drawn_{len(found) + 1:04d}.jpg", key, label, figures, votes)
        if needed[scene.agreement]:
            needed[scene.agreement] -= 1
            found.append(scene)
        number += 1
    return found


def concepts(count: int, seed: int = SEED) -> list[Drawn]:
    """The first ``count`` images of the source task, classes in turn."""
    return [Drawn(f"concept_{k:05d}.jpg", (seed, _CONCEPT, k), k % len(CONCEPTS)) for k in range(count)]


def save_all(folder: Path, images: list[Drawn]):
    """Draw images into a folder of JPEG files, which appears when all are there."""
    part = temporary(folder)
    part.mkdir()
    try:
        with Progress(f"drawing {folder}", len(images), unit="images") as bar:
            for image in images:
                _, data = cv2.imencode(".jpg", image.draw(), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
                (part / image.name).write_bytes(data.tobytes())
                bar.advance(1)
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _judged(rng):
    """The figures of a scene, and the votes of the annotators.

    They see the mean mood, in which large figures count more, know a context that shifts it for all of them, and each
    judges with a leniency of their own and some wavering.
    """
    mood = rng.uniform(LEAST_MOOD, 1.0) * (1 if rng.uniform() < POSITIVE_RATE else -1)
    count = rng.integers(1, 3)
    name = str(rng.choice(list(MOODY)))
    moods = np.clip(mood + rng.normal(0, MOOD_SPREAD, count), -1, 1)
    sizes = rng.uniform(62, 104 - 12 * count, count)  # two are smaller than one
    seen = np.average(moods, weights=sizes**2) + rng.normal(0, CONTEXT)
    votes = seen + np.array(LENIENCY) + rng.normal(0, WAVERING, len(LENIENCY)) > 0
    figures = zip([name] * count, moods.tolist(), sizes.tolist(), strict=True)
    return tuple(figures), tuple(votes.tolist())


def _centres(rng, sizes, inside):
    """Centres of discs: of forty random places each the farthest from the others, ``inside`` radii within the image."""
    placed = []
    for size in sizes:
        places = rng.uniform(inside * size, IMAGE_SIZE - inside * size, (40, 2))
        room = np.zeros(len(places))
        for centre, radius in placed:
            room = np.minimum(room, np.hypot(*(places - centre).T) - radius - size)
        placed.append((places[np.argmax(room)], size))
    return [centre for centre, _ in placed]


def _background(rng):
    """Two colours that shade into each other, more or less cloudily; in half of the images there are hills below."""
    one, two = (np.array(colour(rng, (0.25, 1.0), (0.1, 0.7)), np.float32) for _ in range(2))
    angle = rng.uniform(0, 2 * np.pi)
    along = np.linspace(-0.5, 0.5, IMAGE_SIZE, dtype=np.float32)
    shade = np.float32(np.cos(angle)) * along + np.float32(np.sin(angle)) * along[:, None] + 0.5
    cells = int(rng.choice((5, 9, 17)))
    clouds = rng.uniform(-1, 1, (cells, cells)).astype(np.float32)
    shade += np.float32(rng.uniform(0.0, 0.3)) * cv2.resize(clouds, (IMAGE_SIZE, IMAGE_SIZE))
    canvas = np.rint(one + (two - one) * np.clip(shade, 0, 1)[:, :, None]).astype(np.uint8)
    if rng.uniform() < 0.5:
        across = np.linspace(0, 1, 33)
        hills = rng.uniform(0.0, 0.08) * np.sin(rng.uniform(2, 12) * across + rng.uniform(0, 6))
        skyline = np.stack([across, rng.uniform(0.45, 0.95) + hills], axis=1)
        ground = np.concatenate([skyline, [(1.0, 1.1), (0.0, 1.1)]])
        paint(canvas, [Part(ground, colour(rng, (0.25, 1.0), (0.1, 0.7)), outlined=False)], (0, 0), IMAGE_SIZE)
    return canvas
