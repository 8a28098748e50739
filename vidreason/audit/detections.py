"""Judging a table of detections, class by class: against boxes that are known, or against another table.

A frame of the reference is judged where a row of the class lies near it in time and says something: boxes, or that
there are none. Frames whose row is missing, failed, or of a class that the detector does not know are counted and not
judged. A frame without a true box counts as well: what is found in it is a mistake.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import datasets
import numpy as np

from ..detection.index import MISSING
from ..detection.truth import class_of
from ..errors import GuidanceError
from ..reporting.bootstrap import Bootstrap, Estimate, estimate_means
from ..video.decode import match_times
from .box_measures import FrameMatch, estimate_average_precision, match_frame
from .references import TrueVideo

JUDGED_STATUSES = ("ok", "empty")

_ROWS_AT_ONCE = 4096


@dataclass(frozen=True, eq=False)
class BoxTrack:
    """The boxes of one class in the frames of one video.

    Args:
        times_s: Times of the frames in seconds, (frames,), ascending.
        boxes: Boxes (instances, 4) of each frame, in [0, 1].
        scores: Scores (instances,) of each frame.
        statuses: Status of each frame.
    """

    times_s: np.ndarray
    boxes: list[np.ndarray]
    scores: list[np.ndarray]
    statuses: list[str]

    def __len__(self) -> int:
        return len(self.times_s)


Tracks = Mapping[str, BoxTrack]
"""Video id -> boxes of one class."""


@dataclass(frozen=True)
class BoxReference:
    """What detections are judged by.

    Args:
        name: Name in words.
        by_class: Name of a class in the reference -> its tracks.
        class_names: Class of each video, where it is known.
    """

    name: str
    by_class: Mapping[str, Tracks]
    class_names: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class DetectedFrame:
    """One frame of the reference and one class.

    Args:
        video_id: Id of the frame's video.
        class_text: The class.
        timestamp_s: Time in seconds of the reference's frame.
        true_boxes: Boxes (boxes, 4) of the reference.
        boxes: Boxes (instances, 4) of the detector, best first.
        scores: Scores (instances,).
        status: Status of the detector's row, or `MISSING`.
        match: How the two meet; None where the status says nothing of the frame.
    """

    video_id: str
    class_text: str
    timestamp_s: float
    true_boxes: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray
    status: str
    match: FrameMatch | None

    @property
    def mistakes(self) -> int:
        """Boxes that were missed, and detections that found none."""
        if self.match is None:
            return len(self.true_boxes)
        return int((~self.match.is_found).sum() + (~self.match.is_right).sum())


@dataclass(frozen=True)
class ClassScores:
    """How good the detections of a class are, over the frames that are judged.

    Args:
        class_text: The class.
        frames: Number of frames of the reference.
        judged: Number of these frames that are judged.
        statuses: Number of the reference's frames by status of the detector's row, or `MISSING`.
        true_boxes: Number of true boxes in judged frames.
        detections: Number of detections in judged frames.
        videos: Number of videos with a judged frame.
        average_precision: As COCO has it, at the IoU of the audit.
        recall: Share of the true boxes that are found.
        precision: Share of the detections that found one, at the table's own least score.
        containment: Share of the best-scored detection's area that lies within a true box, as a mean over frames.
        held: Share of the true boxes that hold a detection by half of its area.
        true_share: Share of the frame that the largest true box takes up: the containment that a small detection
            placed at random would have.
    """

    class_text: str
    frames: int
    judged: int
    statuses: dict[str, int]
    true_boxes: int
    detections: int
    videos: int
    average_precision: Estimate
    recall: Estimate
    precision: Estimate
    containment: Estimate
    held: Estimate
    true_share: Estimate


def read_tracks(rows: datasets.Dataset, class_texts: Iterable[str] | None = None) -> dict[str, dict[str, BoxTrack]]:
    """Class -> video id -> boxes, of a table of detections.

    Args:
        rows: Rows of one split or several.
        class_texts: Classes that are read; all by default.

    Raises:
        GuidanceError: Two rows speak for one class at one time.
    """
    wanted = None if class_texts is None else set(class_texts)
    entries: dict[str, dict[str, list]] = {}
    columns = ["video_id", "class_text", "timestamp_s", "status", "boxes", "scores"]
    for batch in rows.select_columns(columns).iter(_ROWS_AT_ONCE):
        for video_id, text, *values in zip(*(batch[name] for name in columns), strict=True):
            if wanted is None or text in wanted:
                entries.setdefault(text, {}).setdefault(video_id, []).append(values)
    return {
        text: {video_id: _track(f"{video_id}, class {text!r}", values) for video_id, values in videos.items()}
        for text, videos in entries.items()
    }


def _track(where: str, entries: list) -> BoxTrack:
    entries = sorted(entries, key=lambda entry: entry[0])
    times_s = np.asarray([entry[0] for entry in entries], dtype=np.float64)
    if (np.diff(times_s) == 0).any():
        raise GuidanceError(f"{where}: two rows for one time")
    boxes = [np.asarray(entry[2], dtype=np.float64).reshape(-1, 4) for entry in entries]
    scores = [np.asarray(entry[3], dtype=np.float64) for entry in entries]
    for time_s, some, of in zip(times_s, boxes, scores, strict=True):
        # a table comes from anywhere, and one NaN would be every mean
        if len(some) != len(of) or not (np.isfinite(some).all() and np.isfinite(of).all()):
            raise GuidanceError(f"{where} at {time_s:.3f} s: expected as many finite scores as finite boxes")
    return BoxTrack(times_s, boxes, scores, [entry[1] for entry in entries])


def reference_of_table(name: str, rows: datasets.Dataset) -> BoxReference:
    """Another table of detections as what to judge by: its boxes count as true."""
    return BoxReference(name, read_tracks(rows))


def reference_of_truth(name: str, rows: datasets.Dataset) -> BoxReference:
    """A world's ground truth: every object whose box is known, also where it takes no part in the action.

    Args:
        name: Name in words.
        rows: Rows with `video_id`, `timestamp_s` and `objects`, and perhaps a class `label`.

    Raises:
        GuidanceError: A column is missing, or a frame is there twice.
    """
    missing = [column for column in ("video_id", "timestamp_s", "objects") if column not in rows.column_names]
    if missing:
        raise GuidanceError(f"{name}: columns {missing} are missing; is this a table of ground truth?")
    label = rows.features.get("label")
    labels = label.names if isinstance(label, datasets.ClassLabel) else None
    times_s: dict[str, list[float]] = {}
    objects: dict[tuple[str, str], dict[float, list]] = {}
    names: set[str] = set()
    class_names: dict[str, str] = {}
    columns = ["video_id", "timestamp_s", "objects", *(["label"] if labels else [])]
    for batch in rows.select_columns(columns).iter(_ROWS_AT_ONCE):
        for values in zip(*batch.values(), strict=True):
            row = dict(zip(batch, values, strict=True))
            times_s.setdefault(row["video_id"], []).append(row["timestamp_s"])
            if labels:
                class_names.setdefault(row["video_id"], labels[row["label"]])
            for entry in row["objects"]:
                if len(entry["box"]) == 4:
                    text = class_of(entry["name"])
                    names.add(text)
                    of_frame = objects.setdefault((row["video_id"], text), {})
                    of_frame.setdefault(row["timestamp_s"], []).append(entry["box"])
    return BoxReference(
        name,
        {
            text: {
                video_id: _true_track(video_id, of, objects.get((video_id, text), {}))
                for video_id, of in times_s.items()
            }
            for text in sorted(names)
        },
        class_names,
    )


def _true_track(video_id: str, times_s: Sequence[float], boxes: Mapping[float, list]) -> BoxTrack:
    # a frame without the object is a frame in which the class is not there
    return _track(video_id, [[t, "ok", boxes.get(t, []), np.ones(len(boxes.get(t, [])))] for t in times_s])


def reference_of_boxes(name: str, videos: Mapping[str, TrueVideo], class_text: str) -> BoxReference:
    """Boxes of one class by frame index, as from `boxes_from_json`; frames that no box speaks of are left out."""
    tracks = {
        video_id: BoxTrack(
            one.times_s, one.boxes, [np.ones(len(boxes)) for boxes in one.boxes], ["ok"] * len(one.boxes)
        )
        for video_id, one in videos.items()
    }
    classes = {video_id: one.class_name for video_id, one in videos.items() if one.class_name}
    return BoxReference(name, {class_text: tracks}, classes)


def judge_class(
    class_text: str, found: Tracks, reference: Tracks, iou: float, tolerance_s: float
) -> list[DetectedFrame]:
    """Every frame of the reference, with what the detector says of one class in it.

    A row and a frame belong together where each is the other's nearest in time and they are at most the tolerance
    apart. Frames where the reference itself says nothing (a failure of another table) are left out.

    Args:
        class_text: The class.
        found: The detector's boxes.
        reference: Boxes that count as true.
        iou: Least intersection over union of a detection and the box that it finds.
        tolerance_s: Tolerance in seconds of the join by time.
    """
    frames = []
    nothing, no_scores = np.zeros((0, 4)), np.zeros(0)
    for video_id, truth in sorted(reference.items()):
        track = found.get(video_id)
        partners = match_times(truth.times_s, np.zeros(0) if track is None else track.times_s, tolerance_s)
        for position, partner in enumerate(partners.tolist()):
            if truth.statuses[position] not in JUDGED_STATUSES:
                continue
            status = MISSING if track is None or partner < 0 else track.statuses[partner]
            boxes, scores, match = nothing, no_scores, None
            if track is not None and status in JUDGED_STATUSES:
                boxes, scores = track.boxes[partner], track.scores[partner]
                match = match_frame(boxes, scores, truth.boxes[position], iou)
            time_s = float(truth.times_s[position])
            frames.append(
                DetectedFrame(video_id, class_text, time_s, truth.boxes[position], boxes, scores, status, match)
            )
    return frames


def score_class(class_text: str, frames: Sequence[DetectedFrame], bootstrap: Bootstrap) -> ClassScores:
    """The measures of a class over its frames, with intervals over whole videos.

    Args:
        class_text: The class, or a name of several.
        frames: Frames as from `judge_class`.
        bootstrap: How intervals are found.
    """
    judged = [(frame, frame.match) for frame in frames if frame.match is not None]
    matches, videos = [match for _, match in judged], [frame.video_id for frame, _ in judged]

    def mean(values_of: Callable[[FrameMatch], Iterable[float]]) -> Estimate:
        """Of a value of each box, detection or frame; where there is none of them, NaN keeps its place."""
        values, of = [], []
        for video_id, match in zip(videos, matches, strict=True):
            new = list(values_of(match))
            values += new
            of += [video_id] * len(new)
        return estimate_means(np.asarray(values, np.float64)[:, None], of, bootstrap)[0] if values else Estimate()

    return ClassScores(
        class_text=class_text,
        frames=len(frames),
        judged=len(judged),
        statuses=dict(sorted(Counter(frame.status for frame in frames).items())),
        true_boxes=sum(len(match.is_found) for match in matches),
        detections=sum(len(match.is_right) for match in matches),
        videos=len(set(videos)),
        average_precision=estimate_average_precision(matches, videos, bootstrap),
        recall=mean(lambda match: match.is_found),
        precision=mean(lambda match: match.is_right),
        containment=mean(lambda match: [match.contained]),
        held=mean(lambda match: match.is_held),
        true_share=mean(lambda match: [match.true_share]),
    )
