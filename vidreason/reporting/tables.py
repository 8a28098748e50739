"""Tables of results, as Markdown for documents and as CSV for machines, with the same text in their cells.

Below them, what a table of any producer holds is counted and shown: rows by split and status, videos, producers,
prompts and cost. Tables of guidance and of detections share the columns of `vidreason.provenance`; what else they
have, their own summaries count.
"""

from __future__ import annotations

import csv
import math
import numbers
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from ..errors import VidreasonError

NOT_RUN = "not run"


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Args:
        key: Key of the value in a row.
        header: Text above the column; by default the key.
        decimals: Digits after the point of all its numbers; a column of nothing but `int` shows none.
        scale: Factor that numbers are multiplied by, such as 100 for a fraction shown in percent.
        right: Whether cells stand to the right; None does so for a column of nothing but numbers and gaps.
    """

    key: str
    header: str = ""
    decimals: int = 2
    scale: float = 1
    right: bool | None = None


@dataclass(frozen=True)
class MetricStyle:
    """How a metric is shown.

    Args:
        name: The metric in words.
        unit: Unit of the values as they are shown, such as "%" or "nats".
        scale: Factor that values are multiplied by, such as 100 for a fraction shown in percent.
        decimals: Digits after the point of all values.
    """

    name: str
    unit: str
    scale: float
    decimals: int

    @property
    def label(self) -> str:
        """Name and unit, for the head of a column or an axis."""
        return f"{self.name} ({self.unit})"

    @property
    def difference_label(self) -> str:
        """Head of a column of differences: percentages differ by points."""
        return f"difference ({'points' if self.unit == '%' else self.unit})"


def markdown_table(rows: Sequence[Mapping[str, Any]], columns: Sequence[Column | str]) -> str:
    """A Markdown table, numbers to the right, ending in a line break.

    Args:
        rows: One mapping each. A value is text, a number, None (`NOT_RUN`), or a pair (mean, standard deviation)
            whose second entry may be None.
        columns: What is shown, in order; a text stands for `Column(text)`.

    Raises:
        VidreasonError: There are no columns, no row has a column's key, or a number is not finite.
    """
    shown = _as_columns(columns)
    cells = _format_rows(rows, shown)
    rights = [_is_numeric(rows, column) if column.right is None else column.right for column in shown]
    return text_table([column.header or column.key for column in shown], cells, rights) + "\n"


def text_table(header: Sequence[str], rows: Iterable[Sequence[object]], rights: Sequence[bool] | None = None) -> str:
    """A Markdown table of values that are texts already, or are shown as `str` shows them; without a last line break.

    Args:
        header: Heads of the columns.
        rows: Rows of as many values as there are columns. A `|` in a value, such as in a class's name, is escaped.
        rights: Whether each column is set to the right; None sets all to the left.
    """
    rules = ["---:" if right else "---" for right in rights or [False] * len(header)]
    lines = [[_escape(name) for name in header], rules, *([_escape(str(value)) for value in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def write_csv(path: str | os.PathLike, rows: Sequence[Mapping[str, Any]], columns: Sequence[Column | str]) -> Path:
    """Write a table as CSV (UTF-8, with a header) and return its path.

    Args:
        path: The file; folders on the way to it are made.
        rows: Rows as `markdown_table` takes them.
        columns: Columns as `markdown_table` takes them.

    Raises:
        VidreasonError: There are no columns, no row has a column's key, or a number is not finite.
    """
    shown = _as_columns(columns)
    cells = _format_rows(rows, shown)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([column.header or column.key for column in shown])
        writer.writerows(cells)
    return path


def _as_columns(columns: Sequence[Column | str]) -> list[Column]:
    if not columns:
        raise VidreasonError("a table needs at least one column")
    return [Column(column) if isinstance(column, str) else column for column in columns]


def _format_rows(rows: Sequence[Mapping[str, Any]], columns: list[Column]) -> list[list[str]]:
    return [list(cells) for cells in zip(*(_format_column(rows, column) for column in columns), strict=True)]


def _format_column(rows: Sequence[Mapping[str, Any]], column: Column) -> list[str]:
    if rows and not any(column.key in row for row in rows):
        # a key that no row has is a mistake in the column, not a run that was not made
        raise VidreasonError(f"no row has a value for column {column.key!r}; the first row has {sorted(rows[0])}")
    values = [row.get(column.key) for row in rows]
    whole = all(isinstance(value, numbers.Integral) for value in values if value is not None)
    decimals = 0 if whole else column.decimals
    return [_format_cell(value, column, decimals, row) for row, value in enumerate(values)]


def _format_cell(value: Any, column: Column, decimals: int, row: int) -> str:
    if isinstance(value, str | bool):
        return str(value)
    numbers_shown = [entry for entry in (value if isinstance(value, tuple) else (value,)) if entry is not None]
    for number in numbers_shown:
        if not _is_number(number) or not math.isfinite(number):
            raise VidreasonError(f"table row {row}, column {column.key!r}: {number!r} is not a finite number")
    return " ± ".join(f"{number * column.scale:.{decimals}f}" for number in numbers_shown) or NOT_RUN


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _is_numeric(rows: Sequence[Mapping[str, Any]], column: Column) -> bool:
    """Whether a column holds nothing but numbers, pairs of them and gaps."""
    values = [row[column.key] for row in rows if row.get(column.key) is not None]
    return bool(values) and all(_is_number(value) or isinstance(value, tuple) for value in values)


def _escape(cell: str) -> str:
    return cell.replace("|", "\\|").replace("\n", " ")


# What a table of rows by any producer holds

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
