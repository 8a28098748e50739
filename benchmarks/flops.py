"""Arithmetic of one clip through a model, counted on tensors that hold no data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vidreason.errors import ConfigError

MODELS = ("tsvit", "timesformer", "vivit", "videomae", "vjepa2")
"""Each with the default configuration of its class: TSViT, and transformers' base models (V-JEPA 2's is its large)."""


@dataclass(frozen=True)
class ModelFlops:
    """What a model takes for one clip. A multiplication with its addition counts as two.

    Args:
        model: One of `MODELS`.
        description: Frames, size and parameters in words.
        num_frames: Number of frames of a clip.
        forward: Operations of one forward pass.
        training: Operations of a training step, backward included; recomputation and the optimizer are not in it.
    """

    model: str
    description: str
    num_frames: int
    forward: int
    training: int


def count_flops(name: str, num_labels: int = 174) -> ModelFlops:
    """Count matrix products, convolutions and attention of one clip.

    Args:
        name: One of `MODELS`.
        num_labels: Number of labels of the classification head; Something-Something v2 has 174.

    Raises:
        ConfigError: There is no such model.
    """
    import torch  # here, since a page is rebuilt without it

    with torch.device("meta"):
        model, num_frames, side = _build(name, num_labels)
        clip = torch.empty(1, num_frames, 3, side, side)
    key = "pixel_values_videos" if name == "vjepa2" else "pixel_values"
    model.train()
    forward, training = pass_flops(model, **{key: clip})
    parameters = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    return ModelFlops(
        model=name,
        description=f"{num_frames} frames of {side} px, {parameters:.1f}M parameters",
        num_frames=num_frames,
        forward=forward,
        training=training,
    )


def pass_flops(model: Any, **clip: Any) -> tuple[int, int]:
    """Matrix products, convolutions and attention of a forward pass, and of that with its backward pass.

    Args:
        model: A model that gives `logits`.
        clip: Its arguments.
    """
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as forward:
        logits = model(**clip).logits
    with FlopCounterMode(display=False) as backward:
        logits.sum().backward()
    return forward.get_total_flops(), forward.get_total_flops() + backward.get_total_flops()


def _build(name: str, num_labels: int):
    """The model on the device of the context, its frames, and the side of a frame in pixels."""
    import transformers

    if name == "tsvit":
        from modeling_tsvit import TSViTConfig, TSViTForVideoClassification

        config = TSViTConfig(num_labels=num_labels)  # type: ignore[call-arg]  # a field of its base class
        return TSViTForVideoClassification(config), config.num_frames, config.image_size
    prefixes = {"timesformer": "Timesformer", "vivit": "Vivit", "videomae": "VideoMAE", "vjepa2": "VJEPA2"}
    if name not in prefixes:
        raise ConfigError(f"model {name!r} has no FLOP count; there are {', '.join(MODELS)}")
    config = getattr(transformers, f"{prefixes[name]}Config")(num_labels=num_labels)
    model = getattr(transformers, f"{prefixes[name]}ForVideoClassification")(config)
    if name == "vjepa2":
        return model, config.frames_per_clip, config.crop_size
    return model, config.num_frames, config.image_size
