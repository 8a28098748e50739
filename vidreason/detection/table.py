"""A whole table of detections: a folder of Parquet files with a dataset card, written, opened and counted.

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

from ..errors import DetectionError
from ..files import FileLimits, check_columns, open_table, write_card, write_split
from ..reporting import tables
from ..reporting.tables import COUNTED_COLUMNS, RowSummary, text_table
from .detector import STATUSES
from .schema import FEATURES, SCHEMA_VERSION, check_row

_ROWS_AT_ONCE = 4096

BATCH_ROWS = 256
"""Rows that are written at a time: with masks they are large, and a thousand of them would not fit everywhere."""

CARD_BODY = """
# {title}

Detections in videos: a row says what a detector found of one class in one frame of one video, as boxes in [0, 1] of
the full frame with scores. {description}

{statuses}

Produced by: {producers}. Least score: {thresholds}. Schema version {schema_version}.

{classes}

A row whose `status` is `empty` says that the class was looked for and not found; `unknown_class`, that the detector
cannot find this class at all. Join rows to your own videos by `video_id`, `class_text` and `timestamp_s`, with
`vidreason.detection.DetectionIndex` or any other join by nearest time.
"""


def write_detections(
    folder: str | os.PathLike,
    rows_by_split: Mapping[str, Iterable[Mapping[str, Any]]],
    title: str = "Detections",
    description: str = "",
    allow_empty: bool = False,
    **card_metadata: Any,
) -> Path:
    """Write a table of detections with its card. Rows are checked one by one and streamed, so any number fits.

    Args:
        folder: Folder to write; splits that are there are replaced.
        rows_by_split: Maps each split's name to its rows, as from `detection_row`.
        title: Heading of the card.
        description: Text of the card about the detector and its settings.
        allow_empty: Whether a table without rows is written too, as a part of a run may be.
        card_metadata: Further keys of the card's YAML, such as `license`.

    Raises:
        DetectionError: There are no rows, or a row breaks the contract, is given twice, or names another split than it
            stands in.
    """
    checker = RowChecker()
    for split, rows in rows_by_split.items():
        write_split(folder, split, checker.watch(split, rows), FEATURES, FileLimits(batch_rows=BATCH_ROWS))
    if not allow_empty and not any(summary.rows for summary in checker.summaries.values()):
        raise DetectionError(f"{folder}: there are no detections to write")
    card_metadata = {"pretty_name": title, "tags": ["video", "object-detection", "vidreason"], **card_metadata}
    write_card(folder, rows_by_split, _card_body(checker.summaries, title, description), **card_metadata)
    return Path(folder)


def load_detections(name: str | os.PathLike, revision: str | None = None) -> datasets.DatasetDict:
    """Open a table of detections: a folder, or the id of a data set on the Hub.

    Args:
        name: A local folder, else the id of a data set on the Hub.
        revision: Branch, tag or commit of a data set on the Hub.

    Raises:
        DetectionError: There is no such table, or it lacks columns of the schema.
    """
    table = open_table(name, "detections", DetectionError, revision)
    check_columns(table, FEATURES, name, "detections", DetectionError)
    return table


@dataclass
class DetectionSummary(RowSummary):
    """Counts over the rows of a split, or of several.

    Args:
        thresholds: Number of rows of each least score.
        classes: Number of rows of each (class, status).
        boxes: Number of boxes of each class.
    """

    thresholds: collections.Counter[float] = field(default_factory=collections.Counter)
    classes: collections.Counter[tuple[str, str]] = field(default_factory=collections.Counter)
    boxes: collections.Counter[str] = field(default_factory=collections.Counter)

    def add(self, row: Mapping[str, Any]) -> None:
        """Count one row."""
        super().add(row)
        self.thresholds[round(float(row["threshold"]), 6)] += 1
        self.classes[row["class_text"], row["status"]] += 1
        self.boxes[row["class_text"]] += len(row["scores"])

    @property
    def class_texts(self) -> list[str]:
        """The classes, by name."""
        return sorted({text for text, _ in self.classes})

    @property
    def threshold_text(self) -> str:
        """Such as "0.3"."""
        return ", ".join(f"{value:g}" for value in sorted(self.thresholds))

    def class_table(self) -> str:
        """Rows and boxes of each class as a Markdown table."""
        statuses = [status for status in STATUSES if self.statuses[status]]
        rows = [
            (text, *(self.classes[text, status] for status in statuses), self.boxes[text]) for text in self.class_texts
        ]
        heads = ["class", *(f"rows {status}" for status in statuses), "boxes"]
        return text_table(heads, rows, [False, *[True] * (1 + len(statuses))])


def merge_summaries(summaries: Iterable[DetectionSummary]) -> DetectionSummary:
    """The summary of all rows together."""
    return tables.merge_summaries(summaries, DetectionSummary())


def summarize_table(rows: datasets.Dataset) -> DetectionSummary:
    """The summary of a split of a table; boxes and masks are not read."""
    summary = DetectionSummary()
    for batch in rows.select_columns([*COUNTED_COLUMNS, "threshold", "class_text", "scores"]).iter(_ROWS_AT_ONCE):
        for values in zip(*batch.values(), strict=True):
            summary.add(dict(zip(batch, values, strict=True)))
    return summary


class RowChecker:
    """Checks rows as they pass to a table, and counts them by split."""

    def __init__(self) -> None:
        self.summaries: dict[str, DetectionSummary] = {}
        self._seen: dict[tuple[str, str, str], set[int]] = {}

    def watch(self, split: str, rows: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
        """The rows of a split, each of them checked.

        Raises:
            DetectionError: A row breaks the contract, was given before, or names another split.
        """
        self.summaries.setdefault(split, DetectionSummary())
        for row in rows:
            self.check(split, row)
            yield row

    def check(self, split: str, row: Mapping[str, Any]) -> None:
        """Check and count one row of a split; it raises as `watch` does."""
        check_row(row)
        where = f"{row['video_id']} frame {row['frame_index']} class {row['class_text']!r}"
        if row["split"] != split:
            raise DetectionError(f"{where}: its split is {row['split']!r} but it was given for {split!r}")
        frames = self._seen.setdefault((split, row["video_id"], row["class_text"]), set())
        if row["frame_index"] in frames:
            raise DetectionError(f"{where}: given twice")
        frames.add(row["frame_index"])
        self.summaries.setdefault(split, DetectionSummary()).add(row)


def _card_body(summaries: Mapping[str, DetectionSummary], title: str, description: str) -> str:
    whole = merge_summaries(summaries.values())
    return CARD_BODY.format(
        title=title,
        description=description,
        statuses=tables.status_table(summaries, STATUSES),
        producers=whole.producer_text,
        thresholds=whole.threshold_text,
        classes=whole.class_table(),
        schema_version=SCHEMA_VERSION,
    )
