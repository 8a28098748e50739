"""TSViT, this project's own model, which gives what supervision needs by itself."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn
from transformers import AutoModelForTokenClassification, BaseVideoProcessor, PreTrainedConfig, PreTrainedModel

from modeling_tsvit import TSViTPreTrainedModel, TSViTVideoProcessor

from ..errors import ConfigError
from .backbone import AutoClass, Backbone, linear_at
from .layers import Layers


class TSViTBackbone(Backbone):
    """TSViT: the CLS token looks at each frame on its own in stage 1, whose attention is what the paper supervises.

    The model needs no hooks: its `forward` gives `frame_attention` and `segment_logits`, and so does a saved folder
    without this library. Which layers is a field of its configuration, so that what is saved remembers it.
    """

    model_type = "tsvit"
    gives_attention = True

    def tasks(self) -> Mapping[str, AutoClass]:
        """Clips, and the frames of long videos; to transformers a frame's label is one of a token."""
        return {**super().tasks(), "segmentation": AutoModelForTokenClassification}

    def check(self, config: PreTrainedConfig) -> None:
        """Nothing: `TSViTConfig` refuses what cannot be built when it is made."""

    def check_clip(self, config: PreTrainedConfig, num_frames: int, height: int, width: int) -> None:
        """Any number of frames and any multiples of the patch will do: positions are interpolated."""
        self.token_grid(config, height, width)

    def check_model(self, model: PreTrainedModel) -> None:
        """Raises ConfigError for what is not TSViT."""
        _checked(model)

    def head(self, model: PreTrainedModel) -> nn.Linear:
        """The last layer of the MLP head."""
        return linear_at(model, "classifier.out_proj")

    def describe(self, model: PreTrainedModel) -> str:
        """The model in a phrase."""
        config = model.config
        return (
            f"TSViT, {config.num_spatial_layers} spatial and {config.num_temporal_layers} temporal layers of width "
            f"{config.hidden_size}"
        )

    def new_processor(self, config: PreTrainedConfig) -> BaseVideoProcessor:
        """The whole frame, resized; what is not said here is the processor's default, and not saved as a setting."""
        height, width = self.image_size(config)
        return TSViTVideoProcessor(size={"height": height, "width": width}, num_frames=self.num_frames(config))

    def follow_processor(self, processor: BaseVideoProcessor, config: PreTrainedConfig) -> BaseVideoProcessor:
        """A checkpoint's own, as it is: it decodes with PyAV already."""
        return processor

    def choose_layers(self, model: PreTrainedModel, layers: Layers) -> None:
        """Sets `supervised_layers` of the configuration.

        Raises:
            ConfigError: There is no such spatial layer, or a layer is named twice.
        """
        if layers is None:
            return
        config = _checked(model).config
        previous = config.supervised_layers
        config.supervised_layers = layers if isinstance(layers, str | int) else tuple(layers)
        try:
            config.supervised_layer_indices  # noqa: B018  checks the layers
        except ValueError as error:
            config.supervised_layers = previous
            raise ConfigError(str(error)) from error

    def supervised_layers(self, model: PreTrainedModel) -> tuple[int, ...] | str:
        """`supervised_layers` of the configuration, where -1 and "all" stay what they are."""
        layers = _checked(model).config.supervised_layers
        if isinstance(layers, str):
            return layers
        return (layers,) if isinstance(layers, int) else tuple(layers)


def _checked(model: PreTrainedModel) -> TSViTPreTrainedModel:
    if not isinstance(model, TSViTPreTrainedModel):
        raise ConfigError(f"{type(model).__name__} is not the model that {TSViTBackbone.__name__} describes")
    return model
