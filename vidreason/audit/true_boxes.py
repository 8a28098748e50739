"""Ground truth for audits: the boxes of what matters in each frame, from a table or from a file of boxes."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import numpy as np

from ..errors import GuidanceError, VideoError
from ..manifests.manifest import Manifest
from ..video.decode import read_frame_table

logger = logging.getLogger(__name__)

_ROWS_AT_ONCE = 4096


@dataclass(frozen=True, eq=False)
class TrueVideo:
    """The boxes of what matters in one video.

    Args:
        times_s: (frames,), ascending.
        boxes: (boxes, 4) for each frame, normalised; no box where nothing that matters is in view.
        class_name: of the video; empty where it is not known.
    """

    times_s: np.ndarray
    boxes: list[np.ndarray]
    class_name: str = ""


def boxes_from_table(rows: datasets.Dataset, where: str = "ground truth") -> dict[str, TrueVideo]:
    """The relevant boxes of a table of ground truth, such as that of the synthetic world.

    Args:
        rows: with `video_id`, `timestamp_s`, `objects` (with `box` and `relevant`), and perhaps a class `label`.
        where: for messages.

    Raises:
        GuidanceError: a column is missing, or a frame is there twice.
    """
    missing = [name for name in ("video_id", "timestamp_s", "objects") if name not in rows.column_names]
    if missing:
        raise GuidanceError(f"{where}: columns {missing} are missing; is this a table of ground truth?")
    label = rows.features.get("label")
    names = label.names if isinstance(label, datasets.ClassLabel) else None
    frames: dict[str, list[tuple[float, np.ndarray]]] = {}
    classes: dict[str, str] = {}
    columns = ["video_id", "timestamp_s", "objects", *(["label"] if names else [])]
    for batch in rows.select_columns(columns).iter(_ROWS_AT_ONCE):
        for row in _rows_of(batch):
            frames.setdefault(row["video_id"], []).append((row["timestamp_s"], _relevant_boxes(row["objects"])))
            if names:
                classes[row["video_id"]] = names[row["label"]]
    return {
        video_id: _true_video(video_id, entries, classes.get(video_id, "")) for video_id, entries in frames.items()
    }


def _rows_of(batch: Mapping[str, list]) -> Iterable[dict[str, Any]]:
    return (dict(zip(batch, values, strict=True)) for values in zip(*batch.values(), strict=True))


def _relevant_boxes(objects: Iterable[Mapping[str, Any]]) -> np.ndarray:
    """(boxes, 4) of the relevant objects whose box is known."""
    boxes = [entry["box"] for entry in objects if entry["relevant"] and len(entry["box"]) == 4]
    return np.asarray(boxes, dtype=np.float64).reshape(-1, 4)


def _true_video(video_id: str, entries: list[tuple[float, np.ndarray]], class_name: str) -> TrueVideo:
    entries = sorted(entries, key=lambda entry: entry[0])
    times_s = np.asarray([time_s for time_s, _ in entries], dtype=np.float64)
    if (np.diff(times_s) == 0).any():
        raise GuidanceError(f"ground truth of {video_id}: a frame is there twice")
    return TrueVideo(times_s, [boxes for _, boxes in entries], class_name)


def boxes_from_json(path: str | os.PathLike, manifest: Manifest) -> dict[str, TrueVideo]:
    """Boxes from a JSON file that names frames by their index; their times are read from the videos.

    The file maps a video id to `frame_width`, `frame_height` and `tubes`; a tube has `first_frame` and `boxes_xywh`, a
    box (left, top, width, height) in pixels for each frame from there on.

    Args:
        path: of the file.
        manifest: of the videos, for the times of their frames and their classes.

    Raises:
        GuidanceError: the file has another form, or none of its videos is in the manifest or can be read. Single
            videos that are not there are named in the log.
    """
    try:
        entries = json.loads(Path(path).read_text(encoding="utf-8"))
        rows = {row["video_id"]: row for split in manifest.splits.values() for row in split}
        videos = {}
        for video_id in sorted(set(entries) & set(rows)):
            times_s = _frame_times(manifest, rows[video_id])
            if times_s is not None:
                class_name = manifest.class_names[rows[video_id]["label"]]
                videos[video_id] = _video_of_tubes(video_id, entries[video_id], times_s, class_name)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise GuidanceError(f"{path}: not a file of boxes ({type(error).__name__}: {error})") from error
    if len(videos) < len(entries):
        lacking = ", ".join(sorted(set(entries) - set(videos))[:3])
        logger.warning(
            "%s: %d of %d videos are left out, such as %s", path, len(entries) - len(videos), len(entries), lacking
        )
    if not videos:
        raise GuidanceError(f"{path}: none of its {len(entries)} videos is in the manifest and can be read")
    return videos


def _frame_times(manifest: Manifest, row: Mapping[str, Any]) -> np.ndarray | None:
    try:
        return read_frame_table(manifest.video_path(row)).times_s
    except VideoError as error:
        logger.warning("%s: its boxes are left out: %s", row["video_id"], error)
        return None


def _video_of_tubes(video_id: str, entry: Mapping[str, Any], times_s: np.ndarray, class_name: str) -> TrueVideo:
    """Frames that no tube speaks of are left out: nothing is known of them."""
    size = np.asarray([entry["frame_width"], entry["frame_height"]] * 2, dtype=np.float64)
    boxes: dict[int, list[np.ndarray]] = {}
    for tube in entry["tubes"]:
        for offset, (x, y, width, height) in enumerate(tube["boxes_xywh"]):
            boxes.setdefault(tube["first_frame"] + offset, []).append([x, y, x + width, y + height] / size)
    inside = sorted(index for index in boxes if 0 <= index < len(times_s))
    if len(inside) < len(boxes):
        logger.warning("%s: boxes of %d frames that the video has not", video_id, len(boxes) - len(inside))
    return TrueVideo(times_s[inside], [np.stack(boxes[index]) for index in inside], class_name)
