"""Whole tables of questions, predictions and judgements: folders of Parquet files with a card, written and opened.

`datasets.load_dataset(folder)` opens each of them too.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any

import datasets

from ..errors import QuestionError
from ..files import check_columns, open_table, write_card, write_split
from ..provenance import STATUSES
from ..reporting.tables import RowSummary, merge_summaries, producer_name, status_table, text_table
from .rows import (
    check_judgement,
    check_prediction,
    check_question,
    find_span_problem,
    hash_prediction,
    judgement_row,
    prediction_row,
    question_row,
)
from .schema import (
    JUDGEMENT_FEATURES,
    JUDGEMENT_VERSION,
    PREDICTION_FEATURES,
    PREDICTION_VERSION,
    QUESTION_FEATURES,
    QUESTION_VERSION,
)

__all__ = [
    "QuestionChecker",
    "QuestionSummary",
    "check_judgement",
    "check_prediction",
    "check_question",
    "find_span_problem",
    "hash_prediction",
    "judgement_row",
    "load_judgements",
    "load_predictions",
    "load_questions",
    "prediction_row",
    "question_row",
    "write_judgements",
    "write_predictions",
    "write_questions",
]

QUESTION_CARD = """
# {title}

Questions about videos with their answers: a row is a question. {description}

{statuses}

Written by: {producers}. Schema version {schema_version}.

{types}

{steps}

The table holds no pixels. Join rows to your own videos by `video_id`; where `start_s` and `end_s` are given, the
question is about that part of the video alone.
"""

ANSWER_CARD = """
# {title}

{kind} of questions about videos, joined to a table of questions by `source` and `question_id`. {description}

{counts}

Made by: {producers}. Schema version {schema_version}.

