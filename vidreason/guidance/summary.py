"""What a guidance table holds, counted row by row: for its card, for an audit and for publishing."""

from __future__ import annotations

import collections
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import datasets

from .schema import STATUSES

_COUNTED_COLUMNS = ("video_id", "source", "grid_rows", "grid_cols", "producer", "model", "prompt_id", "prompt_sha256")
_COUNTED_COLUMNS += ("status", "prompt_tokens", "completion_tokens", "cost_usd")
_ROWS_AT_ONCE = 4096


@dataclass
class TableSummary:
    """Counts over the rows of a split, or of several.

    Args:
        rows: of all statuses.
        videos: that have any row.
        statuses: status -> rows.
        producers: "producer model" -> rows.
        sources: data set of the videos -> rows.
        grids: (rows, columns) -> rows.
        prompts: (prompt id, sha256) -> rows; rows that no prompt made are not among them.
        prompt_tokens: sum over the rows.
        completion_tokens: likewise.
        cost_usd: likewise.
    """

    rows: int = 0
    videos: set[str] = field(default_factory=set)
    statuses: collections.Counter[str] = field(default_factory=collections.Counter)
    producers: collections.Counter[str] = field(default_factory=collections.Counter)
    sources: collections.Counter[str] = field(default_factory=collections.Counter)
    grids: collections.Counter[tuple[int, int]] = field(default_factory=collections.Counter)
    prompts: collections.Counter[tuple[str, str]] = field(default_factory=collections.Counter)
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float = 0.0

    def add(self, row: Mapping[str, Any]) -> None:
        """Count one row."""
        self.rows += 1
        self.videos.add(row["video_id"])
        self.statuses[row["status"]] += 1
        self.producers[" ".join(filter(None, (row["producer"], row["model"])))] += 1
        self.sources[row["source"]] += 1
        self.grids[row["grid_rows"], row["grid_cols"]] += 1
        if row["prompt_id"] or row["prompt_sha256"]:
            self.prompts[row["prompt_id"], row["prompt_sha256"]] += 1
        self.prompt_tokens += row["prompt_tokens"]
        self.completion_tokens += row["completion_tokens"]
        self.cost_usd += row["cost_usd"]

    @property
    def grid_text(self) -> str:
        """Such as "4 x 4"."""
        return ", ".join(f"{rows} x {cols}" for rows, cols in sorted(self.grids))

    @property
    def producer_text(self) -> str:
        """Such as "llm gpt-4.1-mini"."""
        return ", ".join(sorted(self.producers))


def merge_summaries(summaries: Iterable[TableSummary]) -> TableSummary:
    """The summary of all rows together."""
    total = TableSummary()
    for summary in summaries:
        total.rows += summary.rows
        total.videos |= summary.videos
        for name in ("statuses", "producers", "sources", "grids", "prompts"):
            getattr(total, name).update(getattr(summary, name))
        total.prompt_tokens += summary.prompt_tokens
        total.completion_tokens += summary.completion_tokens
        total.cost_usd += summary.cost_usd
    return total


def summarize_table(rows: datasets.Dataset) -> TableSummary:
    """The summary of a table of `vidreason.guidance.FEATURES`; raw answers are not read."""
    summary = TableSummary()
    for batch in rows.select_columns(list(_COUNTED_COLUMNS)).iter(_ROWS_AT_ONCE):
        for values in zip(*batch.values(), strict=True):
            summary.add(dict(zip(batch, values, strict=True)))
    return summary


def status_table(summaries: Mapping[str, TableSummary]) -> str:
    """Rows, videos and statuses of each split as a Markdown table."""
    lines = [["split", "rows", "videos", *STATUSES], ["---", *["---:"] * (2 + len(STATUSES))]]
    for split, summary in summaries.items():
        counts = (summary.rows, len(summary.videos), *(summary.statuses[status] for status in STATUSES))
        lines.append([split, *map(str, counts)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
