"""Joining detections to the frames a model sees: by video, class and time, never by position in a list."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import datasets
import numpy as np
import pyarrow as pa

from ..errors import DetectionError
from .class_text import check_class_texts
from .detector import UNKNOWN_CLASS, Found
from .schema import FEATURES, check_row, found_of

MISSING = "missing"
"""Status of a frame and class that no row of the table lies near enough to. It is never written to a table."""

DEFAULT_TOLERANCE_S = 0.05
"""As for guidance: more than half a frame at 12 frames per second, less than a frame at 15."""

_ROWS_AT_ONCE = 16_384


@dataclass(frozen=True)
class FrameDetections:
    """Detections of some classes in the frames of one clip.

    Args:
        found: For each frame, what was found of each class in the order of the index's class texts; None where the
            table has no row.
        statuses: For each frame, the status of each class's row, or `MISSING`.
    """

    found: list[list[Found | None]]
    statuses: list[list[str]]


@dataclass
class DetectionCoverage:
    """What a join found, for reports: nothing is dropped without being counted here."""

    videos: int = 0
    videos_with_detections: int = 0
    unknown_videos: list[str] = field(default_factory=list)  # in the table but not among the videos

    def describe(self) -> str:
        """The counts in words, for a log or a terminal."""
        text = f"detections for {self.videos_with_detections} of {self.videos} videos"
        if self.unknown_videos:
            examples = ", ".join(self.unknown_videos[:3])
            text += f"; {len(self.unknown_videos)} videos with detections are not in the manifest, such as {examples}"
        return text


class DetectionIndex:
    """Finds the detections of some classes by video and presentation time.

    Every loader worker has one. It keeps numbers alone, no boxes: those of a clip's frames are taken from the table,
    and checked, when the clip is read. A table that is memory-mapped goes to a spawned worker as a file's name.

    Args:
        rows: A table of `vidreason.detection.schema.FEATURES`.
        class_texts: The classes, in the order of the channels of score maps.
        tolerance_s: How far, in seconds, a row may lie from a sampled frame and still speak for it.

    Raises:
        DetectionError: A class is not in the table at all, two rows speak for the same class at the same instant, or
            the table is none of detections.
    """

    def __init__(self, rows: datasets.Dataset, class_texts: Sequence[str], tolerance_s: float = DEFAULT_TOLERANCE_S):
        if not tolerance_s >= 0:
            raise DetectionError(f"tolerance_s is {tolerance_s}, expected a number of seconds >= 0")
        self.tolerance_s = tolerance_s
        self.class_texts = check_class_texts(class_texts)
        missing = [name for name in FEATURES if name not in rows.column_names]
        if missing:
            raise DetectionError(f"columns {missing} are missing; is this a table of detections?")
        self._table = rows.with_format(None).select_columns(list(FEATURES))
        numbers, videos, classes, times_s = _read_places(rows, self.class_texts)
        absent = [text for place, text in enumerate(self.class_texts) if not (classes == place).any()]
        if absent:
            raise DetectionError(f"the table has no row of {', '.join(map(repr, absent))}: detect these classes first")
        self._videos = {name: number for number, name in enumerate(dict.fromkeys(videos))}
        video_of = np.asarray([self._videos[name] for name in videos], dtype=np.int32)
        order = np.lexsort((times_s, classes, video_of))
        self._rows, self._times_s = numbers[order].astype(np.int32), times_s[order]
        # (video, class) as one number, ascending, so that the rows of a pair are a slice
        self._pairs = (video_of.astype(np.int64) * len(self.class_texts) + classes)[order]
        same = (np.diff(self._pairs) == 0) & (np.diff(self._times_s) == 0)
        if same.any():
            row = self._table[int(self._rows[int(np.flatnonzero(same)[0])])]
            raise DetectionError(
                f"{row['video_id']}: two rows of class {row['class_text']!r} for the frame at "
                f"{row['timestamp_s']:.3f} s"
            )

    @property
    def video_ids(self) -> set[str]:
        """The videos that have any row of these classes."""
        return set(self._videos)

    def coverage(self, video_ids: Iterable[str]) -> DetectionCoverage:
        """How the table meets a set of videos."""
        wanted, known = set(video_ids), self.video_ids
        return DetectionCoverage(len(wanted), len(wanted & known), sorted(known - wanted))

    def lookup(self, video_id: str, timestamps_s: Sequence[float]) -> FrameDetections:
        """The row nearest in time of each class for each frame, where one lies within the tolerance.

        Args:
            video_id: Id of the clip's video.
            timestamps_s: Presentation time of each sampled frame, in seconds from the start of the video.

        Raises:
            DetectionError: A row breaks the contract.
        """
        wanted_s = np.asarray(timestamps_s, dtype=np.float64)
        by_class = [self._find_rows(video_id, place, wanted_s) for place in range(len(self.class_texts))]
        needed = sorted({row for rows in by_class for row in rows if row is not None})
        columns = self._table[needed] if needed else {}
        found: dict[int, Found] = {}
        for position, number in enumerate(needed):
            row = {name: values[position] for name, values in columns.items()}
            check_row(row)
            found[number] = found_of(row)
        frames = [[None if row is None else found[row] for row in rows] for rows in zip(*by_class, strict=True)]
        return FrameDetections(frames, [[MISSING if one is None else one.status for one in row] for row in frames])

    def unknown_classes(self) -> tuple[str, ...]:
        """Classes of which every row says that the detector does not know them: their maps are zeros for ever."""
        statuses: dict[str, set[str]] = {}
        for batch in self._table.select_columns(["class_text", "status"]).iter(_ROWS_AT_ONCE):
            for text, status in set(zip(batch["class_text"], batch["status"], strict=True)):
                statuses.setdefault(text, set()).add(status)
        return tuple(text for text in self.class_texts if statuses.get(text) == {UNKNOWN_CLASS})

    def _find_rows(self, video_id: str, place: int, wanted_s: np.ndarray) -> list[int | None]:
        """The number of the table's row of one class for each time, None where none is near enough."""
        video = self._videos.get(video_id)
        if video is None:
            return [None] * len(wanted_s)
        pair = video * len(self.class_texts) + place
        start, stop = np.searchsorted(self._pairs, pair, "left"), np.searchsorted(self._pairs, pair, "right")
        if start == stop:
            return [None] * len(wanted_s)
        times_s, rows = self._times_s[start:stop], self._rows[start:stop]
        right = np.minimum(np.searchsorted(times_s, wanted_s), len(times_s) - 1)
        left = np.maximum(right - 1, 0)
        # of two rows as near, the earlier one
        best = np.where(np.abs(times_s[left] - wanted_s) <= np.abs(times_s[right] - wanted_s), left, right)
        # the slack forgives the rounding of times that were stored and computed in different ways
        within = np.abs(times_s[best] - wanted_s) <= self.tolerance_s + 1e-6
        return [row if near else None for row, near in zip(rows[best].tolist(), within.tolist(), strict=True)]


