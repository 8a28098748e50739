"""Score maps: how likely an object of each class is at each place of a frame (A2O, section 3.2, equation 5).

Maps are rendered from detections when a clip is read, at the size that the model takes. The paper does not define its
"likelihood maps"; here a pixel of a class's map is the largest score x coverage over the class's instances, where
coverage is the share of the pixel's area that the box covers (the share of the mask's pixels in it, where there are
masks). Maps of several classes are independent: an arm within a person is in both, and nothing is normalised.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .detector import Found


def box_map(boxes: np.ndarray, scores: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The map of one class from its boxes: float32 (height, width), in [0, 1].

    Args:
        boxes: (instances, 4): x0, y0, x1, y1 in [0, 1] of the map's area; they may reach beyond it.
        scores: (instances,), in [0, 1].
        size: Height and width of the map in pixels.
    """
    return box_maps(boxes, scores, np.zeros(len(scores), dtype=np.int64), 1, size)[0]


def box_maps(
    boxes: np.ndarray, scores: np.ndarray, map_of: np.ndarray, num_maps: int, size: tuple[int, int]
) -> np.ndarray:
    """The maps of several frames and classes from all of their boxes: float32 (maps, height, width), in [0, 1].

    Args:
        boxes: (instances, 4): as in `box_map`.
        scores: (instances,), in [0, 1].
        map_of: (instances,), whole numbers: which map each is drawn in.
        num_maps: Number of maps.
        size: Height and width of the maps in pixels.
    """
    height, width = size
    rendered = np.zeros((num_maps, height, width), dtype=np.float32)
    x0, y0, x1, y1 = np.asarray(boxes, dtype=np.float64).reshape(-1, 4).T
    # a box covers a pixel by the product of the shares along both sides
    down = _coverage(y0[:, None], y1[:, None], height) * np.asarray(scores, dtype=np.float32)[:, None]
    right = _coverage(x0[:, None], x1[:, None], width)
    tops, bottoms, lefts, rights = (*_touched(down), *_touched(right))
    # drawn one after another: all together would take (instances, height, width), and a detector may give hundreds
    for one, (number, top, bottom, left, end) in enumerate(
        zip(map_of.tolist(), tops, bottoms, lefts, rights, strict=True)
    ):
        place = rendered[number, top:bottom, left:end]
        np.maximum(place, down[one, top:bottom, None] * right[one, None, left:end], out=place)
    return rendered


def mask_map(masks: Sequence[np.ndarray], scores: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The map of one class from its masks, each of the full area of the map: float32 (height, width), in [0, 1].

    Args:
        masks: Booleans (mask height, mask width) of each instance, all of one size.
        scores: (instances,), in [0, 1].
        size: Height and width of the map in pixels.
    """
    rendered = np.zeros(size, dtype=np.float32)
    if not len(masks):
        return rendered
    mask_height, mask_width = masks[0].shape
    # shares of areas are separable: (height, mask height) x mask x (mask width, width)
    down, right = _overlaps(mask_height, size[0]), _overlaps(mask_width, size[1])
    for mask, score in zip(masks, scores, strict=True):
        covered = down @ mask.astype(np.float32) @ right.T
        np.maximum(rendered, np.float32(score) * covered, out=rendered)
    return rendered.clip(0.0, 1.0)


def render_maps(found: Sequence[Found | None], size: tuple[int, int]) -> np.ndarray:
    """The maps of all classes in one frame: float32 (classes, height, width), in [0, 1].

    Args:
        found: Detections of each class in the order of the channels. None, or one without detections whatever its
            status, is a map of zeros.
        size: Height and width of the maps in pixels.
    """
    maps = np.zeros((len(found), *size), dtype=np.float32)
    for channel, one in enumerate(found):
        if one is None or not len(one):
            continue
        maps[channel] = (
            box_map(one.boxes, one.scores, size) if one.masks is None else mask_map(one.masks, one.scores, size)
        )
    return maps


def _coverage(start: np.ndarray | float, stop: np.ndarray | float, pixels: int) -> np.ndarray:
    """The share of each pixel along one side that lies within [start, stop] of that side: float32 (..., pixels)."""
    edges = np.arange(pixels + 1) / pixels
    lengths = np.minimum(edges[1:], stop) - np.maximum(edges[:-1], start)
    return (lengths.clip(min=0.0) * pixels).astype(np.float32)


def _touched(shares: np.ndarray) -> tuple[list[int], list[int]]:
    """First pixel that is covered at all, and the one behind the last, of each row of (instances, pixels)."""
    covered = shares > 0
    counts = covered.sum(axis=1)  # those that are covered lie side by side
    first = covered.argmax(axis=1)
    return first.tolist(), (first + counts).tolist()


def _overlaps(parts: int, pixels: int) -> np.ndarray:
    """Which share of each pixel along a side each of some equal parts takes up: float32 (pixels, parts)."""
    return np.stack([_coverage(part / parts, (part + 1) / parts, pixels) for part in range(parts)], axis=1)
