"""Scores of predictions: questions, predictions and judgements are joined, measured and added up, in one pass."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .joining import Row, Stream, key_of
from .measures import JUDGE_FAILED, NOT_JUDGED, RULED_FORMATS, Measure, RightOrWrong, Worth, measure
from .rules import MACRO_TASKS, Rule
from .tally import ALL, Group, Tally

MAX_DIFFERENCES = 10_000
"""Rows on which two rules disagree that are kept; all are counted."""


@dataclass(frozen=True)
class Difference:
    """A question on which the judgements that were given and our own rule disagree.

    Args:
        question_id: The question.
        prediction: What was said.
        answer: The right answer.
        judged: What the judgement is worth; None where the judge failed.
        ruled: What it is worth by our rule.
        why: How our rule read it.
    """

    question_id: str
    prediction: str
    answer: str
    judged: float | None
    ruled: float
    why: str


@dataclass
class Scores:
    """What became of a set of predictions.

    Args:
        rule: How the benchmark counts.
        tally: Sums of the measure that was asked for.
        blind: Sums of predictions without a video; None where there are none.
        ruled: Sums by our rule alone of what judgements were given for; None where none were.
        prior: Share of always giving the most frequent answer of the type; None where there are no questions.
        is_judged: Whether there are judgements.
        differences: Questions on which judgements and our rule disagree, at most `MAX_DIFFERENCES`.
        num_differences: Number of all of them.
        extra: Number of predictions, and some of their ids, that no question asked for, by condition.
        judges: Number of judgements by judge, scale, prompt id and prompt hash.
    """

    rule: Rule
    tally: Tally
    blind: Tally | None = None
    ruled: Tally | None = None
    is_judged: bool = False
    prior: float | None = None
    differences: list[Difference] = field(default_factory=list)
    num_differences: int = 0
    extra: dict[str, tuple[int, list[str]]] = field(default_factory=dict)
    judges: Counter[tuple[str, str, str, str]] = field(default_factory=Counter)

    @property
    def is_macro(self) -> bool:
        """Whether the score is the mean over tasks; questions that name no task have a mean over questions."""
        return self.rule.average == MACRO_TASKS and bool(self.groups("task"))

    def score(self, group: Group = ALL) -> float | None:
        """The score of a group in [0, 1], over what is known; None where nothing is."""
        if group == ALL and self.is_macro:
            return self.macro("task")
        return self.tally.mean(group, self.tally.names[0])

    def bounds(self, group: Group = ALL) -> tuple[float, float]:
        """The score if all of which nothing is known were wrong, and if all of it were right."""
        if group == ALL and self.is_macro:
            ends = [self.bounds(task) for task in self.groups("task")]
            return sum(low for low, _ in ends) / len(ends), sum(high for _, high in ends) / len(ends)
        count, total = self.tally.count(group), self.tally.total(group, self.tally.names[0])
        return total / count, (total + self.tally.count_open(group)) / count

    def groups(self, kind: str) -> list[Group]:
        """The groups of a kind, by name."""
        return [group for group in self.tally.groups if group[0] == kind]

    def macro(self, kind: str) -> float | None:
        """Mean of the scores of the groups of a kind; None where a group has none, or there are no groups."""
        means = [self.tally.mean(group, self.tally.names[0]) for group in self.groups(kind)]
        known = [mean for mean in means if mean is not None]
        return sum(known) / len(known) if known and len(known) == len(means) else None


def score_predictions(
    questions: Iterable[Row],
    predictions: Iterable[Row],
    rule: Rule,
    how: Measure,
    judgements: Iterable[Row] | None = None,
    blind: Iterable[Row] | None = None,
) -> Scores:
    """Score predictions of one condition.

    Args:
        questions: All questions, each once. They are the denominator.
        predictions: Predictions of one condition, in any order; least memory is taken in that of the questions.
        rule: How the benchmark counts.
        how: How predictions are measured.
        judgements: Judgements of these predictions by one judge on one scale.
        blind: Predictions of the same model that was shown no video.
    """
    scores = Scores(rule, Tally(how.names))
    streams = {"predictions": Stream(predictions)}
    if judgements is not None:
        # marks from 1 to 5 are not compared with right and wrong
        scores.ruled = Tally(("accuracy",)) if "accuracy" in how.names else None
        scores.is_judged = True
        streams["judgements"] = Stream(_counted(judgements, scores.judges))
    if blind is not None:
        scores.blind = Tally(how.names)
        streams["blind"] = Stream(blind)
    prior = _Prior()
    for question in questions:
        key, groups = key_of(question), rule.groups(question)
        found = {name: stream.take(key) for name, stream in streams.items()}
        worth = measure(how, question, found["predictions"], found.get("judgements"))
        scores.tally.add(worth, question["video_id"], groups)
        if scores.ruled is not None and question["answer_format"] in RULED_FORMATS:
            ruled = measure(RightOrWrong(rule.normalisation), question, found["predictions"])
            scores.ruled.add(ruled, question["video_id"], groups)
            _compare(scores, question, found["predictions"], worth, ruled)
        if scores.blind is not None:
            scores.blind.add(measure(how, question, found["blind"]), question["video_id"], groups)
        prior.add(question)
    for name, stream in streams.items():
        stream.close()
        if stream.unused:
            scores.extra[name] = (stream.unused, stream.unused_examples)
    scores.prior = prior.share()
    return scores


def _counted(judgements: Iterable[Row], judges: Counter[tuple[str, str, str, str]]) -> Iterator[Row]:
    for row in judgements:
        judges[row["judge"], row["scale"], row["prompt_id"], row["prompt_sha256"]] += 1
        yield row


def _compare(scores: Scores, question: Row, prediction: Row | None, judged: Worth, ruled: Worth) -> None:
    if prediction is None or judged.status == NOT_JUDGED:
        return
    one = None if judged.status == JUDGE_FAILED else judged.values.get("accuracy", 0.0)
    other = ruled.values.get("accuracy", 0.0)
    if one == other:
        return
    scores.num_differences += 1
    if len(scores.differences) < MAX_DIFFERENCES:
        scores.differences.append(
            Difference(question["question_id"], prediction["prediction"], question["answer"], one, other, ruled.detail)
        )


class _Prior:
    """Counts answers by type, for the share that always giving the most frequent one would have right.

    It is taken from the questions that are scored, and so is the most that such a rule can reach.
    """

    def __init__(self) -> None:
        self._answers: dict[tuple[str, str, str], Counter[Any]] = {}
        self._count = 0

    def add(self, question: Row) -> None:
        kind = (question["task"], question["question_type"], question["answer_format"])
        answers = self._answers.setdefault(kind, Counter())
        is_choice = question["answer_format"] == "choice"
        answers[question["answer_index"] if is_choice else question["answer"]] += 1
        self._count += 1

    def share(self) -> float | None:
        if not self._count:
            return None
        return sum(max(answers.values()) for answers in self._answers.values()) / self._count


def column_rows(rows: Any, columns: Sequence[str], batch_rows: int = 1024) -> Iterator[Mapping[str, Any]]:
    """Rows of a `datasets.Dataset` with some of its columns, read in batches: `raw_response` stays on the disk.

    Args:
        rows: The table.
        columns: Names of the columns.
        batch_rows: Rows that are held at a time.
    """
    for batch in rows.select_columns(list(columns)).iter(batch_rows):
        for values in zip(*batch.values(), strict=True):
            yield dict(zip(batch, values, strict=True))
