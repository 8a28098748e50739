"""What comes of reading annotations: what was seen, kept and dropped, and why; and the small checks of every reader.

A file or video that cannot be used ends with `Unusable`, which one of many is counted by; so is a part of it, such as
a box outside the frame, where the rest can be used. Nothing is dropped in silence: what was seen is kept or dropped
for a reason, and the first place of each reason is remembered.
"""

from __future__ import annotations

import math
import os
import reprlib
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...boxes_in_text import BORDER_SHARE
from ...errors import GraphError
from ...reporting.tables import text_table
from ..checks import check_graph
from ..graph import Box, SceneGraph
from ..schema import plain_name

UNITS = ("graphs", "objects", "boxes", "relations", "actions")
"""What is counted. Parts of a graph are counted where the graph itself could be made."""

MAX_NAME_CHARACTERS = 200
"""Longest name of a class, predicate or action: the longest of the data sets here has 60."""

MAX_LIST_BYTES = 64 * 2**20
"""Largest file of a list of names: Action Genome's 290,000 frames take 6 MB."""

ROUNDING_PX = 0.5
"""A side that is shorter than this, in pixels, is no side: half a pixel is what rounding leaves of an empty box."""


class Unusable(GraphError):
    """A file, a video, or a part of an annotation cannot be used.

    Args:
        reason: A word for counting, such as "not_json" or "outside_frame".
        detail: What and where, for people.
    """

    def __init__(self, reason: str, detail: str):
        self.reason, self.detail = reason, detail
        super().__init__(reason, detail)

    def __str__(self) -> str:
        return f"{self.reason.replace('_', ' ')}: {self.detail}"


@dataclass
class ReadingReport:
    """Counts over all that was read.

    Args:
        seen: Number of each unit in the source, counted before anything is looked at.
        kept: Number of each unit that is in a graph.
        dropped: Number of each (unit, reason).
        noted: Number of what was kept and is worth knowing, such as boxes cut at the border, by (unit, note).
        examples: First place of each reason and note.
    """

    seen: Counter[str] = field(default_factory=Counter)
    kept: Counter[str] = field(default_factory=Counter)
    dropped: Counter[tuple[str, str]] = field(default_factory=Counter)
    noted: Counter[tuple[str, str]] = field(default_factory=Counter)
    examples: dict[tuple[str, str], str] = field(default_factory=dict)

    def drop(self, unit: str, reason: str, where: str, count: int = 1) -> None:
        """Count what was left out.

        Args:
            unit: One of `UNITS`.
            reason: A word for it.
            where: File and place, for people.
            count: How many.
        """
        self.dropped[unit, reason] += count
        self.examples.setdefault((unit, reason), where)

    def note(self, unit: str, note: str, where: str, count: int = 1) -> None:
        """Count what was kept and is worth knowing; as `drop`."""
        self.noted[unit, note] += count
        self.examples.setdefault((unit, note), where)

    def add_named_objects(self, graph: SceneGraph) -> None:
        """Count the objects of a graph whose source lists none, but names them by what it says of them."""
        count = sum(node.kind == "object" for node in graph.nodes)
        self.seen["objects"] += count
        self.kept["objects"] += count

    def merge(self, other: ReadingReport) -> None:
        """Add the counts of a part."""
        for mine, added in zip(self._counters(), other._counters(), strict=True):
            mine.update(added)
        for key, where in other.examples.items():
            self.examples.setdefault(key, where)

    def _counters(self) -> tuple[Counter, ...]:
        return self.seen, self.kept, self.dropped, self.noted

    def check(self) -> None:
        """Raise unless all that was seen is kept or dropped.

        Raises:
            GraphError: A reader has lost something, which is a mistake in it.
        """
        accounted = Counter(self.kept)
        for (unit, _), count in self.dropped.items():
            accounted[unit] += count
        lost = {unit: (self.seen[unit], accounted[unit]) for unit in UNITS if self.seen[unit] != accounted[unit]}
        if lost:
            raise GraphError(f"seen and accounted for differ: {lost}")

    def as_dict(self) -> dict[str, Any]:
        """The counts as JSON has them."""
        return {
            unit: {
                "seen": self.seen[unit],
                "kept": self.kept[unit],
                "dropped": {reason: count for (of, reason), count in sorted(self.dropped.items()) if of == unit},
                "noted": {note: count for (of, note), count in sorted(self.noted.items()) if of == unit},
                "examples": {reason: where for (of, reason), where in sorted(self.examples.items()) if of == unit},
            }
            for unit in UNITS
            if self.seen[unit]
        }

    def table(self) -> str:
        """The counts for a terminal, and the first place of each reason below them."""
        rows = [(unit, self.seen[unit], self.kept[unit], self._reasons(unit)) for unit in UNITS if self.seen[unit]]
        lines = [text_table(["", "in the source", "kept", "dropped"], rows, [False, True, True, False])]
        for (unit, reason), count in sorted((*self.dropped.items(), *self.noted.items())):
            place = self.examples.get((unit, reason), "")
            lines.append(f"{count} {unit}, {reason.replace('_', ' ')}: such as {place}")
        return "\n".join(lines)

    def _reasons(self, unit: str) -> str:
        reasons = [f"{count} {reason.replace('_', ' ')}" for (of, reason), count in self.dropped.items() if of == unit]
        return ", ".join(sorted(reasons)) or "0"


