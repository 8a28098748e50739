"""A timeline of actions: rows of coloured stretches over time, such as the truth above what models say."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from ..errors import VidreasonError
from .labelling import ActionSegment

BACKGROUND_COLOR = "#e6e6e6"
_ROW_HEIGHT_IN, _LEGEND_ROW_IN, _LEGEND_COLUMNS = 0.5, 0.24, 4


def label_colors(labels: Sequence[str], background: Sequence[str] = ()) -> dict[str, str]:
    """A colour for each label, in the order of the labels; those of the background are pale grey."""
    # each has 20 colours; a number picks one of them
    colors = [to_hex(colormaps[name](index)) for name in ("tab20", "tab20b", "tab20c") for index in range(20)]
    actions = [label for label in labels if label not in background]
    chosen = {label: colors[index % len(colors)] for index, label in enumerate(actions)}
    return {label: chosen.get(label, BACKGROUND_COLOR) for label in labels}


def draw_timeline(
    rows: Mapping[str, Sequence[ActionSegment]],
    path: str | os.PathLike,
    labels: Sequence[str],
    background: Sequence[str] = (),
    title: str = "",
) -> Path:
    """Draw a PNG with a row for each list of segments, one above the other over the same time.

    Args:
        rows: Name of the row -> its segments; the first is on top. Times that no segment holds stay white.
        path: File of the PNG.
        labels: All actions, in the order of the legend.
        background: Labels that are drawn pale.
        title: Heading above the rows.

    Raises:
        VidreasonError: There is nothing to draw, or a segment has a label that is not among `labels`.
    """
    colors = label_colors(labels, background)
    unknown = sorted({segment.label for row in rows.values() for segment in row} - set(labels))
    if unknown:
        raise VidreasonError(f"timeline: segments have the labels {unknown}, which are not among {list(labels)}")
    if not any(rows.values()):
        raise VidreasonError("timeline: there are no segments to draw")
    shown = [label for label in labels if any(segment.label == label for row in rows.values() for segment in row)]
    legend_rows = -(-len(shown) // _LEGEND_COLUMNS)
    height = 0.9 + _ROW_HEIGHT_IN * len(rows) + _LEGEND_ROW_IN * legend_rows
    figure = Figure(figsize=(10, height), layout="constrained")
    FigureCanvasAgg(figure)  # without pyplot, whose state is global and which looks for a screen
    axes = figure.add_subplot()
    for place, segments in enumerate(rows.values()):
        for segment in segments:
            axes.barh(
                place,
                segment.end_s - segment.start_s,
                left=segment.start_s,
                height=0.8,
                color=colors[segment.label],
                linewidth=0,
            )
    axes.set_yticks(range(len(rows)), list(rows))
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(0, max(segment.end_s for row in rows.values() for segment in row))
    axes.set_xlabel("time (s)")
    axes.set_title(title)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.tick_params(axis="y", length=0)
    handles = [Patch(color=colors[label], label=label.replace("_", " ")) for label in shown]
    figure.legend(handles=handles, loc="outside lower center", ncols=_LEGEND_COLUMNS, frameon=False, fontsize="small")
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    return path
