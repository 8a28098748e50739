"""Files that benchmarks publish: CSV and JSON of a bounded size, read an entry at a time, faults named by place.

JSON is read strictly unless told otherwise. Tolerant reading mends two slips that published files have, and counts
them: a comma before a closing bracket (the example item of STAR), and closing brackets after the end (the example of
AGQA 2.0). Both leave no doubt about what was meant; anything else stays an error.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from ...errors import QuestionError
from ...plain_json import trailing_commas, without_places

MAX_BYTES = 4 * 2**30
"""Size of the largest file that is read; that of AGQA 2.0's balanced training questions is between 1 and 2 GB."""

MAX_MENDED_BYTES = 256 * 2**20
"""Size of the largest file that is mended: it is held in memory whole."""

_READ_CHARACTERS = 2**20  # at a time
_MAX_ENTRY_CHARACTERS = 64 * 2**20  # of an entry of a list or an object: STAR's largest has some hundred thousand

_DECODER = json.JSONDecoder()
_AFTER_NUMBERS = tuple(" \t\r\n,]}")
_SPACE = re.compile(r"[ \t\r\n]*")


def find_file(folder: Path, names: Sequence[str], benchmark: str) -> Path:
    """The first of some files that is there, in a folder.

    Raises:
        QuestionError: The folder is not there, or none of the files is in it.
    """
    if not folder.is_dir():
        raise QuestionError(f"{folder}: there is no such folder")
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise QuestionError(f"{folder}: no {' or '.join(names)} in it; is this a copy of {benchmark}?")


def read_csv(file: Path, columns: Sequence[str]) -> Iterator[tuple[str, dict[str, str] | None]]:
    """The rows of a CSV file with a header.

    Args:
        file: The file, in UTF-8.
        columns: Columns that it must have.

    Yields:
        Where a row is, and its values by column without space at their ends; None where it has more or fewer values
        than there are columns.

    Raises:
        QuestionError: The file cannot be read, or lacks a column.
    """
    _check_size(file, MAX_BYTES)
    try:
        with file.open(encoding="utf-8-sig", newline="") as opened:
            rows = csv.DictReader(opened)
            missing = [name for name in columns if name not in (rows.fieldnames or ())]
            if missing:
                raise QuestionError(f"{file}: columns {missing} are missing; there are {rows.fieldnames}")
            for row in rows:
                where = f"{file.name} line {rows.line_num}"
                # what is beyond the last column has the key None, what is missing the value None
                whole = None not in row and None not in row.values()
                yield where, {name: value.strip() for name, value in row.items()} if whole else None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise QuestionError(f"{file}: cannot be read as CSV ({error})") from error


class JsonFile:
    """A JSON file that holds a list or an object, whose entries are read one after another.

    Args:
        path: The file, in UTF-8.
        tolerant: Whether the slips that this module names are mended in place of raising an error.

    Attributes:
        mended: What was mended, in words; empty where nothing was.
    """

    def __init__(self, path: Path, tolerant: bool = False):
        self.path, self.tolerant = path, tolerant
        self.mended: list[str] = []

    def read(self) -> Any:
        """The whole value of a small file.

        Raises:
            QuestionError: It cannot be read, or is no JSON.
        """
        text = _whole_text(self.path)
        return self._decode(self._mend(text) if self.tolerant else text)

    def entries(self) -> Iterator[tuple[str, Any]]:
        """The entries of the file's list or object; a key that is there twice is given twice.

        Yields:
            Key of an object, or number of a list's entry from 0 as a text; and the value.

        Raises:
            QuestionError: It cannot be read, or is no list or object in JSON.
        """
        if self.tolerant:
            text = self._mend(_whole_text(self.path))
            yield from _Entries(self.path, _OfText(text)).read()
            return
        _check_size(self.path, MAX_BYTES)
        try:
            with self.path.open(encoding="utf-8-sig") as opened:
                yield from _Entries(self.path, opened).read()
        except (OSError, UnicodeDecodeError) as error:
            raise QuestionError(f"{self.path}: cannot be read as JSON ({error})") from error

    def _decode(self, text: str) -> Any:
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            raise QuestionError(f"{self.path}: {_explain(error)}") from error

    def _mend(self, text: str) -> str:
        text, commas = drop_trailing_commas(text)
        if commas:
            self.mended.append(f"{self.path.name}: {commas} commas before a closing bracket")
        start = _SPACE.match(text).end()  # type: ignore[union-attr]  # it matches nothing too
        try:
            end = _DECODER.raw_decode(text, start)[1]
        except (ValueError, RecursionError):
            return text  # whoever decodes it says what is wrong
        rest = text[end:].split()
        if rest and all(set(part) <= set("]}") for part in rest):
            self.mended.append(f"{self.path.name}: {''.join(rest)} after the end")
            return text[:end]
        return text


