"""Attention as a distribution over the patches of a frame. Imports torch only, since losses are made of it."""

import torch

EPSILON = 1e-8
"""The paper's small constant for stability, of unstated size."""


def normalize_attention(attention: torch.Tensor, epsilon: float = EPSILON) -> torch.Tensor:
    """p of section 2.3: CLS-to-patch attention, averaged over heads, as a distribution over the patches.

    Args:
        attention: (..., tokens), non-negative; the share of the CLS token itself is already cut off.
        epsilon: keeps the division defined.

    Returns:
        Shape (..., tokens), float32.
    """
    attention = attention.float()
    return attention / (attention.sum(dim=-1, keepdim=True) + epsilon)
