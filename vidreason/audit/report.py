"""What an audit found, as JSON and CSV for machines and as Markdown for readers."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..files import write_whole
from ..guidance.table import TableSummary, status_table
from ..reporting.bootstrap import FEW_VIDEOS, Bootstrap, Estimate
from ..reporting.tables import Column, markdown_table, write_csv
from .measures import MEASURES
from .run import CENTRE, GUIDANCE, Audit, FrameCounts, SourceScores, count_frames, score_sources

JSON_FILE, CSV_FILE, MARKDOWN_FILE = "audit.json", "audit.csv", "audit.md"

HEADINGS = {
    "pointing_accuracy": "pointing (%)",
    "mass_inside": "mass inside (%)",
    "precision": "cell precision (%)",
    "recall": "cell recall (%)",
    "iou": "cell IoU (%)",
    "share_marked": "cells marked (%)",
    "total_variation": "total variation",
    "jensen_shannon_bits": "Jensen-Shannon (bits)",
    "correlation": "correlation",
}
_GROUP_MEASURES = ("pointing_accuracy", "mass_inside", "iou")
_NOT_DEFINED = "n/a"

_CSV_COLUMNS: list[Column | str] = [
    *("section", "group", "name", "source", "measure"),
    *(Column(name, decimals=6) for name in ("value", "low", "high")),
    *("num_frames", "num_videos"),
]

READING = """A cell is marked when it has more than half of the weight that an even spread would give it. {truth}
*Pointing* is the share of frames whose heaviest cell is a true one (cells that tie share the point), *mass inside* the
share of the weight on true cells; precision, recall and IoU compare marked with true cells. All are means over the
frames in which both sides have cells; coverage and statuses say how many have not. The centre prior is a normal
distribution about the frame's centre (sigma a quarter of each side), the uniform prior gives every cell the same; both
are scored on exactly the frames and grids of the guidance. Brackets: {confidence:g} % interval from {resamples}
bootstrap resamples of whole videos (seed {seed})."""

UNJUDGED = """There was nothing to judge by, neither boxes nor another table: the contact sheet and the page show
frames of the table as they are."""

TRUE_BY_BOXES = """A cell is true when its overlap with the box of a relevant object is at least a quarter of the
smaller of the two."""
TRUE_BY_TABLE = """A cell is true when the other table marks it; unlike grids are first brought to the finer rows and
columns of the two by exact area overlap. Total variation and Jensen-Shannon are 0 for equal maps and 1 for maps
without a cell in common."""


@dataclass(frozen=True)
class AuditSection:
    """The table against one reference.

    Args:
        key: Either "truth" or "agreement".
        reference: What the guidance was judged by, in words.
        measures: Names of the measures that were taken.
        counts: Counts of how guidance and reference meet.
        scores: Scores of every source.
        groups: Scores of every source by "class" and by "video", under each one's name. Classes are left out where
            they are not known, and videos where there are many.
    """

    key: str
    reference: str
    measures: tuple[str, ...]
    counts: FrameCounts
    scores: list[SourceScores]
    groups: dict[str, dict[str, list[SourceScores]]]


@dataclass(frozen=True)
class AuditReport:
    """All that an audit says in words and numbers.

    Args:
        name: Name of the guidance table.
        splits: Maps each split to what the table holds of it.
        sections: Sections of the report, one for each reference.
        bootstrap: Settings by which intervals were found.
        tolerance_s: Tolerance in seconds of the join by time.
    """

    name: str
    splits: dict[str, TableSummary]
    sections: list[AuditSection]
    bootstrap: Bootstrap
    tolerance_s: float


def audit_section(key: str, reference: str, audit: Audit, bootstrap: Bootstrap) -> AuditSection:
    """Count and score one audit."""
    members = {"class": audit.scored_by("class_name"), "video": audit.scored_by("video_id")}
    groups = {
        kind: {name: score_sources(audit, bootstrap, frames) for name, frames in by_name.items()}
        for kind, by_name in members.items()
        if by_name and (kind == "class" or len(by_name) < FEW_VIDEOS)
    }
    scores = score_sources(audit, bootstrap)
    return AuditSection(key, reference, audit.measures, count_frames(audit), scores, groups)


def write_report(folder: str | os.PathLike, report: AuditReport) -> list[Path]:
    """Write the report as JSON, CSV and Markdown, and return the files."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(report_facts(report), indent=1, ensure_ascii=False) + "\n"
    write_whole(folder / JSON_FILE, text)
    write_csv(folder / CSV_FILE, list(_csv_rows(report)), _CSV_COLUMNS)
    write_whole(folder / MARKDOWN_FILE, report_markdown(report))
    return [folder / name for name in (JSON_FILE, CSV_FILE, MARKDOWN_FILE)]


