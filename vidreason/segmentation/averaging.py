"""Scores averaged over neighbouring frames.

A frame is seldom enough to tell an action, and a model that was trained on frames changes its mind within one: each
change is a segment too many (over-segmentation), which hardly any frame-wise loss or score notices. The mean of the
scores over a stretch that is centred on the frame is the simplest remedy. It belongs to the model: evaluation and
labelling do the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch.nn.functional import avg_pool1d


@dataclass(frozen=True)
class LabelledFrames:
    """Frames whose scores are final.

    Args:
        timestamps_s: (frames,): Time of each frame in seconds.
        logits: (frames, labels), float32.
    """

    timestamps_s: list[float]
    logits: torch.Tensor


def frames_each_side(seconds: float | None, fps: float) -> int:
    """Frames before and after one that its mean takes in.

    Args:
        seconds: Length in seconds of what the mean is over, the frame in the middle; None or 0 for none.
        fps: Sampled frames per second.
    """
    return int(round((seconds or 0.0) * fps, 6) / 2)  # rounded: 0.6 s at 10 fps are 6 frames, not 5.999...


def average_scores(logits: torch.Tensor, each_side: int) -> torch.Tensor:
    """The mean of every frame's scores and its neighbours', of which there are fewer at the ends of a video.

    Args:
        logits: (frames, labels).
        each_side: Frames before and after one that its mean takes in, >= 0.

    Returns:
        Shape (frames, labels).
    """
    if each_side == 0 or len(logits) == 0:
        return logits
    width = 2 * each_side + 1
    # along frames; the padding does not count, so that the ends are means of what there is
    pooled = avg_pool1d(logits.T[None], width, stride=1, padding=each_side, count_include_pad=False)
    return pooled[0].T


def averaged(labelled: Iterable[LabelledFrames], each_side: int) -> Iterator[LabelledFrames]:
    """Averaged scores of a video that comes in parts: each frame as soon as the last of its neighbours is there.

    What is held is `each_side` frames before those that were not given yet, and no more.

    Args:
        labelled: Frames in order.
        each_side: Frames before and after one that its mean takes in, >= 0.
    """
    if each_side == 0:
        yield from labelled
        return
    timestamps_s: list[float] = []
    logits: torch.Tensor | None = None
    given = 0  # how many of the frames that are held
    for frames in labelled:
        timestamps_s += frames.timestamps_s
        logits = frames.logits if logits is None else torch.cat((logits, frames.logits))
        ready = len(timestamps_s) - each_side
        if ready > given:
            yield LabelledFrames(timestamps_s[given:ready], average_scores(logits, each_side)[given:ready])
            # frames that no mean will take in any more; a copy, since a view would keep all of them alive
            forgotten = max(0, ready - each_side)
            timestamps_s, logits, given = timestamps_s[forgotten:], logits[forgotten:].clone(), ready - forgotten
    if logits is not None:
        yield LabelledFrames(timestamps_s[given:], average_scores(logits, each_side)[given:])
