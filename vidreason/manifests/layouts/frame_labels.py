"""Frame-wise labels as action segmentation keeps them, one line per frame, and their meeting with a video's frames."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...video.decode import read_frame_table
from ...video.frame_table import FrameTable
from ...video.probe import Probed, VideoInfo, VideoProbe
from ..manifest import video_id_of
from ..splits import read_lines
from .known import LayoutProblems

TOLERANCE_SHARE, TOLERANCE_LABELS = 0.01, 2
"""Labels and frames may differ in number by 1 %, or by 2 where that is more."""


class Segment(NamedTuple):
    """Frames [start_frame, end_frame) at times [start_s, end_s) of one label id."""

    start_frame: int
    end_frame: int
    start_s: float
    end_s: float
    label: int


@dataclass(frozen=True)
class SegmentedVideoInfo(VideoInfo):
    """Facts about a video, and when which action happens in it."""

    segments: tuple[Segment, ...] = ()


@dataclass(frozen=True)
class SegmentProbe:
    """Reads the facts about a video and turns its frame-wise labels into segments.

    Args:
        probe: Reads the facts about a video.
        labels: Maps each video path to the label ids of its lines; None for a line without a label.
        label_fps: Number of labels per second; None stands for one label per frame.
    """

    probe: VideoProbe
    labels: Mapping[str, Sequence[int | None]]
    label_fps: float | None = None

    def __call__(self, path: str) -> Probed:
        """Facts with segments, or why the video is left out (`label_count`: labels and frames differ in number)."""
        info = self.probe(path)
        if isinstance(info, dict):
            return info
        table = read_frame_table(self.probe.root / path, self.probe.max_pixels)  # remembered from the probing
        problem = find_count_problem(len(self.labels[path]), table, self.label_fps)
        if problem:
            return {"path": path, "reason": "label_count", "detail": problem}
        return SegmentedVideoInfo(
            **vars(info), segments=tuple(find_segments(self.labels[path], table, self.label_fps))
        )


def segment_rows(paths: Iterable[str], probed: Mapping[str, Probed]) -> Iterator[dict[str, Any]]:
    """Rows of the table of segments, for `write_segments`.

    Args:
        paths: Video paths of the manifest.
        probed: Facts about each video, with its segments.
    """
    for path in paths:
        info = probed[path]
        if isinstance(info, SegmentedVideoInfo):  # a manifest has no other: the rest was left out
            for segment in info.segments:
                yield {"video_id": video_id_of(path), **segment._asdict()}


def read_frame_labels(
    files: Mapping[str, Path], label_names: Sequence[str], problems: LayoutProblems
) -> dict[str, list[int | None]]:
    """Labels from files with one label name per line.

    Args:
        files: Maps each video path to its file of labels.
        label_names: Names of the labels, in the order of their ids.
        problems: Takes note of unknown labels and of files without any.

    Returns:
        Video path -> the label ids of the file's lines. An empty line is a frame without a label, and is None, as is
        a label that is unknown: were it left out, all labels behind it would be those of other frames.
    """
    id_of = {name: label for label, name in enumerate(label_names)}
    labels: dict[str, list[int | None]] = {}
    found_in: dict[str, str] = {}
    for path, file in files.items():
        lines = read_lines(file, "a file of frame-wise labels")
        labels[path] = [id_of.get(line) for line in lines]
        for line in set(lines) - {"", *id_of}:
            found_in.setdefault(line, file.name)
    unknown = [f"{label} ({name})" for label, name in sorted(found_in.items())]
    problems.add(f"{len(unknown)} labels of groundTruth are not in the mapping", unknown)
    empty = [files[path].name for path, of in labels.items() if set(of) <= {None} and not found_in]
    problems.add(f"{len(empty)} files of groundTruth are empty", empty)
    return labels


def find_count_problem(num_labels: int, table: FrameTable, label_fps: float | None = None) -> str | None:
    """Why labels and frames do not belong together by their numbers, or None.

    Frame-wise labels are made on extracted pictures or features, of which there are often one or two more or fewer
    than frames in the file; so a difference of 1 %, or of 2 labels, is let pass.
    """
    num_frames = len(table)
    expected = num_frames if label_fps is None else table.duration_s * label_fps
    if abs(num_labels - expected) <= max(TOLERANCE_LABELS, TOLERANCE_SHARE * expected):
        return None
    found = f"{num_labels} labels for {num_frames} frames in {table.duration_s:.2f} s"
    if label_fps is not None:
        return f"{found}; {label_fps:g} labels per second would be {expected:.0f}"
    return f"{found}; labels at a rate of their own ({num_labels / table.duration_s:.2f} per second?) need label_fps"


def find_segments(labels: Sequence[int | None], table: FrameTable, label_fps: float | None = None) -> list[Segment]:
    """Runs of frames of one label.

    Label `k` is that of frame `k`, or with `label_fps` of the frames in seconds [k, k + 1) / label_fps. Labels beyond
    the last frame are dropped; frames beyond the last label, and those whose label is None, stay without one, as none
    is made up for them.

    Args:
        labels: Label ids, one per line of the file; None where a line is empty.
        table: Frames of the video, with their times.
        label_fps: Number of labels per second; None stands for one label per frame.
    """
    num_frames = len(table)
    if label_fps is None:
        positions = np.arange(num_frames)
    else:  # the slack keeps a frame at 0.3 s, stored as 0.29999, with the label that starts there
        positions = np.floor(table.times_s * label_fps + 1e-3).astype(np.int64)
    frame_labels = [labels[position] for position in positions.tolist() if position < len(labels)]
    segments, start = [], 0
    for label, run in itertools.groupby(frame_labels):
        end = start + len(list(run))
        end_s = float(table.times_s[end]) if end < num_frames else table.duration_s
        if label is not None:
            segments.append(Segment(start, end, float(table.times_s[start]), end_s, label))
        start = end
    return segments
