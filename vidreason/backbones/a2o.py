"""A2O under supervision: what is supervised is the classifier inside, which sees the frames with their object maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, BaseVideoProcessor, PreTrainedConfig, PreTrainedModel

from modeling_a2o import A2OConfig, A2OForVideoClassification

from ..errors import ConfigError
from .backbone import Backbone, backbone_for, registered_model_types
from .layers import Layers
from .probe import AttentionLayer, ProjectionReader, TapReader

WITH_MAPS = "a2o"
"""The model type; "a2o_" before the type or preset of a classifier means an A2O model around one of those."""

_OWN_FIELDS = (
    *("backbone_config", "class_texts", "detector", "detector_model", "detector_revision", "detector_threshold"),
    *("map_size_px", "fusion", "adapter_depth", "adapter_hidden_size", "adapter_bias"),
)


def split_fields(fields: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Fields of A2O itself, and those of the classifier inside: what stands in `backbone_config`, and all others.

    Raises:
        ConfigError: `backbone_config` holds no fields.
    """
    own = {name: value for name, value in fields.items() if name in _OWN_FIELDS}
    inside = own.pop("backbone_config", None) or {}
    if not isinstance(inside, dict):
        raise ConfigError(f"model_config: backbone_config is {inside!r}, expected fields and their values")
    return own, inside | {name: value for name, value in fields.items() if name not in _OWN_FIELDS}


def around(classifier: PreTrainedModel, fields: dict[str, Any]) -> PreTrainedModel:
    """A new adapter around a classifier that is trained already.

    Args:
        classifier: The classifier, of a known family.
        fields: Fields of A2O itself, `class_texts` among them.

    Raises:
        ConfigError: A field cannot be used, or no class is named.
    """
    if not fields.get("class_texts"):
        raise ConfigError(NO_CLASSES)
    try:
        return A2OForVideoClassification.from_backbone(classifier, **fields)
    except ValueError as error:
        raise ConfigError(f"model_config: {error}") from error


NO_CLASSES = "class_texts is empty: name the classes of objects that the model is shown"


