"""What became of a run, for the last lines that a user sees: how many rows are usable, and why others are not."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from ..files import read_folder
from ..provenance import STATUSES

USABLE = ("ok", "empty")
"""Statuses of rows that say something: where the evidence is, or that there is none."""

_ROWS_AT_ONCE = 16_384
_REASON_CHARS = 200


@dataclass(frozen=True)
class Outcome:
    """The rows of a run by status.

    Args:
        statuses: Number of rows of each status that occurs.
        reason: Why the newest row that is not usable is not, in one line; empty where all are usable.
    """

    statuses: Counter[str]
    reason: str = ""

    @property
    def is_usable(self) -> bool:
        """Whether any row says something. A table without rows says nothing."""
        return any(self.statuses[status] for status in USABLE)

    @property
    def counts(self) -> str:
        """Such as "6 ok, 2 failed"."""
        # a contract may have statuses of its own beside the shared ones
        known = [*STATUSES, *sorted(set(self.statuses) - set(STATUSES))]
        return ", ".join(f"{self.statuses[status]:,} {status}" for status in known if self.statuses[status])

    def describe(self) -> str:
        """The counts and the newest reason, for a terminal."""
        text = f"rows: {self.counts}"
        return f"{text}; the newest that cannot be used: {self.reason}" if self.reason else text


def read_outcome(folder: str | os.PathLike, splits: Sequence[str], newest_problem: str = "") -> Outcome:
    """Count the rows of a table that was written.

    Args:
        folder: Folder of the table.
        splits: Splits that were annotated.
        newest_problem: Why the newest answer could not be used, where the run knows; else the last such row says it.
    """
    statuses: Counter[str] = Counter()
    last: tuple[str, int] | None = None
    table = read_folder(folder)
    for split in splits:
        start = 0
        # the statuses alone: answers are most of a table
        for batch in table[split].select_columns(["status"]).iter(_ROWS_AT_ONCE):
            statuses.update(batch["status"])
            for place, status in enumerate(batch["status"]):
                if status not in USABLE:
                    last = (split, start + place)
            start += len(batch["status"])
    if last is None:
        return Outcome(statuses)
    row = table[last[0]][last[1]]
    return Outcome(statuses, one_line(newest_problem or f"{row['status']}: {row['raw_response'] or 'no answer'}"))


def one_line(text: str) -> str:
    """A text of a server or a model as part of a line: without line breaks, escapes or length."""
    words = " ".join("".join(char if char.isprintable() else " " for char in text[: 4 * _REASON_CHARS]).split())
    return words if len(words) <= _REASON_CHARS else words[:_REASON_CHARS] + "..."
