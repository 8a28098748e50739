"""Which frames a file holds and when each is shown: the one place that decides what `frame_index` means.

Files lie about this. Headers state wrong frame counts; AVI stores no presentation times, so that FFmpeg makes them up
from the order of decoding, which is wrong where frames are reordered; raw streams have no times at all. So:

- The packets are listed without decoding them (`packets.py`; a millisecond for a clip). Where each has a presentation
  time of its own, and nothing speaks against these, they are the clock: frame `i` has the i-th smallest time.
- In any doubt the whole file is decoded once. If the decoder's frames come out with rising times, these are the clock.
- Otherwise time is counted: frame `i` is at `i / average rate`, and the table says so (`clock == "counted"`).
"""

from __future__ import annotations

import dataclasses
import itertools
import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from ..errors import VideoError
from .packets import Listing, list_packets
from .stream import OpenVideo, open_video

logger = logging.getLogger(__name__)

_ASSUMED_FPS = 25.0  # for files that state no rate at all; FFmpeg assumes it for raw streams too


@dataclass(frozen=True, eq=False)
class FrameTable:
    """The frames of a video in order of presentation.

    Attributes:
        times_s: float64 (frames,), presentation times; the first frame is at 0.0.
        pts: int64 (frames,), times in the stream's own unit, or None where the clock is counted.
        keyframes: int64 (keyframes,), indices that can be sought to, so that decoding from there gives the same pixels
            as from the start; empty where that does not hold.
        fps: frames per second on average.
        duration_s: from the first frame's start to the last frame's end.
        clock: "stream" where the file's own times are used, "counted" where they are missing or wrong.
        decoded: every frame was decoded to make the table; otherwise packets were counted.
        damaged: the file ends early or holds packets that its container calls damaged. The table has what decodes.
    """

    times_s: np.ndarray
    pts: np.ndarray | None
    keyframes: np.ndarray
    fps: float
    duration_s: float
    clock: str
    decoded: bool
    damaged: bool = False

    def __len__(self) -> int:
        return len(self.times_s)

    def index_of(self, pts: int | None) -> int | None:
        """The index of the frame with this time, None where there is none. For the clock "stream"."""
        if pts is None:
            return None
        index = int(self.pts.searchsorted(pts))
        return index if index < len(self.pts) and self.pts[index] == pts else None

    def nearest(self, timestamp_s: float) -> int:
        """The index of the frame whose presentation time is nearest; of two as near, the earlier one."""
        after = int(np.searchsorted(self.times_s, timestamp_s))
        if after == 0 or after == len(self):
            return min(after, len(self) - 1)
        before = after - 1
        return before if timestamp_s - self.times_s[before] <= self.times_s[after] - timestamp_s else after


def read_frame_table(path: str | os.PathLike, max_pixels: int | None = None) -> FrameTable:
    """The frame table of a file. The last tables are remembered, by path, size and time of change.

    Args:
        path: a local file.
        max_pixels: as in `open_video`.

    Raises:
        VideoError: as `open_video`, and no_frames.
    """
    with open_with_table(path, max_pixels) as (_, table):
        return table


@contextmanager
def open_with_table(
    path: str | os.PathLike,
    max_pixels: int | None = None,
    visit: Callable[[int, av.VideoFrame], None] | None = None,
) -> Iterator[tuple[OpenVideo | None, FrameTable]]:
    """A file's frame table, and the file itself where it had to be opened for that and stands at its start again.

    Args:
        path: a local file.
        max_pixels: as in `open_video`.
        visit: is given every frame with its index where all of them have to be decoded for the table, which spares who
            wants frames to decode them once more.

    Raises:
        VideoError: as `open_video`, and no_frames.
    """
    key = _table_key(path, max_pixels)
    table = _remembered.get(key)
    if table is not None:
        yield None, table
        return
    with open_video(path, max_pixels) as video:
        listing = list_packets(video)
        if not listing.packets:
            raise VideoError(path, "no_frames")
        doubt = _find_doubt(listing)
        if not doubt:
            pts = sorted(listing.packets.pts)
            table = _remembered.put(key, _table(str(path), pts, listing, decoded=False))
            yield (video if _rewind(video, listing) else None), table
            return
    table = _remembered.put(key, _decoded_table(os.fspath(path), max_pixels, listing, doubt, visit))
    yield None, table


def _table_key(path: str | os.PathLike, max_pixels: int | None) -> tuple:
    try:
        state = Path(path).stat()
    except OSError:
        return os.fspath(path), None, max_pixels  # `open_video` has the words for it
    return os.fspath(path), (state.st_size, state.st_mtime_ns), max_pixels


