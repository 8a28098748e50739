"""The trainer of temporal action segmentation: reasoning supervision where every frame has a label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch.utils.data import DataLoader
from transformers.trainer_utils import EvalLoopOutput

from ...clips.data import IGNORED_LABEL
from ...errors import ConfigError
from ...segmentation.views import runs_from_frames, view_logits
from ...segmentation.windows import VideoWindows, WindowCollator
from ..losses import temporal_consistency_loss
from ..trainer import RSTrainer
from .evaluation import SegmentationMetrics, window_outcome
from .losses import frame_classification_loss, neighbour_mask, smoothing_loss


class SegmentationTrainer(RSTrainer):
    """As `RSTrainer`, for `logits` (batch, frames, labels) and batches of `WindowCollator`.

    The classification loss is the mean over the labelled frames of a step, with class weights or as focal loss where
    the arguments say so. Temporal consistency compares the views of every action in a window (see
    `vidreason.segmentation.views`), and smoothing is a part of its own, logged as `loss_smoothing`. Evaluation
    gives the metrics of `SegmentationMetrics`, over whole videos.

    Args:
        *args: Arguments of `transformers.Trainer`.
        class_weights: A factor for the frames of each label; None weighs all alike.
        **kwargs: Arguments of `transformers.Trainer`.
    """

    def __init__(self, *args: Any, class_weights: Sequence[float] | None = None, **kwargs: Any):
        kwargs.setdefault("data_collator", WindowCollator())
        super().__init__(*args, **kwargs)
        if self.args.second_look:
            raise ConfigError("second_look is for clips that have one label, not for segmentation: leave it off")
        # on the device from the start: each copy would wait for it
        weights = None if class_weights is None else torch.tensor(class_weights, dtype=torch.float32)
        self.class_weights = None if weights is None else weights.to(self.args.device)

    def evaluation_loop(self, dataloader: DataLoader, *args: Any, **kwargs: Any) -> EvalLoopOutput:
        """Evaluate over whole videos, whose windows are put together again."""
        # the metrics need the windows that their predictions are of, and those change from split to split
        self.compute_metrics = SegmentationMetrics(self.args, cast(VideoWindows, dataloader.dataset))
        return super().evaluation_loop(dataloader, *args, **kwargs)

    def count(self, batch: Mapping[str, Any]) -> dict[str, torch.Tensor]:
        """Labelled and guided frames, actions, and pairs of neighbouring frames of a batch."""
        nothing = torch.zeros((), dtype=torch.int64)
        has_labels = "labels" in batch
        return {
            **super().count(batch),
            "actions": runs_from_frames(batch["labels"])[1].sum() if has_labels else nothing,
            "neighbours": neighbour_mask(batch["frame_mask"].bool()).sum() if has_labels else nothing,
        }

    def part_weights(self, progress: float | None) -> dict[str, float]:
        """The weights of the parts, smoothing among them, which is not warmed up."""
        return {**super().part_weights(progress), "smoothing": self.args.smoothing_weight}

    def loss_parts(
        self, outputs: Any, inputs: Mapping[str, Any], counts: Mapping[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        """Cross-entropy of frames, spatial alignment, temporal consistency of actions, and smoothing."""
        args, labels, logits = self.args, inputs["labels"], outputs["logits"]
        labelled, smoothing = counts.get("labelled"), args.label_smoothing_factor
        parts = {
            "classification": frame_classification_loss(
                logits, labels, labelled, self.class_weights, args.focal_gamma, smoothing
            )
        }
        # a video that cannot be read is a window without any label; a frame without one may well be guided
        readable = (labels != IGNORED_LABEL).any(dim=1, keepdim=True)
        parts |= self.spatial_part(outputs, inputs, readable, counts)
        if args.temporal_weight > 0:
            runs, is_run = runs_from_frames(labels)
            # what is no run is left out before anything is made of it, so that no gradient comes of it either
            views = torch.where(is_run[:, None, None], view_logits(logits, runs), 0.0)
            parts["temporal"] = temporal_consistency_loss(views, is_run, args.temperature, counts.get("actions"))
        if args.smoothing_weight > 0:
            parts["smoothing"] = smoothing_loss(
                logits, inputs["frame_mask"].bool(), args.smoothing_threshold, counts.get("neighbours")
            )
        return parts

    def outcome(self, outputs: Any, inputs: Mapping[str, Any]) -> tuple[torch.Tensor, ...]:
        """What evaluation keeps of a batch of windows, as `SegmentationMetrics` takes it apart."""
        return window_outcome(outputs, inputs, self.args).as_tuple()
