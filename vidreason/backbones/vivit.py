"""ViViT of transformers (joint space-time attention; Arnab et al., 2021, model 1) under supervision."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from .description import Backbone, Reader
from .probe import AttentionLayer, Projections, Recorder
from .temporal_views import TakeQueryStates, ViewTail, restricted_attention, view_key_weights


class VivitBackbone(Backbone):
    """ViViT: one CLS token looks at the tubelets of the whole clip.

    Its row is cut into tubelets, and each frame has its tubelet's part. The loss normalises every frame on its own, so
    what is supervised is where in a frame the CLS token looks and not how much it looks at which frame.

    In the temporal views the CLS token of the last layer sees the keys of the view's frames alone.
    """

    model_type = "vivit"
    processor_type = "VivitVideoProcessor"

    def tubelet_size(self, config: PreTrainedConfig) -> int:
        """Frames that share their tokens."""
        return config.tubelet_size[0]

    def patch_size(self, config: PreTrainedConfig) -> tuple[int, int]:
        """(height, width) of a tubelet in pixels."""
        return config.tubelet_size[1], config.tubelet_size[2]

    def layers(self, model: PreTrainedModel) -> list[AttentionLayer]:
        """Attention of every layer."""
        return [
            AttentionLayer(
                attention=block.attention,
                query=block.attention.q_proj,
                key=block.attention.k_proj,
                value=block.attention.v_proj,
                num_heads=block.attention.num_attention_heads,
                scaling=block.attention.scaling,
                num_prefix_tokens=1,
                block=block,
            )
            for block in model.vivit.layers
        ]

    def readers(self, model: PreTrainedModel) -> dict[int, Reader]:
        """The last layer's CLS token with its keys restricted."""
        return {len(model.vivit.layers) - 1: _RestrictedCLS(model)}

    def taps(self, model: PreTrainedModel) -> list[tuple[nn.Module, Callable[[Recorder, tuple, Any], None]]]:
        """The CLS token that enters the last layer, and the layer's end."""
        block = model.vivit.layers[-1]
        return [
            (block.layernorm_before, TakeQueryStates()),
            (block.mlp, ViewTail(block.layernorm_after, block.mlp, block.dropout)),
        ]

    def partial_logits(self, model: PreTrainedModel, kept: dict[str, torch.Tensor]) -> torch.Tensor:
        """(batch, 2, labels)."""
        return model.classifier(model.vivit.layernorm(kept["view_states"]))

    def describe(self, model: PreTrainedModel) -> str:
        """The model in a phrase."""
        tubelet = "x".join(map(str, model.config.tubelet_size))
        return f"ViViT (joint space-time attention), tubelets of {tubelet}, {super().describe(model)}"


class _RestrictedCLS:
    """What the last layer's attention adds to the CLS token in the partial views: (batch, 2, hidden)."""

    def __init__(self, model: PreTrainedModel):
        self.config, self.block = model.config, model.vivit.layers[-1]

    def __call__(self, recorder: Recorder, projections: Projections, output: Any) -> None:
        key, config = projections.key, self.config
        weights = view_key_weights(key.shape[2], 1, config.num_frames, config.tubelet_size[0], key.device)
        context = restricted_attention(projections, self.block.attention.scaling, weights)
        recorder.scratch["view_updates"] = self.block.dropout(self.block.attention.o_proj(context))
