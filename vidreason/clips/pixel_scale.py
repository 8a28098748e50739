"""How a processor turns bytes into what a model takes, whatever its rule is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import BaseVideoProcessor


def pixel_statistics(processor: BaseVideoProcessor) -> tuple[Sequence[float], Sequence[float]]:
    """Mean and standard deviation per channel, for pixels that were scaled to [0, 1].

    They are `image_mean` and `image_std` of most processors. ViViT's takes 1 off before it normalises, and some do not
    rescale; what they do to black and white tells.

    Args:
        processor: Video processor of a model.
    """
    stated: Any = processor  # transformers sets these attributes from keyword arguments, without declaring them
    rule = getattr(processor, "rescale_and_normalize", None)
    if rule is None or _is_usual(processor):
        return stated.image_mean, stated.image_std
    # a rule that is affine for each channel is known from what it does to two values
    bytes_ = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 3, 1, 1).clone()
    settings = (stated.do_rescale, stated.rescale_factor, stated.do_normalize)
    black, white = rule(bytes_, *settings, tuple(stated.image_mean), tuple(stated.image_std)).double().flatten(1)
    return (-black / (white - black)).tolist(), (1 / (white - black)).tolist()


def _is_usual(processor: BaseVideoProcessor) -> bool:
    own_rule = type(processor).rescale_and_normalize is not BaseVideoProcessor.rescale_and_normalize
    stated: Any = processor
    return not own_rule and stated.do_rescale and stated.do_normalize and stated.rescale_factor == 1 / 255
