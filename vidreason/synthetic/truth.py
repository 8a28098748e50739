"""The ground truth that both worlds write: what is in a frame, and the columns that say so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from datasets import ClassLabel, Features, List, Value

from ..guidance.schema import OBJECT_FEATURES
from ..provenance import FRAME_KEY_FEATURES

EVIDENCE_GRID = (4, 4)
"""(rows, columns) of the grid whose cells with evidence a co-occurring object keeps out of: the paper's grid."""

ACTOR, HAND = "person", "hand"
"""Names of the whole actor (hand and visible arm) and of the hand alone, in the objects of a frame."""


@dataclass(frozen=True)
class FrameTruth:
    """What is in one frame.

    Args:
        objects: Entries of `vidreason.guidance.schema.OBJECT_FEATURES` with a `role`. A box is the extent of the whole
            item within the frame, also where something covers it; what is out of the frame is absent.
        relations: Entries of subject, predicate and object, by the names of objects.
        segment: Name of the action that goes on in the frame, or of the pause.
    """

    objects: list[dict[str, Any]]
    relations: list[dict[str, str]]
    segment: str


def frame_truth_features(label_names: Sequence[str]) -> Features:
    """The columns of a world's ground truth, one row per video and frame: the same for both worlds.

    Args:
        label_names: Names of the world's labels, in the order of their ids.
    """
    return Features(
        {
            **FRAME_KEY_FEATURES,
            "objects": List({**OBJECT_FEATURES, "role": Value("string")}),
            "relations": List({name: Value("string") for name in ("subject", "predicate", "object")}),
            "segment": Value("string"),
            "label": ClassLabel(names=list(label_names)),
            "background": Value("string"),
            "background_tied": Value("bool"),  # was chosen for the label; an untied draw can hit it by chance
            "cooccurring_object": Value("string"),
            "cooccurring_object_tied": Value("bool"),
        }
    )


def object_entry(name: str, role: str, box: Sequence[float], relevant: bool) -> dict[str, Any]:
    """An entry of the ground truth, from a box (x0, y0, x1, y1) in [0, 1] of the frame."""
    x0, y0, x1, y1 = box
    center = [(x0 + x1) / 2, (y0 + y1) / 2]
    return {"name": name, "center": center, "box": [x0, y0, x1, y1], "relevant": relevant, "role": role}


def named_relations(
    relations: Sequence[tuple[str, str, str]] | dict[tuple[str, str, str], None], present: set[str]
) -> list[dict[str, str]]:
    """(subject, predicate, object) triples as entries of the ground truth, of those objects that are present."""
    return [
        {"subject": subject, "predicate": predicate, "object": other}
        for subject, predicate, other in relations
        if subject in present and other in present
    ]
