"""What must not be published: rows that break the contract, and strings that give away this machine or a key."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import datasets

from ..errors import GuidanceError, VidreasonError
from ..files import is_outside
from .table_kinds import GUIDANCE, TableKind

_ROWS_AT_ONCE = 1024
_SHOWN = 4  # characters of what was found; the rest may be a secret

# folders at the root of a file system in which people keep things; a path on a server in a URL is none of these
_ROOTS = (
    "home|root|Users|tmp|mnt|media|data\\d*|work|workspace|var|opt|srv|scratch|private|Volumes|etc|nfs|storage|content"
)

_LEAKS = {
    "a key": re.compile(
        r"(?<![A-Za-z0-9])("
        r"(?:sk|pk|rk|gsk|xai|sess)[-_](?=[A-Za-z_-]*[0-9])[A-Za-z0-9_-]{16,}"  # OpenAI and its likes
        r"|hf_[A-Za-z0-9]{20,}|api_org_[A-Za-z0-9]{20,}"  # Hugging Face
        r"|AKIA[0-9A-Z]{16}|AIza[0-9A-Za-z_-]{35}|gh[pousr]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{30,}"
        r"|xox[abprs]-[A-Za-z0-9-]{10,}"
        r"|[Bb]earer\s+(?=\S*[0-9])[A-Za-z0-9._~+/-]{20,}"
        r"|(?i:api[_-]?key|secret|password|passwd|access[_-]?token)[\"']?\s*[:=]\s*[\"']?[A-Za-z0-9_+/-]{16,}"
        r")|-----BEGIN [A-Z ]*PRIVATE KEY"
    ),
    "a path of this machine": re.compile(
        rf"(?<![\w.:/~-])/(?:{_ROOTS})/[^\s\"'`,;)]+"
        r"|(?<![A-Za-z0-9])[A-Za-z]:\\{1,2}(?:Users|[\w .-]{2,}\\)"
        r"|(?<!\\)\\\\[\w.-]{2,}\\[\w$]{2,}"
        r"|(?<![\w/])~/[\w.]"
        r"|file://"
    ),
}


def find_leak(text: str) -> str | None:
    """What in a text must not be published: a key, or a path of this machine. Never the whole of it."""
    for kind, pattern in _LEAKS.items():
        match = pattern.search(text)
        if match:
            return f"{kind} ({match.group().strip()[:_SHOWN]}…)"
    return None


class PublishChecker:
    """Checks rows on their way to a published table, and counts them.

    Args:
        drop_raw_responses: Whether `raw_response`, what the model said word for word, is left empty.
        kind: What the table is of.
    """

    def __init__(self, drop_raw_responses: bool = False, kind: TableKind = GUIDANCE):
        self.drop_raw_responses, self.kind = drop_raw_responses, kind
        self._rows = kind.make_checker()
        self._spoken_of: dict[tuple[str, str], set[tuple]] = {}

    @property
    def summaries(self) -> dict[str, Any]:
        """Split -> what it holds."""
        return self._rows.summaries

    def watch(self, split: str, table: datasets.Dataset) -> Iterator[Mapping[str, Any]]:
        """The rows of a split as they are to be published.

        Raises:
            GuidanceError: naming the split, the row by its number from 0, and the column.
        """
        unknown = sorted(set(table.column_names) - set(self.kind.features))
        if unknown:
            raise GuidanceError(f"split {split!r}: columns {unknown} are not of the schema; remove them first")
        for number, row in enumerate(self._rows_of(table)):
            try:
                self._check(split, row)
            except VidreasonError as error:
                raise GuidanceError(f"split {split!r}, row {number}: {error}") from None
            yield row

    def _rows_of(self, table: datasets.Dataset) -> Iterator[dict[str, Any]]:
        columns = list(self.kind.features)
        for batch in table.select_columns(columns).iter(_ROWS_AT_ONCE):
            for values in zip(*(batch[name] for name in columns), strict=True):
                row = dict(zip(columns, values, strict=True))
                yield {**row, "raw_response": ""} if self.drop_raw_responses else row

    def _check(self, split: str, row: Mapping[str, Any]) -> None:
        absent = [column for column, value in row.items() if value is None and column not in self.kind.optional]
        if absent:
            raise GuidanceError(f"columns {absent} have no value")
        for column, text in self._strings(row):
            # models repeat what they are sent: a path in a prompt comes back in an answer
            leak = find_leak(text)
            if leak:
                raise GuidanceError(f"column {column!r} holds {leak}")
        video_id = row["video_id"]
        # readers join the id to a folder of their own, which it must not lead out of
        if is_outside(video_id):
            raise GuidanceError("column 'video_id' is not a path relative to the folder of videos")
        self._rows.check(split, row)
        spoken_of = self._spoken_of.setdefault((split, video_id), set())
        place = tuple(row[name] for name in self.kind.spoken_of)
        if place in spoken_of:
            column, said = self.kind.spoken_of[-1], _said(reversed(self.kind.spoken_of), row)
            raise GuidanceError(f"column {column!r}: another row speaks for {said} of {video_id}")
        spoken_of.add(place)

    def _strings(self, row: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
        """(column, text) of all strings of a row."""
        for column, value in row.items():
            if isinstance(value, str):
                yield column, value
        yield from self.kind.nested_texts(row)


def _said(columns: Iterable[str], row: Mapping[str, Any]) -> str:
    """What a row speaks of, in words."""
    return " and ".join(f"{row[name]:.3f} s" if name == "timestamp_s" else repr(row[name]) for name in columns)
