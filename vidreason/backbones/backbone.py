"""What supervision has to know of a family of video models, and which families are known.

Subclass `Backbone` and hand an instance to `register_backbone` to make another family known.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import nn
from transformers import AutoModelForVideoClassification, BaseVideoProcessor, PreTrainedConfig, PreTrainedModel

from modeling_tsvit import TSViTVideoProcessor

from ..errors import ConfigError
from .layers import Layers
from .probe import AttentionLayer, ProjectionReader, Recorder, TapReader
from .processors import followed_settings, whole_frame

CLASSIFICATION = "classification"


class AutoClass(Protocol):
    """A class of transformers that makes models of many types, such as `AutoModelForVideoClassification`.

    What its methods give is a `PreTrainedModel`, or one with a report on its loading; transformers does not type it.
    """

    def from_config(self, config: PreTrainedConfig, **kwargs: Any) -> Any:
        """A model with random weights."""

    def from_pretrained(self, pretrained_model_name_or_path: str, *model_args: Any, **kwargs: Any) -> Any:
        """A model with the weights of a checkpoint."""


class Backbone:
    """How a family of video models of `transformers` is built, prepared for, read and supervised.

    A family whose models give `frame_attention` and `segment_logits` by themselves (`gives_attention`) says how their
    layers are chosen: `choose_layers` and `supervised_layers`. All others are read by probes: `layers` says where
    their attention is and `partial_logits` what they answer from a part of a clip. Those two suffice for a joint
    space-time transformer with tokens in order of time, rows and columns, that is configured by `num_frames`,
    `image_size` and `patch_size`.

    Attributes:
        model_type: The `model_type` of the family's configurations.
        input_name: The name that the family's `forward` has for what is called `pixel_values` here.
        rule: Whose attention is supervised, in words, for model cards.
        gives_attention: Whether a model of the family, and what is saved of it, gives its attention by itself.
        auto_class: The class of transformers that loads and makes these classifiers.
        processor_type: The class of transformers that prepares videos for these models, None if there is none.
        takes_object_maps: Whether `forward` takes `object_maps` beside the pixels.
    """

    model_type: str = ""
    input_name: str = "pixel_values"
    rule: str = "the [CLS] token"
    gives_attention: bool = False
    auto_class: AutoClass = AutoModelForVideoClassification
    processor_type: str | None = None
    takes_object_maps: bool = False

    def for_config(self, config: PreTrainedConfig) -> Backbone:
        """What describes the models of a configuration; a family of models within models says what is inside."""
        return self

    # How models are built

    def tasks(self) -> Mapping[str, AutoClass]:
        """What the family can be trained for, each task with the class of transformers that makes its models."""
        return {CLASSIFICATION: self.auto_class}

    def config_fields(self, fields: dict[str, Any]) -> dict[str, Any]:
        """Fields of a configuration as a user gives them, under the names that the configuration has for them."""
        return fields

    def check(self, config: PreTrainedConfig) -> None:
        """Refuse a configuration that cannot be supervised.

        Raises:
            ConfigError: The configuration cannot be supervised; the message says why.
        """
        self.check_clip(config, self.num_frames(config), *self.image_size(config))

    def check_change(self, trained: PreTrainedConfig, config: PreTrainedConfig) -> None:
        """Refuse a changed configuration that a checkpoint's weights fit in shape and not in meaning.

        Args:
            trained: The checkpoint's configuration.
            config: The configuration that its weights are to be used with.

        Raises:
            ConfigError: The weights would mean something else; the message says what.
        """

    def head(self, model: PreTrainedModel) -> nn.Linear:
        """The last layer, a row of whose weight belongs to each label."""
        return linear_at(model, "classifier")

    def describe(self, model: PreTrainedModel) -> str:
        """The model in a phrase, for its card."""
        config = model.config
        return f"{config.num_hidden_layers} layers of width {config.hidden_size}"

    # What clips they take

    def num_frames(self, config: PreTrainedConfig) -> int:
        """Frames of a clip."""
        return config.num_frames

    def tubelet_size(self, config: PreTrainedConfig) -> int:
        """Frames that share their tokens."""
        return 1

    def image_size(self, config: PreTrainedConfig) -> tuple[int, int]:
        """(height, width) of a frame in pixels."""
        return as_pair(config.image_size)

    def patch_size(self, config: PreTrainedConfig) -> tuple[int, int]:
        """(height, width) of a token in pixels."""
        return as_pair(config.patch_size)

    def check_clip(self, config: PreTrainedConfig, num_frames: int, height: int, width: int) -> None:
        """Refuse clips of another length or size than the model is made for.

        transformers itself is less strict and computes something else in silence: given another number of frames,
        TimeSformer folds them into rows, and ViViT's `interpolate_pos_encoding` knows no time.

        Raises:
            ConfigError: The clip does not fit; the message names both numbers.
        """
        wanted, tubelet_size = self.num_frames(config), self.tubelet_size(config)
        if num_frames != wanted:
            raise ConfigError(f"{self.model_type} is made for clips of {wanted} frames and was given {num_frames}")
        self._check_tubelets(num_frames, tubelet_size)
        if (height, width) != self.image_size(config):
            expected = "x".join(map(str, self.image_size(config)))
            raise ConfigError(
                f"{self.model_type} is made for frames of {expected} pixels and was given {height}x{width}"
            )
        self.token_grid(config, height, width)

    def _check_tubelets(self, num_frames: int, tubelet_size: int) -> None:
        if num_frames < 1 or num_frames % tubelet_size:
            raise ConfigError(
                f"{self.model_type} takes {tubelet_size} frames for one token in time, and {num_frames} frames are no "
                f"multiple of {tubelet_size}"
            )

    def token_grid(self, config: PreTrainedConfig, height: int, width: int) -> tuple[int, int]:
        """(rows, columns) of the tokens of a frame of `height` by `width` pixels.

        Raises:
            ConfigError: A side is not a multiple of the patch's.
        """
        patch_height, patch_width = self.patch_size(config)
        if height % patch_height or width % patch_width:
            raise ConfigError(
                f"a frame of {height}x{width} pixels does not divide into patches of {patch_height}x{patch_width}"
            )
        return height // patch_height, width // patch_width

    def processor_settings(self, config: PreTrainedConfig) -> dict[str, Any]:
        """Geometry and pixels of the processor of a new model: the whole frame, resized, in [-1, 1]."""
        return whole_frame(*self.image_size(config))

    def new_processor(self, config: PreTrainedConfig) -> BaseVideoProcessor:
        """A video processor for a new model."""
        return TSViTVideoProcessor(**self.processor_settings(config), **self._processor_input(config))

    def follow_processor(self, processor: BaseVideoProcessor, config: PreTrainedConfig) -> BaseVideoProcessor:
        """A checkpoint's processor with the same geometry and pixels, which decodes files with PyAV.

        Processors of transformers open video files through torchcodec alone, which needs FFmpeg on the system.

        Args:
            processor: The checkpoint's own video processor.
            config: The model's configuration; if its frames have another size than the processor gives, what the
                processor resizes to is scaled.
        """
        settings = followed_settings(processor, *self.image_size(config))
        return TSViTVideoProcessor(**settings, **self._processor_input(config))

    def _processor_input(self, config: PreTrainedConfig) -> dict[str, Any]:
        return {
            "num_frames": self.num_frames(config),
            "model_input_names": [self.input_name],
            "fallback_type": self.processor_type,  # what loads where `trust_remote_code` is not set
        }

    # How models that give no attention by themselves are read

    def check_model(self, model: PreTrainedModel) -> None:
        """Refuse a model that is not of the kind that is described here.

        Raises:
            ConfigError: It lacks what is to be read, or has no attention layer.
        """
        try:
            layers = self.layers(model)
        except AttributeError as error:
            raise ConfigError(
                f"{type(model).__name__} is not the model that {type(self).__name__} describes: {error}"
            ) from error
        if not layers:
            raise ConfigError(f"{type(model).__name__} has no attention layer, so there is nothing to supervise")

    def layers(self, model: PreTrainedModel) -> Sequence[AttentionLayer]:
        """The attention layers that can be supervised, in order from the input to the output."""
        raise NotImplementedError(f"{type(self).__name__} does not say where its attention layers are")

    def run(
        self, forward: Callable[..., Any], clips: torch.Tensor, recorder: Recorder, **inputs: torch.Tensor
    ) -> torch.Tensor:
        """The plain model's logits.

        Args:
            forward: The plain model's `forward`.
            clips: (batch, frames, channels, height, width) pixels as the processor gives them.
            recorder: Keeps what `partial_logits` needs, where the hooks do not.
            **inputs: What else goes in: `object_maps`, where there are any and the family takes them.

        Returns:
            (batch, labels).
        """
        return forward(**{self.input_name: clips}, **inputs).logits

    def frame_rows(self, config: PreTrainedConfig, row: torch.Tensor, batch_size: int) -> torch.Tensor:
        """A probed row, (batch, tubelets * tokens), as (batch, frames, tokens): frames share their tubelet's."""
        rows, columns = self.token_grid(config, *self.image_size(config))
        by_tubelet = row.unflatten(1, (-1, rows * columns))
        return by_tubelet.repeat_interleave(self.tubelet_size(config), dim=1)

    def readers(self, model: PreTrainedModel) -> dict[int, ProjectionReader]:
        """By index of the layer: what else to read there, for the temporal views."""
        return {}

    def taps(self, model: PreTrainedModel) -> list[tuple[nn.Module, TapReader]]:
        """Modules to watch, each with what is done after its forward, for the temporal views."""
        return []

    def partial_logits(self, model: PreTrainedModel, kept: dict[str, torch.Tensor]) -> torch.Tensor:
        """Logits of the immediate and the contextual view, (batch, 2, labels), from what was kept."""
        raise NotImplementedError(f"{type(self).__name__} has no temporal views")

    def unused(self, model: PreTrainedModel) -> list[nn.Module]:
        """Modules that classification has no use for. They are frozen: distributed training waits for gradients."""
        return []

    # How models that give attention by themselves are told which

    def choose_layers(self, model: PreTrainedModel, layers: Layers) -> None:
        """Set the layers whose attention the model gives; None leaves them as they are.

        Raises:
            ConfigError: There is no such layer, or a layer is named twice.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say how the layers of its models are chosen")

    def supervised_layers(self, model: PreTrainedModel) -> tuple[int, ...] | str:
        """The layers whose attention the model gives, as its configuration names them."""
        raise NotImplementedError(f"{type(self).__name__} does not say which layers its models give attention of")


# The one state of this module: a registry is filled by the modules and programs that know a family.
_BACKBONES: dict[str, Backbone] = {}


def register_backbone(backbone: Backbone) -> Backbone:
    """Make a family of models known to `supervised_view` and `train.py`. A later one of the same type replaces it.

    Args:
        backbone: An instance of a subclass of `Backbone` with a `model_type`.

    Raises:
        ConfigError: It has no `model_type`.
    """
    if not backbone.model_type:
        raise ConfigError(f"{type(backbone).__name__} has no model_type")
    _BACKBONES[backbone.model_type] = backbone
    return backbone


def registered_model_types(task: str | None = None) -> list[str]:
    """The model types that are known, in the order in which they were registered.

    Args:
        task: Name of a task; types of families that cannot be trained for it are left out. None leaves out none.
    """
    return [name for name, backbone in _BACKBONES.items() if task is None or task in backbone.tasks()]


def backbone_for(config: PreTrainedConfig) -> Backbone:
    """The description of the family of models that a configuration belongs to.

    Raises:
        ConfigError: No such family is known.
    """
    model_type = getattr(config, "model_type", None)
    if model_type not in _BACKBONES:
        raise ConfigError(
            f"model type {model_type!r} is not known to reasoning supervision (known: "
            f"{', '.join(registered_model_types())}): describe where its attention layers are with register_backbone"
        )
    return _BACKBONES[model_type].for_config(config)


def backbone_of(model: PreTrainedModel) -> Backbone:
    """The description of the family that a model belongs to.

    Raises:
        ConfigError: No such family is known, or the model is not as its family's are.
    """
    if not isinstance(model, PreTrainedModel):
        raise ConfigError(f"{type(model).__name__} is no model of transformers (PreTrainedModel)")
    backbone = backbone_for(model.config)
    backbone.check_model(model)
    return backbone


# For descriptions of families


def as_pair(side: int | Sequence[int]) -> tuple[int, int]:
    """A side of a square, or both sides, as (height, width)."""
    return (side, side) if isinstance(side, int) else (side[0], side[1])


def number_of(module: nn.Module, name: str) -> float:
    """A number that a module holds, such as the `scaling` of an attention layer."""
    value = getattr(module, name)
    if not isinstance(value, int | float):
        raise ConfigError(f"{name} of {type(module).__name__} is {value!r}, expected a number")
    return value


def linear_at(model: nn.Module, path: str) -> nn.Linear:
    """The linear layer at a path of names within a model.

    Raises:
        ConfigError: There is another kind of module.
    """
    module = model.get_submodule(path)
    if not isinstance(module, nn.Linear):
        raise ConfigError(f"{path} of {type(model).__name__} is a {type(module).__name__}, expected a linear layer")
    return module
