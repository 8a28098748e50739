"""A label for every moment of a clip, by the library's own labelling of long videos."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from modeling_tsvit.modeling_tsvit import segment_means
from vidreason.segmentation.labelling import ActionSegment, VideoLabeller
from vidreason.video.streaming import TimedFrame

from .checkpoints import Checkpoint
from .limits import Deadline
from .reading import Clip

BACKGROUND = ("background",)
"""Labels of pauses, as in the library's commands: drawn pale, and in no subtitle."""


def label_clip(checkpoint: Checkpoint, clip: Clip, deadline: Deadline) -> tuple[list[ActionSegment], torch.Tensor]:
    """The segments of a clip, as `vidreason.segmentation` finds them in its file, up to the scaling of the frames.

    Args:
        checkpoint: Segmentation model that is asked.
        clip: Clip that was read at the model's rate.
        deadline: Time at which the request is given up.

    Returns:
        Segments from the beginning to the end without gaps, and probabilities (frames, labels), float32.

    Raises:
        Refused: The time is over.
    """
    labeller = VideoLabeller(checkpoint.model, checkpoint.processor)
    # the frames are decoded already: there is nothing for a thread to do
    labelled = list(labeller.label(_timed_frames(clip, checkpoint.frames_per_second, deadline), overlapped=False))
    segments = list(labeller.segments(labelled, clip.facts.duration_s))
    return segments, torch.cat([part.logits for part in labelled]).softmax(dim=-1)


def _timed_frames(clip: Clip, rate: float, deadline: Deadline) -> Iterator[TimedFrame]:
    for number, position in enumerate(clip.at_rate[rate]):
        deadline.check()
        yield TimedFrame(number / rate, clip.frames[position])


def time_shares(segments: Sequence[ActionSegment], labels: Sequence[str]) -> np.ndarray:
    """(labels,): the share of the time that each label has.

    Args:
        segments: Segments without gaps.
        labels: Names of the labels, in the order of their ids.
    """
    shares = np.zeros(len(labels))
    for segment in segments:
        shares[labels.index(segment.label)] += segment.end_s - segment.start_s
    return shares / shares.sum()


def mean_views(probabilities: torch.Tensor) -> torch.Tensor:
    """What is said of the first 20 % of the frames, the middle 60 % and all of them (section 2.3.2), on average.

    Args:
        probabilities: (frames, labels) float32.

    Returns:
        (3, labels) float32, each row summing to 1.
    """
    return segment_means(probabilities.unsqueeze(0), torch.tensor([len(probabilities)]))[0]
