"""When which action happens in the videos of a manifest: a table beside it, and look-ups in it by time.

`<manifest>/segments` is a folder that `datasets.load_dataset` opens, with a row per segment in the splits of the
manifest. Times are those of the video's own frames.
"""

from __future__ import annotations

import bisect
import itertools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

from ..errors import ManifestError, VidreasonError
from ..files import read_folder, split_path, write_card, write_split

SEGMENTS_FOLDER = "segments"

_TOLERANCE_S = 1e-6  # times that were stored and computed in different ways

_CARD = """
# Actions in the videos of {source}

A row says that one action goes on from one frame of a video to another: `start_frame` is the first of its frames and
`end_frame` the one after its last, `start_s` and `end_s` are their times from the start of the video. `video_id` is
that of the manifest in the folder above. Frames that no row covers have no label.

| split | videos | segments | minutes |
|---|---|---|---|
{split_rows}

Actions: {label_names}.
"""


def segment_features(label_names: Sequence[str]) -> Features:
    """The columns of the table."""
    return Features(
        {
            "video_id": Value("string"),
            "start_frame": Value("int32"),  # native index of the first frame
            "end_frame": Value("int32"),  # native index after the last frame
            "start_s": Value("float64"),
            "end_s": Value("float64"),  # start of the next frame, or the end of the video
            "label": ClassLabel(names=list(label_names)),
        }
    )


def write_segments(
    folder: str | os.PathLike,
    rows_by_split: Mapping[str, Iterable[Mapping[str, Any]]],
    label_names: Sequence[str],
    source: str = "a manifest",
) -> Path:
    """Write a table of segments. Rows are streamed.

    Args:
        folder: Folder of the manifest; the table goes into its sub-folder `segments`.
        rows_by_split: Maps each split to rows with the columns of `segment_features`; those of one video together and
            in order of time. `label` is an id or a name.
        label_names: Names of the actions, in the order of their ids.
        source: Name of the videos' data set, for the card.

    Returns:
        The table's folder.

    Raises:
        ManifestError: a segment without length, one that overlaps the one before, a video given twice, or an unknown
            label. The message names the video.
    """
    folder = Path(folder) / SEGMENTS_FOLDER
    features = segment_features(label_names)
    counters = {split: _Counter(features["label"], split) for split in rows_by_split}
    for split, rows in rows_by_split.items():
        write_split(folder, split, counters[split].watch(rows), features)
    for path in (folder / "data").glob("*-*-of-*.parquet"):  # of splits that an older table had
        if path not in {split_path(folder, split) for split in counters}:
            path.unlink()
    split_rows = "\n".join(counter.card_row() for counter in counters.values())
    body = _CARD.format(source=source, split_rows=split_rows, label_names=", ".join(label_names))
    write_card(folder, counters, body, pretty_name=f"Actions in the videos of {source}")
    return folder


def load_segments(folder: str | os.PathLike) -> DatasetDict:
    """Open a table of segments.

    Args:
        folder: Folder of the manifest, or of the table itself.

    Raises:
        ManifestError: there is no such table.
    """
    folder = Path(folder)
    inner = folder / SEGMENTS_FOLDER
    try:
        table = read_folder(inner if inner.is_dir() else folder)
    except VidreasonError as error:
        raise ManifestError(f"{folder}: no table of segments ({error})") from error
    for split, rows in table.items():
        lacking = [name for name in segment_features(["any"]) if name not in rows.column_names]
        if lacking:
            raise ManifestError(f"{folder}, split {split!r}: columns {lacking} are missing; is this a segment table?")
    return table


class SegmentIndex:
    """Finds the action at a time of a video.

    Args:
        segments: Segments as `load_segments` gives them, or one of its splits.
    """

    def __init__(self, segments: DatasetDict | Dataset):
        self._segments: dict[str, list[dict[str, Any]]] = {}
        for rows in segments.values() if isinstance(segments, DatasetDict) else [segments]:
            label: ClassLabel = rows.features["label"]
            for row in rows:
                video = self._segments.setdefault(row.pop("video_id"), [])
                video.append({**row, "label": label.int2str(row["label"])})
        for video in self._segments.values():
            video.sort(key=lambda segment: segment["start_s"])
        self._starts_s = {name: [segment["start_s"] for segment in of] for name, of in self._segments.items()}

    @property
    def video_ids(self) -> set[str]:
        """The videos that have any segment."""
        return set(self._segments)

    def segments_of(self, video_id: str) -> list[dict[str, Any]]:
        """The segments of a video in order of time, with labels by name; none for an unknown video."""
        return [dict(segment) for segment in self._segments.get(video_id, ())]

    def label_at(self, video_id: str, timestamp_s: float) -> str | None:
        """The action at a time.

        Args:
            video_id: Id of the video in the manifest.
            timestamp_s: Presentation time in seconds from the start of the video.

        Returns:
            Its name; None where the video is unknown or no segment holds that time.
        """
        video = self._segments.get(video_id, ())
        # a time at the border of two segments belongs to the later one, also after rounding
        position = bisect.bisect_right(self._starts_s.get(video_id, ()), timestamp_s + _TOLERANCE_S) - 1
        if position < 0 or timestamp_s + _TOLERANCE_S >= video[position]["end_s"]:
            return None
        return video[position]["label"]


class _Counter:
    """Checks the segments of a split as they pass and keeps what the card says of them."""

    def __init__(self, label: ClassLabel, split: str):
        self.label, self.split = label, split
        self.videos, self.segments, self.duration_s = 0, 0, 0.0

    def watch(self, rows: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
        seen: set[str] = set()
        for video_id, segments in itertools.groupby(rows, key=lambda row: row["video_id"]):
            if video_id in seen:
                raise ManifestError(f"segments of {video_id} ({self.split}): given in two places")
            seen.add(video_id)
            yield from self._watch_video(video_id, segments)
        self.videos = len(seen)

    def _watch_video(self, video_id: str, segments: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
        end_frame, end_s = 0, 0.0
        for row in segments:
            where = f"segments of {video_id} ({self.split}): frames {row['start_frame']} to {row['end_frame']}"
            if not (row["start_frame"] < row["end_frame"] and row["start_s"] < row["end_s"]):
                raise ManifestError(f"{where}, {row['start_s']:g} to {row['end_s']:g} s: nothing lasts so long")
            if row["start_frame"] < end_frame or row["start_s"] < end_s - _TOLERANCE_S:
                raise ManifestError(f"{where}: starts before the segment in front ends")
            end_frame, end_s = row["end_frame"], row["end_s"]
            self.segments += 1
            self.duration_s += row["end_s"] - row["start_s"]
            yield {**row, "label": self._label_id(row["label"], where)}

    def _label_id(self, label: int | str, where: str) -> int:
        known = label in self.label.names if isinstance(label, str) else 0 <= label < self.label.num_classes
        if not known:
            raise ManifestError(f"{where}: unknown label {label!r}; labels are {self.label.names}")
        return self.label.str2int(label) if isinstance(label, str) else int(label)

    def card_row(self) -> str:
        return f"| {self.split} | {self.videos} | {self.segments} | {self.duration_s / 60:.1f} |"
