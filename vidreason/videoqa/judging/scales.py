"""Scales of judges, which are never mixed: what a judge may say on each, and what it is worth.

OpenEQA asks for a mark from 1 to 5 and makes 100 (s - 1) / 4 of it; Video-ChatGPT asks for yes or no and a mark from 0
to 5, and gives the share of yes and the mean mark. A 3 is half on the one and three fifths on the other, and a wrong
answer has 1 on the one and 0 on the other.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ...errors import InvalidAnswer, QuestionError
from ...llm.json_text import normalise_key, parse_json


@dataclass(frozen=True)
class Mark:
    """What a judge said of an answer.

    Args:
        score: The mark, on the judge's scale.
        is_right: Whether the answer is right; None where the scale does not say.
    """

    score: float
    is_right: bool | None = None


@dataclass(frozen=True)
class Scale:
    """A scale of judgements.

    Args:
        name: Name in judgement tables.
        least: Lowest mark.
        most: Highest mark.
        names: Names of the values that a judgement is worth, the score's first.
        worth_of: Function that gives these values of a judgement's row.
        read: Function that reads a mark in a language model's reply, or raises `InvalidAnswer`; None where no model is
            asked.
        says_right: Whether a judgement says right or wrong beside its mark.
    """

    name: str
    least: float
    most: float
    names: tuple[str, ...]
    worth_of: Callable[[Mapping[str, Any]], dict[str, float]]
    read: Callable[[str], Mark] | None = None
    says_right: bool = False


def _read_mark(reply: str) -> Mark:
    """A whole number from 1 to 5: alone, or after a word such as "score" and a sign.

    Raises:
        InvalidAnswer: There is none, there are two that differ, or it is no whole number from 1 to 5.
    """
    text = reply.strip().strip("*`\"'")
    if re.search(r"\bpred\b", text, re.IGNORECASE):
        raise InvalidAnswer("the reply is one on the scale of yes or no with 0 to 5")
    whole = re.fullmatch(r"(-?\d+(?:\.\d+)?)(?:\s*/\s*5)?[.!]?", text)
    said = {whole[1]} if whole else set(_NAMED_MARK.findall(text))
    if not said:
        raise InvalidAnswer("the reply has no mark")
    if len(said) > 1:
        raise InvalidAnswer(f"the reply has several marks: {', '.join(sorted(said))}")
    return Mark(float(_whole_number(said.pop(), 1, 5)))


_NAMED_MARK = re.compile(r"\b(?:mark|score|rating)\b\W{0,4}(?:is\s+|of\s+)?\W{0,3}(-?\d+(?:\.\d+)?)", re.IGNORECASE)


def _whole_number(value: Any, least: int, most: int) -> int:
    # "4.8" is no mark of a scale of whole numbers, and cutting it to 4, as Video-ChatGPT's code does, makes one up
    text = str(value).strip()
    if isinstance(value, bool) or not re.fullmatch(r"-?\d+(?:\.0+)?", text) or not least <= float(text) <= most:
        raise InvalidAnswer(f"the mark is {text[:40]!r}, expected a whole number from {least} to {most}")
    return int(float(text))


def _read_verdict(reply: str) -> Mark:
    """An object with `pred`, yes or no, and `score`, a whole number from 0 to 5.

    Raises:
        InvalidAnswer: It is something else.
    """
    value = parse_json(reply, ("pred", "score"))
    if not isinstance(value, dict):
        raise InvalidAnswer("the reply is no object with pred and score")
    said = {normalise_key(key): entry for key, entry in value.items()}
    verdict = str(said.get("pred", "")).strip().lower().rstrip(".")
    if verdict not in ("yes", "no"):
        raise InvalidAnswer(f"pred is {verdict[:40]!r}, expected yes or no")
    if "score" not in said:
        raise InvalidAnswer("the reply has no score")
    return Mark(float(_whole_number(said["score"], 0, 5)), verdict == "yes")


OPEN_EQA = Scale(
    "open_eqa_1_5",
    1,
    5,
    ("match",),
    # Majumdar et al., "OpenEQA", equation 1
    lambda row: {"match": (row["score"] - 1) / 4},
    _read_mark,
)
VIDEO_CHATGPT = Scale(
    "video_chatgpt_yes_no_0_5",
    0,
    5,
    ("accuracy", "mark_0_5"),
    lambda row: {"accuracy": float(row["is_right"]), "mark_0_5": row["score"]},
    _read_verdict,
    says_right=True,
)
TEMPCOMPASS = Scale("tempcompass_0_1", 0, 1, ("accuracy",), lambda row: {"accuracy": row["score"]})
KEYLESS = Scale(
    "keyless_0_1",
    0,
    1,
    ("accuracy", "similarity"),
    lambda row: {"accuracy": float(row["is_right"]), "similarity": row["score"]},
    says_right=True,
)

SCALES: Mapping[str, Scale] = {scale.name: scale for scale in (OPEN_EQA, VIDEO_CHATGPT, TEMPCOMPASS, KEYLESS)}
ASKED_SCALES: Mapping[str, Scale] = {"open_eqa": OPEN_EQA, "video_chatgpt": VIDEO_CHATGPT}
"""Those on which a language model judges, by the name of their prompt."""


def find_scale(name: str) -> Scale:
    """The scale of a name.

    Raises:
        QuestionError: There is none.
    """
    if name not in SCALES:
        raise QuestionError(f"scale is {name!r}, expected one of {sorted(SCALES)}")
    return SCALES[name]


Kind = tuple[str, str, str]
"""Judge, scale, and hash of the prompt: judgements are comparable where all three are the same."""


def kind_of(row: Mapping[str, Any]) -> Kind:
    """What a judgement is comparable with."""
    return row["judge"], row["scale"], row["prompt_sha256"]


def choose_kind(rows: Iterable[Mapping[str, Any]], judge: str = "", scale: str = "") -> Kind:
    """The one kind of judgement that a table has, or that is left of it by a judge and a scale.

    Args:
        rows: Judgements with at least `judge`, `scale` and `prompt_sha256`.
        judge: Name of the judge; "" takes any.
        scale: Name of the scale; "" takes any.

    Raises:
        QuestionError: There are several, which would be averaged together, or there is none.
    """
    kinds = Counter(
        kind for kind in map(kind_of, rows) if (not judge or kind[0] == judge) and (not scale or kind[1] == scale)
    )
    if not kinds:
        raise QuestionError(f"there are no judgements by {judge or 'any judge'} on {scale or 'any scale'}")
    if len(kinds) > 1:
        names = "; ".join(
            f"{name} on {on}, prompt {sha256[:12] or 'none'} ({n} rows)" for (name, on, sha256), n in kinds.items()
        )
        raise QuestionError(f"there are judgements of {len(kinds)} kinds, which are not mixed: {names}; name one")
    return next(iter(kinds))


def of_kind(rows: Iterable[Mapping[str, Any]], kind: Kind) -> Iterator[Mapping[str, Any]]:
    """The judgements of one kind."""
    return (row for row in rows if kind_of(row) == kind)
