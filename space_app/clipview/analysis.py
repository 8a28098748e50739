"""What a model makes of a clip: its answer, the answers of three temporal views, and where it looks.

A classifier answers with a label for the clip, a segmentation model with a label for every moment of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from vidreason.attention.normalize import normalize_attention
from vidreason.attention.visualize import seen_rectangle
from vidreason.clips.transforms import evaluation_transform, input_size
from vidreason.guidance import GridMap
from vidreason.rs.losses import segment_divergence
from vidreason.segmentation.labelling import ActionSegment

from .checkpoints import SEGMENTATION, Checkpoint
from .limits import Deadline
from .reading import Clip
from .segmentation import label_clip, mean_views, time_shares

VIEWS = ("immediate", "contextual", "narrative")
"""The first 20 % of the frames, the middle 60 %, all (section 2.3.2)."""

_FRAMES_AT_ONCE = 64
_TINY = torch.finfo(torch.float32).tiny  # a probability of 0 has no logarithm


@dataclass(frozen=True, eq=False)
class Analysis:
    """What a model makes of a clip.

    Args:
        labels: Names of the labels, in the order of their ids.
        shares: (labels,) floats that sum to 1: probabilities of the whole clip; for a segmentation model the share
            of the clip's time that has each label.
        views: (3, labels) probabilities of `VIEWS`; for a segmentation model the means over their frames.
        divergence: Divergence of the views in nats: 0 where they agree, log 3 at most.
        attention: A distribution over the model's tokens for each picture of the drawn video.
        segments: Actions of the clip from its beginning to its end, by a segmentation model; else None.
    """

    labels: list[str]
    shares: np.ndarray
    views: np.ndarray
    divergence: float
    attention: list[GridMap]
    segments: list[ActionSegment] | None = None

    def top(self, count: int = 5) -> list[tuple[str, float]]:
        """The labels with the largest shares, the largest first."""
        order = np.argsort(-self.shares, kind="stable")[:count]
        return [(self.labels[index], float(self.shares[index])) for index in order]


def analyse(checkpoint: Checkpoint, clip: Clip, deadline: Deadline) -> Analysis:
    """Put a clip through a model.

    A classifier's answer comes from the frames that its video processor samples, a segmentation model's from frames
    at its own rate. Where the attention in a frame depends on that frame alone (TSViT), it is asked for every picture
    that is shown; otherwise pictures get the attention of the nearest sampled frame.

    Args:
        checkpoint: Model that is asked.
        clip: Clip that was read with the model's number of frames, or at its rate.
        deadline: Time at which the request is given up.

    Raises:
        Refused: The time is over.
    """
    with checkpoint.lock:
        return (_segmented if checkpoint.task == SEGMENTATION else _classified)(checkpoint, clip, deadline)


def _classified(checkpoint: Checkpoint, clip: Clip, deadline: Deadline) -> Analysis:
    sampled = clip.sampled[checkpoint.num_frames]
    outputs = _forward(checkpoint, clip.frames[sampled])
    if checkpoint.per_frame:
        weights = _attention_of_pictures(checkpoint, clip, deadline)
    else:
        attention = normalize_attention(outputs["frame_attention"][0]).numpy()
        weights = attention[_nearest(clip.times_s[sampled], clip.shown_times_s)]
    views = outputs["segment_logits"].float()
    return Analysis(
        labels=checkpoint.labels,
        shares=outputs["logits"][0].float().softmax(dim=-1).numpy(),
        views=views[0].softmax(dim=-1).numpy(),
        divergence=float(segment_divergence(views)[0]),
        attention=_maps(checkpoint, clip, weights),
    )


def _segmented(checkpoint: Checkpoint, clip: Clip, deadline: Deadline) -> Analysis:
    segments, probabilities = label_clip(checkpoint, clip, deadline)
    views = mean_views(probabilities)
    return Analysis(
        labels=checkpoint.labels,
        shares=time_shares(segments, checkpoint.labels),
        views=views.numpy(),
        divergence=float(segment_divergence(views.clamp_min(_TINY).log().unsqueeze(0))[0]),
        attention=_maps(checkpoint, clip, _attention_of_pictures(checkpoint, clip, deadline)),
        segments=segments,
    )


def _maps(checkpoint: Checkpoint, clip: Clip, weights: np.ndarray) -> list[GridMap]:
    """weights: (pictures, tokens) float -> a map of each picture."""
    rectangle = seen_rectangle(checkpoint.processor, clip.facts.height, clip.facts.width)
    return [GridMap(frame, _token_grid(checkpoint), rectangle) for frame in weights]


def _token_grid(checkpoint: Checkpoint) -> tuple[int, int]:
    return checkpoint.model.token_grid(*input_size(checkpoint.processor))


@torch.inference_mode()
def _forward(checkpoint: Checkpoint, frames: np.ndarray):
    """frames: (frames, height, width, 3), uint8 -> the outputs for them as one clip."""
    transform = evaluation_transform(checkpoint.processor, _token_grid(checkpoint))
    pixel_values = transform(frames, [None] * len(frames)).pixel_values
    return checkpoint.model(pixel_values=pixel_values.unsqueeze(0))


def _attention_of_pictures(checkpoint: Checkpoint, clip: Clip, deadline: Deadline) -> np.ndarray:
    """(pictures, tokens), each summing to 1: every frame that is shown is looked at once, some at a time."""
    positions, places = np.unique(clip.shown, return_inverse=True)
    parts = []
    for start in range(0, len(positions), _FRAMES_AT_ONCE):
        deadline.check()
        outputs = _forward(checkpoint, clip.frames[positions[start : start + _FRAMES_AT_ONCE]])
        parts.append(normalize_attention(outputs["frame_attention"][0]).numpy())
    return np.concatenate(parts)[places]


def _nearest(times_s: np.ndarray, wanted_s: list[float]) -> np.ndarray:
    """For each time that is wanted, the position of the nearest of `times_s`, the earlier one of two as near."""
    return np.abs(np.asarray(times_s)[None, :] - np.asarray(wanted_s)[:, None]).argmin(axis=1)
