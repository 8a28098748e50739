"""Settings of video processors: geometry and pixels of a new one, and those of a checkpoint's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transformers import BaseVideoProcessor, VivitVideoProcessor

_FOLLOWED = (
    *("do_resize", "resample", "do_center_crop", "do_convert_rgb"),
    *("do_rescale", "rescale_factor", "do_normalize", "image_mean", "image_std"),
)


def whole_frame(height: int, width: int) -> dict[str, Any]:
    """Settings that show the whole frame, so that guidance of the full frame lies on the tokens as it is."""
    return {"size": {"height": height, "width": width}, "do_center_crop": False}


def followed_settings(processor: BaseVideoProcessor, height: int, width: int) -> dict[str, Any]:
    """Settings that do to a frame what a checkpoint's processor does.

    Args:
        processor: The checkpoint's own video processor.
        height: Height in pixels of the frames that the model takes.
        width: Width in pixels of the frames that the model takes.
    """
    settings = {name: getattr(processor, name, None) for name in _FOLLOWED}
    settings = {name: value for name, value in settings.items() if value is not None}
    if isinstance(processor, VivitVideoProcessor) and processor.do_rescale:
        settings |= _without_vivits_offset(processor)
    settings["size"] = _scaled_size(processor, height, width)
    if settings.get("do_center_crop"):
        settings["crop_size"] = {"height": height, "width": width}
    return settings


def byte_normalization(mean: Sequence[float], std: Sequence[float]) -> dict[str, Any]:
    """Normalisation of bytes, without rescaling them before: what `VivitVideoProcessor` does in the same words.

    ViViT's own processor takes 1 off where it rescales, and others do not. Where a folder is loaded without its code,
    transformers takes ViViT's own for it; without rescaling both do the same.

    Args:
        mean: Mean of each channel, in bytes.
        std: Standard deviation of each channel, in bytes.
    """
    return {"do_rescale": False, "do_normalize": True, "image_mean": list(mean), "image_std": list(std)}


def _without_vivits_offset(processor: VivitVideoProcessor) -> dict[str, Any]:
    """ViViT's rule, (byte * factor - 1 - mean) / std, as (byte - (1 + mean) / factor) / (std / factor)."""
    channels = len(processor.image_mean)
    mean, std = ([0.0] * channels, [1.0] * channels)  # what no normalisation is
    if processor.do_normalize:
        mean, std = list(processor.image_mean), list(processor.image_std)
    factor = processor.rescale_factor
    return byte_normalization([(1 + value) / factor for value in mean], [value / factor for value in std])


def _scaled_size(processor: BaseVideoProcessor, height: int, width: int) -> dict[str, int]:
    """What to resize to, so that what comes out is `height` by `width` and shows the same part of the frame."""
    size, crop = (_sides(getattr(processor, name, None)) for name in ("size", "crop_size"))
    does_resize, does_crop = (getattr(processor, name, False) for name in ("do_resize", "do_center_crop"))
    if not does_crop or not does_resize:
        return {"height": height, "width": width}
    if "shortest_edge" in size:
        return {"shortest_edge": int(size["shortest_edge"] * min(height / crop["height"], width / crop["width"]))}
    return {
        "height": int(size["height"] * height / crop["height"]),
        "width": int(size["width"] * width / crop["width"]),
    }


def _sides(size: Any) -> dict[str, int]:
    """The sides that a processor's size names; transformers keeps those that it does not name as None."""
    return {name: value for name, value in dict(size or {}).items() if value is not None}
