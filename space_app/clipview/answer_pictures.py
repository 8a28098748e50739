"""What is shown of an answer: its words or its options, the times on a line, and frames with the evidence in boxes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
from PIL import Image

from vidreason.scenegraph.drawing import draw_moment
from vidreason.scenegraph.graph import Node, SceneGraph
from vidreason.scenegraph.moment import Moment
from vidreason.video import uniform_indices

from .charts import share_card
from .object_pictures import panel_size, picture_row
from .reading import Clip
from .service import ShownAnswer
from .timeline import tick_times
from .video_llms import Said

_PICTURES = 4  # with boxes: few, so that the names in them can be read
_LARGE_PX = 240
_LEFT, _RIGHT, _WIDTH, _ROW = 76, 12, 480, 26


def said_html(shown: ShownAnswer) -> str:
    """The answer with the clip and, beside it, without it: bars of the options, or the words.

    Args:
        shown: What came of the question.
    """
    pair = (("With the clip", shown.answer.with_video), ("Blind: the question alone", shown.answer.blind))
    cards = "".join(_said_card(heading, said, shown.question["options"]) for heading, said in pair)
    return f'<div class="vr-columns" data-testid="said">{cards}</div>'


def _said_card(heading: str, said: Said, options: Sequence[str]) -> str:
    if said.shares:
        # in the order of the question, so that the two cards can be compared line by line
        note = f"Letters of options: {100 * said.letters_share:.1f} % of the probability of all first tokens."
        return share_card(heading, list(zip(options, said.shares, strict=True)), f'<p class="vr-note">{note}</p>')
    words = escape(said.text) if said.text else "<em>nothing</em>"
    cut = '<p class="vr-note">Cut: it would go on.</p>' if said.is_cut else ""
    return f'<section class="vr-card"><h3>{escape(heading)}</h3><p>{words}</p>{cut}</section>'


def evidence_html(shown: ShownAnswer) -> str:
    """When and where the evidence is, where it is known, and the frames that the model was shown.

    Args:
        shown: What came of the question.
    """
    known = shown.known or {"evidence_spans": [], "evidence_boxes": [], "rationale": ""}
    frames = shown.answer.shown
    times = ", ".join(f"{time_s:.1f}" for time_s in frames.timestamps_s)
    rows = [time_line(known["evidence_spans"], frames.timestamps_s, shown.clip.facts.duration_s)]
    if known["evidence_boxes"]:
        caption, pictures = _evidence_pictures(known["evidence_boxes"], shown.clip)
        row = picture_row(caption, pictures, (pictures[0].shape[1], pictures[0].shape[0]))
        rows.append(f'<div class="vr-natural">{row}</div>')  # a single picture would fill the page
    if known["rationale"]:
        rows.append(f'<p class="vr-note">The steps: {escape(known["rationale"])}</p>')
    seen = list(frames.frames)
    rows.append(picture_row(f"What the model was shown, at {times} s", seen, panel_size(*frames.frames.shape[1:3])))
    return f'<div class="vr-maps" data-testid="evidence">{"".join(rows)}</div>'


def time_line(spans: Sequence[Mapping[str, float]], times_s: Sequence[float], end_s: float) -> str:
    """A line of time with the spans of the evidence, if there are any, and a mark for each frame that was shown.

    Args:
        spans: Spans with `start_s` and `end_s`, in seconds.
        times_s: Times of the frames, in seconds.
        end_s: Time at the right border, in seconds.
    """
    across = (_WIDTH - _LEFT - _RIGHT) / max(end_s, 1e-9)
    place = lambda time_s: _LEFT + across * min(max(time_s, 0.0), end_s)  # noqa: E731
    parts, y, words = [], 4, []
    if spans:
        for span in spans:
            x0, x1 = place(span["start_s"]), place(span["end_s"])
            parts.append(
                f'<rect class="vr-series-1 vr-span" x="{x0:.1f}" y="{y}" width="{max(2.0, x1 - x0):.1f}" height="16"/>'
            )
            words.append(f"{span['start_s']:.1f} to {span['end_s']:.1f} s")
        parts.append(f'<text x="0" y="{y + 13}">evidence</text>')
        y += _ROW
    parts += [
        f'<line class="vr-series-0 vr-line" x1="{x:.1f}" x2="{x:.1f}" y1="{y}" y2="{y + 16}"/>'
        for x in map(place, times_s)
    ]
    parts.append(f'<text x="0" y="{y + 13}">shown</text>')
    y += _ROW
    parts.append(f'<line class="vr-frame" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y - 4}" y2="{y - 4}"/>')
    for tick_s in tick_times(end_s):
        anchor = "end" if tick_s == end_s else "start" if tick_s == 0 else "middle"
        unit = " s" if tick_s == end_s else ""
        parts.append(f'<text x="{place(tick_s):.1f}" y="{y + 12}" text-anchor="{anchor}">{tick_s:.3g}{unit}</text>')
    label = f"Evidence: {', '.join(words)}. " if words else ""
    label += "Frames at " + ", ".join(f"{time_s:.1f}" for time_s in times_s) + " s"
    return (
        f'<svg class="vr-chart" data-testid="time-line" viewBox="0 0 {_WIDTH} {y + 18}" role="img" '
        f'aria-label="{escape(label, quote=True)}">{"".join(parts)}</svg>'
    )


def _evidence_pictures(boxes: Sequence[Mapping[str, Any]], clip: Clip) -> tuple[str, list[np.ndarray]]:
    """A caption, and frames with the boxes of what the answer rests on."""
    by_time: dict[float, dict[str, tuple]] = defaultdict(dict)
    nodes: dict[str, Node] = {}
    for row in boxes:
        by_time[row["timestamp_s"]][row["node_id"]] = tuple(row["box"])
        nodes[row["node_id"]] = Node(row["node_id"], "object", row["name"])
    times_s = sorted(by_time)
    times_s = [times_s[place] for place in uniform_indices(len(times_s), min(_PICTURES, len(times_s)))]
    # a graph of the evidence alone, so that boxes look as in other pictures of graphs
    graph = SceneGraph("", "", "", "", 0, 0.0, 0, 0, tuple(nodes.values()))
    size = panel_size(*clip.frames.shape[1:3], _LARGE_PX, _LARGE_PX)
    pictures = []
    for time_s in times_s:
        frame = clip.frames[int(np.abs(clip.times_s - time_s).argmin())]
        enlarged = np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BILINEAR))
        pictures.append(draw_moment(enlarged, graph, Moment(time_s, by_time[time_s], (), ())))
    caption = f"What the answer rests on, at {', '.join(f'{time_s:.1f}' for time_s in times_s)} s"
    return caption, pictures
