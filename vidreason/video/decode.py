"""Frames of a video by index or by time, as they are displayed: the decoder, and all that is asked of FFmpeg for it.

From top to bottom: frames on request; which frames to ask for; the tables of files; opening a file; listing its
packets; running the decoder; pictures. Which frames a file holds is decided in `frame_table`, from what is listed
here.
"""

from __future__ import annotations

import dataclasses
import logging
import math
import mmap
import os
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import av
import av.container
import av.stream
import numpy as np
from av.buffer import Buffer
from av.video.reformatter import Colorspace, VideoReformatter

from ..errors import VideoError
from .frame_table import (
    CODECS_OF_WHOLE_PICTURES,
    FrameTable,
    Listing,
    Packets,
    find_doubt,
    table_of_frames,
    table_of_packets,
)

logger = logging.getLogger(__name__)

# Seeking starts again at a keyframe; where that leaves out fewer frames than this, decoding on is as fast. UCF101 has
# a keyframe every 12 frames: its clips took 19 ms at 16 and 10.6 ms at 4. Files with few keyframes do not care.
_SEEK_GAP_FRAMES = 4

# FFmpeg's names of the containers that are opened, of sound too, so that a song is said to be one. Not among them is
# what makes FFmpeg read further files or addresses (concat, hls, dash, imf, sdp, image2 and its patterns), capture
# screens, or take texts and still images for video.
_FORMATS = (
    "3g2,3gp,aac,ac3,aiff,amr,apng,asf,au,av1,avi,caf,dirac,dv,eac3,flac,flv,gif,gxf,h261,h263,h264,hevc,ivf,m4a,m4v,"
    "matroska,mj2,mjpeg,mov,mp3,mp4,mpeg,mpegts,mpegvideo,mxf,nsv,nut,nuv,obu,ogg,rm,swf,vc1,vvc,w64,wav,webm,wtv,"
    "yuv4mpegpipe"
)

# The absolute path that goes with it begins with a slash, so that no colon in it is taken for a protocol's.
_OPENING = {"protocol_whitelist": "file", "format_whitelist": _FORMATS}

# How files begin that name others to play, in lower case. This finds the words for the refusal; `_FORMATS` refuses.
_PLAYLIST_STARTS = ("ffconcat", "#extm3u", "[playlist]", "[reference]", "v=0", "rtsptext", "<asx")
_PLAYLIST_TAGS = ("<mpd", "<smoothstreamingmedia", "<assetmap", "<compositionplaylist", "<asx", "<smil", "<playlist")
_PLAYLIST_HEAD_BYTES = 2048

# Here a picture that is not a reference is one that no other picture is decoded from. In HEVC it may still be one for
# pictures of a higher temporal layer.
_CODECS_THAT_CAN_SKIP = ("h264", "mpeg2video", "mpeg1video")

# Containers with an index of keyframes. Others (MPEG-PS and TS) are sought by bytes, and may land inside a group of
# pictures, whose frames then decode to other pixels.
_SEEKABLE_FORMATS = ("mov", "matroska", "avi")

# In an AVI, each chunk of these is one packet. Other streams are cut up anew by a parser.
_CODECS_OF_WHOLE_CHUNKS = ("mpeg4", "mjpeg")

# AVI and raw streams store no times of presentation; FFmpeg makes up those that it gives.
_FORMATS_WITHOUT_TIMES = ("avi", "h264", "hevc", "vvc", "m4v", "mpegvideo", "h261", "h263", "vc1", "mjpeg", "dirac")

# Files that the log has named because frames of theirs do not decode, the latest of them.
_named_for_stand_ins: dict[str, None] = {}
_MAX_NAMED = 1024

# AVFieldOrder: 0 is unknown, from 2 on are the orders of interlaced fields.
_PROGRESSIVE = 1

# What a single file can make PyAV raise besides FFmpeg's own errors, such as for side data that it has no name for.
_UNFORESEEN = (ArithmeticError, LookupError, TypeError, ValueError, AttributeError)

# RIFF: the number of the stream in two digits and two letters for what the chunk holds, then its size
_CHUNK_HEADER = np.dtype([("stream", "S2"), ("holds", "S2"), ("size", "<u4")])


# Frames on request


@dataclass(frozen=True, eq=False)
class DecodedFrames:
    """Frames in the order in which they were asked for.

    Attributes:
        frames: RGB as displayed, uint8 (frames, height, width, 3).
        frame_indices: Native index of each, counted in order of presentation from 0.
        timestamps_s: Presentation time of each in seconds; the video's first frame is at 0.0.
        clock: "stream" where these are the file's own times, "counted" where the file has none that hold.
        stand_ins: Native index of each frame that does not decode -> index of the frame whose picture is in its place;
            empty unless `decode_frames` was asked for stand-ins.
    """

    frames: np.ndarray
    frame_indices: list[int]
    timestamps_s: list[float]
    clock: str = "stream"
    stand_ins: dict[int, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.frame_indices)


