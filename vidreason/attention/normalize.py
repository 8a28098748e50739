"""Attention as a distribution over the patches of a frame. Imports torch only, since losses are made of it."""

import torch

EPSILON = 1e-8
"""The paper's small constant for stability, of unstated size."""


def normalize_attention(attention: torch.Tensor, epsilon: float = EPSILON) -> torch.Tensor:
    """The paper's p (section 2.3): CLS-to-patch attention, averaged over heads, as a distribution over the patches.

    Args:
        attention: Tensor of shape (..., tokens), non-negative; the share of the CLS token itself is already cut off.
        epsilon: Constant that keeps the division defined.

    Returns:
        Tensor of shape (..., tokens), float32.
    """
    # float32: the smallest number of float16 is 6e-8, so that epsilon would be 0 there
    attention = attention.float()
    # p_i = a_i / (sum_j a_j + epsilon): sums to slightly less than 1, and to 0 where there is no attention
    return attention / (attention.sum(dim=-1, keepdim=True) + epsilon)
