"""Guidance on disk: a folder of Parquet files with a dataset card, opened by `datasets.load_dataset(folder)`."""

from __future__ import annotations

import collections
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import datasets
import numpy as np

from ..errors import GuidanceError
from ..parquet_folder import read_folder, write_card, write_split
from .schema import FEATURES, SCHEMA_VERSION, STATUSES, check_row

CARD_BODY = """
# {title}

Grid guidance for video: a row says where in one frame of one video the evidence for its action is, as a distribution
over the cells of a grid (row-major, rows from the top, columns from the left). {description}

| split | rows | videos | {status_header} |
|---|---|---|{status_rule}|
{split_rows}

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
    **card_metadata: Any,
) -> Path:
    """Write a guidance table with its card. Rows are checked one by one and streamed, so any number fits.

    Args:
        folder: where to; splits that are there are replaced.
        rows_by_split: split name -> rows, as from `guidance_row`.
        title: heading of the card.
        description: what the card says about the producer and its settings.
        card_metadata: further keys of the card's YAML, such as `license`.

    Raises:
        GuidanceError: a row breaks the contract, is given twice, or names another split than it stands in.
    """
    counters = {}
    for split, rows in rows_by_split.items():
        counters[split] = _Counter(split)
        write_split(folder, split, counters[split].watch(rows), FEATURES)
    if not any(counter.rows for counter in counters.values()):
        raise GuidanceError(f"{folder}: there are no guidance rows to write")
    card_metadata = {"pretty_name": title, "tags": ["video", "grid-guidance", "vidreason"], **card_metadata}
    write_card(folder, counters, _card_body(counters.values(), title, description), **card_metadata)
    return Path(folder)


class _Counter:
    """Checks the rows of a split as they pass and keeps what the card says of them."""

    def __init__(self, split: str):
        self.split = split
        self.rows = 0
        self.statuses: collections.Counter = collections.Counter()
        self.producers: set[str] = set()
        self.grids: set[tuple[int, int]] = set()
        self.frames: dict[str, set[int]] = {}

    def watch(self, rows: Iterable[Mapping[str, Any]]):
        for row in rows:
            check_row(row)
            where = f"{row['video_id']} frame {row['frame_index']}"
            if row["split"] != self.split:
                raise GuidanceError(f"{where}: its split is {row['split']!r} but it was given for {self.split!r}")
            frames = self.frames.setdefault(row["video_id"], set())
            if row["frame_index"] in frames:
                raise GuidanceError(f"{where}: given twice")
            frames.add(row["frame_index"])
            self.rows += 1
            self.statuses[row["status"]] += 1
            self.producers.add(" ".join(filter(None, (row["producer"], row["model"]))))
            self.grids.add((row["grid_rows"], row["grid_cols"]))
            yield row


def _card_body(counters: Iterable[_Counter], title: str, description: str) -> str:
    counters = list(counters)
    split_rows = [
        " | ".join(["", c.split, str(c.rows), str(len(c.frames)), *(str(c.statuses[s]) for s in STATUSES), ""]).strip()
        for c in counters
    ]
    return CARD_BODY.format(
        title=title,
        description=description,
        status_header=" | ".join(STATUSES),
        status_rule="|".join(["---"] * len(STATUSES)),
        split_rows="\n".join(split_rows),
        producers=", ".join(sorted(set().union(*(c.producers for c in counters)))),
        grids=", ".join(f"{rows} x {cols}" for rows, cols in sorted(set().union(*(c.grids for c in counters)))),
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
