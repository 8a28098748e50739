"""Which frames of a video a model is shown with a question, and at which times: decided here and by no processor.

A video file, a folder of numbered pictures, frames with a rate and frames with times give the same pixels and the same
times where they hold the same frames. Of the part that is asked about, `num_frames` equal pieces are cut by time, and
of each the frame that is on show at its middle is taken. At a constant rate these are the frames of
`vidreason.video.uniform_indices`; at a variable rate they stay uniform in time. A part with fewer frames than that
repeats some of them, in order, so that every question of a run has the same number.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..errors import ConfigError, QuestionError, VideoError
from ..video import decode_frames
from ..video.decode import read_frame_table

MAX_PIXELS = 2**26
"""Largest width x height of a frame that is decoded: twice 8K video, and a quarter of a gigabyte of memory."""

_TOLERANCE_S = 6e-4
# Matroska rounds times to milliseconds: a frame that is due so little after a middle counts as on show there.

_PICTURE_NAME = re.compile(r"(\d{1,9})\.(?:png|jpe?g)", re.IGNORECASE)


@dataclass(frozen=True)
class FrameSampling:
    """How many frames are shown, and how large.

    Args:
        num_frames: Frames of each question.
        max_side_px: Longer side in pixels that frames are scaled down to, keeping the aspect ratio; None keeps their
            size. A model's processor scales them further to what the model takes.

    Raises:
        ConfigError: A number is too small.
    """

    num_frames: int = 8
    max_side_px: int | None = 224

    def __post_init__(self) -> None:
        if self.num_frames < 1:
            raise ConfigError(f"num_frames is {self.num_frames}, expected at least 1")
        if self.max_side_px is not None and self.max_side_px < 16:
            raise ConfigError(f"max_side_px is {self.max_side_px}, expected at least 16")


SAMPLINGS = {"step": FrameSampling(8, 224), "cotasks": FrameSampling(64, None)}
"""As the papers evaluate: STEP (section 4.1) with 8 frames at 224 pixels, CoTasks (section 4.1) with 64 frames."""


@dataclass(frozen=True, eq=False)
class ShownFrames:
    """What a model is shown of a video.

    Attributes:
        frames: RGB as displayed, uint8 (num_frames, height, width, 3).
        timestamps_s: Time of each in seconds from the start of the video, also where only a part of it is shown.
        frame_indices: Decode index of each, from 0; of pictures in a folder their number less the first number.
        start_s: Start of the part that is shown, in seconds.
        end_s: Its end, exclusive.
        duration_s: Seconds that the whole video lasts.
    """

    frames: np.ndarray
    timestamps_s: tuple[float, ...]
    frame_indices: tuple[int, ...]
    start_s: float
    end_s: float
    duration_s: float

    def __len__(self) -> int:
        return len(self.frames)


@dataclass(frozen=True, eq=False)
class Timeline:
    """When each frame of a video is on show.

    Args:
        times_s: Time of each frame in seconds from the start of the video, float64 (frames,), ascending.
        shown_from_s: From when each is on show, float64 (frames,): its time, but where frames before it are missing.
        duration_s: Seconds from the start of the video to the end of its last frame.
    """

    times_s: np.ndarray
    shown_from_s: np.ndarray
    duration_s: float

    def sample(self, num_frames: int, start_s: float | None, end_s: float | None) -> list[int]:
        """Positions of the frames that are on show at the middles of equal pieces of a part of the video.

        Args:
            num_frames: Number of pieces.
            start_s: Start of the part in seconds; None for that of the video.
            end_s: End of the part in seconds, exclusive; None for that of the video.

        Returns:
            Positions in `times_s`, ascending; repeated where there are fewer frames than pieces.

        Raises:
            QuestionError: The part is empty, or none of it lies in the video.
        """
        start_s, end_s = self.part(start_s, end_s)
        middles_s = start_s + (np.arange(num_frames) + 0.5) * (end_s - start_s) / num_frames
        on_show = np.searchsorted(self.shown_from_s, middles_s + _TOLERANCE_S, side="right") - 1
        return on_show.clip(min=0).tolist()

    def part(self, start_s: float | None, end_s: float | None) -> tuple[float, float]:
        """A part of the video, cut at the video's own ends.

        Raises:
            QuestionError: As `sample`.
        """
        start = 0.0 if start_s is None or math.isnan(start_s) else max(0.0, start_s)
        end = self.duration_s if end_s is None or math.isnan(end_s) else min(end_s, self.duration_s)
        if not start < end:
            asked = (
                f"{'start' if start_s is None else f'{start_s:g} s'} to {'end' if end_s is None else f'{end_s:g} s'}"
            )
            raise QuestionError(f"no frame is in the part that is asked about, {asked} of {self.duration_s:.3f} s")
        return start, end


def show_video(
    path: str | os.PathLike,
    sampling: FrameSampling,
    start_s: float | None = None,
    end_s: float | None = None,
    frames_per_second: float | None = None,
    first_number: int = 1,
) -> ShownFrames:
    """What is shown of a video file, or of a folder of pictures that are named by their frame's number.

    Args:
        path: Video file, or folder of PNG or JPEG files such as `000027.png`; frames may be missing from it, and each
            then also stands for those around it.
        sampling: How many frames, and how large.
        start_s: Start of the part that is asked about, in seconds; None for that of the video.
        end_s: Its end, exclusive; None for that of the video.
        frames_per_second: Rate of the video that a folder's pictures are from. A file has its own times.
        first_number: Number of the video's first frame in a folder: 1 as FFmpeg writes them.

    Raises:
        VideoError: The video cannot be read.
        QuestionError: None of it is in the part that is asked about, or a folder has no rate.
    """
    if Path(path).is_dir():
        return _show_folder(Path(path), sampling, start_s, end_s, frames_per_second, first_number)
    table = read_frame_table(path, MAX_PIXELS)
    timeline = Timeline(table.times_s, table.times_s, table.duration_s)

    def read(positions: list[int]) -> np.ndarray:
        # at full size, so that frames that were decoded elsewhere are scaled by the same code
        return decode_frames(path, indices=positions, max_pixels=MAX_PIXELS, stand_ins=True).frames

    return _show(timeline, range(len(table)), read, sampling, (start_s, end_s))


def show_frames(
    frames: Any,
    sampling: FrameSampling,
    frames_per_second: float | None = None,
    timestamps_s: Sequence[float] | None = None,
    start_s: float | None = None,
    end_s: float | None = None,
) -> ShownFrames:
    """What is shown of a video whose frames are at hand.

    Args:
        frames: All frames: uint8 array or torch tensor, (frames, height, width, 3) or (frames, 3, height, width), or a
            sequence of such pictures or of PIL images.
        sampling: How many frames, and how large.
        frames_per_second: Rate of the frames. Either this or `timestamps_s` is given.
        timestamps_s: Time of each frame in seconds, ascending, where the rate varies.
        start_s: Start of the part that is asked about, in seconds; None for that of the video.
        end_s: Its end, exclusive; None for that of the video.

    Raises:
        QuestionError: These are no frames, their times are missing or do not rise, or none is in the part.
    """
    pictures = _as_pictures(frames)
    timeline = _timeline_of(len(pictures), frames_per_second, timestamps_s)
    return _show(timeline, range(len(pictures)), lambda chosen: pictures[chosen], sampling, (start_s, end_s))


def _show(
    timeline: Timeline,
    frame_indices: Sequence[int],
    read: Callable[[list[int]], np.ndarray],
    sampling: FrameSampling,
    asked: tuple[float | None, float | None],
) -> ShownFrames:
    start_s, end_s = timeline.part(*asked)
    positions = timeline.sample(sampling.num_frames, start_s, end_s)
    chosen = sorted(set(positions))
    pictures = scale_down(read(chosen), sampling.max_side_px)
    where = {position: row for row, position in enumerate(chosen)}
    return ShownFrames(
        frames=pictures[[where[position] for position in positions]],
        timestamps_s=tuple(float(timeline.times_s[position]) for position in positions),
        frame_indices=tuple(int(frame_indices[position]) for position in positions),
        start_s=start_s,
        end_s=end_s,
        duration_s=timeline.duration_s,
    )


def scale_down(pictures: np.ndarray, max_side_px: int | None) -> np.ndarray:
    """Pictures whose longer side is at most so long; smaller ones stay as they are.

    Args:
        pictures: uint8 (frames, height, width, 3).
        max_side_px: Longer side in pixels; None for any.

    Returns:
        uint8 (frames, new height, new width, 3).
    """
    height, width = pictures.shape[1:3]
    if max_side_px is None or max(height, width) <= max_side_px:
        return pictures
    scale = max_side_px / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    # Pillow's bicubic filter widens as it scales down, so that nothing aliases; in whole numbers, alike everywhere
    resized = [np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC)) for picture in pictures]
    return np.stack(resized)


def _timeline_of(num_frames: int, frames_per_second: float | None, timestamps_s: Sequence[float] | None) -> Timeline:
    if (frames_per_second is None) == (timestamps_s is None):
        raise QuestionError("frames want either a rate (frames_per_second) or their times (timestamps_s)")
    if timestamps_s is None:
        rate = _checked_rate(frames_per_second)
        times_s = np.arange(num_frames) / rate
        return Timeline(times_s, times_s, num_frames / rate)
    times_s = np.asarray(timestamps_s, dtype=np.float64)
    if times_s.shape != (num_frames,) or not np.isfinite(times_s).all() or (np.diff(times_s) <= 0).any():
        raise QuestionError(f"{num_frames} frames want as many times in seconds, each later than the one before")
    # the last frame is shown for about as long as the others; a single one for as long as one of 25 a second
    last_s = float(np.median(np.diff(times_s))) if num_frames > 1 else 1 / 25
    return Timeline(times_s, times_s, float(times_s[-1]) + last_s)


def _checked_rate(frames_per_second: float | None) -> float:
    if frames_per_second is None or not 0 < frames_per_second < math.inf:
        raise QuestionError(f"frames_per_second is {frames_per_second}, expected a number above 0")
    return frames_per_second


def _as_pictures(frames: Any) -> np.ndarray:
    """Frames as uint8 (frames, height, width, 3)."""
    if isinstance(frames, Sequence) and len(frames):
        frames = [np.asarray(frame.convert("RGB") if isinstance(frame, Image.Image) else frame) for frame in frames]
        if len({frame.shape for frame in frames}) > 1:
            raise QuestionError("frames of unequal sizes are no video")
        frames = np.stack(frames)
    # a tensor of torch knows how to become an array; this file does not load torch for it
    pictures = np.asarray(frames)
    if pictures.ndim != 4 or 0 in pictures.shape or pictures.dtype != np.uint8 or 3 not in pictures.shape[1::2]:
        raise QuestionError(
            f"frames are {pictures.dtype} of shape {pictures.shape}, expected uint8 (frames, height, width, 3) or "
            "(frames, 3, height, width)"
        )
    return pictures if pictures.shape[3] == 3 else pictures.transpose(0, 2, 3, 1)


# Folders of pictures


def _show_folder(
    folder: Path,
    sampling: FrameSampling,
    start_s: float | None,
    end_s: float | None,
    frames_per_second: float | None,
    first_number: int,
) -> ShownFrames:
    files = _numbered_pictures(folder)
    if not files:
        raise VideoError(folder, "no_frames", "no picture in it is named by a number")
    rate = _checked_rate(frames_per_second)
    indices = [number - first_number for number in files]
    if indices[0] < 0:
        raise VideoError(folder, "no_frames", f"a picture is numbered below {first_number}, the first frame's number")
    times_s = np.asarray(indices) / rate
    # a picture also stands for the nearer half of the frames that are missing before it
    shown_from_s = times_s.copy()
    gaps = np.diff(indices)
    shown_from_s[1:] -= np.where(gaps > 1, gaps / 2, 0) / rate
    timeline, paths = Timeline(times_s, shown_from_s, (indices[-1] + 1) / rate), list(files.values())
    return _show(
        timeline, indices, lambda chosen: _read_pictures([paths[i] for i in chosen]), sampling, (start_s, end_s)
    )


def _numbered_pictures(folder: Path) -> dict[int, Path]:
    """Number -> file, by number."""
    found: dict[int, Path] = {}
    for path in sorted(folder.iterdir()):
        if match := _PICTURE_NAME.fullmatch(path.name):
            number = int(match[1])
            if number in found:
                raise VideoError(folder, "decode_failed", f"{found[number].name} and {path.name} have one number")
            found[number] = path
    return dict(sorted(found.items()))


def _read_pictures(paths: Sequence[Path]) -> np.ndarray:
    """uint8 (frames, height, width, 3)."""
    pictures = []
    for path in paths:
        try:
            with Image.open(path, formats=("PNG", "JPEG")) as picture:
                if picture.width * picture.height > MAX_PIXELS:  # before anything is decoded
                    raise VideoError(path, "too_large", f"{picture.width}x{picture.height} pixels")
                pictures.append(np.asarray(picture.convert("RGB")))
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise VideoError(path, "decode_failed", str(error)) from error
    if len({picture.shape for picture in pictures}) > 1:
        raise VideoError(paths[0].parent, "decode_failed", "pictures of unequal sizes are no video")
    return np.stack(pictures)
