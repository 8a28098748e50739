"""Figures of a study, drawn with the Agg backend and without pyplot's global state."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ..errors import VidreasonError

# Okabe and Ito's palette, which stays apart for colour-blind readers; its yellow is left out, too pale on white
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
LINE_STYLES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")


@dataclass(frozen=True)
class Panel:
    """One panel of a figure of curves.

    Args:
        title: above the panel.
        y_label: with the unit.
        keys: of the log's entries; for each run the first key that it has is drawn.
    """

    title: str
    y_label: str
    keys: tuple[str, ...]


@dataclass(frozen=True)
class Mark:
    """A mean with its interval at a place along the horizontal axis.

    Args:
        x: the place.
        mean: drawn as a point.
        interval: (low, high); None where there is none.
    """

    x: float
    mean: float
    interval: tuple[float, float] | None = None


TRAINING_PANELS = (
    Panel("Total training loss", "loss (nats)", ("loss",)),
    Panel("Accuracy", "top-1 accuracy (fraction)", ("eval_top1", "eval_validation_top1", "eval_test_top1")),
    Panel("Spatial alignment loss", "KL divergence (nats)", ("loss_spatial",)),
    Panel("Temporal consistency loss", "JS divergence (nats)", ("loss_temporal",)),
)
"""The panels of the paper's figure 5, in its order."""


def plot_training_curves(
    histories: Mapping[str, Sequence[Mapping[str, Any]]],
    path: str | os.PathLike,
    panels: Sequence[Panel] = TRAINING_PANELS,
    x_key: str = "epoch",
) -> Path:
    """Draw the curves of several runs in one figure, two panels to a row, after the paper's figure 5.

    A panel's legend says which runs have no values for it, and how many values of a run are not finite.

    Args:
        histories: `log_history` of the trainer state, by name of the run.
        path: of the image; its suffix gives the format.
        panels: what is drawn.
        x_key: the entry of the log along the horizontal axis, "epoch" or "step".

    Returns:
        `path`.

    Raises:
        VidreasonError: there are no runs or no panels.
    """
    if not histories or not panels:
        raise VidreasonError("a figure of training curves needs at least one run and one panel")
    num_rows = math.ceil(len(panels) / 2)
    figure = Figure(figsize=(10, 3.6 * num_rows), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(num_rows, 2, squeeze=False).ravel()
    for axis, panel in itertools.zip_longest(axes, panels):
        if panel is None:
            axis.set_axis_off()
        else:
            _draw_panel(axis, panel, histories, x_key)
    return _save(figure, path)


def plot_points(
    panels: Mapping[str, Mapping[str, Sequence[Mark]]], groups: Sequence[str], path: str | os.PathLike, y_label: str
) -> Path:
    """Draw means with their intervals, the series of a group side by side, and a panel for each split.

    Args:
        panels: {title: {series: marks}}; the `x` of a mark is the number of its group.
        groups: their names, in order.
        path: of the image.
        y_label: with the unit.

    Returns:
        `path`.

    Raises:
        VidreasonError: there is nothing to draw.
    """
    series = _series(panels)
    if not series or not groups:
        raise VidreasonError("a figure of points needs at least one panel, one series and one group")
    width = 2.4 + 0.22 * len(groups) * (len(series) + 1)
    figure, axes = _panels(panels, y_label, width=min(width, 6.5))
    # names that would run into one another are slanted
    slanted = {"rotation": 35, "ha": "right", "rotation_mode": "anchor"} if sum(map(len, groups)) > 45 else {}
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
    return _save(figure, path)


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
        path: of the image.
        x_label: with the unit.
        y_label: with the unit.
        levels: {title: {series: mark}} of what does not change along the axis, drawn straight across.

    Returns:
        `path`.

    Raises:
        VidreasonError: there is nothing to draw.
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
            banded = [mark for mark in marks if mark.interval]
            ends = list(zip(*(mark.interval for mark in banded), strict=True)) or [(), ()]
            axis.fill_between([mark.x for mark in banded], *ends, color=style["color"], alpha=0.15, linewidth=0)
            if len(banded) == 1:  # a band of one place has no width
                axis.vlines(banded[0].x, *ends, color=style["color"])
            if name in levels.get(title, {}):
                level = levels[title][name]
                axis.axhline(level.mean, color=style["color"], linestyle=style["linestyle"], linewidth=1.8)
                axis.axhspan(*(level.interval or (level.mean,) * 2), color=style["color"], alpha=0.1, linewidth=0)
        axis.set_xticks(sorted({mark.x for marks in lines.values() for mark in marks}))  # only what was measured
        axis.set_xlabel(x_label)
    _add_legend(figure, _legend_names(series, panels, levels), lambda number: _line_style(number, 2))
    return _save(figure, path)


def _series(panels: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The names of all panels' series, in order."""
    return list(dict.fromkeys(name for lines in panels.values() for name in lines))


def _legend_names(series: Sequence[str], *drawn: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The series' names, with a word where none of them has anything to draw."""
    seen = {name for panels in drawn for lines in panels.values() for name, marks in lines.items() if marks}
    return [name if name in seen or not name else f"{name}: not run" for name in series]


def _panels(panels: Mapping[str, Any], y_label: str, width: float) -> tuple[Figure, list[Axes]]:
    """A figure with a panel for each title, side by side."""
    figure = Figure(figsize=(max(3.6, width) * len(panels), 3.9), layout="constrained")
    FigureCanvasAgg(figure)
    axes = list(figure.subplots(1, len(panels), squeeze=False).ravel())
    for axis, title in zip(axes, panels, strict=True):
        axis.set(title=title, ylabel=y_label)
        axis.grid(alpha=0.3)
    return figure, axes


def _add_legend(figure: Figure, series: Sequence[str], style: Callable[[int], dict[str, Any]]) -> None:
    """One legend for all panels, below them; none for a single nameless series."""
    if any(series):
        handles = [Line2D([], [], label=name, **style(number)) for number, name in enumerate(series)]
        figure.legend(handles=handles, loc="outside lower center", ncols=min(len(series), 5), fontsize="small")


def _save(figure: Figure, path: str | os.PathLike) -> Path:
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
    if any(len(line.get_xdata()) for line in axis.lines):
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
