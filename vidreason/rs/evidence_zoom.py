"""A closer look at the evidence: training clips cropped to where their guidance is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ..guidance import GridMap
from ..guidance.geometry import Rectangle

_FINE_GRID = (32, 32)
OUTLIERS = 0.05
"""Share of the guidance beyond each side of the rectangle: what is marked in a few frames alone does not widen it."""
MIN_SIDE = 0.3
"""Smallest side of the rectangle, as a share of the frame's."""
MAX_MARGIN = 0.25
"""Largest random margin on each side, as a share of the rectangle's."""


def evidence_rectangle(maps: Sequence[GridMap | None]) -> Rectangle | None:
    """The part of the frame that holds the evidence of a clip, but for outliers.

    Args:
        maps: guidance of each frame in the full frame's coordinates, None where there is none.

    Returns:
        (x0, y0, x1, y1) in [0, 1], no side under `MIN_SIDE`; None where there is no guidance.
    """
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
    missing = max(0.0, MIN_SIDE - (end - start)) / 2
    start, end = start - missing, end + missing
    shift = max(0.0, -start) - max(0.0, end - 1)
    return float(start + shift), float(end + shift)


def random_margins(rectangle: Rectangle) -> Rectangle:
    """The rectangle with a random margin on each side, inside the frame; drawn from torch's generator."""
    return widened(rectangle, (torch.rand(4) * MAX_MARGIN).tolist())


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
