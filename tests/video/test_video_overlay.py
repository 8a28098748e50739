"""Grids and heat maps land on the right pixels."""

import matplotlib
import numpy as np
import pytest

from vidreason.video import decode_frames, overlay, overlay_grid, overlay_heatmap, side_by_side, write_video
from vidreason.video.overlay import cell_edges

SIZES = [(64, 64), (50, 71), (37, 120)]
GRIDS = [(4, 4), (2, 3), (3, 7)]
RECTANGLES = [(0.0, 0.0, 1.0, 1.0), (0.25, 0.1, 0.8, 0.9)]


def gray_frame(height, width):
    return np.full((height, width, 3), 100, dtype=np.uint8)


def one_hot(grid, row, col):
    weights = np.zeros(grid)
    weights[row, col] = 1
    return weights


def expected_mask(size, grid, rectangle, row, col):
    """Pixels (height, width) whose centre is in a cell: the definition, without edges in whole pixels."""
    x0, y0, x1, y1 = rectangle
    height, width = size
    y = ((np.arange(height) + 0.5) / height - y0) / (y1 - y0) * grid[0] + 1e-9
    x = ((np.arange(width) + 0.5) / width - x0) / (x1 - x0) * grid[1] + 1e-9
    return np.outer(np.floor(y) == row, np.floor(x) == col)


@pytest.mark.parametrize("rectangle", RECTANGLES)
@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("size", SIZES)
def test_a_one_hot_cell_colours_the_pixels_whose_centre_it_holds(size, grid, rectangle):
    frame = gray_frame(*size)
    for row in (0, grid[0] - 1):
        for col in (0, grid[1] - 1):
            mask = expected_mask(size, grid, rectangle, row, col)
            weights = one_hot(grid, row, col)
            tinted = overlay_grid(frame, weights.ravel(), grid, rectangle, lines=False)
            np.testing.assert_array_equal((tinted != frame).any(axis=-1), mask)
            heat = overlay_heatmap(frame, weights, grid, alpha=1.0, rectangle=rectangle, colormap="gray")
            np.testing.assert_array_equal((heat == 255).all(axis=-1), mask)
    np.testing.assert_array_equal(frame, gray_frame(*size))


def test_row_0_is_the_top_and_column_0_the_left():
    tinted = overlay_grid(gray_frame(40, 80), [0, 0, 0, 0, 0, 0, 0, 1], (2, 4), lines=False)
    changed = np.argwhere((tinted != 100).any(axis=-1))
    assert changed.min(axis=0).tolist() == [20, 60]
    assert changed.max(axis=0).tolist() == [39, 79]


def test_the_tint_follows_the_weights_and_the_colour():
    tinted = overlay_grid(gray_frame(8, 16), [0, 1, 2, 4], (1, 4), color=(0, 200, 0), lines=False)
    assert tinted[0, ::4].tolist() == [[100, 100, 100], [88, 112, 88], [75, 125, 75], [50, 150, 50]]


def test_weights_of_zero_change_nothing_but_lines():
    frame = gray_frame(40, 40)
    assert (overlay_grid(frame, np.zeros(16), (4, 4), lines=False) == frame).all()
    lines = (overlay_grid(frame, np.zeros(16), (4, 4)) != frame).any(axis=-1)
    assert lines[10].all() and lines[:, 20].all() and lines[0].all() and lines[39].all() and not lines[5, 5]


def test_lines_stay_in_the_rectangle():
    frame = gray_frame(40, 40)
    changed = (overlay_grid(frame, np.zeros(4), (2, 2), rectangle=(0.5, 0.5, 1, 1)) != frame).any(axis=-1)
    assert changed.any() and not changed[:20].any() and not changed[:, :20].any()


def test_the_smooth_heat_map_peaks_where_the_weight_is():
    weights = one_hot((4, 4), 1, 2)
    heat = overlay_heatmap(gray_frame(64, 128), weights, (4, 4), alpha=1.0, colormap="gray", interpolate=True)
    peak = np.argwhere(heat[..., 0] == heat[..., 0].max())
    np.testing.assert_allclose(peak.mean(axis=0), [23.5, 79.5], atol=1)
    assert len(np.unique(heat)) > 20


def test_panels_with_one_peak_have_one_scale():
    """The same weight has the same colour in two panels, whatever else is in them; above the peak it is the last."""
    quiet, loud = np.full(16, 0.05), np.full(16, 0.05)
    quiet[5], loud[5], loud[6] = 0.25, 0.25, 0.9
    black = np.zeros((64, 64, 3), dtype=np.uint8)
    shared = [overlay_heatmap(black, w, (4, 4), alpha=1.0, colormap="gray", peak=0.5) for w in (quiet, loud)]
    assert [int(panel[24, 24, 0]) for panel in shared] == [128, 128]  # half of the peak: half of the 256 colours
    assert int(shared[1][24, 40, 0]) == 255
    own = [overlay_heatmap(black, w, (4, 4), alpha=1.0, colormap="gray") for w in (quiet, loud)]
    assert [int(panel[24, 24, 0]) for panel in own] == [255, 71]  # without it, each has its own


