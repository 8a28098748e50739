"""Where guidance lies in a frame: boxes and points to cells; crop, resize and flip; resampling to another grid.

All coordinates are normalised to [0, 1] of the frame, x to the right and y down, boxes as (x0, y0, x1, y1). Grids are
row-major from the top left. A `GridMap` is a distribution over the cells of a grid that covers a rectangle of a frame;
resizing the frame leaves it as it is, since it is normalised.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..errors import GuidanceError
from .schema import FULL_FRAME

Rectangle = tuple[float, float, float, float]

MIN_CELL_OVERLAP = 0.25
"""A box marks a cell when their overlap is at least this share of the smaller of the two."""

_ROUNDING = 1e-9  # overlaps below this are artefacts of floating point, not geometry

_FINE_GRID = (32, 32)
OUTLIERS = 0.05
"""Share of the guidance beyond each side of the rectangle: what is marked in a few frames alone does not widen it."""
MIN_SIDE = 0.3
"""Smallest side of the rectangle, as a share of the frame's."""


def grid_cells(grid: tuple[int, int], rectangle: Rectangle = FULL_FRAME) -> np.ndarray:
    """The cells of a grid as boxes.

    Args:
        grid: The grid's size as (rows, columns).
        rectangle: The part of the frame that the grid covers, (x0, y0, x1, y1) in [0, 1].

    Returns:
        Boxes of shape (rows * columns, 4), row-major from the top left.
    """
    rows, cols = grid
    x0, y0, x1, y1 = rectangle
    xs = x0 + (x1 - x0) * np.arange(cols + 1) / cols
    ys = y0 + (y1 - y0) * np.arange(rows + 1) / rows
    top, left = np.meshgrid(ys[:-1], xs[:-1], indexing="ij")
    bottom, right = np.meshgrid(ys[1:], xs[1:], indexing="ij")
    return np.stack([left, top, right, bottom], axis=-1).reshape(rows * cols, 4)


def overlap_areas(boxes: np.ndarray, grid: tuple[int, int], rectangle: Rectangle = FULL_FRAME) -> np.ndarray:
    """Exact area of the overlap of every box with every cell of a grid.

    Args:
        boxes: Boxes of shape (..., 4) as (x0, y0, x1, y1), in any units.
        grid: The grid's size as (rows, columns).
        rectangle: What the grid covers, (x0, y0, x1, y1) in the units of the boxes.

    Returns:
        Areas of shape (..., rows * columns).
    """
    rows, cols = grid
    boxes = np.asarray(boxes, dtype=np.float64)
    x0, y0, x1, y1 = rectangle
    xs = x0 + (x1 - x0) * np.arange(cols + 1) / cols
    ys = y0 + (y1 - y0) * np.arange(rows + 1) / rows
    # the overlap of axis-aligned boxes is the product of the overlaps of their sides
    widths = np.minimum(boxes[..., 2:3], xs[1:]) - np.maximum(boxes[..., 0:1], xs[:-1])
    heights = np.minimum(boxes[..., 3:4], ys[1:]) - np.maximum(boxes[..., 1:2], ys[:-1])
    widths = np.where(widths > _ROUNDING * abs(x1 - x0), widths, 0.0)
    heights = np.where(heights > _ROUNDING * abs(y1 - y0), heights, 0.0)
    return (heights[..., :, None] * widths[..., None, :]).reshape(*boxes.shape[:-1], rows * cols)


def boxes_to_cells(
    boxes: np.ndarray,
    grid: tuple[int, int],
    rectangle: Rectangle = FULL_FRAME,
    min_overlap: float = MIN_CELL_OVERLAP,
) -> np.ndarray:
    """The cells that boxes mark, as a human or a language model would name them.

    A cell is marked when its overlap with a box is at least `min_overlap` of the smaller of the two, and a box that
    reaches into the grid always marks the cell it covers most, so that no box vanishes between cells.

    Args:
        boxes: Boxes of shape (boxes, 4), normalised to the frame.
        grid: The grid's size as (rows, columns).
        rectangle: The part of the frame that the grid covers, (x0, y0, x1, y1) in [0, 1].
        min_overlap: Share in (0, 1] of the smaller of box and cell from which on a cell is marked.

    Returns:
        Booleans of shape (rows * columns,).
    """
    boxes = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    if len(boxes) == 0:
        return np.zeros(grid[0] * grid[1], dtype=bool)
    areas = overlap_areas(boxes, grid, rectangle)
    cell_area = (rectangle[2] - rectangle[0]) * (rectangle[3] - rectangle[1]) / (grid[0] * grid[1])
    box_areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    # of the box for boxes smaller than a cell, of the cell for boxes that cover many
    smaller = np.minimum(box_areas, cell_area)[:, None]
    marked = (areas >= min_overlap * smaller) & (areas > 0)
    covered_most = areas.argmax(axis=1)
    # without this, a small box across the corner of four cells would mark none of them
    marked[np.arange(len(boxes)), covered_most] |= areas.max(axis=1) > 0
    return np.asarray(marked.any(axis=0))


