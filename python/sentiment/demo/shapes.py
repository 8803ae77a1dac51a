"""What the demo's images are made of: faces, flowers and hearts that have a mood, and objects that have none.

A figure is a function ``figure(rng, mood)`` that returns its parts, within about one unit of the origin, y downwards.
``mood`` runs from -1 (sad) to 1 (happy) and bends brows, mouths and stems and tears hearts by degrees, so that a figure
near 0 is hard to read. Objects ignore it. Colours are BGR, 0 to 255, drawn at random and never by mood: only shapes
carry it.
"""

import colorsys
from typing import Any, NamedTuple

import cv2
import numpy as np

INK = (20, 20, 30)
WHITE = (250, 250, 250)
ANY = (0.35, 1.0), (0.25, 0.9)
"""The ranges of most colours' value and saturation, 0 to 1."""

_SHIFT = 4  # fractional bits of OpenCV's drawing coordinates


class Part(NamedTuple):
    """A filled polygon of a figure, or with ``line`` the line through its points, so many units thick."""

    points: Any  # (n, 2)
    tone: Any  # a colour, or in a table an index into the figure's random colours
    outlined: bool = True
    line: float = 0.0


def paint(canvas: np.ndarray, parts: list[Part], centre, size: float, tilt: float = 0.0):
    """Draw parts onto an image in place, each over those before it.

    The canvas is (height, width, 3) uint8. The origin goes to the centre (x, y in pixels), a unit is ``size`` pixels
    long, and the figure leans by ``tilt`` degrees.
    """
    cos, sin = np.cos(np.radians(tilt)), np.sin(np.radians(tilt))
    axes = size * np.array([[cos, sin], [-sin, cos]])
    for points, tone, outlined, line in parts:
        pixels = np.rint((np.asarray(points, float) @ axes + centre) * (1 << _SHIFT)).astype(np.int32)
        if not line:
            cv2.fillPoly(canvas, [pixels], tone, cv2.LINE_AA, _SHIFT)
        if line or outlined:
            edge, width = (tone, line) if line else (INK, 0.06)
            cv2.polylines(canvas, [pixels], not line, edge, max(1, round(width * size)), cv2.LINE_AA, _SHIFT)


def colour(rng: np.random.Generator, value=ANY[0], saturation=ANY[1]) -> tuple[int, int, int]:
    """A random colour of any hue, its value and saturation (0 to 1) within the given ranges."""
    red, green, blue = colorsys.hsv_to_rgb(rng.uniform(), rng.uniform(*saturation), rng.uniform(*value))
    return round(255 * blue), round(255 * green), round(255 * red)


def ellipse(x=0.0, y=0.0, width=1.0, height=None, start=0.0, stop=360.0) -> np.ndarray:
    """Points (33, 2) of an ellipse of the given half axes, clockwise from `start` to `stop` degrees off the right."""
    angle = np.radians(np.linspace(start, stop, 33))
    return np.stack([x + width * np.cos(angle), y + (width if height is None else height) * np.sin(angle)], axis=1)


def discs(tone, *measures) -> list[Part]:
    """Discs without outlines: x, y and radius of each."""
    return [Part(ellipse(*measure), tone, outlined=False) for measure in measures]


_SIDES = (-1, 1)
_HEADS = {
    "face": [Part(ellipse(width=0.95), 0)],
    "robot": [
        Part([(0, -0.8), (0, -1.0)], INK, line=0.08),
        Part(ellipse(0, -1.0, 0.11), 0),
        Part([(-0.82, -0.75), (0.82, -0.75), (0.82, 0.85), (-0.82, 0.85)], 0),
    ],
    "cat": [
        *(Part([(0.85 * side, -0.15), (0.8 * side, -1.0), (0.25 * side, -0.6)], 0) for side in _SIDES),
        Part(ellipse(0, 0.12, 0.92, 0.8), 0),
        *(Part([(0.62 * side, 0.2), (1.05 * side, 0.1)], INK, line=0.03) for side in _SIDES),
        *(Part([(0.62 * side, 0.27), (1.05 * side, 0.4)], INK, line=0.03) for side in _SIDES),
    ],
}


def _coloured(parts, tones):
    """The parts of a table in a figure's random colours."""
    return [part._replace(tone=tones[part.tone]) if isinstance(part.tone, int) else part for part in parts]


def _face(head, mouth):
    def figure(rng, mood):
        skin = colour(rng, (0.6, 1.0))
        while np.dot(skin, (0.114, 0.587, 0.299)) < 120:  # luma; lines in ink have to stand out
            skin = colour(rng, (0.6, 1.0))
        return [*_coloured(_HEADS[head], [skin]), *_eyes(rng, mood), mouth(rng, mood)]

    return figure


