"""The models that are held against each other: all of one width, depth, number of frames and size of patches."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from transformers import (
    PreTrainedModel,
    TimesformerConfig,
    TimesformerForVideoClassification,
    VideoMAEConfig,
    VideoMAEForVideoClassification,
    VivitConfig,
    VivitForVideoClassification,
    VJEPA2Config,
    VJEPA2ForVideoClassification,
)

from modeling_tsvit import TSViTConfig, TSViTForVideoClassification
from vidreason.errors import ConfigError

TUBELET_FRAMES = 2
"""Frames per token in ViViT, VideoMAE and V-JEPA 2, as in their published checkpoints."""


@dataclass
class ModelArguments:
    """The size that all models have. The default fits a CPU; the paper's TSViT is 224 px, patches of 56, width 256."""

    image_size: int = field(default=64, metadata={"help": "Side of a frame in pixels."})
    patch_size: int = field(default=16, metadata={"help": "Side of a patch (of TSViT: a grid cell) in pixels."})
    num_frames: int = field(default=8, metadata={"help": "Frames of a clip; even, for models of two-frame tubelets."})
    hidden_size: int = field(default=192, metadata={"help": "Width."})
    num_layers: int = field(default=6, metadata={"help": "Depth; TSViT divides it over its two stages."})
    num_attention_heads: int = field(default=6, metadata={"help": "Heads of each layer."})
    intermediate_size: int = field(default=768, metadata={"help": "Width of the feed-forward layers."})

    def __post_init__(self):
        if self.num_frames % TUBELET_FRAMES:
            raise ConfigError(f"num_frames is {self.num_frames}, expected a multiple of {TUBELET_FRAMES}")
        if self.image_size % self.patch_size:
            raise ConfigError(f"patch_size {self.patch_size} does not divide image_size {self.image_size}")
        if self.num_layers < 2:
            raise ConfigError(f"num_layers is {self.num_layers}, expected at least 2: one for each stage of TSViT")

    @property
    def tokens_per_frame(self) -> int:
        """Patches of a frame."""
        return (self.image_size // self.patch_size) ** 2

    def shared(self, num_labels: int) -> dict:
        """What the configurations of all models have in common by name."""
        return {
            "hidden_size": self.hidden_size,
            "num_attention_heads": self.num_attention_heads,
            "num_labels": num_labels,
            # as TSViT starts by default: 0.02 is made for wide models and leaves narrow ones on a plateau
            "initializer_range": self.hidden_size**-0.5,
        }


def build_tsvit(size: ModelArguments, num_labels: int) -> TSViTForVideoClassification:
    """Stages of 6 to 4 layers, as in the paper's model, at any depth."""
    num_temporal_layers = max(1, round(0.4 * size.num_layers))
    return TSViTForVideoClassification(
        TSViTConfig(
            image_size=size.image_size,
            grid_size=size.image_size // size.patch_size,
            num_frames=size.num_frames,
            num_spatial_layers=size.num_layers - num_temporal_layers,
            num_temporal_layers=num_temporal_layers,
            intermediate_size=size.intermediate_size,
            **{**size.shared(num_labels), "initializer_range": None},
        )
    )


def build_vivit(size: ModelArguments, num_labels: int) -> VivitForVideoClassification:
    """Joint space-time attention. Its default activation, "gelu_fast", is a chain of operators; "gelu" is one."""
    return VivitForVideoClassification(
        VivitConfig(
            image_size=size.image_size,
            num_frames=size.num_frames,
            tubelet_size=[TUBELET_FRAMES, size.patch_size, size.patch_size],
            num_hidden_layers=size.num_layers,
            intermediate_size=size.intermediate_size,
            hidden_act="gelu",
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            **size.shared(num_labels),
        )
    )


def build_timesformer(size: ModelArguments, num_labels: int) -> TimesformerForVideoClassification:
    """Divided space-time attention. transformers has no SDPA for it."""
    return TimesformerForVideoClassification(
        TimesformerConfig(
            image_size=size.image_size,
            patch_size=size.patch_size,
            num_frames=size.num_frames,
            num_hidden_layers=size.num_layers,
            intermediate_size=size.intermediate_size,
            attention_type="divided_space_time",
            **size.shared(num_labels),
        )
    )


def build_videomae(size: ModelArguments, num_labels: int) -> VideoMAEForVideoClassification:
    """The encoder with mean pooling, as it is fine-tuned."""
    return VideoMAEForVideoClassification(
        VideoMAEConfig(
            image_size=size.image_size,
            patch_size=size.patch_size,
            num_frames=size.num_frames,
            tubelet_size=TUBELET_FRAMES,
            num_hidden_layers=size.num_layers,
            intermediate_size=size.intermediate_size,
            use_mean_pooling=True,
            **size.shared(num_labels),
        )
    )


def build_vjepa2(size: ModelArguments, num_labels: int) -> VJEPA2ForVideoClassification:
    """Encoder and attentive pooler of the same width; the predictor, which a classifier never runs, is made small."""
    return VJEPA2ForVideoClassification(
        VJEPA2Config(
            crop_size=size.image_size,
            patch_size=size.patch_size,
            frames_per_clip=size.num_frames,
            tubelet_size=TUBELET_FRAMES,
            num_hidden_layers=size.num_layers,
            mlp_ratio=size.intermediate_size / size.hidden_size,
            pred_hidden_size=size.num_attention_heads * 8,
            pred_num_attention_heads=size.num_attention_heads,
            pred_num_hidden_layers=1,
            **size.shared(num_labels),
        )
    )


BUILDERS = {
    "tsvit": build_tsvit,
    "vivit": build_vivit,
    "timesformer": build_timesformer,
    "videomae": build_videomae,
    "vjepa2": build_vjepa2,
}


def build_model(name: str, size: ModelArguments, num_labels: int, seed: int = 0) -> PreTrainedModel:
    """A model with random weights, the same for the same seed.

    Raises:
        ConfigError: The name is not among `BUILDERS`.
    """
    if name not in BUILDERS:
        raise ConfigError(f"there is no model {name!r} to measure; choose among {', '.join(BUILDERS)}")
    torch.manual_seed(seed)
    return BUILDERS[name](size, num_labels)


def used_parameters(model: PreTrainedModel) -> list[torch.nn.Parameter]:
    """The parameters that classification trains: those of V-JEPA 2's predictor are never run."""
    return [parameter for name, parameter in model.named_parameters() if ".predictor." not in name]
