"""What supervision has to know of a family of video models. Subclass `Backbone` to make another one known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForVideoClassification, PreTrainedConfig, PreTrainedModel

from ..errors import ConfigError
from .probe import AttentionLayer, Projections, Recorder

Reader = Callable[[Recorder, Projections, Any], None]


class Backbone:
    """How a family of video classifiers of `transformers` is supervised.

    A subclass says where the attention layers are and how clips are cut into tokens; `layers` alone is required where
    the model is a joint space-time transformer with tokens in order of time, rows and columns, configured by
    `num_frames`, `image_size` and `patch_size`.

    Attributes:
        model_type: that of the configuration.
        input_name: the model's name of what is called `pixel_values` here.
        rule: whose attention is supervised, in words, for model cards.
        auto_class: of transformers, that loads and makes these classifiers.
        processor_type: the class of transformers that prepares videos for these models, if there is one.
    """

    model_type = ""
    input_name = "pixel_values"
    rule = "the [CLS] token"
    auto_class: Any = AutoModelForVideoClassification
    processor_type: str | None = None

    def layers(self, model: PreTrainedModel) -> Sequence[AttentionLayer]:
        """The attention layers that can be supervised, in order from the input to the output."""
        raise NotImplementedError(f"{type(self).__name__} does not say where its attention layers are")

    def num_frames(self, config: PreTrainedConfig) -> int:
        """Frames of a clip."""
        return config.num_frames

    def config_fields(self, fields: dict[str, Any]) -> dict[str, Any]:
        """Fields of a configuration as a user gives them, under the names that the configuration has for them."""
        return fields

    def tubelet_size(self, config: PreTrainedConfig) -> int:
        """Frames that share their tokens."""
        return 1

    def image_size(self, config: PreTrainedConfig) -> tuple[int, int]:
        """(height, width) of a frame in pixels."""
        return as_pair(config.image_size)

    def patch_size(self, config: PreTrainedConfig) -> tuple[int, int]:
        """(height, width) of a token in pixels."""
        return as_pair(config.patch_size)

    def check(self, config: PreTrainedConfig) -> None:
        """Refuse a configuration that cannot be supervised.

        Raises:
            ConfigError: with the reason.
        """
        self.check_clip(config, self.num_frames(config), *self.image_size(config))

    def check_clip(self, config: PreTrainedConfig, num_frames: int, height: int, width: int) -> None:
        """Refuse clips of another length or size than the model is made for.

        Raises:
            ConfigError: naming both numbers.
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
            ConfigError: a side is not a multiple of the patch's.
        """
        patch_height, patch_width = self.patch_size(config)
        if height % patch_height or width % patch_width:
            raise ConfigError(
                f"a frame of {height}x{width} pixels does not divide into patches of {patch_height}x{patch_width}"
            )
        return height // patch_height, width // patch_width

    def run(self, forward: Callable[..., Any], clips: torch.Tensor, recorder: Recorder) -> torch.Tensor:
        """The plain model's logits.

        Args:
            forward: of the plain model.
            clips: (batch, frames, channels, height, width).
            recorder: to keep what `partial_logits` needs, if the hooks do not.

        Returns:
            (batch, labels).
        """
        return forward(**{self.input_name: clips}).logits

    def frame_rows(self, config: PreTrainedConfig, row: torch.Tensor, batch_size: int) -> torch.Tensor:
        """A probed row, (batch, tubelets * tokens), as (batch, frames, tokens): frames share their tubelet's."""
        rows, columns = self.token_grid(config, *self.image_size(config))
        by_tubelet = row.unflatten(1, (-1, rows * columns))
        return by_tubelet.repeat_interleave(self.tubelet_size(config), dim=1)

    def readers(self, model: PreTrainedModel) -> dict[int, Reader]:
        """By index of the layer: what else to read there, for the temporal views."""
        return {}

    def taps(self, model: PreTrainedModel) -> list[tuple[nn.Module, Callable[[Recorder, tuple, Any], None]]]:
        """Modules to watch, each with what is done after its forward, for the temporal views."""
        return []

    def partial_logits(self, model: PreTrainedModel, kept: dict[str, torch.Tensor]) -> torch.Tensor:
        """Logits of the immediate and the contextual view, (batch, 2, labels), from what was kept."""
        raise NotImplementedError(f"{type(self).__name__} has no temporal views")

    def unused(self, model: PreTrainedModel) -> list[nn.Module]:
        """Modules that classification has no use for. They are frozen: distributed training waits for gradients."""
        return []

    def head(self, model: PreTrainedModel) -> nn.Linear:
        """The last layer, a row of whose weight belongs to each label."""
        return model.classifier

    def describe(self, model: PreTrainedModel) -> str:
        """The model in a phrase, for its card."""
        config = model.config
        return f"{config.num_hidden_layers} layers of width {config.hidden_size}"


def as_pair(side: int | Sequence[int]) -> tuple[int, int]:
    """A side of a square, or both sides, as (height, width)."""
    return (side, side) if isinstance(side, int) else (side[0], side[1])


def module_of(parent: nn.Module, *names: str) -> nn.Module:
    """The child that goes by one of these names; they have changed between versions of transformers."""
    for name in names:
        if hasattr(parent, name):
            return getattr(parent, name)
    raise ConfigError(f"{type(parent).__name__} has none of {', '.join(names)}: this version of it is not known")
