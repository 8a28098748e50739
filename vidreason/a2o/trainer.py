"""A `transformers.Trainer` for video classifiers that are shown where objects are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader
from transformers import EvalPrediction
from transformers.trainer_utils import EvalLoopOutput

from ..clips.data import GuidedClipCollator
from ..clips.views import ViewedClips, check_views, clip_views
from ..errors import ConfigError, TrainingError
from ..training.clip_trainer import ClipTrainer
from ..training.evaluation import mean_probability_logits
from ..training.parts import classification_loss
from .config import ObjectCentricConfig
from .evaluation import ObjectMetrics

NO_MAPS = -1.0
"""Stands for the share of missing maps where clips carry none."""


class ObjectCentricTrainer(ClipTrainer):
    """Trains a video classifier with its clips' maps of objects.

    The model takes `pixel_values` (batch, frames, channels, height, width), `frame_mask` (batch, frames) and, where
    the clips carry them, `object_maps` (batch, frames, classes, height, width); it gives `logits` (batch, labels).
    Batches are those of `GuidedClipCollator`. The loss is the cross-entropy, an exact mean over the clips of an
    optimizer step (see `PartsTrainer`). Evaluation gives the metrics of `ObjectMetrics`.
    """

    args: ObjectCentricConfig
    not_for_the_model = ("labels", "guidance", "guidance_mask", "maps_missing")

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        if not isinstance(self.args, ObjectCentricConfig):
            raise ConfigError(f"ObjectCentricTrainer takes an ObjectCentricConfig, got a {type(self.args).__name__}")
        # asked of the arguments: the Trainer sets a collator of its own where none is given
        if kwargs.get("data_collator") is None:
            self.data_collator = GuidedClipCollator()
        model: Any = self.model
        if self.compute_metrics is None:
            names = model.config.id2label
            self.compute_metrics = ObjectMetrics([names[number] for number in range(len(names))])
        if self.args.freeze_classifier:
            self.check_has_adapter("freeze_classifier")
            of_adapter = {name for name, _ in self.adapter_weights()}
            for name, parameter in model.named_parameters():
                parameter.requires_grad_(name in of_adapter)

    def count(self, batch: Mapping[str, Any]) -> dict[str, torch.Tensor]:
        """Labelled clips of a batch."""
        nothing = torch.zeros((), dtype=torch.int64)
        return {"labelled": (batch["labels"] >= 0).sum() if "labels" in batch else nothing}

    def part_weights(self, progress: float | None) -> dict[str, float]:
        """The cross-entropy is all there is."""
        return {"classification": 1.0}

    def loss_parts(
        self, outputs: Any, inputs: Mapping[str, Any], counts: Mapping[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        """Cross-entropy over the labelled clips."""
        # smoothing is done here: the Trainer's label smoother belongs to its own compute_loss, which is overridden
        loss = classification_loss(
            outputs["logits"], inputs["labels"], counts.get("labelled"), self.args.label_smoothing_factor
        )
        return {"classification": loss}

    def prediction_step(  # type: ignore[override]  # several tensors as predictions are supported, but not in its types
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        prediction_loss_only: bool,
        ignore_keys: list[str] | None = None,
    ) -> tuple[None, tuple[torch.Tensor, ...], torch.Tensor]:
        """Logits and the share of missing maps of each clip.

        No loss is returned batch by batch: a mean of means would weigh a short last batch too much. The exact loss
        comes from `ObjectMetrics`.
        """
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad(), self.compute_loss_context_manager():
            logits = model(**self.model_inputs(inputs))["logits"].float()
        missing = inputs.get("maps_missing", logits.new_full((len(logits),), NO_MAPS))
        return None, (logits, missing), inputs["labels"]

    def evaluation_loop(
        self, dataloader: DataLoader, description: str, *args: Any, metric_key_prefix: str = "eval", **kwargs: Any
    ) -> EvalLoopOutput:
        """Evaluate on a split, on what several readings of each clip say together where these are asked for."""
        kwargs["metric_key_prefix"] = metric_key_prefix
        views = clip_views(self.args.evaluation_clips, self.args.evaluation_crops)
        if len(views) == 1:
            return super().evaluation_loop(dataloader, description, *args, **kwargs)
        clips = check_views(dataloader.dataset)
        readings = [
            super(ObjectCentricTrainer, self).evaluation_loop(
                # a loader of its own: with persistent workers the Trainer keeps that of evaluation, and its data set
                self.get_test_dataloader(ViewedClips(clips, view)),
                f"{description}, view {number} of {len(views)}",
                *args,
                **kwargs,
            )
            for number, view in enumerate(views, start=1)
        ]
        return self._together(readings, metric_key_prefix)

    def _together(self, readings: list[EvalLoopOutput], prefix: str) -> EvalLoopOutput:
        """What several readings of the same clips say together."""
        first = readings[0]
        labels = np.asarray(first.label_ids)
        # readings are paired by position: in another order, probabilities of different clips would be averaged
        if any(not np.array_equal(labels, np.asarray(other.label_ids)) for other in readings[1:]):
            raise TrainingError("a further view came upon other clips, or in another order, than the first")
        pairs: list[Any] = [reading.predictions for reading in readings]
        logits = mean_probability_logits([np.asarray(logits) for logits, _ in pairs])
        predictions: Any = (logits, np.mean([np.asarray(missing) for _, missing in pairs], axis=0))
        found = self.compute_metrics(EvalPrediction(predictions, labels)) if self.compute_metrics else {}
        # speed and memory are of the first reading alone, and would be taken for those of all
        metrics = {f"{prefix}_{name}": value for name, value in found.items()}
        return EvalLoopOutput(predictions, labels, metrics, first.num_samples)
