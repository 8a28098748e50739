"""The backgrounds: twelve textures that fill the frame behind everything.

In training the texture is tied to the label with some strength. Each is drawn with a random phase and tone, so that
two clips with the same texture are not the same picture.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Texture = Callable[[np.ndarray, np.ndarray, np.random.Generator], np.ndarray]


def _mix(share: np.ndarray, low: tuple[int, int, int], high: tuple[int, int, int]) -> np.ndarray:
    """Share (height, width) in [0, 1] to colors (height, width, 3)."""
    low_color, high_color = np.asarray(low, np.float32), np.asarray(high, np.float32)
    return low_color + share[..., None].astype(np.float32) * (high_color - low_color)


def _wave(phase: np.ndarray) -> np.ndarray:
    """A sine of the phase in turns, any shape, in [0, 1]."""
    return 0.5 + 0.5 * np.sin(2 * np.pi * phase)


def _smooth_noise(shape: tuple[int, int], cell_px: int, rng: np.random.Generator) -> np.ndarray:
    """(height, width) in [0, 1], blotches of about `cell_px` pixels."""
    height, width = shape
    coarse = rng.random((height // cell_px + 2, width // cell_px + 2)).astype(np.float32)
    y, x = np.arange(height) / cell_px, np.arange(width) / cell_px
    rows, cols = y.astype(int), x.astype(int)
    fy, fx = (y - rows).astype(np.float32)[:, None], (x - cols).astype(np.float32)
    upper = coarse[rows][:, cols] * (1 - fx) + coarse[rows][:, cols + 1] * fx
    lower = coarse[rows + 1][:, cols] * (1 - fx) + coarse[rows + 1][:, cols + 1] * fx
    return upper * (1 - fy) + lower * fy


def _wood(x, y, rng):
    grain = _wave(y / 22 + 0.05 * _wave(x / 60)) * 0.5 + _smooth_noise(x.shape, 7, rng) * 0.3
    return _mix(grain + 0.35 * (y % 30 < 2), (196, 148, 98), (132, 90, 52))


def _tiles(x, y, rng):
    seam = (x % 26 < 2) | (y % 26 < 2)
    return _mix(seam, (120, 158, 196), (222, 230, 236)) + 10 * _smooth_noise(x.shape, 26, rng)[..., None]


def _grass(x, y, rng):
    blades, patches = _smooth_noise(x.shape, 3, rng), _smooth_noise(x.shape, 14, rng)
    return _mix(0.6 * blades + 0.4 * patches, (58, 110, 42), (140, 186, 92))


def _checks(x, y, rng):
    return _mix(((x // 18).astype(int) + (y // 18).astype(int)) % 2, (226, 206, 200), (188, 92, 88))


def _concrete(x, y, rng):
    grains, stains = _smooth_noise(x.shape, 2, rng), _smooth_noise(x.shape, 20, rng)
    return _mix(0.5 * grains + 0.5 * stains, (120, 122, 124), (184, 186, 188))


def _violet(x, y, rng):
    return _mix(np.abs((x + y) % 320 / 160 - 1), (96, 70, 140), (190, 160, 214))


def _stripes(x, y, rng):
    return _mix((x + y) % 24 < 12, (224, 196, 96), (242, 230, 184))


def _waves(x, y, rng):
    return _mix(_wave(y / 18 + 0.35 * np.sin(x / 9)), (34, 112, 122), (120, 190, 190))


def _dots(x, y, rng):
    row = (y // 20).astype(int)
    dot = ((x + 10 * (row % 2)) % 20 - 10) ** 2 + (y % 20 - 10) ** 2 < 25
    return _mix(dot, (232, 190, 198), (206, 110, 136))


def _bricks(x, y, rng):
    row = (y // 14).astype(int)
    seam = (y % 14 < 2) | ((x + 14 * (row % 2)) % 28 < 2)
    return _mix(seam, (178, 92, 58), (210, 196, 180)) + 14 * (_smooth_noise(x.shape, 9, rng)[..., None] - 0.5)


def _night(x, y, rng):
    stars = rng.random(x.shape) > 0.985
    return _mix(stars, (36, 44, 84), (230, 230, 210)) + 18 * _smooth_noise(x.shape, 30, rng)[..., None]


def _paper(x, y, rng):
    return _mix(y % 11 < 1.5, (238, 236, 226), (150, 176, 214))


_TEXTURES: dict[str, Texture] = {
    "wood": _wood,
    "tiles": _tiles,
    "grass": _grass,
    "checks": _checks,
    "concrete": _concrete,
    "violet gradient": _violet,
    "stripes": _stripes,
    "waves": _waves,
    "dots": _dots,
    "bricks": _bricks,
    "night": _night,
    "paper": _paper,
}

BACKGROUNDS = tuple(_TEXTURES)
"""The i-th is tied to the i-th action."""


def background_picture(name: str, height: int, width: int, unit_px: float, rng: np.random.Generator) -> np.ndarray:
    """A texture, uint8 of shape (height, width, 3).

    Args:
        name: One of `BACKGROUNDS`.
        height: Height of the picture in pixels.
        width: Width of the picture in pixels.
        unit_px: Number of pixels per unit of the pattern.
        rng: Generator that draws the phase, the scale, the tone and what is random in the pattern itself.
    """
    scale = unit_px * rng.uniform(0.85, 1.2)
    y, x = np.mgrid[:height, :width].astype(np.float32) / np.float32(scale)
    colors = _TEXTURES[name](x + np.float32(rng.uniform(0, 120)), y + np.float32(rng.uniform(0, 120)), rng)
    tone = rng.uniform(-14, 14, size=3).astype(np.float32)
    return np.clip(colors + tone, 0, 255).astype(np.uint8)