class _Remembered:
    """The tables that were used last, for any number of threads."""

    def __init__(self, size: int):
        self.size = size
        self._tables: dict[tuple, FrameTable] = {}
        self._lock = threading.Lock()

    def get(self, key: tuple) -> FrameTable | None:
        with self._lock:
            table = self._tables.pop(key, None)
            if table is not None:
                self._tables[key] = table  # dictionaries keep their order: the least used is the first
            return table

    def put(self, key: tuple, table: FrameTable) -> FrameTable:
        with self._lock:
            self._tables[key] = table
            if len(self._tables) > self.size:
                del self._tables[next(iter(self._tables))]
            return table

    def clear(self) -> None:
        with self._lock:
            self._tables.clear()


_remembered = _Remembered(1024)


def forget_frame_tables() -> None:
    """Let the next look at any file be the first one, as benchmarks want it."""
    _remembered.clear()


def _rewind(video: OpenVideo, listing: Listing) -> bool:
    """Go back to the first packet, where the container has an index to go by."""
    if not listing.packets.were_read:
        return True
    if not listing.can_seek or listing.packets.first_dts is None:
        return False
    try:
        video.container.seek(listing.packets.first_dts, stream=video.stream)
    except av.error.FFmpegError:
        return False
    return True


def count_readable(path: str | os.PathLike, table: FrameTable) -> int:
    """How many frames of a file's table really decode. Decodes the whole file, unless the table was made so."""
    if table.decoded:
        return len(table)
    with open_video(path) as video:
        return len({table.index_of(frame.pts) for frame in video.frames()} - {None})


def _decoded_table(
    path: str,
    max_pixels: int | None,
    listing: Listing,
    doubt: str,
    visit: Callable[[int, av.VideoFrame], None] | None,
) -> FrameTable:
    """The table of a file whose packets cannot be taken at their word."""
    logger.debug("%s: every frame is decoded to count them (%s)", path, doubt)
    pts = []
    with open_video(path, max_pixels) as video:
        for index, frame in enumerate(video.frames()):
            pts.append(frame.pts)
            if visit is not None:
                visit(index, frame)
    if not pts:
        raise VideoError(path, "decode_failed", f"none of {len(listing.packets)} packets decodes")
    rising = None not in pts and all(earlier < later for earlier, later in itertools.pairwise(pts))
    table = _table(path, pts, listing, decoded=True) if rising else _counted_table(path, len(pts), listing)
    if listing.packets.complete:
        return table
    stated = listing.stated_frames or "none"
    logger.warning("%s: %s; %d frames are readable, its header states %s", path, doubt, len(pts), stated)
    return dataclasses.replace(table, damaged=True)


def _find_doubt(listing: Listing) -> str | None:
    """Why the packets' times cannot be taken at their word, or None."""
    packets, pts = listing.packets, listing.packets.pts
    if not packets.complete:
        return "the file ends early or holds damaged packets"
    if None in pts or len(set(pts)) < len(pts):
        return "missing or repeated times"
    if not packets.are_keyframes[0]:
        return "no keyframe"
    if listing.reorders and pts == sorted(pts):
        # nothing says how the frames are reordered: AVI, and files remuxed from it
        return "times in the order of decoding"
    if listing.stated_frames and listing.stated_frames != len(pts):
        return f"the header states {listing.stated_frames} frames, there are {len(pts)} packets"
    return None


def _table(path: str, pts: list[int], listing: Listing, decoded: bool) -> FrameTable:
    """A table with the clock "stream" from rising pts."""
    packets = listing.packets
    durations = dict(zip(packets.pts, packets.durations, strict=True))
    are_keyframes = dict(zip(packets.pts, packets.are_keyframes, strict=True))
    can_start = [listing.can_seek and are_keyframes.get(value, False) for value in pts]
    times_s = (np.array(pts, dtype=np.int64) - pts[0]) * listing.time_base
    # a header's rate may be wrong, the times are what there is; a single frame has no rate but the header's
    fps = (len(pts) - 1) / float(times_s[-1]) if len(pts) > 1 else _stated_or_assumed_fps(path, listing)
    return FrameTable(
        times_s=times_s,
        pts=np.array(pts, dtype=np.int64),
        keyframes=np.flatnonzero(can_start),
        fps=fps,
        duration_s=float(times_s[-1]) + (durations.get(pts[-1], 0) * listing.time_base or 1 / fps),
        clock="stream",
        decoded=decoded,
    )


def _counted_table(path: str, num_frames: int, listing: Listing) -> FrameTable:
    fps = _stated_or_assumed_fps(path, listing)
    logger.info("%s: missing or wrong timestamps; time is counted at %g fps", path, fps)
    return FrameTable(
        times_s=np.arange(num_frames) / fps,
        pts=None,
        keyframes=np.zeros(0, dtype=np.int64),
        fps=fps,
        duration_s=num_frames / fps,
        clock="counted",
        decoded=True,
    )


def _stated_or_assumed_fps(path: str, listing: Listing) -> float:
    if listing.stated_fps is None:
        logger.warning("%s: states no frame rate; %g fps is assumed", path, _ASSUMED_FPS)
    return listing.stated_fps or _ASSUMED_FPS
