"""The co-occurring objects: twelve sorts of sticker, each with a shape and a color of its own.

They take no part in any action. In training the sort is tied to the label with some strength.
"""

from __future__ import annotations

import math

import numpy as np

from .shapes import Shape, arc, darker, ellipse, move, polygon
from .things import WHITE

_RADIUS = 10.0
_BORDER = 1.22  # the white rim, relative to the figure


def _star(points: int, inner: float) -> np.ndarray:
    """(2 * points, 2)."""
    angles = np.arange(2 * points) * math.pi / points - math.pi / 2
    radii = np.where(np.arange(2 * points) % 2, inner, 1.0) * _RADIUS
    return np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1)


def _heart() -> np.ndarray:
    """(24, 2)."""
    t = np.linspace(0, 2 * math.pi, 24, endpoint=False)
    y = -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t))
    return np.stack([16 * np.sin(t) ** 3, y - 1], axis=1) * _RADIUS / 17


def _cross() -> np.ndarray:
    """(12, 2)."""
    a, b = 3.4, 9.5
    quarter = np.array([(-a, -b), (a, -b), (a, -a)])
    turns = [np.linalg.matrix_power(np.array([[0, 1], [-1, 0]]), turn) for turn in range(4)]
    return np.concatenate([quarter @ turn for turn in turns])


def _moon() -> np.ndarray:
    """(24, 2)."""
    outer = arc(0, 0, 10, 10, 0.9, 2 * math.pi - 0.9, 14)
    inner = arc(4.6, 0, 7.9, 7.9, -1.7, -2 * math.pi + 1.7, 10)
    return np.concatenate([outer, inner])


def _flower() -> np.ndarray:
    """(40, 2)."""
    t = np.linspace(0, 2 * math.pi, 40, endpoint=False)
    radii = _RADIUS * (0.72 + 0.28 * np.cos(5 * t))
    return np.stack([radii * np.cos(t), radii * np.sin(t)], axis=1)


def _drop() -> np.ndarray:
    """(15, 2)."""
    return np.concatenate([polygon((0, -11)), arc(0, 3, 7, 7, -0.45, math.pi + 0.45, 14)])


_FIGURES = {
    "red star": (_star(5, 0.45), (220, 40, 45)),
    "pink heart": (_heart(), (245, 120, 175)),
    "yellow triangle": (polygon((0, -10), (10, 8), (-10, 8)), (250, 215, 40)),
    "cyan diamond": (polygon((0, -11), (8, 0), (0, 11), (-8, 0)), (60, 215, 235)),
    "green cross": (_cross(), (40, 170, 70)),
    "orange disc": (ellipse(0, 0, 9.5, 9.5), (250, 140, 30)),
    "violet moon": (_moon(), (130, 70, 200)),
    "blue square": (polygon((-8.5, -8.5), (8.5, -8.5), (8.5, 8.5), (-8.5, 8.5)), (45, 85, 220)),
    "brown arrow": (polygon((-10, -3.5), (1, -3.5), (1, -9), (10, 0), (1, 9), (1, 3.5), (-10, 3.5)), (130, 80, 40)),
    "magenta flower": (_flower(), (215, 40, 180)),
    "teal drop": (_drop(), (20, 135, 135)),
    "black bolt": (polygon((2, -11), (-8, 2), (-1, 2), (-3, 11), (8, -3), (1, -3)), (40, 40, 45)),
}

COOCCURRING_OBJECTS = tuple(_FIGURES)
"""The i-th is tied to the i-th action."""


def sticker_shapes(name: str) -> tuple[Shape, ...]:
    """A sticker around the origin, about 22 units wide."""
    points, color = _FIGURES[name]
    rim = move([Shape(points, WHITE, (150, 150, 150))], 0, 0, scale=_BORDER)
    return (*rim, Shape(points, color, darker(color, 0.75)))
