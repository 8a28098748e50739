"""A supervised model in words, for its card."""

from __future__ import annotations

from dataclasses import dataclass

from transformers import PreTrainedModel

from modeling_tsvit import TSViTPreTrainedModel


@dataclass(frozen=True)
class SupervisedModel:
    """What a card says of a model and of what is supervised in it.

    Args:
        architecture: Layers, width, parameters and frames, in a phrase.
        supervised_query: Whose attention is supervised, such as "the [CLS] token".
        supervised_layers: Indices of the supervised layers, as the configuration has them.
        gives_attention: Whether a saved checkpoint gives `frame_attention` without this library.
    """

    architecture: str
    supervised_query: str
    supervised_layers: tuple[int, ...] | str
    gives_attention: bool


def describe_supervision(model: PreTrainedModel) -> SupervisedModel:
    """A model of `supervised_view` in words."""
    is_tsvit = isinstance(model, TSViTPreTrainedModel)
    return SupervisedModel(
        architecture=describe_model(model),
        supervised_query="the [CLS] token" if is_tsvit else model.supervised_query,
        supervised_layers=model.config.supervised_layers if is_tsvit else model.supervised_layer_indices,
        gives_attention=is_tsvit,
    )


def describe_model(model: PreTrainedModel) -> str:
    """What a supervised model is, in a phrase."""
    config = model.config
    if isinstance(model, TSViTPreTrainedModel):
        layers = (
            f"TSViT, {config.num_spatial_layers} spatial and {config.num_temporal_layers} temporal layers of width "
            f"{config.hidden_size}"
        )
    else:
        layers = model.describe()
    return f"{layers}, {model.num_parameters() / 1e6:.2f}M parameters, {config.num_frames} frames"
