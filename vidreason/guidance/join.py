"""Joining guidance to the frames a model sees: by video and by time, never by position in a list."""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..errors import GuidanceError
from ..video.decode import nearest_in_time
from .checks import checked_batches
from .geometry import GridMap, Layout, grid_maps

MISSING = "missing"
"""Status of a sampled frame that no row of the table lies near enough to. It is never written to a table."""

DEFAULT_TOLERANCE_S = 0.05
"""More than half a frame at 12 frames per second, less than a frame at 15: seldom a neighbour's row."""


@dataclass(frozen=True)
class FrameGuidance:
    """Guidance for the sampled frames of one clip.

    Args:
        maps: One `GridMap` per frame, or None where the table has no row for it.
        statuses: Status of each frame's row, or `MISSING`.
    """

    maps: list[GridMap | None]
    statuses: list[str]


@dataclass
class Coverage:
    """What a join found, for reports: nothing is dropped without being counted here."""

    videos: int = 0
    videos_with_guidance: int = 0
    unknown_videos: list[str] = field(default_factory=list)  # in the table but not among the videos

    def describe(self) -> str:
        """The counts in words, for a log or a terminal."""
        text = f"guidance for {self.videos_with_guidance} of {self.videos} videos"
        if self.unknown_videos:
            examples = ", ".join(self.unknown_videos[:3])
            text += f"; {len(self.unknown_videos)} guided videos are not in the manifest, such as {examples}"
        return text


class GuidanceIndex:
    """Finds the guidance of frames by video and presentation time.

    Every loader worker has one, of a table that may have millions of rows. So it keeps no Python object for a row:
    forked workers share arrays, whereas counting references to objects would copy their memory page by page. And it
    keeps no weights, which are most of what it reads: those of a clip's frames are taken from the table when the clip
    is read. A table that is memory-mapped goes to a spawned worker as the name of a file.

    Args:
        rows: A table of `vidreason.guidance.schema.FEATURES`, of which the columns that are needed are read, and
            checked.
        tolerance_s: How far, in seconds, a row may lie from a sampled frame and still speak for it.

    Raises:
        GuidanceError: the tolerance is negative, a row breaks the contract, or two rows speak for the same instant of
            a video.
    """

    def __init__(self, rows: datasets.Dataset, tolerance_s: float = DEFAULT_TOLERANCE_S):
        if not tolerance_s >= 0:
            raise GuidanceError(f"tolerance_s is {tolerance_s}, expected a number of seconds >= 0")
        self.tolerance_s = tolerance_s
        reader = _ColumnReader(len(rows))
        for batch in checked_batches(rows, _COLUMNS, "guidance"):
            reader.add(batch)
        self._weights = rows.with_format("arrow").select_columns(["weights"])
        self._layouts, self._layout_of = list(reader.layouts), reader.layout_of
        self._statuses, self._status_of = list(reader.statuses), reader.status_of
        self._video_ids, video_of = reader.number_videos()
        # rows of one video side by side and in order of time, so that a video is a slice
        self._rows = np.lexsort((reader.times_s, video_of)).astype(np.int32)
        self._times_s = reader.times_s[self._rows]
        counts = np.bincount(video_of, minlength=len(self._video_ids))
        self._video_starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
        # Arrow keeps what batches were combined into, for ever and for nothing here
        pa.default_memory_pool().release_unused()
        self._check_times()

    def _check_times(self) -> None:
        same = np.diff(self._times_s) == 0
        same[self._video_starts[1:-1] - 1] = False  # the last row of a video and the first of the next
        if same.any():
            place = int(np.flatnonzero(same)[0])
            video_id = self._video_ids[int(np.searchsorted(self._video_starts, place, side="right")) - 1].as_py()
            raise GuidanceError(
                f"{video_id}: two rows for the frame at {self._times_s[place]:.3f} s; merge them first"
            )

    @property
    def video_ids(self) -> set[str]:
        """The videos that have any row."""
        return set(self._video_ids.to_pylist())

    def coverage(self, video_ids: Iterable[str]) -> Coverage:
        """How the table meets a set of videos."""
        wanted, known = set(video_ids), self.video_ids
        return Coverage(len(wanted), len(wanted & known), sorted(known - wanted))

    def lookup(self, video_id: str, timestamps_s: Sequence[float]) -> FrameGuidance:
        """The nearest row in time for each frame, where one lies within the tolerance.

        Args:
            video_id: Id of the clip's video.
            timestamps_s: Presentation time of each sampled frame, in seconds from the start of the video.
        """
        found = self.find_rows(video_id, timestamps_s)
        maps = self._grid_maps(sorted({row for row in found if row is not None}))
        return FrameGuidance(
            [None if row is None else maps[row] for row in found],
            [MISSING if row is None else self._statuses[self._status_of[row]] for row in found],
        )

    def find_rows(self, video_id: str, timestamps_s: Sequence[float]) -> list[int | None]:
        """The number of the table's row that speaks for each frame, None where none does.

        Args:
            video_id: Id of the clip's video.
            timestamps_s: Presentation time of each frame, as in `lookup`.
        """
        number = self._find_video(video_id)
        if number is None:
            return [None] * len(timestamps_s)
        of_video = slice(self._video_starts[number], self._video_starts[number + 1])
        times_s, rows = self._times_s[of_video], self._rows[of_video]
        wanted_s = np.asarray(timestamps_s, dtype=np.float64)
        places = nearest_in_time(times_s, wanted_s, self.tolerance_s)
        return [None if place < 0 else int(rows[place]) for place in places.tolist()]

    def _find_video(self, video_id: str) -> int | None:
        # a search among Arrow's texts: a dict of hundreds of thousands of names is as large as all numbers here
        ids = self._video_ids
        place = bisect.bisect_left(range(len(ids)), video_id, key=lambda number: ids[number].as_py())
        return place if place < len(ids) and ids[place].as_py() == video_id else None

    def _grid_maps(self, rows: list[int]) -> dict[int, GridMap]:
        """Row of the table -> its map, for all frames of a clip at once."""
        if not rows:
            return {}
        lists = self._weights[rows]["weights"].combine_chunks()
        values, ends = np.asarray(lists.flatten(), dtype=np.float32), np.cumsum(pc.list_value_length(lists))
        layouts = [self._layouts[self._layout_of[row]] for row in rows]
        return dict(zip(rows, grid_maps(np.split(values, ends[:-1]), layouts), strict=True))


