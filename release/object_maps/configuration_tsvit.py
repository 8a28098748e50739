"""Configuration of TSViT, the two-stage video transformer of reasoning supervision (section 2.1 of the paper)."""

import math
from typing import ClassVar, Literal, TypeGuard

from transformers import PreTrainedConfig
from transformers.activations import ACT2FN

PATCH_EMBEDDINGS = ("linear", "conv_stem")


class TSViTConfig(PreTrainedConfig):
    r"""Shape and training behaviour of a TSViT model.

    Every value is checked when the configuration is made; a `ValueError` names the field that cannot be used.

    Args:
        image_size: Side of a square frame, or (height, width), in pixels. A pair of equal sides is kept as one int.
        grid_size: Tokens along a side of the frame, or (rows, columns). The paper uses a 4x4 grid, which the guidance
            shares. It must divide `image_size`; the patch size follows from both.
        num_frames: Frames per clip that the temporal positions are made for. Clips of other lengths stretch them.
        num_channels: Colour channels of a frame.
        hidden_size: Width of both stages.
        num_spatial_layers: Blocks of the first stage, which looks at each frame on its own.
        num_temporal_layers: Blocks of the second stage, which looks at the frames of a clip together.
        num_attention_heads: Heads of every attention layer; must divide `hidden_size`.
        intermediate_size: Width of the feed-forward layers.
        hidden_act: Name of an activation of `transformers.activations.ACT2FN`.
        hidden_dropout_prob: Dropout of the embeddings, of the residual branches and in the classification head.
        attention_probs_dropout_prob: Dropout of the attention probabilities. `frame_attention` is taken before it.
        drop_path_rate: Stochastic depth of the last block; it grows linearly from 0 over the blocks of both stages.
        layer_norm_eps: Epsilon of the normalisation layers.
        qkv_bias: Whether the query, key and value projections have a bias.
        initializer_range: Standard deviation of the truncated normal that weights start from. None means
            1 / sqrt(fan-in) of each layer, which suits training from scratch at any width and patch size; 0.02, made
            for wide pretrained models, leaves a narrow one on a plateau.
        position_initializer_range: Standard deviation that the positions of both stages start from. Tokens have about
            unit variance, and positions must stand out beside them: much smaller ones leave the order of frames
            invisible for many epochs.
        patch_embedding: "linear" (one projection per grid cell) or "conv_stem" (stride-2 convolutions first).
        num_stem_blocks: Stride-2 convolutions of the "conv_stem"; 2**num_stem_blocks must divide the patch size.
        classifier_hidden_size: Width of the hidden layer of the classification head. None means `hidden_size`.
        frames_per_second: Rate that the frames of a window are sampled at, for action segmentation. None where clips
            of any length are sampled to `num_frames`.
        score_averaging_s: Seconds over which the scores of a frame are averaged when whole videos are labelled, the
            frame in the middle. None for its own scores alone.
        supervised_layers: Spatial layers that return their CLS attention: an index, several (negative ones count
            from the last), or "all".

    Example:
        >>> from modeling_tsvit import TSViTConfig
        >>> config = TSViTConfig(image_size=64, num_frames=8)
        >>> config.patch_size, config.num_patches, config.supervised_layer_indices
        ((16, 16), 16, (5,))
    """

    model_type = "tsvit"
    # What an evaluation loop must not gather over a whole data set: maps of every frame fill the memory.
    keys_to_ignore_at_inference: ClassVar[list[str]] = [
        "segment_logits",
        "frame_attention",
        "layer_attention",
        "hidden_states",
        "attentions",
    ]

    image_size: int | list[int] | tuple[int, int] = 224
    grid_size: int | list[int] | tuple[int, int] = 4
    num_frames: int = 16
    num_channels: int = 3
    hidden_size: int = 256
    num_spatial_layers: int = 6
    num_temporal_layers: int = 4
    num_attention_heads: int = 8
    intermediate_size: int = 1024
    hidden_act: str = "gelu"
    hidden_dropout_prob: float | int = 0.0
    attention_probs_dropout_prob: float | int = 0.0
    drop_path_rate: float | int = 0.0
    layer_norm_eps: float = 1e-6
    qkv_bias: bool = True
    initializer_range: float | None = None
    position_initializer_range: float = 0.5
    patch_embedding: str = "linear"
    num_stem_blocks: int = 2
    classifier_hidden_size: int | None = None
    supervised_layers: int | str | list[int] | tuple[int, ...] = (-1,)
    frames_per_second: float | int | None = None
    score_averaging_s: float | int | None = None

    def __post_init__(self, **kwargs):
        # Before the base class sees them: a wrong number would otherwise fail deep inside a layer's constructor.
        self._check_numbers()
        self.image_size = _side_or_pair(self.image_size, "image_size")
        self.grid_size = _side_or_pair(self.grid_size, "grid_size")
        self._check_architecture()
        self.supervised_layers = self._checked_supervised_layers()
        super().__post_init__(**kwargs)

    def _check_numbers(self) -> None:
        counts = ["num_frames", "num_channels", "hidden_size", "num_spatial_layers", "num_temporal_layers"]
        counts += ["num_attention_heads", "intermediate_size", "num_stem_blocks"]
        if self.classifier_hidden_size is not None:
            counts.append("classifier_hidden_size")
        for name in counts:
            _require_positive_integer(getattr(self, name), name)
        for name in ("hidden_dropout_prob", "attention_probs_dropout_prob", "drop_path_rate"):
            value = getattr(self, name)
            if not _is_number(value) or not 0 <= value < 1:  # not 1: what stays is scaled by 1 / (1 - p)
                raise ValueError(f"{name} must be a probability in [0, 1), got {value!r}")
        optional = ("initializer_range", "frames_per_second", "score_averaging_s")
        for name in ("layer_norm_eps", "position_initializer_range", *optional):
            value = getattr(self, name)
            if name in optional and value is None:
                continue
            if not _is_number(value) or not (value > 0 and math.isfinite(value)):
                raise ValueError(f"{name} must be a positive number, got {value!r}")
        if not isinstance(self.qkv_bias, bool):
            raise ValueError(f"qkv_bias must be true or false, got {self.qkv_bias!r}")

    def _check_architecture(self) -> None:
        if self.hidden_act not in ACT2FN:
            raise ValueError(f"hidden_act {self.hidden_act!r} is unknown; choose one of {', '.join(sorted(ACT2FN))}")
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"num_attention_heads ({self.num_attention_heads}) must divide hidden_size ({self.hidden_size})"
            )
        if any(side % cells for side, cells in zip(self.image_shape, self.grid_shape, strict=True)):
            raise ValueError(
                f"grid_size {self.grid_shape} must divide image_size {self.image_shape}, both (height, width)"
            )
        if self.patch_embedding not in PATCH_EMBEDDINGS:
            raise ValueError(f"patch_embedding must be one of {PATCH_EMBEDDINGS}, got {self.patch_embedding!r}")
        if self.patch_embedding == "conv_stem":
            self._check_conv_stem()

    def _check_conv_stem(self) -> None:
        stride = 2**self.num_stem_blocks
        if any(side % stride for side in self.patch_size):
            raise ValueError(
                f"num_stem_blocks ({self.num_stem_blocks}) halves a patch that often, but the patch size "
                f"{self.patch_size} (image_size / grid_size) is not a multiple of {stride}"
            )
        if self.hidden_size % stride:  # the stem halves the channels backwards from `hidden_size`
            raise ValueError(f"hidden_size ({self.hidden_size}) must be a multiple of {stride} for num_stem_blocks")

    def _checked_supervised_layers(self) -> Literal["all"] | tuple[int, ...]:
        given = self.supervised_layers
        if given == "all":
            return "all"
        layers = (given,) if _is_integer(given) else given
        if not isinstance(layers, list | tuple) or not layers or not all(_is_integer(layer) for layer in layers):
            raise ValueError(f'supervised_layers must be layer indices or "all", got {given!r}')
        resolved = [layer + self.num_spatial_layers if layer < 0 else layer for layer in layers]
        for layer, index in zip(layers, resolved, strict=True):
            if not 0 <= index < self.num_spatial_layers:
                raise ValueError(
                    f"supervised_layers names spatial layer {layer}, but num_spatial_layers is "
                    f"{self.num_spatial_layers} (indices {-self.num_spatial_layers} to {self.num_spatial_layers - 1})"
                )
        if len(set(resolved)) < len(resolved):
            raise ValueError(f"supervised_layers names a layer twice: {tuple(layers)} is {tuple(resolved)}")
        return tuple(layers)

    @property
    def image_shape(self) -> tuple[int, int]:
        """(height, width) of a frame in pixels."""
        return _as_pair(self.image_size)

    @property
    def grid_shape(self) -> tuple[int, int]:
        """(rows, columns) of the token grid at `image_size`."""
        return _as_pair(self.grid_size)

    @property
    def patch_size(self) -> tuple[int, int]:
        """(height, width) of a grid cell in pixels. It stays the same at other resolutions."""
        return self.image_shape[0] // self.grid_shape[0], self.image_shape[1] // self.grid_shape[1]

    @property
    def num_patches(self) -> int:
        """Patch tokens of a frame at `image_size`, without the CLS token."""
        return self.grid_shape[0] * self.grid_shape[1]

    @property
    def num_hidden_layers(self) -> int:
        """Blocks of both stages together."""
        return self.num_spatial_layers + self.num_temporal_layers

    @property
    def supervised_layer_indices(self) -> tuple[int, ...]:
        """`supervised_layers` as non-negative indices, ascending; the field may be set anew at any time."""
        layers = self._checked_supervised_layers()
        if layers == "all":
            return tuple(range(self.num_spatial_layers))
        return tuple(sorted(layer % self.num_spatial_layers for layer in layers))


def _is_integer(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)  # JSON's `true` is an int to Python


def _is_number(value: object) -> TypeGuard[int | float]:
    return _is_integer(value) or isinstance(value, float)


def _require_positive_integer(value: object, name: str) -> None:
    if not _is_integer(value) or value < 1:
        raise ValueError(f"{name} must be a positive integer, got {value!r}")


def _side_or_pair(value: object, name: str) -> int | tuple[int, int]:
    """An int where both sides are equal, else a tuple, so that a configuration reads back from JSON as it was."""
    pair = (value, value) if _is_integer(value) else value
    if not isinstance(pair, list | tuple) or len(pair) != 2:
        raise ValueError(f"{name} must be an integer or a pair of integers, got {value!r}")
    for side in pair:
        _require_positive_integer(side, name)
    return pair[0] if pair[0] == pair[1] else (pair[0], pair[1])


def _as_pair(value: int | list[int] | tuple[int, int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])


TSViTConfig.register_for_auto_class()

__all__ = ["TSViTConfig"]
