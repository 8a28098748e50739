"""AGQA 2.0: questions made from Action Genome's scene graphs, with steps, program and grounding of each.

`AGQA_balanced/<split>_balanced.txt` is an object of questions by id. `question_type` is the structure ("verify",
"compare", "choose", "query" or "logic"), `task` the reasoning that is needed ("exists", "rel-act+sequencing"), and
`program` a JSON object of the program and of what else a report of AGQA goes by. The published example has a brace too
many: read strictly it is an error that names the line, read with `tolerant` closing brackets after the end are left
out and told.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from .reading import Drop, Entry, SourceFolder, json_entry, text_of

STRUCTURES = ("query", "compare", "choose", "logic", "verify")

_PROGRAM_FIELDS = ("program", "sg_grounding", "semantic", "ans_type", "novel_comp", "more_steps", "direct_equiv")


def read_agqa(source: SourceFolder, split: str) -> Iterator[Entry]:
    """The balanced questions of a split, one after another: the training split has more than a million."""
    names = [f"{split}_balanced.txt", f"{split}_balanced.json"]
    file = source.find(*names, *(f"AGQA_balanced/{name}" for name in names))
    for question_id, item in source.entries(file):
        yield json_entry(f"{file.name} entry {question_id}", question_id, item, _read_item)


def _read_item(item: dict[str, Any]) -> dict[str, Any] | Drop:
    structure, answer = text_of(item["structural"]), text_of(item["answer"]).lower()
    if structure not in STRUCTURES:
        return Drop("unknown_type", structure)
    is_yes_no = item["ans_type"] == "binary" and answer in ("yes", "no")
    kept = {name: item[name] for name in _PROGRAM_FIELDS if name in item}
    return {
        "video_id": text_of(item["video_id"]),
        "question": text_of(item["question"]),
        # other binary questions name their two answers, such as "before or after"
        "answer_format": "yes_no" if is_yes_no else "open",
        "answer": answer,
        "question_type": structure,
        "task": "+".join(map(text_of, item["global"])),
        "num_steps": int(item["steps"]),
        "program": json.dumps(kept),
    }
