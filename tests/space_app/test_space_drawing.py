"""What is painted and charted: the right colour in the right cell, whatever way up the video is."""

import base64
import io
import re
import xml.etree.ElementTree as ElementTree

import matplotlib
import numpy as np
import pytest
from clipview.agreement import FrameAgreement, summarize
from clipview.analysis import Analysis
from clipview.charts import agreement_chart, attention_scale, curve_points, label_bars, view_bars
from clipview.limits import Deadline, Refused
from clipview.painting import enlarge, paint_attention, paint_guidance, write_attention, write_guidance
from clipview.reading import read_clip
from clipview.settings import Drawing
from clipview.strip import make_strip, strip_html
from fixtures.space_clips import quadrant_frames, rotate_flag, write_clip
from PIL import Image

from vidreason.attention.visualize import comparison_frame
from vidreason.guidance import GridMap
from vidreason.video import decode_frames, overlay, overlay_grid, overlay_heatmap, probe_video, side_by_side
from vidreason.video.overlay import ATTENTION_PEAK

GUIDANCE_COLOR = (255, 64, 64)
GREY = np.full((64, 96, 3), 100, np.uint8)
PATIENT = Deadline(float("inf"))  # it is made when tests are collected, minutes before some of them run


def one_hot(cell, grid=(4, 4), rectangle=(0.0, 0.0, 1.0, 1.0)):
    return GridMap(np.eye(grid[0] * grid[1], dtype=np.float32)[cell], grid, rectangle)


