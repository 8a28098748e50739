"""The camera of the procedural worlds: shake, light and noise of each frame."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from .shapes import SUPERSAMPLING

_NOISE_TILE_PX = 24  # the noise of a frame is a random window of one larger field, which is far cheaper to draw


class CameraSettings(Protocol):
    """What a world's settings say of its camera; see `WorldConfig`. Read only, as those settings are frozen."""

    @property
    def width(self) -> int: ...  # noqa: D102

    @property
    def height(self) -> int: ...  # noqa: D102

    @property
    def max_jitter_px(self) -> float: ...  # noqa: D102

    @property
    def max_brightness_change(self) -> float: ...  # noqa: D102

    @property
    def noise_std(self) -> float: ...  # noqa: D102


@dataclass(frozen=True, eq=False)
class Camera:
    """Shake, light and noise of each frame.

    Args:
        shifts_px: Shift of each frame in whole canvas pixels of the supersampled picture, (frames, 2).
        gains: Brightness of each frame, (frames,); 1 changes nothing.
        noise: Field of noise, float32 of shape (height + tile, width + tile, 3).
        windows: Upper left corner of each frame's window of the noise, (frames, 2).
    """

    shifts_px: np.ndarray
    gains: np.ndarray
    noise: np.ndarray
    windows: np.ndarray

    def expose(self, picture: np.ndarray, index: int, out: np.ndarray) -> None:
        """Light and noise of one frame, from and to uint8 (height, width, 3)."""
        height, width = picture.shape[:2]
        top, left = self.windows[index]
        exposed = np.multiply(picture, self.gains[index], dtype=np.float32)
        exposed += self.noise[top : top + height, left : left + width]
        out[:] = np.clip(exposed, 0, 255, out=exposed)


def draw_camera(settings: CameraSettings, num_frames: int, rng: np.random.Generator) -> Camera:
    """Draw the camera of one video."""
    times = np.arange(num_frames)
    phases = rng.uniform(0, 2 * math.pi, size=(2, 2))
    rates = rng.uniform(0.15, 0.9, size=(2, 2))  # radians per frame: a slow sway and a quicker tremble
    # two sines each for x and y, of rates that do not repeat within a clip
    sway = np.sin(times[:, None, None] * rates + phases) @ np.array([0.6, 0.4])
    shifts = np.rint(sway * settings.max_jitter_px * rng.uniform(0.2, 1.0) * SUPERSAMPLING).astype(int)
    drift = np.sin(times * rng.uniform(0.05, 0.4) + rng.uniform(0, 2 * math.pi))
    change = settings.max_brightness_change
    gains = (1 + change * rng.uniform(-1, 1)) * (1 + 0.5 * change * drift)
    field = (settings.height + _NOISE_TILE_PX, settings.width + _NOISE_TILE_PX, 3)
    noise = rng.standard_normal(field, dtype=np.float32) * np.float32(settings.noise_std)
    return Camera(shifts, gains, noise, rng.integers(_NOISE_TILE_PX + 1, size=(num_frames, 2)))
