"""Guidance on disk: a folder of Parquet files with a dataset card, opened by `datasets.load_dataset(folder)`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import datasets
import numpy as np

from ..errors import GuidanceError
from ..files import read_folder, write_card, write_split
from .schema import FEATURES, SCHEMA_VERSION, check_row
from .summary import TableSummary, merge_summaries, status_table

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
        folder: where to; splits that are there are replaced.
        rows_by_split: split name -> rows, as from `guidance_row`.
        title: heading of the card.
        description: what the card says about the producer and its settings.
        allow_empty: write a table without rows too, as a part of a run may be.
        card_metadata: further keys of the card's YAML, such as `license`.

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
        """The rows of a split, each of them checked.

        Raises:
            GuidanceError: a row breaks the contract, was given before, or names another split.
        """
        self.summaries.setdefault(split, TableSummary())
        for row in rows:
            self.check(split, row)
            yield row

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
        name: a local folder, else a Hub id.
        revision: of the Hub data set.

    Raises:
        GuidanceError: there is no such table, or it lacks columns of the schema.
    """
    if Path(name).is_dir():
        table = read_folder(name)
    else:
        try:
            table = datasets.load_dataset(str(name), revision=revision)
        except Exception as error:  # whatever the Hub client raises, the user needs the name that was asked for
            raise GuidanceError(f"guidance {str(name)!r} is neither a folder nor can it be loaded: {error}") from error
    for split, rows in table.items():
        check_table(rows, f"{name}, split {split!r}")
    return table


def check_table(rows: datasets.Dataset, where: str) -> None:
    """Check a whole table against the contract, column by column.

    Raises:
        GuidanceError: naming the table, the first row at fault and what is wrong with it.
    """
    missing = [column for column in FEATURES if column not in rows.column_names]
    if missing:
        raise GuidanceError(f"{where}: columns {missing} are missing; is this a guidance table?")
    columns = rows.with_format("arrow").select_columns(["weights", "grid_rows", "grid_cols", "status"])[:]
    lengths = np.asarray(columns["weights"].combine_chunks().value_lengths())
    cells = np.asarray(columns["grid_rows"]) * np.asarray(columns["grid_cols"])
    sums = np.zeros(len(lengths))
    values = np.asarray(columns["weights"].combine_chunks().flatten(), dtype=np.float64)
    np.add.at(sums, np.repeat(np.arange(len(lengths)), lengths), values)
    expected = np.asarray([status == "ok" for status in columns["status"].to_pylist()], dtype=np.float64)
    doubtful = (lengths != cells) | ~(np.abs(sums - expected) <= 1e-4)
    if len(values) and values.min() < 0:
        doubtful |= True  # rare: look at every row for the one to name
    for index in np.flatnonzero(doubtful):
        try:
            check_row(rows[int(index)])
        except GuidanceError as error:
            raise GuidanceError(f"{where}: {error}") from None
