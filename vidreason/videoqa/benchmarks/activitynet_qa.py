"""ActivityNet-QA (MILVLG/activitynet-qa): `<split>_q.json` and `<split>_a.json`, lists joined by `question_id`.

`question_type` is the number that the benchmark gives, `task` its name. `video_id` is "v_<name>", as ActivityNet's
files are called. All answers are open: the benchmark compares yes and no as words, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...errors import QuestionError
from .reading import Drop, Entry, SourceFolder, json_entry, text_of

TYPE_NAMES = (
    *("Motion", "Spatial Relationship", "Temporal Relationship"),
    *("Yes/No", "Color", "Object", "Location", "Number", "Other"),
)
"""Names of the types 0 to 8 (dataset/README.md of the source)."""


def read_activitynet_qa(source: SourceFolder, split: str) -> Iterator[Entry]:
    """The questions of a split."""
    questions, answers = source.find(f"{split}_q.json"), source.find(f"{split}_a.json")
    by_id: dict[str, dict[str, Any]] = {}
    for number, answer in enumerate(source.read_json(answers, list)):
        if not isinstance(answer, dict) or not isinstance(answer.get("question_id"), str):
            raise QuestionError(f"{answers}: entry {number} is no answer with a question_id")
        if by_id.setdefault(answer["question_id"], answer) is not answer:
            raise QuestionError(f"{answers}: question {answer['question_id']!r} is answered twice")
    asked = set()
    for place, item in source.entries(questions):
        question_id = str(item.get("question_id", "")) if isinstance(item, dict) else ""
        asked.add(question_id)
        yield json_entry(f"{questions.name} entry {place}", question_id, item, lambda item: _read_item(item, by_id))
    unasked = len(set(by_id) - asked)
    if unasked:
        source.notes.append(f"{unasked} answers of {answers.name} without a question")


def _read_item(item: dict[str, Any], by_id: dict[str, dict[str, Any]]) -> dict[str, Any] | Drop:
    answer = by_id.get(item["question_id"])
    if answer is None:
        return Drop("no_answer")
    number = answer["type"]
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < len(TYPE_NAMES):
        return Drop("unknown_type", str(number))
    return {
        "video_id": f"v_{text_of(item['video_name'])}",
        "question": text_of(item["question"]),
        "answer_format": "open",
        "answer": text_of(answer["answer"]),
        "question_type": str(number),
        "task": TYPE_NAMES[number],
    }