def _read_places(
    rows: datasets.Dataset, class_texts: Sequence[str]
) -> tuple[np.ndarray, list[str], np.ndarray, np.ndarray]:
    """Row numbers, video ids, places among the class texts and times in seconds of the rows of these classes."""
    place_of = {text: place for place, text in enumerate(class_texts)}
    numbers, classes, times_s = [], [], []
    videos: list[str] = []
    start = 0
    columns = ["video_id", "class_text", "timestamp_s"]
    for batch in rows.with_format("arrow").select_columns(columns).iter(_ROWS_AT_ONCE):
        texts = batch["class_text"].cast(pa.string()).combine_chunks().dictionary_encode()
        known = np.asarray([place_of.get(text, -1) for text in texts.dictionary.to_pylist()], dtype=np.int64)
        places = known[np.asarray(texts.indices)] if len(batch) else np.zeros(0, np.int64)
        kept = np.flatnonzero(places >= 0)
        numbers.append(kept + start)
        classes.append(places[kept])
        times_s.append(np.asarray(batch["timestamp_s"], dtype=np.float64)[kept])
        videos += batch["video_id"].take(pa.array(kept)).to_pylist()
        start += len(batch)
    if not numbers:
        return np.zeros(0, np.int64), [], np.zeros(0, np.int64), np.zeros(0)
    times = np.concatenate(times_s)
    if not np.isfinite(times).all():
        raise DetectionError("a row's timestamp_s is not a finite number of seconds")
    return np.concatenate(numbers), videos, np.concatenate(classes), times
