"""Losses of temporal action segmentation; spatial alignment and temporal consistency are in `vidreason.rs.losses`.

As there, each mean can be taken over a count that the caller gives, so that the parts of a step sum up to the loss of
the step in one piece.
"""

import torch
import torch.nn.functional as F

from ..losses import at_least_one


def frame_classification_loss(
    logits: torch.Tensor,
    labels: torch.Tensor,
    count: torch.Tensor | float | None = None,
    class_weights: torch.Tensor | None = None,
    focal_gamma: float = 0.0,
    label_smoothing: float = 0.0,
) -> torch.Tensor:
    """Cross-entropy of every labelled frame; for rare actions with class weights or as focal loss.

    Args:
        logits: (batch, frames, labels).
        labels: (batch, frames), int64; -100 (cross_entropy's own ignore_index, the only label below 0) marks a frame
            that has no label, is padding, or could not be read.
        count: Divide by this many frames instead of those that are labelled here.
        class_weights: (labels,), a factor for the frames of each label; None weighs all alike.
        focal_gamma: A frame's loss is scaled by (1 - p)^gamma, p being the probability of its label (Lin et al.,
            "Focal Loss for Dense Object Detection", equation 4); 0 is plain cross-entropy.
        label_smoothing: Share of each target that is spread over all labels, in [0, 1).

    Returns:
        A scalar, float32; zero, and still connected to the graph, where no frame is labelled.
    """
    flat, targets = logits.float().flatten(0, 1), labels.flatten()
    losses = F.cross_entropy(flat, targets, class_weights, reduction="none", label_smoothing=label_smoothing)
    if focal_gamma > 0:
        chosen = targets.clamp_min(0).unsqueeze(1)  # -100 is no index; the loss of such a frame is 0 all the same
        probability = flat.log_softmax(dim=-1).gather(1, chosen).squeeze(1).exp()
        # rounding can put a probability above 1, whose power would be NaN
        losses = losses * (1.0 - probability).clamp_min(0.0) ** focal_gamma
    # by the number of frames, not by the sum of their weights as torch's own mean: over the training split the mean
    # weight is 1, and a batch of rare labels is to count for more than one of common ones
    return losses.sum() / at_least_one((targets >= 0).sum() if count is None else count)


def smoothing_loss(
    logits: torch.Tensor,
    frame_mask: torch.Tensor,
    threshold: float = 4.0,
    count: torch.Tensor | float | None = None,
) -> torch.Tensor:
    """Truncated mean squared difference of neighbouring frames' log-probabilities.

    Farha and Gall, "MS-TCN", equations 8 to 10: large steps, which borders of actions are, cost no more than the
    threshold's square.

    The gradient goes through the later frame of each pair alone, as in that paper.

    Args:
        logits: (batch, frames, labels).
        frame_mask: (batch, frames), bool: Frames that are no padding.
        threshold: Difference of log-probabilities above which a step costs no more (tau), > 0.
        count: Divide by this many pairs of frames instead of those that are valid here.

    Returns:
        A scalar in [0, threshold^2], float32.
    """
    log_probabilities = logits.float().log_softmax(dim=-1)
    steps = (log_probabilities[:, 1:] - log_probabilities[:, :-1].detach()).abs().clamp_max(threshold)
    valid = neighbour_mask(frame_mask)
    total = torch.where(valid, steps.square().mean(dim=-1), 0.0).sum()
    return total / at_least_one(valid.sum() if count is None else count)


def neighbour_mask(frame_mask: torch.Tensor) -> torch.Tensor:
    """Pairs of neighbouring frames of which both are valid.

    Args:
        frame_mask: (batch, frames), bool.

    Returns:
        (batch, frames - 1), bool.
    """
    return frame_mask[:, 1:] & frame_mask[:, :-1]
