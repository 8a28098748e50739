"""Figures of results, drawn with the Agg backend and without pyplot's global state.

matplotlib is imported where a figure is made, so that pages whose figures are not drawn again do not load it.
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import VidreasonError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette, which stays apart for colour-blind readers; its yellow is left out, too pale on white
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
LINE_STYLES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")


@dataclass(frozen=True)
class Panel:
    """One panel of a figure of curves.

    Args:
        title: Text above the panel.
        y_label: Label of the vertical axis, with the unit.
        keys: Keys of the log's entries; for each run the first key that it has is drawn.
    """

    title: str
    y_label: str
    keys: tuple[str, ...]


@dataclass(frozen=True)
class Mark:
    """A mean with its interval at a place along the horizontal axis.

    Args:
        x: Place along the horizontal axis.
        mean: Mean, drawn as a point.
        interval: Ends (low, high) of the mean's interval; None where there is none.
    """

    x: float
    mean: float
    interval: tuple[float, float] | None = None


def new_figure(
    width_in: float, height_in: float, num_rows: int, num_columns: int, **shared: Any
) -> tuple[Figure, Any]:
    """A figure that is drawn by Agg, whatever display there is.

    Args:
        width_in: Width in inches.
        height_in: Height in inches.
        num_rows: Number of rows of panels.
        num_columns: Number of columns of panels.
        shared: Which axes panels share, as `Figure.subplots` takes it.

    Returns:
        The figure, and its axes as an array of shape (num_rows, num_columns).
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_in, height_in), layout="constrained")
    FigureCanvasAgg(figure)  # pyplot would choose a canvas by the machine, and keep the figure for ever
    return figure, figure.subplots(num_rows, num_columns, squeeze=False, **shared)


def plot_training_curves(
    histories: Mapping[str, Sequence[Mapping[str, Any]]],
    path: str | os.PathLike,
    panels: Sequence[Panel],
    x_key: str = "epoch",
) -> Path:
    """Draw the curves of several runs in one figure, two panels to a row, after the paper's figure 5.

    A panel's legend says which runs have no values for it, and how many values of a run are not finite.

    Args:
        histories: `log_history` of the trainer state, by name of the run.
        path: File of the image; its suffix gives the format.
        panels: What is drawn, in order.
        x_key: Key of the log's entries along the horizontal axis, "epoch" or "step".

    Returns:
        `path`.

    Raises:
        VidreasonError: There are no runs or no panels.
    """
    if not histories or not panels:
        raise VidreasonError("a figure of training curves needs at least one run and one panel")
    num_rows = math.ceil(len(panels) / 2)
    figure, axes = new_figure(10, 3.6 * num_rows, num_rows, 2)
    for axis, panel in itertools.zip_longest(axes.ravel(), panels):
        if panel is None:
            axis.set_axis_off()
        else:
            _draw_panel(axis, panel, histories, x_key)
    return save_figure(figure, path)


def plot_points(
    panels: Mapping[str, Mapping[str, Sequence[Mark]]], groups: Sequence[str], path: str | os.PathLike, y_label: str
) -> Path:
    """Draw means with their intervals, the series of a group side by side, and a panel for each split.

    Args:
        panels: {title: {series: marks}}; the `x` of a mark is the number of its group.
        groups: Names of the groups, in order.
        path: File of the image.
        y_label: Label of the vertical axis, with the unit.

    Returns:
        `path`.

    Raises:
        VidreasonError: There is nothing to draw.
    """
    series = _series(panels)
    if not series or not groups:
        raise VidreasonError("a figure of points needs at least one panel, one series and one group")
    width = 2.4 + 0.22 * len(groups) * (len(series) + 1)
    figure, axes = _panels(panels, y_label, width=min(width, 6.5))
    # names that would run into one another are slanted
    slanted: dict[str, Any] = (
        {"rotation": 35, "ha": "right", "rotation_mode": "anchor"} if sum(map(len, groups)) > 45 else {}
    )
    for axis, marks_of in zip(axes, panels.values(), strict=True):
        for number, name in enumerate(series):
            shift = 0.8 * ((number + 0.5) / len(series) - 0.5)
            for mark in marks_of.get(name, ()):
                low, high = mark.interval or (mark.mean, mark.mean)
                error = [[mark.mean - low], [high - mark.mean]]
                axis.errorbar(mark.x + shift, mark.mean, error, capsize=3, **_point_style(number))
        axis.set_xticks(range(len(groups)), groups, **slanted)
        axis.set_xlim(-0.5, len(groups) - 0.5)
    _add_legend(figure, _legend_names(series, panels), _point_style)
    return save_figure(figure, path)


