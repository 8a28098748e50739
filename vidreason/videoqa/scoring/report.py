"""A report of scores: as JSON for machines, and as Markdown tables for people. Shares are in percent."""

from __future__ import annotations

import math
from typing import Any

from ...errors import QuestionError
from ...reporting.bootstrap import FEW_VIDEOS, Bootstrap
from ...reporting.tables import Column, markdown_table
from .choice import EMPTY, UNPARSABLE
from .measures import JUDGE_FAILED, MISSING, NOT_JUDGED
from .rules import MICRO
from .scores import Scores
from .tally import ALL, Group, Tally

_KINDS = {"type": "by_type", "task": "by_task", "aspect": "by_aspect", "steps": "by_steps"}
_DECIMALS = 4
_IN_SECONDS = ("length_s",)


def make_report(scores: Scores, bootstrap: Bootstrap | None = None, **facts: Any) -> dict[str, Any]:
    """What became of a set of predictions, as JSON.

    `score` and `by_type` are in percent and over all questions of which something is known: that is all of them unless
    a judge failed or was not asked. `score_bounds` are the score with all of those wrong, and all of them right.

    Args:
        scores: The scores.
        bootstrap: How intervals are found.
        facts: Further entries, which stand first.

    Raises:
        QuestionError: There are no questions.
    """
    tally = scores.tally
    if not tally.count(ALL):
        raise QuestionError("there are no questions to score")
    bootstrap = bootstrap or Bootstrap()
    cells = {group: _cell(scores, group, bootstrap) for group in tally.groups}
    report: dict[str, Any] = {
        **facts,
        "measure": tally.names[0],
        "average": scores.rule.average if scores.is_macro else MICRO,
        "score": _percent(scores.score()),
        "score_bounds": [_percent(end) for end in scores.bounds()],
        "interval": None if scores.is_macro else cells[ALL]["interval"],
        "n": tally.count(ALL),
        "unparsable": tally.statuses[UNPARSABLE],
        "missing": tally.statuses[MISSING],
        "empty": tally.statuses[EMPTY],
        "judge_failed": tally.statuses[JUDGE_FAILED],
        "not_judged": tally.statuses[NOT_JUDGED],
        "statuses": dict(sorted(tally.statuses.items())),
        "by_type": {name: cells[kind, name]["score"] for kind, name in _types(scores)},
        "micro": cells[ALL]["score"],
        "macro": {kind: _percent(scores.macro(kind)) for kind in _KINDS if scores.groups(kind)},
        "baselines": {"prior": _percent(scores.prior), "blind": _blind(scores)},
        "measures": {name: _shown(tally, name) for name in tally.names},
        "cells": [{"group": kind, "name": name, **cells[kind, name]} for kind, name in tally.groups],
    }
    for kind, key in _KINDS.items():
        if kind != "type" and scores.groups(kind):
            report[key] = {name: cells[kind, name]["score"] for _, name in scores.groups(kind)}
    if "length_s" in tally.names:
        report["mean_span_length_s"] = _over(tally, "length_s", "has_span")
        report["points"] = round(tally.total(ALL, "is_point"))
    _add_judgements(report, scores)
    if scores.extra:
        report["without_question"] = {
            name: {"n": count, "examples": examples} for name, (count, examples) in scores.extra.items()
        }
    return report


def _cell(scores: Scores, group: Group, bootstrap: Bootstrap) -> dict[str, Any]:
    tally = scores.tally
    estimate = tally.estimate(group, bootstrap)
    ends = (estimate.low, estimate.high)
    cell: dict[str, Any] = {
        "score": _percent(tally.mean(group, tally.names[0])),
        "interval": None if None in ends else [_percent(end) for end in ends],
        "n": tally.count(group),
        "unparsable": tally.status_counts(group)[UNPARSABLE],
        "missing": tally.status_counts(group)[MISSING],
    }
    if tally.count_open(group):
        count, total = tally.count(group), tally.total(group, tally.names[0])
        cell["bounds"] = [_percent(total / count), _percent((total + tally.count_open(group)) / count)]
    if scores.blind is not None:
        cell["blind"] = _percent(scores.blind.mean(group, tally.names[0]))
    return cell


