"""What is scored or judged: questions, predictions and judgements, from published files or from our own tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
from huggingface_hub import DatasetCard

from ..errors import ConfigError, QuestionError
from .benchmarks import QuestionReading, read_benchmark
from .benchmarks.registry import find_benchmark
from .judging.scales import Scale, choose_kind, find_scale, of_kind
from .published import READERS, Published, open_published, read_judged_marks, read_judged_tempcompass
from .rows import check_read
from .scoring.joining import Stream, key_of
from .scoring.rules import Rule, find_rule, rule_of_source
from .scoring.scores import column_rows
from .tables import RowKeys, load_judgements, load_predictions, load_questions

Row = Mapping[str, Any]

BLIND = "blind"
"""Condition of predictions by a model that was shown no video."""

PREDICTION_COLUMNS = ("question_id", "source", "split", "condition", "prediction", "status", "spans")
_JUDGEMENT_COLUMNS = (
    *("question_id", "source", "condition", "prediction_sha256", "judge", "scale", "is_right", "score"),
    *("prompt_id", "prompt_sha256", "status"),
)
_QUESTION_COLUMNS = (
    *("question_id", "source", "split", "video_id", "question", "answer_format", "options", "answer_index", "answer"),
    *("more_answers", "question_type", "task", "aspect", "num_steps", "evidence_spans", "status"),
)


def is_table(path: Path) -> bool:
    """Whether a path is a folder of one of our tables."""
    return (path / "data").is_dir()


@dataclass
class Inputs:
    """What is scored.

    Args:
        questions: Gives all questions, anew each time.
        predictions: Gives the predictions of a condition, anew each time.
        rule: How the benchmark of the questions counts.
        split: Split of the questions.
        conditions: Conditions of the predictions that there are.
        published: The published file that the predictions are from; None for a table.
        reading: The last reading of a benchmark's own files, which knows what was left out; None for a table.
        folder: Folder of the benchmark's own files; None for a table.
    """

    questions: Callable[[], Iterable[Row]]
    predictions: Callable[[str], Iterable[Row]]
    rule: Rule
    split: str
    conditions: tuple[str, ...]
    published: Published | None = None
    reading: QuestionReading | None = None
    folder: Path | None = None

    def pairs(self, condition: str) -> Iterator[tuple[Row, Row]]:
        """Questions with their predictions, of those that have a text to judge."""
        stream = Stream(self.predictions(condition))
        for question in self.questions():
            prediction = stream.take(key_of(question))
            if prediction is not None and prediction["status"] == "ok":
                yield question, prediction


def open_inputs(
    predictions: str, benchmark: str = "", data: str = "", questions: str = "", split: str = "", condition: str = ""
) -> Inputs:
    """Open what is scored.

    Args:
        predictions: Folder of a table of predictions, or a published file.
        benchmark: Name of a benchmark, whose own files are in `data`.
        data: Folder of these files.
        questions: Folder of a table of questions, in place of `benchmark` and `data`.
        split: Split; "" takes that which the benchmark is scored on, or the only one of a table.
        condition: Condition that is scored, which must be there; "" asks for none.

    Raises:
        ConfigError: Neither or both of the two ways of naming questions are taken.
        QuestionError: A file cannot be read, or there is no such split or condition.
    """
    if bool(questions) == bool(benchmark and data):
        raise ConfigError("say --benchmark and --data, or --questions")
    inputs = _of_table(questions, split, benchmark) if questions else _of_benchmark(benchmark, Path(data), split)
    _add_predictions(inputs, Path(predictions), benchmark)
    if condition and condition not in inputs.conditions:
        there = ", ".join(inputs.conditions) or "none"
        raise QuestionError(f"{predictions}: no predictions of condition {condition!r}; there are: {there}")
    return inputs


def _of_benchmark(benchmark: str, folder: Path, split: str) -> Inputs:
    rule = find_rule(benchmark)
    split = split or rule.split
    inputs = Inputs(list, lambda condition: [], rule, split, (), folder=folder)

    def questions() -> Iterator[Row]:
        published = inputs.published
        # the file of one task of TempCompass is scored on that task's questions
        tasks = published.tasks if published else None
        inputs.reading = read_benchmark(benchmark, folder, split, allow_incomplete=tasks is not None)
        return (row for row in inputs.reading.rows() if tasks is None or row["task"] in tasks)

    inputs.questions = questions
    return inputs


def _of_table(folder: str, split: str, benchmark: str) -> Inputs:
    table = load_questions(folder)
    split = _split_of(table, split, folder)
    rows = table[split]
    sources = rows.unique("source")
    rule = find_rule(benchmark) if benchmark else rule_of_source(sources[0] if len(sources) == 1 else "")
    return Inputs(lambda: _questions(rows, split), lambda condition: [], rule, split, ())


def _read(rows: datasets.Dataset, columns: Sequence[str], what: str) -> Iterator[Row]:
    """Rows of a table with some of its columns.

    Raises:
        QuestionError: A row breaks the contract: tables are written by others too.
    """
    for row in column_rows(rows, columns):
        check_read(row, what)
        yield row


def _questions(rows: datasets.Dataset, split: str) -> Iterator[Row]:
    """The questions of a split, each of which is there once: to the second, every prediction would be missing."""
    keys = RowKeys("question")
    for row in _read(rows, _QUESTION_COLUMNS, "question"):
        keys.add(split, row)
        yield row


def _split_of(table: datasets.DatasetDict, split: str, where: str) -> str:
    if split and split in table:
        return split
    if split or len(table) != 1:
        raise QuestionError(f"{where}: split is {split!r}, expected one of {sorted(table)}")
    return next(iter(table))


def _add_predictions(inputs: Inputs, path: Path, benchmark: str) -> None:
    if is_table(path):
        table = load_predictions(path)
        rows = table[_split_of(table, inputs.split if inputs.split in table else "", str(path))]
        inputs.conditions = tuple(sorted(filter(None, rows.unique("condition"))))
        inputs.predictions = lambda condition: (
            row for row in _read(rows, PREDICTION_COLUMNS, "prediction") if row["condition"] == condition
        )
        return
    if not benchmark:
        raise ConfigError(f"{path}: is no table of predictions; published files need --benchmark")
    source = find_benchmark(benchmark).source
    published = inputs.published = open_published(benchmark, path, source, inputs.split)
    inputs.conditions = ("video",)

    def read(condition: str) -> Iterable[Row]:
        if condition != "video":
            return []
        published.notes.clear()
        rows = READERS[benchmark](published)
        # whether these files answer at all is known when all of them are read
        return list(rows) if benchmark == "nextgqa" else rows

    inputs.predictions = read


@dataclass(frozen=True)
class JudgementInputs:
    """Judgements of one kind.

    Args:
        rows: Gives the judgements of a condition, anew each time.
        scale: Their scale.
        is_published: Whether they are from a published file, which may be about other texts than are scored.
        judged_on: Day of the judging, such as "2026-11-26"; "" where it is not known.
    """

    rows: Callable[[str], Iterable[Row]]
    scale: Scale
    is_published: bool
    judged_on: str


def open_judgements(inputs: Inputs, path: str, benchmark: str, judge: str = "", scale: str = "") -> JudgementInputs:
    """Open judgements of what is scored.

    Args:
        inputs: What is scored.
        path: Folder of a table of judgements, or a published file.
        benchmark: Name of the benchmark, for a published file.
        judge: Name of the judge; "" where there is but one.
        scale: Name of the scale; "" where there is but one.

    Raises:
        QuestionError: It cannot be read, or has judgements of several kinds, which are not mixed.
    """
    folder = Path(path)
    if is_table(folder):
        table = load_judgements(folder)
        rows = table[_split_of(table, inputs.split if inputs.split in table else "", path)]
        kind = choose_kind(column_rows(rows, ("judge", "scale", "prompt_sha256")), judge, scale)
        on_scale = find_scale(kind[1])
        return JudgementInputs(
            lambda condition: _marks(
                _of_condition(of_kind(_read(rows, _JUDGEMENT_COLUMNS, "judgement"), kind), condition), on_scale
            ),
            *(on_scale, False, _judged_on(folder / "README.md")),
        )
    if inputs.published is None:
        raise QuestionError(f"{path}: is no table of judgements, which a table of predictions needs")
    published = inputs.published

    def read(condition: str) -> Iterable[Row]:
        if benchmark == "tempcompass":
            return read_judged_tempcompass(published, folder)
        said = {row["question_id"]: row["prediction"] for row in inputs.predictions(condition)}
        return read_judged_marks(published, folder, said)

    kind = choose_kind(read("video"), judge, scale)
    return JudgementInputs(lambda condition: of_kind(read(condition), kind), find_scale(kind[1]), True, "")


def _judged_on(card: Path) -> str:
    if not card.is_file():
        return ""
    try:
        return str(DatasetCard.load(card).data.to_dict().get("judged_on", ""))
    except Exception as error:  # a text that is written by hand: the libraries raise whatever there is
        raise QuestionError(f"{card}: is no card of a table ({' '.join(str(error).split())[:200]})") from error


def _marks(rows: Iterable[Row], scale: Scale) -> Iterator[Row]:
    """Judgements, whose marks are on their scale.

    Raises:
        QuestionError: A mark is outside, or does not say right or wrong where the scale wants it.
    """
    for row in rows:
        if row["status"] == "ok":
            where = f"judgement {row['question_id']!r} of {row['source']!r}"
            if not scale.least <= row["score"] <= scale.most:
                raise QuestionError(
                    f"{where}: score is {row['score']}, expected {scale.least} to {scale.most} on {scale.name}"
                )
            if row["is_right"] is None and scale.says_right:
                raise QuestionError(f"{where}: is_right is None, expected True or False on {scale.name}")
        yield row


def _of_condition(rows: Iterable[Row], condition: str) -> Iterator[Row]:
    return (row for row in rows if row["condition"] == condition)