def _eyes(rng, mood):
    """Eyes of one of three kinds, and brows: arched when happy, rising towards the nose when sad."""
    apart, kind = rng.uniform(0.3, 0.42), rng.integers(3)
    arch, slope = 0.22 * max(mood, 0.0), 0.22 * max(-mood, 0.0)
    t, y, parts = np.linspace(-1, 1, 9), -0.22, []
    for side in _SIDES:
        x = side * apart
        if kind == 0:
            parts.append(Part(ellipse(x, y, 0.1, 0.15), INK, outlined=False))
        elif kind == 1:
            parts += discs(INK, (x, y, 0.13))
        else:
            parts.append(Part(ellipse(x, y, 0.19), WHITE))
            parts += discs(INK, (x + rng.uniform(-0.06, 0.06), y + 0.03, 0.08))
        brow = np.stack([x + 0.17 * t, y - 0.27 + slope * side * t - arch * (1 - t**2)], axis=1)
        parts.append(Part(brow, INK, line=0.09))
    return parts


def _mouth(rng, mood):
    """A mouth bent up or down; some of the strongly bent ones are open."""
    t = np.linspace(-1, 1, 17)
    lips = np.stack([rng.uniform(0.5, 0.6) * t, 0.42 + 0.6 * mood * (0.5 - t**2)], axis=1)
    is_open = rng.uniform() < 0.4 and abs(mood) > 0.4
    return Part(lips, INK, line=0 if is_open else 0.15)


def _astonished_mouth(rng, mood):
    return Part(ellipse(0, 0.45, rng.uniform(0.14, 0.22), rng.uniform(0.18, 0.26)), INK)


def _flower(rng, mood):
    """A flower that stands upright when happy and hangs its head when sad."""
    stem, petal, eye = colour(rng, (0.3, 0.8)), colour(rng), colour(rng)
    side, petals = rng.choice(_SIDES), rng.integers(5, 8)
    bend = np.radians(85 * (1 - mood))  # by how much the tip of the stem leans over
    lean = bend * np.linspace(0, 1, 25) ** 1.5
    path = np.cumsum(np.stack([side * np.sin(lean), -np.cos(lean)], axis=1), axis=0) * (1.7 / len(lean))
    path -= (path.min(axis=0) + path.max(axis=0)) / 2
    path[:, 1] += 0.2 * np.cos(bend)
    parts = [Part(path, INK, line=0.22), Part(path, stem, line=0.1)]
    x, y = path[8]
    tip = y - 0.25 * mood
    for way in _SIDES:
        leaf = [(x, y), (x + way * 0.25, tip - 0.12), (x + way * 0.5, tip), (x + way * 0.25, (y + tip) / 2 + 0.12)]
        parts.append(Part(leaf, stem))
    x, y = path[-1]
    angles = bend + 2 * np.pi * np.arange(petals) / petals
    parts += [Part(ellipse(x + 0.38 * np.cos(a), y + 0.38 * np.sin(a), 0.23), petal) for a in angles]
    return [*parts, Part(ellipse(x, y, 0.25), eye)]


def _heart(rng, mood):
    """A heart that is whole when happy and torn in two when sad."""
    tone = colour(rng)
    t = np.linspace(0, 2 * np.pi, 49)[:-1]
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    outline = np.stack([16 * np.sin(t) ** 3, -y], axis=1) / 17
    gap = 0.35 * max(0.0, 0.45 - mood)
    if not gap:
        return [Part(outline, tone)]
    seam = np.array([(0.0, -0.3), (0.16, -0.08), (-0.14, 0.14), (0.14, 0.38), (-0.08, 0.6), (0.0, 1.0)])
    half = len(t) // 2
    right, left = outline[: half + 1], np.roll(outline, -half, axis=0)[: half + 1]
    parts = []
    for side, piece in ((1, np.concatenate([right, seam[::-1]])), (-1, np.concatenate([left, seam]))):
        cos, sin = np.cos(0.6 * side * gap), np.sin(0.6 * side * gap)
        parts.append(Part(piece @ np.array([[cos, sin], [-sin, cos]]) + (side * gap / 2, 0), tone))
    return parts


def _fish(rng, mood):
    """A fish, heading left or right."""
    side = rng.choice(_SIDES)
    parts = [
        Part([(-side * 0.5, 0), (-side * 0.98, -0.45), (-side * 0.98, 0.45)], 1),
        Part(ellipse(side * 0.2, 0, 0.75, 0.48), 0),
        *discs(INK, (side * 0.6, -0.12, 0.09)),
        Part(ellipse(side * 0.5, 0, -side * 0.35, 0.4, -60, 60), INK, line=0.05),
    ]
    return _coloured(parts, [colour(rng), colour(rng)])


def _object(tones, *parts):
    """The figure of an object: its parts, in random colours from ranges of value and saturation."""
    return lambda rng, mood: _coloured(parts, [colour(rng, *tone) for tone in tones])


