"""The losses of a Video-LLM: cross-entropy of tokens, and the mean of it over the tokens of one part.

Pooled over all tokens, a rationale of 100 tokens would swamp an answer of 3, and its weight would not be the one that
was asked for. So each part has a mean of its own (STEP, section 3.2: L = L_answer + lambda * L_rationale).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

IGNORED_TOKEN = -100
"""Label of a token that has no loss: of the prompt, of a video's placeholder, of padding."""


def token_losses(logits: torch.Tensor, targets: torch.Tensor, label_smoothing: float = 0.0) -> torch.Tensor:
    """Cross-entropy of each token, in nats.

    Args:
        logits: (rows, tokens, vocabulary), what the model says of each target.
        targets: (rows, tokens), int64, ids of the tokens that are to come; `IGNORED_TOKEN` has no loss.
        label_smoothing: Share of each target that is spread over the whole vocabulary, in [0, 1).

    Returns:
        (rows, tokens), float32; 0 where a target is ignored.
    """
    # float32 whatever the model computes in: a logarithm of a sum over a whole vocabulary in bfloat16 is too coarse
    flat = F.cross_entropy(
        logits.flatten(0, 1).float(),
        targets.flatten(),
        ignore_index=IGNORED_TOKEN,
        reduction="none",
        label_smoothing=label_smoothing,
    )
    return flat.view(targets.shape)


def part_sums(row_values: torch.Tensor, part_of_row: torch.Tensor, num_parts: int) -> torch.Tensor:
    """Sums over the rows of each part.

    Args:
        row_values: (rows,), such as the summed loss of each row, or its number of tokens.
        part_of_row: (rows,), int64, the part that each row belongs to.
        num_parts: Number of parts.

    Returns:
        (num_parts,) of the type of `row_values`; zero, and still connected to the graph, where a part has no row.
    """
    # no index of booleans, whose size a GPU would have to be waited for
    return row_values.new_zeros(num_parts).index_add(0, part_of_row, row_values)


def token_mean(total: torch.Tensor, count: torch.Tensor | float) -> torch.Tensor:
    """The mean of a part from the sum of its tokens' losses; 0 where it has no token.

    Args:
        total: Scalar, sum of the losses of a part's tokens.
        count: Number of tokens that the mean goes over: those of the whole optimizer step, or of this batch.
    """
    # a part without tokens is absent and not 0/0: the sum of nothing is 0
    return total / torch.as_tensor(count, device=total.device).clamp_min(1)
