"""Attention and guidance painted on the frames of a video by the library's painter, and written as H.264."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from vidreason.guidance import GridMap
from vidreason.video import overlay_grid, overlay_heatmap, write_video
from vidreason.video.overlay import ATTENTION_PEAK

from .limits import Deadline
from .settings import Drawing

_MIN_SIDE_PX = 64


def enlarge(frame: np.ndarray, max_side_px: int) -> np.ndarray:
    """Make a picture of a few pixels larger, pixel by pixel, so that cells can be seen in it and browsers play it.

    Args:
        frame: (height, width, 3) uint8.
        max_side_px: Length that the longer side stays within, in pixels.

    Returns:
        (height, width, 3) uint8, each side multiplied by the same whole number; the frame itself where that is 1.
    """
    shorter, longer = sorted(frame.shape[:2])
    factor = max(1, min(max_side_px // longer, math.ceil(_MIN_SIDE_PX / shorter)))
    return frame if factor == 1 else frame.repeat(factor, axis=0).repeat(factor, axis=1)


def paint_attention(frame: np.ndarray, attention: GridMap, strength: float) -> np.ndarray:
    """Lay the heat map of a frame's attention over it, on the scale that all videos share.

    Args:
        frame: (height, width, 3) uint8.
        attention: Map over the rectangle that the model sees of the frame; the rest stays as it is.
        strength: Share of the heat map's colours in the picture, 0 to 1.

    Returns:
        (height, width, 3) uint8, a new array.
    """
    place = {"rectangle": attention.rectangle, "peak": ATTENTION_PEAK}
    return overlay_heatmap(frame, attention.weights, attention.grid, alpha=strength, **place)


def paint_guidance(frame: np.ndarray, guidance: GridMap | None) -> np.ndarray:
    """Tint the cells that guidance marks, in proportion to their weight, and draw the grid.

    Args:
        frame: (height, width, 3) uint8.
        guidance: Map of the frame. None, where nothing is known of it, draws it in grey.

    Returns:
        (height, width, 3) uint8, a new array.
    """
    if guidance is None:
        return np.asarray(Image.fromarray(frame).convert("L").convert("RGB"))
    return overlay_grid(frame, guidance.weights, guidance.grid, guidance.rectangle)


def write_attention(
    path: str | os.PathLike,
    frames: np.ndarray,
    shown: Sequence[int],
    attention: Sequence[GridMap],
    fps: float,
    strength: float,
    drawing: Drawing,
    deadline: Deadline,
) -> Path:
    """Write the video with the heat map, or as it is where the strength is 0.

    Args:
        path: File to write.
        frames: (frames, height, width, 3) uint8, each frame once.
        shown: Position in `frames` of each picture.
        attention: Map of each picture.
        fps: Pictures a second.
        strength: Share of the heat map's colours in the picture, 0 to 1.
        drawing: Settings of the encoder.
        deadline: Time at which the request is given up.

    Raises:
        Refused: The time is over.
    """
    large = (enlarge(frames[position], drawing.max_side_px) for position in shown)
    pictures = (
        paint_attention(frame, seen, strength) if strength > 0 else frame
        for frame, seen in zip(large, attention, strict=True)
    )
    return write_video(path, _watched(pictures, deadline), fps, drawing.crf, drawing.preset)


def write_guidance(
    path: str | os.PathLike,
    frames: np.ndarray,
    shown: Sequence[int],
    guidance: Sequence[GridMap | None],
    fps: float,
    drawing: Drawing,
    deadline: Deadline,
) -> Path:
    """Write the video with the cells of the guidance; arguments as of `write_attention`."""
    large = (enlarge(frames[position], drawing.max_side_px) for position in shown)
    pictures = (paint_guidance(frame, said) for frame, said in zip(large, guidance, strict=True))
    return write_video(path, _watched(pictures, deadline), fps, drawing.crf, drawing.preset)


def _watched(pictures: Iterator[np.ndarray], deadline: Deadline) -> Iterator[np.ndarray]:
    for picture in pictures:
        deadline.check()
        yield picture
