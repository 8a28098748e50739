"""SAM 3: a concept in words to the boxes and masks of all its instances, from transformers.

Its weights are given out by Meta to those who accept a licence of their own (`facebook/sam3` on the Hub). Frames are
asked for one by one, as the video model does for every prompt before it tracks; tracks are not made.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from transformers import PreTrainedConfig, Sam3Model, Sam3Processor

from .loading import load, load_model
from .pretrained import Candidates, PretrainedDetector, refuse_long_text

MAX_TOKENS = 32
"""Tokens of a prompt, special ones included. Its processor pads to as many and cuts nothing, so that the network then
fails; a text encoder of fewer positions has the last word."""


class Sam3Detector(PretrainedDetector):
    """Detects any class, with masks.

    The score of a box is the probability of the box times the probability that the concept is in the frame at all, as
    the original scores. Masks are kept at the network's own size over the full frame (288 x 288 as released).

    Args:
        model: Hub id or folder, of an image or a video model.
        threshold: Least score that is kept; 0.3 is what transformers takes.
        settings: See `PretrainedDetector`.

    Raises:
        DetectionError: A setting is out of range, or the weights are absent or of another kind.
    """

    name: ClassVar[str] = "sam3"
    model_types = ("sam3", "sam3_video")

    def __init__(self, model: str = "facebook/sam3", threshold: float = 0.3, **settings: Any):
        super().__init__(model, threshold, **settings)

    def _load(self, model: str, config: PreTrainedConfig) -> None:
        processor = load(self.name, model, lambda: Sam3Processor.from_pretrained(model, trust_remote_code=False))
        self._image_processor, self._tokenizer = processor.image_processor, processor.tokenizer
        self._network: Any = load_model(self.name, model, Sam3Model, self.device, self.dtype)
        self._max_tokens = min(MAX_TOKENS, self._network.config.text_config.max_position_embeddings)

    def check_text(self, class_text: str) -> str:
        """A class text in its one spelling; see `Detector.check_text`."""
        text = super().check_text(class_text)
        refuse_long_text(self.name, text, len(self._tokenizer(text)["input_ids"]), self._max_tokens)
        return text

    def _look(self, frames: list[np.ndarray]) -> Any:
        inputs = self._image_processor(images=frames, return_tensors="pt", input_data_format="channels_last")
        return self._network.get_vision_features(inputs["pixel_values"].to(self.device, self.dtype))

    def _find(self, seen: Any, class_text: str) -> list[Candidates]:
        text = self.check_text(class_text)
        count = len(seen.fpn_hidden_states[0])
        encoded = self._tokenizer(text, padding="max_length", max_length=self._max_tokens, return_tensors="pt")
        inputs = {name: encoded[name].to(self.device).expand(count, -1) for name in ("input_ids", "attention_mask")}
        outputs = self._network(vision_embeds=seen, **inputs)
        # (frames, queries) x (frames, 1)
        scores = outputs.pred_logits.float().sigmoid() * outputs.presence_logits.float().sigmoid()
        masks = outputs.pred_masks > 0  # logits; 0 is a probability of one half
        # frames are stretched to a square: shares of its sides are shares of the frame's
        boxes = outputs.pred_boxes.float()
        return [Candidates(*of_frame) for of_frame in zip(boxes, scores, masks, strict=True)]
