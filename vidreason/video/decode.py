"""Frames of a video by index or by time, as they are displayed."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from ..errors import VideoError
from .frame_table import FrameTable, count_readable, open_with_table
from .stream import OpenVideo, Orientation, check_pixels, open_video

logger = logging.getLogger(__name__)

# Seeking starts again at a keyframe; where that leaves out fewer frames than this, decoding on is as fast. UCF101 has
# a keyframe every 12 frames: its clips took 19 ms at 16 and 10.6 ms at 4. Files with few keyframes do not care.
_SEEK_GAP_FRAMES = 4


@dataclass(frozen=True, eq=False)
class DecodedFrames:
    """Frames in the order in which they were asked for.

    Attributes:
        frames: uint8 (frames, height, width, 3), RGB, as displayed.
        frame_indices: the native index of each, counted in order of presentation from 0.
        timestamps_s: the presentation time of each; the video's first frame is at 0.0.
        clock: "stream" where these are the file's own times, "counted" where the file has none that hold.
    """

    frames: np.ndarray
    frame_indices: list[int]
    timestamps_s: list[float]
    clock: str = "stream"

    def __len__(self) -> int:
        return len(self.frame_indices)


def decode_frames(
    path: str | os.PathLike,
    indices: Sequence[int] | None = None,
    timestamps_s: Sequence[float] | None = None,
    max_side_px: int | None = None,
    size: tuple[int, int] | None = None,
    tolerance_s: float | None = None,
    max_pixels: int | None = None,
) -> DecodedFrames:
    """Decode the frames asked for, or all of them.

    Rotation and mirror flags are applied. Only the frames asked for are converted to RGB, and scaled while at it.
    A damaged file gives what it holds: all frames that decode where no frames are named, and an error where some of
    the named ones do not decode.

    Args:
        path: a local file.
        indices: native frame indices, in any order, repeats allowed.
        timestamps_s: times, in any order, repeats allowed; each gives the frame that is nearest in presentation time.
        max_side_px: scale down, keeping the aspect ratio, so that the longer side is at most this.
        size: (height, width) of the result as displayed, whatever the aspect ratio.
        tolerance_s: how far a frame may be from the time asked for; None sets no limit.
        max_pixels: the largest stored width x height to accept, looked at before anything is decoded.

    Returns:
        The frames (frames, height, width, 3) with their indices and times. All of them lie in memory: a long video
        wants `indices` or `timestamps_s`.

    Raises:
        ValueError: both of indices and timestamps_s, or of max_side_px and size; an empty request; a negative index.
        VideoError: the file cannot be used; decode_failed where a named frame is not there, does not decode, or is
            farther from a named time than the tolerance.
    """
    _check_request(indices, timestamps_s, max_side_px, size)
    early = None
    if indices is not None:  # known before the file is opened, and taken where all frames are decoded to count them
        early = _Output(path, [int(index) for index in indices], max_side_px, size, max_pixels)
    with open_with_table(path, max_pixels, early.add if early else None) as (video, table):
        requested = _requested_indices(path, table, indices, timestamps_s, tolerance_s)
        output = early or _Output(path, requested, max_side_px, size, max_pixels)
        _decode_into(output, video, path, table, max_pixels)
    if output.missing and indices is None and timestamps_s is None:
        requested = output.keep_decoded()
    if output.missing:
        raise VideoError(path, "decode_failed", _describe_missing(path, output.missing, table))
    times_s = table.times_s[requested].tolist()
    return DecodedFrames(output.frames, requested, times_s, table.clock)


def decode_readable_frames(
    path: str | os.PathLike, indices: Sequence[int], max_side_px: int | None = None
) -> tuple[DecodedFrames | None, dict[int, VideoError]]:
    """The frames named, one by one where damage in the middle of the file keeps some of them from decoding.

    Args:
        path: a local file.
        indices: native frame indices.
        max_side_px: as in `decode_frames`.

    Returns:
        The frames that decode, in the order asked for, None where none does; and for each other index its error.
    """
    try:
        return decode_frames(path, indices=indices, max_side_px=max_side_px), {}
    except VideoError as error:
        if len(indices) == 1:
            return None, {indices[0]: error}
    parts, errors = [], {}
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


def _check_request(indices, timestamps_s, max_side_px, size) -> None:
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


def _requested_indices(path, table: FrameTable, indices, timestamps_s, tolerance_s) -> list[int]:
    if timestamps_s is not None:
        nearest = [table.nearest(timestamp_s) for timestamp_s in timestamps_s]
        for timestamp_s, index in zip(timestamps_s, nearest, strict=True):
            distance_s = abs(table.times_s[index] - timestamp_s)
            if tolerance_s is not None and distance_s > tolerance_s:
                detail = (
                    f"no frame within {tolerance_s:g} s of {timestamp_s:g} s; the nearest is {distance_s:.4g} s off"
                )
                raise VideoError(path, "decode_failed", detail)
        return nearest
    if indices is None:
        return list(range(len(table)))
    requested = [int(index) for index in indices]
    if max(requested) >= len(table):
        detail = f"frame {max(requested)} was asked for, {len(table)} frames are readable"
        raise VideoError(path, "decode_failed", detail)
    return requested


def _decode_into(output: _Output, opened: OpenVideo | None, path, table: FrameTable, max_pixels: int | None) -> None:
    """Decode what the output wants, with a jump to the next keyframe where that saves time.

    Args:
        output: takes the frames.
        opened: the file, at its start, if it is open already.
        path: of the file.
        table: its frames.
        max_pixels: as in `open_video`.
    """
    if not output.missing:
        return
    runs = _plan_runs(table, sorted(output.missing))
    short_cut = opened is not None or any(start for start, _ in runs)
    with nullcontext(opened) if opened is not None else open_video(path, max_pixels) as video:
        # packets' times are those of their frames only where no frame had to be decoded to know them
        skips = not table.decoded and video.can_skip
        wanted_pts = frozenset(table.pts[sorted(output.missing)].tolist()) if skips else None
        for start, stop in runs:
            _decode_run(video, table, start, stop, output, wanted_pts)
    if output.missing and (short_cut or skips):  # a file with a wrong index, or whose frames are not what they say
        with open_video(path, max_pixels) as video:
            _decode_run(video, table, 0, max(output.missing) + 1, output)


def _plan_runs(table: FrameTable, wanted: list[int]) -> list[tuple[int, int]]:
    """Ranges [start, stop) of frames to decode in one go; `start` is a keyframe or 0."""
    runs = [[0, 0]]
    for index in wanted:
        before = table.keyframes[table.keyframes <= index]
        keyframe = int(before[-1]) if len(before) else 0
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
) -> None:
    """Decode the frames [start, stop), and let the output take those that it wants; others may be left out."""
    if start:
        video.container.seek(int(table.pts[start]), stream=video.stream)
    for index, frame in numbered_frames(video, table, wanted_pts):
        if index is None:
            continue
        if index < stop:
            output.add(index, frame)
        if index >= stop - 1:
            break


def numbered_frames(video: OpenVideo, table: FrameTable, wanted_pts: frozenset[int] | None):
    """Frames with their native index, None for a frame that the table does not know."""
    for position, frame in enumerate(video.frames(wanted_pts)):
        yield (position if table.pts is None else table.index_of(frame.pts)), frame


class _Output:
    """The picture of each requested frame, allocated once the first one shows the size."""

    def __init__(self, path, requested: list[int], max_side_px, size, max_pixels):
        self.path, self.requested = path, requested
        self.max_side_px, self.size, self.max_pixels = max_side_px, size, max_pixels
        self.frames: np.ndarray | None = None
        self.missing = set(requested)
        self._positions: dict[int, list[int]] = {}
        for position, index in enumerate(requested):
            self._positions.setdefault(index, []).append(position)
        self._converter = RgbConverter(path)

    def add(self, index: int, frame: av.VideoFrame) -> None:
        if index not in self.missing:
            return
        check_pixels(self.path, frame.width, frame.height, self.max_pixels)
        orientation = Orientation.of(frame)
        if self.frames is None:
            height, width = self.size or fitted_size(frame, orientation, self.max_side_px)
            self.frames = np.empty((len(self.requested), height, width, 3), dtype=np.uint8)
        picture = self._converter.convert(frame, orientation, self.frames.shape[1:3])
        for position in self._positions[index]:  # one by one: a list of positions would copy the picture twice
            self.frames[position] = picture
        self.missing.discard(index)

    def keep_decoded(self) -> list[int]:
        """Drop the frames that are missing, and return the indices that stay."""
        kept = [position for position, index in enumerate(self.requested) if index not in self.missing]
        if kept:
            logger.warning("%s: %d of %d frames do not decode", self.path, len(self.missing), len(self.requested))
            self.frames = self.frames[kept]
            self.missing = set()
        return [self.requested[position] for position in kept]


class RgbConverter:
    """Turns the decoded frames of a video upright and into RGB, and scales them while at it."""

    def __init__(self, path: str | os.PathLike):
        self.path = path
        self._reformatter = VideoReformatter()
        # one thread: waiting for others costs more than a small picture takes
        self._target = {"format": "rgb24", "interpolation": "BILINEAR", "threads": 1}

    def convert(self, frame: av.VideoFrame, orientation: Orientation, size: tuple[int, int]) -> np.ndarray:
        """A decoded frame as displayed: uint8 (height, width, 3) of this size."""
        height, width = size
        stored_width, stored_height = (height, width) if orientation.transpose else (width, height)
        self._target |= {"width": stored_width, "height": stored_height}
        try:
            picture = self._reformatter.reformat(frame, **self._target)
        except (av.error.FFmpegError, ValueError) as error:  # a matrix that FFmpeg's scaler has not, such as YCgCo
            logger.warning("%s: colours of matrix %s are read as BT.709 (%s)", self.path, frame.colorspace, error)
            self._target |= {"src_colorspace": "ITU709", "dst_colorspace": "ITU709"}
            picture = self._reformatter.reformat(frame, **self._target)
        return orientation.apply(picture.to_ndarray())


def fitted_size(frame: av.VideoFrame, orientation: Orientation, max_side_px: int | None) -> tuple[int, int]:
    """(height, width) of a frame as displayed, scaled down so that its longer side is at most `max_side_px`."""
    height, width = (frame.width, frame.height) if orientation.transpose else (frame.height, frame.width)
    scale = min(1.0, max_side_px / max(height, width)) if max_side_px else 1.0
    return max(1, round(height * scale)), max(1, round(width * scale))


def _describe_missing(path, missing: set[int], table: FrameTable) -> str:
    named = ", ".join(map(str, sorted(missing)[:5])) + (", ..." if len(missing) > 5 else "")
    return f"frames {named} do not decode; {count_readable(path, table)} of {len(table)} frames are readable"