@pytest.mark.parametrize("name", ["magma", "gray"])
def test_colours_are_matplotlibs(name):
    values = np.concatenate([np.arange(1025) / 1024, np.nextafter(np.arange(1, 257) / 256, 0)])
    for dtype in (np.float32, np.float64):
        expected = matplotlib.colormaps[name](values.astype(dtype))[..., :3]
        np.testing.assert_array_equal(overlay._named_colors(name, values.astype(dtype)), expected)
    weights = np.random.default_rng(0).random(16)
    for interpolate in (False, True):
        ours, theirs = (
            overlay_heatmap(gray_frame(50, 71), weights, (4, 4), colormap=colors, interpolate=interpolate)
            for colors in (name, matplotlib.colormaps[name])
        )
        np.testing.assert_array_equal(ours, theirs)
    with pytest.raises(ValueError, match="colormap is 'jet'"):
        overlay_heatmap(gray_frame(8, 8), np.ones(16), (4, 4), colormap="jet")


def test_cells_tile_the_frame():
    rows, cols = cell_edges((47, 101), (4, 6))
    assert (rows[0], rows[-1], cols[0], cols[-1]) == (0, 47, 0, 101)
    assert set(np.diff(rows)) <= {11, 12} and set(np.diff(cols)) <= {16, 17}


def test_cells_smaller_than_a_pixel_do_not_fail():
    frame = gray_frame(8, 8)
    for rectangle in [(0.0, 0.0, 1.0, 1.0), (0.51, 0.51, 0.53, 0.53)]:
        for interpolate in (False, True):
            heat = overlay_heatmap(frame, np.ones(400), (20, 20), rectangle=rectangle, interpolate=interpolate)
            assert heat.shape == frame.shape


BAD_ARGUMENTS = {
    "weights that do not fit": ({"weights": np.ones(15)}, "do not fit a grid of 4 x 4"),
    "transposed weights": ({"weights": np.ones((2, 8)), "grid": (8, 2)}, "do not fit"),
    "negative": ({"weights": -np.ones(16)}, "non-negative"),
    "not finite": ({"weights": np.full(16, np.nan)}, "finite"),
    "rectangle outside": ({"rectangle": (0, 0, 1.2, 1)}, "rectangle"),
    "empty rectangle": ({"rectangle": (0.5, 0, 0.5, 1)}, "rectangle"),
    "float frame": ({"frame": np.zeros((8, 8, 3))}, "uint8"),
    "gray frame": ({"frame": np.zeros((8, 8), np.uint8)}, "uint8"),
}


@pytest.mark.parametrize("overlay", [overlay_grid, overlay_heatmap])
@pytest.mark.parametrize("arguments, message", BAD_ARGUMENTS.values(), ids=BAD_ARGUMENTS.keys())
def test_bad_arguments_are_named(overlay, arguments, message):
    with pytest.raises(ValueError, match=message):
        overlay(**{"frame": gray_frame(8, 8), "weights": np.ones(16), "grid": (4, 4), **arguments})


def test_alpha_outside_its_range():
    with pytest.raises(ValueError, match="alpha"):
        overlay_heatmap(gray_frame(8, 8), np.ones(16), (4, 4), alpha=1.5)


def test_panels_stand_in_order_under_their_titles(tmp_path):
    red, green = gray_frame(30, 41), gray_frame(64, 64)
    red[:], green[:] = (255, 0, 0), (0, 255, 0)
    picture = side_by_side([("first", red), ("second", green)], height_px=101)
    height, width = picture.shape[:2]
    assert height % 2 == 0 and width % 2 == 0 and height > 101
    assert picture[-60, 20].tolist() == [255, 0, 0]
    assert picture[-60, -20].tolist() == [0, 255, 0]
    strip = picture[: height - 102]
    assert (strip[:, : width // 2] < 128).any() and (strip[:, width // 2 :] < 128).any()
    path = write_video(tmp_path / "a.mp4", [picture] * 2, fps=5)
    assert decode_frames(path, indices=[0]).frames.shape == (1, height, width, 3)


def test_a_long_title_stays_over_its_panel():
    blank, titled = ("", gray_frame(40, 40)), ("a title much longer than its panel", gray_frame(40, 40))
    picture = side_by_side([titled, blank], height_px=60)
    assert (picture[:-60, 64:] == 255).all()
    assert (picture[:-60, :60] < 128).any()


@pytest.mark.parametrize(
    "panels, height_px, message", [([], 60, "no panels"), ([("a", gray_frame(4, 4))], 1, "height_px")]
)
def test_panels_that_make_no_sense(panels, height_px, message):
    with pytest.raises(ValueError, match=message):
        side_by_side(panels, height_px)
