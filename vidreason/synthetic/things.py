"""The things of the world: what is handled, what holds things, and what merely lies about.

Each is drawn around its own origin, about 18 units tall in a frame that is 120 high.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np

from .shapes import Color, Shape, arc, capsule, darker, ellipse, move, outlined, polygon, rectangle

WHITE, BLACK = (245, 245, 240), (30, 30, 34)


def _mug(color: Color) -> list[Shape]:
    bow = np.concatenate([arc(6, 0, 6.5, 5.5, -1.5, 1.5, 8), arc(6, 0, 3.8, 3, 1.5, -1.5, 8)])
    return [
        outlined(bow, color),
        outlined(rectangle(-6.5, -7.5, 6.5, 8), color),
        outlined(ellipse(0, -7.5, 6.5, 2), darker(color, 0.4)),
    ]


def _bottle(color: Color) -> list[Shape]:
    body = polygon((-5, 11), (-5, -2), (-2, -6), (-2, -11), (2, -11), (2, -6), (5, -2), (5, 11))
    return [outlined(body, color), Shape(rectangle(-4.6, 1, 4.6, 7), WHITE)]


def _block(color: Color) -> list[Shape]:
    return [
        outlined(rectangle(-8, -4, 6, 8), color),
        outlined(polygon((-8, -4), (-5, -8), (9, -8), (6, -4)), darker(color, 1.3)),
        outlined(polygon((6, -4), (9, -8), (9, 4), (6, 8)), darker(color, 0.7)),
    ]


def _ball(color: Color) -> list[Shape]:
    return [outlined(ellipse(0, 0, 8, 8), color), Shape(ellipse(-2.5, -3, 2.6, 2.2, 10), darker(color, 1.45))]


def _hammer(color: Color) -> list[Shape]:
    return [outlined(rectangle(-2, -6, 2, 11), color), outlined(rectangle(-8, -10, 8, -4), (120, 124, 132))]


def _can(color: Color) -> list[Shape]:
    body = np.concatenate([arc(0, -7, 5.5, 2, math.pi, 2 * math.pi), arc(0, 7.5, 5.5, 2, 0, math.pi)])
    return [
        outlined(body, color),
        Shape(rectangle(-5.2, -1.5, 5.2, 3), darker(color, 1.5)),
        outlined(ellipse(0, -7, 5.5, 2), (190, 194, 200)),
    ]


def _book(color: Color) -> list[Shape]:
    return [
        outlined(rectangle(-9, -6.5, 9, 6.5), color),
        Shape(rectangle(-7.8, -5.6, -5.4, 5.6), darker(color, 0.7)),
        Shape(rectangle(-3, -3.6, 6, -1), WHITE),
    ]


def _spoon(color: Color) -> list[Shape]:
    """Handle up, bowl of the spoon down; the hand holds it at (0, -10)."""
    return [
        outlined(capsule((0, -12), (0, 5), 1.3, 1.3), color),
        outlined(ellipse(0, 8, 3.6, 4.6), darker(color, 1.15)),
    ]


THING_KINDS: dict[str, Callable[[Color], list[Shape]]] = {
    "mug": _mug,
    "bottle": _bottle,
    "block": _block,
    "ball": _ball,
    "hammer": _hammer,
    "can": _can,
    "book": _book,
    "spoon": _spoon,
}
"""What a hand can pick up. Which one it is says nothing about the action (stirring, which needs a spoon, apart)."""


@lru_cache(maxsize=64)
def thing_shapes(kind: str, color: Color) -> tuple[Shape, ...]:
    """A thing of one of `THING_KINDS`, upright around the origin. Kept, since it is the same in every frame."""
    return tuple(THING_KINDS[kind](color))


BOX_WIDTH, BOX_HEIGHT, BOX_DEPTH = 26.0, 13.0, 6.0
_BOX_SKEW = 4.0  # how far the back edge is shifted to the right, as seen from slightly above


@lru_cache(maxsize=64)
def box_back_shapes(color: Color) -> tuple[Shape, ...]:
    """The opening of a box. Its front's upper edge runs through the origin."""
    w, d, s = BOX_WIDTH / 2, BOX_DEPTH, _BOX_SKEW
    return (outlined(polygon((-w, 0), (-w + s, -d), (w + s, -d), (w, 0)), darker(color, 0.35)),)


