"""Figures of a study, drawn with the Agg backend and without pyplot's global state."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ..errors import VidreasonError

# Okabe and Ito's palette, which stays apart for colour-blind readers; its yellow is left out, too pale on white
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
LINE_STYLES = ("-", "--", "-.", ":")


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
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    return path


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
