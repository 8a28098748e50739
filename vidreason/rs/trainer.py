"""A `transformers.Trainer` that also supervises where a video model looks."""

from __future__ import annotations

import inspect
import logging
import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader
from transformers import EvalPrediction
from transformers.trainer_utils import EvalLoopOutput

from ..clips.data import IGNORED_LABEL, GuidedClipCollator
from ..errors import ConfigError, TrainingError
from ..training.distributed import DistributedTrainer
from .config import RSConfig
from .evaluation import ClipMetrics, ClipOutcome, clip_outcome
from .losses import classification_loss, linear_warmup, spatial_alignment_loss, temporal_consistency_loss
from .second_look import LOOKED_TWICE, SecondLooks, attended_rectangles, average_looks, check_second_look

logger = logging.getLogger(__name__)

BATCH_FIELDS = ("pixel_values", "frame_mask", "labels", "guidance", "guidance_mask")
NOT_FOR_THE_MODEL = ("labels", "guidance", "guidance_mask", "view_draw", "video", "start")


class RSTrainer(DistributedTrainer):
    """Trains a video classifier with the spatial and temporal losses of reasoning supervision.

    The model gives `logits` (batch, labels), `segment_logits` (batch, 3, labels) and `frame_attention`
    (batch, frames, tokens), and `layer_attention` (batch, layers, frames, tokens) where several layers are supervised;
    it takes `pixel_values` and `frame_mask`. Batches are those of `GuidedClipCollator`.

    Every part of the loss is a mean over what counts for it (clips, or frames with guidance) in the whole optimizer
    step: over all accumulated micro-batches and all processes. So one step is the same however it is cut up, also
    where a process has no guided frame at all.

    Each part is logged on its own and unweighted, as `loss_classification`, `loss_spatial` and `loss_temporal`.
    Evaluation gives the metrics of `ClipMetrics`.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        if not isinstance(self.args, RSConfig):
            raise ConfigError(f"RSTrainer takes an RSConfig, got a {type(self.args).__name__}")
        if self.args.n_gpu > 1:
            raise ConfigError(
                f"{self.args.n_gpu} GPUs are visible to one process: start with `accelerate launch --num_processes "
                f"{self.args.n_gpu} train.py ...`, or make one visible with CUDA_VISIBLE_DEVICES"
            )
        if kwargs.get("data_collator") is None:
            self.data_collator = GuidedClipCollator()
        if self.compute_metrics is None:
            self.compute_metrics = ClipMetrics(self.args)
        if self.args.evidence_drop > 0 and "token_mask" not in inspect.signature(self.model.forward).parameters:
            raise ConfigError(
                f"evidence_drop is {self.args.evidence_drop}, but {type(self.model).__name__} cannot leave tokens "
                "unread (its forward takes no token_mask): use evidence_blank or evidence_swap"
            )
        # compute_loss divides by the counts of the whole step, so the Trainer must not divide once more
        self.model_accepts_loss_kwargs = True
        self._step_counts: dict[str, torch.Tensor] | None = None
        self._part_sums: dict[str, torch.Tensor] = {}
        self._steps_since_log = 0

    def get_batch_samples(
        self, epoch_iterator: Iterator, num_batches: int, device: torch.device
    ) -> tuple[list, torch.Tensor]:
        """Fetch the micro-batches of one optimizer step and count, over all processes, what its means go over."""
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        names = list(self.count({}))
        counts = torch.zeros(len(names), dtype=torch.int64)
        for batch in batches:
            counts += torch.stack([count.cpu() for count in self.count(batch).values()])
        counts = counts.to(device)
        if self.args.world_size > 1:
            counts = self.accelerator.gather(counts.unsqueeze(0)).sum(dim=0)
        self._step_counts = dict(zip(names, counts, strict=True))
        self._steps_since_log += 1
        return batches, counts[0]

    def count(self, batch: dict[str, Any]) -> dict[str, torch.Tensor]:
        """What the means of the loss go over in a batch, each a scalar of int64; zeros for a batch that is empty."""
        nothing = torch.zeros((), dtype=torch.int64)
        return {
            "labelled": (batch["labels"] != IGNORED_LABEL).sum() if "labels" in batch else nothing,
            "guided": batch["guidance_mask"].sum() if "guidance_mask" in batch else nothing,
        }

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | None = None,
    ):
        """The total loss of a micro-batch, scaled so that the parts of an optimizer step sum up to the step's loss."""
        in_training = model.training and self._step_counts is not None
        if in_training and self.args.evidence_views.any:
            inputs = self._show_evidence(inputs)
        outputs = model(**_model_inputs(inputs))
        parts = self.loss_parts(outputs, inputs, self._step_counts if in_training else {})
        factor = linear_warmup(self._progress(), self.args.weight_warmup_ratio) if in_training else 1.0
        total = parts["classification"]
        for name, weight in self.part_weights(factor).items():
            if name in parts:
                total = total + weight * parts[name]
        if in_training:
            self._record(parts)
            # gradients are averaged over processes, and these parts are to be summed
            total = total * self.accelerator.num_processes
        return (total, outputs) if return_outputs else total

    def part_weights(self, factor: float) -> dict[str, float]:
        """The weights of the parts beside the classification, where `factor` is how far their warm-up is."""
        return {"spatial": factor * self.args.spatial_weight, "temporal": factor * self.args.temporal_weight}

    def loss_parts(
        self, outputs: Any, inputs: dict[str, Any], counts: Mapping[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        """Each part that has a weight, unweighted: a scalar, float32.

        Args:
            outputs: of the model.
            inputs: the batch.
            counts: of the whole step (see `count`); empty for means over this batch alone.
        """
        args, labels = self.args, inputs["labels"]
        clips = counts.get("labelled")
        parts = {"classification": classification_loss(outputs["logits"], labels, clips, args.label_smoothing_factor)}
        parts |= self.spatial_part(outputs, inputs, (labels != IGNORED_LABEL)[:, None], counts)
        if args.temporal_weight > 0:
            parts["temporal"] = temporal_consistency_loss(
                _required(outputs, "segment_logits"), labels != IGNORED_LABEL, args.temperature, clips
            )
        return parts

    def spatial_part(
        self, outputs: Any, inputs: dict[str, Any], usable: torch.Tensor, counts: Mapping[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        """Spatial alignment over the guided frames among those that are `usable` (batch, 1 or frames), if it has a
        weight."""
        if self.args.spatial_weight <= 0 or "guidance" not in inputs:
            return {}
        attention = outputs.get("layer_attention")
        attention = _required(outputs, "frame_attention") if attention is None else attention
        _check_tokens(attention, inputs["guidance"])
        valid = inputs["guidance_mask"] & usable
        epsilon = self.args.attention_epsilon
        loss = spatial_alignment_loss(attention, inputs["guidance"], valid, counts.get("guided"), epsilon)
        return {"spatial": loss}

    def _show_evidence(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """The batch with its evidence views."""
        missing = [name for name in (*BATCH_FIELDS, "view_draw") if name not in inputs]
        if missing:
            raise ConfigError(f"the batch has no {missing}: evidence views take the batches of GuidedClipCollator")
        token_grid = self.model.token_grid(*inputs["pixel_values"].shape[-2:])
        return self.args.evidence_views.show(inputs, token_grid)

    def _progress(self) -> float:
        return self.state.global_step / max(1, self.state.max_steps)

    def _record(self, parts: dict[str, torch.Tensor]) -> None:
        for name, value in parts.items():
            self._part_sums[name] = self._part_sums.get(name, 0.0) + value.detach()

    def training_step(self, model: torch.nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> torch.Tensor:
        """One micro-batch.

        Raises:
            TrainingError: the loss is not finite. Raised before the weights are changed by it.
        """
        loss = super().training_step(model, inputs, *args, **kwargs)
        if not math.isfinite(loss.item()):
            parts = ", ".join(f"{name} {float(value):.4g}" for name, value in self._part_sums.items())
            raise TrainingError(
                f"the loss is {loss.item()} at step {self.state.global_step + 1} (epoch {self.state.epoch:.2f}); sums "
                f"of its parts since the last log: {parts}. Lower learning_rate, now "
                f"{self._get_learning_rate():.3g}, or look for input that is not finite."
            )
        return loss

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Add the parts of the loss, as means over the steps since the last log."""
        if "loss" in logs and self._part_sums:
            for name, value in self._part_sums.items():
                summed = self.accelerator.reduce(value, reduction="sum")
                logs[f"loss_{name}"] = float(summed) / max(1, self._steps_since_log)
            self._part_sums, self._steps_since_log = {}, 0
        super().log(logs, *args, **kwargs)

    def prediction_step(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        prediction_loss_only: bool,
        ignore_keys: list[str] | None = None,
    ) -> tuple[torch.Tensor | None, tuple[torch.Tensor, ...] | None, torch.Tensor | None]:
        """Reduce the outputs at once, so that attention maps of a whole split are never gathered.

        No loss is returned batch by batch: a mean of means would weigh a short last batch too much. The exact losses
        come from `ClipMetrics`.
        """
        missing = [name for name in BATCH_FIELDS if name not in inputs]
        if missing:
            raise ConfigError(f"the batch has no {missing}: evaluation takes the batches of GuidedClipCollator")
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad(), self.compute_loss_context_manager():
            outputs = model(**_model_inputs(inputs))
        return None, self.outcome(outputs, inputs), inputs["labels"]

    def evaluation_loop(
        self, dataloader: DataLoader, description: str, *args: Any, metric_key_prefix: str = "eval", **kwargs: Any
    ) -> EvalLoopOutput:
        """Evaluate on a split; with `second_look`, on what both readings of each clip say together.

        Accuracy and losses of the first reading alone stand beside, with `_one_look` behind their names.
        """
        kwargs["metric_key_prefix"] = metric_key_prefix
        if not self.args.second_look:
            return super().evaluation_loop(dataloader, description, *args, **kwargs)
        check_second_look(dataloader.dataset)
        first = super().evaluation_loop(dataloader, description, *args, **kwargs)
        outcome = ClipOutcome(*first.predictions)
        again = self.get_test_dataloader(SecondLooks(dataloader.dataset, outcome.rectangle))
        second = super().evaluation_loop(again, f"{description}, second look", *args, **kwargs)
        if not np.array_equal(first.label_ids, second.label_ids):
            raise TrainingError("the second look came upon other clips, or in another order, than the first")
        logits = average_looks(outcome.logits, ClipOutcome(*second.predictions).logits)
        both = replace(outcome, logits=logits).as_tuple()
        found = self.compute_metrics(EvalPrediction(both, first.label_ids))
        metrics = dict(first.metrics)
        for name in LOOKED_TWICE:
            if name in found:
                metrics[f"{metric_key_prefix}_{name}_one_look"] = metrics[f"{metric_key_prefix}_{name}"]
                metrics[f"{metric_key_prefix}_{name}"] = found[name]
        return EvalLoopOutput(both, first.label_ids, metrics, first.num_samples)

    def outcome(self, outputs: Any, inputs: dict[str, Any]) -> tuple[torch.Tensor, ...]:
        """What evaluation keeps of a batch, as `compute_metrics` takes it apart."""
        frame_attention = _required(outputs, "frame_attention")
        _check_tokens(frame_attention, inputs["guidance"])
        outcome = clip_outcome(
            outputs["logits"],
            _required(outputs, "segment_logits"),
            frame_attention,
            inputs["guidance"],
            inputs["guidance_mask"],
            inputs["frame_mask"],
            self.args,
        )
        if self.args.second_look:
            grid = self.model.token_grid(*inputs["pixel_values"].shape[-2:])
            outcome = replace(outcome, rectangle=attended_rectangles(frame_attention, grid, inputs["frame_mask"]))
        return outcome.as_tuple()


def _model_inputs(inputs: dict[str, Any]) -> dict[str, Any]:
    """What of a batch the model is given; the loss is computed here and not in it."""
    return {name: value for name, value in inputs.items() if name not in NOT_FOR_THE_MODEL}


def _required(outputs: Any, name: str) -> torch.Tensor:
    value = outputs.get(name)
    if value is None:
        raise ConfigError(
            f"the model gives no {name!r}, which this loss needs; set its weight to 0 or use another model"
        )
    return value


def _check_tokens(attention: torch.Tensor, guidance: torch.Tensor) -> None:
    if attention.shape[-1] != guidance.shape[-1]:
        raise ConfigError(
            f"the model attends over {attention.shape[-1]} tokens and guidance was prepared for {guidance.shape[-1]}: "
            "the input size or grid of the data set's transform is not the model's"
        )
