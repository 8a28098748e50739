"""A second look: a clip is read again, cropped to where the model looked, and both readings are averaged.

Beyond the paper. Evidence zoom (`vidreason.rs.evidence`) trains on clips cropped to their guidance; here the
model's own attention takes the place of guidance, which does not exist at inference. It costs a second pass, whose
frames come from the decoded video and so show more of the evidence than the first.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch.utils.data import Dataset
from transformers import BaseVideoProcessor, PreTrainedModel
from transformers.utils import ModelOutput

from ..attention.normalize import normalize_attention
from ..clips.transforms import evaluation_transform, input_size
from ..errors import ConfigError
from ..guidance import FULL_FRAME, GridMap
from ..guidance.geometry import Rectangle, evidence_rectangle, widened
from ..training.evaluation import mean_probability_logits
from ..video import decode_frames, probe_video, uniform_indices
from .evidence import MAX_MARGIN

LOOKED_TWICE = ("top1", "top5", "loss_classification", "loss")
"""Metrics that a second look changes."""

MARGIN = MAX_MARGIN / 2
"""Margin on each side, as a share of the rectangle's side: the mean of what evidence zoom draws in training."""


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
        token_grid: Rows and columns of the tokens.
        frame_mask: (batch, frames), bool; None counts all frames.

    Returns:
        (batch, 4) float32, x0, y0, x1, y1 in [0, 1] of what the model saw: where the attention is but for outliers,
        with a margin; all of it where attention is even.
    """
    excess = attention_excess(frame_attention, frame_mask).double().cpu().numpy()
    rows, columns = token_grid
    rectangles = [evidence_rectangle([GridMap(one, (rows, columns))]) for one in excess]
    found = [FULL_FRAME if one is None else widened(one, (MARGIN,) * 4) for one in rectangles]
    return torch.tensor(found, dtype=torch.float32, device=frame_attention.device).view(-1, 4)


def average_looks(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Logits of the mean of two readings' probabilities: (..., labels), of two arrays of that shape."""
    return mean_probability_logits([first, second])


class CropReader(Protocol):
    """A data set that reads a clip by its index, cropped to a part of its frames."""

    split: str

    @property
    def whole_frame(self) -> bool:
        """Whether clips show all of a frame."""

    def __len__(self) -> int: ...

    def read_clip(self, index: int, rectangle: Rectangle | None = None) -> dict[str, Any]:
        """A clip, cropped to a rectangle (x0, y0, x1, y1) in [0, 1] of its frames; None keeps them whole."""


class SecondLooks(Dataset):
    """The clips of a data set, each cropped to what the model attended to.

    Args:
        clips: The clips that were read once; by index, not streamed.
        rectangles: (clips, 4), see `attended_rectangles`.

    Raises:
        ConfigError: Clips come as a stream, or their transform cuts a part of the frame off.
    """

    def __init__(self, clips: CropReader, rectangles: np.ndarray):
        check_second_look(clips)
        if len(rectangles) != len(clips):
            raise ConfigError(f"{len(rectangles)} rectangles for {len(clips)} clips")
        self.clips = clips
        self.split = clips.split
        self.rectangles: list[Rectangle] = [(x0, y0, x1, y1) for x0, y0, x1, y1 in rectangles.astype(float).tolist()]

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.clips.read_clip(index, self.rectangles[index])


def check_second_look(clips: Any) -> CropReader:
    """The clips, once it is known that they can be looked at twice.

    Args:
        clips: Any data set.

    Raises:
        ConfigError: It is not read by index, or a rectangle of its clips would not be one of the whole frame.
    """
    if isinstance(clips, torch.utils.data.IterableDataset) or not hasattr(clips, "read_clip"):
        raise ConfigError(
            f"second_look reads clips twice, by index, which {type(clips).__name__} does not give: leave streaming off"
        )
    if not clips.whole_frame:
        raise ConfigError(
            "second_look takes models that see whole frames; this one's processor cuts a part off (do_center_crop)"
        )
    return clips


@dataclass(frozen=True)
class TwoLooks:
    """What two looks at a clip give.

    Args:
        logits: (labels,), float64: those of the mean of both readings' probabilities.
        first_logits: (labels,), float32: those of the first reading.
        second_logits: (labels,), float32: those of the second reading.
        frame_attention: (frames, tokens), float32: the first reading's.
        rectangle: x0, y0, x1, y1 in [0, 1] of the frame: what the second reading was given.
    """

    logits: np.ndarray
    first_logits: np.ndarray
    second_logits: np.ndarray
    frame_attention: np.ndarray
    rectangle: Rectangle


@torch.inference_mode()
def look_twice(
    model: PreTrainedModel, processor: BaseVideoProcessor, clip: str | os.PathLike | np.ndarray
) -> TwoLooks:
    """Classify one clip with two looks.

    Args:
        model: A supervised view, or TSViT; in evaluation mode.
        processor: The model's video processor, which must not cut off a part of the frame.
        clip: A file, or frames (frames, height, width, 3), uint8: as many as the model takes, larger than its input
            where the second look is to show more than the first.

    Raises:
        ConfigError: The processor cuts off a part of the frame.
        VideoError: The file cannot be read.
    """
    frames = clip if isinstance(clip, np.ndarray) else _sampled(clip, model.config.num_frames)
    grid_of: Any = model.token_grid  # which `torch.nn.Module` types as a submodule
    transform = evaluation_transform(processor, grid_of(*input_size(processor)))
    if not transform.whole_frame:
        raise ConfigError(f"{type(processor).__name__} cuts off a part of the frame (do_center_crop)")
    no_maps: Sequence[None] = [None] * len(frames)

    def read(rectangle: Rectangle | None) -> ModelOutput:
        pixel_values = transform(frames, no_maps, rectangle).pixel_values.unsqueeze(0)
        return model(pixel_values=pixel_values.to(next(model.parameters()).device))

    first = read(None)
    x0, y0, x1, y1 = attended_rectangles(first["frame_attention"], transform.token_grid)[0].tolist()
    second = read((x0, y0, x1, y1))
    first_logits, second_logits = (output["logits"][0].float().cpu().numpy() for output in (first, second))
    return TwoLooks(
        average_looks(first_logits, second_logits),
        first_logits,
        second_logits,
        first["frame_attention"][0].float().cpu().numpy(),
        (x0, y0, x1, y1),
    )


def _sampled(path: str | os.PathLike, num_frames: int) -> np.ndarray:
    """The middle frames of equal segments: (frames, height, width, 3), uint8."""
    return decode_frames(path, indices=uniform_indices(probe_video(path).num_frames, num_frames)).frames
