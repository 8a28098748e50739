"""Video processors that follow a model: its sizes, its frames, its pixels and the name of its input."""

from __future__ import annotations

from typing import Any

from transformers import BaseVideoProcessor, PreTrainedConfig, VivitVideoProcessor

from modeling_tsvit import TSViTVideoProcessor

from ..clips.pixel_scale import pixel_statistics
from .description import Backbone

RULES = ("do_resize", "resample", "do_center_crop", "do_rescale", "rescale_factor", "do_normalize", "do_convert_rgb")


def new_processor(backbone: Backbone, config: PreTrainedConfig) -> TSViTVideoProcessor:
    """A processor for a new model: the whole frame resized to its input, pixels in [-1, 1].

    V-JEPA 2's own processor cannot do without its centre crop; a new one keeps it, so that both agree.
    """
    height, width = backbone.image_size(config)
    settings: dict[str, Any] = {"size": {"height": height, "width": width}, "do_center_crop": False}
    if config.model_type == "vjepa2":
        settings = _vjepa2_geometry(height)
    if config.model_type == "vivit":
        settings |= _bytes_to_unit_range([0.5] * 3, [0.5] * 3)
    return _with_input(backbone, config, settings)


def follow_processor(
    processor: BaseVideoProcessor, backbone: Backbone, config: PreTrainedConfig
) -> TSViTVideoProcessor:
    """A checkpoint's processor with the same geometry and pixels, which decodes files with PyAV.

    Processors of transformers open video files through torchcodec alone, which needs FFmpeg on the system.

    Args:
        processor: of the checkpoint.
        backbone: of the model.
        config: of the model; if its frames have another size than the processor gives, the size is scaled.
    """
    settings = {name: getattr(processor, name) for name in RULES if getattr(processor, name, None) is not None}
    mean, std = pixel_statistics(processor)
    if isinstance(processor, VivitVideoProcessor) and processor.do_rescale:
        settings |= _bytes_to_unit_range(mean, std)
    else:
        settings |= {"image_mean": list(processor.image_mean), "image_std": list(processor.image_std)}
    height, width = backbone.image_size(config)
    settings["size"] = _scaled_size(processor, height, width)
    if getattr(processor, "do_center_crop", False):
        settings["crop_size"] = {"height": height, "width": width}
    return _with_input(backbone, config, settings)


def _with_input(backbone: Backbone, config: PreTrainedConfig, settings: dict[str, Any]) -> TSViTVideoProcessor:
    return TSViTVideoProcessor(
        **settings,
        num_frames=backbone.num_frames(config),
        model_input_names=[backbone.input_name],
        fallback_type=backbone.processor_type,
    )


def _scaled_size(processor: BaseVideoProcessor, height: int, width: int) -> dict[str, int]:
    """What to resize to, so that what comes out is `height` by `width` and shows the same part of the frame."""
    size = {name: value for name, value in dict(processor.size).items() if value is not None}
    if not getattr(processor, "do_center_crop", False) or not processor.do_resize:
        return {"height": height, "width": width}
    crop = dict(processor.crop_size)
    if "shortest_edge" in size:
        return {"shortest_edge": int(size["shortest_edge"] * min(height / crop["height"], width / crop["width"]))}
    return {
        "height": int(size["height"] * height / crop["height"]),
        "width": int(size["width"] * width / crop["width"]),
    }


def _vjepa2_geometry(side: int) -> dict[str, Any]:
    """As `VJEPA2VideoProcessor` has it for a crop of `side` pixels."""
    return {
        "size": {"shortest_edge": int(side * 256 / 224)},
        "do_center_crop": True,
        "crop_size": {"height": side, "width": side},
    }


def _bytes_to_unit_range(mean: list[float], std: list[float]) -> dict[str, Any]:
    """Normalisation of bytes, without rescaling them before: what `VivitVideoProcessor` does in the same words.

    ViViT's own processor takes 1 off where it rescales, and others do not. Where the folder is loaded without its
    code, transformers takes ViViT's own for it; without rescaling both do the same.

    Args:
        mean: per channel, of pixels in [0, 1].
        std: likewise.
    """
    return {
        "do_rescale": False,
        "do_normalize": True,
        "image_mean": [255 * value for value in mean],
        "image_std": [255 * value for value in std],
    }
