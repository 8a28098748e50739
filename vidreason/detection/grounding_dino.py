"""Grounding DINO and MM-Grounding DINO, the open-vocabulary detectors that A2O's paper uses, from transformers."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import nn
from transformers import AutoModelForZeroShotObjectDetection, AutoProcessor, PreTrainedConfig

from ..errors import DetectionError
from .class_text import token_spans
from .loading import load, load_model
from .pretrained import Candidates, PretrainedDetector, corners, refuse_long_text


class _Prompt(NamedTuple):
    inputs: dict[str, torch.Tensor]  # of one prompt, (1, tokens) each
    span: tuple[int, int]  # [start, end) of the class's own tokens


class _Seen(NamedTuple):
    pixel_values: torch.Tensor  # (frames, 3, height, width)
    pixel_mask: torch.Tensor  # (frames, height, width)


class GroundingDinoDetector(PretrainedDetector):
    """Detects any class by a prompt of its own, "<class>.".

    The score of a box is the largest sigmoid over the tokens of the class itself. What transformers' own
    post-processing gives is another number: the largest over *all* tokens, "." and special ones among them, with
    labels put together anew from single tokens, which come out merged, cut or empty.

    Args:
        model: Hub id or folder.
        threshold: Least score that is kept; 0.25 is what transformers and the original's demo take.
        settings: See `PretrainedDetector`.

    Raises:
        DetectionError: A setting is out of range, or the weights are absent or of another kind.
    """

    name: ClassVar[str] = "grounding_dino"
    model_types = ("grounding-dino", "mm-grounding-dino")

    def __init__(self, model: str = "IDEA-Research/grounding-dino-tiny", threshold: float = 0.25, **settings: Any):
        super().__init__(model, threshold, **settings)

    def _load(self, model: str, config: PreTrainedConfig) -> None:
        processor = load(self.name, model, lambda: AutoProcessor.from_pretrained(model, trust_remote_code=False))
        self._image_processor, self._tokenizer = processor.image_processor, processor.tokenizer
        self._network: Any = load_model(self.name, model, AutoModelForZeroShotObjectDetection, self.device, self.dtype)
        self._backbone = self._network.model.backbone = _Backbone(self._network.model.backbone)
        positions = getattr(config.text_config, "max_position_embeddings", config.max_text_len)
        self._max_tokens = min(config.max_text_len, positions)
        self._prompts: dict[str, _Prompt] = {}

    def check_text(self, class_text: str) -> str:
        """A class text in its one spelling; see `Detector.check_text`."""
        text = super().check_text(class_text)
        if text not in self._prompts:
            self._prompts[text] = self._make_prompt(text)
        return text

    def _make_prompt(self, text: str) -> _Prompt:
        own = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        # the full stop ends a class in the prompts that the network was trained with
        encoded = self._tokenizer(f"{text}.", return_tensors="pt", return_token_type_ids=True)
        ids = encoded["input_ids"][0].tolist()
        refuse_long_text(self.name, text, len(ids), self._max_tokens)
        if self._tokenizer.unk_token_id in own:
            raise DetectionError(f"class text {text!r} holds signs that {self.name!r} has no token for")
        spans = token_spans(ids, own)
        if len(spans) != 1:
            raise DetectionError(f"class text {text!r} has no tokens of its own in the prompt {text + '.'!r}")
        return _Prompt({name: values.to(self.device) for name, values in encoded.items()}, spans[0])

    def _look(self, frames: list[np.ndarray]) -> _Seen:
        # all frames of a call have one size, so that nothing is padded: padding changes results (transformers#34853)
        inputs = self._image_processor(images=frames, return_tensors="pt", input_data_format="channels_last")
        return _Seen(inputs["pixel_values"].to(self.device, self.dtype), inputs["pixel_mask"].to(self.device))

    def _find(self, seen: _Seen, class_text: str) -> list[Candidates]:
        prompt = self._prompts[self.check_text(class_text)]
        count = len(seen.pixel_values)
        inputs = {name: values.expand(count, -1) for name, values in prompt.inputs.items()}
        outputs = self._network(**inputs, pixel_values=seen.pixel_values, pixel_mask=seen.pixel_mask)
        # (frames, queries, tokens) -> the class's own tokens -> (frames, queries)
        scores = outputs.logits[..., prompt.span[0] : prompt.span[1]].float().sigmoid().amax(dim=-1)
        boxes = corners(outputs.pred_boxes.float())
        return [Candidates(boxes[frame], scores[frame]) for frame in range(count)]


class _Backbone(nn.Module):
    """The backbone of the frames, which is asked once for all classes: it does not read the prompt.

    Args:
        backbone: The network's own.
    """

    def __init__(self, backbone: nn.Module):
        super().__init__()
        self.backbone = backbone
        self.position_embedding = backbone.position_embedding
        self._last: tuple[torch.Tensor, Any, Any] | None = None

    def forward(self, pixel_values: torch.Tensor, pixel_mask: torch.Tensor) -> tuple[list[Any], list[Any]]:
        """Feature maps with their masks, and their position embeddings, of (frames, 3, height, width)."""
        if self._last is None or self._last[0] is not pixel_values:
            self._last = (pixel_values, *self.backbone(pixel_values, pixel_mask))
        # lists of their own: the network adds levels to what it gets
        return list(self._last[1]), list(self._last[2])
