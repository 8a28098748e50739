"""A `transformers.Trainer` that also supervises where a video model looks."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Protocol, cast

import numpy as np
import torch
from torch.utils.data import DataLoader
from transformers import EvalPrediction
from transformers.trainer_utils import EvalLoopOutput

from ..clips.data import IGNORED_LABEL, GuidedClipCollator
from ..errors import ConfigError, TrainingError
from ..training.clip_trainer import ClipTrainer
from ..training.parts import classification_loss
from .config import RSConfig
from .evaluation import ClipMetrics, ClipOutcome, clip_outcome
from .losses import linear_warmup, spatial_alignment_loss, temporal_consistency_loss
from .second_look import LOOKED_TWICE, SecondLooks, attended_rectangles, average_looks, check_second_look

BATCH_FIELDS = ("pixel_values", "frame_mask", "labels", "guidance", "guidance_mask")


class _TokenGrid(Protocol):
    def token_grid(self, height: int, width: int) -> tuple[int, int]: ...


class RSTrainer(ClipTrainer):
    """Trains a video classifier with the spatial and temporal losses of reasoning supervision.

    The model gives `logits` (batch, labels), `segment_logits` (batch, 3, labels) and `frame_attention`
    (batch, frames, tokens), and `layer_attention` (batch, layers, frames, tokens) where several layers are supervised;
    it takes `pixel_values` and `frame_mask`, and `object_maps` where the batches have any. Batches are those of
    `GuidedClipCollator`.

    The parts of the loss, `classification`, `spatial` and `temporal`, are exact means over the clips or the guided
    frames of an optimizer step (see `PartsTrainer`). Evaluation gives the metrics of `ClipMetrics`.
    """

    args: RSConfig
    not_for_the_model = ("labels", "guidance", "guidance_mask", "view_draw", "maps_missing", "video", "start")

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        if not isinstance(self.args, RSConfig):
            raise ConfigError(f"RSTrainer takes an RSConfig, got a {type(self.args).__name__}")
        # asked of the arguments: the Trainer sets a collator of its own where none is given
        if kwargs.get("data_collator") is None:
            self.data_collator = GuidedClipCollator()
        if self.compute_metrics is None:
            self.compute_metrics = ClipMetrics(self.args)
        # a forward that takes **kwargs would swallow the mask and read the tokens all the same
        takes = inspect.signature(cast(torch.nn.Module, self.model).forward).parameters
        if self.args.evidence_drop > 0 and "token_mask" not in takes:
            raise ConfigError(
                f"evidence_drop is {self.args.evidence_drop}, but {type(self.model).__name__} cannot leave tokens "
                "unread (its forward takes no token_mask): use evidence_blank or evidence_swap"
            )
        self.evidence_views = self.args.evidence_views

    def count(self, batch: Mapping[str, Any]) -> dict[str, torch.Tensor]:
        """Labelled clips and guided frames of a batch."""
        nothing = torch.zeros((), dtype=torch.int64)
        return {
            # two counts: the Trainer's rescaling under gradient accumulation knows labels alone, and labelled clips
            # may be without guidance
            "labelled": (batch["labels"] != IGNORED_LABEL).sum() if "labels" in batch else nothing,
            "guided": batch["guidance_mask"].sum() if "guidance_mask" in batch else nothing,
        }

    def part_weights(self, progress: float | None) -> dict[str, float]:
        """The weights of section 2.3, where those beside the cross-entropy may grow from 0."""
        # full weights outside of training: a loss of evaluation must not depend on when it is taken
        factor = 1.0 if progress is None else linear_warmup(progress, self.args.weight_warmup_ratio)
        # L = L_CE + lambda_s L_spatial + lambda_t L_temporal
        return {
            "classification": 1.0,
            "spatial": factor * self.args.spatial_weight,
            "temporal": factor * self.args.temporal_weight,
        }

    def loss_parts(
        self, outputs: Any, inputs: Mapping[str, Any], counts: Mapping[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        """Cross-entropy, spatial alignment and temporal consistency, as far as they have a weight."""
        args, labels = self.args, inputs["labels"]
        clips = counts.get("labelled")
        # smoothing is done here: the Trainer's label smoother belongs to its own compute_loss, which is overridden
        parts = {"classification": classification_loss(outputs["logits"], labels, clips, args.label_smoothing_factor)}
        # a clip that could not be read is all zeros: neither its frames nor its views say anything
        parts |= self.spatial_part(outputs, inputs, (labels != IGNORED_LABEL)[:, None], counts)
        # left out at weight 0, so that models without `segment_logits` can be trained
        if args.temporal_weight > 0:
            parts["temporal"] = temporal_consistency_loss(
                _required(outputs, "segment_logits"), labels != IGNORED_LABEL, args.temperature, clips
            )
        return parts

    def spatial_part(
        self, outputs: Any, inputs: Mapping[str, Any], usable: torch.Tensor, counts: Mapping[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        """Spatial alignment over the guided frames among usable ones, if it has a weight.

        Args:
            outputs: What the model gave.
            inputs: The batch.
            usable: (batch, 1) or (batch, frames), bool: frames that may count.
            counts: Counts of the whole step; empty for means over this batch alone.
        """
        if self.args.spatial_weight <= 0 or "guidance" not in inputs:
            return {}
        # given only where several layers are supervised; the loss then is the mean over them
        attention = outputs.get("layer_attention")
        attention = _required(outputs, "frame_attention") if attention is None else attention
        _check_tokens(attention, inputs["guidance"])
        valid = inputs["guidance_mask"] & usable
        epsilon = self.args.attention_epsilon
        loss = spatial_alignment_loss(attention, inputs["guidance"], valid, counts.get("guided"), epsilon)
        return {"spatial": loss}

    def show(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """A training batch with its evidence views."""
        if not self.evidence_views.any:
            return inputs
        missing = [name for name in (*BATCH_FIELDS, "view_draw") if name not in inputs]
        if missing:
            raise ConfigError(f"the batch has no {missing}: evidence views take the batches of GuidedClipCollator")
        return self.evidence_views.show(inputs, self._token_grid(inputs))

    def _token_grid(self, inputs: Mapping[str, Any]) -> tuple[int, int]:
        """(rows, columns) of the model's tokens at the size of this batch."""
        height, width = inputs["pixel_values"].shape[-2:]
        # `self.model` is unwrapped; DistributedDataParallel does not pass methods of its module on
        return cast(_TokenGrid, self.model).token_grid(height, width)

    def prediction_step(  # type: ignore[override]  # several tensors as predictions are supported, but not in its types
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        prediction_loss_only: bool,
        ignore_keys: list[str] | None = None,
    ) -> tuple[None, tuple[torch.Tensor, ...], torch.Tensor]:
        """Reduce the outputs at once, so that attention maps of a whole split are never gathered.

        No loss is returned batch by batch: a mean of means would weigh a short last batch too much. The exact losses
        come from `ClipMetrics`.
        """
        missing = [name for name in BATCH_FIELDS if name not in inputs]
        if missing:
            raise ConfigError(f"the batch has no {missing}: evaluation takes the batches of GuidedClipCollator")
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad(), self.compute_loss_context_manager():
            outputs = model(**self.model_inputs(inputs))
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
        # before the first pass, which would be wasted where a second is not possible
        clips = check_second_look(dataloader.dataset)
        first = super().evaluation_loop(dataloader, description, *args, **kwargs)
        outcome: ClipOutcome[np.ndarray] = ClipOutcome(*first.predictions)
        # a loader of its own: with persistent workers the Trainer keeps that of evaluation, and its data set
        again = self.get_test_dataloader(SecondLooks(clips, outcome.rectangle))
        second = super().evaluation_loop(again, f"{description}, second look", *args, **kwargs)
        labels = np.asarray(first.label_ids)
        # readings are paired by position: in another order, probabilities of different clips would be averaged
        if not np.array_equal(labels, np.asarray(second.label_ids)):
            raise TrainingError("the second look came upon other clips, or in another order, than the first")
        closer: ClipOutcome[np.ndarray] = ClipOutcome(*second.predictions)
        # attention stays that of the first look: tokens of the second lie over a crop
        both = replace(outcome, logits=average_looks(outcome.logits, closer.logits))
        # the Trainer's types know one array of predictions; what is passed on is the tuple that it gave
        predictions: Any = both.as_tuple()
        found = self.compute_metrics(EvalPrediction(predictions, labels)) if self.compute_metrics else {}
        metrics = dict(first.metrics or {})
        for name in LOOKED_TWICE:
            if name in found:
                metrics[f"{metric_key_prefix}_{name}_one_look"] = metrics[f"{metric_key_prefix}_{name}"]
                metrics[f"{metric_key_prefix}_{name}"] = found[name]
        return EvalLoopOutput(predictions, labels, metrics, first.num_samples)

    def outcome(self, outputs: Any, inputs: Mapping[str, Any]) -> tuple[torch.Tensor, ...]:
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
            rectangle = attended_rectangles(frame_attention, self._token_grid(inputs), inputs["frame_mask"])
            outcome = replace(outcome, rectangle=rectangle)
        return outcome.as_tuple()


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