@contextmanager
def one_part(report: ReadingReport, unit: str, where: str) -> Iterator[None]:
    """Around one part of an annotation: where it turns out `Unusable`, it is counted as dropped; else as kept."""
    try:
        yield
    except Unusable as problem:
        report.drop(unit, problem.reason, f"{where}: {problem.detail}" if problem.detail else where)
    else:
        report.kept[unit] += 1


def finished(graph: SceneGraph, where: str) -> SceneGraph:
    """A graph that was read, once it is known to keep the contract.

    Raises:
        Unusable: It does not, although each of its parts was looked at: with the problems that it has.
    """
    try:
        check_graph(graph)
    except GraphError as error:
        raise Unusable("breaks_the_contract", f"{where}: {error}") from error
    return graph


# Values of annotations


def read_name(value: Any, what: str) -> str:
    """A name in the one spelling of the contract.

    Raises:
        Unusable: It is no text, is empty, too long, or has characters that do not print.
    """
    if not isinstance(value, str):
        raise Unusable("no_name", f"{what} is {short(value)}, expected a text")
    name = plain_name(value)
    if not name or len(name) > MAX_NAME_CHARACTERS or not name.isprintable():
        raise Unusable("no_name", f"{what} is {short(value)}")
    return name


def read_whole(value: Any, what: str, least: int = 0, reason: str = "malformed") -> int:
    """A whole number.

    Raises:
        Unusable: It is none, or smaller than `least`, or no 32-bit number.
    """
    # True is a whole number to Python
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value < 2**31:
        raise Unusable(reason, f"{what} is {short(value)}, expected a whole number of at least {least}")
    return value


def read_mapping(value: Any, what: str, keys: tuple[str, ...] = ()) -> Mapping[str, Any]:
    """An object with certain keys.

    Raises:
        Unusable: It is none, or lacks one.
    """
    if not isinstance(value, Mapping):
        raise Unusable("malformed", f"{what} is {short(value)}, expected an object")
    missing = [key for key in keys if key not in value]
    if missing:
        raise Unusable("malformed", f"{what} has no {', '.join(map(repr, missing))}")
    return value


def read_list(value: Any, what: str) -> list[Any]:
    """A list.

    Raises:
        Unusable: It is none.
    """
    if not isinstance(value, list):
        raise Unusable("malformed", f"{what} is {short(value)}, expected a list")
    return value


def read_box(
    numbers: Any, frame_height: int, frame_width: int, report: ReadingReport | None = None, where: str = ""
) -> Box:
    """A box in pixels as shares of the frame.

    A box that reaches beyond the frame by no more than `BORDER_SHARE` of its side is cut there, since annotators draw
    over the border; farther out, the numbers are those of a frame of another size.

    Args:
        numbers: Left, top, right and bottom border in pixels, the last two exclusive.
        frame_height: Height of the frame in pixels.
        frame_width: Width of the frame in pixels.
        report: Where a box that was cut is noted.
        where: Its place, for that note.

    Raises:
        Unusable: The numbers are not finite, inverted, or those of another frame.
    """
    try:
        x0, y0, x1, y1 = map(float, numbers)
    except (TypeError, ValueError, OverflowError):
        raise Unusable("malformed", f"box {short(numbers)}, expected four numbers") from None
    if not all(map(math.isfinite, (x0, y0, x1, y1))):
        raise Unusable("not_finite", f"box {short(numbers)}")
    if x1 - x0 < ROUNDING_PX or y1 - y0 < ROUNDING_PX:
        raise Unusable("inverted_or_empty", f"box {x0:g}, {y0:g}, {x1:g}, {y1:g}")
    sides = (x0 / frame_width, y0 / frame_height, x1 / frame_width, y1 / frame_height)
    if min(sides) < 0 or max(sides) > 1:
        cut = [min(max(side, 0.0), 1.0) for side in sides]
        size = f"a frame of {frame_height} x {frame_width} (height x width)"
        too_far = min(sides) < -BORDER_SHARE or max(sides) > 1 + BORDER_SHARE
        if too_far or cut[0] >= cut[2] or cut[1] >= cut[3]:
            raise Unusable("outside_frame", f"box {x0:g}, {y0:g}, {x1:g}, {y1:g} in {size}")
        if report is not None:
            report.note("boxes", "cut_at_the_border", where)
        return cut[0], cut[1], cut[2], cut[3]
    return sides


def short(value: Any) -> str:
    """A value for a message: whatever is in a hostile file, a few dozen characters of it, and no deep recursion."""
    return reprlib.repr(value)[:120]


def read_lines(path: str | os.PathLike, max_bytes: int = MAX_LIST_BYTES) -> list[str]:
    """The lines of a list that are not empty, without outer spaces; none where there is no such file.

    Args:
        path: The file, in UTF-8.
        max_bytes: Largest file in bytes.

    Raises:
        GraphError: It cannot be read, or is larger.
    """
    path = Path(path)
    if not path.is_file():
        return []
    try:
        if path.stat().st_size > max_bytes:
            raise GraphError(f"{path}: larger than {max_bytes:,} bytes")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise GraphError(f"{path}: cannot be read ({error})") from error
    return [line.strip() for line in text.splitlines() if line.strip()]
