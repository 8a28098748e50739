"""How each benchmark counts: which answers are equal, which types are one, and over what its score is the mean."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ...errors import QuestionError
from .tally import Group

Row = Mapping[str, Any]

MICRO, MACRO_TASKS = "micro", "macro over tasks"
"""Means: over questions, or over the means of the tasks."""

_FREE = {"Yes/No", "Color", "Object", "Location", "Number", "Other"}


def _own_type(question: Row) -> list[str]:
    return [question["question_type"]] if question["question_type"] else []


def _nextqa_types(question: Row) -> list[str]:
    """The type with TP folded into TN, as NExT-QA's and NExT-OE's evaluation files do, and causal, temporal, ..."""
    kind = "TN" if question["question_type"] == "TP" else question["question_type"]
    return [kind, kind[:1]]


def _star_types(question: Row) -> list[str]:
    """The template, such as "Interaction_T1", and its kind."""
    kind = question["question_type"]
    return [kind, kind.split("_")[0]]


def _activitynet_types(question: Row) -> list[str]:
    """The name of the type, and "Free" for all but the first three (evaluation/eval.py)."""
    return [question["task"], *(["Free"] if question["task"] in _FREE else [])]


def _task_types(question: Row) -> list[str]:
    return [question["task"]]


@dataclass(frozen=True)
class Rule:
    """How a benchmark counts.

    Args:
        types_of: Function that names the type of a question, and then the groups of types that it belongs to.
        measure: "right" (option, yes or no, equal text), "wups" or "grounded".
        normalisation: How open answers are changed before they are compared.
        average: What the score is the mean over.
        split: Split that is scored where none is named.
    """

    types_of: Callable[[Row], list[str]] = _own_type
    measure: str = "right"
    normalisation: str = "plain"
    average: str = MICRO
    split: str = "val"

    def groups(self, question: Row) -> list[Group]:
        """The groups of a question, each once."""
        names = [name for name in dict.fromkeys(self.types_of(question)) if name]
        groups = [("type" if place == 0 else "type_group", name) for place, name in enumerate(names)]
        for kind in ("task", "aspect"):
            if question[kind]:
                groups.append((kind, question[kind]))
        if question["task"] and question["aspect"]:
            groups.append(("task_aspect", f"{question['task']}/{question['aspect']}"))
        if question["num_steps"]:
            groups.append(("steps", str(question["num_steps"])))
        return groups


RULES: Mapping[str, Rule] = {
    "nextqa": Rule(_nextqa_types),
    "nextqa_open": Rule(_nextqa_types, measure="wups"),
    "nextgqa": Rule(_nextqa_types, measure="grounded"),
    "star": Rule(_star_types),
    "agqa": Rule(split="test"),
    "activitynet_qa": Rule(_activitynet_types, normalisation="verbatim"),
    "msvd_qa": Rule(normalisation="verbatim"),
    "msrvtt_qa": Rule(normalisation="verbatim"),
    "mvbench": Rule(_task_types, average=MACRO_TASKS, split="test"),
    "tempcompass": Rule(_task_types, split="test"),
}
"""Benchmark -> how it counts. TempCompass is averaged over questions, MVBench over its 20 tasks."""

GENERAL = Rule()
"""For questions of any other source."""


def find_rule(benchmark: str) -> Rule:
    """How a benchmark counts.

    Raises:
        QuestionError: No benchmark has that name.
    """
    if benchmark not in RULES:
        raise QuestionError(f"benchmark is {benchmark!r}, expected one of {sorted(RULES)}")
    return RULES[benchmark]


def rule_of_source(source: str) -> Rule:
    """How the benchmark of a source counts, such as of "nextqa@1.0"; `GENERAL` where it is none of `RULES`."""
    return RULES.get(source.split("@")[0], GENERAL)
