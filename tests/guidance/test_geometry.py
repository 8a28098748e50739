"""Cells, boxes, points, crops, flips and resampling, on cases that can be worked out by hand."""

import numpy as np
import pytest

from vidreason.errors import GuidanceError
from vidreason.guidance import GridMap, boxes_to_cells, grid_cells, overlap_areas, pad_or_truncate, points_to_cells


def one_hot(cell: int, cells: int = 16) -> np.ndarray:
    return np.eye(cells)[cell]


def test_cells_are_row_major_from_the_top_left():
    cells = grid_cells((2, 4))
    np.testing.assert_allclose(cells[0], [0, 0, 0.25, 0.5])
    np.testing.assert_allclose(cells[3], [0.75, 0, 1, 0.5])
    np.testing.assert_allclose(cells[4], [0, 0.5, 0.25, 1])


def test_cells_of_a_rectangle_stay_inside_it():
    np.testing.assert_allclose(grid_cells((1, 2), (0.5, 0.2, 0.9, 0.4)), [[0.5, 0.2, 0.7, 0.4], [0.7, 0.2, 0.9, 0.4]])


def test_overlap_areas_sum_to_the_part_of_the_box_inside_the_grid():
    rng = np.random.default_rng(0)
    corners = np.sort(rng.uniform(-0.3, 1.3, (50, 2, 2)), axis=1)
    boxes = corners.reshape(50, 4)
    inside = np.clip(boxes, 0, 1)
    expected = (inside[:, 2] - inside[:, 0]) * (inside[:, 3] - inside[:, 1])
    np.testing.assert_allclose(overlap_areas(boxes, (3, 5)).sum(axis=1), expected, atol=1e-12)


@pytest.mark.parametrize(
    ("boxes", "marked"),
    [
        ([[0.3, 0.3, 0.4, 0.4]], [5]),  # inside one cell
        ([[0.0, 0.0, 1.0, 1.0]], list(range(16))),  # the whole frame
        ([[0.26, 0.01, 0.74, 0.24]], [1, 2]),  # two cells side by side
        ([[0.2, 0.05, 0.45, 0.2]], [1]),  # a fifth of it reaches into cell 0: too little to name that cell
        ([[0.245, 0.245, 0.255, 0.255]], [0, 1, 4, 5]),  # small and centred on a corner: a quarter in each
        ([[0.0, 0.0, 0.1, 0.1], [0.9, 0.9, 1.0, 1.0]], [0, 15]),  # two boxes
        ([[1.2, 0.0, 1.4, 0.2]], []),  # outside the frame
        ([], []),
    ],
)
def test_boxes_mark_the_cells_that_a_person_would_name(boxes, marked):
    assert np.flatnonzero(boxes_to_cells(boxes, (4, 4))).tolist() == marked


def test_a_thin_box_over_many_cells_marks_at_least_the_one_it_covers_most():
    marked = boxes_to_cells([[0.0, 0.10, 1.0, 0.11]], (4, 4), min_overlap=0.9)
    assert marked.sum() == 1
    assert np.flatnonzero(marked)[0] < 4


@pytest.mark.parametrize(
    ("point", "cell"), [((0.0, 0.0), 0), ((0.99, 0.01), 3), ((0.25, 0.0), 1), ((1.0, 1.0), 15), ((0.5, 0.75), 14)]
)
def test_points_fall_into_cells(point, cell):
    assert np.flatnonzero(points_to_cells([point], (4, 4))).tolist() == [cell]


def test_points_outside_mark_nothing():
    assert not points_to_cells([(1.2, 0.5), (-0.1, 0.5)], (4, 4)).any()


@pytest.mark.parametrize("cell", range(16))
def test_flips_move_a_cell_to_its_mirror_image(cell):
    row, col = divmod(cell, 4)
    grid_map = GridMap(one_hot(cell), (4, 4))
    assert grid_map.flip_horizontal().weights.argmax() == row * 4 + (3 - col)
    assert grid_map.flip_vertical().weights.argmax() == (3 - row) * 4 + col


def test_flips_mirror_the_rectangle_too():
    grid_map = GridMap(one_hot(0, 2), (1, 2), (0.0, 0.1, 0.5, 0.4))
    flipped = grid_map.flip_horizontal()
    assert flipped.rectangle == (0.5, 0.1, 1.0, 0.4)
    assert flipped.weights.tolist() == [0, 1]
    np.testing.assert_allclose(grid_map.flip_vertical().rectangle, (0.0, 0.6, 0.5, 0.9))


def test_a_crop_to_one_cell_fills_the_view_with_it():
    cropped = GridMap(one_hot(6), (4, 4)).crop((0.5, 0.25, 0.75, 0.5)).resample((2, 2))
    np.testing.assert_allclose(cropped.weights, np.full(4, 0.25))


def test_what_is_cropped_away_is_lost():
    cropped = GridMap(one_hot(0), (4, 4)).crop((0.125, 0.0, 1.0, 1.0)).resample((4, 4))
    assert cropped.weights.sum() == pytest.approx(0.5)
    assert cropped.weights.argmax() == 0


def test_resampling_to_a_finer_grid_and_back_changes_nothing():
    weights = np.random.default_rng(1).dirichlet(np.ones(16), size=3)
    fine = GridMap(weights, (4, 4)).resample((12, 8))
    assert fine.weights.shape == (3, 96)
    np.testing.assert_allclose(fine.resample((4, 4)).weights, weights, atol=1e-12)


def test_resampling_keeps_the_weight_where_it_was():
    fine = GridMap(one_hot(7), (4, 4)).resample((14, 14)).weights.reshape(14, 14)
    rows, cols = np.nonzero(fine)
    assert (rows.min(), rows.max()) == (3, 6)  # 0.25 to 0.5 of 14 rows is 3.5 to 7
    assert (cols.min(), cols.max()) == (10, 13)
    assert fine.sum() == pytest.approx(1)
    assert fine[3, 12] == pytest.approx(fine[4, 12] / 2)  # row 3 lies half inside the cell


def test_weights_that_do_not_fit_the_grid_are_refused():
    with pytest.raises(GuidanceError, match=r"\(15,\) weights do not fit a grid of 4 x 4"):
        GridMap(np.zeros(15), (4, 4))


def test_pad_or_truncate_is_the_papers_rule():
    weights = np.arange(1, 5, dtype=float)
    assert pad_or_truncate(weights, 6).tolist() == [1, 2, 3, 4, 0, 0]
    assert pad_or_truncate(weights, 2).tolist() == [1, 2]
    assert pad_or_truncate(np.ones((3, 4)), 6).shape == (3, 6)