@lru_cache(maxsize=64)
def box_front_shapes(color: Color) -> tuple[Shape, ...]:
    """The front and the side, which hide what is inside."""
    w, h, d, s = BOX_WIDTH / 2, BOX_HEIGHT, BOX_DEPTH, _BOX_SKEW
    return (
        outlined(polygon((w, 0), (w + s, -d), (w + s, h - d), (w, h)), darker(color, 0.7)),
        outlined(rectangle(-w, 0, w, h), color),
        Shape(rectangle(-3, 3, 3, 6), darker(color, 0.75)),
    )


def lid_shapes(color: Color, opening: float, hinge_side: int) -> list[Shape]:
    """The lid of a box, opened by an angle in radians about its left (-1) or right (+1) edge."""
    # only the edge seen from the front turns; the skew stands for depth
    hinge = np.array([hinge_side * BOX_WIDTH / 2, 0.0])
    reach = np.array([-hinge_side * math.cos(opening), -math.sin(opening)]) * BOX_WIDTH
    back = np.array([_BOX_SKEW, -BOX_DEPTH])
    plate = np.stack([hinge, hinge + reach, hinge + reach + back, hinge + back])
    return [outlined(plate, darker(color, 1.25))]


def lid_edge(opening: float, hinge_side: int) -> np.ndarray:
    """(2,): where a hand takes hold of the lid, the middle of its free edge."""
    hinge = np.array([hinge_side * BOX_WIDTH / 2, 0.0])
    reach = np.array([-hinge_side * math.cos(opening), -math.sin(opening)]) * BOX_WIDTH
    return hinge + reach + np.array([_BOX_SKEW, -BOX_DEPTH]) / 2


@lru_cache(maxsize=64)
def bowl_back_shapes(color: Color) -> tuple[Shape, ...]:
    """The opening of a bowl, around the origin."""
    return outlined(ellipse(0, 0, 14, 4.6), darker(color, 0.5)), Shape(ellipse(0, 0.8, 11, 2.8), (214, 196, 150))


@lru_cache(maxsize=64)
def bowl_front_shapes(color: Color) -> tuple[Shape, ...]:
    """The front of a bowl, which hides what is in it."""
    rim = arc(0, 0, 14, 4.6, math.pi, 0)  # front half of the rim, left to right
    return (outlined(np.concatenate([rim, arc(0, 1, 14, 12, 0, math.pi)]), color),)


def _closed_box(color: Color) -> list[Shape]:
    return [*box_back_shapes(color), *box_front_shapes(color), *lid_shapes(color, 0.0, 1)]


def _open_box(color: Color) -> list[Shape]:
    return [*box_back_shapes(color), *lid_shapes(color, 1.8, 1), *box_front_shapes(color)]


def _bowl(color: Color) -> list[Shape]:
    return [*bowl_back_shapes(color), *bowl_front_shapes(color)]


def _bowl_with_spoon(color: Color) -> list[Shape]:
    spoon = move(_spoon((170, 174, 182)), 3, -7, 0.35)
    return [*bowl_back_shapes(color), *spoon, *bowl_front_shapes(color)]


DISTRACTOR_KINDS: dict[str, tuple[str, Callable[[Color], list[Shape]]]] = {
    "closed box": ("box", _closed_box),
    "open box": ("box", _open_box),
    "bowl": ("bowl", _bowl),
    "bowl with spoon": ("bowl", _bowl_with_spoon),
    **{kind: (kind, draw) for kind, draw in THING_KINDS.items()},
}
"""What may lie about, whatever the action: kind -> (name in the ground truth, shapes)."""


def shadow_shape(x: float, y: float, width: float) -> Shape:
    """A soft dark ellipse on the ground, where something stands or above which it is lifted."""
    return Shape(ellipse(x, y, width / 2, width / 7, 16), (*BLACK, 70))
