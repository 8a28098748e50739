"""The losses of reasoning supervision.

"Reasoning Supervision for Vision Transformers in Human Activity Recognition", section 2.3.

Each mean can be taken over a count that the caller gives, larger than what is in this batch. That is how a step that
is spread over accumulated micro-batches or over processes has the loss of the same step in one piece: parts sum up.
"""

import torch

from ..attention.normalize import EPSILON, normalize_attention


def spatial_alignment_loss(
    attention: torch.Tensor,
    guidance: torch.Tensor,
    valid: torch.Tensor,
    count: torch.Tensor | float | None = None,
    epsilon: float = EPSILON,
) -> torch.Tensor:
    """KL(q || p) between guidance and attention, mean over the frames that have valid guidance (section 2.3.1).

    Where several layers are supervised (the paper takes one), the mean over the layers is taken as well.

    Args:
        attention: (batch, frames, tokens) or (batch, layers, frames, tokens), not necessarily normalised.
        guidance: (batch, frames, tokens), non-negative; normalised here.
        valid: (batch, frames), bool: The frame has guidance. A frame whose guidance sums to zero is never valid.
        count: Divide by this many frames instead of those that are valid here.
        epsilon: The paper's constant.

    Returns:
        A scalar, float32; zero, and still connected to the graph, where no frame is valid.
    """
    if attention.dim() == 4:
        divergence = frame_divergence(attention, guidance.unsqueeze(1), epsilon).mean(dim=1)
    else:
        divergence = frame_divergence(attention, guidance, epsilon)
    valid = valid & (guidance.sum(dim=-1) > 0)
    # where, not a product: an undefined value in a frame without guidance must not reach the sum
    total = torch.where(valid, divergence, 0.0).sum()
    return total / at_least_one(valid.sum() if count is None else count)


def frame_divergence(attention: torch.Tensor, guidance: torch.Tensor, epsilon: float = EPSILON) -> torch.Tensor:
    """KL(q || p) of every frame, the summand of the spatial alignment loss.

    Args:
        attention: (..., tokens), not necessarily normalised.
        guidance: (..., tokens), broadcastable; normalised here. All zero gives 0, which is not to be counted.
        epsilon: The paper's constant.

    Returns:
        Shape (...), float32.
    """
    mass = guidance.float().sum(dim=-1, keepdim=True)
    # the smallest float, and not epsilon: q is to be a distribution wherever there is any guidance
    q = guidance.float() / mass.clamp_min(torch.finfo(torch.float32).tiny)
    p = normalize_attention(attention, epsilon)
    # xlogy: 0 log 0 is 0, and not NaN; the epsilon inside the second logarithm is the paper's
    return (torch.xlogy(q, q) - q * torch.log(p + epsilon)).sum(dim=-1)


def temporal_consistency_loss(
    segment_logits: torch.Tensor,
    valid: torch.Tensor | None = None,
    temperature: float = 1.0,
    count: torch.Tensor | float | None = None,
) -> torch.Tensor:
    """Jensen-Shannon divergence of the three temporal views, mean over clips (section 2.3.2).

    Args:
        segment_logits: (batch, views, labels), the views being immediate, contextual and narrative.
        valid: (batch,), bool: Clips that count; all by default.
        temperature: Temperature of the softmax, > 0.
        count: Divide by this many clips instead of those that are valid here.

    Returns:
        A scalar in [0, log(views)], float32.
    """
    divergence = segment_divergence(segment_logits, temperature)
    if valid is None:
        valid = torch.ones_like(divergence, dtype=torch.bool)
    total = torch.where(valid, divergence, 0.0).sum()
    return total / at_least_one(valid.sum() if count is None else count)


def segment_divergence(segment_logits: torch.Tensor, temperature: float = 1.0) -> torch.Tensor:
    """The mean of the views' KL divergences to their average, for each clip.

    Args:
        segment_logits: (batch, views, labels).
        temperature: Temperature of the softmax, > 0.

    Returns:
        Shape (batch,), float32.
    """
    log_views = torch.log_softmax(segment_logits.float() / temperature, dim=-1)
    num_views = log_views.shape[1]
    # in logarithms throughout: a view that is sure has probabilities that underflow
    log_consensus = torch.logsumexp(log_views, dim=1, keepdim=True) - torch.log(torch.tensor(float(num_views)))
    return (log_views.exp() * (log_views - log_consensus)).sum(dim=-1).mean(dim=1)


def linear_warmup(progress: float, warmup_ratio: float) -> float:
    """The factor of the auxiliary weights at a point of the training.

    The paper weighs the losses the same throughout (warmup_ratio 0); a warm-up lets attention form first.

    Args:
        progress: Share of the training that is done, in [0, 1].
        warmup_ratio: Share of the training over which the factor grows from 0 to 1.
    """
    if warmup_ratio <= 0:
        return 1.0
    return min(1.0, progress / warmup_ratio)


def at_least_one(count: torch.Tensor | float) -> torch.Tensor | float:
    """A count to divide by: 1 where nothing counts, so that a sum of nothing stays 0 and keeps its graph."""
    return count.clamp_min(1) if isinstance(count, torch.Tensor) else max(1.0, count)
