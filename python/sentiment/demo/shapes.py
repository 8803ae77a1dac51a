"""What the demo's pictures are made of: faces, flowers and hearts that have a mood, and objects that have none.

A figure is a function ``figure(pen, rng, mood)``. It draws within about one unit of the pen's origin, y pointing down;
``mood`` runs from -1 (sad) to 1 (happy) and bends brows, mouths and stems and tears hearts by degrees, so that a figure
near 0 is hard to read. Objects ignore it. Colours are BGR, 0 to 255, drawn at random and never by mood: only shapes
carry it.
"""

import colorsys

import cv2
import numpy as np

INK = (20, 20, 30)
WHITE = (250, 250, 250)

_SHIFT = 4  # fractional bits of OpenCV's drawing coordinates


def colour(rng, value=(0.35, 1.0), saturation=(0.25, 0.9)):
    """A random colour of any hue, its value and saturation (0 to 1) within the given ranges."""
    red, green, blue = colorsys.hsv_to_rgb(rng.uniform(), rng.uniform(*saturation), rng.uniform(*value))
    return round(255 * blue), round(255 * green), round(255 * red)


def light(rng):
    """A random colour on which lines in ink stand out."""
    while True:
        tone = colour(rng, (0.6, 1.0))
        if np.dot(tone, (0.114, 0.587, 0.299)) >= 120:  # luma
            return tone


def ellipse(x=0.0, y=0.0, width=1.0, height=None, start=0.0, stop=360.0):
    """Points (33, 2) of an ellipse of the given half axes, clockwise from `start` to `stop` degrees off the right."""
    angle = np.radians(np.linspace(start, stop, 33))
    return np.stack([x + width * np.cos(angle), y + (width if height is None else height) * np.sin(angle)], axis=1)


class Pen:
    """Draws shapes given in a figure's own units onto a picture.

    Parameters
    ----------
    canvas : (H, W, 3) uint8 ndarray
        Drawn on in place.
    centre : tuple of float
        Where the figure's origin goes: x, y in pixels.
    size : float
        Pixels a unit.
    tilt : float
        Degrees by which the figure leans.
    """

    def __init__(self, canvas, centre, size, tilt=0.0):
        self.canvas, self.centre, self.size = canvas, np.asarray(centre, float), size
        cos, sin = np.cos(np.radians(tilt)), np.sin(np.radians(tilt))
        self.axes = size * np.array([[cos, sin], [-sin, cos]])

    def fill(self, points, tone, outlined=True):
        """Fill the polygon `points` (n, 2), with a line in ink around it unless told otherwise."""
        cv2.fillPoly(self.canvas, [self._pixels(points)], tone, cv2.LINE_AA, _SHIFT)
        if outlined:
            self.stroke(points, INK, 0.06, closed=True)

    def stroke(self, points, tone, width, closed=False):
        """Draw the line through `points` (n, 2), `width` units thick."""
        thickness = max(1, round(width * self.size))
        cv2.polylines(self.canvas, [self._pixels(points)], closed, tone, thickness, cv2.LINE_AA, _SHIFT)

    def _pixels(self, points):
        pixels = np.asarray(points, float) @ self.axes + self.centre
        return np.rint(pixels * (1 << _SHIFT)).astype(np.int32)


# Faces


def _round_head(pen, skin):
    pen.fill(ellipse(width=0.95), skin)


def _robot_head(pen, skin):
    pen.stroke([(0, -0.8), (0, -1.0)], INK, 0.08)
    pen.fill(ellipse(0, -1.0, 0.11), skin)
    pen.fill([(-0.82, -0.75), (0.82, -0.75), (0.82, 0.85), (-0.82, 0.85)], skin)


def _cat_head(pen, skin):
    for side in (-1, 1):
        pen.fill([(side * 0.85, -0.15), (side * 0.8, -1.0), (side * 0.25, -0.6)], skin)
    pen.fill(ellipse(0, 0.12, 0.92, 0.8), skin)
    for side in (-1, 1):
        pen.stroke([(side * 0.62, 0.2), (side * 1.05, 0.1)], INK, 0.03)
        pen.stroke([(side * 0.62, 0.27), (side * 1.05, 0.4)], INK, 0.03)


def _eyes(pen, rng, mood):
    """Eyes of one of three kinds, and brows: arched when happy, rising towards the nose when sad."""
    apart, kind = rng.uniform(0.3, 0.42), rng.integers(3)
    arch, slope = 0.22 * max(mood, 0.0), 0.22 * max(-mood, 0.0)
    t = np.linspace(-1, 1, 9)
    for side in (-1, 1):
        x, y = side * apart, -0.22
        if kind == 0:
            pen.fill(ellipse(x, y, 0.1, 0.15), INK, outlined=False)
        elif kind == 1:
            pen.fill(ellipse(x, y, 0.13), INK, outlined=False)
        else:
            pen.fill(ellipse(x, y, 0.19), WHITE)
            pen.fill(ellipse(x + rng.uniform(-0.06, 0.06), y + 0.03, 0.08), INK, outlined=False)
        brow = np.stack([x + 0.17 * t, y - 0.27 + slope * side * t - arch * (1 - t**2)], axis=1)
        pen.stroke(brow, INK, 0.09)


