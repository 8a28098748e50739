"""Pictures of where a model looks, beside where guidance says to look."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch

from ..clips.transforms import evaluation_transform, input_size
from ..guidance import FULL_FRAME, GridMap
from ..guidance.geometry import Rectangle
from ..video import overlay_grid, overlay_heatmap, side_by_side
from ..video.overlay import ATTENTION_PEAK
from .normalize import normalize_attention

PANEL_HEIGHT_PX = 240


class Looks(Protocol):
    """What is drawn of two looks at a clip (`vidreason.rs.second_look.TwoLooks`)."""

    @property
    def first_logits(self) -> np.ndarray:
        """Logits of the first look, shape (labels,)."""

    @property
    def second_logits(self) -> np.ndarray:
        """Logits of the second look, shape (labels,)."""

    @property
    def frame_attention(self) -> np.ndarray:
        """Attention of the first look, shape (frames, tokens)."""

    @property
    def rectangle(self) -> Rectangle:
        """The part of the frame that the second look was given."""


@torch.no_grad()
def attention_maps(model: Any, processor: Any, frames: np.ndarray) -> list[GridMap]:
    """Where a model looks in each frame, in the coordinates of the full frame.

    Args:
        model: A model that gives `frame_attention`; its `token_grid` tells the grid. Spatial attention of TSViT
            depends on one frame alone, so that any number of frames may be given.
        processor: The model's video processor.
        frames: Array of shape (frames, height, width, 3), uint8.

    Returns:
        A distribution over the tokens for each frame, over the rectangle that the model sees of it.
    """
    # at the size that the processor gives to the model, not that of the frames
    token_grid = model.token_grid(*input_size(processor))
    clip = evaluation_transform(processor, token_grid)(frames, [None] * len(frames))
    was_training = model.training
    # with dropout the map would differ from call to call
    model.eval()
    # no frame_mask: none of the frames is padding
    outputs = model(pixel_values=clip.pixel_values.unsqueeze(0).to(model.device))
    model.train(was_training)
    attention = normalize_attention(outputs.frame_attention[0]).cpu().numpy()
    rectangle = seen_rectangle(processor, frames.shape[1], frames.shape[2])
    return [GridMap(weights, token_grid, rectangle) for weights in attention]


def seen_rectangle(processor: Any, height: int, width: int) -> Rectangle:
    """The part of a frame that is left by a processor's resize and centre crop.

    Args:
        processor: A model's video processor.
        height: Height of the frame in pixels.
        width: Width of the frame in pixels.
    """
    # processors without the setting crop nothing
    if not getattr(processor, "do_center_crop", False):
        return FULL_FRAME
    # a centre crop is taken after the resize, so that its share is one of the resized frame
    size = dict(processor.size) if processor.do_resize else {"height": height, "width": width}
    if "shortest_edge" in size:
        # the aspect ratio is kept: the longer side follows from the shorter
        scale = size["shortest_edge"] / min(height, width)
        size = {"height": round(height * scale), "width": round(width * scale)}
    # a crop larger than the frame is padded: then all of the frame is seen
    margin_y = max(0.0, (1 - processor.crop_size["height"] / size["height"]) / 2)
    margin_x = max(0.0, (1 - processor.crop_size["width"] / size["width"]) / 2)
    return (margin_x, margin_y, 1 - margin_x, 1 - margin_y)


def comparison_frame(
    frame: np.ndarray,
    attention: Mapping[str, GridMap],
    guidance: GridMap | None,
    height_px: int = PANEL_HEIGHT_PX,
    peak: float = ATTENTION_PEAK,
) -> np.ndarray:
    """One frame with the attention of several models and the guidance, side by side.

    Args:
        frame: Array of shape (height, width, 3), uint8.
        attention: Title of a panel -> map.
        guidance: Guidance of the frame; None draws the bare frame.
        height_px: Height of the picture's panels.
        peak: Share of the attention that a cell is drawn in the strongest colour for; one scale for all panels.

    Returns:
        Shape (height, width, 3), uint8.
    """
    panels = [
        (title, overlay_heatmap(frame, m.weights, m.grid, rectangle=m.rectangle, peak=peak))
        for title, m in attention.items()
    ]
    if guidance is None:
        panels.append(("guidance: none", frame))
    else:
        panels.append(("guidance", overlay_grid(frame, guidance.weights, guidance.grid, rectangle=guidance.rectangle)))
    return side_by_side(panels, height_px)


def second_look_frame(
    frame: np.ndarray,
    looks: Looks,
    number: int,
    token_grid: tuple[int, int],
    class_names: Sequence[str],
    height_px: int = PANEL_HEIGHT_PX,
) -> np.ndarray:
    """One frame as both looks show it, side by side: attention with the rectangle around it, and what that holds.

    Args:
        frame: Array of shape (height, width, 3), uint8.
        looks: The two looks at the clip.
        number: Number of the frame among the clip's.
        token_grid: Rows and columns of the attention.
        class_names: Names in the order of the logits; each panel says what its look alone would answer.
        height_px: Height of the picture's panels.

    Returns:
        Shape (height, width, 3), uint8.
    """
    height, width = frame.shape[:2]
    attended = overlay_heatmap(frame, looks.frame_attention[number], token_grid, peak=ATTENTION_PEAK)
    attended = overlay_grid(attended, [0.0], (1, 1), rectangle=looks.rectangle)  # its border alone
    x0, y0, x1, y1 = looks.rectangle
    cut = frame[round(y0 * height) : round(y1 * height), round(x0 * width) : round(x1 * width)]
    answers = [class_names[int(np.argmax(logits))] for logits in (looks.first_logits, looks.second_logits)]
    panels = [(f"first look: {answers[0]}", attended), (f"second look: {answers[1]}", cut)]
    return side_by_side(panels, height_px)


def stack_rows(rows: Sequence[np.ndarray]) -> np.ndarray:
    """Pictures of (height, width, 3), uint8, one under the other; narrower ones are padded with white."""
    width = max(row.shape[1] for row in rows)
    padded = [np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0)), constant_values=255) for row in rows]
    return np.concatenate(padded)
