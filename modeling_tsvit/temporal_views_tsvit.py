"""The three temporal views of a clip: immediate, contextual and narrative (section 2.3.2)."""

import torch

NARRATIVE = 2  # place of the whole clip among the views (immediate, contextual, narrative)


def segment_bounds(lengths: torch.Tensor) -> torch.Tensor:
    """First and past-the-last frame of the three temporal views of clips (section 2.3.2).

    For T frames, i = max(1, round(0.2 T)) and j = max(i + 1, round(0.8 T)): immediate is [0, i), contextual [i, j),
    narrative [0, T). A clip of one frame has nothing after its first: its contextual view falls back to that frame.

    Args:
        lengths: (batch,) int64, valid frames of each clip.

    Returns:
        (batch, 3, 2) int64, [start, end) of the immediate, contextual and narrative views.
    """
    zero = torch.zeros_like(lengths)
    # round(0.2 T) = floor((2 T + 5) / 10), on integers: 0.2 T and 0.8 T never lie halfway between two, so that no rule
    # of rounding matters, and no float32 product lands on the wrong side.
    first = ((2 * lengths + 5) // 10).clamp(min=1)
    second = torch.maximum(first + 1, (8 * lengths + 5) // 10)
    context_start = torch.minimum(first, (lengths - 1).clamp(min=0))
    starts = torch.stack((zero, context_start, zero), dim=1)
    ends = torch.stack((first, second, lengths), dim=1)
    return torch.stack((starts, torch.minimum(ends, lengths[:, None])), dim=2)


def segment_means(frame_states: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Means of frame representations over the three temporal views; zero for a clip without a valid frame.

    Args:
        frame_states: (batch, frames, hidden), output of stage 2.
        lengths: (batch,) int64, valid frames of each clip.

    Returns:
        (batch, 3, hidden).
    """
    # The paper does not say whether the views are cut from the clip before or after stage 2. They are cut after it:
    # every view then sees the clip's context, and one pass through the model serves all three.
    bounds = segment_bounds(lengths)
    frames = torch.arange(frame_states.shape[1], device=frame_states.device)
    inside = (frames >= bounds[:, :, :1]) & (frames < bounds[:, :, 1:])  # (batch, 3, frames)
    weights = inside.to(frame_states.dtype).unsqueeze(-1)
    counts = inside.sum(dim=-1, keepdim=True).clamp(min=1)  # a clip without a valid frame has views of 0 / 1
    return (frame_states.unsqueeze(1) * weights).sum(dim=2) / counts