class A2OBackbone(Backbone):
    """A2O: everything is asked of the family of the classifier inside, about that classifier.

    Args:
        inner: The family of the classifier inside. None is the description that is registered, which knows no
            classifier yet; `for_config` gives one that does.
    """

    model_type = WITH_MAPS
    takes_object_maps = True

    def __init__(self, inner: Backbone | None = None):
        self.inner = inner or Backbone()
        self.input_name = self.inner.input_name  # A2O takes pixels by any name, and their processor has this one
        self.gives_attention = self.inner.gives_attention
        self.rule = self.inner.rule
        self.processor_type = self.inner.processor_type

    def for_config(self, config: PreTrainedConfig) -> Backbone:
        """The description of A2O around the classifier that a configuration says."""
        return A2OBackbone(backbone_for(_inside(config)))

    # How models are built

    def config_fields(self, fields: dict[str, Any]) -> dict[str, Any]:
        """Fields that A2O has not are the classifier's, as if they stood in `backbone_config`.

        Raises:
            ConfigError: The classifier's configuration has no such field, or its type is not known.
        """
        own, inside = split_fields(fields)
        if not inside:
            return own
        model_type = inside.get("model_type", self.inner.model_type)
        known = [name for name in registered_model_types() if name != self.model_type]
        if model_type not in known:
            raise ConfigError(
                f"model_config: backbone_config has the model_type {model_type!r}, expected one of {', '.join(known)}"
            )
        default = AutoConfig.for_model(model_type)
        renamed = backbone_for(default).config_fields(inside)
        # transformers takes any name here in silence
        unknown = sorted(set(renamed) - set(default.to_dict()))
        if unknown:
            raise ConfigError(f"model_config: {type(default).__name__} has no {unknown}")
        return own | {"backbone_config": renamed}

    def check(self, config: PreTrainedConfig) -> None:
        """Refuses what the classifier's family refuses, and a model that is shown no class."""
        if not _checked_config(config).class_texts:
            raise ConfigError(NO_CLASSES)
        self.inner.check(_inside(config))

    def check_change(self, trained: PreTrainedConfig, config: PreTrainedConfig) -> None:
        """Refuses other classes than the adapter was trained for, whose weights would fit as many of any name."""
        types = [_inside(each).model_type for each in (trained, config)]
        if types[0] != types[1]:
            raise ConfigError(f"the classifier inside is of type {types[0]!r}, and cannot be made one of {types[1]!r}")
        before, now = _checked_config(trained).class_texts, _checked_config(config).class_texts
        if list(before) != list(now):
            raise ConfigError(
                f"class_texts are {', '.join(now)}, but the checkpoint's adapter was trained for {', '.join(before)}, "
                "in this order; start from the checkpoint of a plain classifier to train a new adapter"
            )

    def head(self, model: PreTrainedModel) -> nn.Linear:
        """The classifier's."""
        return self.inner.head(_model_inside(model))

    def describe(self, model: PreTrainedModel) -> str:
        """The model in a phrase."""
        config = _checked_config(model.config)
        classes = "1 object class" if len(config.class_texts) == 1 else f"{len(config.class_texts)} object classes"
        inner = self.inner.describe(_model_inside(model))
        if config.fusion == "channels":
            return f"A2O with the maps of {classes} as channels of {inner}"
        blocks = f"{config.adapter_depth} x (1x1 convolution and ReLU) and a " if config.adapter_depth else "a "
        return f"A2O with {classes}, {blocks}1x1 convolution, around {inner}"

    # What clips they take

    def num_frames(self, config: PreTrainedConfig) -> int:
        """Frames of a clip."""
        return self.inner.num_frames(_inside(config))

    def tubelet_size(self, config: PreTrainedConfig) -> int:
        """Frames that share their tokens."""
        return self.inner.tubelet_size(_inside(config))

    def image_size(self, config: PreTrainedConfig) -> tuple[int, int]:
        """(height, width) of a frame in pixels."""
        return self.inner.image_size(_inside(config))

    def patch_size(self, config: PreTrainedConfig) -> tuple[int, int]:
        """(height, width) of a token in pixels."""
        return self.inner.patch_size(_inside(config))

    def check_clip(self, config: PreTrainedConfig, num_frames: int, height: int, width: int) -> None:
        """Refuses the clips that the classifier does not take."""
        self.inner.check_clip(_inside(config), num_frames, height, width)

    def token_grid(self, config: PreTrainedConfig, height: int, width: int) -> tuple[int, int]:
        """(rows, columns) of the tokens of a frame."""
        return self.inner.token_grid(_inside(config), height, width)

    def new_processor(self, config: PreTrainedConfig) -> BaseVideoProcessor:
        """The classifier's."""
        return self.inner.new_processor(_inside(config))

    def follow_processor(self, processor: BaseVideoProcessor, config: PreTrainedConfig) -> BaseVideoProcessor:
        """The checkpoint's, as the classifier's family follows it."""
        return self.inner.follow_processor(processor, _inside(config))

    # How the classifier inside is read

    def check_model(self, model: PreTrainedModel) -> None:
        """Raises ConfigError for what is not A2O, and for a classifier that its family does not describe."""
        self.inner.check_model(_model_inside(model))

    def layers(self, model: PreTrainedModel) -> Sequence[AttentionLayer]:
        """The classifier's attention layers."""
        return self.inner.layers(_model_inside(model))

    def frame_rows(self, config: PreTrainedConfig, row: torch.Tensor, batch_size: int) -> torch.Tensor:
        """(batch, frames, tokens)."""
        return self.inner.frame_rows(_inside(config), row, batch_size)

    def readers(self, model: PreTrainedModel) -> dict[int, ProjectionReader]:
        """What else to read in the classifier's layers."""
        return self.inner.readers(_model_inside(model))

    def taps(self, model: PreTrainedModel) -> list[tuple[nn.Module, TapReader]]:
        """Modules of the classifier to watch."""
        return self.inner.taps(_model_inside(model))

    def partial_logits(self, model: PreTrainedModel, kept: dict[str, torch.Tensor]) -> torch.Tensor:
        """(batch, 2, labels)."""
        return self.inner.partial_logits(_model_inside(model), kept)

    def unused(self, model: PreTrainedModel) -> list[nn.Module]:
        """Modules that the classifier has no use for."""
        return self.inner.unused(_model_inside(model))

    def choose_layers(self, model: PreTrainedModel, layers: Layers) -> None:
        """Sets the layers whose attention the classifier gives."""
        self.inner.choose_layers(_model_inside(model), layers)

    def supervised_layers(self, model: PreTrainedModel) -> tuple[int, ...] | str:
        """The layers whose attention the classifier gives."""
        return self.inner.supervised_layers(_model_inside(model))


def _checked_config(config: PreTrainedConfig) -> A2OConfig:
    if not isinstance(config, A2OConfig):
        raise ConfigError(f"{type(config).__name__} is not the configuration that {A2OBackbone.__name__} describes")
    return config


def _inside(config: PreTrainedConfig) -> PreTrainedConfig:
    inside = _checked_config(config).backbone_config
    if not isinstance(inside, PreTrainedConfig):
        raise ConfigError(f"backbone_config is {inside!r}, expected a configuration")
    return inside


def _model_inside(model: PreTrainedModel) -> PreTrainedModel:
    if not isinstance(model, A2OForVideoClassification):
        raise ConfigError(f"{type(model).__name__} is not the model that {A2OBackbone.__name__} describes")
    return model.backbone
