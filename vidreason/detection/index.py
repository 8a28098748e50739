"""Joining detections to the frames a model sees: by video, class and time, never by position in a list."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..errors import DetectionError
from ..video.decode import nearest_in_time
from .class_text import check_class_texts
from .detector import STATUSES, Found
from .schema import FEATURES, check_row, found_of

MISSING = "missing"
"""Status of a frame and class that no row of the table lies near enough to. It is never written to a table."""

DEFAULT_TOLERANCE_S = 0.05
"""As for guidance: more than half a frame at 12 frames per second, less than a frame at 15."""

_ROWS_AT_ONCE = 16_384

_NOTHING = {status: Found.without(status) for status in STATUSES if status != "ok"}
"""Rows of a status are alike to whoever renders maps, and most rows of a table are empty."""


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
        self._boxes = rows.with_format("arrow").select_columns(["boxes", "scores", "masks"])
        numbers, videos, classes, times_s, status_of, self._statuses = _read_places(rows, self.class_texts)
        absent = [text for place, text in enumerate(self.class_texts) if not (classes == place).any()]
        if absent:
            raise DetectionError(f"the table has no row of {', '.join(map(repr, absent))}: detect these classes first")
        self._videos = {name: number for number, name in enumerate(dict.fromkeys(videos))}
        video_of = np.asarray([self._videos[name] for name in videos], dtype=np.int32)
        order = np.lexsort((times_s, classes, video_of))
        self._rows, self._times_s = numbers[order].astype(np.int32), times_s[order]
        self._status_of = status_of[order]
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
        # (frames, classes): places among the index's rows, -1 where no row is near enough
        places = np.stack([self._find_places(video_id, place, wanted_s) for place in range(len(self.class_texts))], 1)
        distinct = sorted(set(places[places >= 0].tolist()))
        found: dict[int, Found | None] = {-1: None, **dict(zip(distinct, self._read(distinct), strict=True))}
        frames = [[found[place] for place in row] for row in places.tolist()]
        return FrameDetections(frames, [[MISSING if one is None else one.status for one in row] for row in frames])

    def _read(self, places: list[int]) -> list[Found]:
        """What the rows at some places say was found. Only rows with detections are taken from the table."""
        statuses = [self._statuses[self._status_of[place]] for place in places]
        rows = [int(self._rows[place]) for place, status in zip(places, statuses, strict=True) if status == "ok"]
        detections = iter(self._read_rows(rows))
        return [next(detections) if status == "ok" else _NOTHING[status] for status in statuses]

    def _read_rows(self, rows: list[int]) -> list[Found]:
        """The detections of some rows of the table, checked."""
        if not rows:
            return []
        columns = self._boxes[rows]
        lists = columns["boxes"].combine_chunks()
        counts = np.asarray(pc.list_value_length(lists))
        flat = lists.flatten()
        whole = pa.types.is_fixed_size_list(flat.type) or bool((np.asarray(pc.list_value_length(flat)) == 4).all())
        numbers = np.asarray(flat.flatten(), dtype=np.float32)
        score_lists = columns["scores"].combine_chunks()
        scores = np.asarray(score_lists.flatten(), dtype=np.float32)
        same = whole and (np.asarray(pc.list_value_length(score_lists)) == counts).all() and (counts > 0).all()
        masks = columns["masks"].combine_chunks()
        has_masks = np.asarray(pc.list_value_length(masks)) > 0
        boxes = numbers.reshape(-1, 4) if same else np.zeros((0, 4), np.float32)
        ends = np.cumsum(counts)
        if not same or has_masks.any() or not _are_sound(boxes, scores, ends):
            # let the check of a single row decide, whose words are for people
            full = self._table[rows]
            made = [{name: values[position] for name, values in full.items()} for position in range(len(rows))]
            for row in made:
                check_row(row)
            return [found_of(row) for row in made]
        pieces = zip(np.split(boxes, ends[:-1]), np.split(scores, ends[:-1]), strict=True)
        return [Found(of_row, score) for of_row, score in pieces]

    def _find_places(self, video_id: str, place: int, wanted_s: np.ndarray) -> np.ndarray:
        """The place of the row of one class for each time, -1 where none is near enough: (times,)."""
        nothing = np.full(len(wanted_s), -1, dtype=np.int64)
        video = self._videos.get(video_id)
        if video is None:
            return nothing
        pair = video * len(self.class_texts) + place
        start, stop = np.searchsorted(self._pairs, pair, "left"), np.searchsorted(self._pairs, pair, "right")
        if start == stop:
            return nothing
        places = nearest_in_time(self._times_s[start:stop], wanted_s, self.tolerance_s)
        return np.where(places >= 0, places + start, nothing)


def _are_sound(boxes: np.ndarray, scores: np.ndarray, ends: np.ndarray) -> bool:
    """Whether boxes (all, 4) and scores (all,) of rows that end at `ends` keep the contract, in vectors."""
    x0, y0, x1, y1 = boxes.T
    in_order = (x0 >= 0) & (y0 >= 0) & (x0 < x1) & (y0 < y1) & (x1 <= 1) & (y1 <= 1)
    # not a number fails every comparison
    within = (scores > 0) & (scores <= 1)
    rises = np.diff(scores) > 0
    rises[ends[:-1] - 1] = False  # from one row to the next
    return bool(in_order.all() and within.all() and not rises.any())


def _read_places(
    rows: datasets.Dataset, class_texts: Sequence[str]
) -> tuple[np.ndarray, list[str], np.ndarray, np.ndarray, np.ndarray, list[str]]:
    """What is kept of the rows of these classes.

    Returns:
        Row numbers, video ids, places among the class texts, times in seconds and numbers of statuses of the rows; and
        the names of the statuses.
    """
    place_of = {text: place for place, text in enumerate(class_texts)}
    number_of_status = {status: number for number, status in enumerate(STATUSES)}
    numbers, classes, times_s, statuses = [], [], [], []
    videos: list[str] = []
    start = 0
    columns = ["video_id", "class_text", "timestamp_s", "status"]
    for batch in rows.with_format("arrow").select_columns(columns).iter(_ROWS_AT_ONCE):
        if batch["class_text"].null_count or batch["status"].null_count or batch["video_id"].null_count:
            raise DetectionError("a row has no video_id, class_text or status")
        texts = batch["class_text"].cast(pa.string()).combine_chunks().dictionary_encode()
        known = np.asarray([place_of.get(text, -1) for text in texts.dictionary.to_pylist()], dtype=np.int64)
        places = known[np.asarray(texts.indices)] if len(batch) else np.zeros(0, np.int64)
        kept = np.flatnonzero(places >= 0)
        names = batch["status"].cast(pa.string()).combine_chunks().dictionary_encode()
        unknown = sorted(set(names.dictionary.to_pylist()) - set(number_of_status))
        if unknown:
            raise DetectionError(f"a row's status is {unknown[0]!r}, expected one of {STATUSES}")
        codes = np.asarray([number_of_status[name] for name in names.dictionary.to_pylist()], dtype=np.uint8)
        numbers.append(kept + start)
        classes.append(places[kept])
        times_s.append(np.asarray(batch["timestamp_s"], dtype=np.float64)[kept])
        statuses.append(codes[np.asarray(names.indices)][kept] if len(batch) else np.zeros(0, np.uint8))
        videos += batch["video_id"].take(pa.array(kept)).to_pylist()
        start += len(batch)
    if not numbers:
        return np.zeros(0, np.int64), [], np.zeros(0, np.int64), np.zeros(0), np.zeros(0, np.uint8), list(STATUSES)
    times = np.concatenate(times_s)
    if not np.isfinite(times).all():
        raise DetectionError("a row's timestamp_s is not a finite number of seconds")
    gathered = np.concatenate(numbers), videos, np.concatenate(classes), times, np.concatenate(statuses)
    return *gathered, list(STATUSES)
