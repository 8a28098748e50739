"""Pictures of guidance: maps and boxes on frames, or on blank frames where no pixels are wanted or to be had."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence

import datasets
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..errors import VideoError, one_of_many
from ..guidance.geometry import GridMap
from ..manifests.manifest import Manifest
from ..video import decode_frames, overlay_grid

logger = logging.getLogger(__name__)

# Okabe and Ito's vermillion and blue, which stay apart for colour-blind readers
GUIDANCE_COLOR, TRUTH_COLOR = (213, 94, 0), (0, 114, 178)

BLANK_SIDE_PX = 240
_BLANK_GREY = 176
_TEXT_COLOR, _BACKGROUND = (20, 20, 20), (255, 255, 255)
_FONT_PX, _GAP_PX = 12, 12


def blank_frame(height: int, width: int) -> np.ndarray:
    """A plain grey frame of the same shape, its longer side `BLANK_SIDE_PX`: uint8 (height, width, 3)."""
    scale = BLANK_SIDE_PX / max(height, width, 1)
    size = (max(8, round(height * scale)), max(8, round(width * scale)), 3)
    return np.full(size, _BLANK_GREY, dtype=np.uint8)


def draw_map(frame: np.ndarray, grid_map: GridMap | None, color: tuple[int, int, int]) -> np.ndarray:
    """A frame with a map's cells tinted by their weights; without a map, the frame as it is."""
    if grid_map is None:
        return frame
    return overlay_grid(frame, grid_map.weights, grid_map.grid, grid_map.rectangle, color)


def draw_boxes(frame: np.ndarray, boxes: np.ndarray, color: tuple[int, int, int]) -> np.ndarray:
    """A frame with the outlines of boxes of (boxes, 4), normalised: uint8 (height, width, 3), a new array."""
    picture = Image.fromarray(frame)
    draw = ImageDraw.Draw(picture)
    # PIL counts pixels, so that 1.0 is the middle of the last pixel and not beyond it
    scale = np.asarray([picture.width - 1, picture.height - 1] * 2)
    for box in np.asarray(boxes).reshape(-1, 4):
        draw.rectangle(tuple((np.clip(box, 0, 1) * scale).round().tolist()), outline=color, width=2)
    return np.asarray(picture)


def captioned(picture: np.ndarray, lines: Sequence[str]) -> np.ndarray:
    """A picture with lines of text below it, cut to its width: uint8 (height, width, 3)."""
    font = ImageFont.load_default(size=_FONT_PX)
    line_px = round(_FONT_PX * 1.35)
    strip = Image.new("RGB", (picture.shape[1], line_px * len(lines) + 2), _BACKGROUND)
    draw = ImageDraw.Draw(strip)
    for number, line in enumerate(lines):
        while line and draw.textlength(line, font=font) > strip.width:
            line = line[:-2] + "…" if len(line) > 2 else ""
        draw.text((0, number * line_px), line, fill=_TEXT_COLOR, font=font)
    return np.concatenate([picture, np.asarray(strip)])


def heading(text: str, width_px: int) -> np.ndarray:
    """A line of larger text on white: uint8 (height, width_px, 3)."""
    size_px = _FONT_PX + 4
    font = ImageFont.load_default(size=size_px)
    strip = Image.new("RGB", (width_px, round(size_px * 1.6)), _BACKGROUND)
    ImageDraw.Draw(strip).text((0, 2), text, fill=_TEXT_COLOR, font=font)
    return np.asarray(strip)


def in_row(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Pictures of (height, width, 3) side by side with gaps, aligned at the top, on white."""
    return _joined(pictures, axis=1)


def in_column(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Pictures of (height, width, 3) under one another with gaps, aligned at the left, on white."""
    return _joined(pictures, axis=0)


def _joined(pictures: Sequence[np.ndarray], axis: int) -> np.ndarray:
    across = max(picture.shape[1 - axis] for picture in pictures)
    padded = []
    for number, picture in enumerate(pictures):
        margins = [(0, 0), (0, 0), (0, 0)]
        margins[axis] = (_GAP_PX if number else 0, 0)
        margins[1 - axis] = (0, across - picture.shape[1 - axis])
        padded.append(np.pad(picture, margins, constant_values=255))
    return np.concatenate(padded, axis=axis)


def frame_sizes(tables: Iterable[datasets.Dataset]) -> dict[str, tuple[int, int]]:
    """Video id -> (height, width) of its frames in pixels, as guidance tables state them."""
    names = ["video_id", "frame_height", "frame_width"]
    sizes = {}
    for rows in tables:
        columns = rows.with_format("arrow").select_columns(names)[:]
        for video_id, height, width in zip(*(columns[name].to_pylist() for name in names), strict=True):
            sizes[video_id] = (height, width)
    return sizes


def read_pixels(
    manifest: Manifest, times_s: Mapping[str, Sequence[float]], max_side_px: int
) -> dict[tuple[str, float], np.ndarray]:
    """Frames of videos by (video id, time). What cannot be read is absent, and the log says so.

    Args:
        manifest: Manifest of the videos, which says where they are.
        times_s: Maps each video id to the times in seconds of the frames that are wanted.
        max_side_px: Longer side in pixels to which larger frames are scaled down.

    Returns:
        uint8 (height, width, 3) for each.
    """
    paths = {row["video_id"]: manifest.video_path(row) for split in manifest.splits.values() for row in split}
    pixels: dict[tuple[str, float], np.ndarray] = {}
    for video_id, wanted_s in times_s.items():
        if video_id not in paths:
            # a picture without pixels still shows the map, and an audit goes on without the videos
            logger.warning("%s is not in the manifest; its frames are drawn without pixels", video_id)
            continue
        try:
            with one_of_many(paths[video_id]):
                frames = decode_frames(paths[video_id], timestamps_s=list(wanted_s), max_side_px=max_side_px).frames
        except VideoError as error:
            logger.warning("frames are drawn without pixels: %s", error)
            continue
        pixels |= {(video_id, time_s): frame for time_s, frame in zip(wanted_s, frames, strict=True)}
    return pixels
