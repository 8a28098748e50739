"""ViTPose from transformers: keypoints within the boxes of people that another detector finds."""

from __future__ import annotations

import re
from typing import Any, ClassVar

import numpy as np
import torch
from transformers import AutoImageProcessor, PreTrainedConfig, VitPoseForPoseEstimation

from ..errors import DetectionError
from .keypoints import COCO_KEYPOINTS, KeypointDetector, Keypoints
from .loading import find_device, find_dtype, load, load_config, load_model, name_of, revision_of


class VitPoseDetector(KeypointDetector):
    """Finds keypoints of any number of people.

    Args:
        model: Hub id or folder.
        threshold: Least score of a keypoint.
        persons: Name of a registered detector with the class "person"; None takes the whole frame for one person.
        max_side_px: Longer side that frames are scaled down to while decoding; None keeps their size.
        device: Where the network runs; None takes the first GPU, or the CPU where there is none.
        dtype: Precision of the network.
        batch_size: People that the network is shown at a time.
        settings: See `KeypointDetector`.

    Raises:
        DetectionError: A setting is out of range, or weights are absent or of another kind.
    """

    name: ClassVar[str] = "vitpose"

    def __init__(
        self,
        model: str = "usyd-community/vitpose-base-simple",
        threshold: float = 0.3,
        persons: str | None = "coco",
        max_side_px: int | None = None,
        device: str | None = None,
        dtype: str = "float32",
        batch_size: int = 16,
        **settings: Any,
    ):
        super().__init__(threshold, max_side_px=max_side_px, persons=persons, **settings)
        if batch_size < 1:
            raise DetectionError(f"batch_size is {batch_size}, expected at least 1")
        self.device, self.dtype, self.batch_size = find_device(device), find_dtype(dtype), batch_size
        config = load_config(self.name, model, ("vitpose",))
        self.model, self.revision = name_of(model), revision_of(model, config)
        self.keypoint_names = self.vocabulary = _names(config)
        self._image_processor = load(
            self.name, model, lambda: AutoImageProcessor.from_pretrained(model, trust_remote_code=False)
        )
        self._network: Any = load_model(self.name, model, VitPoseForPoseEstimation, self.device, self.dtype)
        # ViTPose+ has one expert for each of its data sets, of which COCO is the first
        self._has_experts = getattr(config.backbone_config, "num_experts", 1) > 1

    @property
    def key(self) -> dict[str, Any]:
        """All that decides on what it finds, beside the frame and the class."""
        return {**super().key, "dtype": str(self.dtype).removeprefix("torch.")}

    def in_boxes(self, frame: np.ndarray, boxes_px: np.ndarray | None) -> Keypoints:
        """The keypoints of people in one frame; see `KeypointDetector.in_boxes`."""
        height, width = frame.shape[:2]
        if boxes_px is None:
            boxes_px = np.array([[0, 0, width, height]], dtype=np.float32)
        # the processor takes COCO's form: x, y, width, height in pixels
        boxes = np.concatenate([boxes_px[:, :2], boxes_px[:, 2:] - boxes_px[:, :2]], axis=1)
        people: list[tuple[np.ndarray, np.ndarray]] = []
        for start in range(0, len(boxes), self.batch_size):
            people += self._of_people(frame, boxes[start : start + self.batch_size])
        return Keypoints.of(people, len(self.keypoint_names))

    def _of_people(self, frame: np.ndarray, boxes: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        """Points and scores of each person in a batch of boxes (people, 4)."""
        inputs = self._image_processor(
            images=[frame], boxes=[boxes], return_tensors="pt", input_data_format="channels_last"
        )
        pixel_values = inputs["pixel_values"].to(self.device, self.dtype)
        experts = torch.zeros(len(pixel_values), dtype=torch.long, device=self.device) if self._has_experts else None
        with torch.inference_mode():
            outputs = self._network(pixel_values, dataset_index=experts)
        outputs.heatmaps = outputs.heatmaps.float()
        size = np.array([frame.shape[1], frame.shape[0]])
        found = self._image_processor.post_process_pose_estimation(outputs, boxes=[boxes])[0]
        return [(one["keypoints"].numpy() / size, one["scores"].numpy().reshape(-1).clip(0.0, 1.0)) for one in found]


def _names(config: PreTrainedConfig) -> tuple[str, ...]:
    """The names of a model's keypoints: COCO's where there are 17, or its labels in words, "L_Eye" as "left eye"."""
    if config.num_labels == len(COCO_KEYPOINTS):
        return COCO_KEYPOINTS
    labels: Any = config.id2label
    names = [labels[label].lower().replace("_", " ") for label in sorted(labels)]
    return tuple(re.sub(r"^l ", "left ", re.sub(r"^r ", "right ", name)) for name in names)
