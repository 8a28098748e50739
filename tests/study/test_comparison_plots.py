"""Figures that compare settings: points with intervals, and lines with bands."""

import numpy as np
import pytest
from PIL import Image

from vidreason.errors import VidreasonError
from vidreason.reporting.plots import COLORS, Mark, plot_lines, plot_points


def legend(figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def is_drawn(path) -> bool:
    return np.asarray(Image.open(path).convert("RGB")).std() > 5


PANELS = {
    "test": {"plain": [Mark(0, 40.0, (38.0, 42.0)), Mark(1, 30.0)], "rs": [Mark(0, 50.0, (45.0, 55.0))]},
    "test_shifted": {"plain": [Mark(0, 10.0, (9.0, 11.0))]},
}


def test_points_stand_side_by_side_with_their_intervals(tmp_path, drawn):
    path = plot_points(PANELS, ["tsvit", "vivit"], tmp_path / "new" / "points.png", "top-1 (%)")
    left, right = drawn[0].axes
    bars = [container.lines for container in left.containers]
    places = [(data.get_xdata()[0], data.get_ydata()[0]) for data, _, _ in bars]
    assert [y for _, y in places] == [40.0, 30.0, 50.0]
    assert places[0][0] < 0 < places[2][0] < 0.5 < places[1][0] < 1
    segments = [bar_lines[0].get_segments()[0][:, 1].tolist() for _, _, bar_lines in bars]
    assert segments == [[38.0, 42.0], [30.0, 30.0], [45.0, 55.0]]
    assert [label.get_text() for label in right.get_xticklabels()] == ["tsvit", "vivit"]
    assert [axis.get_title() for axis in (left, right)] == ["test", "test_shifted"]
    assert legend(drawn[0]) == ["plain", "rs"]
    assert bars[0][0].get_color() == COLORS[0] != bars[2][0].get_color()
    assert bars[0][0].get_marker() != bars[2][0].get_marker()  # apart without colours too
    assert is_drawn(path)


def test_a_single_series_needs_no_legend(tmp_path, drawn):
    plot_points({"test": {"": [Mark(0, 1.0)]}}, ["a"], tmp_path / "a.png", "loss (nats)")
    assert drawn[0].legends == []


def test_lines_go_from_left_to_right_with_their_bands(tmp_path, drawn):
    marks = [Mark(100, 3.0, (2.0, 4.0)), Mark(10, 1.0, (0.5, 1.5)), Mark(50, 2.0)]
    levels = {"test": {"plain": Mark(0, 0.5, (0.4, 0.6))}}
    path = plot_lines({"test": {"rs": marks}}, tmp_path / "lines.png", "share (%)", "top-1 (%)", levels)
    (axis,) = drawn[0].axes
    empty, level, line = axis.lines[0], axis.lines[1], axis.lines[2]
    assert len(empty.get_xdata()) == 0
    assert line.get_xydata().tolist() == [[10, 1.0], [50, 2.0], [100, 3.0]]
    assert list(level.get_ydata()) == [0.5, 0.5]
    assert level.get_color() != line.get_color()
    band = axis.collections[-1].get_paths()[0].vertices
    assert {(10.0, 0.5), (10.0, 1.5), (100.0, 2.0), (100.0, 4.0)} <= set(map(tuple, band))
    assert axis.get_xticks().tolist() == [10, 50, 100]
    assert axis.get_xlabel() == "share (%)"
    assert legend(drawn[0]) == ["plain", "rs"]
    assert is_drawn(path)


def test_a_single_place_on_a_line_shows_its_interval(tmp_path, drawn):
    plot_lines({"test": {"rs": [Mark(50, 2.0, (1.0, 3.0))]}}, tmp_path / "lines.png", "share (%)", "top-1 (%)")
    (bar,) = drawn[0].axes[0].collections[-1].get_segments()
    assert bar.tolist() == [[50, 1.0], [50, 3.0]]


def test_a_legend_says_which_series_were_not_run(tmp_path, drawn):
    panels = {"test": {"rs": [Mark(50, 2.0)], "ours": []}, "test_shifted": {"rs": [], "ours": []}}
    plot_lines(panels, tmp_path / "lines.png", "share (%)", "top-1 (%)", {"test": {"plain": Mark(0, 0.5)}})
    plot_points(panels, ["a"], tmp_path / "points.png", "top-1 (%)")
    assert legend(drawn[0]) == ["plain", "rs", "ours: not run"]
    assert legend(drawn[1]) == ["rs", "ours: not run"]


def test_drawing_again_gives_the_same_file(tmp_path):
    paths = [plot_points(PANELS, ["a", "b"], tmp_path / name, "top-1 (%)") for name in ("a.png", "b.png")]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert b"Software" not in paths[0].read_bytes()


def test_nothing_to_draw_is_an_error(tmp_path):
    with pytest.raises(VidreasonError, match="at least one panel, one series and one group"):
        plot_points({"test": {}}, ["a"], tmp_path / "a.png", "y")
    with pytest.raises(VidreasonError, match="at least one panel and one series"):
        plot_lines({}, tmp_path / "a.png", "x", "y")
