"""The families of models that can be supervised, by `model_type`."""

from __future__ import annotations

from transformers import PreTrainedConfig, PreTrainedModel

from ..errors import ConfigError
from .description import Backbone

_BACKBONES: dict[str, Backbone] = {}


def register_backbone(backbone: Backbone) -> Backbone:
    """Make a family of models known to `supervised_view` and `train.py`. A later one of the same type replaces it.

    Args:
        backbone: an instance of a subclass of `Backbone` with a `model_type`.

    Raises:
        ConfigError: it has no `model_type`.
    """
    if not backbone.model_type:
        raise ConfigError(f"{type(backbone).__name__} has no model_type")
    _BACKBONES[backbone.model_type] = backbone
    return backbone


def registered_model_types() -> list[str]:
    """The model types that are known, TSViT aside."""
    return sorted(_BACKBONES)


def backbone_for(config: PreTrainedConfig) -> Backbone:
    """What is known of the family of models that a configuration belongs to.

    Raises:
        ConfigError: nothing is.
    """
    model_type = getattr(config, "model_type", None)
    if model_type not in _BACKBONES:
        raise ConfigError(
            f"model type {model_type!r} is not known to reasoning supervision (known: tsvit, "
            f"{', '.join(registered_model_types())}): describe where its attention layers are with register_backbone"
        )
    return _BACKBONES[model_type]


def backbone_of(model: PreTrainedModel) -> Backbone:
    """The same for a model.

    Raises:
        ConfigError: nothing is known, or the model has no attention layer.
    """
    if not isinstance(model, PreTrainedModel):
        raise ConfigError(f"{type(model).__name__} is no model of transformers (PreTrainedModel)")
    backbone = backbone_for(model.config)
    try:
        layers = backbone.layers(model)
    except AttributeError as error:
        raise ConfigError(
            f"{type(model).__name__} is not the model that {type(backbone).__name__} describes: {error}"
        ) from error
    if not layers:
        raise ConfigError(f"{type(model).__name__} has no attention layer, so there is nothing to supervise")
    return backbone
