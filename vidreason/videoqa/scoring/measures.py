"""What a prediction is worth, by a measure: of one question and what was said to it, a number in [0, 1] or a status.

The denominator is always the whole set: what is missing, empty or cannot be read is worth 0 and counted apart. Only
where a judge failed, or has not been asked, is nothing known, and the score becomes an interval.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from ..rows import hash_prediction
from .answers import is_exact, parse_yes_no
from .choice import EMPTY, PARSED, UNPARSABLE, parse_choice
from .spans import GROUNDED_IOP, THRESHOLDS, measure_overlap, span_of
from .wordnet import WordNet
from .wups import EXACT_TYPES, measure_wups

Row = Mapping[str, Any]

SCORED, MISSING, JUDGE_FAILED, NOT_JUDGED = "scored", "missing", "judge_failed", "not_judged"
RULED_FORMATS = ("choice", "yes_no")
"""Formats of answers that a rule reads, whatever a judge says of them."""

OPEN_STATUSES = (JUDGE_FAILED, NOT_JUDGED)
"""Nothing is known: these make the score an interval. All other statuses but `SCORED` are worth 0."""


@dataclass(frozen=True)
class Worth:
    """What a prediction is worth.

    Args:
        status: `SCORED`, `MISSING`, `EMPTY`, `UNPARSABLE`, `JUDGE_FAILED`, `NOT_JUDGED`, or the status of a
            prediction that is none: refused, truncated, invalid, failed.
        values: By name of the measure, from 0 to 1 but for lengths; all 0 unless `SCORED`.
        detail: How it was read, for people.
        is_stale: Whether the judgement that counts was made of another text.
    """

    status: str
    values: Mapping[str, float] = field(default_factory=dict)
    detail: str = ""
    is_stale: bool = False


class Measure(Protocol):
    """How predictions are measured."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of its values, the first of which is the score."""
        ...

    def __call__(self, question: Row, prediction: Row, judgement: Row | None) -> Worth:
        """What a prediction that is there is worth."""
        ...


def measure(rule: Measure, question: Row, prediction: Row | None, judgement: Row | None = None) -> Worth:
    """What a prediction, or its absence, is worth.

    Args:
        rule: How it is measured.
        question: Row of a question.
        prediction: Row of its prediction; None where there is none.
        judgement: Row of what a judge said of it; None where none did.
    """
    if prediction is None:
        return Worth(MISSING)
    if prediction["status"] not in ("ok", EMPTY):
        return Worth(prediction["status"])
    return rule(question, prediction, judgement)


@dataclass(frozen=True)
class RightOrWrong:
    """Whether an answer is right, by rules alone: the option, yes or no, or a text that is equal.

    Args:
        normalisation: How open answers are changed before they are compared (`answers.NORMALISATIONS`).
    """

    normalisation: str = "plain"
    names: tuple[str, ...] = ("accuracy",)

    def __call__(self, question: Row, prediction: Row, judgement: Row | None) -> Worth:
        """Worth 1 where it is right. What is a caption needs a judge, whom this measure does not ask."""
        text, answer_format = prediction["prediction"], question["answer_format"]
        if not text.strip():
            return Worth(EMPTY)
        if answer_format == "choice":
            choice = parse_choice(text, question["options"])
            is_right = choice.index is not None and choice.index == question["answer_index"]
            return _read(choice.status, is_right, choice.rule)
        if answer_format == "yes_no":
            said, status = parse_yes_no(text)
            return _read(status, said == question["answer"], said or "neither yes nor no")
        if answer_format == "caption":
            return Worth(NOT_JUDGED, detail="a caption needs a judge")
        answers = [question["answer"], *question["more_answers"]]
        return Worth(SCORED, {"accuracy": float(is_exact(text, answers, self.normalisation))}, self.normalisation)


def _read(status: str, is_right: bool, detail: str) -> Worth:
    if status == PARSED:
        return Worth(SCORED, {"accuracy": float(is_right)}, detail)
    return Worth(EMPTY if status == EMPTY else UNPARSABLE, detail=detail)


