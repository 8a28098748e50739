"""Reading a benchmark: every entry becomes a question, or is dropped by a reason that is counted and named.

A reader yields an `Entry` for each question of the source. `QuestionReading` makes rows of them, so that what is kept
and what is dropped always add up to what the source has.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...errors import QuestionError
from ...files import file_hash
from ..rows import question_row
from .source_files import JsonFile, find_file

REASONS = (
    "columns",  # a line of a CSV file has more or fewer values than its header
    "field",  # a field is missing, or is of another kind
    "no_answer",  # the source has none, as for a test split whose answers are kept back
    "answer_not_among_options",
    "answer_repeated",  # the text of the right option is that of a wrong one too
    "unknown_type",
    "no_span",  # a grounded question without any interval
    "span_inverted",  # an interval ends before it starts, or has no length
    "span_beyond_video",
    "duplicate_id",  # the source has a question of this id already, which is kept
    "unknown_video",  # not in the manifest
    "breaks_contract",  # whatever else the table does not take; the detail says what
)
"""Why an entry of a source is no row of the table."""

SPAN_TOLERANCE_S = 1.0
"""How far an interval may go beyond the end of its video. NExT-GQA states lengths in whole seconds, and three of its
validation intervals end half a second after them."""


@dataclass(frozen=True)
class Drop:
    """Why an entry is left out.

    Args:
        reason: One of `REASONS`.
        detail: What was found, for people.
    """

    reason: str
    detail: str = ""


@dataclass(frozen=True)
class Entry:
    """An entry of a benchmark's file.

    Args:
        where: File and line or place of the entry, for people.
        question_id: Id of the question; empty where it has none that can be read.
        content: Fields for `question_row`, without `source`, `split` and `producer`; or why there are none.
    """

    where: str
    question_id: str
    content: Mapping[str, Any] | Drop


@dataclass(frozen=True)
class Dropped:
    """An entry that is no row: where it stands, and why it was left out."""

    question_id: str
    where: str
    reason: str
    detail: str


@dataclass
class SourceFolder:
    """The files of a benchmark on this machine.

    Args:
        folder: Folder of the files as they were published.
        benchmark: Name of the benchmark in words, for messages.
        tolerant: Whether the slips in JSON that `source_files` names are mended.
        allow_incomplete: Whether a benchmark of several files may lack some.
        notes: What was mended or is missing, in words; readers add to it.
        used: The files that were read.
        question_ids: Ids of the questions that became rows, of all splits.
    """

    folder: Path
    benchmark: str
    tolerant: bool = False
    allow_incomplete: bool = False
    notes: list[str] = field(default_factory=list)
    used: list[Path] = field(default_factory=list)
    question_ids: set[str] = field(default_factory=set)

    def find(self, *names: str) -> Path:
        """The first of some files that is there.

        Raises:
            QuestionError: None is.
        """
        return self._use(find_file(self.folder, names, self.benchmark))

    def find_any(self, *names: str) -> Path | None:
        """The first of some files that is there; None where none is."""
        return next((self._use(self.folder / name) for name in names if (self.folder / name).is_file()), None)

    def read_json(self, file: Path, kind: type) -> Any:
        """The value of a JSON file, which must be a list or a dict.

        Raises:
            QuestionError: The file cannot be read, or holds something else.
        """
        opened = JsonFile(file, self.tolerant)
        value = opened.read()
        self._note_mended(opened)
        if not isinstance(value, kind):
            raise QuestionError(f"{file}: expected {'a list' if kind is list else 'an object'} in JSON")
        return value

    def entries(self, file: Path) -> Iterator[tuple[str, Any]]:
        """The entries of a JSON file, one after another, as `JsonFile.entries`."""
        opened = JsonFile(file, self.tolerant)
        yield from opened.entries()
        self._note_mended(opened)

    def _note_mended(self, opened: JsonFile) -> None:
        self.notes += [f"mended: {what}" for what in opened.mended]

    def _use(self, file: Path) -> Path:
        if file not in self.used:
            self.used.append(file)
        return file

    def describe_files(self) -> str:
        """Names of the files that were read, with the start of their SHA-256."""
        return ", ".join(
            f"`{file.relative_to(self.folder).as_posix()}` ({file_hash(file)[:12]})" for file in self.used
        )


Reader = Callable[[SourceFolder, str], Iterator[Entry]]
"""Yields an entry for each question of a split."""


class QuestionReading:
    """The questions of one split of a benchmark, read as they are asked for.

    Args:
        entries: What the benchmark's reader yields.
        source: Data set and revision, for every row.
        split: Name of the split.
        question_ids: Ids that other splits of the source have; those of this one are added.

    Attributes:
        kept: Number of rows that were given.
        dropped: Entries that are no rows, in their order.
    """

    def __init__(self, entries: Iterator[Entry], source: str, split: str, question_ids: set[str] | None = None):
        self._entries = entries
        self.source, self.split = source, split
        self.kept = 0
        self.dropped: list[Dropped] = []
        self._seen = set() if question_ids is None else question_ids

    @property
    def total(self) -> int:
        """Number of entries that were read."""
        return self.kept + len(self.dropped)

    @property
    def reasons(self) -> Counter[str]:
        """Number of dropped entries of each reason."""
        return Counter(entry.reason for entry in self.dropped)

    def drop(self, question_id: str, where: str, drop: Drop) -> None:
        """Leave an entry out."""
        self.dropped.append(Dropped(question_id, where, drop.reason, drop.detail))

    def rows(self, accept: Callable[[dict[str, Any]], Drop | None] = lambda row: None) -> Iterator[dict[str, Any]]:
        """The rows of the table.

        Args:
            accept: Says of a row why it is left out after all; None where it stays.
        """
        for entry in self._entries:
            row = self._make(entry)
            drop = row if isinstance(row, Drop) else accept(row)
            if drop is not None:
                self.drop(entry.question_id, entry.where, drop)
            elif not isinstance(row, Drop):
                self.kept += 1
                yield row

    def _make(self, entry: Entry) -> dict[str, Any] | Drop:
        if isinstance(entry.content, Drop):
            return entry.content
        fields = entry.content
        drop = _find_choice_drop(fields) or _find_span_drop(fields)
        if drop:
            return drop
        if entry.question_id in self._seen:
            return Drop("duplicate_id", entry.question_id)
        try:
            row = question_row(
                question_id=entry.question_id, source=self.source, split=self.split, producer="benchmark", **fields
            )
        except QuestionError as error:
            return Drop("breaks_contract", str(error))
        self._seen.add(entry.question_id)
        return row


def _find_choice_drop(fields: Mapping[str, Any]) -> Drop | None:
    answer, options = fields.get("answer", ""), fields.get("options", [])
    if not isinstance(answer, str) or not answer.strip():
        return Drop("no_answer")
    if fields.get("answer_format") != "choice":
        return None
    times = list(options).count(answer)
    if times == 0:
        return Drop("answer_not_among_options", f"{answer!r} is none of {list(options)}")
    return Drop("answer_repeated", f"{answer!r} is {times} times in {list(options)}") if times > 1 else None


def _find_span_drop(fields: Mapping[str, Any]) -> Drop | None:
    spans = [(span["start_s"], span["end_s"]) for span in fields.get("evidence_spans", ())]
    if fields.get("start_s") is not None:
        spans.append((fields["start_s"], fields["end_s"]))
    for start_s, end_s in spans:
        if not (isinstance(start_s, float | int) and isinstance(end_s, float | int)):
            return Drop("field", f"from {start_s!r} to {end_s!r}, expected seconds")
        if not start_s < end_s:
            return Drop("span_inverted", f"from {start_s} to {end_s} s")
    return None


def find_time_drop(fields: Mapping[str, Any], duration_s: float) -> Drop | None:
    """Why a question's times do not fit its video; None where they do.

    Args:
        fields: `start_s`, `end_s` and `evidence_spans`, of which any may be absent.
        duration_s: Length of the video in seconds.
    """
    ends = [span["end_s"] for span in fields.get("evidence_spans", ())]
    if fields.get("end_s") is not None:
        ends.append(fields["end_s"])
    late = [end_s for end_s in ends if end_s > duration_s + SPAN_TOLERANCE_S]
    return Drop("span_beyond_video", f"until {max(late)} s of a video of {duration_s:.2f} s") if late else None


def text_of(value: Any) -> str:
    """A field that is to be text, without space at its ends; numbers are written out.

    Raises:
        ValueError: It is something else.
    """
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise ValueError(f"{str(value)[:80]!r} is no text")


def json_entry(where: str, question_id: str, item: Any, read: Callable[[Any], Mapping[str, Any] | Drop]) -> Entry:
    """An entry of an item of JSON, where a field that is missing or of another kind is a reason to drop it.

    Args:
        where: Place of the item, for people.
        question_id: Id of the question.
        item: The item.
        read: Gives the fields of its row.
    """
    try:
        if not isinstance(item, dict):
            return Entry(where, question_id, Drop("field", f"expected an object, not {str(item)[:80]!r}"))
        return Entry(where, question_id, read(item))
    except KeyError as error:
        return Entry(where, question_id, Drop("field", f"no {error.args[0]}"))
    except (TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
        return Entry(where, question_id, Drop("field", str(error)))


def source_folder(
    folder: str | os.PathLike, benchmark: str, tolerant: bool = False, allow_incomplete: bool = False
) -> SourceFolder:
    """The files of a benchmark in a folder."""
    return SourceFolder(Path(folder), benchmark, tolerant, allow_incomplete)
