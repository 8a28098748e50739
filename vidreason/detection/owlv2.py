"""OWLv2, an open-vocabulary detector whose classes do not depend on one another by its make, from transformers."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from transformers import AutoProcessor, Owlv2ForObjectDetection, PreTrainedConfig

from ..errors import DetectionError
from .loading import load, load_model
from .pretrained import Candidates, PretrainedDetector, corners, refuse_long_text


class _Seen(NamedTuple):
    features: torch.Tensor  # (frames, patches, channels)
    boxes: torch.Tensor  # (frames, patches, 4): corners in [0, 1] of the full frame


class Owlv2Detector(PretrainedDetector):
    """Detects any class: a box from every patch of the frame, scored by the sigmoid of its likeness to the text.

    Args:
        model: Hub id or folder.
        threshold: Least score that is kept; scores of OWLv2 are low, and transformers takes 0.1.
        prompt: The text that is asked, with "{}" for the class. The network was trained with such sentences.
        settings: See `PretrainedDetector`.

    Raises:
        DetectionError: A setting is out of range, or the weights are absent or of another kind.
    """

    name: ClassVar[str] = "owlv2"
    model_types = ("owlv2",)

    def __init__(
        self,
        model: str = "google/owlv2-base-patch16-ensemble",
        threshold: float = 0.1,
        prompt: str = "a photo of a {}",
        **settings: Any,
    ):
        if prompt.count("{}") != 1:
            raise DetectionError(f"prompt is {prompt!r}, expected one '{{}}' in it, where the class comes")
        self.prompt = prompt
        super().__init__(model, threshold, **settings)

    @property
    def key(self) -> dict[str, Any]:
        """All that decides on what it finds, beside the frame and the class."""
        return {**super().key, "prompt": self.prompt}

    def _load(self, model: str, config: PreTrainedConfig) -> None:
        processor = load(self.name, model, lambda: AutoProcessor.from_pretrained(model, trust_remote_code=False))
        self._image_processor, self._tokenizer = processor.image_processor, processor.tokenizer
        self._network: Any = load_model(self.name, model, Owlv2ForObjectDetection, self.device, self.dtype)
        self._max_tokens = config.text_config.max_position_embeddings
        self._queries: dict[str, torch.Tensor] = {}

    def check_text(self, class_text: str) -> str:
        """A class text in its one spelling; see `Detector.check_text`."""
        text = super().check_text(class_text)
        length = len(self._tokenizer(self.prompt.replace("{}", text))["input_ids"])
        refuse_long_text(self.name, text, length, self._max_tokens)
        return text

    def _look(self, frames: list[np.ndarray]) -> _Seen:
        inputs = self._image_processor(images=frames, return_tensors="pt", input_data_format="channels_last")
        features, _ = self._network.image_embedder(inputs["pixel_values"].to(self.device, self.dtype))
        flat = features.flatten(1, 2)
        boxes = corners(self._network.box_predictor(flat, features).float())
        height, width = frames[0].shape[:2]
        if self._image_processor.do_pad:
            # frames are padded to a square below or at the right, and boxes are shares of its side: scaled here, and
            # nowhere else. What lies in the padding leaves the frame, and `Found.of` drops it.
            boxes = boxes * (max(height, width) / torch.tensor([width, height] * 2, device=boxes.device))
        return _Seen(flat, boxes)

    def _find(self, seen: _Seen, class_text: str) -> list[Candidates]:
        text = self.check_text(class_text)
        if text not in self._queries:
            self._queries[text] = self._embed(text)
        query = self._queries[text].expand(len(seen.features), 1, -1)
        logits, _ = self._network.class_predictor(seen.features, query)
        scores = logits[..., 0].float().sigmoid()
        return [Candidates(boxes, of_frame) for boxes, of_frame in zip(seen.boxes, scores, strict=True)]

    def _embed(self, text: str) -> torch.Tensor:
        """The embedding of a class's prompt, (channels,)."""
        encoded = self._tokenizer(
            self.prompt.replace("{}", text), padding="max_length", max_length=self._max_tokens, return_tensors="pt"
        )
        inputs = {name: encoded[name].to(self.device) for name in ("input_ids", "attention_mask")}
        embedding = self._network.owlv2.get_text_features(**inputs).pooler_output[0]
        return embedding / torch.linalg.norm(embedding)