def _mouth(pen, rng, mood):
    """A mouth bent up or down; the strongly bent ones are open at times."""
    t = np.linspace(-1, 1, 17)
    lips = np.stack([rng.uniform(0.5, 0.6) * t, 0.42 + 0.6 * mood * (0.5 - t**2)], axis=1)
    if rng.uniform() < 0.4 and abs(mood) > 0.4:
        pen.fill(lips, INK)
    else:
        pen.stroke(lips, INK, 0.15)


def _open_mouth(pen, rng, mood):
    pen.fill(ellipse(0, 0.45, rng.uniform(0.14, 0.22), rng.uniform(0.18, 0.26)), INK)


def _face(head, mouth):
    def figure(pen, rng, mood):
        head(pen, light(rng))
        _eyes(pen, rng, mood)
        mouth(pen, rng, mood)

    return figure


# Flowers and hearts


def flower(pen, rng, mood):
    """A flower that stands upright when happy and hangs its head when sad."""
    stem, petal, eye = colour(rng, (0.3, 0.8)), colour(rng), colour(rng)
    side, petals = rng.choice((-1, 1)), rng.integers(5, 8)
    bend = np.radians(85 * (1 - mood))  # by how much the tip of the stem leans over
    lean = bend * np.linspace(0, 1, 25) ** 1.5
    path = np.cumsum(np.stack([side * np.sin(lean), -np.cos(lean)], axis=1), axis=0) * (1.7 / len(lean))
    path -= (path.min(axis=0) + path.max(axis=0)) / 2
    path[:, 1] += 0.2 * np.cos(bend)
    pen.stroke(path, INK, 0.22)
    pen.stroke(path, stem, 0.1)
    x, y = path[8]
    tip = y - 0.25 * mood
    for way in (-1, 1):
        leaf = [(x, y), (x + way * 0.25, tip - 0.12), (x + way * 0.5, tip), (x + way * 0.25, (y + tip) / 2 + 0.12)]
        pen.fill(leaf, stem)
    x, y = path[-1]
    for angle in bend + 2 * np.pi * np.arange(petals) / petals:
        pen.fill(ellipse(x + 0.38 * np.cos(angle), y + 0.38 * np.sin(angle), 0.23), petal)
    pen.fill(ellipse(x, y, 0.25), eye)


def heart(pen, rng, mood):
    """A heart that is whole when happy and torn in two when sad."""
    tone = colour(rng)
    t = np.linspace(0, 2 * np.pi, 49)[:-1]
    x = 16 * np.sin(t) ** 3
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    outline = np.stack([x, -y], axis=1) / 17
    gap = 0.35 * max(0.0, 0.45 - mood)
    if not gap:
        pen.fill(outline, tone)
        return
    seam = np.array([(0.0, -0.3), (0.16, -0.08), (-0.14, 0.14), (0.14, 0.38), (-0.08, 0.6), (0.0, 1.0)])
    half = len(t) // 2
    right, left = outline[: half + 1], np.roll(outline, -half, axis=0)[: half + 1]
    for side, piece in ((1, np.concatenate([right, seam[::-1]])), (-1, np.concatenate([left, seam]))):
        cos, sin = np.cos(0.6 * side * gap), np.sin(0.6 * side * gap)
        pen.fill(piece @ np.array([[cos, sin], [-sin, cos]]) + (side * gap / 2, 0), tone)


# Objects


def house(pen, rng, mood):
    """A gabled house with a door and a window."""
    wall, roof, door = colour(rng), colour(rng), colour(rng)
    pen.fill([(-0.7, -0.15), (0.7, -0.15), (0.7, 0.85), (-0.7, 0.85)], wall)
    pen.fill([(-0.9, -0.12), (0, -0.95), (0.9, -0.12)], roof)
    pen.fill([(-0.45, 0.2), (-0.1, 0.2), (-0.1, 0.85), (-0.45, 0.85)], door)
    pen.fill([(0.15, 0.1), (0.5, 0.1), (0.5, 0.45), (0.15, 0.45)], door)


def tree(pen, rng, mood):
    """A fir of three tiers."""
    trunk, needles = colour(rng, (0.3, 0.6)), colour(rng)
    pen.fill([(-0.13, 0.5), (0.13, 0.5), (0.13, 0.95), (-0.13, 0.95)], trunk, outlined=False)
    for y, wide in ((0.6, 0.75), (0.15, 0.6), (-0.3, 0.45)):
        pen.fill([(-wide, y), (0, y - 0.7), (wide, y)], needles)


def ball(pen, rng, mood):
    """A beach ball."""
    one, two = colour(rng), colour(rng)
    pen.fill(ellipse(width=0.85), one)
    for start in (0, 120, 240):
        wedge = ellipse(width=0.85, start=start, stop=start + 60)
        pen.fill(np.concatenate([[(0, 0)], wedge]), two, outlined=False)
    pen.fill(ellipse(width=0.16), WHITE, outlined=False)


