"""What is reported of a Video-LLM in training: the loss of each part, and how many questions it answers right."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..scoring.answers import is_exact, parse_yes_no
from ..scoring.choice import parse_choice
from .encoding import DROPPED, PARTS

ANSWERED = ("right", "wrong", "unparsable")
OUTCOMES = (*ANSWERED, *DROPPED)
"""What can come of a question that is put to a model."""


def loss_metrics(found: np.ndarray, rationale_weight: float) -> dict[str, float]:
    """The losses of a split and what was left out of it.

    Args:
        found: (examples, 2 * parts + statuses): summed losses by part, tokens by part, dropped conversations by
            status.
        rationale_weight: Weight of the rationales in the total.

    Returns:
        `loss` and `loss_<part>`, means over the tokens of the split in nats, of parts that have tokens there;
        `dropped_<status>`, numbers of conversations, of statuses that there are.
    """
    totals = found.sum(axis=0)
    losses, tokens, dropped = np.split(totals, [len(PARTS), 2 * len(PARTS)])
    # a part without a token was not measured, and has no loss of 0
    means = {part: float(loss / count) for part, loss, count in zip(PARTS, losses, tokens, strict=True) if count}
    weights = {"answer": 1.0, "rationale": rationale_weight}
    metrics = {"loss": sum(weights[part] * mean for part, mean in means.items())} if "answer" in means else {}
    metrics |= {f"loss_{part}": mean for part, mean in means.items()}
    counts = zip(DROPPED, dropped, strict=True)
    return metrics | {f"dropped_{status}": int(number) for status, number in counts if number}


def answer_metrics(found: np.ndarray) -> dict[str, float]:
    """How many questions of a split were answered right.

    Args:
        found: (questions, 1), the outcome of each as a place in `OUTCOMES`.

    Returns:
        `accuracy`, a share of all questions in [0, 1]: what could not be asked or not be read as an answer is wrong;
        `num_questions`; `unparsable` and `not_asked`, numbers of questions.
    """
    counts = np.bincount(found.reshape(-1).astype(np.int64), minlength=len(OUTCOMES))
    return {
        "accuracy": float(counts[OUTCOMES.index("right")] / max(1, counts.sum())),
        "num_questions": int(counts.sum()),
        "unparsable": int(counts[OUTCOMES.index("unparsable")]),
        "not_asked": int(counts[len(ANSWERED) :].sum()),
    }


def judge_answer(question: Mapping[str, Any], said: str) -> str:
    """Whether an answer is right, by the rules of `vidreason.videoqa.scoring`.

    Args:
        question: Row of a table of questions.
        said: What the model said.

    Returns:
        One of `ANSWERED`. What names no option of a choice, is neither yes nor no, or is no word at all, is
        unparsable. Open answers are compared in lower case, without punctuation and articles.
    """
    if question["options"]:
        index = parse_choice(said, question["options"]).index
        return "unparsable" if index is None else "right" if index == question["answer_index"] else "wrong"
    if question["answer_format"] == "yes_no":
        yes_or_no, _ = parse_yes_no(said)
        return "unparsable" if yes_or_no is None else "right" if yes_or_no == question["answer"] else "wrong"
    if not said.strip():
        return "unparsable"
    return "right" if is_exact(said, (question["answer"], *question["more_answers"]), "plain") else "wrong"