def cell_means(picture, grid=(4, 4)):
    """(rows * cols, 3): the mean colour of each cell, where the grid divides the picture."""
    height, width = picture.shape[:2]
    cells = picture.reshape(grid[0], height // grid[0], grid[1], width // grid[1], 3)
    return cells.mean(axis=(1, 3)).reshape(-1, 3)


# attention


@pytest.mark.parametrize("cell", range(16))
def test_a_one_hot_map_colours_its_cell_and_no_other(cell):
    means = cell_means(paint_attention(GREY, one_hot(cell), 0.5).astype(float))
    hottest = np.asarray(matplotlib.colormaps["magma"](1.0)[:3]) * 255
    coldest = np.asarray(matplotlib.colormaps["magma"](0.0)[:3]) * 255
    np.testing.assert_allclose(means[cell], 50 + hottest / 2, atol=1)
    np.testing.assert_allclose(np.delete(means, cell, axis=0), np.tile(50 + coldest / 2, (15, 1)), atol=1)


def test_the_strength_is_the_share_of_the_colours():
    full, none = (paint_attention(GREY, one_hot(5), strength) for strength in (1.0, 0.0))
    np.testing.assert_array_equal(none, GREY)
    hottest = np.rint(np.asarray(matplotlib.colormaps["magma"](1.0)[:3]) * 255)
    np.testing.assert_allclose(full[20, 30], hottest, atol=1)


def test_what_the_model_does_not_see_stays_as_it_is():
    painted = paint_attention(GREY, one_hot(0, rectangle=(0.25, 0.0, 0.75, 1.0)), 0.5)
    np.testing.assert_array_equal(painted[:, :24], GREY[:, :24])
    np.testing.assert_array_equal(painted[:, 72:], GREY[:, 72:])
    hot = (painted[..., 0] > 150).nonzero()
    assert (hot[0].min(), hot[0].max(), hot[1].min(), hot[1].max()) == (0, 15, 24, 35)


@pytest.mark.parametrize(("size", "grid"), [((61, 83), (4, 4)), ((50, 37), (7, 3))])
def test_it_is_the_librarys_picture_on_one_scale(size, grid):
    """A quiet map is not stretched to its own heaviest cell, here or in the pictures of `vidreason.attention`."""
    rng = np.random.default_rng(1)
    frame = rng.integers(0, 255, (*size, 3), dtype=np.uint8)
    weights = rng.dirichlet(np.ones(grid[0] * grid[1])).astype(np.float32)
    assert weights.max() < ATTENTION_PEAK
    seen, said = GridMap(weights, grid), GridMap(weights[::-1], grid)
    ours = paint_attention(frame, seen, 0.5), paint_guidance(frame, said)
    np.testing.assert_array_equal(ours[0], overlay_heatmap(frame, weights, grid, alpha=0.5, peak=ATTENTION_PEAK))
    np.testing.assert_array_equal(ours[1], overlay_grid(frame, weights[::-1], grid))
    stretched = overlay_heatmap(frame, weights, grid, alpha=0.5)
    assert np.abs(ours[0].astype(int) - stretched).max() > 20
    panels = side_by_side([("a", ours[0]), ("guidance", ours[1])], 100)
    np.testing.assert_array_equal(panels, comparison_frame(frame, {"a": seen}, said, height_px=100))


def test_the_same_share_has_the_same_colour_in_compared_panels_and_in_the_scale_that_the_page_shows():
    quiet, loud = np.full(16, 0.05), np.full(16, 0.02)
    quiet[5], loud[5], loud[6] = 0.25, 0.25, 0.45
    panels = [paint_attention(GREY, GridMap(weights, (4, 4)), 1.0) for weights in (quiet, loud)]
    np.testing.assert_array_equal(panels[0][20, 30], panels[1][20, 30])
    html = attention_scale()
    bar = np.asarray(Image.open(io.BytesIO(base64.b64decode(re.search(r"base64,([^\"]+)", html)[1]))))
    assert bar.shape == (1, 256, 3) and "50 % or more" in html
    np.testing.assert_array_equal(bar[0, 128], panels[0][20, 30])  # half of the way: half of the scale's end
    np.testing.assert_array_equal(bar[0], np.rint(overlay._magma() * 255))


# guidance


def test_guidance_tints_its_cells_and_its_absence_is_grey():
    red = np.zeros((64, 96, 3), np.uint8) + np.asarray([200, 40, 40], np.uint8)
    weights = np.zeros(16)
    weights[[6, 9]] = 0.5
    inner = paint_guidance(GREY, GridMap(weights, (4, 4)))[20:28:4, 60]  # inside cell 6, off the lines
    np.testing.assert_allclose(inner, np.tile(50 + np.asarray(GUIDANCE_COLOR) / 2, (2, 1)), atol=1)
    np.testing.assert_array_equal(paint_guidance(GREY, GridMap(weights, (4, 4)))[4, 4], GREY[4, 4])
    bare = paint_guidance(red, None)
    luma = 0.299 * 200 + 0.587 * 40 + 0.114 * 40
    assert np.ptp(bare, axis=2).max() == 0 and abs(int(bare[0, 0, 0]) - luma) <= 1


# tiny pictures


@pytest.mark.parametrize(
    ("size", "expected"), [((1, 1), (64, 64)), ((2, 3), (64, 96)), ((1, 448), (1, 448)), ((100, 70), (100, 70))]
)
def test_tiny_pictures_are_drawn_larger_pixel_by_pixel(size, expected):
    frame = np.random.default_rng(0).integers(0, 255, (*size, 3), dtype=np.uint8)
    large = enlarge(frame, 448)
    assert large.shape[:2] == expected
    factor = expected[0] // size[0]
    np.testing.assert_array_equal(large[factor // 2 :: factor, factor // 2 :: factor], frame)


# videos


@pytest.mark.parametrize(("turns", "size"), [(0, (64, 96)), (1, (64, 96)), (3, (96, 64)), (2, (96, 64))])
def test_a_written_video_keeps_aspect_and_orientation_and_its_cell(tmp_path, limits, turns, size):
    path = rotate_flag(write_clip(tmp_path / "turned.mp4", quadrant_frames(6, *size), fps=6), turns)
    shown = size if turns % 2 == 0 else size[::-1]  # (height, width) as displayed
    clip = read_clip(path, [2], limits, Drawing())
    cell = 4 * 2 + 1  # third row, second column, of the picture as it is displayed
    attention = [one_hot(cell)] * len(clip.shown)
    drawing = Drawing(crf=5)
    out = write_attention(tmp_path / "out.mp4", clip.frames, clip.shown, attention, 6, 0.6, drawing, PATIENT)
    info = probe_video(out)
    assert (info.height, info.width, info.rotation_deg, info.codec, info.num_frames) == (*shown, 0, "h264", 6)
    picture = decode_frames(out).frames[3].astype(float)
    means = cell_means(picture)[:, 0]
    corner = {0: 0, 1: 3, 2: 15, 3: 12}[turns]  # where the white corner went
    others = np.delete(np.arange(16), [cell, corner])
    assert means[cell] > means[others].max() + 80 and means[corner] > means[others].max() + 30


def test_the_strength_of_zero_writes_the_clip_as_it_is(tmp_path, square):
    attention = [one_hot(0)] * len(square.shown)
    out = write_attention(
        tmp_path / "bare.mp4", square.frames, square.shown, attention, 12, 0.0, Drawing(crf=1), PATIENT
    )
    assert np.abs(decode_frames(out).frames.astype(int) - square.frames[square.shown]).mean() < 2


def test_guidance_videos_are_of_the_same_pictures(tmp_path, square):
    maps = [one_hot(10) if number < 12 else None for number in range(24)]
    out = write_guidance(tmp_path / "cells.mp4", square.frames, square.shown, maps, 12, Drawing(crf=1), PATIENT)
    frames = decode_frames(out).frames.astype(int)
    assert frames.shape == square.frames.shape
    inside = frames[0, 54:66, 70:90].reshape(-1, 3).mean(axis=0)
    assert inside[0] > inside[1] + 60  # red
    assert np.ptp(frames[20], axis=2).max() < 12  # grey


def test_drawing_ends_when_the_time_is_over(tmp_path, square):
    with pytest.raises(Refused, match="too long"):
        write_attention(
            tmp_path / "late.mp4", square.frames, square.shown, [one_hot(0)] * 24, 12, 0.5, Drawing(), Deadline(-1)
        )
    assert not list(tmp_path.iterdir())  # nothing is left behind


# charts


def analysis(probabilities=(0.7, 0.2, 0.1), labels=("wave", "<script>alert(1)</script>", "tap")):
    views = np.asarray([[0.2, 0.5, 0.3], [0.6, 0.3, 0.1], [0.7, 0.2, 0.1]])
    return Analysis(list(labels), np.asarray(probabilities), views, 0.125, [one_hot(3)] * 3)


def test_bars_are_in_order_and_as_long_as_their_shares():
    html = label_bars([("a & b", analysis((0.2, 0.7, 0.1)))])
    assert re.findall(r"width:([\d.]+)%", html) == ["70.0", "20.0", "10.0"]
    assert re.findall(r'vr-value">([\d.]+) %', html) == ["70.0", "20.0", "10.0"]
    assert "<script>" not in html and "&lt;script&gt;" in html and "a &amp; b" in html


def test_views_have_a_list_each_and_their_divergence():
    html = view_bars([("one", analysis()), ("two", analysis())])
    assert html.count("<ol") == 6 and html.count("0.125 nats") == 2
    first = re.findall(r'vr-label">([^<]*)<', html)[:3]
    assert first == ["&lt;script&gt;alert(1)&lt;/script&gt;", "tap", "wave"]  # 0.5, 0.3, 0.2 of the immediate view


def test_curves_have_gaps_where_there_is_no_value():
    lines = curve_points([0.0, 1.0, None, 0.5], [0.0, 1.0, 2.0, 4.0], end_s=4.0, top=100, scale=1.0)
    assert lines == ["58.0,196.0 160.5,100.0", "468.0,148.0"]  # 410 px wide from 58, 96 px high from 100


def test_the_chart_draws_hits_and_misses_and_says_it_in_words():
    frames = [FrameAgreement(0.25, 1.5, False), FrameAgreement(), FrameAgreement(0.75, 0.5, True)]
    html = agreement_chart([("with <b>", frames, summarize(frames))], [0.0, 0.5, 1.0], "movement & more")
    svg = ElementTree.fromstring(re.search(r"<svg.*</svg>", html)[0])
    circles = [item.get("class") for item in svg.iter() if item.tag.endswith("circle")]
    assert circles == ["vr-dot vr-series-0 vr-miss", "vr-dot vr-series-0"]
    assert "50 % of the attention inside the guided cells, 50 % hits, mean KL 1.00 nats" in svg.get("aria-label")
    assert "movement &amp; more" in html and "<b>" not in html
    assert "<td>50 %</td><td>50 %</td><td>1.00</td>" in html and "in 2 of 3 pictures" in html


def test_without_guidance_the_chart_says_so():
    frames = [FrameAgreement()] * 3
    html = agreement_chart([("one", frames, summarize(frames))], [0.0, 0.5, 1.0], "movement")
    assert "<svg" not in html and "nothing to compare" in html


def test_the_strip_shows_every_panel_with_its_caption(square):
    frames = [FrameAgreement(0.5, 1.25, True)] * 24
    seen = Analysis(["a"], np.ones(1), np.ones((3, 1)), 0.0, [one_hot(0)] * 24)
    strip = make_strip(square, [("one", seen, frames), ("two", seen, [FrameAgreement()] * 24)], [None] * 24, count=3)
    assert [caption.split(" s.")[0] for _, caption in strip] == ["0.33", "1.00", "1.67"]  # pictures 4, 12 and 20
    assert strip[0][1].endswith("one: 50 % inside, KL 1.25, hit; two: no guidance")
    picture = strip[0][0]
    assert picture.shape[1] > 3 * 250 and picture.dtype == np.uint8  # three panels of 267 x 200
    assert picture[-190, 20, 0] > picture[-20, 200, 0]  # the first panel's upper left cell is the hot one
    html = strip_html([(picture, 'a "quoted" <name>')])
    assert 'alt="a &quot;quoted&quot; &lt;name&gt;"' in html
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(re.search(r"base64,([^\"]+)", html)[1]))))
    assert shown.shape == picture.shape and np.abs(shown.astype(int) - picture).mean() < 4