_CORNERS = np.arange(10)
_ANGLES, _REACHES = np.radians(36 * _CORNERS - 90), np.where(_CORNERS % 2, 0.42, 0.95)
_STAR = np.stack([_REACHES * np.cos(_ANGLES), _REACHES * np.sin(_ANGLES)], axis=1)
_DOWN = np.linspace(0.35, 0.98, 13)
_TAIL = np.stack([0.15 * np.sin(10 * _DOWN - 3.5), _DOWN], axis=1)

OBJECTS = {
    "house": _object(
        (ANY, ANY, ANY),
        Part([(-0.7, -0.15), (0.7, -0.15), (0.7, 0.85), (-0.7, 0.85)], 0),
        Part([(-0.9, -0.12), (0, -0.95), (0.9, -0.12)], 1),
        Part([(-0.45, 0.2), (-0.1, 0.2), (-0.1, 0.85), (-0.45, 0.85)], 2),
        Part([(0.15, 0.1), (0.5, 0.1), (0.5, 0.45), (0.15, 0.45)], 2),
    ),
    "tree": _object(
        (((0.3, 0.6), ANY[1]), ANY),
        Part([(-0.13, 0.5), (0.13, 0.5), (0.13, 0.95), (-0.13, 0.95)], 0, outlined=False),
        *(Part([(-x, y), (0, y - 0.7), (x, y)], 1) for x, y in ((0.75, 0.6), (0.6, 0.15), (0.45, -0.3))),
    ),
    "ball": _object(
        (ANY, ANY),
        Part(ellipse(width=0.85), 0),
        *(Part([(0, 0), *ellipse(0, 0, 0.85, 0.85, at, at + 60)], 1, outlined=False) for at in (0, 120, 240)),
        *discs(WHITE, (0, 0, 0.16)),
    ),
    "cloud": _object(
        (((0.6, 1.0), (0.0, 0.3)),),
        *discs(0, (-0.5, 0.15, 0.4), (0.5, 0.15, 0.42), (0.0, -0.1, 0.52), (-0.1, 0.25, 0.4)),
    ),
    "star": _object((ANY,), Part(_STAR, 0)),
    "umbrella": _object(
        (ANY, ANY, ((0.2, 0.5), ANY[1])),
        Part([(0, -0.9), (0, 0.7), *ellipse(0.14, 0.7, 0.14, 0.14, 180, 20)], 2, line=0.08),
        Part(ellipse(0, 0, 0.95, 0.8, 180, 360), 0),
        Part(ellipse(0, 0, 0.4, 0.8, 180, 360), 1),
    ),
    "boat": _object(
        (ANY, ((0.7, 1.0), (0.0, 0.5))),
        Part([(-0.9, 0.35), (0.9, 0.35), (0.55, 0.85), (-0.55, 0.85)], 0),
        Part([(0.05, -0.95), (0.05, 0.25), (0.75, 0.25)], 1),
        Part([(-0.06, -0.7), (-0.06, 0.25), (-0.6, 0.25)], 1),
    ),
    "fish": _fish,
    "mushroom": _object(
        (ANY, ((0.7, 1.0), (0.0, 0.3)), ANY),
        Part([(-0.22, 0), (0.22, 0), (0.32, 0.9), (-0.32, 0.9)], 1),
        Part(ellipse(0, 0.1, 0.9, 0.95, 180, 360), 0),
        *discs(2, (-0.45, -0.2, 0.16), (0.1, -0.5, 0.18), (0.5, -0.1, 0.13)),
    ),
    "car": _object(
        (ANY, ((0.7, 1.0), (0.0, 0.4))),
        Part([(-0.5, -0.05), (-0.3, -0.5), (0.35, -0.5), (0.6, -0.05)], 1),
        Part([(-0.95, -0.05), (0.85, -0.05), (0.95, 0.4), (-0.95, 0.4)], 0),
        *discs(INK, (-0.5, 0.42, 0.27), (0.5, 0.42, 0.27)),
        *discs(WHITE, (-0.5, 0.42, 0.12), (0.5, 0.42, 0.12)),
    ),
    "kite": _object(
        (ANY, ANY),
        Part([(0, -0.95), (0.5, -0.35), (0, 0.35), (-0.5, -0.35)], 0),
        Part([(0, -0.95), (0.5, -0.35), (0, -0.35)], 1, outlined=False),
        Part([(0, 0.35), (-0.5, -0.35), (0, -0.35)], 1, outlined=False),
        Part(_TAIL, INK, line=0.06),
    ),
}
"""Figures without a mood, by name."""

MOODY = {**{head: _face(head, _mouth) for head in _HEADS}, "flower": _flower, "heart": _heart}
"""Figures that have a mood, by name."""

ASTONISHED = {head: _face(head, _astonished_mouth) for head in _HEADS}
"""Faces with an open mouth, neither happy nor sad, by name."""
