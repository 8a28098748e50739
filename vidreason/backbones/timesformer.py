"""TimeSformer (Bertasius et al., 2021) under supervision."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from ..errors import ConfigError
from .description import Backbone, Reader
from .probe import AttentionLayer, Projections, Recorder
from .temporal_views import ViewTail, partial_view_weights, restricted_attention, view_means


class TimesformerBackbone(Backbone):
    """TimeSformer, of divided or joint space-time attention.

    Divided attention looks at each frame on its own, with a copy of the CLS token in each: its row over the frame's
    patches is what the paper supervises. A layer then averages the copies over the frames. The temporal views average
    them over their frames alone, in the last layer.

    Joint attention has one CLS token that looks at all patches at once; its row is cut into frames. The temporal views
    restrict its keys in the last layer.

    Attention over space alone is refused: transformers gives logits for each frame and not for each clip there.
    """

    model_type = "timesformer"
    processor_type = "TimesformerVideoProcessor"

    def check(self, config: PreTrainedConfig) -> None:
        """Raises ConfigError for what cannot be supervised."""
        if config.attention_type == "space_only":
            raise ConfigError(
                "attention_type 'space_only' of TimeSformer gives logits for frames, not for clips; use "
                "'divided_space_time' or 'joint_space_time'"
            )
        if not isinstance(config.image_size, int) or not isinstance(config.patch_size, int):
            raise ConfigError(
                f"TimeSformer takes square frames: image_size {config.image_size} and patch_size {config.patch_size} "
                "must be integers"
            )
        super().check(config)

    def layers(self, model: PreTrainedModel) -> list[AttentionLayer]:
        """Spatial attention of every layer."""
        found = []
        for block in model.timesformer.encoder.layer:
            attention = block.attention.attention
            found.append(
                AttentionLayer(
                    attention=attention,
                    query=attention.qkv,
                    key=attention.qkv,
                    num_heads=attention.num_heads,
                    scaling=attention.scale,
                    num_prefix_tokens=1,
                    block=block,
                )
            )
        return found

    def frame_rows(self, config: PreTrainedConfig, row: torch.Tensor, batch_size: int) -> torch.Tensor:
        """Divided: (batch * frames, tokens). Joint: (batch, tokens * frames), frames fastest."""
        if config.attention_type == "divided_space_time":
            return row.unflatten(0, (batch_size, -1))
        return row.unflatten(1, (-1, config.num_frames)).transpose(1, 2)

    def readers(self, model: PreTrainedModel) -> dict[int, Reader]:
        """Joint attention restricts the keys of the last layer."""
        if model.config.attention_type == "divided_space_time":
            return {}
        return {len(model.timesformer.encoder.layer) - 1: _JointContext(model)}

    def taps(self, model: PreTrainedModel) -> list[tuple[nn.Module, Callable[[Recorder, tuple, Any], None]]]:
        """The last layer: the CLS token that goes in, what attention adds to it, and the end of the layer."""
        block = model.timesformer.encoder.layer[-1]
        taps = [
            (block.layernorm_before, _CLSBefore(model.config)),
            (block.output, ViewTail(block.layernorm_after, block.intermediate, block.output)),
        ]
        if model.config.attention_type == "divided_space_time":
            taps.insert(1, (block.attention, _DividedUpdate(model.config)))
        return taps

    def partial_logits(self, model: PreTrainedModel, kept: dict[str, torch.Tensor]) -> torch.Tensor:
        """(batch, 2, labels)."""
        return model.classifier(model.timesformer.layernorm(kept["view_states"]))

    def describe(self, model: PreTrainedModel) -> str:
        """The model in a phrase."""
        attention = model.config.attention_type.replace("_", " ")
        return f"TimeSformer, {attention} attention, {super().describe(model)}"


class _CLSBefore:
    """The CLS token as it enters the last layer's attention: (batch, hidden)."""

    def __init__(self, config: PreTrainedConfig):
        self.config = config

    def __call__(self, recorder: Recorder, arguments: tuple, output: Any) -> None:
        cls_states = arguments[0][:, 0]
        if self.config.attention_type == "divided_space_time":  # a copy for each frame
            cls_states = cls_states.unflatten(0, (-1, self.config.num_frames))[:, 0]
        recorder.scratch["query_states"] = cls_states


class _DividedUpdate:
    """What the last layer's spatial attention adds to the CLS token in the partial views: (batch, 2, hidden)."""

    def __init__(self, config: PreTrainedConfig):
        self.config = config

    def __call__(self, recorder: Recorder, arguments: tuple, output: Any) -> None:
        by_frame = output[0][:, 0].unflatten(0, (-1, self.config.num_frames))
        recorder.scratch["view_updates"] = view_means(by_frame)


class _JointContext:
    """The same for joint attention."""

    def __init__(self, model: PreTrainedModel):
        self.config = model.config
        self.block = model.timesformer.encoder.layer[-1]

    def __call__(self, recorder: Recorder, projections: Projections, output: Any) -> None:
        weights = partial_view_weights(self.config.num_frames, 1, projections.key.device)
        num_patches = (projections.key.shape[2] - 1) // self.config.num_frames
        # frames come fastest in the order of the tokens
        key_weights = torch.cat((weights.new_ones(len(weights), 1), weights.repeat(1, num_patches)), dim=1)
        context = restricted_attention(projections, self.block.attention.attention.scale, key_weights)
        recorder.scratch["view_updates"] = self.block.attention.output(context)
