"""Augmentation and preprocessing that move pixels and guidance together.

The cells of the guidance grid travel through torchvision's `transforms.v2` as bounding boxes beside the video, in one
call, so that any crop, resize or flip that moves a pixel moves the cell above it. What comes out is spread over the
model's tokens by exact area overlap.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torchvision import tv_tensors
from torchvision.transforms import v2

from ..errors import ConfigError
from ..guidance import GridMap, grid_cells, pad_or_truncate
from ..guidance.geometry import spread_over_grid

RESAMPLING_RULES = ("area", "pad_or_truncate")

_RULER_GRID = (16, 16)
"""A fine grid that is sent along with the guidance: those of its cells that stay whole tell the transform's scale."""


@dataclass(frozen=True)
class AugmentationConfig:
    """Random changes of a training clip, the same for all its frames.

    Args:
        crop_scale_min: the smallest share of the frame's area that a random resized crop keeps; 1 keeps all of it.
        crop_ratio_max: the largest stretch of the crop's aspect against the frame's, >= 1.
        mirror_probability: of a horizontal flip. Give `mirrored_labels` where a flip changes what happens.
        brightness: strength of the colour jitter, 0 for none; contrast and saturation take the same.
    """

    crop_scale_min: float = 0.7
    crop_ratio_max: float = 1.15
    mirror_probability: float = 0.0
    brightness: float = 0.2

    def __post_init__(self):
        if not 0 < self.crop_scale_min <= 1:
            raise ConfigError(f"crop_scale_min is {self.crop_scale_min}, expected a share in (0, 1]")
        if self.crop_ratio_max < 1:
            raise ConfigError(f"crop_ratio_max is {self.crop_ratio_max}, expected >= 1")
        if not 0 <= self.mirror_probability <= 1:
            raise ConfigError(f"mirror_probability is {self.mirror_probability}, expected a probability")
        if not 0 <= self.brightness < 1:
            raise ConfigError(f"brightness is {self.brightness}, expected a strength in [0, 1)")


@dataclass(frozen=True)
class TransformedClip:
    """What a model sees of a clip.

    Args:
        pixel_values: (frames, channels, height, width), float32.
        guidance: (frames, tokens), float32; sums to 1 where the frame has guidance inside the view, else all zero.
        mirrored: whether the clip was flipped horizontally.
    """

    pixel_values: torch.Tensor
    guidance: torch.Tensor
    mirrored: bool


class RandomAspectCrop(v2.Transform):
    """A random crop whose aspect ratio is the frame's own up to a stretch, resized to a given size.

    `v2.RandomResizedCrop` draws aspect ratios around a square, which for a 4:3 frame that is always squeezed into a
    square input would be a change of aspect that evaluation never shows.

    Args:
        size: (height, width) in pixels of what comes out.
        scale_min: the smallest share of the area that is kept.
        ratio_max: the largest stretch of the aspect ratio.
    """

    def __init__(self, size: tuple[int, int], scale_min: float, ratio_max: float):
        super().__init__()
        self.size, self.scale_min, self.ratio_max = list(size), scale_min, ratio_max

    def make_params(self, flat_inputs: list) -> dict[str, int]:
        height, width = next(item for item in flat_inputs if isinstance(item, tv_tensors.Video)).shape[-2:]
        area = torch.empty(1).uniform_(self.scale_min, 1.0).item()
        stretch = np.exp(torch.empty(1).uniform_(-1.0, 1.0).item() * np.log(self.ratio_max) / 2)
        crop_height = min(height, max(1, round(height * area**0.5 / stretch)))
        crop_width = min(width, max(1, round(width * area**0.5 * stretch)))
        top = int(torch.randint(0, height - crop_height + 1, ()).item())
        left = int(torch.randint(0, width - crop_width + 1, ()).item())
        return {"top": top, "left": left, "height": crop_height, "width": crop_width}

    def transform(self, inpt, params: dict[str, int]):
        return v2.functional.resized_crop(inpt, **params, size=self.size, antialias=True)


