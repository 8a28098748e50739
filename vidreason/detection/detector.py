"""What a detector is: frames and one class text in, boxes with scores out.

A detector of any kind (open or closed vocabulary, a person mask, keypoints, a synthetic world's truth) follows
`Detector` and becomes known by `register_detector`. It is asked for one class at a time, so that what it finds of a
class never depends on which other classes were asked: only so can detections be cached by class.

The **score** of a detection is the probability in (0, 1] that the detector itself gives to *this class at this box*:
for text-prompted detectors the largest sigmoid over the tokens of the class's own text, for closed ones the class's
own probability. It is never a joint score over several classes.
"""

from __future__ import annotations

import importlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..errors import DetectionError
from ..provenance import STATUSES as ANSWER_STATUSES
from .class_text import check_class_text

UNKNOWN_CLASS = "unknown_class"
"""Status of a class outside the vocabulary of a closed detector: it was not looked for, and cannot be found."""

STATUSES = (*ANSWER_STATUSES, UNKNOWN_CLASS)

LASTING = ("ok", "empty", UNKNOWN_CLASS)
"""Statuses that asking again would give again, which are worth keeping. A failure is not among them."""


@dataclass(frozen=True, eq=False)
class Found:
    """What a detector found of one class in one frame.

    Args:
        boxes: float32 (instances, 4): x0, y0, x1, y1 in [0, 1] of the full frame.
        scores: float32 (instances,), each in (0, 1], falling.
        masks: Booleans (height, width) of each instance, all of one size of their own; None where there are none.
        status: One of `STATUSES`.
        reason: Why there is no answer, where there is none.
    """

    boxes: np.ndarray
    scores: np.ndarray
    masks: tuple[np.ndarray, ...] | None = None
    status: str = "ok"
    reason: str = ""

    @classmethod
    def of(
        cls,
        boxes: np.ndarray | Sequence[Sequence[float]],
        scores: np.ndarray | Sequence[float],
        masks: Sequence[np.ndarray] | None = None,
    ) -> Found:
        """Detections in the form of the contract: within the frame, best first, without boxes that have no area.

        Overlapping boxes all stay, of this class and of others: an arm lies within a person.

        Args:
            boxes: (instances, 4) in [0, 1] of the full frame; they may reach beyond it.
            scores: (instances,); those that are 0 or less are no detections.
            masks: A mask for each instance, or None.

        Raises:
            DetectionError: A number is not finite, or there are not as many of one as of the other.
        """
        boxes = np.asarray(boxes, dtype=np.float32).reshape(-1, 4)
        scores = np.asarray(scores, dtype=np.float32).reshape(-1)
        if len(boxes) != len(scores) or (masks is not None and len(masks) != len(boxes)):
            counts = f"{len(boxes)} boxes, {len(scores)} scores" + ("" if masks is None else f", {len(masks)} masks")
            raise DetectionError(f"a detector gave {counts}: expected as many of each")
        if not (np.isfinite(boxes).all() and np.isfinite(scores).all()):
            raise DetectionError("a detector gave boxes or scores that are not finite")
        boxes = boxes.clip(0.0, 1.0)
        has_area = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
        kept = np.flatnonzero(has_area & (scores > 0))
        # stable: of two that score alike, the detector's own order decides, on every machine
        kept = kept[np.argsort(-scores[kept], kind="stable")]
        found = None if masks is None else tuple(np.asarray(masks[i]).astype(bool) for i in kept.tolist())
        return cls(boxes[kept], scores[kept].clip(max=1.0), found, "ok" if len(kept) else "empty")

    @classmethod
    def without(cls, status: str, reason: str = "") -> Found:
        """No detections, for a reason.

        Args:
            status: One of `STATUSES` but "ok".
            reason: For people, such as why a frame could not be read.
        """
        return cls(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), None, status, reason)

    def __len__(self) -> int:
        return len(self.scores)


def check_limits(threshold: float, max_side_px: int | None) -> None:
    """Refuse a least score or a size of frames that no detector can have.

    Args:
        threshold: Least score of a detection that is kept.
        max_side_px: Longer side in pixels that frames are scaled down to; None keeps them.

    Raises:
        DetectionError: One is out of range.
    """
    if not 0 <= threshold < 1:
        raise DetectionError(f"threshold is {threshold}, expected a score in [0, 1)")
    if max_side_px is not None and max_side_px < 1:
        raise DetectionError(f"max_side_px is {max_side_px}, expected at least 1")


