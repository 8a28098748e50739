"""VideoMAE (Tong et al., 2022) under supervision."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from ..errors import ConfigError
from .backbone import Backbone, number_of
from .probe import AttentionLayer, Recorder, TapReader
from .temporal_views import view_means


class VideoMAEBackbone(Backbone):
    """VideoMAE: no CLS token; the classifier reads the mean of all tokens.

    What the classifier reads is thus the output of an average token, and the analogue of a CLS token's row is the row
    of the average query: softmax(mean(q) K^T * scaling). Projections are linear, so this is the query of the mean
    token. (The mean of all rows would be the exact weight of each value in the mean output. It costs the whole map,
    which is what supervision is not to cost.)

    The temporal views are means over the tokens of their frames, before the classifier's normalisation.
    """

    model_type = "videomae"
    processor_type = "VideoMAEVideoProcessor"
    rule = "the mean query of all tokens"

    def check(self, config: PreTrainedConfig) -> None:
        """Refuses a VideoMAE without mean pooling."""
        if not config.use_mean_pooling:
            raise ConfigError(
                "use_mean_pooling is false: this VideoMAE reads the token of the first tubelet's corner alone, which "
                "has no temporal views; set it to true"
            )
        super().check(config)

    def tubelet_size(self, config: PreTrainedConfig) -> int:
        """Frames that share their tokens."""
        return config.tubelet_size

    def layers(self, model: PreTrainedModel) -> list[AttentionLayer]:
        """Attention of every layer."""
        found = []
        for block in model.get_submodule("videomae.encoder.layer").children():
            attention = block.get_submodule("attention.attention")
            found.append(
                AttentionLayer(
                    attention=attention,
                    # queries and values have a bias and keys have none; the projections' outputs hold it already
                    query=attention.get_submodule("query"),
                    key=attention.get_submodule("key"),
                    num_heads=int(number_of(attention, "num_attention_heads")),
                    scaling=number_of(attention, "scaling"),
                    queries="mean",
                    block=block,
                )
            )
        return found

    def taps(self, model: PreTrainedModel) -> list[tuple[nn.Module, TapReader]]:
        """The encoder's output."""
        taken = _TakeViewMeans(model.config.num_frames, model.config.tubelet_size)
        return [(model.get_submodule("videomae"), taken)]

    def partial_logits(self, model: PreTrainedModel, kept: dict[str, torch.Tensor]) -> torch.Tensor:
        """(batch, 2, labels)."""
        return model.get_submodule("classifier")(model.get_submodule("fc_norm")(kept["view_states"]))

    def describe(self, model: PreTrainedModel) -> str:
        """The model in a phrase."""
        return f"VideoMAE, {model.config.tubelet_size} frames for a token, {super().describe(model)}"


class _TakeViewMeans:
    """Means of the encoder's output over the partial views: (batch, 2, hidden)."""

    def __init__(self, num_frames: int, tubelet_size: int):
        self.num_frames, self.tubelet_size = num_frames, tubelet_size

    def __call__(self, recorder: Recorder, arguments: tuple[Any, ...], output: Any) -> None:
        by_tubelet = output[0].unflatten(1, (self.num_frames // self.tubelet_size, -1)).mean(dim=2)
        recorder.keep("view_states", view_means(by_tubelet, self.tubelet_size))
