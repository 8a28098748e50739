"""The detections table: a row says what a detector found of one class in one frame of one video.

Nothing found is a row with the status `empty`; a frame that could not be read, or a class that a closed detector does
not know, is a row with a status that says so. A row of one class does not depend on which other classes were asked.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any

import numpy as np
from datasets import Features, List, Value

from ..errors import DetectionError
from ..provenance import EMPTY_PROVENANCE, FRAME_KEY, FRAME_KEY_FEATURES, PROVENANCE_FEATURES
from .class_text import check_class_text
from .detector import STATUSES, Detector, Found
from .run_lengths import MAX_PIXELS, decode_mask, encode_mask

SCHEMA_VERSION = "1.0"

FEATURES = Features(
    {
        **FRAME_KEY_FEATURES,
        "class_text": Value("string"),  # in the one spelling of `check_class_text`
        "boxes": List(List(Value("float32"), length=4)),  # x0, y0, x1, y1 in [0, 1] of the full frame
        "scores": List(Value("float32")),  # of each box, in (0, 1], falling; defined in `vidreason.detection.detector`
        "masks": List(List(Value("int32"))),  # COCO's uncompressed run lengths of each box, or none at all
        "mask_height": Value("int32"),  # pixels of every mask of the row; 0 without masks
        "mask_width": Value("int32"),
        "threshold": Value("float32"),  # least score that was kept
        "max_side_px": Value("int32"),  # longer side that the frame was scaled down to; 0 for its own size
        **PROVENANCE_FEATURES,
    }
)

MAX_INSTANCES = 4096
"""Most instances of a class in one frame that a row may hold. Detectors give a few hundred at most."""

_TEXTS = tuple(name for name, feature in FEATURES.items() if getattr(feature, "dtype", None) == "string")
_WHOLE = {
    **dict.fromkeys(("frame_index", "mask_height", "mask_width", "max_side_px"), 0),
    **dict.fromkeys(("frame_height", "frame_width"), 1),
    **dict.fromkeys(("prompt_tokens", "completion_tokens"), 0),
}
"""Whole numbers -> the smallest that they may be."""

_ROUNDING = 1e-6  # a float32 just beyond 1


def detection_row(
    frame_key: Mapping[str, Any], class_text: str, found: Found, detector: Detector, **provenance: Any
) -> dict[str, Any]:
    """A valid row of the table.

    Args:
        frame_key: The fields of `FRAME_KEY_FEATURES`; other fields are ignored.
        class_text: The class that was asked for.
        found: What was found of it.
        detector: What found it.
        provenance: Any further columns of `EMPTY_PROVENANCE`, such as `cost_usd`.

    Raises:
        DetectionError: The row would break the contract.
    """
    unknown = set(provenance) - set(EMPTY_PROVENANCE)
    if unknown:
        raise DetectionError(f"unknown provenance fields {sorted(unknown)}")
    height, width = found.masks[0].shape if found.masks else (0, 0)
    row = {
        **{name: frame_key[name] for name in FRAME_KEY},
        "class_text": class_text,
        "boxes": found.boxes.tolist(),
        "scores": found.scores.tolist(),
        "masks": [encode_mask(mask) for mask in found.masks or ()],
        "mask_height": height,
        "mask_width": width,
        "threshold": detector.threshold,
        "max_side_px": detector.max_side_px or 0,
        "producer": "detector",
        **EMPTY_PROVENANCE,
        "model": f"{detector.name} {detector.model}".strip(),
        "revision": detector.revision,
        "raw_response": found.reason,
        **provenance,
        "status": found.status,
        "schema_version": SCHEMA_VERSION,
    }
    check_row(row)
    return row


def found_of(row: Mapping[str, Any]) -> Found:
    """What a row says was found.

    Raises:
        DetectionError: Its masks cannot be expanded; whatever else is wrong with a row, `check_row` says.
    """
    size = (row["mask_height"], row["mask_width"])
    masks = tuple(decode_mask(counts, size) for counts in row["masks"]) if len(row["masks"]) else None
    boxes = np.asarray(row["boxes"], dtype=np.float32).reshape(-1, 4)
    scores = np.asarray(row["scores"], dtype=np.float32)
    return Found(boxes, scores, masks, row["status"], row.get("raw_response", ""))


# Checks


def check_row(row: Mapping[str, Any]) -> None:
    """Check one row against the contract.

    Args:
        row: Row of the table as plain Python values.

    Raises:
        DetectionError: Naming the video, the frame, the class and what is wrong.
    """
    problem = _find_problem(row)
    if problem:
        where = f"{row.get('video_id', '?')} frame {row.get('frame_index', '?')} class {row.get('class_text', '?')!r}"
        raise DetectionError(f"{where}: {problem}")


def _find_problem(row: Mapping[str, Any]) -> str | None:
    missing = [name for name in FEATURES if name not in row]
    if missing:
        return f"missing fields {missing}"
    for find in (_find_plain_problem, _find_class_problem, _find_box_problem, _find_mask_problem):
        problem = find(row)
        if problem:
            return problem
    return None


def _find_plain_problem(row: Mapping[str, Any]) -> str | None:
    for name in _TEXTS:
        if not isinstance(row[name], str):
            return f"{name} is {row[name]!r}, expected a text"
    if not row["video_id"] or not row["producer"]:
        return "video_id or producer is empty"
    if row["status"] not in STATUSES:
        return f"status is {row['status']!r}, expected one of {STATUSES}"
    for name, least in _WHOLE.items():
        value = row[name]
        # True is a whole number to Python, and no count
        if not isinstance(value, Integral) or isinstance(value, bool) or int(value) < least:
            return f"{name} is {value!r}, expected a whole number of at least {least}"
    if not _is_finite(row["timestamp_s"]):
        return f"timestamp_s is {row['timestamp_s']!r}, expected a finite number of seconds"
    for name in ("cost_usd", "threshold"):
        if not (_is_finite(row[name]) and row[name] >= 0):
            return f"{name} is {row[name]!r}, expected a finite number that is not negative"
    return None


def _find_class_problem(row: Mapping[str, Any]) -> str | None:
    try:
        spelled = check_class_text(row["class_text"])
    except DetectionError as error:
        return str(error)
    return None if spelled == row["class_text"] else f"class_text is to be spelled {spelled!r}"


def _find_box_problem(row: Mapping[str, Any]) -> str | None:
    boxes, scores = row["boxes"], row["scores"]
    if not isinstance(boxes, list | tuple | np.ndarray) or not isinstance(scores, list | tuple | np.ndarray):
        return "boxes and scores must be lists"
    if len(boxes) != len(scores):
        return f"{len(boxes)} boxes and {len(scores)} scores"
    if len(boxes) > MAX_INSTANCES:
        return f"{len(boxes)} boxes, expected at most {MAX_INSTANCES}"
    if (row["status"] == "ok") != (len(boxes) > 0):
        return f"{len(boxes)} boxes with status {row['status']!r}: ok has some, any other none"
    last = 1.0
    for box, score in zip(boxes, scores, strict=True):
        if not isinstance(box, list | tuple | np.ndarray) or len(box) != 4 or not all(map(_is_finite, box)):
            return f"box {str(box)[:80]}, expected four finite numbers"
        x0, y0, x1, y1 = box
        if not (0 <= x0 < x1 <= 1 + _ROUNDING and 0 <= y0 < y1 <= 1 + _ROUNDING):
            return f"box {list(map(float, box))}, expected x0 < x1 and y0 < y1 within [0, 1]"
        if not (_is_finite(score) and 0 < score <= last + _ROUNDING):
            return f"score {score!r} after {last}: scores are in (0, 1] and fall"
        last = score
    return None


def _find_mask_problem(row: Mapping[str, Any]) -> str | None:
    masks, height, width = row["masks"], row["mask_height"], row["mask_width"]
    if not isinstance(masks, list | tuple | np.ndarray):
        return "masks must be a list"
    if not len(masks):
        return None if height == width == 0 else f"mask size {height} x {width} without masks"
    if len(masks) != len(row["boxes"]):
        return f"{len(masks)} masks and {len(row['boxes'])} boxes"
    if height * width == 0 or height * width > MAX_PIXELS:
        return f"mask size {height} x {width}, expected from 1 to {MAX_PIXELS} pixels"
    for counts in masks:
        numbers = np.asarray(counts)
        if numbers.dtype.kind not in "iu" or (numbers < 0).any() or sum(numbers.tolist()) != height * width:
            return f"run lengths of a mask do not fill {height} x {width} pixels"
    return None


def _is_finite(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
