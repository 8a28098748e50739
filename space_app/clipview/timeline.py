"""The timeline of actions: a coloured bar for every segment, a row for every checkpoint, over one axis of time.

Above them is the truth, where a clip's is known.

Segments are buttons: a pointer, the Tab and arrow keys, and screen readers reach them, and pressing one takes the
videos there (`page.js`). The same is below in a table, and to download. Labels come from a checkpoint's file, and are
escaped.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import PurePosixPath

from vidreason.segmentation.labelling import ActionSegment
from vidreason.segmentation.segment_files import csv_text, json_text, srt_text
from vidreason.segmentation.timeline import label_colors

from .analysis import Analysis
from .segmentation import BACKGROUND

_MAX_TICKS = 7
_STEPS_S = (0.1, 0.2, 0.5, 1, 2, 5, 10)
_HINT = "Point at a bar, or go from one to the next with the arrow keys. Pressing it takes the videos there."


def timeline_html(answers: Sequence[tuple[str, Analysis]], end_s: float, truth: Sequence[ActionSegment] = ()) -> str:
    """The timelines of those checkpoints that segment, one under the other; empty where none does.

    Args:
        answers: (name of the checkpoint, what it makes of the clip) of each checkpoint.
        end_s: Time at the right border in seconds, the clip's end.
        truth: True segments, where they are known; they have no score.
    """
    rows = [(name, analysis) for name, analysis in answers if analysis.segments is not None]
    if not rows:
        return ""
    # one colour for a label in all rows
    true_labels = [segment.label for segment in truth]
    labels = list(dict.fromkeys([*(label for _, analysis in rows for label in analysis.labels), *true_labels]))
    colors = label_colors(labels, BACKGROUND)
    bars = _row("truth", truth, colors, end_s, _describe_time) if truth else ""
    bars += "".join(_row(name, analysis.segments, colors, end_s, describe_segment) for name, analysis in rows)
    found = {segment.label for _, analysis in rows for segment in analysis.segments}.union(true_labels)
    legend = "".join(
        f'<span><i class="vr-swatch{_idle(label)}"{_style(label, colors)}></i>{escape(label)}</span>'
        for label in labels
        if label in found
    )
    tables = "".join(_table(name, analysis.segments) for name, analysis in rows)
    return (
        f'<div class="vr-card vr-timeline" data-testid="timeline"><h3>Timeline of actions</h3>{bars}{_axis(end_s)}'
        f'<p class="vr-now vr-note">{_HINT}</p><p class="vr-legend">{legend}</p>'
        f"<details><summary>As a table, and to download</summary>{tables}</details></div>"
    )


def describe_segment(segment: ActionSegment) -> str:
    """A segment in words: label, times, and score. Not escaped."""
    return f"{_describe_time(segment)}, mean probability {segment.score:.2f}"


def _describe_time(segment: ActionSegment) -> str:
    return f"{segment.label}, {segment.start_s:.1f} to {segment.end_s:.1f} s"


def tick_times(end_s: float) -> list[float]:
    """Times for an axis from 0 to `end_s`: round ones, at most seven, and the end's own.

    A round one that is too near to the end is left out.
    """
    step_s = next((step for step in _STEPS_S if end_s / step <= _MAX_TICKS), end_s)
    round_ones = [number * step_s for number in range(int(end_s / step_s) + 1)]
    return [*(time_s for time_s in round_ones if time_s < end_s - step_s / 2), end_s]


def _row(
    name: str,
    segments: Sequence[ActionSegment],
    colors: Mapping[str, str],
    end_s: float,
    describe: Callable[[ActionSegment], str],
) -> str:
    bars = "".join(_bar(segment, describe(segment), n, colors, end_s) for n, segment in enumerate(segments))
    text = f"Timeline of {name}: {len(segments)} segments in {end_s:.1f} seconds"
    return (
        f'<h4>{escape(name)}</h4><div class="vr-segments" role="toolbar" '
        f'aria-label="{escape(text, quote=True)}">{bars}</div>'
    )


def _bar(segment: ActionSegment, text: str, number: int, colors: Mapping[str, str], end_s: float) -> str:
    text = escape(text, quote=True)
    left, width = 100 * segment.start_s / end_s, 100 * (segment.end_s - segment.start_s) / end_s
    place = f"left:{left:.3f}%;width:{width:.3f}%"
    # the Tab key reaches a row once; within it the arrow keys go on
    return (
        f'<button type="button" class="vr-segment{_idle(segment.label)}" tabindex="{-1 if number else 0}" '
        f'data-start-s="{segment.start_s:.3f}"{_style(segment.label, colors, place)} title="{text}" '
        f'aria-label="{text}"></button>'
    )


def _idle(label: str) -> str:
    """Pauses have a class instead of a colour, since pale is something else in the dark."""
    return " vr-idle" if label in BACKGROUND else ""


def _style(label: str, colors: Mapping[str, str], place: str = "") -> str:
    declarations = [place, "" if label in BACKGROUND else f"--series:{colors[label]}"]
    return f' style="{";".join(filter(None, declarations))}"' if any(declarations) else ""


def _axis(end_s: float) -> str:
    *ticks, last = tick_times(end_s)
    texts = "".join(f'<span style="left:{100 * time_s / end_s:.3f}%">{time_s:g}</span>' for time_s in ticks)
    return f'<div class="vr-axis" aria-hidden="true">{texts}<span class="vr-end">{last:.1f} s</span></div>'


def _table(name: str, segments: Sequence[ActionSegment]) -> str:
    rows = "".join(
        f"<tr><th scope='row'>{escape(segment.label)}</th><td>{segment.start_s:.2f}</td><td>{segment.end_s:.2f}</td>"
        f"<td>{segment.score:.2f}</td></tr>"
        for segment in segments
    )
    head = "".join(f"<th scope='col'>{text}</th>" for text in ("label", "from (s)", "to (s)", "mean probability"))
    table = f'<table class="vr-table"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'
    return f'<h4>{escape(name)}</h4>{_downloads(name, segments)}<div class="vr-scroll">{table}</div>'


def _downloads(name: str, segments: Sequence[ActionSegment]) -> str:
    """Links that hold their files, so that none has to be kept and deleted."""
    texts = {
        "csv": ("text/csv", csv_text(segments)),
        "json": ("application/json", json_text(segments, model=name)),
        "srt": ("application/x-subrip", srt_text(segments, BACKGROUND)),
    }
    stem = re.sub(r"[^\w.-]", "_", PurePosixPath(name).name)
    links = (
        f'<a download="{stem}.{ending}" href="data:{kind};charset=utf-8;base64,'
        f'{base64.b64encode(text.encode("utf-8")).decode("ascii")}">{ending.upper()}</a>'
        for ending, (kind, text) in texts.items()
    )
    return f'<p class="vr-downloads">Download {" · ".join(links)}</p>'
