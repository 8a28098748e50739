"""Augmentation and preprocessing that move pixels, guidance and detected objects together.

The cells of the guidance grid travel through torchvision's `transforms.v2` as bounding boxes beside the video, in one
call, so that any crop, resize or flip that moves a pixel moves the cell above it. What comes out is spread over the
model's tokens by exact area overlap. Boxes of objects travel along with the cells.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torchvision import tv_tensors
from torchvision.transforms import v2
from transformers import BaseVideoProcessor
from transformers.image_utils import pil_torch_interpolation_mapping

from ..errors import ConfigError
from ..guidance import GridMap, grid_cells, pad_or_truncate
from ..guidance.geometry import Rectangle, spread_over_grid
from .object_maps import ClipObjects
from .pixel_scale import pixel_statistics

RESAMPLING_RULES = ("area", "pad_or_truncate")

Zoom = Callable[[Sequence[GridMap | None]], Rectangle | None]
"""From the guidance of each frame to the rectangle (x0, y0, x1, y1) in [0, 1] that a clip is cropped to, or None for
the whole frame. What it draws comes from torch's generator, which the clip has seeded."""

_RULER_GRID = (16, 16)
"""A fine grid that is sent along with the guidance: those of its cells that stay whole tell the transform's scale."""


@dataclass(frozen=True)
class AugmentationConfig:
    """Random changes of a training clip, the same for all its frames.

    Args:
        crop_scale_min: Smallest share of the frame's area that a random resized crop keeps; 1 keeps all of it.
        crop_ratio_max: Largest stretch of the crop's aspect ratio against the frame's, at least 1.
        mirror_probability: Probability of a horizontal flip. Where a flip changes what happens, the data set has to
            be given `mirrored_labels`.
        brightness: Strength of the colour jitter, 0 for none; contrast and saturation take the same.

    Raises:
        ConfigError: A setting is out of range.
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
        pixel_values: Normalised pixels, float32 (frames, channels, height, width).
        guidance: Weights over the tokens, float32 (frames, tokens); they sum to 1 where the frame has guidance inside
            the view, and are all zero elsewhere.
        mirrored: Whether the clip was flipped horizontally.
        object_maps: Score maps of classes of objects, float32 (frames, classes, height, width) in [0, 1]; None where
            no objects were given.
    """

    pixel_values: torch.Tensor
    guidance: torch.Tensor
    mirrored: bool
    object_maps: torch.Tensor | None = None


class RandomAspectCrop(v2.Transform):
    """A random crop whose aspect ratio is the frame's own up to a stretch, resized to a given size.

    `v2.RandomResizedCrop` draws aspect ratios around a square, which for a 4:3 frame that is always squeezed into a
    square input would be a change of aspect that evaluation never shows.

    Args:
        size: Height and width in pixels of what comes out.
        scale_min: Smallest share of the area that is kept.
        ratio_max: Largest stretch of the aspect ratio.
        interpolation: How pixels are resized.
    """

    def __init__(
        self,
        size: tuple[int, int],
        scale_min: float,
        ratio_max: float,
        interpolation: v2.InterpolationMode = v2.InterpolationMode.BILINEAR,
    ):
        super().__init__()
        self.size, self.scale_min, self.ratio_max = list(size), scale_min, ratio_max
        self.interpolation = interpolation

    def forward(self, *inputs: Any) -> Any:
        """Crop all inputs alike; without the search through nested inputs that costs as much as a small resize."""
        params = self.make_params(list(inputs))
        outputs = tuple(self.transform(item, params) for item in inputs)
        return outputs if len(outputs) > 1 else outputs[0]

    def make_params(self, flat_inputs: list) -> dict[str, int]:
        """Draw the crop of a video: its top, left, height and width in pixels."""
        height, width = next(item for item in flat_inputs if isinstance(item, tv_tensors.Video)).shape[-2:]
        area = torch.empty(1).uniform_(self.scale_min, 1.0).item()
        # half of it: height is divided by it and width multiplied, so that the aspect ratio changes by its square
        stretch = np.exp(torch.empty(1).uniform_(-1.0, 1.0).item() * np.log(self.ratio_max) / 2)
        crop_height = min(height, max(1, round(height * area**0.5 / stretch)))
        crop_width = min(width, max(1, round(width * area**0.5 * stretch)))
        top = int(torch.randint(0, height - crop_height + 1, ()).item())
        left = int(torch.randint(0, width - crop_width + 1, ()).item())
        return {"top": top, "left": left, "height": crop_height, "width": crop_width}

    def transform(self, inpt: Any, params: dict[str, int]) -> Any:
        """Crop and resize one input: a video, or boxes that lie over it."""
        return v2.functional.resized_crop(
            inpt, **params, size=self.size, interpolation=self.interpolation, antialias=True
        )


