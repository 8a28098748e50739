"""Square parts of a frame, as small networks take them, and the way back to the frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image


@dataclass(frozen=True)
class Square:
    """A square part of a frame, which may reach beyond it.

    Args:
        left: Pixels from the frame's left edge; negative where the square begins outside.
        top: Likewise from the top.
        side: Length of a side in pixels, whole, so that the way to the network's pixels and back is one scale.
    """

    left: int
    top: int
    side: int

    @classmethod
    def around(cls, box_px: tuple[float, float, float, float], margin: float = 1.0) -> Square:
        """The smallest square around a box.

        Args:
            box_px: x0, y0, x1, y1 in pixels.
            margin: The box's longer side is multiplied by this.
        """
        x0, y0, x1, y1 = box_px
        side = max(1, int(np.ceil(max(x1 - x0, y1 - y0) * margin)))
        return cls(int(np.floor((x0 + x1 - side) / 2)), int(np.floor((y0 + y1 - side) / 2)), side)

    def cut(self, frame: np.ndarray, size_px: int) -> np.ndarray:
        """The part as a picture of its own, black beyond the frame.

        Args:
            frame: uint8 (height, width, 3).
            size_px: Side of the picture in pixels.

        Returns:
            uint8 (size_px, size_px, 3).
        """
        height, width = frame.shape[:2]
        square = np.zeros((self.side, self.side, 3), dtype=np.uint8)
        top, bottom = max(self.top, 0), min(self.top + self.side, height)
        left, right = max(self.left, 0), min(self.left + self.side, width)
        if top < bottom and left < right:
            square[top - self.top : bottom - self.top, left - self.left : right - self.left] = frame[
                top:bottom, left:right
            ]
        return np.asarray(Image.fromarray(square).resize((size_px, size_px), Image.Resampling.BILINEAR))

    def to_frame(self, points: np.ndarray, frame_size: tuple[int, int]) -> np.ndarray:
        """Points (..., 2), x and y in [0, 1] of the square, in [0, 1] of a frame of this height and width."""
        height, width = frame_size
        return (np.array([self.left, self.top]) + points * self.side) / np.array([width, height])
