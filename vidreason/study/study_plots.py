"""The figures that a study file asks for.

    plots:
      - {kind: points, metric: top1, group: backbone, series: supervision, where: {share: "100"}}
      - {kind: lines, metric: top1, x: guidance, x_label: wrong cells (%), series: supervision,
         positions: {wrong_0: 0, wrong_50: 50, wrong_100: 100}, level: [unused]}

`points` draws each setting with its interval, the series (if any) side by side within each group. `lines` draws a
line with a band over an axis whose values are numbers, or are given numbers by `positions`; a setting whose value on
that axis is among `level`, such as plain training without guidance, goes straight across. `where` keeps some settings
only, and every plot has a panel for each split.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from ..reporting.plots import Mark, plot_lines, plot_points
from ..reporting.statistics import Summary
from ..reporting.tables import MetricStyle
from .comparison import Result
from .design import Cell, Study

KEYS = {
    "points": ("kind", "metric", "group", "series", "where"),
    "lines": ("kind", "metric", "x", "x_label", "series", "where", "positions", "level"),
}


def check_plots(study: Study) -> None:
    """Check what a study says of its figures, before hours are spent on the runs for them.

    Raises:
        ConfigError: A figure cannot be drawn; the message names the plot and the key.
    """
    for number, plot in enumerate(study.plots, start=1):
        where = f"{study.path}: plots, number {number}"
        if not isinstance(plot, dict) or plot.get("kind") not in KEYS:
            raise ConfigError(f"{where}: expected a mapping whose kind is one of {list(KEYS)}")
        unknown = sorted(set(plot) - set(KEYS[plot["kind"]]))
        axis_key = "group" if plot["kind"] == "points" else "x"
        missing = [key for key in ("metric", axis_key) if key not in plot]
        if unknown or missing:
            raise ConfigError(f"{where}: missing keys {missing}, unknown keys {unknown}")
        if plot["metric"] not in study.metrics:
            raise ConfigError(f"{where}: metric {plot['metric']!r} is not among the study's {list(study.metrics)}")
        axes = [plot.get("series", plot[axis_key]), plot[axis_key], *plot.get("where", {})]
        if any(axis not in study.axes for axis in axes):
            raise ConfigError(f"{where}: {axes} are not all axes; there are {list(study.axes)}")
        _check_cells(study, plot, axis_key, where)


def _check_cells(study: Study, plot: dict[str, Any], axis_key: str, where: str) -> None:
    places: dict[tuple[str, str], Cell] = {}
    for cell in _chosen(study, plot):
        if plot["kind"] == "lines" and not _is_level(plot, cell):
            _position(plot, cell, where)
        place = (_series(plot, cell), cell.values[plot[axis_key]])
        if place in places:
            raise ConfigError(f"{where}: {places[place].name} and {cell.name} fall on one place; name one in `where`")
        places[place] = cell
    if not places:
        raise ConfigError(f"{where}: no setting fits `where`")


def draw_plots(study: Study, results: Sequence[Result], folder: Path) -> dict[str, Path]:
    """Draw the figures of a study that have anything to show: what they show in words -> file.

    Raises:
        ConfigError: A figure cannot be drawn (`check_plots`).
    """
    check_plots(study)
    drawn = {}
    for number, plot in enumerate(study.plots, start=1):
        path = folder / f"plot_{number}_{plot['metric']}.png"
        style = study.system.metric_styles[plot["metric"]]
        found = [result for result in results if result.metric == plot["metric"] and result.summary is not None]
        if not found:
            path.unlink(missing_ok=True)
            continue
        draw = _draw_points if plot["kind"] == "points" else _draw_lines
        draw(study, plot, found, path, style)
        by = plot["group"] if plot["kind"] == "points" else plot.get("x_label", plot["x"])
        names = " and ".join([*([plot["series"]] if "series" in plot else []), by])
        drawn[f"{style.label} by {names}, with 95 % intervals"] = path
    return drawn


def _draw_points(study: Study, plot: dict[str, Any], results: list[Result], path: Path, style: MetricStyle) -> None:
    cells = _chosen(study, plot)
    groups = list(dict.fromkeys(cell.values[plot["group"]] for cell in cells))
    panels: dict[str, dict[str, list[Mark]]] = {}
    for split in study.splits:
        panel = panels.setdefault(split, {})
        for cell in cells:
            marks = panel.setdefault(_series(plot, cell), [])
            marks += _marks(results, cell, split, groups.index(cell.values[plot["group"]]), style.scale)
    plot_points(panels, [_name(group) for group in groups], path, style.label)


def _draw_lines(study: Study, plot: dict[str, Any], results: list[Result], path: Path, style: MetricStyle) -> None:
    panels: dict[str, dict[str, list[Mark]]] = {}
    levels: dict[str, dict[str, Mark]] = {}
    for split in study.splits:
        lines, level = panels.setdefault(split, {}), levels.setdefault(split, {})
        for cell in _chosen(study, plot):
            series = _series(plot, cell)
            if _is_level(plot, cell):
                level.update((series, mark) for mark in _marks(results, cell, split, 0.0, style.scale))
            else:
                lines.setdefault(series, []).extend(
                    _marks(results, cell, split, _position(plot, cell, str(study.path)), style.scale)
                )
    plot_lines(panels, path, plot.get("x_label", _name(plot["x"])), style.label, levels)


def _marks(results: list[Result], cell: Cell, split: str, x: float, scale: float) -> list[Mark]:
    """The mark of a setting, or none where it was not run."""
    found = [result.summary for result in results if result.cell == cell and result.split == split]
    return [_mark(x, summary, scale) for summary in found if summary is not None]


def _mark(x: float, summary: Summary, scale: float) -> Mark:
    if summary.interval is None:
        return Mark(x, summary.mean * scale)
    low, high = summary.interval
    return Mark(x, summary.mean * scale, (low * scale, high * scale))


def _chosen(study: Study, plot: dict[str, Any]) -> list[Cell]:
    """The settings that `where` keeps."""
    wanted = {
        axis: {str(value) for value in (values if isinstance(values, list) else [values])}
        for axis, values in plot.get("where", {}).items()
    }
    return [cell for cell in study.cells if all(cell.values[axis] in values for axis, values in wanted.items())]


def _series(plot: dict[str, Any], cell: Cell) -> str:
    """The name of the series that a setting belongs to; nameless where there is one only."""
    return _name(cell.values[plot["series"]]) if "series" in plot else ""


def _is_level(plot: dict[str, Any], cell: Cell) -> bool:
    return cell.values[plot["x"]] in [str(value) for value in plot.get("level", [])]


def _position(plot: dict[str, Any], cell: Cell, where: str) -> float:
    value = cell.values[plot["x"]]
    positions = {str(name): position for name, position in plot.get("positions", {}).items()}
    try:
        return float(positions.get(value, value))
    except ValueError:
        raise ConfigError(f"{where}: {plot['x']} {value!r} is no number; give it one under `positions`") from None


def _name(value: str) -> str:
    return value.replace("_", " ")
