"""TimeSformer (Bertasius et al., 2021) under supervision."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from ..errors import ConfigError
from .backbone import Backbone, number_of
from .probe import AttentionLayer, ProjectionReader, Projections, Recorder, TapReader
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
        """Refuses attention over space alone, and frames that are not square."""
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
        for block in _blocks(model):
            attention = block.get_submodule("attention.attention")
            qkv = attention.get_submodule("qkv")
            found.append(
                AttentionLayer(
                    attention=attention,
                    query=qkv,
                    key=qkv,
                    num_heads=int(number_of(attention, "num_heads")),
                    scaling=number_of(attention, "scale"),
                    num_prefix_tokens=1,  # the CLS token looks at itself as well, which is no place in the frame
                    block=block,
                )
            )
        return found

    def frame_rows(self, config: PreTrainedConfig, row: torch.Tensor, batch_size: int) -> torch.Tensor:
        """Divided: (batch * frames, tokens). Joint: (batch, tokens * frames), frames fastest."""
        if config.attention_type == "divided_space_time":
            return row.unflatten(0, (batch_size, -1))
        return row.unflatten(1, (-1, config.num_frames)).transpose(1, 2)

    def readers(self, model: PreTrainedModel) -> dict[int, ProjectionReader]:
        """Joint attention restricts the keys of the last layer."""
        if model.config.attention_type == "divided_space_time":
            return {}
        return {len(_blocks(model)) - 1: _JointContext(model)}

    def taps(self, model: PreTrainedModel) -> list[tuple[nn.Module, TapReader]]:
        """The last layer: the CLS token that goes in, what attention adds to it, and the end of the layer."""
        block = _blocks(model)[-1]
        output = block.get_submodule("output")
        tail = ViewTail(block.get_submodule("layernorm_after"), block.get_submodule("intermediate"), output)
        taps: list[tuple[nn.Module, TapReader]] = [
            (block.get_submodule("layernorm_before"), _CLSBefore(model.config)),
            (output, tail),
        ]
        if model.config.attention_type == "divided_space_time":
            # the spatial attention, whose CLS tokens are those of single frames; the layer averages them after it
            taps.append((block.get_submodule("attention"), _DividedUpdate(model.config)))
        return taps

    def partial_logits(self, model: PreTrainedModel, kept: dict[str, torch.Tensor]) -> torch.Tensor:
        """(batch, 2, labels)."""
        normalized = model.get_submodule("timesformer.layernorm")(kept["view_states"])
        return model.get_submodule("classifier")(normalized)

    def describe(self, model: PreTrainedModel) -> str:
        """The model in a phrase."""
        attention = model.config.attention_type.replace("_", " ")
        return f"TimeSformer, {attention} attention, {super().describe(model)}"


def _blocks(model: PreTrainedModel) -> list[nn.Module]:
    return list(model.get_submodule("timesformer.encoder.layer").children())


class _CLSBefore:
    """The CLS token as it enters the last layer's attention: (batch, hidden)."""

    def __init__(self, config: PreTrainedConfig):
        self.config = config

    def __call__(self, recorder: Recorder, arguments: tuple[Any, ...], output: Any) -> None:
        cls_states = arguments[0][:, 0]
        if self.config.attention_type == "divided_space_time":  # a copy for each frame
            cls_states = cls_states.unflatten(0, (-1, self.config.num_frames))[:, 0]
        recorder.scratch["query_states"] = cls_states


class _DividedUpdate:
    """What the last layer's spatial attention adds to the CLS token in the partial views: (batch, 2, hidden)."""

    def __init__(self, config: PreTrainedConfig):
        self.config = config

    def __call__(self, recorder: Recorder, arguments: tuple[Any, ...], output: Any) -> None:
        by_frame = output[0][:, 0].unflatten(0, (-1, self.config.num_frames))
        recorder.scratch["view_updates"] = view_means(by_frame)


class _JointContext:
    """The same for joint attention."""

    def __init__(self, model: PreTrainedModel):
        self.config = model.config
        attention = _blocks(model)[-1].get_submodule("attention")
        self.scaling = number_of(attention.get_submodule("attention"), "scale")
        self.output = attention.get_submodule("output")

    def __call__(self, recorder: Recorder, projections: Projections, output: Any) -> None:
        weights = partial_view_weights(self.config.num_frames, 1, projections.key.device)
        num_patches = (projections.key.shape[2] - 1) // self.config.num_frames
        # frames come fastest in the order of the tokens
        key_weights = torch.cat((weights.new_ones(len(weights), 1), weights.repeat(1, num_patches)), dim=1)
        context = restricted_attention(projections, self.scaling, key_weights)
        recorder.scratch["view_updates"] = self.output(context)
