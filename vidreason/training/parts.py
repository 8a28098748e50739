"""A trainer whose loss has named parts, each an exact mean over the whole optimizer step."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
import torch.nn.functional as F

from ..errors import ConfigError, TrainingError
from .distributed import DistributedTrainer


class PartsTrainer(DistributedTrainer):
    """Trains with a loss that is the weighted sum of named parts.

    Every part is a mean over what counts for it (clips, frames with guidance, tokens of an answer) in the whole
    optimizer step: over all accumulated micro-batches and all processes. So one step is the same however it is cut
    up, also where a micro-batch or a process has nothing that counts for a part. The Trainer itself does so for one
    count alone, which it takes from `labels`; means of means, as one gets without, weigh a part by where its examples
    happen to lie.

    Each part is logged on its own and unweighted, as `loss_<name>`.

    A system says what is counted (`count`), what the parts are (`loss_parts`) and what they weigh (`part_weights`).
    """

    not_for_the_model: tuple[str, ...] = ("labels",)
    """What of a batch the model is not given: the loss is computed here and not in it."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        if self.args.n_gpu > 1:  # the Trainer would wrap the model in DataParallel, which no count here speaks of
            raise ConfigError(
                f"{self.args.n_gpu} GPUs are visible to one process: start with `accelerate launch --num_processes "
                f"{self.args.n_gpu} train.py ...`, or make one visible with CUDA_VISIBLE_DEVICES"
            )
        # compute_loss divides by the counts of the whole step, so the Trainer must not divide once more: it would by
        # gradient_accumulation_steps, which is right for means of micro-batches and wrong for parts that sum up
        self.model_accepts_loss_kwargs = True
        self._step_counts: dict[str, torch.Tensor] = {}
        self._part_sums: dict[str, torch.Tensor] = {}
        # optimizer steps, not micro-batches: each step adds one whole mean to every part
        self._steps_since_log = 0
        # the loss of the step that is under way, summed up on the device
        self._step_loss: torch.Tensor | None = None
        # every micro-batch would be asked for its value; a loss that is not finite ends the run here in any case
        self.args.logging_nan_inf_filter = False

    def count(self, batch: Mapping[str, Any]) -> dict[str, torch.Tensor]:
        """What the means of the loss go over in a batch.

        Counted where the batch lies: a value that is read on the way (`item`, `tolist`, an index of booleans) stops a
        GPU in every micro-batch.

        Args:
            batch: A batch of the data collator, or an empty one, for which every count is zero.

        Returns:
            Name -> count, each a scalar of int64, the same names in the same order for every batch. The Trainer is
            told the first as its number of items.
        """
        raise NotImplementedError

    def loss_parts(
        self, outputs: Any, inputs: Mapping[str, Any], counts: Mapping[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        """Each part that has a weight, unweighted: a scalar, float32.

        Args:
            outputs: What the model gave.
            inputs: The batch.
            counts: Counts of the whole step, see `count`; empty for means over this batch alone.
        """
        raise NotImplementedError

    def part_weights(self, progress: float | None) -> dict[str, float]:
        """The weight of each part.

        Args:
            progress: Share of the training that is done, in [0, 1]; None outside training.
        """
        raise NotImplementedError

    def show(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """A training batch as the model is to see it; by default as it is."""
        return inputs

    def model_inputs(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """What of a batch the model is given."""
        return {name: value for name, value in inputs.items() if name not in self.not_for_the_model}

    def get_batch_samples(
        self, epoch_iterator: Iterator, num_batches: int, device: torch.device
    ) -> tuple[list, torch.Tensor]:
        """Fetch the micro-batches of one optimizer step and count, over all processes, what its means go over."""
        # the count of the Trainer is of `labels` alone: no divisor for frames with guidance
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        # an empty batch names the counts: a process that got no micro-batch still joins the gather below
        names = list(self.count({}))
        # int64 is exact; float32 is not beyond 2**24
        counts = torch.zeros(len(names), dtype=torch.int64, device=device)
        for batch in batches:
            counts += torch.stack([count.to(device, non_blocking=True) for count in self.count(batch).values()])
        if self.args.world_size > 1:
            # one row per process, since gather concatenates; counts of one process alone would give a mean of means
            counts = self.accelerator.gather(counts.unsqueeze(0)).sum(dim=0)
        self._step_counts = dict(zip(names, counts, strict=True))
        self._steps_since_log += 1
        self._step_loss = None
        return batches, counts[0]

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor | tuple[torch.Tensor, Any]:
        """The total loss of a micro-batch, scaled so that the parts of an optimizer step sum up to the step's loss."""
        # batches of evaluation belong to no optimizer step: their means are over the batch alone
        in_training = model.training and bool(self._step_counts)
        if in_training:
            inputs = self.show(inputs)
        outputs = model(**self.model_inputs(inputs))
        parts = self.loss_parts(outputs, inputs, self._step_counts if in_training else {})
        # max_steps is 0 until `train` sets it
        weights = self.part_weights(self.state.global_step / max(1, self.state.max_steps) if in_training else None)
        total = functools.reduce(torch.add, (weights[name] * part for name, part in parts.items()))
        if in_training:
            for name, part in parts.items():
                # detached: otherwise the graphs of all steps since the last log would stay in memory
                self._part_sums[name] = self._part_sums.get(name, 0.0) + part.detach()
            # gradients are averaged over processes, and these parts are to be summed
            total = total * self.accelerator.num_processes
        return (total, outputs) if return_outputs else total

    def training_step(self, model: torch.nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> torch.Tensor:
        """One micro-batch.

        Raises:
            TrainingError: The loss is not finite. Raised before the weights are changed by it.
        """
        loss = super().training_step(model, inputs, *args, **kwargs)
        # a sum of parts that are not finite is not finite either
        self._step_loss = loss if self._step_loss is None else self._step_loss + loss
        # at the last micro-batch gradients are whole and the optimizer has not stepped: the GPU is waited for there
        # and only there
        if self.accelerator.sync_gradients and not math.isfinite(step_loss := self._step_loss.item()):
            parts = ", ".join(f"{name} {float(value):.4g}" for name, value in self._part_sums.items())
            raise TrainingError(
                f"the loss is {step_loss} at step {self.state.global_step + 1} (epoch {self.state.epoch:.2f}); sums "
                f"of its parts since the last log: {parts}. Lower learning_rate, now "
                f"{self._get_learning_rate():.3g}, or look for input that is not finite."
            )
        return loss

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Add the parts of the loss, as means over the steps since the last log."""
        # entries of evaluation and the final summary have no `loss`, but `eval_loss` and `train_loss`
        if "loss" in logs and self._part_sums:
            # a process holds its share of each mean, so that the sum over processes is the mean; all parts at once,
            # since each exchange and each reading waits for the GPU
            summed = self.accelerator.reduce(torch.stack(list(self._part_sums.values())), reduction="sum")
            for name, value in zip(self._part_sums, summed.tolist(), strict=True):
                logs[f"loss_{name}"] = value / max(1, self._steps_since_log)
            # reset here and not per epoch: logging_steps need not divide an epoch
            self._part_sums, self._steps_since_log = {}, 0
        super().log(logs, *args, **kwargs)


def classification_loss(
    logits: torch.Tensor,
    labels: torch.Tensor,
    count: torch.Tensor | float | None = None,
    label_smoothing: float = 0.0,
) -> torch.Tensor:
    """Cross-entropy, mean over the labelled clips: the part that every classifier has.

    Args:
        logits: (batch, labels).
        labels: (batch,), int64; -100 marks a clip that could not be read and does not count.
        count: Divide by this many clips, those of the whole step, instead of those that are labelled here.
        label_smoothing: Share of each target that is spread over all labels, in [0, 1).

    Returns:
        A scalar, float32; zero, and still connected to the graph, where no clip is labelled.
    """
    # cross_entropy's own ignore_index, -100, is the only label below 0
    total = F.cross_entropy(logits.float(), labels, reduction="sum", label_smoothing=label_smoothing)
    # a sum of nothing stays 0 and keeps its graph
    return total / torch.as_tensor((labels >= 0).sum() if count is None else count).clamp_min(1)
