"""Attention and guidance painted on the frames of a video, and written as H.264.

The same pictures as `vidreason.video.overlay` makes one at a time; here colours are looked up once per cell and
blended in whole numbers, because a request has a hundred frames.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import matplotlib
import numpy as np

from vidreason.guidance import GridMap
from vidreason.video import write_video
from vidreason.video.overlay import cell_edges

from .limits import Deadline
from .settings import Drawing

PEAK = 0.5
"""The share of the attention that a cell is painted in the strongest colour for, in every video: colours compare."""

GUIDANCE_COLOR = (255, 64, 64)
_GUIDANCE_STRENGTH = 0.5
_COLORS = matplotlib.colormaps["magma"]


def paint_attention(frame: np.ndarray, attention: GridMap, strength: float) -> np.ndarray:
    """Lay the heat map of a frame's attention over it.

    Args:
        frame: (height, width, 3) uint8.
        attention: Map over the rectangle that the model sees of the frame; the rest stays as it is.
        strength: Share of the heat map's colours in the picture, 0 to 1.

    Returns:
        (height, width, 3) uint8, a new array.
    """
    cells = np.asarray(attention.weights, dtype=np.float32).reshape(attention.grid)
    colors = np.rint(_COLORS(np.minimum(cells / PEAK, 1.0))[..., :3] * 255)
    return _blend(frame, attention, colors, np.full(attention.grid, strength))


def paint_guidance(frame: np.ndarray, guidance: GridMap | None) -> np.ndarray:
    """Tint the cells that guidance marks, in proportion to their weight, and draw the grid.

    Args:
        frame: (height, width, 3) uint8.
        guidance: Map of the frame. None, where nothing is known of it, draws it in grey.

    Returns:
        (height, width, 3) uint8, a new array.
    """
    if guidance is None:
        grey = (frame @ np.asarray([77, 150, 29], dtype=np.uint16) >> 8).astype(np.uint8)  # ITU-R BT.601 luma
        return np.repeat(grey[..., None], 3, axis=2)
    cells = np.asarray(guidance.weights, dtype=np.float32).reshape(guidance.grid)
    share = _GUIDANCE_STRENGTH * cells / max(float(cells.max()), 1e-9)
    painted = _blend(frame, guidance, np.broadcast_to(GUIDANCE_COLOR, (*guidance.grid, 3)), share)
    _draw_lines(painted, guidance)
    return painted


def _blend(frame: np.ndarray, grid_map: GridMap, colors: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Colours (rows, cols, 3) at shares (rows, cols) over the cells of a frame (height, width, 3)."""
    row_edges, col_edges = cell_edges(frame.shape[:2], grid_map.grid, grid_map.rectangle)
    weight = np.rint(share * 256).astype(np.uint16)
    added = weight[..., None] * np.asarray(colors).astype(np.uint16) + 128  # at most 256 * 255 + 128: 16 bits hold it
    result = frame.copy()
    for row in range(grid_map.grid[0]):
        for col in range(grid_map.grid[1]):
            cell = result[row_edges[row] : row_edges[row + 1], col_edges[col] : col_edges[col + 1]]
            if weight[row, col]:
                cell[:] = (cell * (256 - weight[row, col]) + added[row, col]) >> 8
    return result


def _draw_lines(picture: np.ndarray, grid_map: GridMap) -> None:
    """The grid's lines, one pixel wide, brightened so that they show on dark and light."""
    height, width = picture.shape[:2]
    row_edges, col_edges = cell_edges((height, width), grid_map.grid, grid_map.rectangle)
    rows, cols = slice(row_edges[0], row_edges[-1]), slice(col_edges[0], col_edges[-1])
    mask = np.zeros((height, width), dtype=bool)
    mask[np.minimum(row_edges, height - 1), cols] = True
    mask[rows, np.minimum(col_edges, width - 1)] = True
    picture[mask] = picture[mask] // 2 + 127


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
    pictures = (
        paint_attention(frames[position], seen, strength) if strength > 0 else frames[position]
        for position, seen in zip(shown, attention, strict=True)
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
    pictures = (paint_guidance(frames[position], said) for position, said in zip(shown, guidance, strict=True))
    return write_video(path, _watched(pictures, deadline), fps, drawing.crf, drawing.preset)


def _watched(pictures: Iterator[np.ndarray], deadline: Deadline) -> Iterator[np.ndarray]:
    for picture in pictures:
        deadline.check()
        yield picture
