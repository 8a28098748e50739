"""Frames as JPEG.

`simplejpeg` decodes where it is installed: the same pixels as Pillow's in less than half the time.
"""

from __future__ import annotations

import io
import os
from collections.abc import Sequence

import numpy as np
from PIL import Image

from ..errors import VideoError

try:
    import simplejpeg
except ImportError:
    simplejpeg = None


def encode_jpeg(frame: np.ndarray, quality: int, subsampling: str) -> bytes:
    """A frame as JPEG.

    Args:
        frame: RGB picture, uint8 (height, width, 3).
        quality: Quality, 1 to 95.
        subsampling: Subsampling of the colours, such as "4:2:0".
    """
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, "JPEG", quality=quality, subsampling=subsampling)
    return buffer.getvalue()


def decode_jpegs(jpegs: Sequence[bytes], where: str | os.PathLike) -> np.ndarray:
    """Decode pictures of one size.

    Args:
        jpegs: Encoded pictures, in colour or grey; at least one.
        where: Name of what they come from, for the error.

    Returns:
        RGB pictures, uint8 (frames, height, width, 3).

    Raises:
        VideoError: A picture is damaged, or they are of unequal sizes.
    """
    try:
        first = _decode(jpegs[0])
        frames = np.empty((len(jpegs), *first.shape), dtype=np.uint8)
        frames[0] = first
        for position, jpeg in enumerate(jpegs[1:], start=1):
            picture = _decode(jpeg)
            if picture.shape != first.shape:
                raise ValueError(f"frames of {first.shape[:2]} and of {picture.shape[:2]} pixels in one clip")
            frames[position] = picture
    except (ValueError, OSError, SyntaxError) as error:  # what the two decoders raise of damaged data
        raise VideoError(where, "decode_failed", f"damaged JPEG: {error}") from error
    return frames


def _decode(jpeg: bytes) -> np.ndarray:
    """(height, width, 3), uint8."""
    if simplejpeg is not None:
        # neither shortcut: both change pixels
        return simplejpeg.decode_jpeg(jpeg, "RGB", fastdct=False, fastupsample=False)
    with Image.open(io.BytesIO(jpeg), formats=("JPEG",)) as picture:
        return np.asarray(picture.convert("RGB"))
