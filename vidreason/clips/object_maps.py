"""What detectors found in a clip's frames, moved with its pixels and rendered as score maps.

Boxes travel through a clip's transforms as `tv_tensors.BoundingBoxes`: corners are exact at any size, and hundreds of
them cost less than a single mask. So do masks: two boxes of reference travel for all of them, and say where the frame
comes to lie. As `tv_tensors.Mask` they would be resized by nearest neighbours, which shifts them by up to half a
pixel of the view against the pixels that they belong to, and would cost a picture of the frame's size each. Colour
is never changed in maps, and nothing is normalised.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torchvision import tv_tensors

from ..detection.detector import LASTING, Found
from ..detection.index import DetectionIndex, FrameDetections
from ..detection.score_maps import box_maps
from ..errors import ConfigError


@dataclass(frozen=True)
class ObjectMaps:
    """Where the object maps of clips come from, and how large they are.

    Args:
        index: Detections of the classes, joined by time; its classes are the channels in their order.
        size: Height and width in pixels of the maps.
    """

    index: DetectionIndex
    size: tuple[int, int]

    def __post_init__(self) -> None:
        if min(self.size) < 1:
            raise ConfigError(f"object maps of {self.size[0]} x {self.size[1]} pixels: expected at least one")

    def look_up(self, video_id: str, timestamps_s: Sequence[float]) -> ClipObjects:
        """What was found in the frames of a clip.

        Args:
            video_id: Id of the clip's video.
            timestamps_s: Presentation time of each sampled frame, in seconds from the start of the video.

        Raises:
            DetectionError: A row of the table breaks the contract.
        """
        return ClipObjects(self.index.lookup(video_id, timestamps_s), self.size)

    def nothing(self, num_frames: int) -> torch.Tensor:
        """The maps of frames without detections: zeros (frames, classes, height, width), float32."""
        return torch.zeros(num_frames, len(self.index.class_texts), *self.size)


class ClipObjects:
    """Detections in the frames of one clip, on their way through its transforms.

    Args:
        detections: For each frame, what was found of each class.
        size: Height and width in pixels of the maps.
    """

    def __init__(self, detections: FrameDetections, size: tuple[int, int]):
        self.size = size
        self._found = detections.found
        places = [(frame, channel) for frame, row in enumerate(self._found) for channel in range(len(row))]
        self._with_boxes: list[tuple[int, int, Found]] = []
        self._with_masks: list[tuple[int, int, Found]] = []
        for frame, channel in places:
            one = self._found[frame][channel]
            if one is not None and len(one):
                (self._with_boxes if one.masks is None else self._with_masks).append((frame, channel, one))
        known = sum(status in LASTING for row in detections.statuses for status in row)
        self.missing = 1.0 - known / max(1, len(places))
        """Share of the (frame, class) pairs that no row speaks for, or only one of a failure: their maps are zeros."""

    def corners(self, height: int, width: int) -> torch.Tensor:
        """All boxes in pixels of the frames: float32 (boxes, 4)."""
        if not self._with_boxes:
            return torch.zeros(0, 4)
        boxes = np.concatenate([found.boxes for *_, found in self._with_boxes])
        return torch.from_numpy(boxes * np.asarray([width, height, width, height], dtype=np.float32))

    def reference(self, height: int, width: int) -> tv_tensors.BoundingBoxes | None:
        """The frame and its upper left quarter as boxes that are never cut off; None where no class has masks.

        Where they come to lie says how masks move: the first gives the scale, the second which way up they are.
        """
        if not self._with_masks:
            return None
        boxes = [[0.0, 0.0, width, height], [0.0, 0.0, width / 2, height / 2]]
        return tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=(height, width), clamping_mode=None)

    def render(self, boxes: np.ndarray, reference: np.ndarray | None) -> torch.Tensor:
        """The maps of what came out of the transform.

        Args:
            boxes: Those of `corners` after it, as shares of the view: (boxes, 4).
            reference: Those of `reference` after it, likewise.

        Returns:
            float32 (frames, classes, height, width), in [0, 1].
        """
        num_frames, num_classes = len(self._found), len(self._found[0]) if self._found else 0
        counts = [len(found) for *_, found in self._with_boxes]
        numbers = [frame * num_classes + channel for frame, channel, _ in self._with_boxes]
        scores = np.concatenate([np.zeros(0, np.float32), *(found.scores for *_, found in self._with_boxes)])
        map_of = np.repeat(np.asarray(numbers, dtype=np.int64), counts)
        maps = box_maps(boxes, scores, map_of, num_frames * num_classes, self.size)
        maps = maps.reshape(num_frames, num_classes, *self.size)
        if reference is not None:
            self._render_masks(maps, reference)
        return torch.from_numpy(maps)

    def _render_masks(self, maps: np.ndarray, reference: np.ndarray) -> None:
        """Fill in the maps of classes that have masks."""
        weights: dict[tuple[int, ...], tuple[np.ndarray, np.ndarray]] = {}  # masks of a table share a size or two
        for frame, channel, found in self._with_masks:
            masks = found.masks or ()
            shape = masks[0].shape
            if shape not in weights:
                down, right = (
                    _area_weights(shape[side], reference[:, [1 - side, 3 - side]], self.size[side]) for side in (0, 1)
                )
                weights[shape] = down, right.T
            down, right = weights[shape]
            for mask, score in zip(masks, found.scores, strict=True):
                # shares of areas are separable: (height, mask height) x mask x (mask width, width)
                covered = (down @ mask.astype(np.float32) @ right).clip(max=1.0)
                np.maximum(maps[frame, channel], score * covered, out=maps[frame, channel])


def _area_weights(parts: int, reference: np.ndarray, pixels: int) -> np.ndarray:
    """Which share of each pixel along a side of the map each row or column of a mask takes up.

    Args:
        parts: Number of the mask's rows or columns, which divide the frame's side evenly.
        reference: (2, 2): start and end of the frame and of its first half along this side, as shares of the view.
        pixels: Number of the map's pixels along the side.

    Returns:
        float32 (pixels, parts).
    """
    (start, stop), (half_start, half_stop) = reference
    edges = np.linspace(start, stop, parts + 1) * pixels
    lower, upper = edges[:-1], edges[1:]
    if half_start + half_stop > start + stop:  # the first half lies behind the second: the side is mirrored
        lower, upper = lower[::-1], upper[::-1]
    places = np.arange(pixels)[:, None]
    return (np.minimum(places + 1, upper) - np.maximum(places, lower)).clip(min=0.0).astype(np.float32)


def map_size(map_size_px: int | None, input_size: tuple[int, int]) -> tuple[int, int]:
    """Height and width in pixels of the object maps of a model.

    Args:
        map_size_px: Longer side of the maps; None takes the size of the model's input.
        input_size: Height and width in pixels of the model's input.

    Raises:
        ConfigError: The input is no whole multiple of the maps, so that a map's pixel would belong to parts of pixels.
    """
    if map_size_px is None:
        return input_size
    height, width = input_size
    if map_size_px < 1 or max(input_size) % map_size_px:
        raise ConfigError(f"map_size_px is {map_size_px}, expected a number that divides {max(input_size)}")
    factor = max(input_size) // map_size_px
    if height % factor or width % factor:
        raise ConfigError(f"map_size_px is {map_size_px}: {height} x {width} pixels cannot be divided by {factor}")
    return height // factor, width // factor


__all__ = ["ClipObjects", "ObjectMaps", "map_size"]