@dataclass(frozen=True)
class Wups:
    """WUPS of open answers.

    Args:
        wordnet: WordNet.
        stop_words: Base forms that are left out.
    """

    wordnet: WordNet
    stop_words: Collection[str]
    names: tuple[str, ...] = ("wups", "exact")

    def __call__(self, question: Row, prediction: Row, judgement: Row | None) -> Worth:
        """How alike prediction and answer are."""
        text, answers = prediction["prediction"], [question["answer"], *question["more_answers"]]
        if not text.strip():
            return Worth(EMPTY)
        exact_type = question["question_type"] in EXACT_TYPES
        value = measure_wups(self.wordnet, text, answers, self.stop_words, exact_type)
        return Worth(SCORED, {"wups": value, "exact": float(is_exact(text, answers, "plain"))})


@dataclass(frozen=True)
class Grounded:
    """Whether an answer is right and grounded in the right moment (Acc@GQA), with IoP and IoU.

    Args:
        has_answers: Whether the predictions answer at all; the score is mIoP where they give spans alone.
    """

    has_answers: bool = True

    @property
    def names(self) -> tuple[str, ...]:
        """Of the score first."""
        answered = ("acc_gqa", "acc_qa") if self.has_answers else ()
        thresholds = [f"{name}@{value:g}" for name in ("iop", "iou") for value in THRESHOLDS]
        return (*answered, "miop", "miou", *thresholds, "miop_as_published", "has_span", "is_point", "length_s")

    def __call__(self, question: Row, prediction: Row, judgement: Row | None) -> Worth:
        """An answer that cannot be read is unparsable, and its span still counts as a span."""
        answer = RightOrWrong()(question, prediction, None)
        said = [span_of(span) for span in prediction["spans"]]
        overlap = measure_overlap(said, [span_of(span) for span in question["evidence_spans"]])
        values = {
            "miop": overlap.iop,
            "miou": overlap.iou,
            **{f"iop@{value:g}": float(overlap.iop >= value) for value in THRESHOLDS},
            **{f"iou@{value:g}": float(overlap.iou >= value) for value in THRESHOLDS},
            "miop_as_published": overlap.iop_as_published,
            "has_span": float(bool(said)),
            "is_point": float(bool(said) and overlap.length_s == 0),
            "length_s": overlap.length_s,
        }
        if not self.has_answers:
            return Worth(SCORED if said else MISSING, values)
        right = answer.values.get("accuracy", 0.0)
        values |= {"acc_qa": right, "acc_gqa": float(right == 1.0 and overlap.iop >= GROUNDED_IOP)}
        return Worth(answer.status, values, answer.detail)


@dataclass(frozen=True)
class Judged:
    """What a judge says.

    Args:
        worth_of: Function that gives the values of a judgement whose status is `ok`.
        names: Names of these values, the score's first.
        accepts_stale: Whether a judgement of another text than the prediction's counts all the same, as published
            files need it whose predictions were made anew after they were judged. They are counted.
        rule: Measure of options and of yes and no that the judge was not asked; None where all is the judge's.
    """

    worth_of: Callable[[Row], dict[str, float]]
    names: tuple[str, ...]
    accepts_stale: bool = False
    rule: Measure | None = None

    def __call__(self, question: Row, prediction: Row, judgement: Row | None) -> Worth:
        """What the judgement of a prediction is worth."""
        if not prediction["prediction"].strip():
            return Worth(EMPTY)
        if judgement is None:
            if self.rule is None or question["answer_format"] not in RULED_FORMATS:
                return Worth(NOT_JUDGED)
            return self.rule(question, prediction, None)
        is_stale = judgement["prediction_sha256"] != hash_prediction(prediction["prediction"])
        if is_stale and not self.accepts_stale:
            return Worth(NOT_JUDGED, detail="the judgement is of another text")
        if judgement["status"] != "ok":
            return Worth(JUDGE_FAILED, detail=judgement["status"], is_stale=is_stale)
        return Worth(SCORED, self.worth_of(judgement), is_stale=is_stale)
