"""Reading a visitor's video: its limits, its facts, and the frames that are shown and given to models."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from vidreason.video import decode_frames, fps_timestamps, probe_video, uniform_indices
from vidreason.video.decode import nearest_places, read_frame_table
from vidreason.video.frame_table import FrameTable

from .limits import check_file, check_statements, too_large, too_long, too_much
from .settings import Drawing, Limits


@dataclass(frozen=True)
class ClipFacts:
    """What is known of a video.

    Args:
        width: Width of the picture as displayed, in pixels.
        height: Height of the picture as displayed, in pixels.
        num_frames: Number of frames of the video.
        duration_s: Length of the video in seconds.
        fps: Frames per second, on average.
        rotation_deg: Degrees that the stored picture is turned clockwise to be displayed.
    """

    width: int
    height: int
    num_frames: int
    duration_s: float
    fps: float
    rotation_deg: int


@dataclass(frozen=True, eq=False)
class Clip:
    """A video as far as it is looked at.

    Args:
        facts: What is known of the video.
        frames: (frames, height, width, 3) uint8, each frame once, as displayed, scaled down.
        times_s: (frames,) float, the time of each frame in seconds.
        shown: Positions in `frames` of the pictures of the drawn video, at a constant rate.
        shown_fps: Pictures a second of the drawn video.
        sampled: Number of frames that a model takes -> positions in `frames` that it is given.
        at_rate: Frames per second that a model takes -> positions in `frames` of the times 0, 1 / rate, 2 / rate, ...
        num_replaced: How many of `frames` do not decode, so that the next one that does stands in.
    """

    facts: ClipFacts
    frames: np.ndarray
    times_s: np.ndarray
    shown: list[int]
    shown_fps: float
    sampled: dict[int, list[int]]
    at_rate: dict[float, list[int]] = field(default_factory=dict)
    num_replaced: int = 0

    @property
    def shown_times_s(self) -> list[float]:
        """When each picture of the drawn video is shown."""
        return [position / self.shown_fps for position in range(len(self.shown))]


def read_clip(
    path: str | os.PathLike,
    frame_counts: Sequence[int],
    limits: Limits,
    drawing: Drawing,
    rates: Sequence[float] = (),
) -> Clip:
    """Check a video against the limits and decode what is shown of it and given to models.

    Args:
        path: File to read.
        frame_counts: Numbers of frames that models take of the whole video.
        limits: Limits of the video.
        drawing: Size and rate of what is shown.
        rates: Frames per second that models take.

    Raises:
        Refused: The video breaks a limit.
        VideoError: The video cannot be read.
    """
    check_file(path, limits)
    check_statements(path, limits)
    table = read_frame_table(path, limits.max_pixels)
    if table.duration_s > limits.max_duration_s + 0.5 or len(table) > limits.max_frames:
        raise too_long(limits)
    info = probe_video(path, max_pixels=limits.max_pixels)
    if max(info.width, info.height) > limits.max_side_px:
        raise too_large(limits)
    if info.width * info.height * len(table) > limits.max_decoded_pixels:  # frames may be larger than the header says
        raise too_much()
    facts = ClipFacts(info.width, info.height, len(table), table.duration_s, table.fps, info.rotation_deg)
    shown_fps = min(drawing.max_fps, table.fps)
    shown = _at_rate(table, shown_fps)
    sampled = {count: uniform_indices(len(table), count) for count in frame_counts}
    at_rate = {rate: _at_rate(table, rate) for rate in rates}
    wanted = sorted({*shown, *(index for group in (sampled, at_rate) for part in group.values() for index in part)})
    sizes = {"max_side_px": drawing.max_side_px, "max_pixels": limits.max_pixels}
    decoded = decode_frames(path, wanted, **sizes, stand_ins=True)  # the same pictures as a checkpoint's own processor
    position_of = {index: position for position, index in enumerate(wanted)}
    return Clip(
        facts=facts,
        frames=decoded.frames,
        times_s=table.times_s[wanted],
        shown=[position_of[index] for index in shown],
        shown_fps=shown_fps,
        sampled={count: [position_of[index] for index in indices] for count, indices in sampled.items()},
        at_rate={rate: [position_of[index] for index in indices] for rate, indices in at_rate.items()},
        num_replaced=len(decoded.stand_ins),
    )


def _at_rate(table: FrameTable, fps: float) -> list[int]:
    """The frames nearest to the times 0, 1 / fps, 2 / fps, ..."""
    return nearest_places(table.times_s, np.asarray(fps_timestamps(table.duration_s, fps))).tolist()