def drop_trailing_commas(text: str) -> tuple[str, int]:
    """A JSON text without commas that stand right before a closing bracket, and how many they were.

    What is inside strings stays as it is.
    """
    places = trailing_commas(text)
    return without_places(text, places), len(places)


class _OfText:
    """A text that is read like a file."""

    def __init__(self, text: str):
        self._text, self._at = text, 0

    def read(self, size: int) -> str:
        self._at += size
        return self._text[self._at - size : self._at]


class _Entries:
    """Takes a list or an object apart without ever holding more than an entry and what was read with it."""

    def __init__(self, path: Path, opened: TextIO | _OfText):
        self._path, self._opened = path, opened
        self._text, self._at, self._ended = "", 0, False
        self._lines = 1  # of what was read and is no longer held

    def read(self) -> Iterator[tuple[str, Any]]:
        opening = self._next()
        if opening not in ("{", "["):
            raise self._error("expected a list or an object")
        self._at += 1
        closing, number = "}" if opening == "{" else "]", 0
        if self._next() == closing:
            self._at += 1
        else:
            while True:
                key = self._key() if opening == "{" else str(number)
                yield key, self._value()
                number += 1
                sign = self._next()
                self._at += 1
                if sign == closing:
                    break
                if sign != ",":
                    self._at -= 1
                    raise self._error(f"expected , or {closing}")
                if self._next() == closing:
                    raise self._error("a comma before a closing bracket (read it with `tolerant`)")
        if self._next():
            closes = re.fullmatch(r"[\]}]+", re.split(r"[ \t\r\n]", self._text[self._at :])[0])
            hint = " (read it with `tolerant`)" if closes else ""
            raise self._error(f"there is more after the end: {self._text[self._at : self._at + 20]!r}{hint}")

    def _key(self) -> str:
        if self._next() != '"':
            raise self._error("expected a key in quotes")
        key = self._value()
        if self._next() != ":":
            raise self._error("expected : after a key")
        self._at += 1
        return key

    def _value(self) -> Any:
        self._next()
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._at)
                # of a number, more digits or an exponent may come: what is read ends anywhere
                is_number = isinstance(value, int | float) and not isinstance(value, bool)
                if self._ended or not is_number or self._text[end : end + 1] in _AFTER_NUMBERS:
                    self._at = end
                    return value
            except RecursionError:
                raise self._error("brackets are nested too deeply") from None
            except ValueError as error:
                if self._ended or len(self._text) - self._at > _MAX_ENTRY_CHARACTERS:
                    raise self._error(_explain(error), getattr(error, "pos", self._at)) from error
            # twice as much each time, so that an entry of any length is decoded a few times at most
            self._fill(max(_READ_CHARACTERS, len(self._text) - self._at))

    def _next(self) -> str:
        """The next sign that is no space, empty at the end."""
        while True:
            self._at = _SPACE.match(self._text, self._at).end()  # type: ignore[union-attr]  # it matches nothing too
            if self._at < len(self._text) or self._ended:
                return self._text[self._at : self._at + 1]
            self._fill(_READ_CHARACTERS)

    def _fill(self, size: int) -> None:
        more = self._opened.read(size)
        self._ended = not more
        self._lines += self._text.count("\n", 0, self._at)
        self._text, self._at = self._text[self._at :] + more, 0

    def _error(self, problem: str, at: int | None = None) -> QuestionError:
        line = self._lines + self._text.count("\n", 0, self._at if at is None else at)
        return QuestionError(f"{self._path}: line {line}: {problem}")


def _whole_text(path: Path) -> str:
    _check_size(path, MAX_MENDED_BYTES)
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise QuestionError(f"{path}: cannot be read as JSON ({error})") from error


def _check_size(path: Path, most: int) -> None:
    try:
        size = path.stat().st_size
    except OSError as error:
        raise QuestionError(f"{path}: cannot be read ({error})") from error
    if not path.is_file():
        raise QuestionError(f"{path}: is not a file")
    if size > most:
        raise QuestionError(f"{path}: has {size >> 20} MiB, expected at most {most >> 20}")


def _explain(error: Exception) -> str:
    if not isinstance(error, json.JSONDecodeError):
        return "brackets are nested too deeply" if isinstance(error, RecursionError) else str(error)
    before, after = error.doc[: error.pos].rstrip()[-1:], error.doc[error.pos : error.pos + 100]
    # Python 3.13 points at the comma, earlier versions at the bracket
    if re.match(r",\s*[\]}]", after) or (before == "," and after[:1] in "]}"):
        return "a comma before a closing bracket (read it with `tolerant`)"
    return error.msg
