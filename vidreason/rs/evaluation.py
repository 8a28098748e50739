"""What is reported of a model: accuracy, the parts of the loss, and whether it looks where guidance says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import evaluate
import numpy as np
import torch
from transformers import EvalPrediction

from ..attention.normalize import normalize_attention
from ..clips.data import IGNORED_LABEL
from ..guidance import FULL_FRAME
from ..metrics import metric_path
from ..training.evaluation import ClassificationMetrics
from .config import RSConfig
from .losses import frame_divergence, segment_divergence

IGNORED = -100
"""Marks padded frames and frames without guidance. It is what the Trainer pads gathered arrays with, so that frames it
adds to clips of unequal length are left out by the same test."""

ArrayT = TypeVar("ArrayT", torch.Tensor, np.ndarray)
"""Tensors as they leave a batch; NumPy arrays once the Trainer has gathered a split."""


@dataclass(frozen=True)
class ClipOutcome(Generic[ArrayT]):
    """What evaluation keeps of a batch. Small on purpose: the Trainer gathers it for the whole split.

    Args:
        logits: (batch, labels), float32.
        temporal: (batch,), float32: divergence of the three temporal views.
        spatial: (batch, frames), float32: KL(guidance || attention), IGNORED without guidance.
        mass: (batch, frames), float32: share of the attention inside the guided region, IGNORED without guidance.
        pointed: (batch, frames), int64: the token attended to most, IGNORED for padded frames.
        region: (batch, frames, tokens), int8: 1 for tokens of the guided region, 0 for others, IGNORED for padding.
        rectangle: (batch, 4), float32: x0, y0, x1, y1 in [0, 1] of what a second look is to be given.
    """

    logits: ArrayT
    temporal: ArrayT
    spatial: ArrayT
    mass: ArrayT
    pointed: ArrayT
    region: ArrayT
    rectangle: ArrayT

    def as_tuple(self) -> tuple[ArrayT, ...]:
        """The fields in order, which is the form that the Trainer gathers."""
        return tuple(vars(self).values())


def guided_region(guidance: torch.Tensor) -> torch.Tensor:
    """The tokens that guidance marks: those with more than half of what evenly spread guidance would give each.

    For guidance on the model's own grid these are exactly the marked cells; after resampling to another grid, slivers
    of a marked cell do not count.

    Args:
        guidance: (..., tokens), summing to 1 or all zero.

    Returns:
        Booleans of shape (..., tokens).
    """
    return guidance > 0.5 / guidance.shape[-1]


def clip_outcome(
    logits: torch.Tensor,
    segment_logits: torch.Tensor,
    frame_attention: torch.Tensor,
    guidance: torch.Tensor,
    guidance_mask: torch.Tensor,
    frame_mask: torch.Tensor,
    args: RSConfig,
) -> ClipOutcome[torch.Tensor]:
    """Reduce a batch's outputs to what the metrics need.

    Args:
        logits: (batch, labels).
        segment_logits: (batch, 3, labels).
        frame_attention: (batch, frames, tokens), of the supervised layer nearest to the output.
        guidance: (batch, frames, tokens).
        guidance_mask: (batch, frames), bool.
        frame_mask: (batch, frames), bool.
        args: Settings, of which temperature and epsilon are used.
    """
    region = guided_region(guidance) & guidance_mask.unsqueeze(-1)
    attention = normalize_attention(frame_attention, args.attention_epsilon)
    divergence = frame_divergence(frame_attention, guidance, args.attention_epsilon)
    return ClipOutcome(
        logits=logits.float(),
        temporal=segment_divergence(segment_logits, args.temperature),
        spatial=torch.where(guidance_mask, divergence, float(IGNORED)),
        mass=torch.where(guidance_mask, (attention * region).sum(dim=-1), float(IGNORED)),
        pointed=torch.where(frame_mask, attention.argmax(dim=-1), IGNORED),
        # one byte a token, the only array with a token dimension that is gathered
        region=torch.where(frame_mask.unsqueeze(-1), region.to(torch.int8), torch.tensor(IGNORED, dtype=torch.int8)),
        rectangle=logits.new_tensor(FULL_FRAME, dtype=torch.float32).expand(len(logits), 4),
    )


class ClipMetrics:
    """`compute_metrics` of the Trainer.

    Gives `top1`, `top5`, `loss_classification` (the clip loss), `loss_temporal`, `loss` (the weighted total),
    `num_clips`, `skipped_videos`, and where any frame has guidance also `loss_spatial`, `attention_in_region`,
    `pointing_accuracy` and `guided_frames`. Accuracies are shares in [0, 1].

    Args:
        args: Settings of the training, of which the weights of the loss are used.
    """

    def __init__(self, args: RSConfig):
        self.args = args
        self.classification = ClassificationMetrics()
        # in memory: otherwise evaluate writes what it is given to files that concurrent processes share by name
        self.pointing = evaluate.load(metric_path("pointing"), keep_in_memory=True)

    def __call__(self, prediction: EvalPrediction) -> dict[str, Any]:
        """The metrics of a split, by name."""
        outcome: ClipOutcome[np.ndarray] = ClipOutcome(*prediction.predictions)
        labels = np.asarray(prediction.label_ids)
        readable = labels != IGNORED_LABEL
        metrics: dict[str, float] = {"num_clips": int(readable.sum()), "skipped_videos": int((~readable).sum())}
        if readable.any():
            metrics |= self._classification(outcome, labels, readable)
            metrics |= self.attention_metrics(
                outcome.spatial[readable], outcome.mass[readable], outcome.pointed[readable], outcome.region[readable]
            )
            metrics["loss"] = (
                metrics["loss_classification"]
                + self.args.spatial_weight * metrics.get("loss_spatial", 0.0)
                + self.args.temporal_weight * metrics["loss_temporal"]
            )
        return metrics

    def _classification(
        self, outcome: ClipOutcome[np.ndarray], labels: np.ndarray, readable: np.ndarray
    ) -> dict[str, float]:
        return {
            **self.classification.compute(outcome.logits[readable], labels[readable]),
            "loss_temporal": float(outcome.temporal[readable].mean()),
        }

    def attention_metrics(
        self, spatial: np.ndarray, mass: np.ndarray, pointed: np.ndarray, region: np.ndarray
    ) -> dict[str, float]:
        """How attention meets guidance, as means over the guided frames; nothing where there are none.

        Args:
            spatial: (clips, frames): KL(guidance || attention).
            mass: (clips, frames): share of the attention inside the guided region, IGNORED without guidance.
            pointed: (clips, frames): the token attended to most.
            region: (clips, frames, tokens): 1 for tokens of the guided region.
        """
        guided = mass != IGNORED
        if not guided.any():
            return {}
        cells = [np.flatnonzero(frame == 1) for frame in region[guided]]
        pointing = self.pointing.compute(predictions=pointed[guided], references=cells)
        return {
            "loss_spatial": float(spatial[guided].mean()),
            "attention_in_region": float(mass[guided].mean()),
            "pointing_accuracy": pointing["pointing_accuracy"],
            "guided_frames": int(guided.sum()),
        }
