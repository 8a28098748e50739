"""Conversations that share a video in one row of tokens: who sees whom, and at which position each token stands.

Questions about one clip have the same beginning, of which the video is nearly all. Written once, with the rest of each
conversation after it, a clip with ten questions costs little more than one with one. Every token sees the beginning
and its own conversation, and stands at the position that it has there, so that the loss is that of the conversations
one by one. (The usual way is to make the questions turns of one chat, as LLaVA does. A model then reads in earlier
answers what it should see.)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from ...errors import ConfigError
from .encoding import SEGMENTS

MASKED_BY = ("sdpa", "eager")
"""Attention of `transformers` that takes a mask of any form."""


def check_attention(model: Any) -> None:
    """Check that a model's attention takes the mask.

    Raises:
        ConfigError: It does not.
    """
    found = model.config.get_text_config()._attn_implementation
    if found not in MASKED_BY:
        raise ConfigError(
            f"share_video wants a mask that attn_implementation {found!r} does not take: set one of {MASKED_BY}, or "
            "share_video to false"
        )


def shared_inputs(model: Any, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """A model's inputs, with a mask and positions by the segments of its tokens.

    Args:
        model: The model, without wrappers.
        inputs: A batch with `segment_ids` (rows, tokens), int64, see `ConversationEncoder.join`, and `attention_mask`
            (rows, tokens), padded at the right.

    Returns:
        The batch without `segment_ids`, with `attention_mask` (rows, 1, tokens, tokens), and `position_ids` as the
        model has them.
    """
    segments, is_token = inputs[SEGMENTS], inputs["attention_mask"].bool()
    sees = segments_mask(segments, is_token)
    if model.config.get_text_config()._attn_implementation == "eager":
        # eager attention adds the mask
        least = torch.finfo(model.dtype).min
        mask = torch.zeros_like(sees, dtype=model.dtype).masked_fill(~sees, least)
    else:
        mask = sees
    positions = segment_positions(_positions(model, inputs), segments)
    given = {name: value for name, value in inputs.items() if name != SEGMENTS}
    return {**given, "attention_mask": mask, "position_ids": positions}


def segments_mask(segments: torch.Tensor, is_token: torch.Tensor) -> torch.Tensor:
    """Which token sees which.

    Args:
        segments: (rows, tokens), int64.
        is_token: (rows, tokens), bool; False for padding.

    Returns:
        (rows, 1, tokens, tokens), bool: whether that of the third dimension sees that of the fourth.
    """
    length = segments.shape[1]
    earlier = torch.ones(length, length, dtype=torch.bool, device=segments.device).tril()
    own = (segments[:, :, None] == segments[:, None, :]) | (segments[:, None, :] == 0)
    # padding sees itself: a softmax over nothing is no number
    itself = torch.eye(length, dtype=torch.bool, device=segments.device)
    return ((earlier & own & is_token[:, None, :]) | itself)[:, None]


def segment_positions(positions: torch.Tensor, segments: torch.Tensor) -> torch.Tensor:
    """Positions at which every segment begins where the first one does.

    Args:
        positions: (..., rows, tokens), int64, of the tokens one after another.
        segments: (rows, tokens), int64.

    Returns:
        (..., rows, tokens), int64.
    """
    places = torch.arange(segments.shape[1], device=segments.device).expand_as(segments)
    # the place of the first token of each token's own segment, and of the first segment
    begins = torch.ones_like(segments, dtype=torch.bool)
    begins[:, 1:] = segments[:, 1:] != segments[:, :-1]
    own = torch.where(begins, places, 0).cummax(dim=1).values
    first = (segments == 1).int().argmax(dim=1, keepdim=True).expand_as(segments)
    shift = positions.gather(-1, own.expand_as(positions)) - positions.gather(-1, first.expand_as(positions))
    return torch.where(segments > 0, positions - shift, positions)


def _positions(model: Any, inputs: Mapping[str, Any]) -> torch.Tensor:
    """Positions of the tokens as the model itself counts them: one number, or time, height and width."""
    counts: Any = next((one for one in model.modules() if hasattr(one, "get_rope_index")), None)
    if counts is None or "mm_token_type_ids" not in inputs or "video_grid_thw" not in inputs:
        return (inputs["attention_mask"].cumsum(dim=1) - 1).clamp_min(0)
    known = ("input_ids", "mm_token_type_ids", "image_grid_thw", "video_grid_thw", "second_per_grid_ts")
    given = {name: inputs[name] for name in known if name in inputs}
    return counts.get_rope_index(**given, attention_mask=inputs["attention_mask"])[0]
