"""Means over frames with intervals over videos: frames of one video are alike, so whole videos are drawn anew."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import GuidanceError

FEW_VIDEOS = 10
"""With fewer videos than this, a bootstrap over them gives intervals that are too narrow; reports say so."""

_RESAMPLES_AT_ONCE = 64
"""Bounds memory: counts of (resamples, videos) for thousands of videos would take gigabytes at once."""


@dataclass(frozen=True)
class Bootstrap:
    """How intervals are found.

    Args:
        resamples: Number of times that the videos are drawn anew, with replacement.
        confidence: Share of the resampled means that the interval encloses, between 0 and 1.
        seed: Seed of the draws.
    """

    resamples: int = 1000
    confidence: float = 0.95
    seed: int = 0

    def __post_init__(self):
        if self.resamples < 100:
            raise GuidanceError(f"bootstrap: {self.resamples} resamples, expected at least 100")
        if not 0 < self.confidence < 1:
            raise GuidanceError(f"bootstrap: confidence is {self.confidence}, expected a number between 0 and 1")
        if self.seed < 0:
            raise GuidanceError(f"bootstrap: the seed is {self.seed}, expected 0 or more")


@dataclass(frozen=True)
class Estimate:
    """A mean over frames.

    Args:
        value: The mean; None where no frame has a value.
        low: Lower end of the interval; None where fewer than two videos have a value.
        high: Upper end of the interval; None where `low` is.
    """

    value: float | None = None
    low: float | None = None
    high: float | None = None


def estimate_means(values: np.ndarray, videos: Sequence[str], bootstrap: Bootstrap) -> list[Estimate]:
    """Mean of each column over frames, with a percentile interval by resampling whole videos.

    Every frame counts alike, so a long video weighs more than a short one, in the mean as in its resamples. All
    columns share their resamples: the interval of a difference of columns is that of paired draws.

    Args:
        values: Array of shape (frames, columns), NaN where a frame has no value.
        videos: The video of each frame.
        bootstrap: How intervals are found.

    Returns:
        One estimate for each column.
    """
    numbers = {video: number for number, video in enumerate(sorted(set(videos)))}
    video_of_frame = np.asarray([numbers[video] for video in videos])
    known = ~np.isnan(values)
    sums, counts = np.zeros((2, len(numbers), values.shape[1]))
    np.add.at(sums, video_of_frame, np.where(known, values, 0.0))
    np.add.at(counts, video_of_frame, known)
    return estimate_ratios(sums, counts, bootstrap)


def estimate_ratios(sums: np.ndarray, counts: np.ndarray, bootstrap: Bootstrap) -> list[Estimate]:
    """`estimate_means` from what has been added up by video, so that no value need be kept.

    Args:
        sums: Sum of each video's values, array of shape (videos, columns).
        counts: How many values each video has, array of shape (videos, columns).
        bootstrap: How intervals are found.

    Returns:
        One estimate for each column.
    """
    lows, highs = _percentiles(sums, counts, bootstrap)
    estimates = []
    for column, (total, count) in enumerate(zip(sums.sum(axis=0), counts.sum(axis=0), strict=True)):
        value = float(total / count) if count else None
        has_interval = np.count_nonzero(counts[:, column]) > 1
        interval = (float(lows[column]), float(highs[column])) if has_interval else (None, None)
        estimates.append(Estimate(value, *interval))
    return estimates


def _percentiles(sums: np.ndarray, counts: np.ndarray, bootstrap: Bootstrap) -> tuple[np.ndarray, np.ndarray]:
    """Two arrays of shape (columns,) from sums and counts of shape (videos, columns)."""
    num_videos = len(sums)
    if num_videos < 2:
        return np.full(sums.shape[1], np.nan), np.full(sums.shape[1], np.nan)
    rng = np.random.default_rng(bootstrap.seed)
    parts = []
    for start in range(0, bootstrap.resamples, _RESAMPLES_AT_ONCE):
        size = min(_RESAMPLES_AT_ONCE, bootstrap.resamples - start)
        # how often each video is drawn: the same as drawing video numbers with replacement, and a matrix product then
        drawn = rng.multinomial(num_videos, np.full(num_videos, 1 / num_videos), size=size)
        with np.errstate(invalid="ignore"):  # a draw in which no video has a value is left out by nanquantile
            parts.append((drawn @ sums) / (drawn @ counts))
    means = np.concatenate(parts)
    means = np.where(np.isnan(means).all(axis=0), 0.0, means)  # columns without any value: not used, and no warning
    tail = (1 - bootstrap.confidence) / 2
    low, high = np.nanquantile(means, [tail, 1 - tail], axis=0)
    return low, high
