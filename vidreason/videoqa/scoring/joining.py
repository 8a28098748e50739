"""Questions with what was said to them: two streams in about the same order, joined without holding either."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

Row = Mapping[str, Any]
Key = tuple[str, str]
"""Source and id of a question."""

_EXAMPLES = 5


def key_of(row: Row) -> Key:
    """The question that a row is about."""
    return row["source"], row["question_id"]


class Stream:
    """Rows that are taken by question, once each.

    A table that is written in the order of its questions is read along with them and takes no memory; of one in
    another order, the rows that were passed on the way are kept until they are asked for.

    Args:
        rows: Predictions of one condition, or judgements by one judge.
    """

    def __init__(self, rows: Iterable[Row]):
        self._rows: Iterator[Row] = iter(rows)
        self._passed: dict[Key, Row] = {}
        self.unused, self.unused_examples = 0, list[str]()

    def take(self, key: Key) -> Row | None:
        """The row of a question; None where there is none."""
        if key in self._passed:
            return self._passed.pop(key)
        for row in self._rows:
            other = key_of(row)
            if other == key:
                return row
            self._pass(other, row)
        return None

    def close(self) -> None:
        """Count what no question asked for: rows of questions that are unknown, and of a question given twice."""
        for row in self._rows:
            self._count(key_of(row))
        for key in self._passed:
            self._count(key)
        self._passed = {}

    def _pass(self, key: Key, row: Row) -> None:
        if key in self._passed:  # the first one counts, whatever the second says
            self._count(key)
        else:
            self._passed[key] = row

    def _count(self, key: Key) -> None:
        self.unused += 1
        if len(self.unused_examples) < _EXAMPLES:
            self.unused_examples.append(key[1])
