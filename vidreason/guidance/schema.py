"""The guidance table: a row says where in one frame of one video the evidence for its action is.

Any producer (an LLM, a motion detector, an object detector, ground truth) writes this same table, so the source of
guidance is changed by changing the name of a data set. A failure is a row with a status, never a gap.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any

import numpy as np
from datasets import Features, List, Value

from ..errors import GuidanceError
from ..provenance import EMPTY_PROVENANCE, FRAME_KEY, FRAME_KEY_FEATURES, PROVENANCE_FEATURES, STATUSES

SCHEMA_VERSION = "1.1"
"""1.1 added `revision`; see `complete_row` for what rows of 1.0 become."""

FULL_FRAME = (0.0, 0.0, 1.0, 1.0)

OBJECT_FEATURES = {
    "name": Value("string"),
    "center": List(Value("float32")),  # (x, y) in [0, 1] of the full frame, empty where unknown
    "box": List(Value("float32")),  # (x0, y0, x1, y1) in [0, 1] of the full frame, empty where unknown
    "relevant": Value("bool"),  # takes part in the action, or is merely visible
}

FEATURES = Features(
    {
        **FRAME_KEY_FEATURES,
        "grid_rows": Value("int32"),
        "grid_cols": Value("int32"),
        "weights": List(Value("float32")),  # row-major from the top left; sums to 1 where ok, else all zero
        "rectangle": List(Value("float32")),  # (x0, y0, x1, y1) in [0, 1] of the full frame that the grid covers
        "objects": List(OBJECT_FEATURES),
        **PROVENANCE_FEATURES,
    }
)

ADDED_COLUMNS = {"revision": ""}
"""Columns that tables of earlier versions lack -> the value that their rows get."""

SUM_TOLERANCE = 1e-4  # float32 weights of a grid of 1000 cells sum to 1 within less
PLACE_TOLERANCE = 1e-3  # a third of a pixel at 320: places were computed in other ways, and stored in float32

TEXTS = tuple(name for name, feature in FEATURES.items() if getattr(feature, "dtype", None) == "string")
NAMES = ("video_id", "producer")  # texts that must not be empty: rows are found and counted by them

LEAST = {
    "frame_index": 0,
    "frame_height": 1,
    "frame_width": 1,
    "grid_rows": 1,
    "grid_cols": 1,
    "prompt_tokens": 0,
    "completion_tokens": 0,
}
"""Whole numbers -> the smallest that they may be."""


def guidance_row(
    frame_key: Mapping[str, Any],
    weights: list[float],
    grid: tuple[int, int],
    producer: str,
    status: str | None = None,
    objects: list[dict[str, Any]] | None = None,
    rectangle: tuple[float, float, float, float] = FULL_FRAME,
    **provenance: Any,
) -> dict[str, Any]:
    """A valid row of the table.

    Args:
        frame_key: The fields of `FRAME_KEY_FEATURES`; other fields are ignored.
        weights: One non-negative number per cell, row-major; normalised here. All zero means that nothing is marked.
        grid: The grid's size as (rows, columns).
        producer: Kind of what made the row, such as "motion".
        status: One of `STATUSES`; by default `ok` or `empty`, as the weights say.
        objects: Entries of `OBJECT_FEATURES`.
        rectangle: The part of the frame that the grid covers, (x0, y0, x1, y1) in [0, 1].
        provenance: Any of the columns of `EMPTY_PROVENANCE`; those that are not given stay empty.

    Raises:
        GuidanceError: the row would break the contract.
    """
    unknown = set(provenance) - set(EMPTY_PROVENANCE)
    if unknown:
        raise GuidanceError(f"unknown provenance fields {sorted(unknown)}")
    total = math.fsum(weights)
    status = status or ("ok" if total > 0 else "empty")
    if status == "ok" and total > 0:
        weights = [weight / total for weight in weights]
    row = {
        **{name: frame_key[name] for name in FRAME_KEY},
        "grid_rows": grid[0],
        "grid_cols": grid[1],
        "weights": [float(weight) for weight in weights],
        "rectangle": [float(value) for value in rectangle],
        "objects": list(objects or []),
        "producer": producer,
        **EMPTY_PROVENANCE,
        **provenance,
        "status": status,
        "schema_version": SCHEMA_VERSION,
    }
    check_row(row)
    return row


def complete_row(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """A row of any version of the contract as one of this version."""
    if all(name in row for name in ADDED_COLUMNS):
        return row
    return {**ADDED_COLUMNS, **row, "schema_version": SCHEMA_VERSION}


# Checks


def check_row(row: Mapping[str, Any]) -> None:
    """Check one row against the contract.

    Args:
        row: Row of the table as plain Python values.

    Raises:
        GuidanceError: naming the video, the frame and the field.
    """
    problem = _find_problem(row)
    if problem:
        raise GuidanceError(f"{row.get('video_id', '?')} frame {row.get('frame_index', '?')}: {problem}")


def _find_problem(row: Mapping[str, Any]) -> str | None:
    missing = [name for name in FEATURES if name not in row]
    if missing:
        return f"missing fields {missing}"
    for find in (_find_plain_problem, _find_rectangle_problem, _find_weight_problem, _find_object_problem):
        problem = find(row)
        if problem:
            return problem
    return None


def _find_plain_problem(row: Mapping[str, Any]) -> str | None:
    for name in TEXTS:
        if not isinstance(row[name], str):
            return f"{name} is {row[name]!r}, expected a text"
    for name in NAMES:
        if not row[name]:
            return f"{name} is empty"
    if row["status"] not in STATUSES:
        return f"status is {row['status']!r}, expected one of {STATUSES}"
    grid_rows, grid_cols = row["grid_rows"], row["grid_cols"]
    if not (_is_whole(grid_rows, 1) and _is_whole(grid_cols, 1)):
        return f"grid is {grid_rows} x {grid_cols}, expected grid_rows and grid_cols of at least 1"
    for name, least in LEAST.items():
        if not _is_whole(row[name], least):
            return f"{name} is {row[name]!r}, expected a whole number of at least {least}"
    if not _is_finite(row["timestamp_s"]):
        return f"timestamp_s is {row['timestamp_s']!r}, expected a finite number of seconds"
    if not (_is_finite(row["cost_usd"]) and row["cost_usd"] >= 0):
        return f"cost_usd is {row['cost_usd']!r}, expected a finite number that is not negative"
    return None


def _find_rectangle_problem(row: Mapping[str, Any]) -> str | None:
    rectangle = _as_list(row["rectangle"])
    if rectangle is not None and len(rectangle) == 4 and all(map(_is_finite, rectangle)):
        x0, y0, x1, y1 = rectangle
        if 0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1:
            return None
    found = row["rectangle"] if rectangle is None else rectangle
    return f"rectangle is {_shorten(found)}, expected x0 < x1 and y0 < y1 within [0, 1]"


def _find_weight_problem(row: Mapping[str, Any]) -> str | None:
    weights = _as_list(row["weights"])
    if weights is None:
        return f"weights are {_shorten(row['weights'])}, expected a list of numbers"
    if len(weights) != row["grid_rows"] * row["grid_cols"]:
        return f"{len(weights)} weights for a grid of {row['grid_rows']} x {row['grid_cols']}"
    if not all(_is_finite(weight) and weight >= 0 for weight in weights):
        return "weights must be finite and non-negative"
    total = math.fsum(weights)
    expected = 1.0 if row["status"] == "ok" else 0.0
    if abs(total - expected) > SUM_TOLERANCE:
        return f"weights sum to {total:.4f}, expected {expected:.0f} for status {row['status']!r}"
    return None


def _find_object_problem(row: Mapping[str, Any]) -> str | None:
    objects = _as_list(row["objects"])
    if objects is None:
        return f"objects are {_shorten(row['objects'])}, expected a list"
    for number, entry in enumerate(objects):
        if not isinstance(entry, Mapping):
            return f"objects: entry {number} is {_shorten(entry)}, expected an object"
        if not isinstance(entry.get("name"), str):
            return f"objects: name of entry {number} is {_shorten(entry.get('name'))}, expected a text"
        if not isinstance(entry.get("relevant"), bool | np.bool_):
            return f"objects: relevant of {entry['name']!r} is {entry.get('relevant')!r}, expected true or false"
        center, box = _as_list(entry.get("center")), _as_list(entry.get("box"))
        if center is None or len(center) not in (0, 2) or not all(map(_is_share, center)):
            return f"objects: center of {entry['name']!r} is {_shorten(center)}, expected (x, y) in [0, 1] or none"
        ordered = box is not None and len(box) in (0, 4) and all(map(_is_share, box))
        if not ordered or (box and not (box[0] <= box[2] and box[1] <= box[3])):
            return f"objects: box of {entry['name']!r} is {_shorten(box)}, expected (x0, y0, x1, y1) in [0, 1] or none"
    return None


def _as_list(value: Any) -> list[Any] | None:
    return list(value) if isinstance(value, list | tuple | np.ndarray) else None


def _is_whole(value: Any, least: int) -> bool:
    # True is a whole number to Python, and no count
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= least


def _is_finite(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def _is_share(value: Any) -> bool:
    return _is_finite(value) and -PLACE_TOLERANCE <= value <= 1 + PLACE_TOLERANCE


def _shorten(value: Any, length: int = 80) -> str:
    text = repr(value)
    return text if len(text) <= length else text[:length] + "..."
