"""The shape of people by a small network for phones: the soft person mask of MediaPipe's selfie segmentation.

The network is not part of this project. It lies in the npm package `@mediapipe/selfie_segmentation` (`npm pack
@mediapipe/selfie_segmentation`, then `selfie_segmentation.tflite` in it); its path is a setting or the environment
variable `VIDREASON_PERSON_MASK`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image
from scipy import ndimage

from ..errors import DetectionError
from ..files import content_hash
from .detector import Detector, Found, check_limits
from .keypoints import find_persons
from .litert import LiteNetwork
from .squares import Square

ENVIRONMENT = "VIDREASON_PERSON_MASK"

_INPUT_PX = 256
_MARGIN = 1.5  # of a person's box: the network was trained with people amid their surroundings
_LEAST_SHARE = 0.002  # of the frame: smaller patches of "person" are noise of the network's own 256 pixels
_INSIDE = 0.5  # probability of a pixel from which on it is the person's


class PersonMaskDetector(Detector):
    """Detects people, with masks.

    Without `persons` the network sees the whole frame, and every connected region of the mask is a person, whose score
    is the mean probability in it: people who touch are one. With `persons` it sees each person's box with its
    surroundings, and the score is that of the box times the mean probability in the mask: the score map is then
    score x mask in place of score x box.

    Args:
        path: `selfie_segmentation.tflite`; None takes the environment variable `VIDREASON_PERSON_MASK`.
        threshold: Least score that is kept.
        max_side_px: Longer side that frames are scaled down to while decoding.
        persons: Name of a registered detector with the class "person", such as "coco".
        persons_settings: Settings of that detector.

    Raises:
        DetectionError: The file is not there, or a setting is out of range.
    """

    name: ClassVar[str] = "person_mask"

    def __init__(
        self,
        path: str | None = None,
        threshold: float = 0.2,
        max_side_px: int | None = 640,
        persons: str | None = None,
        persons_settings: Mapping[str, Any] | None = None,
    ):
        check_limits(threshold, max_side_px)
        path = path or os.environ.get(ENVIRONMENT)
        if not path:
            raise DetectionError(
                f"detector {self.name!r} needs selfie_segmentation.tflite of npm's @mediapipe/selfie_segmentation: "
                f"give its path, or set {ENVIRONMENT}"
            )
        shape = (1, _INPUT_PX, _INPUT_PX)
        self._network = LiteNetwork(path, (*shape, 3), (*shape, 1))
        self.model, self.revision = Path(path).stem, content_hash([Path(path)])[:12]
        self.threshold, self.max_side_px = threshold, max_side_px
        self.vocabulary = ("person",)
        self.persons = None if persons is None else find_persons(self.name, persons, persons_settings or {})

    @property
    def key(self) -> dict[str, Any]:
        """All that decides on what it finds, beside the frame and the class."""
        return {**super().key, "persons": None if self.persons is None else self.persons.key}

    def detect(self, frames: np.ndarray, frame_keys: Sequence[Mapping[str, Any]], class_text: str) -> list[Found]:
        """Detections of people; see `Detector.detect`."""
        if self.persons is None:
            return [self._regions(frame) for frame in frames]
        persons = self.persons.detect(frames, frame_keys, class_text)
        return [
            self._in_boxes(frame, found) if found.status == "ok" else found
            for frame, found in zip(frames, persons, strict=True)
        ]

    def _regions(self, frame: np.ndarray) -> Found:
        """Each connected region of the frame's mask."""
        # the network is for whole pictures, stretched to its square
        shown = np.asarray(Image.fromarray(frame).resize((_INPUT_PX, _INPUT_PX), Image.Resampling.BILINEAR))
        probabilities = self._probabilities(shown)
        labels, count = ndimage.label(probabilities >= _INSIDE)
        boxes, scores, masks = [], [], []
        for label in range(1, count + 1):
            mask = labels == label
            if mask.mean() < _LEAST_SHARE:
                continue
            score = float(probabilities[mask].mean())
            if score >= self.threshold:
                boxes.append(_box_of(mask))
                scores.append(score)
                masks.append(mask)
        return Found.of(boxes, scores, masks)

    def _in_boxes(self, frame: np.ndarray, persons: Found) -> Found:
        """The mask within each person's box."""
        height, width = frame.shape[:2]
        scores, boxes, masks = [], [], []
        for box, score in zip(persons.boxes, persons.scores, strict=True):
            x0, y0, x1, y1 = box * np.array([width, height, width, height])
            square = Square.around((x0, y0, x1, y1), _MARGIN)
            probabilities = self._probabilities(square.cut(frame, _INPUT_PX))
            of_frame = _to_frame(probabilities, square, (height, width))
            of_frame[_outside((x0, y0, x1, y1), (height, width))] = 0.0
            mask = of_frame >= _INSIDE
            if not mask.any():
                continue  # the box holds nobody whom the network sees
            refined = float(score * of_frame[mask].mean())
            if refined >= self.threshold:
                boxes.append(box)
                scores.append(refined)
                masks.append(mask)
        return Found.of(boxes, scores, masks)

    def _probabilities(self, picture: np.ndarray) -> np.ndarray:
        """The mask of a picture, uint8 (256, 256, 3): float32 (256, 256) in [0, 1]."""
        return self._network(picture[None].astype(np.float32) / 255.0)[0, :, :, 0].clip(0.0, 1.0)


def _box_of(mask: np.ndarray) -> list[float]:
    """x0, y0, x1, y1 in [0, 1] of the smallest box around a mask."""
    rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    height, width = mask.shape
    return [cols[0] / width, rows[0] / height, (cols[-1] + 1) / width, (rows[-1] + 1) / height]


def _to_frame(probabilities: np.ndarray, square: Square, frame_size: tuple[int, int]) -> np.ndarray:
    """Probabilities in a square of the frame, as float32 (height, width) of the frame, 0 outside the square."""
    height, width = frame_size
    whole = np.asarray(Image.fromarray(probabilities).resize((square.side, square.side), Image.Resampling.BILINEAR))
    placed = np.zeros((height, width), dtype=np.float32)
    top, bottom = max(square.top, 0), min(square.top + square.side, height)
    left, right = max(square.left, 0), min(square.left + square.side, width)
    placed[top:bottom, left:right] = whole[
        top - square.top : bottom - square.top, left - square.left : right - square.left
    ]
    return placed


def _outside(box_px: tuple[float, float, float, float], frame_size: tuple[int, int]) -> np.ndarray:
    """Which pixels have their centre outside a box: booleans (height, width)."""
    x0, y0, x1, y1 = box_px
    y, x = np.arange(frame_size[0]) + 0.5, np.arange(frame_size[1]) + 0.5
    return ~np.outer((y >= y0) & (y <= y1), (x >= x0) & (x <= x1))