def points_to_cells(points: np.ndarray, grid: tuple[int, int], rectangle: Rectangle = FULL_FRAME) -> np.ndarray:
    """The cells that hold points; a point on an inner border belongs to the cell right of or below it.

    Args:
        points: Points of shape (points, 2) as (x, y), normalised. Points outside the rectangle mark nothing.
        grid: The grid's size as (rows, columns).
        rectangle: The part of the frame that the grid covers, (x0, y0, x1, y1) in [0, 1].

    Returns:
        Booleans of shape (rows * columns,).
    """
    rows, cols = grid
    x0, y0, x1, y1 = rectangle
    marked = np.zeros((rows, cols), dtype=bool)
    for x, y in np.asarray(points, dtype=np.float64).reshape(-1, 2):
        if x0 <= x <= x1 and y0 <= y <= y1:
            # a point on the frame's last edge is in the last cell
            row = min(int((y - y0) / (y1 - y0) * rows), rows - 1)
            col = min(int((x - x0) / (x1 - x0) * cols), cols - 1)
            marked[row, col] = True
    return marked.reshape(-1)


@dataclass(frozen=True)
class GridMap:
    """A distribution over the cells of a grid that lies over a frame.

    Args:
        weights: Non-negative weights of shape (..., rows * columns); leading dimensions are frames.
        grid: The grid's size as (rows, columns).
        rectangle: What the grid covers, in the frame's coordinates; after a crop it may reach beyond the frame.
    """

    weights: np.ndarray
    grid: tuple[int, int]
    rectangle: Rectangle = FULL_FRAME

    def __post_init__(self):
        cells = self.grid[0] * self.grid[1]
        if np.shape(self.weights)[-1:] != (cells,):
            raise GuidanceError(
                f"{np.shape(self.weights)} weights do not fit a grid of {self.grid[0]} x {self.grid[1]}"
            )

    def crop(self, region: Rectangle) -> GridMap:
        """The same map in the coordinates of a region of the frame, given in the frame's coordinates."""
        left, top, right, bottom = region
        width, height = right - left, bottom - top
        x0, y0, x1, y1 = self.rectangle
        moved = ((x0 - left) / width, (y0 - top) / height, (x1 - left) / width, (y1 - top) / height)
        return replace(self, rectangle=moved)

    def flip_horizontal(self) -> GridMap:
        """The map of the mirrored frame."""
        x0, y0, x1, y1 = self.rectangle
        weights = self._as_grid()[..., ::-1].reshape(np.shape(self.weights))
        return GridMap(weights, self.grid, (1 - x1, y0, 1 - x0, y1))

    def flip_vertical(self) -> GridMap:
        """The map of the frame turned upside down."""
        x0, y0, x1, y1 = self.rectangle
        weights = self._as_grid()[..., ::-1, :].reshape(np.shape(self.weights))
        return GridMap(weights, self.grid, (x0, 1 - y1, x1, 1 - y0))

    def resample(self, grid: tuple[int, int], rectangle: Rectangle = FULL_FRAME) -> GridMap:
        """The map on another grid, by exact area overlap: each cell spreads its weight evenly over its area.

        What falls outside the new grid is cut off, and the rest keeps its scale: the weights sum to the share that
        was kept.
        """
        # in the frame's coordinates, in which both grids lie; a crop has moved this one's rectangle
        cells = grid_cells(self.grid, self.rectangle)
        spread = spread_over_grid(cells, cells, grid, rectangle)
        return GridMap(np.asarray(self.weights) @ spread, grid, rectangle)

    def _as_grid(self) -> np.ndarray:
        return np.reshape(self.weights, (*np.shape(self.weights)[:-1], *self.grid))


Layout = tuple[tuple[int, int], Rectangle]
"""A grid's (rows, columns), and the part of the frame that it covers."""


