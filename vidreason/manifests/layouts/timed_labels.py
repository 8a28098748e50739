"""Labels as people type them, `Class[start to end]` in seconds, read with their typing errors, each of them told.

    Sitting[0 to 0.5; 3.7 to 10]; Falling (SW)[1.8 to 6]

What is made of the errors that are met in such tables, each of them a `Finding`:

- `spelling`: a class is spelt like none, but is near to one alone, and begins with the same letter.
- `brackets`: one is missing, doubled, or of another kind.
- `separator`: `to` is a dash or missing, `;` is missing, or other signs stand about.
- `decimal`: a comma, two points, or no digit on one side of the point.
- Left out: `unknown_class`, `no_class`, `no_times`, `unreadable_times`, and `start_after_end`: two times in the wrong
  order are not exchanged, as it is as likely that one of them is wrong.

White space, and a `;` at the end, are no errors.
"""

from __future__ import annotations

import csv
import difflib
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

CORRECTED, LEFT_OUT, NOTED = "corrected", "left out", "noted"
"""What became of something that was found. `noted` changes nothing, and is worth a look."""

LABEL_REPORT_FILE = "label_report.csv"

_NEAR = 0.8
"""Share of letters that two spellings have in common, as `difflib` counts it: one wrong letter in six gives 0.83."""
_AHEAD = 0.1
"""By so much the nearest class must be nearer than the next."""

# a word that is not `to`, more of them, and perhaps a word in round brackets whose second may be missing
_NAME = re.compile(r"(?<![a-z])(?!to(?![a-z]))[a-z][a-z ]*(?:\(\s*[a-z]+\s*\)?)?", re.IGNORECASE)
_BODY = re.compile(r"\s*\[([^\[\](){}]*)\]\s*(;?)\s*")
_BRACKETS = re.compile(r"[\[\](){}]")
_TIMES = re.compile(r"(\d+(?:\.\d+)?)\s*to\s*(\d+(?:\.\d+)?)")
_LOOSE_TIME = r"(\d*(?:\.+|,)\d+|\d+[.,]?)"
_LOOSE_TIMES = re.compile(rf"{_LOOSE_TIME}(?:\s*(to|[-\u2013\u2014~])\s*|\s+){_LOOSE_TIME}", re.IGNORECASE)


class TimedLabel(NamedTuple):
    """A class that goes on in seconds [start_s, end_s)."""

    name: str
    start_s: float
    end_s: float

    def __str__(self) -> str:
        return f"{self.name}[{self.start_s:g} to {self.end_s:g}]"


class Finding(NamedTuple):
    """Something about a text of labels that is not as it should be: what was said, and what was made of it."""

    outcome: str
    reason: str
    said: str
    made: str = ""