class ClipTransform:
    """Turns decoded frames and their guidance into what a model and its losses take.

    Args:
        steps: `transforms.v2` transforms of pixels; geometric ones move the guidance along.
        token_grid: (rows, columns) of the model's tokens for one frame.
        output_size: (height, width) in pixels of what the steps give.
        mean: per channel, subtracted after scaling pixels to [0, 1].
        std: per channel.
        mirror_probability: of a horizontal flip after all steps.
        resampling: "area" (exact overlap), or the paper's "pad_or_truncate".
        min_kept: a frame whose guidance was cropped away but for less than this share is not supervised.
    """

    def __init__(
        self,
        steps: Sequence[v2.Transform],
        token_grid: tuple[int, int],
        output_size: tuple[int, int],
        mean: Sequence[float],
        std: Sequence[float],
        mirror_probability: float = 0.0,
        resampling: str = "area",
        min_kept: float = 0.1,
    ):
        if resampling not in RESAMPLING_RULES:
            raise ConfigError(f"resampling is {resampling!r}, expected one of {RESAMPLING_RULES}")
        self.geometry = v2.Compose([*steps]) if steps else v2.Identity()
        self.finish = v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize(list(mean), list(std))])
        self.token_grid = token_grid
        self.output_size = output_size
        self.mirror_probability = mirror_probability
        self.resampling = resampling
        self.min_kept = min_kept

    def __call__(self, frames: np.ndarray, maps: Sequence[GridMap | None]) -> TransformedClip:
        """Transform one clip.

        Args:
            frames: (frames, height, width, 3), uint8.
            maps: guidance of each frame in the full frame's coordinates, None where there is none.
        """
        height, width = frames.shape[1:3]
        video = tv_tensors.Video(torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2))
        grids = list(dict.fromkeys((m.grid, m.rectangle) for m in maps if m is not None))
        cells = [grid_cells(_RULER_GRID), *(grid_cells(*grid) for grid in grids)]
        boxes = tv_tensors.BoundingBoxes(
            torch.from_numpy(np.concatenate(cells) * [width, height, width, height]).float(),
            format="XYXY",
            canvas_size=(height, width),
        )
        video, boxes = self.geometry(video, boxes)
        mirrored = bool(torch.rand(()) < self.mirror_probability)
        if mirrored:
            video, boxes = v2.functional.horizontal_flip(video), v2.functional.horizontal_flip(boxes)
        moved = np.split(_as_shares(boxes, video), np.cumsum([len(group) for group in cells])[:-1])
        spreads = self._spreads(grids, cells, moved)
        guidance = np.stack([self._tokens(grid_map, spreads, mirrored) for grid_map in maps])
        return TransformedClip(
            self.finish(video).as_subclass(torch.Tensor), torch.from_numpy(guidance.astype(np.float32)), mirrored
        )

    def _spreads(self, grids: list, cells: list[np.ndarray], moved: list[np.ndarray]) -> dict:
        """How each cell of each guidance grid spreads over the tokens: (cells, tokens) per grid."""
        scale = _area_scale(cells[0], moved[0])
        spreads = {}
        for grid, before, after in zip(grids, cells[1:], moved[1:], strict=True):
            spreads[grid] = spread_over_grid(after, before, self.token_grid) / scale
        return spreads

    def _tokens(self, grid_map: GridMap | None, spreads: dict, mirrored: bool) -> np.ndarray:
        """(tokens,) for one frame."""
        num_tokens = self.token_grid[0] * self.token_grid[1]
        if grid_map is None:
            return np.zeros(num_tokens)
        if self.resampling == "pad_or_truncate":
            flipped = grid_map.flip_horizontal() if mirrored else grid_map
            return _normalize(pad_or_truncate(flipped.weights, num_tokens))
        tokens = np.asarray(grid_map.weights, dtype=np.float64) @ spreads[grid_map.grid, grid_map.rectangle]
        if tokens.sum() < self.min_kept * np.sum(grid_map.weights):
            return np.zeros(num_tokens)
        return _normalize(tokens)


def _as_shares(boxes: tv_tensors.BoundingBoxes, video: torch.Tensor) -> np.ndarray:
    """Boxes in pixels as shares of the frame: (boxes, 4)."""
    height, width = video.shape[-2:]
    return boxes.as_subclass(torch.Tensor).double().numpy() / [width, height, width, height]


def _area_scale(before: np.ndarray, after: np.ndarray) -> float:
    """By how much the transform enlarges areas; clipped cells only ever look smaller, so the largest is right."""
    areas = [(boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) for boxes in (before, after)]
    return max(float((areas[1] / areas[0]).max()), np.finfo(np.float64).tiny)


def _normalize(weights: np.ndarray) -> np.ndarray:
    total = weights.sum()
    return weights / total if total > 0 else weights


def training_transform(
    processor,
    token_grid: tuple[int, int],
    augmentation: AugmentationConfig,
    resampling: str = "area",
) -> ClipTransform:
    """The transform of training clips for a video processor's input size and statistics.

    Raises:
        ConfigError: random crops together with `pad_or_truncate`, which cannot follow them.
    """
    if resampling == "pad_or_truncate" and augmentation.crop_scale_min < 1:
        raise ConfigError("pad_or_truncate ignores where tokens are: set crop_scale_min to 1 to use it")
    steps: list[v2.Transform] = [
        RandomAspectCrop(input_size(processor), augmentation.crop_scale_min, augmentation.crop_ratio_max)
        if augmentation.crop_scale_min < 1
        else v2.Resize(list(input_size(processor)), antialias=True)
    ]
    if augmentation.brightness > 0:
        strength = augmentation.brightness
        steps.append(v2.ColorJitter(brightness=strength, contrast=strength, saturation=strength))
    return ClipTransform(
        steps,
        token_grid,
        input_size(processor),
        processor.image_mean,
        processor.image_std,
        augmentation.mirror_probability,
        resampling,
    )


def evaluation_transform(processor, token_grid: tuple[int, int], resampling: str = "area") -> ClipTransform:
    """What the video processor does to a clip (resize, centre crop), done to the guidance as well."""
    steps: list[v2.Transform] = []
    if processor.do_resize:
        size = dict(processor.size)
        target = size["shortest_edge"] if "shortest_edge" in size else [size["height"], size["width"]]
        interpolation = v2.InterpolationMode.BICUBIC if int(processor.resample) == 3 else v2.InterpolationMode.BILINEAR
        steps.append(v2.Resize(target, interpolation=interpolation, antialias=True))
    if getattr(processor, "do_center_crop", False):
        steps.append(v2.CenterCrop([processor.crop_size["height"], processor.crop_size["width"]]))
    mean, std = processor.image_mean, processor.image_std
    return ClipTransform(steps, token_grid, input_size(processor), mean, std, resampling=resampling)


def input_size(processor) -> tuple[int, int]:
    """(height, width) in pixels of what a video processor gives.

    Raises:
        ConfigError: the processor has no fixed size.
    """
    size = dict(processor.crop_size if getattr(processor, "do_center_crop", False) else processor.size)
    if "height" not in size or "width" not in size:
        raise ConfigError(f"{type(processor).__name__} has no fixed input size: {size}")
    return size["height"], size["width"]


__all__ = [
    "RESAMPLING_RULES",
    "AugmentationConfig",
    "ClipTransform",
    "RandomAspectCrop",
    "TransformedClip",
    "evaluation_transform",
    "input_size",
    "training_transform",
]
