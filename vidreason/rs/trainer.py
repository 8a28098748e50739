"""A `transformers.Trainer` that also supervises where a video model looks."""

from __future__ import annotations

import inspect
import logging
import math
from collections.abc import Iterator
from typing import Any

import torch

from ..errors import ConfigError, TrainingError
from .config import RSConfig
from .data import IGNORED_LABEL, GuidedClipCollator
from .distributed import DistributedTrainer
from .evaluation import ClipMetrics, clip_outcome
from .losses import classification_loss, linear_warmup, spatial_alignment_loss, temporal_consistency_loss

logger = logging.getLogger(__name__)

BATCH_FIELDS = ("pixel_values", "frame_mask", "labels", "guidance", "guidance_mask")
NOT_FOR_THE_MODEL = ("labels", "guidance", "guidance_mask", "view_draw")


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
        self._step_clips: torch.Tensor | None = None
        self._step_frames: torch.Tensor | None = None
        self._part_sums: dict[str, torch.Tensor] = {}
        self._steps_since_log = 0

    def get_batch_samples(
        self, epoch_iterator: Iterator, num_batches: int, device: torch.device
    ) -> tuple[list, torch.Tensor]:
        """Fetch the micro-batches of one optimizer step and count, over all processes, what its means go over."""
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        counts = torch.zeros(2, dtype=torch.int64)
        for batch in batches:
            counts[0] += (batch["labels"] != IGNORED_LABEL).sum().cpu()
            if "guidance_mask" in batch:
                counts[1] += batch["guidance_mask"].sum().cpu()
        counts = counts.to(device)
        if self.args.world_size > 1:
            counts = self.accelerator.gather(counts.unsqueeze(0)).sum(dim=0)
        self._step_clips, self._step_frames = counts[0], counts[1]
        self._steps_since_log += 1
        return batches, self._step_clips

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | None = None,
    ):
        """The total loss of a micro-batch, scaled so that the parts of an optimizer step sum up to the step's loss."""
        in_training = model.training and self._step_clips is not None
        if in_training and self.args.evidence_views.any:
            inputs = self._show_evidence(inputs)
        outputs = model(**_model_inputs(inputs))
        clips, frames = (self._step_clips, self._step_frames) if in_training else (None, None)
        parts = self._loss_parts(outputs, inputs, clips, frames)
        factor = linear_warmup(self._progress(), self.args.weight_warmup_ratio) if in_training else 1.0
        total = parts["classification"]
        if "spatial" in parts:
            total = total + factor * self.args.spatial_weight * parts["spatial"]
        if "temporal" in parts:
            total = total + factor * self.args.temporal_weight * parts["temporal"]
        if in_training:
            self._record(parts)
            # gradients are averaged over processes, and these parts are to be summed
            total = total * self.accelerator.num_processes
        return (total, outputs) if return_outputs else total

    def _loss_parts(
        self, outputs: Any, inputs: dict[str, Any], clips: torch.Tensor | None, frames: torch.Tensor | None
    ) -> dict[str, torch.Tensor]:
        """Each part that has a weight, unweighted: a scalar, float32."""
        args, labels = self.args, inputs["labels"]
        parts = {"classification": classification_loss(outputs["logits"], labels, clips, args.label_smoothing_factor)}
        if args.spatial_weight > 0 and "guidance" in inputs:
            attention = outputs.get("layer_attention")
            attention = _required(outputs, "frame_attention") if attention is None else attention
            _check_tokens(attention, inputs["guidance"])
            valid = inputs["guidance_mask"] & (labels != IGNORED_LABEL)[:, None]
            parts["spatial"] = spatial_alignment_loss(
                attention, inputs["guidance"], valid, frames, args.attention_epsilon
            )
        if args.temporal_weight > 0:
            parts["temporal"] = temporal_consistency_loss(
                _required(outputs, "segment_logits"), labels != IGNORED_LABEL, args.temperature, clips
            )
        return parts

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
        return None, outcome.as_tuple(), inputs["labels"]


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