def grid_maps(weights: Sequence[np.ndarray], layouts: Sequence[Layout]) -> list[GridMap]:
    """The maps of several frames, made in one call because a loader makes them for every frame of every clip.

    Args:
        weights: Weights of each frame, each (rows * columns,).
        layouts: Grid of each frame, and what it covers.
    """
    return [GridMap(one, grid, rectangle) for one, (grid, rectangle) in zip(weights, layouts, strict=True)]


def spread_over_grid(
    boxes: np.ndarray, whole_boxes: np.ndarray, grid: tuple[int, int], rectangle: Rectangle = FULL_FRAME
) -> np.ndarray:
    """How the weight of each box spreads over the cells of a grid, by area.

    Args:
        boxes: Boxes of shape (boxes, 4), in the grid's coordinates and perhaps clipped to the frame.
        whole_boxes: The same boxes, (boxes, 4), unclipped and up to one common scale: what a box lost by clipping is
            weight lost.
        grid: The grid's size as (rows, columns).
        rectangle: What the grid covers, in the same coordinates as the boxes.

    Returns:
        Shares of shape (boxes, rows * columns); a row sums to 1 where the box lies inside the grid and is unclipped.
    """
    areas = (whole_boxes[:, 2] - whole_boxes[:, 0]) * (whole_boxes[:, 3] - whole_boxes[:, 1])
    return overlap_areas(boxes, grid, rectangle) / areas[:, None]


def pad_or_truncate(weights: np.ndarray, num_tokens: int) -> np.ndarray:
    """The paper's rule for unequal sizes (section 2.3): pad the token list with zeros, or cut it off.

    Kept for faithful comparison, and not the default, because it ignores where tokens are: 196 tokens cut to 16 are
    the top row and two more.

    Args:
        weights: Weights of shape (..., cells).
        num_tokens: Number of tokens that the model has.

    Returns:
        Weights of shape (..., num_tokens).
    """
    weights = np.asarray(weights)
    missing = num_tokens - weights.shape[-1]
    if missing <= 0:
        return weights[..., :num_tokens]
    return np.pad(weights, [(0, 0)] * (weights.ndim - 1) + [(0, missing)])


def evidence_rectangle(maps: Sequence[GridMap | None]) -> Rectangle | None:
    """The part of the frame that holds the evidence of a clip, but for outliers.

    Args:
        maps: Guidance of each frame in the full frame's coordinates, None where there is none.

    Returns:
        (x0, y0, x1, y1) in [0, 1], no side under `MIN_SIDE`; None where there is no guidance.
    """
    # maps of one layout are summed before they are resampled, which is the slow part
    grids: dict[tuple, np.ndarray] = {}
    for grid_map in maps:
        if grid_map is not None:
            key = (grid_map.grid, grid_map.rectangle)
            grids[key] = grids.get(key, 0.0) + np.asarray(grid_map.weights, dtype=np.float64)
    fine = sum(GridMap(weights, *key).resample(_FINE_GRID).weights for key, weights in grids.items())
    if np.sum(fine) <= 0:
        return None
    mass = np.reshape(fine, _FINE_GRID)
    (x0, x1), (y0, y1) = _inner_range(mass.sum(axis=0)), _inner_range(mass.sum(axis=1))
    return (x0, y0, x1, y1)


def _inner_range(mass: np.ndarray) -> tuple[float, float]:
    """mass: (cells,) along an axis -> where all of it lies but for `OUTLIERS` on each side."""
    edges = np.linspace(0.0, 1.0, len(mass) + 1)
    below = np.concatenate([[0.0], np.cumsum(mass) / mass.sum()])
    # of cells without mass at either end, the inner border
    start = np.interp(OUTLIERS, below, edges)
    end = 1 - np.interp(OUTLIERS, (1 - below)[::-1], edges)
    # a range that is too short grows on both sides, and is then pushed back into the frame
    missing = max(0.0, MIN_SIDE - (end - start)) / 2
    start, end = start - missing, end + missing
    shift = max(0.0, -start) - max(0.0, end - 1)
    return float(start + shift), float(end + shift)


def widened(rectangle: Rectangle, margins: Sequence[float]) -> Rectangle:
    """The rectangle with margins (left, top, right, bottom), as shares of its sides; inside the frame."""
    x0, y0, x1, y1 = rectangle
    left, top, right, bottom = margins
    width, height = x1 - x0, y1 - y0
    return (
        max(0.0, x0 - left * width),
        max(0.0, y0 - top * height),
        min(1.0, x1 + right * width),
        min(1.0, y1 + bottom * height),
    )