_COLUMNS = ("timestamp_s", "grid_rows", "grid_cols", "weights", "rectangle", "status", "video_id")


class _ColumnReader:
    """Gathers the numbers of a table's rows from batch to batch.

    Args:
        num_rows: Number of rows of the whole table.
    """

    def __init__(self, num_rows: int):
        self.times_s = np.empty(num_rows, dtype=np.float64)
        # one byte, as there are six statuses
        self.status_of = np.empty(num_rows, dtype=np.uint8)
        self.statuses: dict[str, int] = {}
        # one byte as long as there are few layouts; nearly all tables have one
        self.layout_of: np.ndarray = np.empty(num_rows, dtype=np.uint8)
        self.layouts: dict[Layout, int] = {}
        # each row's name among those of its batch, counted on from batch to batch: to encode the column as a whole
        # would give every one of its thousands of chunks a dictionary of all names
        self._name_of = np.empty(num_rows, dtype=np.int32)
        self._names: list[pa.Array] = []
        self._num_names = 0
        self._num_rows = 0

    def add(self, batch: pa.Table) -> None:
        """Read the next rows; they were checked."""
        rows = slice(self._num_rows, self._num_rows + len(batch))
        self._num_rows = rows.stop
        self.times_s[rows] = batch["timestamp_s"]
        names = batch["status"].combine_chunks().dictionary_encode()
        numbers = [self.statuses.setdefault(name, len(self.statuses)) for name in names.dictionary.to_pylist()]
        self.status_of[rows] = np.asarray(numbers, dtype=np.uint8)[np.asarray(names.indices)]
        self._add_layouts(batch, rows)
        ids = batch["video_id"].cast(pa.string()).combine_chunks().dictionary_encode()
        self._name_of[rows] = np.asarray(ids.indices) + self._num_names
        self._names.append(ids.dictionary)
        self._num_names += len(ids.dictionary)

    def number_videos(self) -> tuple[pa.Array, np.ndarray]:
        """The ids of the videos, sorted, and the number of each row's among them: int32 (rows,)."""
        names = pa.chunked_array(self._names, pa.string()).combine_chunks().dictionary_encode()
        order = pc.array_sort_indices(names.dictionary)
        numbers = np.empty(len(order), dtype=np.int32)
        numbers[np.asarray(order)] = np.arange(len(order))
        return names.dictionary.take(order), numbers[np.asarray(names.indices)][self._name_of]

    def _add_layouts(self, batch: pa.Table, rows: slice) -> None:
        rectangles = np.asarray(batch["rectangle"].combine_chunks().flatten(), dtype=np.float64).reshape(-1, 4)
        table = np.column_stack([batch["grid_rows"], batch["grid_cols"], rectangles])
        # sorting millions of rows of six numbers takes many seconds, and is hardly ever needed
        if len(table) and (table == table[0]).all():
            distinct, layout_of = table[:1], np.zeros(len(table), dtype=np.int64)
        else:
            distinct, layout_of = np.unique(table, axis=0, return_inverse=True)
        found: list[Layout] = [((int(r), int(c)), (x0, y0, x1, y1)) for r, c, x0, y0, x1, y1 in distinct.tolist()]
        numbers = np.asarray([self.layouts.setdefault(layout, len(self.layouts)) for layout in found], dtype=np.int32)
        if len(self.layouts) > np.iinfo(self.layout_of.dtype).max:
            self.layout_of = self.layout_of.astype(np.int32)
        self.layout_of[rows] = numbers[layout_of.reshape(-1)]
