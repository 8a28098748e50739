"""ViViT of transformers (joint space-time attention; Arnab et al., 2021, model 1) under supervision."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from .backbone import Backbone, number_of
from .probe import AttentionLayer, ProjectionReader, Projections, Recorder, TapReader
from .processors import byte_normalization
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
        found = []
        for block in _blocks(model):
            attention = block.get_submodule("attention")
            found.append(
                AttentionLayer(
                    attention=attention,
                    query=attention.get_submodule("q_proj"),
                    key=attention.get_submodule("k_proj"),
                    value=attention.get_submodule("v_proj"),
                    num_heads=int(number_of(attention, "num_attention_heads")),
                    scaling=number_of(attention, "scaling"),
                    num_prefix_tokens=1,  # the CLS token looks at itself as well, which is no place in the clip
                    block=block,
                )
            )
        return found

    def readers(self, model: PreTrainedModel) -> dict[int, ProjectionReader]:
        """The last layer's CLS token with its keys restricted."""
        return {len(_blocks(model)) - 1: _RestrictedCLS(model)}

    def taps(self, model: PreTrainedModel) -> list[tuple[nn.Module, TapReader]]:
        """The CLS token that enters the last layer, and the layer's end."""
        block = _blocks(model)[-1]
        mlp = block.get_submodule("mlp")
        return [
            (block.get_submodule("layernorm_before"), TakeQueryStates()),
            (mlp, ViewTail(block.get_submodule("layernorm_after"), mlp, block.get_submodule("dropout"))),
        ]

    def partial_logits(self, model: PreTrainedModel, kept: dict[str, torch.Tensor]) -> torch.Tensor:
        """(batch, 2, labels)."""
        return model.get_submodule("classifier")(model.get_submodule("vivit.layernorm")(kept["view_states"]))

    def processor_settings(self, config: PreTrainedConfig) -> dict[str, Any]:
        """The whole frame with bytes normalised to [-1, 1] without rescaling, as ViViT's own processor reads it."""
        return super().processor_settings(config) | byte_normalization([127.5] * 3, [127.5] * 3)

    def describe(self, model: PreTrainedModel) -> str:
        """The model in a phrase."""
        tubelet = "x".join(map(str, model.config.tubelet_size))
        return f"ViViT (joint space-time attention), tubelets of {tubelet}, {super().describe(model)}"


def _blocks(model: PreTrainedModel) -> list[nn.Module]:
    return list(model.get_submodule("vivit.layers").children())


class _RestrictedCLS:
    """What the last layer's attention adds to the CLS token in the partial views: (batch, 2, hidden)."""

    def __init__(self, model: PreTrainedModel):
        self.config, block = model.config, _blocks(model)[-1]
        self.scaling = number_of(block.get_submodule("attention"), "scaling")
        self.output, self.dropout = block.get_submodule("attention.o_proj"), block.get_submodule("dropout")

    def __call__(self, recorder: Recorder, projections: Projections, output: Any) -> None:
        key, config = projections.key, self.config
        weights = view_key_weights(key.shape[2], 1, config.num_frames, config.tubelet_size[0], key.device)
        context = restricted_attention(projections, self.scaling, weights)
        recorder.scratch["view_updates"] = self.dropout(self.output(context))
