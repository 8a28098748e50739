"""How good guidance is: maps against cells that are known to be right, beside what knows nothing scores.

These are the measures, on arrays. `audit_run` applies them to whole tables, and `audit_report` writes what came of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial.distance import jensenshannon

from ..errors import GuidanceError
from ..guidance.geometry import Rectangle, grid_cells
from ..guidance.schema import FULL_FRAME

MEASURES = ("pointing_accuracy", "mass_inside", "precision", "recall", "iou", "share_marked")
"""What `score_maps` gives, in its order; the fields of `Agreement` say what they are."""

DISTANCES = ("total_variation", "jensen_shannon_bits", "correlation")
"""What `map_distances` gives, in its order."""


@dataclass(frozen=True)
class Agreement:
    """Agreement of guidance with true cells, as means over the frames that have both.

    Args:
        num_frames: Number of frames that were compared.
        pointing_accuracy: Share of frames whose heaviest cell is a true one; cells that tie share the point.
        mass_inside: Share of the guidance that lies on true cells.
        precision: Share of the marked cells that are true.
        recall: Share of the true cells that are marked.
        iou: Intersection over union of marked and true cells.
        share_marked: Share of all cells that are marked.
    """

    num_frames: int
    pointing_accuracy: float
    mass_inside: float
    precision: float
    recall: float
    iou: float
    share_marked: float


def compare_with_cells(weights: Sequence[np.ndarray], cells: Sequence[np.ndarray]) -> Agreement:
    """Compare maps with true cells, frame by frame.

    A cell is marked when it has more than half of the weight that evenly spread guidance would give it.

    Args:
        weights: Map of each frame, (cells,), non-negative. Frames where all are zero are left out.
        cells: True cells of each frame, booleans (cells,). Frames without a true cell are left out.

    Raises:
        GuidanceError: the lists or grids differ in size, or no frame can be compared.
    """
    if len(weights) != len(cells):
        raise GuidanceError(f"{len(weights)} maps cannot be compared with the cells of {len(cells)} frames")
    rows = []
    for number, (frame_weights, truth) in enumerate(zip(weights, cells, strict=True)):
        frame_weights, truth = np.asarray(frame_weights, dtype=np.float64), np.asarray(truth, dtype=bool)
        if frame_weights.shape != truth.shape:
            raise GuidanceError(f"frame {number}: a map of {frame_weights.size} cells against {truth.size} true ones")
        if frame_weights.sum() > 0 and truth.any():
            rows.append(score_maps(frame_weights[None] / frame_weights.sum(), truth)[0])
    if not rows:
        raise GuidanceError("no frame has both guidance and true cells")
    return Agreement(len(rows), *(float(mean) for mean in np.mean(rows, axis=0)))


def marked_cells(weights: np.ndarray) -> np.ndarray:
    """Which cells of a distribution count as marked: those with more than half of what an even spread gives each.

    Args:
        weights: Weights of shape (..., cells), each map summing to 1.

    Returns:
        Booleans of the same shape; at least one cell of each map is marked.
    """
    return weights > 0.5 / weights.shape[-1]


def score_maps(weights: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """Score several maps of one frame against its true cells.

    Args:
        weights: Weights of shape (maps, cells), each map summing to 1.
        cells: The true cells, booleans (cells,), at least one of them true.

    Returns:
        Shape (maps, 6), in the order of `MEASURES`.
    """
    # close and not equal: weights of equal cells differ after float32 and resampling
    heaviest = np.isclose(weights, weights.max(axis=1, keepdims=True), rtol=1e-6)
    marked = marked_cells(weights)
    num_marked, num_both = marked.sum(axis=1), (marked & cells).sum(axis=1)
    return np.stack(
        [
            (heaviest & cells).sum(axis=1) / heaviest.sum(axis=1),
            weights[:, cells].sum(axis=1),
            num_both / num_marked,
            num_both / cells.sum(),
            num_both / (marked | cells).sum(axis=1),
            num_marked / len(cells),
        ],
        axis=1,
    )


def map_distances(weights: np.ndarray, other: np.ndarray) -> np.ndarray:
    """How far several maps of one frame are from another map of it, cell by cell.

    Args:
        weights: Weights of shape (maps, cells), each map summing to 1.
        other: The other map, (cells,), summing to 1.

    Returns:
        Shape (maps, 3), in the order of `DISTANCES`: the total variation distance, in [0, 1]; the Jensen-Shannon
        divergence in bits, in [0, 1]; and Pearson's correlation over the cells, NaN where a map is even.
    """
    total_variation = np.abs(weights - other).sum(axis=1) / 2
    # scipy gives the root of the divergence; rounding can put a zero a hair below zero
    divergence = np.nan_to_num(jensenshannon(weights, other[None], base=2, axis=1)) ** 2
    return np.stack([total_variation, divergence, _correlation(weights, other)], axis=1)


def _correlation(weights: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(maps, cells) and (cells,) -> (maps,)."""
    deviations, other_deviations = weights - weights.mean(axis=1, keepdims=True), other - other.mean()
    scale = np.sqrt((deviations**2).sum(axis=1) * (other_deviations**2).sum())
    # an even map has no correlation with anything; what rounding leaves of its deviations is no signal
    return np.where(scale > 1e-12, deviations @ other_deviations / np.maximum(scale, 1e-12), np.nan)


def centre_prior(grid: tuple[int, int], sigma: float = 0.25, rectangle: Rectangle = FULL_FRAME) -> np.ndarray:
    """What knows nothing but that cameras point at people: a normal distribution about the frame's centre.

    Args:
        grid: The grid's size as (rows, columns).
        sigma: Standard deviation as a share of the frame's sides.
        rectangle: The part of the frame that the grid covers, (x0, y0, x1, y1) in [0, 1].

    Returns:
        Shape (rows * columns,), summing to 1.
    """
    # about the centre of the frame, not of the grid: a grid may cover a part of the frame only
    boxes = grid_cells(grid, rectangle)
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    density = np.exp(-((centres - 0.5) ** 2).sum(axis=1) / (2 * sigma**2))
    return density / density.sum()


def uniform_prior(grid: tuple[int, int]) -> np.ndarray:
    """Every cell alike: (rows * columns,), summing to 1."""
    cells = grid[0] * grid[1]
    return np.full(cells, 1 / cells)
