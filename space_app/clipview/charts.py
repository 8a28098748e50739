"""Charts as HTML and SVG.

They follow the page's colours in light and dark, grow and shrink with it, and speak to screen readers. Every text that
comes from outside is escaped.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from html import escape

import numpy as np
from PIL import Image

from vidreason.video import overlay_heatmap
from vidreason.video.overlay import ATTENTION_PEAK

from .agreement import AgreementSummary, FrameAgreement
from .analysis import VIEWS, Analysis

TOP_LABELS = 5
VIEW_LABELS = 3

_VIEW_NOTES = dict(zip(VIEWS, ("first 20 % of the frames", "the middle 60 %", "all of them"), strict=True))

_MEANS_NOTE = (
    "Means of the frames' probabilities. In a clip of several actions, its beginning and its whole may differ."
)

WIDTH, _LEFT, _RIGHT = 480, 58, 12
_PANEL, _GAP, _TOP = 96, 46, 26


def label_bars(answers: Sequence[tuple[str, Analysis]]) -> str:
    """The likeliest labels of each checkpoint, or those that hold the most time, as bars.

    Args:
        answers: (name of the checkpoint, what it makes of the clip) of each checkpoint.
    """
    cards = []
    for name, analysis in answers:
        note = "" if analysis.segments is None else '<p class="vr-note">Share of the time</p>'
        cards.append(share_card(name, analysis.top(TOP_LABELS), note))
    return f'<div class="vr-columns" data-testid="answers">{"".join(cards)}</div>'


def pair_bars(pair: Sequence[tuple[str, Sequence[tuple[str, float]]]]) -> str:
    """Answers to the same clip side by side as bars.

    Args:
        pair: (heading, labels with their shares, the largest first) of each answer.
    """
    cards = "".join(share_card(heading, shares) for heading, shares in pair)
    return f'<div class="vr-columns" data-testid="objects-answers">{cards}</div>'


def share_card(heading: str, shares: Sequence[tuple[str, float]], note: str = "") -> str:
    """Labels with bars of their shares under a heading; `note` is HTML."""
    return f'<section class="vr-card"><h3>{escape(heading)}</h3>{note}{_bars(shares)}</section>'


def view_bars(answers: Sequence[tuple[str, Analysis]]) -> str:
    """What each checkpoint answers from the beginning, the middle and the whole of the clip, and how far that differs.

    Of a segmentation model it is the mean of what it says of their frames.

    Args:
        answers: (name of the checkpoint, what it makes of the clip) of each checkpoint.
    """
    parts = []
    for name, analysis in answers:
        groups = []
        for view, probabilities in zip(VIEWS, analysis.views, strict=True):
            ranked = sorted(zip(analysis.labels, probabilities.tolist(), strict=True), key=lambda pair: -pair[1])
            groups.append(f"<h4>{view} <small>{_VIEW_NOTES[view]}</small></h4>{_bars(ranked[:VIEW_LABELS])}")
        text = (
            f"Divergence of the three: {analysis.divergence:.3f} nats (0 where they agree, {math.log(3):.2f} at most)"
        )
        note = "" if analysis.segments is None else f'<p class="vr-note">{_MEANS_NOTE}</p>'
        parts.append(
            f'<section class="vr-card"><h3>{escape(name)}</h3>{note}{"".join(groups)}'
            f'<p class="vr-note">{text}</p></section>'
        )
    return f'<div class="vr-columns" data-testid="views">{"".join(parts)}</div>'


def _bars(shares: Sequence[tuple[str, float]]) -> str:
    """Labels with their shares, of which the largest stands out: it need not be the first."""
    likeliest = max(range(len(shares)), key=lambda place: shares[place][1], default=None)
    rows = "".join(_bar(label, share, place == likeliest) for place, (label, share) in enumerate(shares))
    return f'<ol class="vr-bars">{rows}</ol>'


def _bar(label: str, share: float, is_likeliest: bool) -> str:
    percent, marked = f"{100 * share:.1f} %", ' class="vr-likeliest"' if is_likeliest else ""
    return (
        f'<li{marked}><span class="vr-label">{escape(label)}</span><span class="vr-value">{percent}</span>'
        f'<span class="vr-track" aria-hidden="true"><span style="width:{100 * share:.1f}%"></span></span></li>'
    )


def attention_scale() -> str:
    """What the colours of the heat maps mean: a bar that their own painter paints, and its ends in words."""
    highest = f"{100 * ATTENTION_PEAK:.0f} % or more"
    return (
        f'<p class="vr-scale vr-note">Share of a picture\'s attention in a cell: <span>none</span>'
        f"{_color_bar()}<span>{highest}</span>. One scale for all checkpoints and "
        "clips. Guidance is red, and reddest in the cell of the picture that weighs most.</p>"
    )


def maps_scale() -> str:
    """What the colours of object maps mean."""
    return (
        f'<p class="vr-scale vr-note">Score of the class at a place: <span>0</span>{_color_bar()}<span>1</span>. One '
        "scale for all classes and clips.</p>"
    )


def _color_bar() -> str:
    """All colours of a heat map, as their own painter paints them."""
    cells = 256  # one for each colour
    bar = overlay_heatmap(np.zeros((1, cells, 3), np.uint8), np.linspace(0, 1, cells), (1, cells), alpha=1.0, peak=1.0)
    buffer = io.BytesIO()
    Image.fromarray(bar).save(buffer, "PNG")
    source = f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
    return f'<img src="{source}" alt="from dark to light">'


def agreement_chart(
    series: Sequence[tuple[str, Sequence[FrameAgreement], AgreementSummary]], times_s: Sequence[float], source: str
) -> str:
    """Attention inside the guided cells, hits and misses, and KL, over time, a line for each checkpoint.

    Args:
        series: (name of the checkpoint, each picture's agreement, its summary) of each checkpoint.
        times_s: Time of each picture in seconds.
        source: Where the guidance comes from, in words for the visitor.
    """
    table = _summary_table(series)
    guided = max(summary.guided for _, _, summary in series)
    heading = f'<p class="vr-note">Guidance: {escape(source)}, in {guided} of {len(times_s)} pictures.</p>'
    if not any(summary.guided for _, _, summary in series):
        text = "No picture of this clip has guidance, so there is nothing to compare with."
        return f'<div data-testid="agreement">{heading}<p>{text}</p></div>'
    return f'<div data-testid="agreement">{heading}{table}{_svg(series, times_s)}{_legend(series)}</div>'


def _summary_table(series) -> str:
    rows = "".join(
        f"<tr><th scope='row'>{escape(name)}</th><td>{100 * s.mass:.0f} %</td><td>{100 * s.hits:.0f} %</td>"
        f"<td>{s.divergence:.2f}</td></tr>"
        for name, _, s in series
        if s.guided
    )
    head = "".join(f"<th scope='col'>{text}</th>" for text in ("checkpoint", "inside", "hits", "KL (nats)"))
    table = f'<table class="vr-table"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'
    return f'<div class="vr-scroll">{table}</div>'


def _svg(series, times_s: Sequence[float]) -> str:
    """Two panels over one axis of time: mass with hits and misses above it, and KL."""
    end_s = max(times_s[-1], 1e-6)
    most = max(frame.divergence for _, frames, _ in series for frame in frames if frame.divergence is not None)
    dots_px = 14 * len(series)
    tops = (_TOP + dots_px, _TOP + dots_px + _PANEL + _GAP)
    body = [_panel("attention inside the guided cells", tops[0], dots_px, "100 %", "0")]
    body.append(_panel("KL(guidance, attention), nats", tops[1], 0, f"{most:.1f}", "0"))
    for number, (_, frames, _) in enumerate(series):
        for kind, top, scale in (("mass", tops[0], 1.0), ("divergence", tops[1], max(most, 1e-9))):
            values = [getattr(frame, kind) for frame in frames]
            points = curve_points(values, times_s, end_s, top, scale)
            body += [f'<polyline class="vr-line vr-series-{number}" points="{line}"/>' for line in points]
        body.append(_dots(frames, times_s, end_s, tops[0] - 8 - 14 * (len(series) - 1 - number), number))
    bottom = tops[1] + _PANEL
    body.append(f'<text x="{_LEFT}" y="{bottom + 18}">0 s</text>')
    body.append(f'<text x="{WIDTH - _RIGHT}" y="{bottom + 18}" text-anchor="end">{end_s:.1f} s</text>')
    alt = escape(_in_words(series), quote=True)
    size = f"0 0 {WIDTH} {bottom + 26}"
    return f'<svg class="vr-chart" viewBox="{size}" role="img" aria-label="{alt}">{"".join(body)}</svg>'


def _panel(title: str, top: float, above: float, high: str, low: str) -> str:
    right = WIDTH - _RIGHT
    return (
        f'<text x="{_LEFT}" y="{top - above - 8}">{title}</text>'
        f'<rect class="vr-frame" x="{_LEFT}" y="{top}" width="{right - _LEFT}" height="{_PANEL}"/>'
        f'<text x="{_LEFT - 5}" y="{top + 10}" text-anchor="end">{high}</text>'
        f'<text x="{_LEFT - 5}" y="{top + _PANEL}" text-anchor="end">{low}</text>'
    )


def curve_points(
    values: Sequence[float | None], times_s: Sequence[float], end_s: float, top: float, scale: float
) -> list[str]:
    """The points of a curve as SVG writes them; a curve has a gap where there is no value.

    Args:
        values: Value of each picture, None where there is none.
        times_s: Time of each picture in seconds.
        end_s: Time at the right border in seconds.
        top: Upper edge of the panel in units of the SVG, where a value is `scale`; at the lower edge it is 0.
        scale: Value at the upper edge.
    """
    lines: list[list[str]] = [[]]
    for value, time_s in zip(values, times_s, strict=True):
        if value is None:
            lines.append([])
            continue
        y = top + _PANEL * (1 - min(value / scale, 1.0))
        lines[-1].append(f"{_x(time_s, end_s):.1f},{y:.1f}")
    return [" ".join(line) for line in lines if line]


def _x(time_s: float, end_s: float) -> float:
    return _LEFT + (WIDTH - _RIGHT - _LEFT) * time_s / end_s


def _dots(frames, times_s, end_s: float, y: float, number: int) -> str:
    """A full dot for a hit, an empty one for a miss; no more of them than there is room for."""
    step = max(1, len(frames) // 48)
    return "".join(
        f'<circle class="vr-dot vr-series-{number}{"" if frame.hit else " vr-miss"}" cx="{_x(time_s, end_s):.1f}" '
        f'cy="{y:.1f}" r="3"/>'
        for frame, time_s in list(zip(frames, times_s, strict=True))[::step]
        if frame.hit is not None
    )


def _legend(series) -> str:
    names = "".join(
        f'<span><i class="vr-swatch vr-series-{number}"></i>{escape(name)}</span>'
        for number, (name, _, _) in enumerate(series)
    )
    return f'<p class="vr-legend">{names}<span>● hit</span><span>○ miss: another cell is attended to most</span></p>'


def _in_words(series) -> str:
    parts = [
        f"{name}: {100 * summary.mass:.0f} % of the attention inside the guided cells, "
        f"{100 * summary.hits:.0f} % hits, mean KL {summary.divergence:.2f} nats"
        for name, _, summary in series
        if summary.guided
    ]
    return "Agreement over time. " + "; ".join(parts)
