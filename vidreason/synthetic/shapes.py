"""Polygons, and how they are put on a canvas. All of the world is drawn from them, so boxes follow from points.

Coordinates are (x, y), x to the right and y down.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

Color = tuple[int, ...]
Vector = Sequence[float] | np.ndarray
"""A point, a size or a shift: (2,)."""

SUPERSAMPLING = 2
"""Canvas pixels per frame pixel, for smooth edges."""

_HALF_CIRCLE = np.stack([np.cos(np.linspace(-1, 1, 6) * math.pi / 2), np.sin(np.linspace(-1, 1, 6) * math.pi / 2)], 1)


class Shape(NamedTuple):
    """A filled polygon.

    Args:
        points: Corners of the polygon, (vertices, 2).
        fill: Color as RGB, or as RGBA for something that one can see through.
        outline: Color of the line around it as RGB, or None for no line.
    """

    points: np.ndarray
    fill: Color
    outline: Color | None = None


class Part(NamedTuple):
    """Shapes of one item at one depth. An item can have several, such as fingers before and a palm behind a mug.

    Args:
        item: Name of the item; empty for a shadow, which belongs to no item.
        shapes: Shapes in the order in which they are drawn.
    """

    item: str
    shapes: tuple[Shape, ...]


@lru_cache(maxsize=1024)
def darker(color: Color, share: float = 0.55) -> Color:
    """The color with each channel times `share`; above 1 it becomes lighter."""
    return tuple(min(255, round(channel * share)) for channel in color[:3])


def outlined(points: np.ndarray, fill: Color) -> Shape:
    """A shape with a line in a darker tone of its own color. points: (vertices, 2)."""
    return Shape(points, fill, darker(fill))


def ellipse(cx: float, cy: float, rx: float, ry: float, vertices: int = 20) -> np.ndarray:
    """Points (vertices, 2)."""
    return arc(cx, cy, rx, ry, 0.0, 2 * math.pi * (1 - 1 / vertices), vertices)


def arc(cx: float, cy: float, rx: float, ry: float, start: float, end: float, vertices: int = 10) -> np.ndarray:
    """Points (vertices, 2) on an ellipse from one angle to another, in radians."""
    angles = np.linspace(start, end, vertices)
    return np.stack([cx + rx * np.cos(angles), cy + ry * np.sin(angles)], axis=1)


def rectangle(x0: float, y0: float, x1: float, y1: float) -> np.ndarray:
    """Points (4, 2)."""
    return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], dtype=float)


def polygon(*points: tuple[float, float]) -> np.ndarray:
    """Points (vertices, 2)."""
    return np.array(points, dtype=float)


def capsule(start: Vector, end: Vector, start_radius: float, end_radius: float) -> np.ndarray:
    """A rod with round ends, perhaps tapered: points (12, 2), the first six around the start."""
    dx, dy = end[0] - start[0], end[1] - start[1]
    length = math.hypot(dx, dy) or 1.0
    cos, sin = dx / length, dy / length
    turned = _HALF_CIRCLE @ np.array([[cos, sin], [-sin, cos]])
    points = np.empty((12, 2))
    points[:6] = turned * -start_radius + start
    points[6:] = turned * end_radius + end
    return points


def move(shapes: Iterable[Shape], x: float, y: float, angle: float = 0.0, scale: float = 1.0) -> tuple[Shape, ...]:
    """Scale, turn by `angle` (radians, clockwise on the screen) and shift shapes, in this order."""
    cos, sin = scale * math.cos(angle), scale * math.sin(angle)
    matrix, shift = np.array([[cos, sin], [-sin, cos]]), np.array([x, y])
    return tuple(Shape(points @ matrix + shift, fill, outline) for points, fill, outline in shapes)


def extent(parts: Iterable[Part]) -> np.ndarray:
    """The box (4,) around the shapes of parts.

    The outline, a pixel of the canvas wide, adds up to half a pixel of the frame, which is not in it.
    """
    points = np.concatenate([shape.points for part in parts for shape in part.shapes])
    return np.concatenate([points.min(axis=0), points.max(axis=0)])


def draw_parts(image: Image.Image, parts: Iterable[Part], scale: float, shift: Vector) -> None:
    """Draw parts in their order on an image, at `point * scale + shift` of its pixels."""
    shift_px = np.asarray(shift)
    opaque, blending = ImageDraw.Draw(image), None
    for part in parts:
        for shape in part.shapes:
            # whole numbers are the middles of pixels to PIL, and the upper left corners of pixels here
            flat = np.floor(shape.points * scale + shift_px).ravel().tolist()
            if len(shape.fill) == 4:
                blending = blending or ImageDraw.Draw(image, "RGBA")
                blending.polygon(flat, fill=shape.fill)
                continue
            opaque.polygon(flat, fill=shape.fill, outline=shape.outline)


def clipped_extent(parts: Iterable[Part], scale: float, shift: Vector, size: Sequence[float]) -> np.ndarray | None:
    """The box (4,) around what of the shapes lies in the rectangle from (0, 0) to size (2,); None where nothing does.

    It is smaller than the clipped box of the whole where something leaves the rectangle at a slant, as an arm does.
    """
    polygons = [_clip_polygon(shape.points * scale + shift, size) for part in parts for shape in part.shapes]
    points = np.concatenate(polygons)
    return np.concatenate([points.min(axis=0), points.max(axis=0)]) if len(points) else None


def _clip_polygon(points: np.ndarray, size: Sequence[float]) -> np.ndarray:
    """Points (vertices, 2) of the polygon within (0, 0) to size (2,), by Sutherland and Hodgman; perhaps none."""
    low, high = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    # nearly all shapes are wholly inside; clipping each would take most of the rendering time
    if min(low) >= 0 and high[0] <= size[0] and high[1] <= size[1]:
        return points
    for axis in (0, 1):
        for sign, limit in ((1.0, 0.0), (-1.0, -float(size[axis]))):
            inside = sign * points[:, axis] - limit  # not negative inside
            kept = inside >= 0
            if kept.all():
                continue
            if not kept.any():
                return points[:0]
            after = np.arange(1, len(points) + 1) % len(points)
            crosses = np.flatnonzero(kept != kept[after])
            share = inside[crosses] / (inside[crosses] - inside[after[crosses]])
            crossings = points[crosses] + share[:, None] * (points[after[crosses]] - points[crosses])
            # in order along the outline: each vertex that stays, then the crossing on the edge after it
            order = np.concatenate([np.flatnonzero(kept), crosses + 0.5]).argsort()
            points = np.concatenate([points[kept], crossings])[order]
    return points
