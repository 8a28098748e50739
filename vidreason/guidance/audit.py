"""How good guidance is: a table's maps against cells that are known to be right, beside what knows nothing scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import GuidanceError
from .geometry import grid_cells


@dataclass(frozen=True)
class Agreement:
    """Agreement of guidance with true cells, as means over the frames that have both.

    Args:
        num_frames: that were compared.
        pointing_accuracy: share of frames whose heaviest cell is a true one; cells that tie share the point.
        mass_inside: share of the guidance that lies on true cells.
        precision: share of the marked cells that are true.
        recall: share of the true cells that are marked.
        iou: marked and true cells, intersection over union.
        share_marked: of all cells.
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
        weights: (cells,) for each frame, non-negative. Frames where all are zero are left out.
        cells: (cells,) booleans for each frame. Frames without a true cell are left out.

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
            rows.append(_compare_frame(frame_weights / frame_weights.sum(), truth))
    if not rows:
        raise GuidanceError("no frame has both guidance and true cells")
    return Agreement(len(rows), *(float(mean) for mean in np.mean(rows, axis=0)))


def _compare_frame(weights: np.ndarray, truth: np.ndarray) -> tuple[float, ...]:
    heaviest = np.isclose(weights, weights.max(), rtol=1e-6)
    marked = weights > 0.5 / weights.size
    both = (marked & truth).sum()
    return (
        truth[heaviest].mean(),
        weights[truth].sum(),
        both / marked.sum(),
        both / truth.sum(),
        both / (marked | truth).sum(),
        marked.mean(),
    )


def centre_prior(grid: tuple[int, int], sigma: float = 0.25) -> np.ndarray:
    """What knows nothing but that cameras point at people: a normal distribution about the frame's centre.

    Args:
        grid: (rows, columns).
        sigma: standard deviation as a share of the frame's sides.

    Returns:
        Shape (rows * columns,), summing to 1.
    """
    boxes = grid_cells(grid)
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    density = np.exp(-((centres - 0.5) ** 2).sum(axis=1) / (2 * sigma**2))
    return density / density.sum()


def uniform_prior(grid: tuple[int, int]) -> np.ndarray:
    """Every cell alike: (rows * columns,), summing to 1."""
    cells = grid[0] * grid[1]
    return np.full(cells, 1 / cells)
