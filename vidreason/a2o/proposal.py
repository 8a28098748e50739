"""What an agent says, read as a set of object classes.

Agents are asked for a plain list, one concept a line (the paper's listing 2), and language models answer with bullets,
numbers, code fences, headings and explanations all the same. The rules:

- An answer that is a JSON list of texts, alone or within an object, is that list. Otherwise every line is an entry; an
  answer of one line that holds commas is taken apart at them.
- Bullets, numbers, quotation marks, emphasis and a full stop at the end are no part of an entry. What stands after a
  colon or a dash with blanks around it, or in brackets, explains it. Code fences, headings (`#`, or a colon at the
  end) and phrases that lead over to the list are no entries.
- An entry must be one visual concept, as `detection.check_class_text` has it, known to a detector of closed
  vocabulary, and not too long for an open one's text limit. Others are dropped, each with its reason: never cut, never
  replaced.
- What is named twice counts once. Of what is left, the first `max_classes` are taken (Truncate, in algorithm 1).
- A set that was proposed before, in any order, is a duplicate: the order moves nothing but the columns of the maps.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..detection.class_text import check_class_text
from ..errors import DetectionError

OK, DUPLICATE, EMPTY, OVER_LONG = "ok", "duplicate", "empty", "over_long"
REFUSED, UNPARSABLE, UNKNOWN_CLASS, FAILED = "refused", "unparsable", "unknown_class", "failed"
STATUSES = (OK, DUPLICATE, EMPTY, OVER_LONG, REFUSED, UNPARSABLE, UNKNOWN_CLASS, FAILED)
"""Statuses of a trial. `ok`: there is a set, and a reward. `duplicate`: the set was proposed before. `empty`: the
agent proposed nothing. `over_long`: the answer was cut at its limit of tokens. `refused`: the agent would not answer.
`unparsable`: nothing in the answer is a class. `unknown_class`: no class of it is in the detector's vocabulary.
`failed`: no answer arrived, or the training came to nothing. None but `ok` has a reward."""

MAX_ENTRIES = 1000
MAX_ANSWER_CHARACTERS = 100_000
"""More of an answer is not read: models that repeat themselves go on until they are stopped."""

_FENCE = re.compile(r"^\s*(```|~~~)")
_RULE = re.compile(r"^[-=_*\s]{3,}$")
_MARKER = re.compile(r"^(?:[-*+\u2022\u2023\u25aa\u25cf\u2013\u2014]|\(?\d{1,3}[.):]|\[[ xX]?\]|>|[a-zA-Z][.)])\s+")
_EXPLANATION = re.compile(r"(?:\s+[-\u2013\u2014]+\s|:\s|\s*\().*$")
_CODE = re.compile(r"[\[\]{}<>=\\\"]")
_WORDS_BETWEEN_COMMAS = 4
_LEAD = re.compile(
    r"(?:here (?:are|is)|sure|certainly|okay|of course|based on|the following|these|note|let me|updated|"
    r"i (?:have|suggest|would|propose)|my (?:list|proposal)|output|answer|prompts?|explanation|list of)\b",
    re.IGNORECASE,
)
_REFUSAL = re.compile(
    r"(?:i(?:'|\u2019)?m|i am|we(?:'|\u2019)?re)? ?(?:very |so |really )?sorry\b|as an ai\b|"
    r"i (?:can(?:'|\u2019)?t|cannot|can not|won(?:'|\u2019)?t|will not|must decline|am unable|am not able)|"
    r"i(?:'|\u2019)m (?:unable|not able)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Proposal:
    """An agent's answer as it was read.

    Args:
        status: One of `STATUSES`; `ok` where there is a new set.
        class_texts: The set, in the order of the answer; a duplicate's too. Empty where there is none.
        dropped: (entry, reason) of what the set lacks of the answer.
        reason: In one line, why the status is not `ok`; for `ok` empty.
        num_proposed: Number of different classes that could be looked for, before the list was cut.
    """

    status: str
    class_texts: tuple[str, ...] = ()
    dropped: tuple[tuple[str, str], ...] = field(default=())
    reason: str = ""
    num_proposed: int = 0


def parse_proposal(
    text: str,
    max_classes: int,
    earlier: Collection[frozenset[str]] = (),
    vocabulary: Sequence[str] | None = None,
    check_text: Callable[[str], object] = lambda class_text: None,
) -> Proposal:
    """Read an answer; whatever it is, this gives a proposal and raises nothing.

    Args:
        text: The answer, word for word.
        max_classes: Largest number of classes of a set, the paper's C_max.
        earlier: Sets that were proposed before.
        vocabulary: Class texts of a closed detector; None takes any.
        check_text: Function that raises `DetectionError` for a class text that the detector cannot take.
    """
    if not text.strip():
        return Proposal(EMPTY, reason="the answer is empty")
    entries = list(_entries(text[:MAX_ANSWER_CHARACTERS]))
    found, dropped, refusals, unknown = _sort_entries(entries, vocabulary, check_text)
    if not found:
        return _nothing_found(entries, dropped, refusals, unknown)
    dropped += [(name, f"beyond the limit of {max_classes} classes") for name in found[max_classes:]]
    class_texts = tuple(found[:max_classes])
    common: dict[str, Any] = {"class_texts": class_texts, "dropped": tuple(dropped), "num_proposed": len(found)}
    if frozenset(class_texts) in set(earlier):
        return Proposal(DUPLICATE, reason="this set was proposed before", **common)
    return Proposal(OK, **common)


def _sort_entries(
    entries: Sequence[str], vocabulary: Sequence[str] | None, check_text: Callable[[str], object]
) -> tuple[list[str], list[tuple[str, str]], int, int]:
    """The classes among some entries, the dropped ones, and how many of these refuse or are not in the vocabulary."""
    known = None if vocabulary is None else set(vocabulary)
    found: list[str] = []
    dropped: list[tuple[str, str]] = []
    refusals = unknown = 0
    for entry in entries:
        if _REFUSAL.match(entry):
            refusals += 1
            dropped.append((entry, "a refusal"))
            continue
        try:
            name = check_class_text(entry)
            if _CODE.search(name) or not any(character.isalpha() for character in name):
                raise DetectionError(f"{name!r} is no name of a thing")
            if known is not None and name not in known:
                unknown += 1
                dropped.append((name, "not in the detector's vocabulary"))
                continue
            check_text(name)
        except DetectionError as error:
            dropped.append((entry, str(error)))
            continue
        if name in found:
            dropped.append((name, "named twice"))
        else:
            found.append(name)
    return found, dropped, refusals, unknown


def _nothing_found(entries: Sequence[str], dropped: list[tuple[str, str]], refusals: int, unknown: int) -> Proposal:
    if refusals:  # before the others: a refusal may go on about what it will not name
        return Proposal(REFUSED, dropped=tuple(dropped), reason="the agent would not answer")
    if unknown:
        names = ", ".join(name for name, reason in dropped[:5])
        reason = f"the detector knows none of the classes ({names})"
        return Proposal(UNKNOWN_CLASS, dropped=tuple(dropped), reason=reason)
    if not entries:
        return Proposal(EMPTY, reason="the answer names no class")
    reason = f"no line of the answer is a class: {dropped[0][1]}"
    return Proposal(UNPARSABLE, dropped=tuple(dropped), reason=reason)


def _entries(text: str) -> Iterator[str]:
    """The entries of an answer, at most `MAX_ENTRIES`, without what marks and explains them."""
    lines = [line for line in text.splitlines() if line.strip() and not _FENCE.match(line)]
    listed = _json_list("\n".join(lines))
    if listed is not None:
        lines = listed
    elif len(lines) == 1 and "," in lines[0]:
        pieces = lines[0].rsplit(":", 1)[-1].split(",")
        # a sentence has commas too, and longer pieces between them
        lines = pieces if all(len(piece.split()) <= _WORDS_BETWEEN_COMMAS for piece in pieces) else lines
    for line in lines[:MAX_ENTRIES]:
        entry = _bare(line)
        if entry:
            yield entry


def _json_list(text: str) -> list[str] | None:
    """The texts of an answer that is a JSON list, or an object that holds one list and nothing else."""
    if not text.lstrip().startswith(("[", "{")):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if isinstance(value, dict) and len(value) == 1:
        value = next(iter(value.values()))
    if not isinstance(value, list):
        return None
    return [entry if isinstance(entry, str) else json.dumps(entry) for entry in value]


def _bare(line: str) -> str:
    """A line without bullet, quotation marks, emphasis and explanation; empty for a heading or a lead."""
    line = line.strip()
    if line.startswith("#") or line.endswith(":") or line.rstrip("*_ ").endswith(":") or _RULE.match(line):
        return ""
    line = _MARKER.sub("", line, count=1).strip()
    plain = line.replace("**", "").replace("__", "").replace("`", "").strip(" \t\"'\u201c\u201d\u2018\u2019*,;")
    if _LEAD.match(plain) and len(plain.split()) > 2 and not _REFUSAL.match(plain):
        return ""
    if _REFUSAL.match(plain):
        return plain
    plain = _EXPLANATION.sub("", plain)
    return plain.removesuffix(".").strip(" \t\"'\u201c\u201d\u2018\u2019*")
