"""The guidance table: a row says where in one frame of one video the evidence for its action is.

Any producer (an LLM, a motion detector, an object detector, ground truth) writes this same table, so the source of
guidance is changed by changing the name of a data set. A failure is a row with a status, never a gap.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

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

_SUM_TOLERANCE = 1e-4  # float32 weights of a grid of 1000 cells sum to 1 within less


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


def check_row(row: Mapping[str, Any]) -> None:
    """Check one row against the contract.

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
    if row["status"] not in STATUSES:
        return f"status is {row['status']!r}, expected one of {STATUSES}"
    if row["grid_rows"] < 1 or row["grid_cols"] < 1:
        return f"grid is {row['grid_rows']} x {row['grid_cols']}"
    if not math.isfinite(row["timestamp_s"]):
        return f"timestamp_s is {row['timestamp_s']}"
    # one of another length becomes an empty one, which the next line refuses
    x0, y0, x1, y1 = row["rectangle"] if len(row["rectangle"]) == 4 else (0, 0, 0, 0)
    if not (0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1):
        return f"rectangle is {list(row['rectangle'])}, expected x0 < x1 and y0 < y1 within [0, 1]"
    return _find_weight_problem(row)


def _find_weight_problem(row: Mapping[str, Any]) -> str | None:
    weights = row["weights"]
    cells = row["grid_rows"] * row["grid_cols"]
    if len(weights) != cells:
        return f"{len(weights)} weights for a grid of {row['grid_rows']} x {row['grid_cols']}"
    if not all(math.isfinite(weight) and weight >= 0 for weight in weights):
        return "weights must be finite and non-negative"
    total = math.fsum(weights)
    expected = 1.0 if row["status"] == "ok" else 0.0
    if abs(total - expected) > _SUM_TOLERANCE:
        return f"weights sum to {total:.4f}, expected {expected:.0f} for status {row['status']!r}"
    return None
