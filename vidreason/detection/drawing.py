"""Pictures of detections: boxes, masks and score maps on a frame, for people who look whether they are right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..video.overlay import overlay_heatmap
from .detector import Found

COLORS = (
    *((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167)),
)
"""Okabe and Ito's colours, which people of all kinds of sight tell apart; a class after the last begins anew."""

_MASK_ALPHA = 0.45


def draw_detections(
    frame: np.ndarray, found: Mapping[str, Found | None], min_score: float = 0.0, names: bool = True
) -> np.ndarray:
    """A frame with the boxes of all classes, each with its class and score, and with masks tinted.

    Args:
        frame: RGB, uint8 (height, width, 3).
        found: Class text -> what was found of it; None, or one without detections, draws nothing. The order decides on
            the colours, so that the same classes have the same ones in every frame.
        min_score: Least score of what is drawn.
        names: Whether class and score are written; keypoints are easier to see without.

    Returns:
        A new picture, uint8 (height, width, 3).
    """
    height, width = frame.shape[:2]
    tinted = frame.copy()
    for color, one in _with_colors(found):
        for mask, score in zip(one.masks or (), one.scores, strict=False):
            if score >= min_score:
                _tint(tinted, mask, color)
    picture = Image.fromarray(tinted)
    draw = ImageDraw.Draw(picture)
    line_px = max(1, round(max(height, width) / 320))
    font = ImageFont.load_default(size=max(9, round(max(height, width) / 40)))
    labels = []
    for (text, _), (color, one) in zip(_shown(found), _with_colors(found), strict=True):
        for box, score in zip(one.boxes, one.scores, strict=True):
            if score >= min_score:
                x0, y0, x1, y1 = (box * np.array([width, height, width, height])).tolist()
                # the last pixel of a box that ends at the frame's edge is within the frame
                draw.rectangle((x0, y0, max(x0, x1 - 1), max(y0, y1 - 1)), outline=color, width=line_px)
                labels.append((x0, y0, f"{text} {score:.2f}", color))
    for x0, y0, label, color in labels if names else ():  # above all boxes
        _write(draw, label, (x0, y0), color, font, (width, height))
    return np.asarray(picture)


def draw_map(frame: np.ndarray, score_map: np.ndarray, alpha: float = 0.5) -> np.ndarray:
    """A frame with one class's score map over it; 1 is the last colour, so that pictures compare.

    Args:
        frame: RGB, uint8 (height, width, 3).
        score_map: (map height, map width), in [0, 1] over the full frame, of any size.
        alpha: Share of the colours, 0 to 1.

    Returns:
        A new picture, uint8 (height, width, 3).
    """
    rows, cols = score_map.shape
    return overlay_heatmap(frame, score_map.reshape(-1), (rows, cols), alpha=alpha, peak=1.0, interpolate=True)


def _shown(found: Mapping[str, Found | None]) -> list[tuple[str, Found]]:
    return [(text, one) for text, one in found.items() if one is not None]


def _with_colors(found: Mapping[str, Found | None]) -> list[tuple[tuple[int, int, int], Found]]:
    return [(COLORS[place % len(COLORS)], one) for place, one in enumerate(found.values()) if one is not None]


def _tint(picture: np.ndarray, mask: np.ndarray, color: Sequence[int]) -> None:
    """Blend a colour into the pixels (height, width, 3) of a mask, whatever the mask's size."""
    height, width = picture.shape[:2]
    inside = np.asarray(Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST))
    blended = (1 - _MASK_ALPHA) * picture[inside] + _MASK_ALPHA * np.asarray(color, dtype=np.float32)
    picture[inside] = np.rint(blended).astype(np.uint8)


def _write(
    draw: ImageDraw.ImageDraw,
    label: str,
    corner: tuple[float, float],
    color: tuple[int, int, int],
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    size: tuple[int, int],
) -> None:
    """Write a label above the corner of a box, on the box's colour, within the picture of this width and height."""
    left, top, right, bottom = draw.textbbox((0, 0), label, font=font)
    x = max(0.0, min(corner[0], size[0] - (right - left) - 4))
    y = max(0.0, min(corner[1] - (bottom - top) - 4, size[1] - (bottom - top) - 4))
    draw.rectangle((x, y, x + right - left + 4, y + bottom - top + 4), fill=color)
    draw.text((x + 2 - left, y + 2 - top), label, fill=(0, 0, 0), font=font)