class ChannelPlanes(v2.Transform):
    """Lays a video out channel by channel, which arithmetic on single channels goes through several times faster.

    Decoded frames keep the channels of a pixel together, and so does what is resized from them.
    """

    _transformed_types = (tv_tensors.Video,)  # boxes pass as they are

    def transform(self, inpt: Any, params: dict) -> Any:
        """The same video (frames, channels, height, width), contiguous in memory."""
        return tv_tensors.wrap(inpt.contiguous(), like=inpt)


class ClipTransform:
    """Turns decoded frames and their guidance into what a model and its losses take.

    Args:
        steps: Transforms of `transforms.v2` for pixels; geometric ones move the guidance along.
        token_grid: Rows and columns of the model's tokens for one frame.
        output_size: Height and width in pixels of what the steps give.
        mean: Mean of each channel, subtracted after scaling pixels to [0, 1].
        std: Standard deviation of each channel, divided by afterwards.
        mirror_probability: Probability of a horizontal flip after all steps.
        resampling: "area" (exact overlap), or the paper's "pad_or_truncate".
        min_kept: Share of a frame's guidance that has to stay in the view; where less does, it is not supervised.
        zoom: Chooses, from the maps of a clip, the rectangle that it is cropped to before the steps; see `Zoom`.

    Raises:
        ConfigError: The rule of resampling is unknown.
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
        zoom: Zoom | None = None,
    ):
        if resampling not in RESAMPLING_RULES:
            raise ConfigError(f"resampling is {resampling!r}, expected one of {RESAMPLING_RULES}")
        self.steps = tuple(steps)
        self.mean, self.std = list(mean), list(std)
        self.token_grid = token_grid
        self.output_size = output_size
        self.mirror_probability = mirror_probability
        self.resampling = resampling
        self.min_kept = min_kept
        self.zoom = zoom

    @property
    def whole_frame(self) -> bool:
        """Whether the steps keep all of a frame."""
        return not any(isinstance(step, (v2.CenterCrop, RandomAspectCrop)) for step in self.steps)

    def __call__(
        self,
        frames: np.ndarray,
        maps: Sequence[GridMap | None],
        rectangle: Rectangle | None = None,
        objects: ClipObjects | None = None,
    ) -> TransformedClip:
        """Transform one clip.

        Args:
            frames: RGB frames, uint8 (frames, height, width, 3).
            maps: Guidance of each frame in the full frame's coordinates, None where there is none.
            rectangle: Part (x0, y0, x1, y1) in [0, 1] that the frames are cropped to first; None keeps them whole.
            objects: What detectors found in the frames, in the full frame's coordinates; None gives no maps of it.
        """
        height, width = frames.shape[1:3]
        video = tv_tensors.Video(torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2))
        grids = tuple(dict.fromkeys((m.grid, m.rectangle) for m in maps if m is not None))
        cells, corners = _laid_over_frame(grids, height, width)
        num_cells = len(corners)
        reference = None
        if objects is not None:
            corners = torch.cat([corners, objects.corners(height, width)])
            reference = objects.reference(height, width)
        boxes = tv_tensors.BoundingBoxes(corners.clone(), format="XYXY", canvas_size=(height, width))
        # one list for every step: what is drawn at random is drawn once for all of it
        moving = [video, boxes, *([] if reference is None else [reference])]
        if self.zoom is not None:
            rectangle = self.zoom(maps) or rectangle
        if rectangle is not None:
            moving = _cropped(moving, rectangle, height, width)
        for step in self.steps:
            moving = step(*moving)
        mirrored = bool(torch.rand(()) < self.mirror_probability)
        if mirrored:
            moving = [v2.functional.horizontal_flip(one) for one in moving]
        video, boxes, *references = moving
        moved = _as_shares(boxes, video)
        guidance = self._guidance(maps, grids, cells, moved[:num_cells], mirrored)
        shown = None
        if objects is not None:
            shown = objects.render(moved[num_cells:], _as_shares(references[0], video) if references else None)
        return TransformedClip(self._normalized(video), guidance, mirrored, shown)

    def _normalized(self, video: torch.Tensor) -> torch.Tensor:
        """Bytes (frames, channels, height, width) as float32, normalised; on plain tensors, laid out by channel."""
        pixels = v2.functional.to_dtype(video.as_subclass(torch.Tensor).contiguous(), torch.float32, scale=True)
        return v2.functional.normalize(pixels, self.mean, self.std, inplace=True)

    def _guidance(
        self,
        maps: Sequence[GridMap | None],
        grids: tuple[tuple, ...],
        cells: tuple[np.ndarray, ...],
        moved: np.ndarray,
        mirrored: bool,
    ) -> torch.Tensor:
        """Guidance of every frame over the tokens: (frames, tokens), float32.

        Args:
            maps: Map of each frame.
            grids: Grid and rectangle of the maps, each pair once.
            cells: Cells of the ruler, then of each grid, before the transform; each (cells, 4).
            moved: All of them after it, (all cells, 4).
            mirrored: Whether the clip was flipped.
        """
        num_tokens = self.token_grid[0] * self.token_grid[1]
        guidance = np.zeros((len(maps), num_tokens), dtype=np.float32)
        if self.resampling == "pad_or_truncate":
            for frame, grid_map in enumerate(maps):
                if grid_map is not None:
                    flipped = grid_map.flip_horizontal() if mirrored else grid_map
                    guidance[frame] = _normalize(pad_or_truncate(flipped.weights, num_tokens))
            return torch.from_numpy(guidance)
        scale = _area_scale(cells[0], moved[: len(cells[0])])
        start = len(cells[0])
        for grid, before in zip(grids, cells[1:], strict=True):
            spread = spread_over_grid(moved[start : start + len(before)], before, self.token_grid) / scale
            start += len(before)
            guided = {
                frame: m.weights for frame, m in enumerate(maps) if m is not None and (m.grid, m.rectangle) == grid
            }
            rows = list(guided)
            weights = np.stack(list(guided.values())).astype(np.float64)
            tokens = weights @ spread
            tokens[tokens.sum(axis=1) < self.min_kept * weights.sum(axis=1)] = 0
            guidance[rows] = _normalize(tokens)
        return torch.from_numpy(guidance)


def _cropped(moving: Sequence[Any], rectangle: Rectangle, height: int, width: int) -> list[Any]:
    """All that moves with frames of a height and width in pixels, cropped to a rectangle in [0, 1]."""
    x0, y0, x1, y1 = rectangle
    left, top = round(x0 * width), round(y0 * height)
    size = {"height": max(1, round(y1 * height) - top), "width": max(1, round(x1 * width) - left)}
    return [v2.functional.crop(one, top, left, **size) for one in moving]


@lru_cache(maxsize=256)
def _laid_over_frame(grids: tuple[tuple, ...], height: int, width: int) -> tuple[tuple[np.ndarray, ...], torch.Tensor]:
    """The cells of the ruler and of each (grid, rectangle) as shares of the frame; and all as boxes in pixels.

    The same for every clip of a data set whose guidance has one grid, so it is kept.

    Returns:
        Arrays (cells, 4), and a tensor (all cells, 4), float32. Neither is to be changed.
    """
    cells = (grid_cells(_RULER_GRID), *(grid_cells(*grid) for grid in grids))
    return cells, torch.from_numpy(np.concatenate(cells) * [width, height, width, height]).float()


def _as_shares(boxes: tv_tensors.BoundingBoxes, video: torch.Tensor) -> np.ndarray:
    """Boxes in pixels as shares of the frame: (boxes, 4)."""
    height, width = video.shape[-2:]
    return boxes.as_subclass(torch.Tensor).double().numpy() / [width, height, width, height]


def _area_scale(before: np.ndarray, after: np.ndarray) -> float:
    """By how much the transform enlarges areas; clipped cells only ever look smaller, so the largest is right."""
    areas = [(boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) for boxes in (before, after)]
    return max(float((areas[1] / areas[0]).max()), np.finfo(np.float64).tiny)


def _normalize(weights: np.ndarray) -> np.ndarray:
    """Weights (..., tokens) that sum to 1, or to 0 where they did."""
    totals = weights.sum(axis=-1, keepdims=True)
    return np.divide(weights, totals, out=np.zeros_like(weights), where=totals > 0)


def training_transform(
    processor: BaseVideoProcessor,
    token_grid: tuple[int, int],
    augmentation: AugmentationConfig,
    resampling: str = "area",
    zoom: Zoom | None = None,
) -> ClipTransform:
    """The transform of training clips for a video processor's input size and statistics.

    Args:
        processor: Video processor of the model.
        token_grid: Rows and columns of the model's tokens for one frame.
        augmentation: Random changes of a clip.
        resampling: Rule by which guidance meets the tokens, "area" or "pad_or_truncate".
        zoom: Chooses the rectangle that a clip is cropped to before all else; None crops none.

    Raises:
        ConfigError: Random crops are asked for together with `pad_or_truncate`, which cannot follow them, or the
            processor resizes in a way that cannot be followed.
    """
    if resampling == "pad_or_truncate" and (augmentation.crop_scale_min < 1 or zoom is not None):
        raise ConfigError(
            "pad_or_truncate ignores where tokens are: set crop_scale_min to 1 and evidence_zoom to 0 to use it"
        )
    size, interpolation = input_size(processor), interpolation_mode(processor)
    steps: list[v2.Transform] = [
        RandomAspectCrop(size, augmentation.crop_scale_min, augmentation.crop_ratio_max, interpolation)
        if augmentation.crop_scale_min < 1
        else v2.Resize(list(size), interpolation=interpolation, antialias=True)
    ]
    if augmentation.brightness > 0:
        strength = augmentation.brightness
        steps.append(ChannelPlanes())
        steps.append(v2.ColorJitter(brightness=strength, contrast=strength, saturation=strength))
    return ClipTransform(
        steps,
        token_grid,
        input_size(processor),
        *pixel_statistics(processor),
        augmentation.mirror_probability,
        resampling,
        zoom=zoom,
    )


def evaluation_transform(
    processor: BaseVideoProcessor, token_grid: tuple[int, int], resampling: str = "area"
) -> ClipTransform:
    """What the video processor does to a clip (resize, centre crop), done to the guidance as well.

    Args:
        processor: Video processor of the model.
        token_grid: Rows and columns of the model's tokens for one frame.
        resampling: Rule by which guidance meets the tokens, "area" or "pad_or_truncate".

    Raises:
        ConfigError: The processor resizes in a way that cannot be followed.
    """
    stated: Any = processor  # transformers sets these attributes from keyword arguments, without declaring them
    steps: list[v2.Transform] = []
    if stated.do_resize:
        size = {name: side for name, side in dict(stated.size).items() if side is not None}
        if set(size) not in ({"shortest_edge"}, {"height", "width"}):
            raise ConfigError(
                f"{type(processor).__name__} resizes to {size}; clips are resized to a shortest_edge, or to a height "
                "and width"
            )
        target = size["shortest_edge"] if "shortest_edge" in size else [size["height"], size["width"]]
        steps.append(v2.Resize(target, interpolation=interpolation_mode(processor), antialias=True))
    if getattr(processor, "do_center_crop", False):
        steps.append(v2.CenterCrop([stated.crop_size["height"], stated.crop_size["width"]]))
    mean, std = pixel_statistics(processor)
    return ClipTransform(steps, token_grid, input_size(processor), mean, std, resampling=resampling)


def interpolation_mode(processor: BaseVideoProcessor) -> v2.InterpolationMode:
    """How a video processor resizes, as torchvision says it: the processor's own resizing of tensors.

    Args:
        processor: Video processor of a model, whose `resample` is a filter of PIL, its number, or torchvision's mode.

    Raises:
        ConfigError: It is none of these, or a filter that torchvision does not have for videos.
    """
    resample = getattr(processor, "resample", None)
    if resample is None and not getattr(processor, "do_resize", True):
        return v2.InterpolationMode.BILINEAR  # of training, whose crops are resized in any case
    modes: Mapping[Any, v2.InterpolationMode] = pil_torch_interpolation_mapping  # a processor may state anything
    mode = resample if isinstance(resample, v2.InterpolationMode) else modes.get(resample)
    if mode == v2.InterpolationMode.LANCZOS and not _resizes_videos(mode):
        mode = v2.InterpolationMode.BICUBIC  # as transformers does where torchvision is older than 0.27
    if mode is None or not _resizes_videos(mode):
        filters = {int(key): value for key, value in pil_torch_interpolation_mapping.items() if _resizes_videos(value)}
        known = ", ".join(f"{key} ({value.value})" for key, value in sorted(filters.items()))
        raise ConfigError(
            f"{type(processor).__name__} resizes with resample={resample!r}, which torchvision does not do to videos; "
            f"it has {known}"
        )
    return mode


@lru_cache
def _resizes_videos(mode: v2.InterpolationMode) -> bool:
    """Whether torchvision has a mode for tensors, which depends on its version; it raises different errors."""
    pixels = torch.zeros(1, 3, 4, 4, dtype=torch.uint8)
    try:
        v2.functional.resize(pixels, [2, 2], interpolation=mode, antialias=True)
    except (NotImplementedError, RuntimeError, ValueError, KeyError):
        return False
    return True


def input_size(processor: BaseVideoProcessor) -> tuple[int, int]:
    """(height, width) in pixels of what a video processor gives.

    Raises:
        ConfigError: The processor has no fixed size.
    """
    stated: Any = processor
    size = dict(stated.crop_size if getattr(processor, "do_center_crop", False) else stated.size)
    if "height" not in size or "width" not in size:
        raise ConfigError(f"{type(processor).__name__} has no fixed input size: {size}")
    return size["height"], size["width"]


__all__ = [
    "RESAMPLING_RULES",
    "AugmentationConfig",
    "ChannelPlanes",
    "ClipTransform",
    "RandomAspectCrop",
    "TransformedClip",
    "evaluation_transform",
    "input_size",
    "interpolation_mode",
    "training_transform",
]
