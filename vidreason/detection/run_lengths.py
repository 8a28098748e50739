"""Masks as run lengths, in the uncompressed form of COCO, which tables of detections keep.

`{"size": [height, width], "counts": [...]}`: pixels in order of columns (down, then right), the lengths of runs of
zeros and ones in turn, zeros first. `pycocotools` reads the same.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import DetectionError

MAX_PIXELS = 64 * 2**20
"""Largest mask that is expanded: a few numbers in a file must not ask for all memory. 8K video has 33 million."""


def encode_mask(mask: np.ndarray) -> list[int]:
    """The run lengths of a mask.

    Args:
        mask: Booleans (height, width).

    Returns:
        Lengths of runs of zeros and ones in turn, beginning with zeros (0 where the first pixel is set), in order of
        columns; they sum to height x width.
    """
    if mask.ndim != 2:
        raise DetectionError(f"a mask has the shape {mask.shape}, expected (height, width)")
    pixels = np.asarray(mask, dtype=bool).reshape(-1, order="F")
    if not len(pixels):
        return []
    changes = np.flatnonzero(np.diff(pixels)) + 1
    starts = np.concatenate([[0], changes, [len(pixels)]])
    counts = np.diff(starts).tolist()
    return [0, *counts] if pixels[0] else counts


def decode_mask(counts: Sequence[int], size: tuple[int, int]) -> np.ndarray:
    """The mask of some run lengths: booleans (height, width).

    Args:
        counts: Lengths of runs, as `encode_mask` gives them.
        size: Height and width of the mask in pixels.

    Raises:
        DetectionError: The lengths do not fill the mask, or it is larger than `MAX_PIXELS`.
    """
    height, width = size
    if height < 1 or width < 1 or height * width > MAX_PIXELS:
        raise DetectionError(f"a mask of {height} x {width} pixels: expected from 1 to {MAX_PIXELS} pixels")
    lengths = np.asarray(counts)
    if lengths.ndim != 1 or not len(lengths) or lengths.dtype.kind not in "iu" or (lengths < 0).any():
        raise DetectionError("run lengths of a mask must be whole numbers that are not negative")
    # summed as Python's numbers, which do not overflow, before anything is expanded
    total = sum(lengths.tolist())
    if total != height * width:
        raise DetectionError(f"run lengths of a mask sum to {total}, expected {height} x {width}")
    values = np.arange(len(lengths)) % 2 == 1
    return np.repeat(values, lengths).reshape((height, width), order="F")