def decode_frames(
    path: str | os.PathLike,
    indices: Sequence[int] | None = None,
    timestamps_s: Sequence[float] | np.ndarray | None = None,
    max_side_px: int | None = None,
    size: tuple[int, int] | None = None,
    tolerance_s: float | None = None,
    max_pixels: int | None = None,
    stand_ins: bool = False,
) -> DecodedFrames:
    """Decode the frames asked for, or all of them.

    Rotation and mirror flags are applied. Only the frames asked for are converted to RGB, and scaled while at it.
    A damaged file gives what it holds: all frames that decode where no frames are named, and an error where some of
    the named ones do not decode. With `stand_ins` the next frame that decodes is shown in their place, at the end the
    last one, as players do and as the video processor and `FrameStream` do: the result and the log say where.

    Args:
        path: Local file.
        indices: Native frame indices, in any order, repeats allowed.
        timestamps_s: Times in seconds, in any order, repeats allowed; each gives the frame that is nearest in
            presentation time.
        max_side_px: Longer side that frames are scaled down to, keeping the aspect ratio; smaller frames keep their
            size.
        size: Height and width of the result as displayed, whatever the aspect ratio.
        tolerance_s: Seconds that a frame may be from the time asked for; None sets no limit.
        max_pixels: Largest stored width x height to accept, looked at before anything is decoded.
        stand_ins: Whether a neighbour's picture takes the place of a frame that does not decode.

    Returns:
        The frames (frames, height, width, 3) with their indices and times. All of them lie in memory: a long video
        wants `indices` or `timestamps_s`.

    Raises:
        ValueError: Both of indices and timestamps_s are given, or of max_side_px and size; the request is empty; or an
            index is negative.
        VideoError: The file cannot be used. The reason is decode_failed where a named frame is not there, does not
            decode, or is farther from a named time than the tolerance.
    """
    _check_request(indices, timestamps_s, max_side_px, size)
    early = None
    if indices is not None:  # known before the file is opened, and taken where all frames are decoded to count them
        early = _Output(path, [int(index) for index in indices], max_side_px, size, max_pixels)
    with open_with_table(path, max_pixels, early.add if early else None) as (video, table):
        requested = _requested_indices(path, table, indices, timestamps_s, tolerance_s)
        output = early or _Output(path, requested, max_side_px, size, max_pixels)
        _decode_into(output, video, path, table, max_pixels, stand_ins)
    if output.stand_ins:
        # once for a file: a clip is read in every epoch
        level = logging.DEBUG if _was_named(os.fspath(path)) else logging.WARNING
        logger.log(level, "%s: %s", path, _describe_stand_ins(output.stand_ins, table))
    if output.missing and indices is None and timestamps_s is None:
        requested = output.keep_decoded()
    if output.missing or output.frames is None:
        raise VideoError(path, "decode_failed", _describe_missing(path, output.missing, table))
    return DecodedFrames(output.frames, requested, table.times_s[requested].tolist(), table.clock, output.stand_ins)


def decode_readable_frames(
    path: str | os.PathLike, indices: Sequence[int], max_side_px: int | None = None
) -> tuple[DecodedFrames | None, dict[int, VideoError]]:
    """Decode the frames named, one by one where damage in the middle of the file keeps some of them from decoding.

    Args:
        path: Local file.
        indices: Native frame indices.
        max_side_px: Longer side that frames are scaled down to; None keeps their size.

    Returns:
        The frames that decode, in the order asked for, None where none does; and for each other index its error.
    """
    try:
        return decode_frames(path, indices=indices, max_side_px=max_side_px), {}
    except VideoError as error:
        if len(indices) == 1:
            return None, {indices[0]: error}
    parts: list[DecodedFrames] = []
    errors: dict[int, VideoError] = {}
    for index in indices:
        part, failed = decode_readable_frames(path, [index], max_side_px)
        errors |= failed
        if part is not None:
            parts.append(part)
    if not parts:
        return None, errors
    frames = np.concatenate([part.frames for part in parts])
    times_s = [part.timestamps_s[0] for part in parts]
    return DecodedFrames(frames, [part.frame_indices[0] for part in parts], times_s, parts[0].clock), errors


def _check_request(
    indices: Sequence[int] | None,
    timestamps_s: Sequence[float] | np.ndarray | None,
    max_side_px: int | None,
    size: tuple[int, int] | None,
) -> None:
    if indices is not None and timestamps_s is not None:
        raise ValueError("give indices or timestamps_s, not both")
    if max_side_px is not None and size is not None:
        raise ValueError("give max_side_px or size, not both")
    if max_side_px is not None and max_side_px < 1:
        raise ValueError(f"max_side_px must be at least 1, got {max_side_px}")
    if size is not None and min(size) < 1:
        raise ValueError(f"size must be at least (1, 1), got {size}")
    for name, values in (("indices", indices), ("timestamps_s", timestamps_s)):
        if values is not None and len(values) == 0:
            raise ValueError(f"{name} is empty")
    if indices is not None and min(indices) < 0:
        raise ValueError(f"indices count from 0, got {min(indices)}")
    if timestamps_s is not None and not all(math.isfinite(timestamp_s) for timestamp_s in timestamps_s):
        raise ValueError("timestamps_s must be finite")


def _requested_indices(
    path: str | os.PathLike,
    table: FrameTable,
    indices: Sequence[int] | None,
    timestamps_s: Sequence[float] | np.ndarray | None,
    tolerance_s: float | None,
) -> list[int]:
    """The native index of each requested frame; VideoError where there is none."""
    num_frames = len(table.times_s)
    if timestamps_s is not None:
        nearest = nearest_places(table.times_s, np.asarray(timestamps_s, dtype=np.float64)).tolist()
        for timestamp_s, index in zip(timestamps_s, nearest, strict=True):
            distance_s = abs(table.times_s[index] - timestamp_s)
            if tolerance_s is not None and distance_s > tolerance_s:
                detail = (
                    f"no frame within {tolerance_s:g} s of {timestamp_s:g} s; the nearest is {distance_s:.4g} s off"
                )
                raise VideoError(path, "decode_failed", detail)
        return nearest
    if indices is None:
        return list(range(num_frames))
    requested = [int(index) for index in indices]
    if max(requested) >= num_frames:
        detail = f"frame {max(requested)} was asked for, {num_frames} frames are readable"
        raise VideoError(path, "decode_failed", detail)
    return requested


def _describe_missing(path: str | os.PathLike, missing: set[int], table: FrameTable) -> str:
    named = ", ".join(map(str, sorted(missing)[:5])) + (", ..." if len(missing) > 5 else "")
    return f"frames {named} do not decode; {count_readable(path, table)} of {len(table)} frames are readable"