def cloud(pen, rng, mood):
    """A fair-weather cloud."""
    tone = colour(rng, (0.6, 1.0), (0.0, 0.3))
    for x, y, size in ((-0.5, 0.15, 0.4), (0.5, 0.15, 0.42), (0.0, -0.1, 0.52), (-0.1, 0.25, 0.4)):
        pen.fill(ellipse(x, y, size), tone, outlined=False)


def star(pen, rng, mood):
    """A five-pointed star."""
    corner = np.arange(10)
    angle, reach = np.radians(36 * corner - 90), np.where(corner % 2, 0.42, 0.95)
    pen.fill(np.stack([reach * np.cos(angle), reach * np.sin(angle)], axis=1), colour(rng))


def umbrella(pen, rng, mood):
    """An open umbrella."""
    one, two, stick = colour(rng), colour(rng), colour(rng, (0.2, 0.5))
    pen.stroke(np.concatenate([[(0, -0.9), (0, 0.7)], ellipse(0.14, 0.7, 0.14, start=180, stop=20)]), stick, 0.08)
    pen.fill(ellipse(0, 0, 0.95, 0.8, 180, 360), one)
    pen.fill(ellipse(0, 0, 0.4, 0.8, 180, 360), two)


def boat(pen, rng, mood):
    """A sailing boat."""
    hull, sail = colour(rng), colour(rng, (0.7, 1.0), (0.0, 0.5))
    pen.fill([(-0.9, 0.35), (0.9, 0.35), (0.55, 0.85), (-0.55, 0.85)], hull)
    pen.fill([(0.05, -0.95), (0.05, 0.25), (0.75, 0.25)], sail)
    pen.fill([(-0.06, -0.7), (-0.06, 0.25), (-0.6, 0.25)], sail)


def fish(pen, rng, mood):
    """A fish, heading left or right."""
    side = rng.choice((-1, 1))
    body, tail = colour(rng), colour(rng)
    pen.fill([(-side * 0.5, 0), (-side * 0.98, -0.45), (-side * 0.98, 0.45)], tail)
    pen.fill(ellipse(side * 0.2, 0, 0.75, 0.48), body)
    pen.fill(ellipse(side * 0.6, -0.12, 0.09), INK, outlined=False)
    pen.stroke(ellipse(side * 0.5, 0, -side * 0.35, 0.4, -60, 60), INK, 0.05)


def mushroom(pen, rng, mood):
    """A spotted mushroom."""
    cap, stalk, spot = colour(rng), colour(rng, (0.7, 1.0), (0.0, 0.3)), colour(rng)
    pen.fill([(-0.22, 0), (0.22, 0), (0.32, 0.9), (-0.32, 0.9)], stalk)
    pen.fill(ellipse(0, 0.1, 0.9, 0.95, 180, 360), cap)
    for x, y, size in ((-0.45, -0.2, 0.16), (0.1, -0.5, 0.18), (0.5, -0.1, 0.13)):
        pen.fill(ellipse(x, y, size), spot, outlined=False)


def car(pen, rng, mood):
    """A small car."""
    body, glass = colour(rng), colour(rng, (0.7, 1.0), (0.0, 0.4))
    pen.fill([(-0.5, -0.05), (-0.3, -0.5), (0.35, -0.5), (0.6, -0.05)], glass)
    pen.fill([(-0.95, -0.05), (0.85, -0.05), (0.95, 0.4), (-0.95, 0.4)], body)
    for x in (-0.5, 0.5):
        pen.fill(ellipse(x, 0.42, 0.27), INK, outlined=False)
        pen.fill(ellipse(x, 0.42, 0.12), WHITE, outlined=False)


def kite(pen, rng, mood):
    """A kite with a waving tail."""
    one, two = colour(rng), colour(rng)
    pen.fill([(0, -0.95), (0.5, -0.35), (0, 0.35), (-0.5, -0.35)], one)
    pen.fill([(0, -0.95), (0.5, -0.35), (0, -0.35)], two, outlined=False)
    pen.fill([(0, 0.35), (-0.5, -0.35), (0, -0.35)], two, outlined=False)
    y = np.linspace(0.35, 0.98, 13)
    pen.stroke(np.stack([0.15 * np.sin(10 * y - 3.5), y], axis=1), INK, 0.06)


_HEADS = {"face": _round_head, "robot": _robot_head, "cat": _cat_head}

MOODY = {**{name: _face(head, _mouth) for name, head in _HEADS.items()}, "flower": flower, "heart": heart}
"""Figures that have a mood, by name."""

ASTONISHED = {name: _face(head, _open_mouth) for name, head in _HEADS.items()}
"""Faces with an open mouth, neither happy nor sad."""

OBJECTS = {
    figure.__name__: figure for figure in (house, tree, ball, cloud, star, umbrella, boat, fish, mushroom, car, kite)
}
"""Figures without a mood, by name."""