def report_facts(report: AuditReport) -> dict[str, Any]:
    """The report as plain data for JSON."""
    return {
        "guidance": report.name,
        "splits": {split: _summary_facts(summary) for split, summary in report.splits.items()},
        "tolerance_s": report.tolerance_s,
        "bootstrap": asdict(report.bootstrap),
        "sections": [
            # the counts are whole numbers, and `coverage` is a property that `asdict` does not see
            {**_rounded(asdict(section)), "counts": {**asdict(section.counts), "coverage": section.counts.coverage}}
            for section in report.sections
        ],
    }


def _rounded(value: Any) -> Any:
    """Plain data with its floats to six decimals, far below what any interval resolves."""
    if isinstance(value, dict):
        return {key: _rounded(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(entry) for entry in value]
    return round(value, 6) if isinstance(value, float) else value


def _summary_facts(summary: TableSummary) -> dict[str, Any]:
    return {
        "rows": summary.rows,
        "videos": len(summary.videos),
        "statuses": dict(sorted(summary.statuses.items())),
        "producers": dict(sorted(summary.producers.items())),
        "grids": [list(grid) for grid in sorted(summary.grids)],
        "prompt_tokens": summary.prompt_tokens,
        "completion_tokens": summary.completion_tokens,
        "cost_usd": summary.cost_usd,
    }


def _csv_rows(report: AuditReport) -> Iterator[dict[str, Any]]:
    """One row for each measure of each source, of all frames and of each group of them."""
    for section in report.sections:
        groups = {("all", ""): section.scores}
        groups |= {(kind, name): s for kind, by_name in section.groups.items() for name, s in by_name.items()}
        for (kind, name), scores in groups.items():
            for entry in scores:
                for measure, estimate in entry.measures.items():
                    yield {
                        **{"section": section.key, "group": kind, "name": name},
                        **{"source": entry.source, "measure": measure},
                        **{key: _NOT_DEFINED if n is None else n for key, n in asdict(estimate).items()},
                        **{"num_frames": entry.num_frames, "num_videos": entry.num_videos},
                    }


def report_markdown(report: AuditReport) -> str:
    """The report for readers."""
    producers = sorted(set().union(*(summary.producers for summary in report.splits.values())))
    grids = sorted(set().union(*(summary.grids for summary in report.splits.values())))
    parts = [
        f"# Audit of the guidance table {report.name}",
        f"Produced by: {', '.join(producers)}. Grids (rows x columns): {', '.join(f'{r} x {c}' for r, c in grids)}.",
        status_table(report.splits),
        *(part for section in report.sections for part in section_parts(section, report)),
        "" if report.sections else UNJUDGED,
    ]
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


def section_title(section: AuditSection) -> str:
    """The heading of a section."""
    verb = "Agreement with" if section.key == "agreement" else "Against"
    return f"{verb} {section.reference}"


def section_parts(section: AuditSection, report: AuditReport) -> list[str]:
    """The paragraphs and tables of a section."""
    parts = [f"## {section_title(section)}", counts_sentence(section.counts, report.tolerance_s)]
    if section.scores:
        parts.append(markdown_table(*score_table(section)))
        parts.append(_few_videos_sentence(section))
    parts.append(markdown_table(*status_counts_table(section.counts)))
    for kind in section.groups:
        parts += [f"{group_title(kind)}:", markdown_table(*group_table(section, kind))]
    return [*parts, reading_text(section, report.bootstrap)]


def counts_sentence(counts: FrameCounts, tolerance_s: float) -> str:
    """How guidance and reference meet, in words."""
    coverage = _NOT_DEFINED if counts.coverage is None else f"{100 * counts.coverage:.1f} %"
    return (
        f"The reference has {counts.reference_frames} frames, {counts.judgeable_frames} of them with something to "
        f"judge by. Of these, {counts.scored_frames} have guidance and are scored (coverage {coverage}), and "
        f"{counts.missing_frames} have no row within {tolerance_s:g} s. {counts.guided_videos} of its "
        f"{counts.reference_videos} videos have any row. {counts.rows_without_reference} of the table's {counts.rows} "
        "rows belong to no frame of the reference."
    )


def reading_text(section: AuditSection, bootstrap: Bootstrap) -> str:
    """How the numbers of a section are to be read."""
    truth = TRUE_BY_TABLE if section.key == "agreement" else TRUE_BY_BOXES
    confidence = 100 * bootstrap.confidence
    text = READING.format(truth=truth, confidence=confidence, resamples=bootstrap.resamples, seed=bootstrap.seed)
    return " ".join(text.split())


def _few_videos_sentence(section: AuditSection) -> str:
    num_videos = section.scores[0].num_videos
    if num_videos >= FEW_VIDEOS:
        return ""
    if num_videos == 1:
        return "One video only: there are no intervals."
    return f"Only {num_videos} videos: the intervals are too narrow to be relied on."


def score_table(section: AuditSection) -> tuple[list[dict[str, Any]], list[Column | str]]:
    """Rows and columns: the sources, then what the guidance gains on each prior."""
    rows = [
        {
            "source": scores.source,
            **{name: format_estimate(name, estimate) for name, estimate in scores.measures.items()},
            "num_frames": scores.num_frames,
            "num_videos": scores.num_videos,
        }
        for scores in section.scores
    ]
    measures = [Column(name, HEADINGS[name]) for name in section.measures]
    return rows, ["source", *measures, Column("num_frames", "frames"), Column("num_videos", "videos")]


def group_title(kind: str) -> str:
    """The heading of `group_table`."""
    return f"By {kind}, beside the centre prior; intervals of fewer than {FEW_VIDEOS} videos are too narrow"


def group_table(section: AuditSection, kind: str) -> tuple[list[dict[str, Any]], list[Column | str]]:
    """Rows and columns: each class or video with the guidance's scores and the centre prior's."""
    rows = []
    for name, scores in section.groups[kind].items():
        of_source = {entry.source: entry for entry in scores}
        row = {kind: name, "num_frames": scores[0].num_frames, "num_videos": scores[0].num_videos}
        for measure in _GROUP_MEASURES:
            row[measure] = format_estimate(measure, of_source[GUIDANCE].measures[measure])
            row[f"{measure} centre"] = format_estimate(measure, of_source[CENTRE].measures[measure], interval=False)
        rows.append(row)
    columns: list[Column | str] = [kind]
    for measure in _GROUP_MEASURES:
        columns += [Column(measure, HEADINGS[measure]), Column(f"{measure} centre", "centre prior")]
    return rows, [*columns, Column("num_frames", "frames"), Column("num_videos", "videos")]


def status_counts_table(counts: FrameCounts) -> tuple[list[dict[str, Any]], list[Column | str]]:
    """Rows and columns: frames of the reference by the status of the guidance and of the reference."""

    def ok_first(names: Iterable[str]) -> list[str]:
        return sorted(names, key=lambda name: (name != "ok", name))

    columns = ok_first({name for row in counts.statuses.values() for name in row})
    rows = [
        {"guidance": status, **{name: counts.statuses[status].get(name, 0) for name in columns}}
        for status in ok_first(counts.statuses)
    ]
    return rows, ["guidance", *(Column(name, f"reference {name}") for name in columns)]


def format_estimate(measure: str, estimate: Estimate, interval: bool = True) -> str:
    """A mean as tables show it: shares in percent with one decimal, distances with three."""
    if estimate.value is None:
        return _NOT_DEFINED
    scale, decimals = (100, 1) if measure in MEASURES else (1, 3)
    text = f"{estimate.value * scale:.{decimals}f}"
    if not interval or estimate.low is None or estimate.high is None:  # both are there or neither is
        return text
    low, high = (f"{bound * scale:.{decimals}f}" for bound in (estimate.low, estimate.high))
    return text if low == high == text else f"{text} [{low}, {high}]"
