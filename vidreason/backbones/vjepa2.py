"""V-JEPA 2 (Assran et al., 2025) with its attentive pooler under supervision."""

from __future__ import annotations

from typing import Any, Literal, Protocol, runtime_checkable

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from ..errors import ConfigError
from .backbone import Backbone, number_of
from .probe import AttentionLayer, ProjectionReader, Projections, Recorder, TapReader
from .temporal_views import TakeQueryStates, ViewTail, restricted_attention, view_key_weights


class VJEPA2Backbone(Backbone):
    """V-JEPA 2: an encoder without CLS token, and an attentive pooler whose one learned query reads its tokens.

    The classifier reads what the pooler's query gathers, so this query is to V-JEPA 2 what a CLS token is to a ViT:
    its row over all tubelets is supervised by default. In the layers before it (the encoder's, then the pooler's own
    self-attention) every token is a query like any other; the mean query stands for them, as in VideoMAE, with the
    rotary positions that the layer gives queries and keys.

    In the temporal views the pooler's query sees the keys of the view's frames alone.
    """

    model_type = "vjepa2"
    processor_type = "VJEPA2VideoProcessor"
    input_name = "pixel_values_videos"
    rule = "the attentive pooler's query (in earlier layers: the mean query of all tokens)"

    def num_frames(self, config: PreTrainedConfig) -> int:
        """Frames of a clip."""
        return config.frames_per_clip

    def config_fields(self, fields: dict[str, Any]) -> dict[str, Any]:
        """`num_frames`, as it is called everywhere else, is `frames_per_clip` here."""
        renamed = dict(fields)
        if "num_frames" in renamed:
            renamed["frames_per_clip"] = renamed.pop("num_frames")
        return renamed

    def tubelet_size(self, config: PreTrainedConfig) -> int:
        """Frames that share their tokens."""
        return config.tubelet_size

    def image_size(self, config: PreTrainedConfig) -> tuple[int, int]:
        """(height, width) of a frame: rotary positions are counted on a square grid of fixed size."""
        return config.crop_size, config.crop_size

    def check(self, config: PreTrainedConfig) -> None:
        """Refuses patches that are not square."""
        if not isinstance(config.patch_size, int):
            raise ConfigError(f"patch_size of V-JEPA 2 is {config.patch_size}, expected an integer")
        super().check(config)

    def check_clip(self, config: PreTrainedConfig, num_frames: int, height: int, width: int) -> None:
        """Any multiple of the tubelet's frames will do: positions in time are rotary."""
        super().check_clip(config, self.num_frames(config), height, width)
        self._check_tubelets(num_frames, config.tubelet_size)

    def layers(self, model: PreTrainedModel) -> list[AttentionLayer]:
        """Attention of the encoder's layers, of the pooler's self-attention layers, and of the pooler's query."""
        found = []
        for block in model.get_submodule("vjepa2.encoder.layer").children():
            attention = block.get_submodule("attention")
            found.append(
                AttentionLayer(
                    attention=attention,
                    query=attention.get_submodule("query"),
                    key=attention.get_submodule("key"),
                    num_heads=int(number_of(attention, "num_attention_heads")),
                    scaling=number_of(attention, "scaling"),
                    queries="mean",
                    rotate=_Rotation(attention),
                    block=block,
                )
            )
        for block in model.get_submodule("pooler.self_attention_layers").children():
            found.append(_pooler_layer(block, block.get_submodule("self_attn"), queries="mean"))
        block = model.get_submodule("pooler.cross_attention_layer")
        return [*found, _pooler_layer(block, block.get_submodule("cross_attn"), queries="first")]

    def readers(self, model: PreTrainedModel) -> dict[int, ProjectionReader]:
        """The pooler's query with its keys restricted."""
        return {len(self.layers(model)) - 1: _RestrictedQuery(model)}

    def taps(self, model: PreTrainedModel) -> list[tuple[nn.Module, TapReader]]:
        """The pooler's query before its attention, and the end of its layer."""
        block = model.get_submodule("pooler.cross_attention_layer")
        mlp = block.get_submodule("mlp")
        return [
            (block.get_submodule("cross_attn"), TakeQueryStates()),
            (mlp, ViewTail(block.get_submodule("layer_norm2"), mlp)),
        ]

    def partial_logits(self, model: PreTrainedModel, kept: dict[str, torch.Tensor]) -> torch.Tensor:
        """(batch, 2, labels)."""
        return model.get_submodule("classifier")(kept["view_states"])

    def unused(self, model: PreTrainedModel) -> list[nn.Module]:
        """The predictor, which pretraining alone runs."""
        return [model.get_submodule("vjepa2.predictor")]

    def processor_settings(self, config: PreTrainedConfig) -> dict[str, Any]:
        """A centre crop: V-JEPA 2's own processor cannot do without, and a new one shall agree with it."""
        side, _ = self.image_size(config)
        return {
            "size": {"shortest_edge": int(side * 256 / 224)},  # as `VJEPA2VideoProcessor` has it for a crop of `side`
            "do_center_crop": True,
            "crop_size": {"height": side, "width": side},
        }

    def describe(self, model: PreTrainedModel) -> str:
        """The model in a phrase."""
        config = model.config
        return (
            f"V-JEPA 2, {config.tubelet_size} frames for a token, {super().describe(model)} and an attentive pooler "
            f"of {config.num_pooler_layers + 1}"
        )


def _pooler_layer(block: nn.Module, attention: nn.Module, queries: Literal["first", "mean"]) -> AttentionLayer:
    return AttentionLayer(
        attention=attention,
        query=attention.get_submodule("q_proj"),
        key=attention.get_submodule("k_proj"),
        value=attention.get_submodule("v_proj"),
        num_heads=int(number_of(attention, "num_heads")),
        scaling=number_of(attention, "scale"),
        queries=queries,
        block=block,
    )


@runtime_checkable
class _RotaryAttention(Protocol):
    """An encoder layer's attention, which turns queries and keys by their tokens' places."""

    def get_position_ids(self, x: torch.Tensor) -> Any: ...
    def apply_rotary_embeddings(self, qk: torch.Tensor, pos_ids: Any) -> torch.Tensor: ...


class _Rotation:
    """Rotary positions of an encoder layer."""

    def __init__(self, attention: nn.Module):
        if not isinstance(attention, _RotaryAttention):
            raise ConfigError(f"{type(attention).__name__} has no rotary positions; V-JEPA 2's attention has")
        self.attention = attention

    def __call__(self, projected: torch.Tensor) -> torch.Tensor:
        """(batch, heads, tokens, head_dim) -> the same shape."""
        return self.attention.apply_rotary_embeddings(projected, self.attention.get_position_ids(projected[:, 0]))


class _RestrictedQuery:
    """What attention adds to the pooler's query in the partial views: (batch, 2, hidden)."""

    def __init__(self, model: PreTrainedModel):
        config = model.config
        self.scaling = number_of(model.get_submodule("pooler.cross_attention_layer.cross_attn"), "scale")
        self.tubelet_size = config.tubelet_size
        self.tokens_per_tubelet = (config.crop_size // config.patch_size) ** 2

    def __call__(self, recorder: Recorder, projections: Projections, output: Any) -> None:
        num_keys = projections.key.shape[2]
        num_frames = num_keys // self.tokens_per_tubelet * self.tubelet_size
        weights = view_key_weights(num_keys, 0, num_frames, self.tubelet_size, projections.key.device)
        recorder.scratch["view_updates"] = restricted_attention(projections, self.scaling, weights)
