"""A whole guidance table: a folder of Parquet files with a dataset card, written, opened, checked and counted.

`datasets.load_dataset(folder)` opens it too.
"""

from __future__ import annotations

import collections
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa

from ..errors import GuidanceError
from ..files import open_table, write_card, write_split
from ..provenance import STATUSES
from ..reporting import tables
from ..reporting.tables import COUNTED_COLUMNS, RowSummary
from .checks import check_table
from .schema import ADDED_COLUMNS, FEATURES, SCHEMA_VERSION, check_row, complete_row

_COUNTED_COLUMNS = (*COUNTED_COLUMNS, "grid_rows", "grid_cols")
_ROWS_AT_ONCE = 4096

CARD_BODY = """
# {title}

Grid guidance for video: a row says where in one frame of one video the evidence for its action is, as a distribution
over the cells of a grid (row-major, rows from the top, columns from the left). {description}

{statuses}

Produced by: {producers}. Grids (rows x columns): {grids}. Schema version {schema_version}.

A row whose `status` is not `ok` has no weights and supervises nothing; it is here so that nothing is missing.
Join rows to your own videos by `video_id` and `timestamp_s`, with `vidreason.guidance.GuidanceIndex` or any other join
by nearest time.
"""


def write_guidance(
    folder: str | os.PathLike,
    rows_by_split: Mapping[str, Iterable[Mapping[str, Any]]],
    title: str = "Grid guidance",
    description: str = "",
    allow_empty: bool = False,
    **card_metadata: Any,
) -> Path:
    """Write a guidance table with its card. Rows are checked one by one and streamed, so any number fits.

    Args:
        folder: Folder to write; splits that are there are replaced.
        rows_by_split: Maps each split's name to its rows, as from `guidance_row`.
        title: Heading of the card.
        description: Text of the card about the producer and its settings.
        allow_empty: Whether a table without rows is written too, as a part of a run may be.
        card_metadata: Further keys of the card's YAML, such as `license`.

    Raises:
        GuidanceError: there are no rows, or a row breaks the contract, is given twice, or names another split than it
            stands in.
    """
    checker = RowChecker()
    for split, rows in rows_by_split.items():
        write_split(folder, split, checker.watch(split, rows), FEATURES)
    if not allow_empty and not any(summary.rows for summary in checker.summaries.values()):
        raise GuidanceError(f"{folder}: there are no guidance rows to write")
    card_metadata = {"pretty_name": title, "tags": ["video", "grid-guidance", "vidreason"], **card_metadata}
    write_card(folder, rows_by_split, _card_body(checker.summaries, title, description), **card_metadata)
    return Path(folder)


class RowChecker:
    """Checks rows as they pass to a table, and counts them by split."""

    def __init__(self):
        self.summaries: dict[str, TableSummary] = {}
        self._frames: dict[tuple[str, str], set[int]] = {}

    def watch(self, split: str, rows: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
        """The rows of a split, each of them checked. Rows of an earlier version come out as rows of this one.

        Raises:
            GuidanceError: a row breaks the contract, was given before, or names another split.
        """
        self.summaries.setdefault(split, TableSummary())
        for row in rows:
            complete = complete_row(row)
            self.check(split, complete)
            yield complete

    def check(self, split: str, row: Mapping[str, Any]) -> None:
        """Check and count one row of a split; it raises as `watch` does."""
        check_row(row)
        where = f"{row['video_id']} frame {row['frame_index']}"
        if row["split"] != split:
            raise GuidanceError(f"{where}: its split is {row['split']!r} but it was given for {split!r}")
        frames = self._frames.setdefault((split, row["video_id"]), set())
        if row["frame_index"] in frames:
            raise GuidanceError(f"{where}: given twice")
        frames.add(row["frame_index"])
        self.summaries.setdefault(split, TableSummary()).add(row)


def _card_body(summaries: Mapping[str, TableSummary], title: str, description: str) -> str:
    whole = merge_summaries(summaries.values())
    return CARD_BODY.format(
        title=title,
        description=description,
        statuses=status_table(summaries),
        producers=whole.producer_text,
        grids=whole.grid_text,
        schema_version=SCHEMA_VERSION,
    )


def load_guidance(name: str | os.PathLike, revision: str | None = None) -> datasets.DatasetDict:
    """Open a guidance table: a folder, or the id of a data set on the Hub.

    Args:
        name: A local folder, else the id of a data set on the Hub.
        revision: Branch, tag or commit of a data set on the Hub.

    Raises:
        GuidanceError: there is no such table, or it lacks columns of the schema.
    """
    table = open_table(name, "guidance rows", GuidanceError, revision)
    for split, rows in table.items():
        table[split] = complete_table(rows)
        check_table(table[split], f"{name}, split {split!r}")
    return table


def complete_table(rows: datasets.Dataset) -> datasets.Dataset:
    """A split of a table of any version of the contract as one of this version; columns of its own stay."""
    missing = [name for name in ADDED_COLUMNS if name not in rows.column_names]
    if not missing or "schema_version" not in rows.column_names:  # without it this is no guidance table
        return rows
    values = {name: ADDED_COLUMNS[name] for name in missing} | {"schema_version": SCHEMA_VERSION}
    rows = rows.remove_columns("schema_version")
    for name, value in values.items():
        rows = rows.add_column(name, pa.repeat(value, len(rows)), feature=FEATURES[name])
    others = [name for name in rows.column_names if name not in FEATURES]
    return rows.select_columns([*(name for name in FEATURES if name in rows.column_names), *others])


@dataclass
class TableSummary(RowSummary):
    """Counts over the rows of a split, or of several.

    Args:
        grids: Number of rows of each grid size, (rows, columns).
    """

    grids: collections.Counter[tuple[int, int]] = field(default_factory=collections.Counter)

    def add(self, row: Mapping[str, Any]) -> None:
        """Count one row."""
        super().add(row)
        self.grids[row["grid_rows"], row["grid_cols"]] += 1

    @property
    def grid_text(self) -> str:
        """Such as "4 x 4"."""
        return ", ".join(f"{rows} x {cols}" for rows, cols in sorted(self.grids))


def merge_summaries(summaries: Iterable[TableSummary]) -> TableSummary:
    """The summary of all rows together."""
    return tables.merge_summaries(summaries, TableSummary())


def summarize_table(rows: datasets.Dataset) -> TableSummary:
    """The summary of a table of `vidreason.guidance.FEATURES`; raw answers are not read."""
    summary = TableSummary()
    rows = complete_table(rows)
    for batch in rows.select_columns(list(_COUNTED_COLUMNS)).iter(_ROWS_AT_ONCE):
        for values in zip(*batch.values(), strict=True):
            summary.add(dict(zip(batch, values, strict=True)))
    return summary


def status_table(summaries: Mapping[str, TableSummary]) -> str:
    """Rows, videos and statuses of each split as a Markdown table."""
    return tables.status_table(summaries, STATUSES)
