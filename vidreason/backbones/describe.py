"""A supervised model in words, for its card."""

from __future__ import annotations

from dataclasses import dataclass

from transformers import PreTrainedModel

from .backbone import backbone_for
from .view import SupervisedView


@dataclass(frozen=True)
class ModelDescription:
    """What a card says of a model and of what is supervised in it.

    Args:
        architecture: Layers, width, parameters and frames, in a phrase.
        supervised_query: Whose attention is supervised, such as "the [CLS] token".
        supervised_layers: Indices of the supervised layers, or a name for them, such as "all".
        gives_attention: Whether a saved checkpoint gives `frame_attention` without this library.
    """

    architecture: str
    supervised_query: str
    supervised_layers: tuple[int, ...] | str
    gives_attention: bool


def describe_supervision(model: PreTrainedModel) -> ModelDescription:
    """A model of `supervised_view` in words."""
    backbone = backbone_for(model.config)
    if isinstance(model, SupervisedView):
        layers: tuple[int, ...] | str = model.supervised_layer_indices
    else:
        layers = backbone.supervised_layers(model)
    return ModelDescription(
        architecture=(
            f"{backbone.describe(model)}, {model.num_parameters() / 1e6:.2f}M parameters, "
            f"{model.config.num_frames} frames"
        ),
        supervised_query=backbone.rule,
        supervised_layers=layers,
        gives_attention=backbone.gives_attention,
    )
