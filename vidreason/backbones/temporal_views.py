"""The immediate and the contextual view of a clip (section 2.3.2), read off one pass over the whole of it.

The third view, the narrative, is the model's own answer. As in TSViT the views are cut late, after the frames have
seen one another: each sees the clip's context, and one pass serves all three.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from modeling_tsvit.modeling_tsvit import segment_bounds

from ..errors import ConfigError
from .probe import Projections, Recorder

NUM_PARTIAL_VIEWS = 2  # the immediate and the contextual view; the third is the model's own answer


def partial_view_weights(num_frames: int, tubelet_size: int, device: torch.device | None = None) -> torch.Tensor:
    """The share of each tubelet's frames that lies in the immediate and in the contextual view (section 2.3.2).

    A view's border may cut a tubelet in two. It then counts for as much as it has frames in the view: the views are of
    frames, each of which holds its tubelet's tokens.

    Args:
        num_frames: Frames of the clip, a multiple of `tubelet_size`.
        tubelet_size: Frames that share their tokens.
        device: Device of the result.

    Returns:
        (2, tubelets) float32, in [0, 1].
    """
    bounds = segment_bounds(torch.full((1,), num_frames, device=device))[0, :NUM_PARTIAL_VIEWS]
    frames = torch.arange(num_frames, device=device)
    inside = (frames >= bounds[:, :1]) & (frames < bounds[:, 1:])
    return inside.float().unflatten(1, (-1, tubelet_size)).mean(dim=2)


def view_means(states: torch.Tensor, tubelet_size: int = 1) -> torch.Tensor:
    """Means over the frames of the immediate and the contextual view.

    Args:
        states: (batch, tubelets, hidden) state of each tubelet.
        tubelet_size: Frames that share a state.

    Returns:
        (batch, 2, hidden).
    """
    weights = partial_view_weights(states.shape[1] * tubelet_size, tubelet_size, states.device)
    weights = weights / weights.sum(dim=1, keepdim=True)
    return torch.matmul(weights.to(states.dtype), states)


def restricted_attention(projections: Projections, scaling: float, key_weights: torch.Tensor) -> torch.Tensor:
    """The output of the first query with its keys restricted to the frames of each view.

    A key of weight w counts as w keys, so that with weights of 1 this is the layer's own attention.

    Args:
        projections: Queries, keys and values, (batch, heads, tokens, head_dim) each.
        scaling: Factor of the dot products.
        key_weights: (views, keys) weights, non-negative.

    Returns:
        (batch, views, heads * head_dim).

    Raises:
        ConfigError: The layer's values are not watched.
    """
    if projections.value is None:
        raise ConfigError("the temporal views are read in a layer whose AttentionLayer names no projection of values")
    query = projections.query[:, :, :1].expand(-1, -1, len(key_weights), -1)
    bias = key_weights.log().to(query.dtype)  # exp(score + log(weight)) is the weight times as much; log(0) drops it
    context = nn.functional.scaled_dot_product_attention(
        query, projections.key, projections.value, bias, scale=scaling
    )
    return context.transpose(1, 2).flatten(2)


def view_key_weights(
    num_keys: int, num_prefix_tokens: int, num_frames: int, tubelet_size: int, device: torch.device | None = None
) -> torch.Tensor:
    """What each key counts for in the partial views, where keys are in order of their tubelets.

    Args:
        num_keys: Keys of the layer, those that are no patches included.
        num_prefix_tokens: Keys before the first patch; they count in full.
        num_frames: Frames of the clip.
        tubelet_size: Frames that share their tokens.
        device: Device of the result.

    Returns:
        (2, keys) float32.
    """
    weights = partial_view_weights(num_frames, tubelet_size, device)
    tokens_per_tubelet = (num_keys - num_prefix_tokens) // weights.shape[1]
    weights = weights.repeat_interleave(tokens_per_tubelet, dim=1)
    return torch.cat((weights.new_ones(len(weights), num_prefix_tokens), weights), dim=1)


class TakeQueryStates:
    """Puts the first token that goes into a module, (batch, hidden), into the scratch: what a query adds to."""

    def __call__(self, recorder: Recorder, arguments: tuple[Any, ...], output: Any) -> None:
        """Reads the module's first argument, (batch, tokens, hidden)."""
        recorder.scratch["query_states"] = arguments[0][:, 0]


class ViewTail:
    """The rest of a pre-norm layer for the query of the partial views, run where the layer's own is.

    Args:
        normalization: Module that normalises what the feed-forward part is given.
        feed_forward: Modules of the feed-forward part, in order. The hook may be on one of them.
    """

    def __init__(self, normalization: nn.Module, *feed_forward: nn.Module):
        self.normalization, self.feed_forward = normalization, feed_forward
        self.is_running = False  # the modules run again below, and the hook that called this with them

    def __call__(self, recorder: Recorder, arguments: tuple[Any, ...], output: Any) -> None:
        """Keeps (batch, 2, hidden) as `view_states`."""
        if self.is_running:
            return
        self.is_running = True
        try:
            states = recorder.scratch.pop("query_states").unsqueeze(1) + recorder.scratch.pop("view_updates")
            update = self.normalization(states)
            for module in self.feed_forward:
                update = module(update)
            recorder.keep("view_states", states + update)
        finally:
            self.is_running = False
