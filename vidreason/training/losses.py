"""Losses that systems share. Each mean can be taken over a count of the whole optimizer step: see `parts`."""

import torch
import torch.nn.functional as F


def classification_loss(
    logits: torch.Tensor,
    labels: torch.Tensor,
    count: torch.Tensor | float | None = None,
    label_smoothing: float = 0.0,
) -> torch.Tensor:
    """Cross-entropy, mean over the labelled clips.

    Args:
        logits: (batch, labels).
        labels: (batch,), int64; -100 marks a clip that could not be read and does not count.
        count: Divide by this many clips instead of those that are labelled here.
        label_smoothing: Share of each target that is spread over all labels, in [0, 1).

    Returns:
        A scalar, float32; zero, and still connected to the graph, where no clip is labelled.
    """
    # cross_entropy's own ignore_index, -100, is the only label below 0
    total = F.cross_entropy(logits.float(), labels, reduction="sum", label_smoothing=label_smoothing)
    return total / at_least_one((labels >= 0).sum() if count is None else count)


def at_least_one(count: torch.Tensor | float) -> torch.Tensor | float:
    """A count to divide by: 1 where nothing counts, so that a sum of nothing stays 0 and keeps its graph."""
    return count.clamp_min(1) if isinstance(count, torch.Tensor) else max(1.0, count)
