"""The three temporal views of the actions in a window.

The paper's views (section 2.3.2) are those of a clip with one label. A window of a long video holds several actions,
whose views do not speak of the same thing. Here every stretch of frames with one label is a clip of its own: its
immediate, contextual and narrative views are to agree, and those of different actions are not compared. Frames inside
an action that say something else are what over-segmentation is made of.
"""

from __future__ import annotations

import torch

from modeling_tsvit.modeling_tsvit import segment_bounds

from ..clips.data import IGNORED_LABEL


def action_runs(labels: torch.Tensor) -> torch.Tensor:
    """Stretches of two or more frames with one label.

    Args:
        labels: (batch, frames), int64; frames with -100 belong to none.

    Returns:
        (runs, 3), int64: window, first frame, and frame after the last; in order.
    """
    # no label is one below the ignored one, so that a window's first frame always begins a run
    before = torch.nn.functional.pad(labels[:, :-1], (1, 0), value=IGNORED_LABEL - 1)
    windows, starts = (labels != before).nonzero(as_tuple=True)
    is_last_of_window = torch.ones_like(windows, dtype=torch.bool)
    is_last_of_window[:-1] = windows[1:] != windows[:-1]
    ends = torch.where(is_last_of_window, labels.shape[1], starts.roll(-1))
    kept = (labels[windows, starts] != IGNORED_LABEL) & (ends - starts > 1)
    return torch.stack((windows, starts, ends), dim=1)[kept]


def view_logits(logits: torch.Tensor, runs: torch.Tensor) -> torch.Tensor:
    """Scores of the three views of every run: means of its frames' scores.

    Args:
        logits: (batch, frames, labels).
        runs: (runs, 3), what `action_runs` gives.

    Returns:
        (runs, 3, labels), float32 or the float64 of the scores: immediate, contextual, narrative.
    """
    windows, starts, ends = runs.unbind(dim=1)
    bounds = segment_bounds(ends - starts) + starts[:, None, None]  # (runs, 3, 2)
    logits = logits if logits.dtype == torch.float64 else logits.float()
    # sums up to each frame: the mean of any stretch is a difference of two, however many stretches there are
    sums = torch.nn.functional.pad(logits.cumsum(dim=1), (0, 0, 1, 0))  # (batch, frames + 1, labels)
    first, last = sums[windows[:, None], bounds[..., 0]], sums[windows[:, None], bounds[..., 1]]
    return (last - first) / (bounds[..., 1] - bounds[..., 0]).unsqueeze(-1)
