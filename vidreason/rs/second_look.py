"""A second look: a clip is read again, cropped to where the model looked, and both readings are averaged.

Beyond the paper. Evidence zoom (`vidreason.rs.evidence_zoom`) trains on clips cropped to their guidance; here the
model's own attention takes the place of guidance, which nobody has at the time of use. It costs a second pass, whose
frames come from the decoded video and so show more of the evidence than the first.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import Dataset

from ..attention.normalize import normalize_attention
from ..clips.data import GuidedClips
from ..clips.packed import PackedClips
from ..clips.transforms import evaluation_transform, input_size
from ..errors import ConfigError
from ..guidance import FULL_FRAME, GridMap
from ..guidance.geometry import Rectangle, evidence_rectangle, widened
from ..video import decode_frames, probe_video, uniform_indices
from .evidence_zoom import MAX_MARGIN

LOOKED_TWICE = ("top1", "top5", "loss_classification", "loss")
"""Metrics that a second look changes."""

MARGIN = MAX_MARGIN / 2
"""On each side, as a share of the rectangle's: the mean of what evidence zoom draws."""


def attention_excess(frame_attention: torch.Tensor, frame_mask: torch.Tensor | None = None) -> torch.Tensor:
    """How much more attention each token gets, over all frames, than evenly spread attention would give it.

    Args:
        frame_attention: (batch, frames, tokens), non-negative.
        frame_mask: (batch, frames), bool; None counts all frames.

    Returns:
        (batch, tokens) float32, non-negative; all zero where attention is even.
    """
    attention = normalize_attention(frame_attention)
    excess = (attention - 1 / attention.shape[-1]).clamp_min(0.0)
    return (excess if frame_mask is None else excess * frame_mask.unsqueeze(-1)).sum(dim=1)


def attended_rectangles(
    frame_attention: torch.Tensor, token_grid: tuple[int, int], frame_mask: torch.Tensor | None = None
) -> torch.Tensor:
    """The part of each clip that a second look is given.

    Args:
        frame_attention: (batch, frames, tokens), non-negative.
        token_grid: (rows, columns).
        frame_mask: (batch, frames), bool; None counts all frames.

    Returns:
        (batch, 4) float32, x0, y0, x1, y1 in [0, 1] of what the model saw: where the attention is but for outliers,
        with a margin; all of it where attention is even.
    """
    excess = attention_excess(frame_attention, frame_mask).double().cpu().numpy()
    rectangles = [evidence_rectangle([GridMap(one, tuple(token_grid))]) for one in excess]
    found = [FULL_FRAME if one is None else widened(one, (MARGIN,) * 4) for one in rectangles]
    return torch.tensor(found, dtype=torch.float32, device=frame_attention.device).view(-1, 4)


def average_looks(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Logits of the mean of two readings' probabilities: (..., labels), of two arrays of that shape."""
    return np.logaddexp(_log_softmax(first), _log_softmax(second)) - np.log(2)


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    logits = np.asarray(logits, dtype=np.float64)
    return logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)


class SecondLooks(Dataset):
    """The clips of a data set, each cropped to what the model attended to.

    Args:
        clips: that were read once; by index, not streamed.
        rectangles: (clips, 4), see `attended_rectangles`.

    Raises:
        ConfigError: clips come as a stream, or their transform cuts a part of the frame off.
    """

    def __init__(self, clips: GuidedClips | PackedClips, rectangles: np.ndarray):
        check_second_look(clips)
        if len(rectangles) != len(clips):
            raise ConfigError(f"{len(rectangles)} rectangles for {len(clips)} clips")
        self.clips = clips
        self.split = clips.split
        self.rectangles = [tuple(map(float, rectangle)) for rectangle in rectangles]

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> dict:
        return self.clips.read_clip(index, self.rectangles[index])


def check_second_look(clips: Dataset) -> None:
    """Raises ConfigError where clips cannot be looked at twice."""
    if isinstance(clips, torch.utils.data.IterableDataset) or not hasattr(clips, "read_clip"):
        raise ConfigError(
            f"second_look reads clips twice, by index, which {type(clips).__name__} does not give: leave streaming off"
        )
    if not clips.whole_frame:
        raise ConfigError(
            "second_look takes models that see whole frames; this one's processor cuts a part off (do_center_crop)"
        )


@dataclass(frozen=True)
class TwoLooks:
    """What two looks at a clip give.

    Args:
        logits: (labels,) float64, of the mean of both readings' probabilities.
        first_logits: (labels,), of the first.
        second_logits: (labels,), of the second.
        frame_attention: (frames, tokens) float32, of the first.
        rectangle: (x0, y0, x1, y1) in [0, 1] of the frame: what the second was given.
    """

    logits: np.ndarray
    first_logits: np.ndarray
    second_logits: np.ndarray
    frame_attention: np.ndarray
    rectangle: Rectangle


@torch.inference_mode()
def look_twice(model: torch.nn.Module, processor, clip: str | os.PathLike | np.ndarray) -> TwoLooks:
    """Classify one clip with two looks.

    Args:
        model: a supervised view, or TSViT; in evaluation mode.
        processor: its video processor, which must not cut off a part of the frame.
        clip: a file, or frames (frames, height, width, 3), uint8: as many as the model takes, larger than its input
            where the second look is to show more than the first.

    Raises:
        ConfigError: the processor cuts off a part of the frame.
        VideoError: the file cannot be read.
    """
    frames = clip if isinstance(clip, np.ndarray) else _sampled(clip, model.config.num_frames)
    transform = evaluation_transform(processor, model.token_grid(*input_size(processor)))
    if not transform.whole_frame:
        raise ConfigError(f"{type(processor).__name__} cuts off a part of the frame (do_center_crop)")
    no_maps: Sequence[None] = [None] * len(frames)

    def read(rectangle: Rectangle | None):
        pixel_values = transform(frames, no_maps, rectangle).pixel_values.unsqueeze(0)
        return model(pixel_values=pixel_values.to(next(model.parameters()).device))

    first = read(None)
    rectangle = tuple(attended_rectangles(first.frame_attention, transform.token_grid)[0].tolist())
    second = read(rectangle)
    logits = [output.logits[0].float().cpu().numpy() for output in (first, second)]
    return TwoLooks(
        average_looks(*logits), *logits, first.frame_attention[0].float().cpu().numpy(), rectangle=rectangle
    )


def _sampled(path: str | os.PathLike, num_frames: int) -> np.ndarray:
    """The middle frames of equal segments: (frames, height, width, 3), uint8."""
    return decode_frames(path, indices=uniform_indices(probe_video(path).num_frames, num_frames)).frames


__all__ = ["SecondLooks", "TwoLooks", "attended_rectangles", "average_looks", "look_twice"]
