"""Tables of questions as they are published: `vidreason.publishing` stands below this room, and is given this kind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..provenance import STATUSES
from ..publishing.table_kinds import TableKind
from .benchmarks.registry import BENCHMARKS
from .schema import QUESTION_FEATURES, QUESTION_VERSION
from .tables import QuestionChecker, QuestionSummary, load_questions

USE_CODE = """from datasets import load_dataset

for row in load_dataset({name!r}, split={split!r}).take(3):
    print(row["video_id"], row["start_s"], row["end_s"], row["question"], row["options"], row["answer"])"""
"""How the card shows the rows; the tests run it as it stands."""


def describe_source(source: str) -> str:
    """What a card says of a benchmark whose questions a table has, with its licence; other sources by name alone."""
    found = [benchmark for benchmark in BENCHMARKS.values() if benchmark.source == source]
    if not found:
        return source
    return f"{source} ({found[0].title}; {found[0].homepage}; licence of its questions: {found[0].license})"


def _nested_texts(row: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for column in ("options", "more_answers"):
        yield from ((column, text) for text in row[column])
    for place in row["evidence_boxes"]:
        yield from ((f"evidence_boxes.{name}", place[name]) for name in ("node_id", "name"))


QUESTIONS = TableKind(
    name="questions",
    title="Questions about videos",
    features=QUESTION_FEATURES,
    schema_version=QUESTION_VERSION,
    statuses=STATUSES,
    spoken_of=("source", "question_id"),
    make_checker=QuestionChecker,
    make_summary=QuestionSummary,
    load=load_questions,
    nested_texts=_nested_texts,
    draw=None,
    names=lambda row: [],
    picture_alt="",
    blank_note="",
    template="questions_dataset_template.md",
    use_code=USE_CODE,
    tags=("video", "video-question-answering", "vidreason"),
    task_categories=("visual-question-answering", "video-text-to-text"),
    marks=frozenset({"question", "answer_format", "options"}),
    optional=("start_s", "end_s"),
    describe_source=describe_source,
    annotations_creators=(),
)
"""What `publish_folder` is given to know a table of questions."""
