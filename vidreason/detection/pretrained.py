"""What detectors of open vocabulary share: batches of frames, one class at a time, and which boxes are kept."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torchvision.ops import nms
from transformers import PreTrainedConfig

from ..errors import DetectionError
from .detector import Detector, Found, check_limits
from .loading import find_device, find_dtype, load_config, name_of, revision_of
from .sam2 import BoxMasks
from .schema import MAX_INSTANCES


class Candidates(NamedTuple):
    """All that a network says of one class in one frame, before anything is left out.

    Args:
        boxes: float32 (candidates, 4): x0, y0, x1, y1 in [0, 1] of the full frame; they may reach beyond it.
        scores: float32 (candidates,), in [0, 1].
        masks: Booleans (candidates, height, width) over the full frame, on the CPU or not; None where there are none.
    """

    boxes: torch.Tensor
    scores: torch.Tensor
    masks: torch.Tensor | None = None


class PretrainedDetector(Detector):
    """A detector of open vocabulary from transformers.

    Every class is asked for by a prompt of its own: networks such as Grounding DINO choose their boxes over all words
    of a prompt, so that the classes of a joint prompt would change one another's results. What a network makes of the
    frame alone is computed once for all classes.

    Args:
        model: Hub id or folder of the weights, as safetensors.
        threshold: Least score that is kept.
        max_side_px: Longer side that frames are scaled down to while decoding; None keeps their size.
        device: Where the network runs, such as "cuda:1"; None takes the first GPU, or the CPU where there is none.
        dtype: Precision of the network, one of `DTYPES`. Scores and boxes are float32 in each case.
        batch_size: Frames that the network is shown at a time, which bounds its memory. Other batches add in another
            order, so that results differ in the last digits.
        masks: Hub id or folder of a SAM 2 that turns boxes into masks; None keeps boxes.
        max_overlap: Of two boxes of a class with a larger IoU, the one with the lower score is left out; None keeps
            all, which changes no score map much and costs room in tables.
        max_boxes: Most boxes of a class in a frame; those with the highest scores stay.

    Raises:
        DetectionError: A setting is out of range, the weights are not there, or they are of another kind.
    """

    model_types: ClassVar[tuple[str, ...]]
    """Values of `model_type` in configurations of the weights that this detector can use."""

    def __init__(
        self,
        model: str,
        threshold: float,
        max_side_px: int | None = None,
        device: str | None = None,
        dtype: str = "float32",
        batch_size: int = 4,
        masks: str | None = None,
        max_overlap: float | None = None,
        max_boxes: int = 300,
    ):
        check_limits(threshold, max_side_px)
        if batch_size < 1:
            raise DetectionError(f"batch_size is {batch_size}, expected at least 1")
        if max_overlap is not None and not 0 <= max_overlap <= 1:
            raise DetectionError(f"max_overlap is {max_overlap}, expected an IoU in [0, 1]")
        if not 1 <= max_boxes <= MAX_INSTANCES:
            raise DetectionError(f"max_boxes is {max_boxes}, expected 1 to {MAX_INSTANCES}")
        self.device, self.dtype = find_device(device), find_dtype(dtype)
        self.threshold, self.max_side_px, self.batch_size = threshold, max_side_px, batch_size
        self.max_overlap, self.max_boxes = max_overlap, max_boxes
        config = load_config(self.name, model, self.model_types)
        self.model, self.revision = name_of(model), revision_of(model, config)
        self._load(model, config)
        self._masks = None if masks is None else BoxMasks(masks, self.device, self.dtype)

    @abstractmethod
    def _load(self, model: str, config: PreTrainedConfig) -> None:
        """Load the network and what prepares its inputs."""

    @abstractmethod
    def _look(self, frames: list[np.ndarray]) -> Any:
        """What the network makes of some frames, uint8 (height, width, 3) each, whatever is asked for in them."""

    @abstractmethod
    def _find(self, seen: Any, class_text: str) -> list[Candidates]:
        """What the network says of one class in each frame that `_look` was given."""

    @property
    def key(self) -> dict[str, Any]:
        """All that decides on what it finds, beside the frame and the class."""
        key = {
            **super().key,
            "dtype": str(self.dtype).removeprefix("torch."),
            "max_overlap": self.max_overlap,
            "max_boxes": self.max_boxes,
        }
        return key if self._masks is None else {**key, "masks": f"{self._masks.model} {self._masks.revision}"}

    def detect(self, frames: np.ndarray, frame_keys: Sequence[Mapping[str, Any]], class_text: str) -> list[Found]:
        """Detections of one class; see `Detector.detect`."""
        return self.detect_classes(frames, frame_keys, [class_text])[class_text]

    def detect_classes(
        self, frames: np.ndarray, frame_keys: Sequence[Mapping[str, Any]], class_texts: Sequence[str]
    ) -> dict[str, list[Found]]:
        """Detections of several classes, each as if it were asked for alone."""
        for text in class_texts:
            self.check_text(text)  # before anything is computed
        found: dict[str, list[Found]] = {text: [] for text in class_texts}
        for start in range(0, len(frames), self.batch_size):
            batch = list(frames[start : start + self.batch_size])
            try:
                with torch.inference_mode():
                    self._detect_batch(batch, found)
            except torch.OutOfMemoryError as error:
                raise DetectionError(
                    f"detector {self.name!r} ran out of memory with batch_size {self.batch_size} on {self.device}"
                ) from error
        return found

    def _detect_batch(self, batch: list[np.ndarray], found: dict[str, list[Found]]) -> None:
        """Add what is found in a batch of frames to the lists of the classes."""
        seen = self._look(batch)
        masks_seen: dict[int, Any] = {}  # of frames in which any class was found; one network pass for all classes
        for text, of_class in found.items():
            for place, candidates in enumerate(self._find(seen, text)):
                of_class.append(self._keep(candidates, batch[place], place, masks_seen))

    def _keep(self, candidates: Candidates, frame: np.ndarray, place: int, masks_seen: dict[int, Any]) -> Found:
        """The candidates that are detections."""
        boxes, scores = candidates.boxes.float().cpu(), candidates.scores.float().cpu()
        if not (torch.isfinite(boxes).all() and torch.isfinite(scores).all()):
            # a status and no error: one odd frame must not end a run over many
            return Found.without("failed", f"{self.model} gave boxes or scores that are not finite")
        kept = torch.nonzero(scores >= self.threshold).flatten()
        kept = kept[torch.argsort(scores[kept], descending=True, stable=True)]
        if self.max_overlap is not None:
            kept = kept[nms(boxes[kept], scores[kept], self.max_overlap)]
        kept = kept[: self.max_boxes]
        masks: Sequence[np.ndarray] | None = None
        if self._masks is not None and len(kept):
            if place not in masks_seen:
                masks_seen[place] = self._masks.look(frame)
            masks = self._masks.masks(masks_seen[place], boxes[kept])
        elif candidates.masks is not None:
            masks = list(candidates.masks[kept.to(candidates.masks.device)].cpu().numpy())
        return Found.of(boxes[kept].numpy(), scores[kept].numpy(), masks)


def corners(boxes: torch.Tensor) -> torch.Tensor:
    """Boxes (..., 4) from centre x, centre y, width and height to x0, y0, x1, y1."""
    x, y, width, height = boxes.unbind(-1)
    return torch.stack([x - width / 2, y - height / 2, x + width / 2, y + height / 2], dim=-1)


def refuse_long_text(detector: str, class_text: str, length: int, limit: int) -> None:
    """Raises DetectionError where a prompt has more tokens than a network reads: networks and tokenizers cut it."""
    if length > limit:
        raise DetectionError(
            f"class text {class_text!r} takes {length} tokens with the special ones; {detector!r} reads {limit}"
        )
