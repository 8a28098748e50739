"""SAM 2 from transformers: the masks of objects whose boxes a detector has found, as A2O's "Grounded SAM 2"."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from transformers import Sam2Model, Sam2Processor

from .loading import load, load_config, load_model, name_of, revision_of

_BOXES_AT_ONCE = 16  # the mask decoder holds a copy of the frame's features for each


class BoxMasks:
    """Turns boxes into masks.

    Args:
        model: Hub id or folder of a SAM 2, such as `facebook/sam2-hiera-small`.
        device: Where the network runs.
        dtype: Its precision.

    Raises:
        DetectionError: The weights are absent or of another kind.
    """

    def __init__(self, model: str, device: torch.device, dtype: torch.dtype):
        config = load_config("sam2", model, ("sam2", "sam2_video"))
        self.model, self.revision = name_of(model), revision_of(model, config)
        self.device, self.dtype = device, dtype
        processor = load("sam2", model, lambda: Sam2Processor.from_pretrained(model, trust_remote_code=False))
        self._image_processor = processor.image_processor
        self._network: Any = load_model("sam2", model, Sam2Model, device, dtype)

    def look(self, frame: np.ndarray) -> list[torch.Tensor]:
        """The features of a frame, uint8 (height, width, 3), for any number of boxes in it."""
        inputs = self._image_processor(images=[frame], return_tensors="pt", input_data_format="channels_last")
        return self._network.get_image_embeddings(inputs["pixel_values"].to(self.device, self.dtype))

    def masks(self, seen: list[torch.Tensor], boxes: torch.Tensor) -> list[np.ndarray]:
        """The mask of the object in each box, at the network's own size over the full frame (256 x 256 as released).

        Args:
            seen: What `look` gave for the frame.
            boxes: (boxes, 4): x0, y0, x1, y1 in [0, 1] of the full frame.
        """
        size = self._image_processor.size
        # frames are stretched to the network's square, so that shares of the frame are shares of its sides
        scale = torch.tensor([size["width"], size["height"]] * 2, dtype=torch.float32)
        corners = (boxes.clamp(0.0, 1.0) * scale).to(self.device, self.dtype)
        found: list[np.ndarray] = []
        for piece in corners.split(_BOXES_AT_ONCE):
            outputs = self._network(image_embeddings=seen, input_boxes=piece[None], multimask_output=False)
            # (1, boxes, 1, height, width) logits
            found.extend((outputs.pred_masks[0, :, 0] > 0).cpu().numpy())
        return found