def _was_named(path: str) -> bool:
    """Whether the log has named this file among those with stand-ins, as it has from now on."""
    was_named = path in _named_for_stand_ins
    _named_for_stand_ins[path] = None
    if len(_named_for_stand_ins) > _MAX_NAMED:
        del _named_for_stand_ins[next(iter(_named_for_stand_ins))]
    return was_named


def _describe_stand_ins(stand_ins: dict[int, int], table: FrameTable) -> str:
    pairs = [f"{shown} for {index}" for index, shown in sorted(stand_ins.items())]
    named = ", ".join(pairs[:5]) + (", ..." if len(pairs) > 5 else "")
    return f"{len(pairs)} of {len(table)} frames do not decode; others stand in ({named})"


# Which frames to ask for


def uniform_indices(num_frames: int, num_samples: int) -> list[int]:
    """The middle frames of `num_samples` equal segments: `floor((i + 0.5) * num_frames / num_samples)`.

    A video that is shorter than the number of samples repeats frames, in order.

    Args:
        num_frames: Number of frames of the video.
        num_samples: Number of frames to take.

    Raises:
        ValueError: Either number is below 1.
    """
    _check_counts(num_frames, num_samples)
    # in whole numbers: the same formula without the rounding of floats
    return [(2 * i + 1) * num_frames // (2 * num_samples) for i in range(num_samples)]


def jittered_indices(num_frames: int, num_samples: int, rng: np.random.Generator) -> list[int]:
    """A random frame of each of `num_samples` equal segments, in order: the sampling of training clips.

    The position within a segment is drawn on the continuous time axis, so that segments which do not hold a whole
    number of frames are drawn from fairly, and short videos repeat frames.

    Args:
        num_frames: Number of frames of the video.
        num_samples: Number of frames to take.
        rng: Generator that draws the positions.

    Raises:
        ValueError: Either number is below 1.
    """
    _check_counts(num_frames, num_samples)
    positions = (np.arange(num_samples) + rng.random(num_samples)) * num_frames / num_samples
    # rounding can lift the last position to num_frames itself
    return np.minimum(positions.astype(int), num_frames - 1).tolist()


def nearest_places(times_s: np.ndarray, wanted_s: np.ndarray, slack_s: float = 0.0) -> np.ndarray:
    """The place of the time nearest to each wanted one; of two as near, the earlier.

    Args:
        times_s: Times in seconds, ascending, at least one: (times,).
        wanted_s: Times in seconds to find places for: (wanted,).
        slack_s: Seconds by which the earlier of two may be farther and still be taken, so that the rounding of floats
            does not decide between two that are as near.

    Returns:
        Indices into `times_s`: (wanted,).
    """
    after = np.minimum(np.searchsorted(times_s, wanted_s), len(times_s) - 1)
    before = np.maximum(after - 1, 0)
    return np.where(wanted_s - times_s[before] <= times_s[after] - wanted_s + slack_s, before, after)


def nearest_in_time(times_s: np.ndarray, wanted_s: np.ndarray, tolerance_s: float) -> np.ndarray:
    """Which row of a video speaks for each frame: the nearest in time, where one lies within the tolerance.

    Args:
        times_s: Times in seconds of the rows, ascending; at least one.
        wanted_s: Times in seconds of the frames.
        tolerance_s: How far, in seconds, a row may lie from a frame and still speak for it.

    Returns:
        Places among the rows, -1 where none is near enough: (frames,). Of two rows as near, the earlier one.
    """
    best = nearest_places(times_s, wanted_s)
    # the slack forgives the rounding of times that were stored and computed in different ways
    return np.where(np.abs(times_s[best] - wanted_s) <= tolerance_s + 1e-6, best, -1)


def match_times(first_s: np.ndarray, second_s: np.ndarray, tolerance_s: float) -> np.ndarray:
    """Pair instants that are each other's nearest.

    Args:
        first_s: Times in seconds, (first,), ascending.
        second_s: Other times in seconds, (second,), ascending.
        tolerance_s: Largest distance in seconds between the two of a pair.

    Returns:
        Positions in `second_s` for each of the first, -1 where it has no partner; shape (first,).
    """
    if not len(first_s) or not len(second_s):
        return np.full(len(first_s), -1)
    # mutual, so that no row speaks for two frames where the reference has more frames than the table
    partner = nearest_in_time(second_s, first_s, tolerance_s)
    back = nearest_in_time(first_s, second_s, tolerance_s)
    mutual = (partner >= 0) & (back[partner] == np.arange(len(first_s)))
    return np.where(mutual, partner, -1)


def fps_timestamps(duration_s: float, fps: float) -> list[float]:
    """The times 0, 1 / fps, 2 / fps, ... before `duration_s`; at least the first one.

    Args:
        duration_s: Length of the video in seconds.
        fps: Number of times in a second.

    Raises:
        ValueError: The duration is below zero, fps is not above zero, or either is not finite.
    """
    if not (math.isfinite(duration_s) and duration_s >= 0):
        raise ValueError(f"duration_s must be finite and not negative, got {duration_s}")
    if not (math.isfinite(fps) and fps > 0):
        raise ValueError(f"fps must be finite and above zero, got {fps}")
    # the tolerance keeps 0.3 s at 10 fps from giving a fourth time through the rounding of 0.3 * 10
    count = max(1, math.ceil(duration_s * fps - 1e-9))
    return [i / fps for i in range(count)]


def _check_counts(num_frames: int, num_samples: int) -> None:
    if num_frames < 1:
        raise ValueError(f"num_frames must be at least 1, got {num_frames}")
    if num_samples < 1:
        raise ValueError(f"num_samples must be at least 1, got {num_samples}")


# The tables of files


class FrameTables:
    """The tables of the files that were looked at last, for any number of threads.

    Args:
        size: Number of tables that are kept; the one that was used least recently goes first.
    """

    def __init__(self, size: int = 1024):
        self.size = size
        self._tables: dict[tuple, FrameTable] = {}
        self._lock = threading.Lock()

    def get(self, key: tuple) -> FrameTable | None:
        """The table of a key, None where it is not kept."""
        with self._lock:
            table = self._tables.pop(key, None)
            if table is not None:
                self._tables[key] = table  # dictionaries keep their order: the least used is the first
            return table

    def put(self, key: tuple, table: FrameTable) -> FrameTable:
        """Keep a table, and return it."""
        with self._lock:
            self._tables[key] = table
            if len(self._tables) > self.size:
                del self._tables[next(iter(self._tables))]
            return table

    def clear(self) -> None:
        """Forget all tables."""
        with self._lock:
            self._tables.clear()


# One for the whole process, because a video is read once an epoch by code that shares nothing but its path: to list
# its packets again takes as long as to decode a few frames. It changes no result: a file that changes has another key.
_seen_tables = FrameTables()


def forget_frame_tables() -> None:
    """Let the next look at any file be the first one, as benchmarks and services for strangers want it."""
    _seen_tables.clear()


def read_frame_table(path: str | os.PathLike, max_pixels: int | None = None) -> FrameTable:
    """The frame table of a file. The last tables are remembered, by path, size and time of change.

    Args:
        path: Local file.
        max_pixels: Largest width x height to accept, looked at before anything is decoded.

    Raises:
        VideoError: The file cannot be opened (see `open_video`), or has no_frames.
    """
    with open_with_table(path, max_pixels) as (_, table):
        return table


@contextmanager
def open_with_table(
    path: str | os.PathLike,
    max_pixels: int | None = None,
    visit: Callable[[int, av.VideoFrame], None] | None = None,
) -> Iterator[tuple[OpenVideo | None, FrameTable]]:
    """Give a file's frame table, and the file itself where it had to be opened for that and is at its start again.

    Args:
        path: Local file.
        max_pixels: Largest width x height to accept, looked at before anything is decoded.
        visit: Is given every frame with its index where all of them have to be decoded for the table, so that they
            need not be decoded once more.

    Raises:
        VideoError: The file cannot be opened (see `open_video`), or has no_frames.
    """
    key = _table_key(path, max_pixels)
    table = _seen_tables.get(key)
    if table is not None:
        yield None, table
        return
    with open_video(path, max_pixels) as video:
        listing = list_packets(video)
        if not listing.packets:
            raise VideoError(path, "no_frames")
        doubt = find_doubt(listing)
        if doubt is None:
            table = _seen_tables.put(key, table_of_packets(str(path), listing))
            yield (video if _rewind(video, listing) else None), table
            return
    # the file is opened anew: after a file has been read to its end, not every container can go back to the start
    table = _seen_tables.put(key, _table_by_decoding(os.fspath(path), max_pixels, listing, doubt, visit))
    yield None, table


def _table_key(path: str | os.PathLike, max_pixels: int | None) -> tuple:
    try:
        state = Path(path).stat()
    except OSError:
        return os.fspath(path), None, max_pixels  # `open_video` has the words for it
    # a file that is written anew under the same name gets another table
    return os.fspath(path), (state.st_size, state.st_mtime_ns), max_pixels


def distrust_short_cuts(path: str | os.PathLike, max_pixels: int | None, table: FrameTable) -> None:
    """Remember of a file that its frames are to be decoded in order, because a short cut through it failed."""
    logger.debug("%s: from now on decoded in order, from the start", path)
    in_order = dataclasses.replace(table, in_order_only=True, keyframes=table.keyframes[:0])
    _seen_tables.put(_table_key(path, max_pixels), in_order)


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


def _table_by_decoding(
    path: str,
    max_pixels: int | None,
    listing: Listing,
    doubt: str,
    visit: Callable[[int, av.VideoFrame], None] | None,
) -> FrameTable:
    """The table of a file whose packets cannot be taken at their word."""
    logger.debug("%s: every frame is decoded to count them (%s)", path, doubt)
    pts: list[int | None] = []
    with open_video(path, max_pixels) as video:
        for index, frame in enumerate(video.frames()):
            pts.append(frame.pts)
            if visit is not None:
                visit(index, frame)
    if not pts:
        raise VideoError(path, "decode_failed", f"none of {len(listing.packets)} packets decodes")
    return table_of_frames(path, pts, listing, doubt)


def count_readable(path: str | os.PathLike, table: FrameTable) -> int:
    """How many frames of a file's table really decode. Decodes the whole file, unless the table was made so."""
    if table.decoded:
        return len(table)
    with open_video(path) as video:
        return len({index for index, _ in numbered_frames(video, table)} - {None})


# Opening a file


@dataclass(frozen=True)
class OpenVideo:
    """An open container and its video stream.

    Args:
        path: Path of the file, for errors and the log.
        container: Container, which is closed by `open_video`.
        stream: Its first video stream.
        failures: What the decoder said of each packet that did not decode, or of the place where reading ended early.
    """

    path: str
    container: av.container.InputContainer
    stream: av.VideoStream
    failures: list[str] = field(default_factory=list)

    @property
    def codec(self) -> str:
        """FFmpeg's name of the codec; the decoder's own name may be another, such as libdav1d."""
        return self.stream.codec_context.codec.canonical_name

    @property
    def can_start_at_keyframes(self) -> bool:
        """Whether decoding from any keyframe gives the pixels of decoding from the start."""
        if self.codec not in CODECS_OF_WHOLE_PICTURES or not _is_format(self, _SEEKABLE_FORMATS):
            return False
        # How a decoder reads 4:4:4 H.264 of an old x264 hangs on the version that the stream's first packet states
        return not (self.codec == "h264" and "444" in (self.stream.codec_context.pix_fmt or ""))

    @property
    def can_skip(self) -> bool:
        """Whether the decoder can leave out frames that no other frame needs."""
        return self.codec in _CODECS_THAT_CAN_SKIP

    def frames(self, wanted_pts: Collection[int] | None = None) -> Iterator[av.VideoFrame]:
        """Decode from the current position, in order of presentation.

        A damaged or cut packet is passed over, and an end that comes too early ends the frames. Which frames are lost
        shows in comparison with the frame table.

        Args:
            wanted_pts: Times of the frames that are wanted, as their packets state them. Of the others those may be
                left out that no frame is decoded from; in H.264 with its usual B-frames that is half of them.
        """
        codec = self.stream.codec_context
        # an earlier pass over this stream may have been left while it skipped
        codec.skip_frame = "DEFAULT"
        skips = False
        try:
            for packet in self.container.demux(self.stream):
                if packet.is_corrupt:
                    self.failures.append(f"packet at {packet.pts} is damaged")
                    continue  # a decoder would make a picture of it, with grey or smeared blocks
                # a packet without a time may be of any frame, so it is decoded; at the end it flushes the decoder
                if wanted_pts is not None and skips != (packet.pts is not None and packet.pts not in wanted_pts):
                    skips = not skips
                    codec.skip_frame = "NONREF" if skips else "DEFAULT"
                try:
                    decoded = packet.decode()
                except av.error.FFmpegError as error:
                    logger.debug("%s: packet at %s does not decode (%s)", self.path, packet.pts, error)
                    self.failures.append(f"packet at {packet.pts}: {_first_line(error)}")
                    continue
                yield from decoded
        except av.error.FFmpegError as error:
            logger.debug("%s: reading ends early (%s)", self.path, error)
            self.failures.append(f"reading ends early: {_first_line(error)}")


@contextmanager
def open_video(path: str | os.PathLike, max_pixels: int | None = None) -> Iterator[OpenVideo]:
    """Open the first video stream of a file: the one place where FFmpeg is given a path to read.

    FFmpeg opens what a path or a file names: `http:/host/a.mp4` is an address to it, and a text that says `ffconcat`
    or `#EXTM3U` plays other files of the machine. So it gets an absolute path, which names no protocol, may use files
    alone, and knows no format of playlists.

    Args:
        path: Local file.
        max_pixels: Largest width x height to accept, looked at before anything is decoded.

    Raises:
        VideoError: The reason is missing, empty_file, not_a_video, playlist, no_video_stream, too_large or
            decode_failed.
    """
    _check_file(path)
    try:
        # tags of any encoding are let pass: nothing is read from them, and files in the wild have broken ones
        container = av.open(str(Path(path).absolute()), metadata_errors="ignore", container_options=_OPENING)
    except (av.error.FFmpegError, *_UNFORESEEN) as error:
        raise _not_opened(path, error) from error
    with container:
        stream = _select_stream(path, container)
        # before a frame is decoded: a few bytes of header can ask for gigabytes of memory
        check_pixels(path, stream.codec_context.width, stream.codec_context.height, max_pixels)
        # many videos are read side by side, by workers or threads; inside one, threads mostly wait for each other
        stream.codec_context.thread_count = 1
        try:
            yield OpenVideo(str(path), container, stream)
        except av.error.FFmpegError as error:
            raise VideoError(path, "decode_failed", _first_line(error)) from error
        except _UNFORESEEN as error:
            raise VideoError(path, "decode_failed", f"{type(error).__name__}: {_first_line(error)}") from error


def check_pixels(path: str | os.PathLike, width: int, height: int, max_pixels: int | None) -> None:
    """Raise `VideoError` (too_large) for pictures of more than `max_pixels`."""
    if max_pixels is not None and width * height > max_pixels:
        raise VideoError(path, "too_large", f"{width} x {height} is more than {max_pixels} pixels")


def _check_file(path: str | os.PathLike) -> None:
    file = Path(path)
    if not file.is_file():
        raise VideoError(path, "missing", "not a regular file" if file.exists() else "")
    if file.stat().st_size == 0:
        raise VideoError(path, "empty_file")


def _not_opened(path: str | os.PathLike, error: Exception) -> VideoError:
    with open(path, "rb") as file:
        text = file.read(_PLAYLIST_HEAD_BYTES).decode("utf-8-sig", errors="replace").lstrip().lower()
    if text.startswith(_PLAYLIST_STARTS) or (text.startswith("<") and any(tag in text for tag in _PLAYLIST_TAGS)):
        return VideoError(path, "playlist", "it names other files to play, and these are not opened")
    if isinstance(error, av.error.ArgumentError):  # what FFmpeg says of a format that is not among those allowed
        return VideoError(path, "not_a_video", "a text, a still image or another format that is not read as video")
    return VideoError(path, "not_a_video", _first_line(error))


def _select_stream(path: str | os.PathLike, container: av.container.InputContainer) -> av.VideoStream:
    # a song's cover picture is a video stream of one frame to FFmpeg
    streams = [stream for stream in container.streams.video if not _is_cover_picture(stream)]
    if not streams:
        kinds = sorted({stream.type for stream in container.streams})
        raise VideoError(path, "no_video_stream", f"streams: {', '.join(kinds) or 'none'}")
    if streams[0].codec_context is None:
        raise VideoError(path, "decode_failed", "no decoder for this codec")
    return streams[0]


def _is_cover_picture(stream: av.VideoStream) -> bool:
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


# Listing packets


def list_packets(video: OpenVideo) -> Listing:
    """All packets of a file that has just been opened: from an AVI's index where that says it all, or by reading them.

    Where they were read, the file has to go back to its start before frames are decoded.
    """
    stream = video.stream
    packets = _indexed_packets(video) or _read_packets(video)
    # the average first: the base rate is only the lowest in which all times can be written exactly
    rate = stream.average_rate or stream.guessed_rate or stream.base_rate
    if stream.time_base is None:  # FFmpeg gives every video stream of a container one
        raise VideoError(video.path, "decode_failed", "its stream has no unit of time")
    return Listing(
        # decoders drop what comes before it: it refers to pictures that the file does not hold
        packets=packets.from_first_keyframe(),
        # seconds in one unit of the packets' times, such as 1 / 12800
        time_base=float(stream.time_base),
        # 0 where the header does not say
        stated_frames=stream.frames,
        stated_fps=float(rate) if rate else None,
        reorders=bool(stream.codec_context.has_b_frames),
        can_seek=video.can_start_at_keyframes,
        codec=video.codec,
        has_times=not _is_format(video, _FORMATS_WITHOUT_TIMES),
        is_progressive=getattr(stream.codec_context, "field_order", 0) == _PROGRESSIVE,
    )


def _is_format(video: OpenVideo, names: tuple[str, ...]) -> bool:
    return video.container.format.name.split(",")[0] in names  # FFmpeg says "mov,mp4,m4a,3gp,3g2,mj2"


def _read_packets(video: OpenVideo) -> Packets:
    pts, durations, are_keyframes, sizes = [], [], [], []
    complete, first_dts = True, None
    try:
        # demultiplexed and not decoded: the times of all frames for a small part of the work
        for packet in video.container.demux(video.stream):
            # seeking back goes by decoding time, which with B-frames may begin before the first presentation time
            if first_dts is None:
                first_dts = packet.dts
            complete = complete and not packet.is_corrupt
            # an empty packet flushes the decoder; a discarded one lies before the start that an edit list sets
            if packet.size and not packet.is_discard:
                pts.append(packet.pts)
                durations.append(packet.duration or 0)
                are_keyframes.append(packet.is_keyframe)
                sizes.append(packet.size)
    except av.error.FFmpegError:
        complete = False
    return Packets(pts, durations, are_keyframes, complete, first_dts, sizes=sizes)


def _indexed_packets(video: OpenVideo) -> Packets | None:
    """The packets as the index of an AVI lists them, None where only reading the file can tell.

    FFmpeg has the index in memory once a file is open; reading a clip of UCF101 packet by packet takes longer than
    opening it. An index may be wrong, though, or the file damaged behind it. So it counts only where its chunks, sound
    included, fill the file from the start of its data to the index without a gap, each under a header of its own
    stream and size: then reading would find these packets and no others.
    """
    stream = video.stream
    if not _is_format(video, ("avi",)) or video.codec not in _CODECS_OF_WHOLE_CHUNKS:
        return None
    if stream.codec_context.has_b_frames:
        return None  # packets then get times from FFmpeg's own guess at the order of presentation
    if stream.average_rate is None or stream.time_base is None or stream.average_rate * stream.time_base != 1:
        return None  # a packet's duration is then not one unit
    entries = [(entry.pos, entry.size, entry.timestamp, entry.is_keyframe) for entry in stream.index_entries]
    if not entries:
        return None
    starts, sizes, times, are_keyframes = (list(column) for column in zip(*entries, strict=True))
    pts = list(range(len(entries)))
    if times != pts:
        return None  # frames that the file leaves out
    chunks = [_Chunks(stream.index, starts, sizes)]
    for other in video.container.streams:
        if other.index != stream.index:
            others = list(other.index_entries)
            chunks.append(_Chunks(other.index, [entry.pos for entry in others], [entry.size for entry in others]))
    try:
        borne_out = _chunks_fill_file(video.path, chunks)
    except OSError:  # not every file system lets files be mapped
        return None
    if not borne_out:
        return None
    return Packets(pts, [1] * len(pts), are_keyframes, were_read=False, sizes=sizes)


class _Chunks(NamedTuple):
    """Where a stream's packets lie in an AVI."""

    stream_index: int
    starts: list[int]  # bytes
    sizes: list[int]  # bytes, of what the chunks hold


def _chunks_fill_file(path: str, streams: list[_Chunks]) -> bool:
    """Whether the chunks of an AVI lie one after the other, each under the header that it should have."""
    starts: list[int] = []
    ends: list[int] = []
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for chunks in streams:
            headers = b"".join([data[start : start + _CHUNK_HEADER.itemsize] for start in chunks.starts])
            if len(headers) < len(chunks.starts) * _CHUNK_HEADER.itemsize:
                return False  # the file ends early
            stated = np.frombuffer(headers, dtype=_CHUNK_HEADER)
            if stated["size"].tolist() != chunks.sizes or np.any(stated["stream"] != b"%02d" % chunks.stream_index):
                return False
            starts += chunks.starts
            sizes = np.array(chunks.sizes, dtype=np.int64)
            sizes += _CHUNK_HEADER.itemsize + sizes % 2  # chunks begin at even bytes
            ends += (sizes + chunks.starts).tolist()
        starts.sort()
        ends.sort()
        before, after = data[starts[0] - 4 : starts[0]], data[ends[-1] : ends[-1] + 4]
    return starts[1:] == ends[:-1] and (before, after) == (b"movi", b"idx1")


# Running the decoder


def _decode_into(
    output: _Output,
    opened: OpenVideo | None,
    path: str | os.PathLike,
    table: FrameTable,
    max_pixels: int | None,
    stand_ins: bool,
) -> None:
    """Decode what the output wants, with a jump to the next keyframe where that saves time.

    Short cuts give what decoding in order gives, or are not taken: where a packet fails, a keyframe is none or a frame
    does not come, the file is decoded once more in order, and from then on at once.

    Args:
        output: Takes the frames.
        opened: The file, at its start, if it is open already.
        path: Path of the file.
        table: Frames of the file.
        max_pixels: Largest width x height to accept when the file is opened.
        stand_ins: Whether a neighbour's picture takes the place of a frame that does not decode.
    """
    if not output.missing:
        return
    if not table.in_order_only:
        runs = _plan_runs(table, sorted(output.missing))
        with nullcontext(opened) if opened is not None else open_video(path, max_pixels) as video:
            wanted_pts = pts_to_decode(video, table, sorted(output.missing))
            borne_out = all(_decode_run(video, table, start, stop, output, wanted_pts) for start, stop in runs)
            borne_out = borne_out and not video.failures and not output.missing
        if borne_out:
            return
        short_cut = opened is not None or wanted_pts is not None or any(start for start, _ in runs)
        if short_cut:
            distrust_short_cuts(path, max_pixels, table)
            output.start_over()
        elif not (output.missing and stand_ins):
            return
    _decode_in_order(output, path, table, max_pixels, stand_ins)


def _decode_in_order(
    output: _Output, path: str | os.PathLike, table: FrameTable, max_pixels: int | None, stand_ins: bool
) -> None:
    """Decode from the start to the last frame that the output wants, or that stands in for it."""
    waiting = deque(sorted(output.missing))
    last_wanted, shown = waiting[-1], None
    with open_video(path, max_pixels) as video:
        for index, frame in numbered_frames(video, table):
            if index is None:
                continue
            while waiting and waiting[0] < index:
                missed = waiting.popleft()
                if stand_ins:
                    output.stand_in(missed, index, frame)
            if waiting and waiting[0] == index:
                output.add(waiting.popleft(), frame)
            shown = index, frame
            if not waiting or (index >= last_wanted and not stand_ins):
                return
        while stand_ins and waiting and shown is not None:
            output.stand_in(waiting.popleft(), *shown)


def pts_to_decode(video: OpenVideo, table: FrameTable, wanted: list[int] | np.ndarray) -> frozenset[int] | None:
    """Times of the wanted frames, where others may be left out; None where every frame has to be decoded."""
    # packets' times are those of their frames only where no frame had to be decoded to know them
    if table.decoded or table.in_order_only or table.pts is None or not video.can_skip:
        return None
    return frozenset(table.pts[wanted].tolist())


def _plan_runs(table: FrameTable, wanted: list[int]) -> list[tuple[int, int]]:
    """Ranges [start, stop) of frames to decode in one go; `start` is a keyframe or 0."""
    # the first run is at the start of the file, which needs no seek
    runs = [[0, 0]]
    # for each wanted frame the number of keyframes up to it, all at once
    counts = np.searchsorted(table.keyframes, wanted, side="right").tolist()
    for index, count in zip(wanted, counts, strict=True):
        # decoding can begin at a keyframe only: other frames are differences to their neighbours
        keyframe = int(table.keyframes[count - 1]) if count else 0
        if keyframe - runs[-1][1] >= _SEEK_GAP_FRAMES:
            runs.append([keyframe, index + 1])
        runs[-1][1] = index + 1
    return [(start, stop) for start, stop in runs if stop > start]


def _decode_run(
    video: OpenVideo,
    table: FrameTable,
    start: int,
    stop: int,
    output: _Output,
    wanted_pts: frozenset[int] | None = None,
) -> bool:
    """Decode the frames [start, stop), and let the output take those that it wants; others may be left out.

    Returns:
        Whether the decoder bears out that decoding can begin at `start`: what it gives first is a keyframe to it too,
        and no later one. Containers flag keyframes that are none.
    """
    is_sought = bool(start) and table.pts is not None
    if start and table.pts is not None:
        # in units of the stream's time base; PyAV seeks backward, to the keyframe at or before that time
        video.container.seek(int(table.pts[start]), stream=video.stream)
    for index, frame in numbered_frames(video, table, wanted_pts):
        if is_sought and (index is None or index > start or not frame.key_frame):
            return False
        is_sought = False
        if index is None:
            continue
        if index < stop:
            output.add(index, frame)
        # frames come in order of presentation, so none of the run is still to come
        if index >= stop - 1:
            break
    return not is_sought


def numbered_frames(
    video: OpenVideo, table: FrameTable, wanted_pts: frozenset[int] | None = None
) -> Iterator[tuple[int | None, av.VideoFrame]]:
    """Frames from the current position with their native index, None for a frame that the table does not know."""
    if table.pts is None:  # the clock is counted, which nothing is sought or left out under
        yield from enumerate(video.frames(wanted_pts))
        return
    for frame in video.frames(wanted_pts):
        index = None
        if frame.pts is not None:
            place = int(table.pts.searchsorted(frame.pts))
            # whole units of the time base are compared exactly; seconds would want a tolerance
            if place < len(table.pts) and table.pts[place] == frame.pts:
                index = place
        yield index, frame


# Pictures


class _Output:
    """The picture of each requested frame, allocated once the first one shows the size.

    Args:
        path: File, for errors.
        requested: Native index of each picture, in the order of the result.
        max_side_px: Longer side that frames are scaled down to.
        size: Height and width of the result; None keeps the aspect ratio.
        max_pixels: Largest width x height of a frame to accept.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        requested: list[int],
        max_side_px: int | None,
        size: tuple[int, int] | None,
        max_pixels: int | None,
    ):
        self.path, self.requested = path, requested
        self.max_side_px, self.size, self.max_pixels = max_side_px, size, max_pixels
        self.frames: np.ndarray | None = None
        self.missing = set(requested)
        self.stand_ins: dict[int, int] = {}
        self._positions: dict[int, list[int]] = {}
        for position, index in enumerate(requested):
            self._positions.setdefault(index, []).append(position)
        self._converter = RgbConverter(path)

    def add(self, index: int, frame: av.VideoFrame) -> None:
        """Take a decoded frame, if it was requested and is not there yet."""
        if index not in self.missing:
            return
        check_pixels(self.path, frame.width, frame.height, self.max_pixels)  # a header may state less than comes
        orientation = Orientation.of(frame)
        if self.frames is None:
            height, width = self.size or fitted_size(frame, orientation, self.max_side_px)
            self.frames = np.empty((len(self.requested), height, width, 3), dtype=np.uint8)
        picture = self._converter.convert(frame, orientation, (self.frames.shape[1], self.frames.shape[2]))
        for position in self._positions[index]:  # one by one: a list of positions would copy the picture twice
            self.frames[position] = picture
        self.missing.discard(index)

    def stand_in(self, index: int, shown: int, frame: av.VideoFrame) -> None:
        """Take the frame `shown` in place of the frame `index`, which does not decode."""
        self.add(index, frame)
        self.stand_ins[index] = shown

    def start_over(self) -> None:
        """Forget what was taken, all of which is wanted again."""
        self.missing, self.stand_ins = set(self.requested), {}

    def keep_decoded(self) -> list[int]:
        """Drop the frames that are missing, and return the indices that stay."""
        kept = [position for position, index in enumerate(self.requested) if index not in self.missing]
        if self.frames is not None:
            logger.warning("%s: %d of %d frames do not decode", self.path, len(self.missing), len(self.requested))
            self.frames = self.frames[kept]
            self.missing = set()
        return [self.requested[position] for position in kept]


@dataclass(frozen=True)
class Orientation:
    """How to turn a stored picture into the displayed one: transpose first, then flip.

    The display matrix of ISO/IEC 14496-12 (tkhd) maps a stored point (x, y) to `(a x + c y, b x + d y)`. Phones write
    quarter turns, front cameras also mirrors; any other angle is taken to the nearest quarter turn.
    """

    transpose: bool = False
    flip_rows: bool = False
    flip_cols: bool = False

    @classmethod
    def of(cls, frame: av.VideoFrame) -> Orientation:
        """The orientation that a decoded frame's side data asks for."""
        try:
            matrix = frame.side_data.get("DISPLAYMATRIX")
        except ValueError:
            # PyAV gives no side data at all where a frame has some of a kind that it has no name for, such as the
            # number of the view in MV-HEVC. It still knows the angle, counterclockwise, but of no mirror.
            quarter_turns = round(-frame.rotation / 90) % 4
            return (cls(), cls(True, flip_cols=True), cls(False, True, True), cls(True, flip_rows=True))[quarter_turns]
        if not isinstance(matrix, Buffer):
            return cls()
        # nine numbers of 32 bits, row by row: a, b, u; c, d, v; x, y, w
        a, b, _, c, d = np.frombuffer(bytes(matrix), dtype=np.int32)[:5].tolist()
        # fixed point numbers (16.16); only signs and the larger of the two matter, so nothing is scaled
        if abs(a) >= abs(b):
            return cls(False, flip_rows=d < 0, flip_cols=a < 0)
        return cls(True, flip_rows=b < 0, flip_cols=c < 0)

    @property
    def rotation_deg(self) -> int:
        """The clockwise turn: 0, 90, 180 or 270. Where the picture is also mirrored, the turn before the mirroring."""
        if self.transpose:
            return 270 if self.flip_rows else 90
        return 180 if self.flip_rows else 0

    @property
    def mirrored(self) -> bool:
        """Whether left and right are exchanged after the turn."""
        return self.flip_rows ^ self.flip_cols ^ self.transpose

    def apply(self, picture: np.ndarray) -> np.ndarray:
        """(rows, cols, channels) as stored to (height, width, channels) as displayed, without a copy."""
        if self.transpose:
            picture = picture.transpose(1, 0, 2)
        if self.flip_rows:
            picture = picture[::-1]
        return picture[:, ::-1] if self.flip_cols else picture


class RgbConverter:
    """Turns the decoded frames of a video upright and into RGB, and scales them while at it.

    Args:
        path: File, for the log.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = path
        self._reformatter = VideoReformatter()  # kept, because it sets up its scaler once for frames that are alike
        self._colorspace: Colorspace | None = None  # the frame's own

    def convert(self, frame: av.VideoFrame, orientation: Orientation, size: tuple[int, int]) -> np.ndarray:
        """A decoded frame as displayed: uint8 (height, width, 3) of this size."""
        try:
            picture = self._scaled(frame, orientation, size)
        except (av.error.FFmpegError, ValueError) as error:  # a matrix that FFmpeg's scaler has not, such as YCgCo
            logger.warning("%s: colours of matrix %s are read as BT.709 (%s)", self.path, frame.colorspace, error)
            self._colorspace = Colorspace.ITU709
            picture = self._scaled(frame, orientation, size)
        return orientation.apply(picture.to_ndarray())

    def _scaled(self, frame: av.VideoFrame, orientation: Orientation, size: tuple[int, int]) -> av.VideoFrame:
        height, width = size
        return self._reformatter.reformat(
            frame,
            # the size of the picture as stored: it is turned after scaling, by a view of the array
            width=height if orientation.transpose else width,
            height=width if orientation.transpose else height,
            format="rgb24",
            src_colorspace=self._colorspace,
            dst_colorspace=self._colorspace,
            interpolation="BILINEAR",
            threads=1,  # waiting for others costs more than a small picture takes
        )


def fitted_size(frame: av.VideoFrame, orientation: Orientation, max_side_px: int | None) -> tuple[int, int]:
    """(height, width) of a frame as displayed, scaled down so that its longer side is at most `max_side_px`."""
    height, width = (frame.width, frame.height) if orientation.transpose else (frame.height, frame.width)
    scale = min(1.0, max_side_px / max(height, width)) if max_side_px else 1.0
    return max(1, round(height * scale)), max(1, round(width * scale))