def _types(scores: Scores) -> list[Group]:
    """The types with the groups of types."""
    return [*scores.groups("type_group"), *scores.groups("type")]


def _blind(scores: Scores) -> dict[str, Any] | None:
    blind = scores.blind
    if blind is None:
        return None
    return {
        "score": _percent(blind.mean(ALL, blind.names[0])),
        "n": blind.count(ALL),
        "missing": blind.statuses[MISSING],
        "unparsable": blind.statuses[UNPARSABLE],
    }


def _add_judgements(report: dict[str, Any], scores: Scores) -> None:
    tally, ruled = scores.tally, scores.ruled
    if not scores.is_judged:
        return
    report["judges"] = [
        {"judge": judge, "scale": scale, "prompt_id": prompt_id, "prompt_sha256": sha256, "n": count}
        for (judge, scale, prompt_id, sha256), count in sorted(scores.judges.items())
    ]
    stale = tally.stale[ALL]
    if stale:
        # judged was another text than the one that is scored: without these the score is an interval
        total, count = tally.total(ALL, tally.names[0]) - tally.stale_sums[ALL], tally.count(ALL)
        report["stale_judgements"] = {
            "n": stale,
            "score_bounds_without": [_percent(total / count), _percent((total + stale) / count)],
            "by_type": {name: tally.stale[kind, name] for kind, name in _types(scores)},
        }
    if ruled is not None and ruled.count(ALL):
        report["by_our_rule"] = {
            "score": _percent(ruled.mean(ALL, "accuracy")),
            "n": ruled.count(ALL),
            "unparsable": ruled.statuses[UNPARSABLE],
            "by_type": {name: _percent(ruled.mean((kind, name), "accuracy")) for kind, name in _types(scores)},
            "differences": scores.num_differences,
            "rows": [vars(difference) for difference in scores.differences],
        }


def _shown(tally: Tally, name: str) -> float | None:
    mean = tally.mean(ALL, name)
    return mean if mean is None or name in _IN_SECONDS else _percent(mean)


def _over(tally: Tally, name: str, of: str) -> float | None:
    count = tally.total(ALL, of)
    return round(tally.total(ALL, name) / count, _DECIMALS) if count else None


def _percent(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else round(100 * value, _DECIMALS)


def report_page(report: dict[str, Any], title: str) -> str:
    """A report as Markdown: the score with what it rests on, and a table of its groups.

    Args:
        report: What `make_report` gave.
        title: Heading.
    """
    low, high = report["score_bounds"]
    bounds = "" if low == high else f", between {low:.2f} and {high:.2f} whatever the judge would have said"
    lines = [
        f"# {title}",
        "",
        f"**{_number(report['score'])}** ({report['measure']}, {report['average']}{bounds}); "
        f"{report['n']} questions, {report['missing']} missing, {report['unparsable']} unparsable, "
        f"{report['empty']} empty, {report['judge_failed']} that the judge failed on, "
        f"{report['not_judged']} not judged.",
        "",
        f"Most frequent answer of each type: {_number(report['baselines']['prior'])}. "
        f"Without the video: {_number((report['baselines']['blind'] or {}).get('score'))}.",
        *("", ""),  # a table wants a blank line before it
    ]
    rows = [
        {
            **cell,
            "group": cell["group"] if cell["group"] != "all" else "",
            "low": (cell["interval"] or [None, None])[0],
            "high": (cell["interval"] or [None, None])[1],
        }
        for cell in report["cells"]
    ]
    columns = [
        *(Column("group"), Column("name"), Column("n"), Column("score", "score (%)")),
        *(Column("low", "95 % from"), Column("high", "to"), Column("missing"), Column("unparsable")),
        *([Column("blind", "blind (%)")] if report["baselines"]["blind"] else []),
    ]
    page = "\n".join(lines) + markdown_table(rows, columns)
    return page + f"\nIntervals are over whole videos; with fewer than {FEW_VIDEOS} they are too narrow.\n"


def _number(value: float | None) -> str:
    return "not known" if value is None else f"{value:.2f}"
