"""The things on the desk, seen from above: what is worked on, with what, and what merely lies about.

Shapes are around an item's own origin, in units of the desk. A name is a kind, with a number where there are several.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np

from ..shapes import Color, Shape, arc, capsule, darker, ellipse, move, outlined, polygon, rectangle
from ..things import BLACK, WHITE

BOARD_HALF_WIDTH, BOARD_HALF_HEIGHT = 26.0, 19.0

# places on the board, in its own coordinates; x is mirrored in a mirrored video
HOLES = ((-22.0, -15.0), (22.0, 15.0), (22.0, -15.0), (-22.0, 15.0))
CHIP_PLACES = ((-10.0, 3.0), (2.0, 3.0))
CARD_PLACES = ((1.0, -6.5), (1.0, -13.0))
COVER_PLACE = (-2.0, -4.5)
SWITCH_PLACE = (10.0, 13.5)
SOCKET_PLACE = (24.0, 2.0)
TAPE_LANES = {
    "front": (((-17.0, 13.5), (2.0, 13.5)), ((-17.0, -17.0), (17.0, -17.0))),
    "back": (((-19.0, 8), (19, 8)),),
}
TEST_PLACES = ((-6.0, -3.0), (14.0, 8.0), (-14.0, 9.0))

STEEL: Color = (176, 180, 188)
TAPE_WIDTH = 4.0
GRIP_OF_DRIVER = 20.0  # from its tip to where the hand holds it


def kind_of(name: str) -> str:
    """The kind of an item: its name without a number."""
    return name.rstrip("0123456789 ")


def _board(color: Color) -> list[Shape]:
    w, h = BOARD_HALF_WIDTH, BOARD_HALF_HEIGHT
    light = darker(color, 1.3)
    lines = [Shape(rectangle(x - 5, y - 5, x + 5, y + 5), light) for x, y in CHIP_PLACES]
    lines += [Shape(rectangle(x - 12, y - 2.6, x + 12, y + 2.6), light) for x, y in CARD_PLACES]
    holes = [Shape(ellipse(x, y, 2.3, 2.3, 8), (215, 205, 150)) for x, y in HOLES]
    pits = [Shape(ellipse(x, y, 1.1, 1.1, 6), BLACK) for x, y in HOLES]
    x, y = SOCKET_PLACE
    return [
        outlined(rectangle(-w, -h, w, h), color),
        *lines,
        *holes,
        *pits,
        Shape(rectangle(x - 4, y - 4, w, y + 4), BLACK),
    ]


def _board_back(color: Color) -> list[Shape]:
    w, h = BOARD_HALF_WIDTH, BOARD_HALF_HEIGHT
    plate = outlined(rectangle(-w, -h, w, h), (188, 150, 96))
    traces = [Shape(rectangle(-20, y, 20, y + 1.6), (150, 110, 62)) for y in (-12.0, -5.0, 2.0)]
    dots = [
        Shape(ellipse(x, y, 1.5, 1.5, 6), (232, 226, 200)) for x in (-18, -6, 6, 18) for y in (-11.2, -4.2, 2.8, 13)
    ]
    return [plate, *traces, *dots]


def _screwdriver(color: Color) -> list[Shape]:
    """Its tip is at the origin, the handle below."""
    return [
        outlined(capsule((0, 1), (0, 15), 1.4, 1.4), STEEL),
        outlined(capsule((0, 18), (0, 31), 4.0, 3.4), color),
        Shape(rectangle(-1.2, 17, 1.2, 32), darker(color, 1.5)),
    ]


def _screw(color: Color) -> list[Shape]:
    return [outlined(ellipse(0, 0, 2.8, 2.8, 10), color), Shape(rectangle(-2.4, -0.6, 2.4, 0.6), BLACK)]


def _chip(color: Color) -> list[Shape]:
    pins = [Shape(rectangle(-5.2, y, 5.2, y + 1.2), STEEL) for y in (-3.4, -0.6, 2.2)]
    return [*pins, outlined(rectangle(-4.2, -4.4, 4.2, 4.4), color), Shape(ellipse(-2.2, -2.4, 1, 1, 6), WHITE)]


def _card(color: Color) -> list[Shape]:
    bars = [Shape(rectangle(x, -1.6, x + 4, 1.4), BLACK) for x in (-9.0, -3.0, 3.0)]
    return [outlined(rectangle(-11.5, -3, 11.5, 3), color), *bars, Shape(rectangle(-10, 2, 10, 3.2), (236, 200, 60))]


def _cover(color: Color) -> list[Shape]:
    vents = [Shape(rectangle(-11, y, 11, y + 1.2), darker(color, 0.7)) for y in (-5.0, -1.0, 3.0)]
    return [outlined(rectangle(-17, -11, 17, 11), color), *vents]


def _cover_stack(color: Color) -> list[Shape]:
    edges = [outlined(rectangle(-17 + d, -11 + d, 17 + d, 11 + d), darker(color, 0.85)) for d in (3.0, 1.5)]
    return [*edges, *_cover(color)]


def _chip_tray(color: Color) -> list[Shape]:
    chips = [shape for x in (-12.5, 0.0, 12.5) for shape in move(_chip(color), x, 0)]
    return [outlined(rectangle(-20, -7.5, 20, 7.5), (98, 92, 88)), *chips]


def _card_box(color: Color) -> list[Shape]:
    edges = [Shape(rectangle(-12, y, 12, y + 2), darker(color, share)) for y, share in ((-8.0, 0.6), (-5.0, 0.75))]
    return [outlined(rectangle(-15, -10, 15, 10), (214, 206, 188)), *edges, *move(_card(color), 0, 2)]


def _tape_roll(color: Color) -> list[Shape]:
    spoke = Shape(rectangle(3.4, -0.8, 8.4, 0.8), darker(color, 0.6))
    return [outlined(ellipse(0, 0, 8.6, 8.6), color), Shape(ellipse(0, 0, 4.2, 4.2, 12), (92, 66, 44)), spoke]


def _cloth(color: Color) -> list[Shape]:
    angles = np.linspace(0, 2 * math.pi, 16, endpoint=False)
    radii = 12.5 + 1.8 * np.cos(angles * 5)
    outline = np.stack([radii * np.cos(angles), 0.8 * radii * np.sin(angles)], axis=1)
    stripes = [Shape(rectangle(-8.5, y, 8.5, y + 1.6), darker(color, 0.75)) for y in (-6.0, -2.0, 2.0)]
    return [outlined(outline, color), *stripes]


def _meter(color: Color) -> list[Shape]:
    digits = [Shape(rectangle(x, -8.5, x + 2, -4.5), BLACK) for x in (-5.0, -1.5, 2.0)]
    knob = [Shape(ellipse(0, 4, 4.5, 4.5, 12), BLACK), Shape(rectangle(-0.7, 0, 0.7, 4), WHITE)]
    screen = Shape(rectangle(-6.5, -10, 6.5, -3), (186, 214, 170))
    return [outlined(rectangle(-8.5, -12.5, 8.5, 12.5), color), screen, *digits, *knob]


def _probe(color: Color) -> list[Shape]:
    """Its tip is at the origin, the handle below."""
    return [outlined(capsule((0, 0), (0, 8), 0.8, 1.0), STEEL), outlined(capsule((0, 9), (0, 18), 2.0, 2.4), color)]


def _plug(color: Color) -> list[Shape]:
    """Its tip is at the origin and points to the left."""
    return [
        Shape(rectangle(-0.5, -2.6, 4, 2.6), STEEL),
        outlined(rectangle(3, -4.4, 12, 4.4), color),
        outlined(rectangle(12, -2.4, 15, 2.4), darker(color, 0.8)),
    ]


def _switch(color: Color) -> list[Shape]:
    return [outlined(rectangle(-4.5, -4, 4.5, 4), (60, 60, 66)), outlined(ellipse(0, 0, 3, 3, 10), color)]


def _pliers(color: Color) -> list[Shape]:
    return [
        outlined(capsule((-1.5, 0), (-4, 14), 1.8, 2.4), color),
        outlined(capsule((1.5, 0), (4, 14), 1.8, 2.4), color),
        outlined(polygon((-3, 1), (-2.5, -7), (0, -11), (2.5, -7), (3, 1)), STEEL),
    ]


def _wrench(color: Color) -> list[Shape]:
    jaw = np.concatenate([arc(0, -9, 5, 5, -0.9, math.pi + 0.9, 12), polygon((-1.8, -9.5), (1.8, -9.5))])
    return [outlined(capsule((0, -6), (0, 13), 2.0, 2.4), STEEL), outlined(jaw, STEEL)]


def _brush(color: Color) -> list[Shape]:
    return [
        outlined(capsule((0, -3), (0, 13), 2.2, 1.4), color),
        outlined(rectangle(-3.4, -8, 3.4, -3), STEEL),
        outlined(rectangle(-3.4, -13, 3.4, -8), (222, 200, 150)),
    ]


def _ruler(color: Color) -> list[Shape]:
    marks = [Shape(rectangle(x, -3, x + 0.8, 0), BLACK) for x in range(-15, 16, 5)]
    return [outlined(rectangle(-17, -3.2, 17, 3.2), (236, 222, 150)), *marks]


def _pen(color: Color) -> list[Shape]:
    return [
        outlined(capsule((0, -12), (0, 10), 1.6, 1.6), color),
        Shape(polygon((-1.4, 10), (1.4, 10), (0, 14)), BLACK),
    ]


def _coil(color: Color) -> list[Shape]:
    rings = [Shape(ellipse(0, 0, r, r, 16), darker(color, share)) for r, share in ((7.0, 0.6), (5.0, 1.0))]
    return [outlined(ellipse(0, 0, 9, 9), color), *rings, Shape(ellipse(0, 0, 2.4, 2.4, 10), BLACK)]


_DRAWN: dict[str, Callable[[Color], list[Shape]]] = {
    "board": _board,
    "board back": _board_back,
    "screwdriver": _screwdriver,
    "screw": _screw,
    "chip": _chip,
    "chip tray": _chip_tray,
    "card": _card,
    "card box": _card_box,
    "cover": _cover,
    "cover stack": _cover_stack,
    "tape roll": _tape_roll,
    "cloth": _cloth,
    "meter": _meter,
    "probe": _probe,
    "plug": _plug,
    "switch": _switch,
    "pliers": _pliers,
    "wrench": _wrench,
    "brush": _brush,
    "ruler": _ruler,
    "pen": _pen,
    "coil": _coil,
}

UNUSED_TOOLS = ("pliers", "wrench", "brush", "ruler", "pen", "coil")
"""What lies about in some videos and is used in none."""


@lru_cache(maxsize=256)
def item_shapes(kind: str, color: Color) -> tuple[Shape, ...]:
    """The shapes of one of the kinds above. Kept, since they are the same in every frame."""
    return tuple(_DRAWN[kind](color))


def strip_shape(color: Color, length: float) -> Shape:
    """A strip of tape that lies along x, from the origin on."""
    half = TAPE_WIDTH / 2
    return outlined(rectangle(0, -half, max(length, 0.5), half), darker(color, 1.2))


def wire_shape(start: np.ndarray, end: np.ndarray, sag: np.ndarray, color: Color) -> Shape:
    """A wire from one point (2,) to another that is bent towards an offset (2,) from its middle."""
    share = np.linspace(0, 1, 9)[:, None]
    middle = (start + end) / 2 + sag
    line = (1 - share) ** 2 * start + 2 * share * (1 - share) * middle + share**2 * end
    along = np.gradient(line, axis=0)
    across = np.stack([-along[:, 1], along[:, 0]], 1) / np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-6)
    return Shape(np.concatenate([line + 0.8 * across, (line - 0.8 * across)[::-1]]), color)