@dataclass(frozen=True)
class TimedLabelReader:
    """Reads texts of labels.

    Args:
        names: Maps a class as it should be typed to its name, such as `Falling (FW)` to `Falling forward`.
    """

    names: Mapping[str, str]

    def read(self, text: str) -> tuple[list[TimedLabel], list[Finding]]:
        """The labels of a text in its order, and what was found about it."""
        labels: list[TimedLabel] = []
        findings: list[Finding] = []
        matches = list(_NAME.finditer(text))
        before = text[: matches[0].start()] if matches else text
        if before.strip(" ;"):
            findings.append(Finding(LEFT_OUT, "no_class", before.strip()))
        ends = [match.start() for match in matches[1:]] + [len(text)]
        for match, end in zip(matches, ends, strict=False):
            said = text[match.start() : end]
            found = self._read_entry(match[0], said[len(match[0]) :], said.strip(" ;"), is_last=end == len(text))
            labels += found[0]
            findings += found[1]
        return labels, findings

    def _read_entry(self, typed: str, body: str, said: str, is_last: bool) -> tuple[list[TimedLabel], list[Finding]]:
        """The labels of one class, and what was found about them."""
        name, error = self._find_name(typed)
        if name is None:
            return [], [Finding(LEFT_OUT, error, said)]
        errors = {error} if error else set()
        well_formed = _BODY.fullmatch(body)
        if not well_formed:
            errors.add("separator" if body.count("[") == body.count("]") == 1 else "brackets")
        elif not well_formed[2] and not is_last:
            errors.add("separator")
        labels, findings = [], []
        for part in _parts(well_formed[1] if well_formed else _BRACKETS.sub(";", body)):
            times = _read_times(part)
            if times is None or times[0] >= times[1]:
                problem = "unreadable_times" if times is None else "start_after_end"
                findings.append(Finding(LEFT_OUT, problem, f"{typed.strip()}[{part}]"))
                continue
            labels.append(TimedLabel(name, times[0], times[1]))
            errors |= times[2]
        if not labels and not findings:
            return [], [Finding(LEFT_OUT, "no_times", said)]
        made = "; ".join(map(str, labels))
        return labels, [*(Finding(CORRECTED, error, said, made) for error in sorted(errors) if made), *findings]

    def _find_name(self, typed: str) -> tuple[str | None, str]:
        """The class that was meant, and what is wrong with its spelling; None where it cannot be told."""
        plain = "".join(typed.split())
        for right, name in self.names.items():
            if plain == "".join(right.split()):
                return name, ""
        letters = _letters(typed)
        nearness = {
            right: difflib.SequenceMatcher(None, letters, _letters(right)).ratio()
            for right in self.names
            if _letters(right)[0] == letters[0]
        }
        nearest = sorted(nearness, key=lambda right: nearness[right], reverse=True)[:2]
        if not nearest or nearness[nearest[0]] < _NEAR:
            return None, "unknown_class"
        if len(nearest) > 1 and nearness[nearest[0]] - nearness[nearest[1]] < _AHEAD:
            return None, "unknown_class"
        right = nearest[0]
        only_brackets = re.sub(r"[^A-Za-z]", "", typed) == re.sub(r"[^A-Za-z]", "", right)
        return self.names[right], "brackets" if only_brackets else "spelling"


def _letters(name: str) -> str:
    return re.sub("[^a-z]", "", name.casefold())


def _parts(text: str) -> Iterator[str]:
    """What stands between the `;` of a list of times, without signs that mean nothing about it."""
    for part in text.split(";"):
        if part := part.strip(" \t:,"):
            yield part


def _read_times(text: str) -> tuple[float, float, set[str]] | None:
    """Start, end, and what was wrong with them; None where they cannot be told."""
    match = _TIMES.fullmatch(text)
    if match:
        return float(match[1]), float(match[2]), set()
    match = _LOOSE_TIMES.fullmatch(text)
    if not match:
        return None
    start_s, end_s = (float(re.sub(r"\.+|,", ".", number)) for number in (match[1], match[3]))
    right = all(re.fullmatch(r"\d+(\.\d+)?", number) for number in (match[1], match[3]))
    return start_s, end_s, {*([] if right else ["decimal"]), *([] if match[2] == "to" else ["separator"])}


class LabelNote(NamedTuple):
    """A finding and its place: the table, the line in it counted from 1, and the video that the line is about."""

    file: str
    line: int
    video: str
    outcome: str
    reason: str
    said: str
    made: str

    @classmethod
    def of(cls, file: str, line: int, video: str, finding: Finding) -> LabelNote:
        """A finding at a place."""
        return cls(file, line, video, *finding)


def write_label_report(folder: str | os.PathLike, notes: Sequence[LabelNote]) -> Path:
    """Write `label_report.csv`, also where there is nothing to report."""
    path = Path(folder) / LABEL_REPORT_FILE
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(LabelNote._fields)
        writer.writerows(notes)
    return path


def describe_notes(notes: Sequence[LabelNote]) -> str:
    """All notes for a terminal, a line for each, and their number by outcome and reason."""
    lines = []
    for note in notes:
        made = f" -> {note.made}" if note.made else ""
        lines.append(f"{note.file}:{note.line} {note.outcome} ({note.reason}): {note.said}{made}")
    return "\n".join([*lines, f"labels: {count_notes(notes)}"])


def count_notes(notes: Sequence[LabelNote]) -> str:
    """How many notes of which kind, as a sentence without an end."""
    counts = Counter((note.outcome, note.reason) for note in notes)
    outcomes: dict[str, list[str]] = {}
    for (outcome, reason), count in sorted(counts.items()):
        outcomes.setdefault(outcome, []).append(f"{reason} {count}")
    totals = Counter(note.outcome for note in notes)
    return "; ".join(f"{totals[of]} {of} ({', '.join(reasons)})" for of, reasons in outcomes.items()) or "none noted"
