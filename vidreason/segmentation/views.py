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


def runs_from_frames(labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The stretch of frames that begins at each frame, and whether it is one with one label.

    As many as there are frames, whatever their labels are: how many stretches there are is known on the device alone,
    and would have to be waited for.

    Args:
        labels: (batch, frames), int64; frames with -100 belong to none.

    Returns:
        (batch * frames, 3), int64: window, first frame, and frame after the last, where another label or nothing
        follows; and (batch * frames,), bool: the stretch is a whole one of frames with one label, two or more.
    """
    batch, frames = labels.shape
    # no label is one below the ignored one, so that a window's first frame always begins a run
    before = torch.nn.functional.pad(labels[:, :-1], (1, 0), value=IGNORED_LABEL - 1)
    is_start = labels != before
    place = torch.arange(frames, device=labels.device).expand(batch, frames)
    # the least start behind each frame: a minimum from the end
    behind = torch.nn.functional.pad(torch.where(is_start, place, frames)[:, 1:], (0, 1), value=frames)
    ends = behind.flip(1).cummin(dim=1).values.flip(1)
    windows = torch.arange(batch, device=labels.device)[:, None].expand(batch, frames)
    is_run = is_start & (labels != IGNORED_LABEL) & (ends - place > 1)
    return torch.stack((windows, place, ends), dim=2).flatten(0, 1), is_run.flatten()


def action_runs(labels: torch.Tensor) -> torch.Tensor:
    """Stretches of two or more frames with one label.

    Args:
        labels: (batch, frames), int64; frames with -100 belong to none.

    Returns:
        (runs, 3), int64: window, first frame, and frame after the last; in order.
    """
    runs, is_run = runs_from_frames(labels)
    return runs[is_run]


def view_logits(logits: torch.Tensor, runs: torch.Tensor) -> torch.Tensor:
    """Scores of the three views of every run: means of its frames' scores.

    Args:
        logits: (batch, frames, labels).
        runs: (runs, 3), what `action_runs` or `runs_from_frames` gives.

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
