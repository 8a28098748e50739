"""What was found about a data set's labels, and where: a table beside the manifest, and for a terminal."""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from .timed_labels import Finding

LABEL_REPORT_FILE = "label_report.csv"


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
