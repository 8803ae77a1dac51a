"""The demo's pictures, drawn from a seed, and the five simulated annotators of the sentiment task.

Two visual tasks share one hand. *Scenes* show one or two faces, flowers or hearts in one mood, among objects; five
annotators call each positive or negative by that mood and by what else they know of it, which is not drawn. So what
accuracy can be reached is set by them, not by how far rounding has carried a training. *Concepts* show one kind of
figure, a class each, for training a source network. Colours, places, sizes, tilts and backgrounds are drawn alike for
all classes, so that only shapes tell them apart.

A picture depends on its seed and number alone: the same on every run, in any order, in any number of processes.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from sentiment.demo.shapes import ASTONISHED, MOODY, OBJECTS, Pen, colour
from sentiment.paper import ANNOTATORS, IMAGE_SIZE, LABELLED_IMAGES, NEGATIVE, POSITIVE, SUBSETS

SEED = 2017
JPEG_QUALITY = 90

POSITIVE_RATE = 0.65  # of scenes drawn happy; DeepSent's labels are 60 to 66 % positive
LEAST_MOOD = 0.7  # a scene is at least this happy or sad, of at most 1
MOOD_SPREAD = 0.1  # standard deviation of its figures' moods around that
INSIDE = 0.9  # of a figure's radius is within the picture at least, so that a single crop may miss what it shows
CONTEXT = 0.85  # standard deviation of what the annotators know beyond the picture
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

_SCENE, _CONCEPT, _LOOK = range(3)  # streams of random numbers that never meet


def _rng(*key):
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(key)))


@dataclass(frozen=True)
class Scene:
    """A picture of the sentiment task.

    Attributes
    ----------
    name : str
        The image file's.
    key : tuple of int
        Seeds everything about its looks that `figures` leaves open.
    figures : tuple of (str, float, float)
        Who is in it: a name in ``figures.MOODY``, its mood from -1 to 1, its radius in pixels.
    votes : tuple of bool
        Which annotators called it positive.
    """

    name: str
    key: tuple
    figures: tuple
    votes: tuple

    @property
    def label(self):
        """What most annotators said: 1 positive, 0 negative."""
        return POSITIVE if 2 * sum(self.votes) > len(self.votes) else NEGATIVE

    @property
    def agreement(self):
        """How many annotators say so."""
        return max(sum(self.votes), len(self.votes) - sum(self.votes))

    def draw(self):
        """The picture: (256, 256, 3) uint8, BGR."""
        rng = _rng(*self.key, _LOOK)
        extras = [(OBJECTS[name], 0.0, rng.uniform(8, 16)) for name in rng.choice(list(OBJECTS), rng.integers(3))]
        return _composition(rng, [(MOODY[name], mood, size) for name, mood, size in self.figures] + extras, INSIDE)


@dataclass(frozen=True)
class Concept:
    """A picture of the source task: the file's name, the seed, the class as an index into ``CONCEPTS``."""

    name: str
    key: tuple
    label: int

    def draw(self):
        """The picture: (256, 256, 3) uint8, BGR."""
        rng = _rng(*self.key, _LOOK)
        figure, sign = list(CONCEPTS.values())[self.label]
        count = rng.integers(1, 3)
        shown = [
            (figure, sign * rng.uniform(LEAST_MOOD - MOOD_SPREAD, 1.0), rng.uniform(62, 104 - 12 * count))
            for _ in range(count)
        ]
        extras = [(OBJECTS[name], 0.0, rng.uniform(8, 16)) for name in rng.choice(list(OBJECTS), rng.integers(3))]
        return _composition(rng, shown + extras)


def scenes(seed=SEED) -> list[Scene]:
    """The demo's 1,269 pictures: 882 of which all annotators agree, 234 of which four do, 153 of which three do.

    Scenes are thought up and judged, and kept while pictures of their agreement are still wanted.

    Returns
    -------
    list of Scene
    """
    least = {ANNOTATORS[subset]: LABELLED_IMAGES[subset] for subset in SUBSETS}
    wanted = {agreement: count - least.get(agreement + 1, 0) for agreement, count in least.items()}
    found = []
    number = 0
    while any(wanted.values()):
        key = (seed, _SCENE, number)
        figures, votes = _thought_up(_rng(*key))
        scene = Scene(f"drawn_{len(found) + 1:04d}.jpg", key, figures, votes)
        if wanted[scene.agreement]:
            wanted[scene.agreement] -= 1
            found.append(scene)
        number += 1
    return found


def concepts(count, seed=SEED) -> list[Concept]:
    """The first `count` pictures of the source task, classes in turn.

    Returns
    -------
    list of Concept
    """
    return [Concept(f"concept_{k:05d}.jpg", (seed, _CONCEPT, k), k % len(CONCEPTS)) for k in range(count)]


def save(folder, picture):
    """Draw a `Scene` or `Concept` into its JPEG file; a function of the module so that other processes can."""
    path = Path(folder) / picture.name
    _, data = cv2.imencode(".jpg", picture.draw(), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    path.write_bytes(data.tobytes())


def _thought_up(rng):
    """A scene's figures and what the annotators say of it.

    They see the mean mood, large figures counting more, know a context that shifts it for all of them, and judge with a
    leniency of their own and some wavering.
    """
    mood = rng.uniform(LEAST_MOOD, 1.0) * (1 if rng.uniform() < POSITIVE_RATE else -1)
    count = rng.integers(1, 3)
    name = str(rng.choice(list(MOODY)))
    moods = np.clip(mood + rng.normal(0, MOOD_SPREAD, count), -1, 1)
    sizes = rng.uniform(62, 104 - 12 * count, count)  # the more, the smaller
    seen = np.average(moods, weights=sizes**2)
    seen += rng.normal(0, CONTEXT)
    votes = seen + np.array(LENIENCY) + rng.normal(0, WAVERING, len(LENIENCY)) > 0
    figures = zip([name] * count, moods.tolist(), sizes.tolist(), strict=True)
    return tuple(figures), tuple(votes.tolist())


def _composition(rng, figures, inside=1.0):
    """A picture of (figure, mood, radius) triples, strewn about without regard to what they are.

    Their centres keep off the picture's edges by their radius times `inside`.
    """
    canvas = _background(rng)
    places = _places(rng, [size for *_, size in figures], inside)
    for k in rng.permutation(len(figures)):
        figure, mood, size = figures[k]
        figure(Pen(canvas, places[k], size, rng.uniform(-12, 12)), rng, mood)
    return canvas


def _places(rng, sizes, inside):
    """Centres for discs of the given radii within the picture, as far apart as forty throws each can get them."""
    placed = []
    for size in sizes:
        throws = rng.uniform(inside * size, IMAGE_SIZE - inside * size, (40, 2))
        room = np.zeros(len(throws))
        for spot, radius in placed:
            room = np.minimum(room, np.hypot(*(throws - spot).T) - radius - size)
        placed.append((throws[np.argmax(room)], size))
    return [spot for spot, _ in placed]


def _background(rng):
    """Two colours shading into each other, more or less cloudily; below them, at times, a hilly ground."""
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
        Pen(canvas, (0, 0), IMAGE_SIZE).fill(ground, colour(rng, (0.25, 1.0), (0.1, 0.7)), outlined=False)
    return canvas
