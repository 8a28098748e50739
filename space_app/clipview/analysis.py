"""What a model makes of a clip: its answer, the answers of three temporal views, and where it looks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from vidreason.guidance import GridMap
from vidreason.rs.losses import normalize_attention, segment_divergence
from vidreason.rs.transforms import evaluation_transform, input_size
from vidreason.rs.visualize import seen_rectangle

from .checkpoints import Checkpoint
from .limits import Deadline
from .reading import Clip

VIEWS = ("immediate", "contextual", "narrative")
"""The first 20 % of the frames, the middle 60 %, all (section 2.3.2)."""

_FRAMES_AT_ONCE = 64


@dataclass(frozen=True, eq=False)
class Analysis:
    """What a model makes of a clip.

    Args:
        labels: names, in order.
        probabilities: (labels,), of the whole clip.
        views: (3, labels), probabilities of `VIEWS`.
        divergence: of the views, in nats: 0 where they agree, log 3 at most.
        attention: for each picture of the drawn video, a distribution over the model's tokens.
    """

    labels: list[str]
    probabilities: np.ndarray
    views: np.ndarray
    divergence: float
    attention: list[GridMap]

    def top(self, count: int = 5) -> list[tuple[str, float]]:
        """The likeliest labels with their probabilities, the likeliest first."""
        order = np.argsort(-self.probabilities, kind="stable")[:count]
        return [(self.labels[index], float(self.probabilities[index])) for index in order]


def analyse(checkpoint: Checkpoint, clip: Clip, deadline: Deadline) -> Analysis:
    """Put a clip through a model.

    The answer comes from the frames that the model's video processor samples. Where the attention in a frame depends
    on that frame alone (TSViT), it is asked for every picture that is shown; otherwise pictures get the attention of
    the nearest sampled frame.

    Args:
        checkpoint: the model.
        clip: read with the model's number of frames.
        deadline: of the request.

    Raises:
        Refused: the time is over.
    """
    sampled = clip.sampled[checkpoint.num_frames]
    with checkpoint.lock:
        outputs = _forward(checkpoint, clip.frames[sampled])
        if checkpoint.per_frame:
            weights = _attention_of_frames(checkpoint, clip.frames, deadline)[clip.shown]
        else:
            attention = normalize_attention(outputs["frame_attention"][0]).numpy()
            weights = attention[_nearest(clip.times_s[sampled], clip.shown_times_s)]
    views = outputs["segment_logits"].float()
    grid = _token_grid(checkpoint)
    rectangle = seen_rectangle(checkpoint.processor, clip.facts.height, clip.facts.width)
    return Analysis(
        labels=checkpoint.labels,
        probabilities=outputs["logits"][0].float().softmax(dim=-1).numpy(),
        views=views[0].softmax(dim=-1).numpy(),
        divergence=float(segment_divergence(views)[0]),
        attention=[GridMap(frame, grid, rectangle) for frame in weights],
    )


def _token_grid(checkpoint: Checkpoint) -> tuple[int, int]:
    return checkpoint.model.token_grid(*input_size(checkpoint.processor))


@torch.inference_mode()
def _forward(checkpoint: Checkpoint, frames: np.ndarray):
    """frames: (frames, height, width, 3), uint8 -> the outputs for them as one clip."""
    transform = evaluation_transform(checkpoint.processor, _token_grid(checkpoint))
    pixel_values = transform(frames, [None] * len(frames)).pixel_values
    return checkpoint.model(pixel_values=pixel_values.unsqueeze(0))


def _attention_of_frames(checkpoint: Checkpoint, frames: np.ndarray, deadline: Deadline) -> np.ndarray:
    """frames: (frames, height, width, 3), uint8 -> (frames, tokens), each summing to 1. Some at a time."""
    parts = []
    for start in range(0, len(frames), _FRAMES_AT_ONCE):
        deadline.check()
        outputs = _forward(checkpoint, frames[start : start + _FRAMES_AT_ONCE])
        parts.append(normalize_attention(outputs["frame_attention"][0]).numpy())
    return np.concatenate(parts)


def _nearest(times_s: np.ndarray, wanted_s: list[float]) -> np.ndarray:
    """For each time that is wanted, the position of the nearest of `times_s`, the earlier one of two as near."""
    return np.abs(np.asarray(times_s)[None, :] - np.asarray(wanted_s)[:, None]).argmin(axis=1)