class Detector(ABC):
    """Finds objects of a class in frames.

    Attributes:
        name: Name under which the kind of detector is registered.
        model: Hub id, folder's name or package of the weights.
        revision: Commit or hash of the weights; empty where it is not known.
        threshold: Least score of a detection that is kept.
        max_side_px: Longer side in pixels that frames are scaled down to before they are given; None keeps them.
        vocabulary: The classes that it can find, or None where any text may be asked for.
        needs_frames: Whether it looks at pixels; a synthetic detector does not, and then nothing is decoded for it.
        finds_all_at_once: Whether one pass over a frame finds every class of the vocabulary at no further cost; then
            what it finds of the others is kept too, and they are never looked for again.
    """

    name: ClassVar[str]
    model: str = ""
    revision: str = ""
    threshold: float = 0.0
    max_side_px: int | None = None
    vocabulary: tuple[str, ...] | None = None
    needs_frames: bool = True
    finds_all_at_once: bool = False

    @abstractmethod
    def detect(self, frames: np.ndarray, frame_keys: Sequence[Mapping[str, Any]], class_text: str) -> list[Found]:
        """Detections of one class.

        Args:
            frames: RGB, uint8 (frames, height, width, 3).
            frame_keys: Fields of `FRAME_KEY_FEATURES` of each frame, which only a synthetic detector looks at.
            class_text: As `check_class_text` gives it.

        Returns:
            One `Found` per frame.
        """

    def detect_classes(
        self, frames: np.ndarray, frame_keys: Sequence[Mapping[str, Any]], class_texts: Sequence[str]
    ) -> dict[str, list[Found]]:
        """Detections of several classes, each as if it were asked for alone: class text -> one `Found` per frame.

        A closed detector that finds all its classes in one pass overrides this.
        """
        return {text: self.detect_class(frames, frame_keys, text) for text in class_texts}

    def detect_class(
        self, frames: np.ndarray, frame_keys: Sequence[Mapping[str, Any]], class_text: str
    ) -> list[Found]:
        """As `detect`; a class outside the vocabulary gives the status `UNKNOWN_CLASS`, and is not looked for."""
        if not self.knows(class_text):
            return [self.unknown(class_text) for _ in frame_keys]
        return self.detect(frames, frame_keys, class_text)

    def knows(self, class_text: str) -> bool:
        """Whether a class is within the vocabulary."""
        return self.vocabulary is None or class_text in self.vocabulary

    def unknown(self, class_text: str) -> Found:
        """What there is to say of a class outside the vocabulary."""
        size = len(self.vocabulary or ())
        return Found.without(UNKNOWN_CLASS, f"{class_text!r} is not among the {size} classes of {self.name}")

    def check_text(self, class_text: str) -> str:
        """A class text in its one spelling, if the detector can take it.

        A detector with a limit of its own overrides this, calls it and measures with its own tokenizer.

        Raises:
            DetectionError: The text cannot be used. It is never cut.
        """
        return check_class_text(class_text)

    @property
    def key(self) -> dict[str, Any]:
        """All that decides on what it finds, beside the frame and the class: a part of the key of its cache."""
        return {
            "detector": self.name,
            "model": self.model,
            "revision": self.revision,
            "threshold": self.threshold,
            "max_side_px": self.max_side_px,
        }

    @property
    def key_text(self) -> str:
        """`key` as text, the same for equal keys."""
        return json.dumps(self.key, sort_keys=True)


_ADDRESSES: dict[str, str] = {
    "coco": "vidreason.detection.coco:CocoDetector",
    "grounding_dino": "vidreason.detection.grounding_dino:GroundingDinoDetector",
    "movenet": "vidreason.detection.movenet:MoveNetDetector",
    "owlv2": "vidreason.detection.owlv2:Owlv2Detector",
    "person_mask": "vidreason.detection.person_mask:PersonMaskDetector",
    "sam3": "vidreason.detection.sam3:Sam3Detector",
    "truth": "vidreason.detection.truth:TruthDetector",
    "vitpose": "vidreason.detection.vitpose:VitPoseDetector",
}
"""Name -> "module:class". An address and not a class: a detector's libraries are loaded when it is made."""


def register_detector(name: str, address: str) -> None:
    """Make a kind of detector known by a name.

    Args:
        name: Name, as `--detector` takes it.
        address: Where its class is, "package.module:ClassName". The class follows `Detector`, and its settings are
            the arguments that it is made with.

    Raises:
        DetectionError: The name is taken by another one, or the address is none.
    """
    if address.count(":") != 1 or not all(address.split(":")):
        raise DetectionError(f"detector {name!r}: {address!r} is no address, expected 'package.module:ClassName'")
    if _ADDRESSES.get(name, address) != address:
        raise DetectionError(f"detector {name!r} is {_ADDRESSES[name]} already")
    _ADDRESSES[name] = address


def detector_names() -> tuple[str, ...]:
    """Names of the detectors that are known."""
    return tuple(sorted(_ADDRESSES))


def find_detector(name: str) -> type[Detector]:
    """The class of a kind of detector.

    Raises:
        DetectionError: There is none of this name, or a library that it needs is not installed.
    """
    if name not in _ADDRESSES:
        raise DetectionError(f"detector is {name!r}, expected one of {', '.join(detector_names())}")
    module, _, attribute = _ADDRESSES[name].partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise DetectionError(f"detector {name!r} cannot be loaded from {_ADDRESSES[name]}: {error}") from error
    return found


def make_detector(name: str, **settings: Any) -> Detector:
    """A detector by the name of its kind.

    Args:
        name: One of `detector_names`.
        settings: Its own settings, such as `model` or `threshold`.

    Raises:
        DetectionError: There is no such detector, it has no such setting, or what it needs is not there.
    """
    kind = find_detector(name)
    try:
        return kind(**settings)
    except TypeError as error:  # an argument that it does not have
        raise DetectionError(f"detector {name!r} cannot be made with {sorted(settings)}: {error}") from error
