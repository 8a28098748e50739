"""A judge that asks nobody: rules for options, yes and no, and counts, and sentence embeddings for other phrases.

It has a name of its own, so that its scores are never taken for those of a language model. Where it says that a phrase
is right, the two texts are near in the space of MiniLM. "Male" and "female" are near there, too, and so are colours:
words that exclude one another are told by a list.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np

from ...sentence_embedding import Embed
from ..rows import hash_prediction, judgement_row
from ..scoring.answers import is_exact, parse_yes_no
from ..scoring.choice import parse_choice
from .scales import KEYLESS, Mark

THRESHOLD = 0.7
"""Least cosine of two phrases that are taken for the same. A convention: it is fitted to no one's judgements."""

_EXCLUSIVE: tuple[Mapping[str, str], ...] = (
    dict.fromkeys(("male", "man", "men", "boy", "boys"), "male")
    | dict.fromkeys(("female", "woman", "women", "girl", "girls"), "female"),
    {word: word for word in ("black", "white", "grey", "red", "blue", "green", "yellow", "orange", "brown", "pink")}
    | {"purple": "purple", "gray": "grey"},
    *({one: one, other: other} for one, other in (("left", "right"), ("up", "down"), ("high", "low"))),
    {"long": "long", "longer": "long", "short": "short", "shorter": "short"},
    {"indoor": "in", "indoors": "in", "inside": "in", "outdoor": "out", "outdoors": "out", "outside": "out"},
)
"""Words of which one is true where another is not, each set with what a word says. Those that ActivityNet-QA's answers
show to be near one another in MiniLM's space, and their kin."""

_AT_ONCE = 256
_NUMBERS = (
    *("zero", "one", "two", "three", "four", "five", "six"),
    *("seven", "eight", "nine", "ten", "eleven", "twelve"),
)
_COUNT = re.compile(rf"\d+|{'|'.join(_NUMBERS)}", re.IGNORECASE)

Row = Mapping[str, Any]
Pair = tuple[Row, Row]
"""A question and its prediction."""


def judge_name(embeds: bool, threshold: float = THRESHOLD) -> str:
    """Name of the judge with what decides on its judgements."""
    return f"keyless@2 exact+minilm>={threshold:g}" if embeds else "keyless@2 exact"


def judge_by_rules(question: Row, prediction: str) -> Mark | None:
    """What rules say of an answer; None where they say nothing, as of two phrases that differ.

    Args:
        question: Row of the question.
        prediction: What was said.
    """
    answers = [question["answer"], *question["more_answers"]]
    if question["answer_format"] == "choice":
        index = parse_choice(prediction, question["options"]).index
        return _mark(index is not None and index == question["answer_index"])
    if question["answer_format"] == "yes_no" or all(answer.strip().lower() in ("yes", "no") for answer in answers):
        return _mark(parse_yes_no(prediction)[0] in [answer.strip().lower() for answer in answers])
    if is_exact(prediction, answers, "plain"):
        return _mark(True)
    counts = [_count_of(answer) for answer in answers]
    if all(count is not None for count in counts):
        said = {_number(text) for text in re.findall(rf"\b(?:{_COUNT.pattern})\b", prediction, re.IGNORECASE)}
        return _mark(len(said) == 1 and bool(said & set(counts)))
    return _mark(False) if all(_exclude(prediction, answer) for answer in answers) else None


def _exclude(one: str, other: str) -> bool:
    """Whether two phrases name different ones of words that exclude each other: a red cup is no blue cup."""
    words = [re.findall(r"[a-z]+", text.lower()) for text in (one, other)]
    for kinds in _EXCLUSIVE:
        here, there = ({kinds[word] for word in text if word in kinds} for text in words)
        if here and there and not here & there:
            return True
    return False


def _mark(is_right: bool) -> Mark:
    return Mark(float(is_right), is_right)


def _count_of(text: str) -> int | None:
    return _number(text.strip()) if _COUNT.fullmatch(text.strip()) else None


def _number(text: str) -> int:
    return int(text) if text.isdigit() else _NUMBERS.index(text.lower())


def judge_keyless(
    pairs: Iterable[Pair], embed: Embed | None, threshold: float = THRESHOLD
) -> Iterator[dict[str, Any]]:
    """A judgement of each prediction whose status is `ok`.

    Args:
        pairs: Questions with their predictions.
        embed: Gives the embeddings of texts; None judges phrases by equality alone, under another name.
        threshold: Least cosine of phrases that are taken for the same.
    """
    judge, pairs = judge_name(embed is not None, threshold), iter(pairs)
    while batch := list(islice(pairs, _AT_ONCE)):
        marks = [judge_by_rules(question, prediction["prediction"]) for question, prediction in batch]
        open_places = [place for place, mark in enumerate(marks) if mark is None]
        cosines = _cosines([batch[place] for place in open_places], embed) if embed else [0.0] * len(open_places)
        for place, cosine in zip(open_places, cosines, strict=True):
            marks[place] = Mark(cosine, cosine >= threshold)
        for (_, prediction), mark in zip(batch, marks, strict=True):
            assert mark is not None
            yield _row(prediction, mark, judge)


def _cosines(pairs: Sequence[Pair], embed: Embed) -> list[float]:
    """The largest cosine of each prediction with an answer of its question, at least 0."""
    if not pairs:
        return []
    texts = [[prediction["prediction"], q["answer"], *q["more_answers"]] for q, prediction in pairs]
    different = list(dict.fromkeys(text for group in texts for text in group))  # answers and replies repeat
    vectors = dict(zip(different, embed(different), strict=True))
    found = []
    for group in texts:
        said, *answers = [vectors[text] for text in group]
        found.append(float(np.clip(max(float(said @ answer) for answer in answers), 0.0, 1.0)))
    return found


def _row(prediction: Row, mark: Mark, judge: str) -> dict[str, Any]:
    return judgement_row(
        **{name: prediction[name] for name in ("question_id", "source", "split", "condition")},
        prediction_sha256=hash_prediction(prediction["prediction"]),
        judge=judge,
        scale=KEYLESS.name,
        is_right=mark.is_right,
        score=mark.score,
        producer="judge",
        model=judge,
    )
