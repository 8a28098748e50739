"""STAR: situated reasoning in real-world videos, with multiple choice (csbobby/STAR_Benchmark).

Three layouts are read: `STAR_<split>.json`, the official list of items with programs and situation graphs;
`<split>.csv`, the questions and choices alone, where the segment is in `video_name`; and `<split>_questions.json`, the
teaser on STAR's page, an object of questions whose right choice is marked "Correct" (its `answer` is no choice).

A question is about a segment of its video. `question_type` is its template, such as "Interaction_T1".
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from .reading import Drop, Entry, SourceFolder, json_entry, text_of
from .source_files import read_csv

STEPS = {
    **dict.fromkeys(("Interaction_T1", "Interaction_T2"), 1),
    **dict.fromkeys((f"Sequence_T{number}" for number in range(1, 7)), 2),
    **dict.fromkeys(("Feasibility_T3", "Feasibility_T4", "Feasibility_T5", "Feasibility_T6"), 2),
    **dict.fromkeys(("Interaction_T3", "Interaction_T4", "Feasibility_T2"), 3),
    **dict.fromkeys((f"Prediction_T{number}" for number in range(1, 5)), 3),
}
"""Template -> steps of reasoning; 3 stands for three or more. Feasibility_T1 is not among the validation questions.

STEP (section 4.3) assigned steps to STAR's templates by hand, and published the shares alone: 24.57, 56.04 and 19.39 %
of 7,098 questions, which is 1,744, 3,978 and 1,376. 116 tables give these numbers. This is the only one of them that
treats alike templates that differ in nothing but what is given and what is asked for, or before and after: Sequence
T1 and T2, T3 and T4, T5 and T6, and Prediction T2 (an object is given) and T3 (a verb is). It reads well, too: one
action is looked up (1 step); an action is found by another, or by a relation, and asked about (2); a situation of
two conditions, what is left of what may be done, or what follows from all that was seen (3). With before and after
alone, one more table remains: Prediction T3, T4 and Feasibility T2 of 2 steps, and Feasibility T3 to T6 of 3. So the
table is an inference and not STEP's own; `tests/videoqa/test_star_questions.py` repeats the count.
"""

_TEMPLATE = re.compile(r"((?:Interaction|Sequence|Prediction|Feasibility)_T\d)_\d+")
_SEGMENT = re.compile(r"(?P<video>[A-Za-z0-9]+)_(?P<start>\d+(?:\.\d+)?)_(?P<end>\d+(?:\.\d+)?)")
_OPTIONS = ("a0", "a1", "a2", "a3")


def read_star(source: SourceFolder, split: str) -> Iterator[Entry]:
    """The questions of a split, from the fullest of the layouts that is there."""
    file = source.find(f"STAR_{split}.json", f"{split}.csv", f"{split}_questions.json")
    if file.suffix == ".csv":
        yield from _read_table(source, split)
        return
    for key, item in source.entries(file):
        question_id = str(item.get("question_id", key)) if isinstance(item, dict) else key
        read = _read_item if file.name.startswith("STAR_") else _read_marked
        yield json_entry(f"{file.name} entry {key}", question_id, item, read)


def _read_table(source: SourceFolder, split: str) -> Iterator[Entry]:
    columns = ("video_name", "question", "answer_number", "question_id", "answer", *_OPTIONS)
    for where, row in read_csv(source.find(f"{split}.csv"), columns):
        if row is None:
            yield Entry(where, "", Drop("columns"))
            continue
        yield Entry(where, row["question_id"], _read_row(row))


def _read_row(row: dict[str, str]) -> dict[str, Any] | Drop:
    segment = _SEGMENT.fullmatch(row["video_name"])
    if segment is None:
        return Drop("field", f"video_name {row['video_name']!r}, expected <video>_<start>_<end>")
    options = [row[name] for name in _OPTIONS]
    # both say which option is right; where they disagree, nobody can tell
    if row["answer_number"] not in ("0", "1", "2", "3") or options[int(row["answer_number"])] != row["answer"]:
        return Drop("answer_not_among_options", f"option {row['answer_number']} is not {row['answer']!r}")
    return _fields(
        row["question_id"], segment["video"], row["question"], (float(segment["start"]), float(segment["end"]))
    ) | {"options": options, "answer": row["answer"]}


def _read_item(item: dict[str, Any]) -> dict[str, Any] | Drop:
    """An item of the official layout; those of the test split have no answer."""
    choices = sorted(item["choices"], key=lambda choice: choice["choice_id"])
    program = {"question": item.get("question_program", []), "choices": [c.get("choice_program") for c in choices]}
    return _fields(
        text_of(item["question_id"]), text_of(item["video_id"]), text_of(item["question"]), _times(item)
    ) | {
        "options": [text_of(choice["choice"]) for choice in choices],
        "answer": text_of(item.get("answer", "")),
        "program": json.dumps(program) if program["question"] else "",
        **_graph(item),
    }


def _read_marked(item: dict[str, Any]) -> dict[str, Any] | Drop:
    """A question of the teaser."""
    choices = sorted(item["choices"], key=lambda choice: choice["choice_id"])
    right = [text_of(choice["choice"]) for choice in choices if choice["answer"] == "Correct"]
    if len(right) != 1:
        return Drop("no_answer" if not right else "answer_repeated", f"{len(right)} choices are marked")
    return _fields(
        text_of(item["question_id"]), text_of(item["video_id"]), text_of(item["question"]), _times(item)
    ) | {"options": [text_of(choice["choice"]) for choice in choices], "answer": right[0], **_graph(item)}


def _graph(item: dict[str, Any]) -> dict[str, str]:
    """The graph that a question is about: `scenegraph` names those of STAR by the question with their situations."""
    return {"graph_id": text_of(item["question_id"])} if item.get("situations") else {}


def _times(item: dict[str, Any]) -> tuple[float, float]:
    return float(item["start"]), float(item["end"])


def _fields(question_id: str, video_id: str, question: str, times_s: tuple[float, float]) -> dict[str, Any]:
    template = _TEMPLATE.fullmatch(question_id)
    if template is None:
        raise ValueError(f"question_id {question_id!r} names no template")
    return {
        "video_id": video_id,
        "start_s": times_s[0],
        "end_s": times_s[1],
        "question": question,
        "answer_format": "choice",
        "question_type": template[1],
        "num_steps": STEPS.get(template[1], 0),
    }
