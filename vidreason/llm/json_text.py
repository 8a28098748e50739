"""JSON as language models write it: in fences, between sentences, with the slips of people who type it.

Forgiven are trailing and missing commas, single and typographic quotes, quotes left out, comments, the tuples and
constants of Python, and one JSON text inside another as a string. Not forgiven is a bracket or a quote that is never
closed: such an answer was cut off, and completing it would make up what the model did not say.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from ..errors import InvalidAnswer, LLMError

logger = logging.getLogger(__name__)

MAX_CHARACTERS = 50_000
"""Characters of the longest answer that is looked at: more than any token limit in use here lets through."""

_MAX_DEPTH = 40  # Python's own parser gives up at about 1,000, and no answer that is asked for here is deeper than 5
# in the brackets of Qwen and DeepSeek, of Kimi, and of Magistral
_THOUGHT_TAG = re.compile(r"[<\[◁](?P<closes>/?)(?:think|thinking|thought|reasoning)[>\]▷]", re.IGNORECASE)
# characters that the search for brackets may go over, of an answer and all that it goes over again
_MAX_SCANNED = 10 * MAX_CHARACTERS
# characters of an answer that json-repair is given, and what a call of it costs, as so many characters: its time grows
# with the square on some that are out of shape
_MAX_REPAIRED, _REPAIR_OVERHEAD = 10_000, 60
_CLOSING = {"{": "}", "[": "]", "(": ")"}
_LIST_BRACKETS = str.maketrans("()", "[]")


def parse_json(text: str, keys: Collection[str] = ()) -> dict[str, Any] | list[Any]:
    """The JSON object or list in a text.

    A text that is JSON and nothing else, fence or no fence, gives its value. Among sentences, objects are looked for;
    where there are several, the last that has one of `keys` counts, since models repeat the question's example before
    they answer and correct themselves after, and without such the last one. Where there is no object, the last list of
    lists counts. An object that has one of `keys` and lies right inside another or in a list is taken out of it. The
    time that all of it takes is bounded, whatever the text.

    A key that is given twice keeps both: lists are joined, of other values the last one stays. Thoughts in `<think>`,
    `[THINK]` or `◁think▷` are left out.

    Args:
        text: Text of an answer.
        keys: Keys in lower case, any of which the wanted object has. They are compared without case and outer spaces.

    Raises:
        InvalidAnswer: there is no JSON in the text, or it is cut off.
        LLMError: the text is not strict JSON, and json-repair, which could read it, is not installed.
    """
    if len(text) > MAX_CHARACTERS:
        raise InvalidAnswer(f"the answer has {len(text)} characters, more than {MAX_CHARACTERS}")
    # thoughts first: they may hold drafts, in fences of their own
    text = _strip_fence(_strip_thoughts(text))
    if not text:
        raise InvalidAnswer("the answer is empty")
    value = _parse_strictly(text)
    if isinstance(value, str):  # JSON in a string; looked into once, since strings can be nested without end
        text = _strip_fence(value)
        value = _parse_strictly(text)
    # strict before loose: a repair must not touch what is valid
    if isinstance(value, dict | list):
        return _find_object(value, keys) or value
    # objects before lists: a list in the text is mostly a part of one
    objects = [value for value in _parse_spans(text, "{") if isinstance(value, dict)]
    if objects:
        wanted = [_find_object(value, keys) for value in objects]
        return ([value for value in wanted if value] or objects)[-1]
    for value in reversed(_parse_spans(text, "[")):
        if isinstance(value, list) and value and isinstance(value[0], list):  # not the 4 x 4 of "a grid of [4, 4]"
            return value
    raise InvalidAnswer("there is no JSON in the answer")


def has_key(value: Any, keys: Collection[str]) -> bool:
    """Whether a value is an object with one of some keys, compared without case and outer spaces."""
    return isinstance(value, dict) and any(normalise_key(key) in keys for key in value)


def _find_object(value: dict[str, Any] | list[Any], keys: Collection[str]) -> dict[str, Any] | None:
    """The object with one of the keys: a value itself, or the last right inside it."""
    if isinstance(value, dict) and has_key(value, keys):
        return value
    inner = value.values() if isinstance(value, dict) else value
    return next((entry for entry in reversed(list(inner)) if has_key(entry, keys)), None)


def normalise_key(key: Any) -> str:
    """A key as it is compared."""
    return str(key).strip().lower()


def _strip_thoughts(text: str) -> str:
    """A text without what reasoning models think aloud.

    Some servers drop the opening tag, and some answers end in thought.
    """
    tags = list(_THOUGHT_TAG.finditer(text))
    # what comes after the last closed thought, up to one that is never closed
    start = max((tag.end() for tag in tags if tag["closes"]), default=0)
    stop = next((tag.start() for tag in tags if tag.start() >= start), len(text))
    return text[start:stop]


def _strip_fence(text: str) -> str:
    """A text without the Markdown fence around it, if there is one, and without a byte order mark."""
    text = text.strip().lstrip("\ufeff").strip()
    # a fence among sentences, or one of several, is left to the search for brackets
    if not text.startswith("```") or "```" in text[3:-3]:
        return text
    return re.sub(r"^```[\w+-]*", "", text).removesuffix("```").strip()


def _parse_strictly(text: str) -> Any:
    """The value of a text that is JSON; None where it is not."""
    try:
        return json.loads(text, object_pairs_hook=_join_pairs)
    except (ValueError, RecursionError):  # a text of thousands of brackets overflows the parser's stack
        return None


def _join_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # models write one list in two parts under the same key, and Python's parser would keep the second alone
    joined: dict[str, Any] = {}
    for key, value in pairs:
        before = joined.get(key)
        joined[key] = before + value if isinstance(before, list) and isinstance(value, list) else value
    return joined


def _parse_spans(text: str, opening: str) -> list[Any]:
    """The values of the balanced spans of a text from a bracket to the one that closes it; None for what has none.

    Raises:
        InvalidAnswer: a span is never closed, or too much of the text is out of shape.
    """
    values, repaired = [], 0
    for span in _find_spans(text, opening):
        # strictly first: json-repair reads valid JSON too, but takes many times as long
        value = _parse_strictly(span)
        if value is None:
            repaired += len(span) + _REPAIR_OVERHEAD
            if repaired > _MAX_REPAIRED:
                raise InvalidAnswer("too much of the answer is out of shape to be mended")
            value = _repair(span)
        values.append(value)
    return values


def _repair(span: str) -> Any:
    """The value of a balanced span that is no JSON; None where it has none."""
    try:
        import json_repair  # of an optional extra, and only wanted where an answer is out of shape
    except ImportError as error:
        raise LLMError(
            "an answer is not strict JSON, to read it needs json-repair: pip install json-repair"
        ) from error
    try:
        return json_repair.loads(span, skip_json_loads=True)
    except Exception as error:  # another's parser on a text that nobody foresaw must not end a run over many
        logger.debug("json-repair: %s: %s", type(error).__name__, error)
        return None


def _find_spans(text: str, opening: str) -> Iterator[str]:
    """The balanced spans of a text from a bracket to the one that closes it: the outermost, in order.

    Yields:
        Texts without comments, with round brackets turned to square ones.

    Raises:
        InvalidAnswer: one is never closed.
    """
    start, scanned = text.find(opening), 0
    while start >= 0:
        scan = _scan(text, start)
        scanned += scan.stop - start
        # each bracket that has no match is gone on from, so that a text of them would be scanned once for each
        if scanned > _MAX_SCANNED:
            raise InvalidAnswer("the answer has brackets without a match over and over")
        if scan.span is not None:
            yield scan.span
        # brackets that do not match are no JSON, but there may be some inside
        start = text.find(opening, start + 1 if scan.span is None else scan.stop)


@dataclass(frozen=True)
class _Scan:
    span: str | None  # without comments, and with round brackets turned to square ones; None where they do not match
    stop: int


# a string with its escapes, a comment, or a bracket; an opening quote alone is a string that never ends
_TOKEN = re.compile(
    r"""
    (?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|“[^”]*”)
    | (?P<open_string>["'“])
    | (?P<comment>//[^\n]*|\#[^\n]*|/\*.*?(?:\*/|\Z))
    | (?P<bracket>[\[\]{}()])
    """,
    re.DOTALL | re.VERBOSE,
)


def _scan(text: str, start: int) -> _Scan:
    """The span from an opening bracket to the one that closes it, or to where brackets do not match.

    Raises:
        InvalidAnswer: the text ends before, or brackets are nested too deeply.
    """
    stack: list[str] = []
    pieces, copied = [], start
    for token in _TOKEN.finditer(text, start):
        # whatever follows is inside the string, so no bracket can close any more
        if token["open_string"]:
            break
        pieces.append(text[copied : token.start()])
        copied = token.end()
        bracket = token["bracket"]
        if not bracket:
            # a space for a comment: what it parts must not become one word
            pieces.append(token["string"] or " ")
            continue
        pieces.append(bracket.translate(_LIST_BRACKETS))
        if bracket in _CLOSING:
            stack.append(_CLOSING[bracket])
        elif bracket != stack.pop():
            return _Scan(None, token.end())
        if not stack:
            return _Scan("".join(pieces), token.end())
        # before json-repair sees the span, since it recurses
        if len(stack) > _MAX_DEPTH:
            raise InvalidAnswer(f"the answer is nested deeper than {_MAX_DEPTH} brackets")
    raise InvalidAnswer("the answer is cut off: a bracket or a quote is never closed")