def plot_lines(
    panels: Mapping[str, Mapping[str, Sequence[Mark]]],
    path: str | os.PathLike,
    x_label: str,
    y_label: str,
    levels: Mapping[str, Mapping[str, Mark]] | None = None,
) -> Path:
    """Draw lines with bands for their intervals over numbers, and a panel for each split.

    Args:
        panels: {title: {series: marks}}, in any order.
        path: File of the image.
        x_label: Label of the horizontal axis, with the unit.
        y_label: Label of the vertical axis, with the unit.
        levels: {title: {series: mark}}, drawn straight across: what does not change along the axis.

    Returns:
        `path`.

    Raises:
        VidreasonError: There is nothing to draw.
    """
    levels = levels or {}
    series = list(dict.fromkeys([*_series(levels), *_series(panels)]))
    if not series:
        raise VidreasonError("a figure of lines needs at least one panel and one series")
    figure, axes = _panels(panels, y_label, width=4.6)
    for axis, (title, lines) in zip(axes, panels.items(), strict=True):
        for number, name in enumerate(series):
            style = _line_style(number, 2)
            marks = sorted(lines.get(name, ()), key=lambda mark: mark.x)
            axis.plot([mark.x for mark in marks], [mark.mean for mark in marks], label=name, **style)
            banded = [(mark.x, *mark.interval) for mark in marks if mark.interval]
            xs, lows, highs = zip(*banded, strict=True) if banded else ((), (), ())
            axis.fill_between(xs, lows, highs, color=style["color"], alpha=0.15, linewidth=0)
            if len(banded) == 1:  # a band of one place has no width
                axis.vlines(xs, lows, highs, color=style["color"])
            if name in levels.get(title, {}):
                level = levels[title][name]
                axis.axhline(level.mean, color=style["color"], linestyle=style["linestyle"], linewidth=1.8)
                axis.axhspan(*(level.interval or (level.mean,) * 2), color=style["color"], alpha=0.1, linewidth=0)
        axis.set_xticks(sorted({mark.x for marks in lines.values() for mark in marks}))  # only what was measured
        axis.set_xlabel(x_label)
    _add_legend(figure, _legend_names(series, panels, levels), lambda number: _line_style(number, 2))
    return save_figure(figure, path)


def _series(panels: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The names of all panels' series, in order."""
    return list(dict.fromkeys(name for lines in panels.values() for name in lines))


def _legend_names(series: Sequence[str], *drawn: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The series' names, with a word where none of them has anything to draw."""
    seen = {name for panels in drawn for lines in panels.values() for name, marks in lines.items() if marks}
    return [name if name in seen or not name else f"{name}: not run" for name in series]


def _panels(panels: Mapping[str, Any], y_label: str, width: float) -> tuple[Figure, list[Axes]]:
    """A figure with a panel for each title, side by side."""
    figure, axes = new_figure(max(3.6, width) * len(panels), 3.9, 1, len(panels))
    for axis, title in zip(axes.ravel(), panels, strict=True):
        axis.set(title=title, ylabel=y_label)
        axis.grid(alpha=0.3)
    return figure, list(axes.ravel())


def _add_legend(figure: Figure, series: Sequence[str], style: Callable[[int], dict[str, Any]]) -> None:
    """One legend for all panels, below them; none for a single nameless series."""
    from matplotlib.lines import Line2D

    if any(series):
        handles = [Line2D([], [], label=name, **style(number)) for number, name in enumerate(series)]
        # an entry is about an inch and a half wide; five of them side by side are cut off below a single panel
        num_columns = max(1, min(len(series), 5, int(figure.get_figwidth() / 1.5)))
        figure.legend(handles=handles, loc="outside lower center", ncols=num_columns, fontsize="small")


def save_figure(figure: Figure, path: str | os.PathLike) -> Path:
    """Write a figure, making the folders on the way, and return its path; its suffix gives the format."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # without the library's version in a PNG, so that drawing it again changes it less often
    metadata = {"Software": None} if path.suffix == ".png" else None
    figure.savefig(path, dpi=120, metadata=metadata)
    return path


def _point_style(number: int) -> dict[str, Any]:
    return {
        "color": COLORS[number % len(COLORS)],
        "marker": MARKERS[number % len(MARKERS)],
        "markersize": 6,
        "linestyle": "none",
    }


def _draw_panel(axis: Axes, panel: Panel, histories: Mapping[str, Sequence[Mapping[str, Any]]], x_key: str) -> None:
    for index, (name, history) in enumerate(histories.items()):
        xs, ys = _curve(history, panel.keys, x_key)
        bad = sum(not math.isfinite(y) for y in ys)
        if bad:
            name += f" ({bad} of {len(ys)} values not finite)"
        if xs:
            axis.plot(xs, ys, label=name, **_line_style(index, len(xs)))
        else:  # an empty line, so that the legend can say it
            axis.plot([], [], label=f"{name}: not recorded", linestyle="none")
    axis.set(title=panel.title, xlabel=x_key, ylabel=panel.y_label)
    axis.grid(alpha=0.3)
    axis.legend(fontsize="small" if len(histories) <= 4 else "x-small")
    if any(np.size(line.get_xdata()) for line in axis.lines):
        axis.set_ylim(bottom=min(0, axis.get_ylim()[0]))  # noise around a small value is not drawn as large swings
    else:
        axis.text(0.5, 0.5, "not recorded", transform=axis.transAxes, ha="center", va="center", color="0.35")
        axis.set(xticks=[], yticks=[])


def _curve(history: Sequence[Mapping[str, Any]], keys: Sequence[str], x_key: str) -> tuple[list[float], list[float]]:
    """The points of one run, for the first of the keys that its log has."""
    for key in keys:
        points = [(entry[x_key], entry[key]) for entry in history if key in entry and x_key in entry]
        points = [(float(x), float(y)) for x, y in points if y is not None]
        if points:
            xs, ys = zip(*points, strict=True)
            return list(xs), list(ys)
    return [], []


def _line_style(index: int, num_points: int) -> dict[str, Any]:
    """Colours first, then other dashes, so that any number of runs stays apart; few points are marked."""
    return {
        "color": COLORS[index % len(COLORS)],
        "linestyle": LINE_STYLES[index % len(LINE_STYLES)],
        "marker": "o" if num_points <= 20 else None,
        "markersize": 4,
        "linewidth": 1.8,
    }
