"""Keypoints of people, and heat maps of them: what A2O's baseline PC3D++ is shown in place of objects.

PoseConv3D (Duan et al. 2022, "Revisiting Skeleton-based Action Recognition", section 3.2) draws a Gaussian around each
joint, one channel a joint, times the joint's score; of several people a pixel shows the largest. `keypoint_maps` draws
exactly that.

A keypoint detector is also a `Detector`, whose classes are the names of the joints, so that skeletons go through the
same tables, caches and training as objects. There a joint is a box with the joint's score. Its sides are sqrt(2 pi) =
2.51 standard deviations, the box of the same volume as the Gaussian. At PoseConv3D's sigma of 0.6 pixels the rendered
map differs from the Gaussian's by about a seventh (root of squares), and no other side of a box does much better.
Several nested boxes for a joint are further off at that size, and would make one joint many detections.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..errors import DetectionError
from .detector import Detector, Found, check_limits, make_detector

COCO_KEYPOINTS = (
    *("nose", "left eye", "right eye", "left ear", "right ear", "left shoulder", "right shoulder", "left elbow"),
    *("right elbow", "left wrist", "right wrist", "left hip", "right hip", "left knee", "right knee"),
    *("left ankle", "right ankle"),
)
"""The joints of COCO in its order. Left is the person's own left."""

SIGMA_PX = 0.6
MAP_SIZE_PX = 56
"""PoseConv3D's Gaussian and the side of its heat maps, in pixels of those."""

_BOX_SIDES = math.sqrt(2 * math.pi)


@dataclass(frozen=True, eq=False)
class Keypoints:
    """The keypoints of the people in one frame.

    Args:
        points: float32 (people, keypoints, 2): x, y in [0, 1] of the full frame; they may lie beyond it.
        scores: float32 (people, keypoints), in [0, 1].
        failure: What the detector of people gave in place of an answer, where it gave none.
    """

    points: np.ndarray
    scores: np.ndarray
    failure: Found | None = None

    @classmethod
    def of(cls, people: Sequence[tuple[np.ndarray, np.ndarray]], num_keypoints: int) -> Keypoints:
        """Keypoints of any number of people, none included.

        Args:
            people: Points (keypoints, 2) and scores (keypoints,) of each person.
            num_keypoints: Number of keypoints of a person.
        """
        points = [points for points, _ in people] or np.zeros((0, num_keypoints, 2))
        scores = [scores for _, scores in people] or np.zeros((0, num_keypoints))
        return cls(np.asarray(points, np.float32), np.asarray(scores, np.float32))


