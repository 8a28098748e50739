"""Reads JSON that others published: within bounds, with the file and the line in every complaint.

Published annotations have slips that Python's parser tells by a position alone: a comma before a closing bracket
(STAR's example), a bracket too many (AGQA's). Neither is forgiven in silence: the error names the slip, and only a
trailing comma is read over where the caller asks for it, since it leaves no doubt about what was meant.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from .errors import ManifestError, VidreasonError

MAX_BYTES = 2**30
"""Largest file where a reader sets no other: of the annotations in use here that of STAR's training part is largest,
with some hundred MB. Parsed, it takes several times as much memory."""

# A comma that a closing bracket follows, or a string, which is gone over whole; to the end of the text where nothing
# closes it: to try each sign in it as a start would take for ever.
_STRING_OR_COMMA = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)|,(?=\s*[}\]])', re.DOTALL)


def read_plain_json(
    path: str | os.PathLike,
    error: type[VidreasonError] = ManifestError,
    max_bytes: int = MAX_BYTES,
    allow_trailing_commas: bool = False,
) -> Any:
    """The content of a file of JSON.

    `NaN` and `Infinity`, which Python writes and JSON does not have, are numbers: whoever uses a number says where it
    is not finite.

    Args:
        path: The file, in UTF-8 with or without a byte order mark.
        error: Kind of the error that is raised.
        max_bytes: Largest file in bytes.
        allow_trailing_commas: Whether a comma before a closing bracket is read over. All else stays an error.

    Raises:
        ManifestError: It cannot be read, is larger than `max_bytes`, is no JSON, is nested too deeply for the parser,
            or has an object with one key twice, of which only the last would be left; or an error of the kind that
            was given. The message names the line and, where it is one, the slip.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            content = file.read(max_bytes + 1)
    except OSError as failure:
        raise error(f"{path}: cannot be read ({failure})") from failure
    if len(content) > max_bytes:
        raise error(f"{path}: is larger than {max_bytes:,} bytes")
    try:
        text = content.decode("utf-8-sig")
        return parse_plain_json(text, allow_trailing_commas)
    except (ValueError, RecursionError) as failure:  # a file that is no UTF-8 is a ValueError too
        raise error(f"{path}: {failure if isinstance(failure, _Slip) else _describe(failure)}") from failure


def parse_plain_json(text: str, allow_trailing_commas: bool = False) -> Any:
    """The value of a text of JSON, as `read_plain_json` reads a file.

    Args:
        text: The text.
        allow_trailing_commas: Whether a comma before a closing bracket is read over.

    Raises:
        ValueError: It is no JSON, or has a key twice.
        RecursionError: It is nested too deeply.
    """
    try:
        return json.loads(text, object_pairs_hook=_without_repeats)
    except json.JSONDecodeError as failure:
        commas = trailing_commas(text)
        if not commas:
            raise _slip(failure) from None
        try:
            # commas become spaces, so that places in both texts are the same
            value = json.loads(without_places(text, commas, " "), object_pairs_hook=_without_repeats)
        except json.JSONDecodeError as other:
            raise _slip(other) from None
        if not allow_trailing_commas:
            line = text.count("\n", 0, commas[0]) + 1
            raise _Slip(f"no JSON: a comma before a closing bracket, first in line {line}") from None
        return value


def trailing_commas(text: str) -> list[int]:
    """Places of the commas in a text of JSON that stand right before a closing bracket; none inside strings."""
    return [found.start() for found in _STRING_OR_COMMA.finditer(text) if found[0] == ","]


def without_places(text: str, places: Sequence[int], instead: str = "") -> str:
    """A text in which something else stands in place of some characters.

    Args:
        text: The text.
        places: Their places, rising.
        instead: What stands there.
    """
    starts = [0, *(place + 1 for place in places)]
    return instead.join(text[start:end] for start, end in zip(starts, [*places, len(text)], strict=True))


class _Slip(ValueError):
    """What is wrong with a text, in words for people."""


def _slip(failure: json.JSONDecodeError) -> _Slip:
    where = f"line {failure.lineno}, column {failure.colno}"
    if failure.msg == "Extra data":
        # up to the end of the line as JSON has it: signs such as a no-break space are blanks and lines to Python alone
        rest = re.split(r"[\r\n]", failure.doc[failure.pos : failure.pos + 20])[0].rstrip(" \t")
        return _Slip(f"no JSON: {rest!r} follows its end, in {where}; a bracket too many?")
    return _Slip(f"no JSON: {failure.msg[:1].lower()}{failure.msg[1:]}, in {where}")


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in names if names.count(name) > 1)
        raise _Slip(f"an object has the key {repeated[:80]!r} twice")
    return made


def _describe(failure: Exception) -> str:
    if isinstance(failure, RecursionError):
        return "no JSON that can be used: it is nested too deeply"
    words = " ".join(str(failure).split())[:200] or type(failure).__name__
    return f"no JSON: {words}"


def is_number(value: Any) -> bool:
    """Whether a value of a file is a finite number, as a float can hold it; True and False are none."""
    number: Any = value
    # compared and not converted: a whole number of JSON may be too large for a float, and nothing is above NaN
    return isinstance(value, Real) and not isinstance(value, bool) and bool(abs(number) <= sys.float_info.max)


def is_whole(value: Any) -> bool:
    """Whether a value of a file is a whole number; True is one to Python, and no count."""
    return isinstance(value, Integral) and not isinstance(value, bool)
