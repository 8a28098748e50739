"""Which frames of a video to look at."""

from __future__ import annotations

import math

import numpy as np


def uniform_indices(num_frames: int, num_samples: int) -> list[int]:
    """The middle frames of `num_samples` equal segments: `floor((i + 0.5) * num_frames / num_samples)`.

    A video that is shorter than the number of samples repeats frames, in order.

    Raises:
        ValueError: either number is below 1.
    """
    _check_counts(num_frames, num_samples)
    # in whole numbers: the same formula without the rounding of floats
    return [(2 * i + 1) * num_frames // (2 * num_samples) for i in range(num_samples)]


def jittered_indices(num_frames: int, num_samples: int, rng: np.random.Generator) -> list[int]:
    """A random frame of each of `num_samples` equal segments, in order: the sampling of training clips.

    The position within a segment is drawn on the continuous time axis, so that segments which do not hold a whole
    number of frames are drawn from fairly, and short videos repeat frames.

    Raises:
        ValueError: either number is below 1.
    """
    _check_counts(num_frames, num_samples)
    positions = (np.arange(num_samples) + rng.random(num_samples)) * num_frames / num_samples
    return np.minimum(positions.astype(int), num_frames - 1).tolist()


def fps_timestamps(duration_s: float, fps: float) -> list[float]:
    """The times 0, 1 / fps, 2 / fps, ... before `duration_s`; at least the first one.

    Raises:
        ValueError: a duration below zero, fps not above zero, or either not finite.
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
