"""What a table of any producer holds, counted: rows by split and status, videos, producers, prompts and cost.

Tables of guidance and of detections share the columns of `vidreason.provenance`; what else they have, their own
summaries count.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

from .tables import text_table

COUNTED_COLUMNS = (
    *("video_id", "source", "producer", "model", "revision", "prompt_id", "prompt_sha256"),
    *("status", "prompt_tokens", "completion_tokens", "cost_usd"),
)
"""Columns that `RowSummary.add` reads."""


def producer_name(row: Mapping[str, Any]) -> str:
    """What made a row, such as "llm gpt-4.1-mini" or "detector grounding-dino-tiny@a2bb814"."""
    name = " ".join(filter(None, (row["producer"], row["model"])))
    return f"{name}@{row['revision']}" if row["revision"] else name


@dataclass
class RowSummary:
    """Counts over the rows of a split, or of several.

    Args:
        rows: Number of rows of all statuses.
        videos: Ids of the videos that have any row.
        statuses: Number of rows of each status.
        producers: Number of rows of each producer, named as by `producer_name`.
        sources: Number of rows of each data set of videos.
        prompts: Number of rows of each (prompt id, sha256); rows that no prompt made are not among them.
        prompt_tokens: Sum of the rows' prompt tokens.
        completion_tokens: Sum of the rows' completion tokens.
        cost_usd: Sum of the rows' cost in US dollars.
    """

    rows: int = 0
    videos: set[str] = field(default_factory=set)
    statuses: Counter[str] = field(default_factory=Counter)
    producers: Counter[str] = field(default_factory=Counter)
    sources: Counter[str] = field(default_factory=Counter)
    prompts: Counter[tuple[str, str]] = field(default_factory=Counter)
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float = 0.0

    def add(self, row: Mapping[str, Any]) -> None:
        """Count one row, which has at least `COUNTED_COLUMNS`."""
        self.rows += 1
        self.videos.add(row["video_id"])
        self.statuses[row["status"]] += 1
        self.producers[producer_name(row)] += 1
        self.sources[row["source"]] += 1
        if row["prompt_id"] or row["prompt_sha256"]:
            self.prompts[row["prompt_id"], row["prompt_sha256"]] += 1
        self.prompt_tokens += row["prompt_tokens"]
        self.completion_tokens += row["completion_tokens"]
        self.cost_usd += row["cost_usd"]

    @property
    def producer_text(self) -> str:
        """Such as "llm gpt-4.1-mini"."""
        return ", ".join(sorted(self.producers))


Summary = TypeVar("Summary", bound=RowSummary)


def merge_summaries(summaries: Iterable[Summary], total: Summary) -> Summary:
    """The summary of all rows together.

    Args:
        summaries: Summaries of one kind.
        total: An empty one of that kind, which the others are added to.
    """
    for summary in summaries:
        for entry in fields(summary):
            mine, other = getattr(total, entry.name), getattr(summary, entry.name)
            if isinstance(mine, set | Counter):
                mine.update(other)  # of a Counter this adds up
            else:
                setattr(total, entry.name, mine + other)
    return total


def status_table(summaries: Mapping[str, RowSummary], statuses: Sequence[str]) -> str:
    """Rows, videos and statuses of each split as a Markdown table.

    Args:
        summaries: Maps each split to what it holds.
        statuses: Statuses that get a column, in order.
    """
    rows = [
        (split, summary.rows, len(summary.videos), *(summary.statuses[status] for status in statuses))
        for split, summary in summaries.items()
    ]
    return text_table(["split", "rows", "videos", *statuses], rows, [False, *[True] * (2 + len(statuses))])