A row whose `status` is not `ok` is here so that nothing is missing.
"""


# Questions


def write_questions(
    folder: str | os.PathLike,
    rows_by_split: Mapping[str, Iterable[Mapping[str, Any]]],
    title: str = "Questions about videos",
    description: str = "",
    **card_metadata: Any,
) -> Path:
    """Write a table of questions with its card. Rows are checked one by one and streamed, so any number fits.

    Args:
        folder: Folder to write; splits that are there are replaced.
        rows_by_split: Maps each split's name to its rows, as from `question_row`.
        title: Heading of the card.
        description: Text of the card about where the questions come from.
        card_metadata: Further keys of the card's YAML, such as `license`.

    Raises:
        QuestionError: There are no rows, or a row breaks the contract, has the source and `question_id` of another,
            or names another split than it stands in.
    """
    checker = QuestionChecker()
    for split, rows in _refuse_empty(folder, rows_by_split, "questions").items():
        write_split(folder, split, checker.watch(split, rows), QUESTION_FEATURES)
    whole = merge_summaries(checker.summaries.values(), QuestionSummary())
    body = QUESTION_CARD.format(
        title=title,
        description=description,
        statuses=status_table(checker.summaries, STATUSES),
        producers=whole.producer_text,
        schema_version=QUESTION_VERSION,
        types=whole.type_table(),
        steps=whole.step_table(),
    )
    tags = ["video", "video-question-answering", "vidreason"]
    write_card(folder, rows_by_split, body, **{"pretty_name": title, "tags": tags, **card_metadata})
    return Path(folder)


def load_questions(name: str | os.PathLike, revision: str | None = None) -> datasets.DatasetDict:
    """Open a table of questions: a folder, or the id of a data set on the Hub.

    Args:
        name: A local folder, else the id of a data set on the Hub.
        revision: Branch, tag or commit of a data set on the Hub.

    Raises:
        QuestionError: There is no such table, or it lacks columns of the schema.
    """
    return _load(name, revision, QUESTION_FEATURES, "questions")


@dataclass
class QuestionSummary(RowSummary):
    """Counts over the questions of a split, or of several.

    Args:
        types: Number of questions of each (task, question type, answer format).
        steps: Number of questions of each number of steps; 0 stands for a number that is not known.
    """

    types: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    steps: Counter[int] = field(default_factory=Counter)

    def add(self, row: Mapping[str, Any]) -> None:
        """Count one row."""
        super().add(row)
        self.types[row["task"], row["question_type"], row["answer_format"]] += 1
        self.steps[row["num_steps"]] += 1

    def type_table(self) -> str:
        """Questions of each type as a Markdown table."""
        rows = [(*names, count) for names, count in sorted(self.types.items())]
        return text_table(["task", "type", "answer", "questions"], rows, [False, False, False, True])

    def step_table(self) -> str:
        """Questions of each number of steps as a Markdown table."""
        rows = [(number or "not known", count) for number, count in sorted(self.steps.items())]
        return text_table(["steps", "questions"], rows, [False, True])


class QuestionChecker:
    """Checks questions as they pass to a table, and counts them by split."""

    def __init__(self) -> None:
        self.summaries: dict[str, QuestionSummary] = {}
        self._keys = RowKeys("question")

    def watch(self, split: str, rows: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
        """The rows of a split, each of them checked.

        Raises:
            QuestionError: A row breaks the contract, has the source and id of another, or names another split.
        """
        self.summaries.setdefault(split, QuestionSummary())
        for row in rows:
            self.check(split, row)
            yield row

    def check(self, split: str, row: Mapping[str, Any]) -> None:
        """Check and count one row of a split; it raises as `watch` does."""
        check_question(row)
        self._keys.add(split, row)
        self.summaries.setdefault(split, QuestionSummary()).add(row)


# Predictions and judgements


def write_predictions(
    folder: str | os.PathLike,
    rows_by_split: Mapping[str, Iterable[Mapping[str, Any]]],
    title: str = "Predictions",
    description: str = "",
    **card_metadata: Any,
) -> Path:
    """Write a table of predictions with its card. Rows are checked one by one and streamed, so any number fits.

    Args:
        folder: Folder to write; splits that are there are replaced.
        rows_by_split: Maps each split's name to its rows, as from `prediction_row`.
        title: Heading of the card.
        description: Text of the card about what answered, and how it was asked.
        card_metadata: Further keys of the card's YAML, such as `license`.

    Raises:
        QuestionError: There are no rows, or a row breaks the contract, has the source, `question_id` and condition of
            another, or names another split than it stands in.
    """
    keys = RowKeys("prediction", "condition")
    return _write_answers(
        folder,
        rows_by_split,
        _Answers("Predictions", check_prediction, keys, PREDICTION_FEATURES, PREDICTION_VERSION, ("condition",)),
        {"pretty_name": title, **card_metadata},
        description,
    )


def load_predictions(name: str | os.PathLike, revision: str | None = None) -> datasets.DatasetDict:
    """Open a table of predictions: a folder, or the id of a data set on the Hub.

    Args:
        name: A local folder, else the id of a data set on the Hub.
        revision: Branch, tag or commit of a data set on the Hub.

    Raises:
        QuestionError: There is no such table, or it lacks columns of the schema.
    """
    return _load(name, revision, PREDICTION_FEATURES, "predictions")


def write_judgements(
    folder: str | os.PathLike,
    rows_by_split: Mapping[str, Iterable[Mapping[str, Any]]],
    title: str = "Judgements",
    description: str = "",
    **card_metadata: Any,
) -> Path:
    """Write a table of judgements with its card. Rows are checked one by one and streamed, so any number fits.

    Args:
        folder: Folder to write; splits that are there are replaced.
        rows_by_split: Maps each split's name to its rows, as from `judgement_row`.
        title: Heading of the card.
        description: Text of the card about the judge.
        card_metadata: Further keys of the card's YAML, such as `license`.

    Raises:
        QuestionError: There are no rows, or a row breaks the contract, has the source, `question_id`, condition,
            judge and scale of another, or names another split than it stands in.
    """
    keys = RowKeys("judgement", "condition", "judge", "scale")
    counted = ("condition", "judge", "scale")
    return _write_answers(
        folder,
        rows_by_split,
        _Answers("Judgements", check_judgement, keys, JUDGEMENT_FEATURES, JUDGEMENT_VERSION, counted),
        {"pretty_name": title, **card_metadata},
        description,
    )


def load_judgements(name: str | os.PathLike, revision: str | None = None) -> datasets.DatasetDict:
    """Open a table of judgements: a folder, or the id of a data set on the Hub.

    Args:
        name: A local folder, else the id of a data set on the Hub.
        revision: Branch, tag or commit of a data set on the Hub.

    Raises:
        QuestionError: There is no such table, or it lacks columns of the schema.
    """
    return _load(name, revision, JUDGEMENT_FEATURES, "judgements")


@dataclass(frozen=True)
class _Answers:
    """A kind of table about questions that are in a table of their own."""

    kind: str
    check: Callable[[Mapping[str, Any]], None]
    keys: RowKeys
    features: datasets.Features
    version: str
    counted: tuple[str, ...]  # columns whose values the card counts


def _write_answers(
    folder: str | os.PathLike,
    rows_by_split: Mapping[str, Iterable[Mapping[str, Any]]],
    answers: _Answers,
    metadata: dict[str, Any],
    description: str,
) -> Path:
    counts: Counter[tuple[str, ...]] = Counter()
    producers: set[str] = set()

    def watch(split: str, rows: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
        for row in rows:
            answers.check(row)
            answers.keys.add(split, row)
            counts[(split, *(row[name] for name in answers.counted), row["status"])] += 1
            producers.add(producer_name(row))
            yield row

    for split, rows in _refuse_empty(folder, rows_by_split, answers.kind.lower()).items():
        write_split(folder, split, watch(split, rows), answers.features)
    heads = ["split", *answers.counted, "status", "rows"]
    body = ANSWER_CARD.format(
        title=metadata["pretty_name"],
        kind=answers.kind,
        description=description,
        counts=text_table(heads, [(*names, count) for names, count in sorted(counts.items())]),
        producers=", ".join(sorted(producers)),
        schema_version=answers.version,
    )
    tags = ["video", "video-question-answering", "vidreason"]
    write_card(folder, rows_by_split, body, **{"tags": tags, **metadata})
    return Path(folder)


# What they share


class RowKeys:
    """What is known of rows that were given: which key they have, so that none is given twice.

    Args:
        what: What a row is, for messages.
        others: Columns that, with the source and the question's id, tell a row from all others.
    """

    def __init__(self, what: str, *others: str):
        self.what, self.others = what, others
        self._seen: dict[tuple[str, ...], set[int]] = {}  # hashes, a few bytes each however long ids are

    def add(self, split: str, row: Mapping[str, Any]) -> None:
        """Remember a row.

        Raises:
            QuestionError: It was given before, or names another split.
        """
        others = tuple(row[name] for name in self.others)
        where = f"{self.what} {row['question_id']!r} of {row['source']!r}" + "".join(f", {text!r}" for text in others)
        if row["split"] != split:
            raise QuestionError(f"{where}: its split is {row['split']!r} but it was given for {split!r}")
        seen = self._seen.setdefault((row["source"], *others), set())
        key = hash(row["question_id"])
        if key in seen:
            raise QuestionError(f"{where}: given twice")
        seen.add(key)


def _refuse_empty(
    folder: str | os.PathLike, rows_by_split: Mapping[str, Iterable[Mapping[str, Any]]], what: str
) -> dict[str, Iterable[Mapping[str, Any]]]:
    """The rows of each split, of which there are some: known before a file of an earlier table is replaced.

    Raises:
        QuestionError: No split has a row.
    """
    whole: dict[str, Iterable[Mapping[str, Any]]] = {}
    is_empty = True
    for split, rows in rows_by_split.items():
        left = iter(rows)
        first = list(islice(left, 1))
        is_empty = is_empty and not first
        whole[split] = chain(first, left)
    if is_empty:
        raise QuestionError(f"{folder}: there are no {what} to write")
    return whole


def _load(
    name: str | os.PathLike, revision: str | None, features: datasets.Features, what: str
) -> datasets.DatasetDict:
    table = open_table(name, what, QuestionError, revision)
    check_columns(table, features, name, what, QuestionError)
    return table