class KeypointDetector(Detector):
    """Finds named keypoints of people.

    Args:
        threshold: Least score of a keypoint that is kept as a detection.
        sigma_px: Standard deviation of a joint's Gaussian, in pixels of a map of `map_size_px`.
        map_size_px: Side of the maps that `sigma_px` speaks of. Maps of another size show the same shares of a frame.
        max_side_px: Longer side that frames are scaled down to while decoding.
        persons: Name of a registered detector with the class "person", in whose boxes keypoints are looked for; None
            looks for one person in the whole frame, where the network can.
        persons_settings: Settings of that detector.

    Raises:
        DetectionError: A setting is out of range, or the detector of people cannot be made.
    """

    keypoint_names: tuple[str, ...] = COCO_KEYPOINTS

    def __init__(
        self,
        threshold: float,
        sigma_px: float = SIGMA_PX,
        map_size_px: int = MAP_SIZE_PX,
        max_side_px: int | None = None,
        persons: str | None = None,
        persons_settings: Mapping[str, Any] | None = None,
    ):
        check_limits(threshold, max_side_px)
        if not sigma_px > 0 or not math.isfinite(sigma_px):
            raise DetectionError(f"sigma_px is {sigma_px}, expected more than 0")
        if map_size_px < 1:
            raise DetectionError(f"map_size_px is {map_size_px}, expected at least 1")
        self.threshold, self.max_side_px = threshold, max_side_px
        self.sigma_px, self.map_size_px = sigma_px, map_size_px
        self.persons = None if persons is None else find_persons(self.name, persons, persons_settings or {})

    @property
    def key(self) -> dict[str, Any]:
        """All that decides on what it finds, beside the frame and the class."""
        persons = None if self.persons is None else self.persons.key
        return {**super().key, "sigma": self.sigma_px / self.map_size_px, "persons": persons}

    @abstractmethod
    def in_boxes(self, frame: np.ndarray, boxes_px: np.ndarray | None) -> Keypoints:
        """The keypoints of people in one frame.

        Args:
            frame: RGB, uint8 (height, width, 3).
            boxes_px: (people, 4): x0, y0, x1, y1 in pixels of each person's box; None where one person is to be looked
                for in the whole frame.
        """

    def find_keypoints(self, frames: np.ndarray, frame_keys: Sequence[Mapping[str, Any]]) -> list[Keypoints]:
        """The keypoints of all people: one `Keypoints` per frame.

        Args:
            frames: RGB, uint8 (frames, height, width, 3).
            frame_keys: Fields of `FRAME_KEY_FEATURES` of each frame.
        """
        if self.persons is None:
            return [self.in_boxes(frame, None) for frame in frames]
        height, width = frames.shape[1:3]
        scale = np.array([width, height, width, height], dtype=np.float32)
        nobody = Keypoints.of([], len(self.keypoint_names))
        return [
            self.in_boxes(frame, persons.boxes * scale)
            if persons.status == "ok"
            else nobody
            if persons.status == "empty"
            else replace(nobody, failure=persons)
            for frame, persons in zip(frames, self.persons.detect(frames, frame_keys, "person"), strict=True)
        ]

    def detect(self, frames: np.ndarray, frame_keys: Sequence[Mapping[str, Any]], class_text: str) -> list[Found]:
        """Detections of one keypoint; see `Detector.detect`."""
        return self.detect_classes(frames, frame_keys, [class_text])[class_text]

    def detect_classes(
        self, frames: np.ndarray, frame_keys: Sequence[Mapping[str, Any]], class_texts: Sequence[str]
    ) -> dict[str, list[Found]]:
        """Detections of several keypoints in one pass over the frames."""
        known = [text for text in class_texts if self.knows(text)]
        found = {text: [self.unknown(text) for _ in frame_keys] for text in class_texts}
        if known:
            people = self.find_keypoints(frames, frame_keys)
            found |= {text: [self._joint(one, text) for one in people] for text in known}
        return found

    def _joint(self, people: Keypoints, class_text: str) -> Found:
        if people.failure is not None:
            return people.failure
        place = self.keypoint_names.index(class_text)
        points, scores = people.points[:, place], people.scores[:, place]
        if not (np.isfinite(points).all() and np.isfinite(scores).all()):
            return Found.without("failed", f"{self.model} gave keypoints that are not finite")
        # a joint beyond the frame is no detection in it, though its box may reach into the frame
        kept = (scores >= self.threshold) & ((points >= 0) & (points <= 1)).all(axis=1)
        half = _BOX_SIDES * self.sigma_px / self.map_size_px / 2
        return Found.of(np.concatenate([points[kept] - half, points[kept] + half], axis=1), scores[kept])


def find_persons(asking: str, name: str, settings: Mapping[str, Any]) -> Detector:
    """The detector of people that another detector asks.

    Args:
        asking: Name of the other detector, for messages.
        name: Name of the detector.
        settings: Its settings.

    Raises:
        DetectionError: It cannot be made, or knows no people.
    """
    persons = make_detector(name, **settings)
    if not persons.knows("person"):
        raise DetectionError(f"detector {asking!r}: {name!r} does not know the class 'person'")
    return persons


def keypoint_maps(
    people: Keypoints, size: tuple[int, int], sigma_px: float = SIGMA_PX, map_size_px: int = MAP_SIZE_PX
) -> np.ndarray:
    """PoseConv3D's heat maps of one frame: float32 (keypoints, height, width), in [0, 1].

    Args:
        people: The keypoints.
        size: Height and width of the maps in pixels.
        sigma_px: Standard deviation of the Gaussians, in pixels of a map of `map_size_px`.
        map_size_px: Side of the maps that `sigma_px` speaks of.
    """
    height, width = size
    # a Gaussian over two axes is the product of two over one: (people, keypoints, pixels) each
    x = _gaussians(people.points[..., 0], width, sigma_px / map_size_px)
    y = _gaussians(people.points[..., 1], height, sigma_px / map_size_px)
    maps = np.zeros((people.points.shape[1], height, width), dtype=np.float32)
    for person in range(len(people.points)):
        drawn = people.scores[person][:, None, None] * y[person][:, :, None] * x[person][:, None, :]
        np.maximum(maps, drawn.astype(np.float32), out=maps)
    return maps


def _gaussians(centres: np.ndarray, pixels: int, sigma: float) -> np.ndarray:
    """Gaussians (..., pixels) of height 1 along a side, around `centres` (...,); all in shares of the side."""
    places = (np.arange(pixels) + 0.5) / pixels  # the middle of each pixel
    return np.exp(-((places - centres[..., None]) ** 2) / (2 * sigma**2))
