"""What the trainers of all systems share whose models classify clips: the adapter's learning rate."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import TrainingArguments

from ..errors import ConfigError
from .parts import PartsTrainer

ADAPTER = "adapter."
"""How the names of the adapter's weights begin in `modeling_a2o`."""


@dataclass
class ClipTrainingArguments(TrainingArguments):
    """`transformers.TrainingArguments`, and what training of any video classifier adds to them.

    Defaults that differ from `TrainingArguments`: `remove_unused_columns` is False, because guidance and maps are not
    arguments of every model; `logging_nan_inf_filter` is False, because a loss that is not finite ends the run with a
    named error.
    """

    adapter_learning_rate: float | None = field(
        default=None,
        metadata={
            "help": "Learning rate of the adapter of a model with maps of objects, which starts from zero while "
            "the classifier may start from trained weights. By default that of all."
        },
    )
    remove_unused_columns: bool = field(
        default=False,
        metadata={"help": "Leave this False: guidance and maps of the clips would be removed before they are used."},
    )
    logging_nan_inf_filter: bool = field(
        default=False, metadata={"help": "Leave this False: a loss that is not finite ends the run with an error."}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        rate = self.adapter_learning_rate
        if rate is not None and not (math.isfinite(rate) and rate >= 0):
            raise ConfigError(f"adapter_learning_rate is {rate}, expected a finite number >= 0")
        if self.remove_unused_columns:
            raise ConfigError("remove_unused_columns must be False, or guidance and maps are removed before their use")


class ClipTrainer(PartsTrainer):
    """A `PartsTrainer` of video classifiers, in which the adapter of a model with maps may have its own learning rate.

    Raises:
        ConfigError: A rate of the adapter is given, and the model has no adapter.
    """

    args: ClipTrainingArguments

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        # other arguments are refused by the trainer that takes them apart
        if getattr(self.args, "adapter_learning_rate", None) is not None:
            self.check_has_adapter("adapter_learning_rate")

    def adapter_weights(self) -> Iterator[tuple[str, torch.nn.Parameter]]:
        """Names and weights of the adapter; none where the model has none."""
        model: Any = self.model
        return (pair for pair in model.named_parameters() if pair[0].startswith(ADAPTER))

    def check_has_adapter(self, setting: str) -> None:
        """Refuse a setting of the adapter for a model without one.

        Raises:
            ConfigError: The model has no adapter; the message names `setting`.
        """
        if next(self.adapter_weights(), None) is None:
            model: Any = self.model
            raise ConfigError(
                f"{setting} is of the adapter, and a model of type {model.config.model_type} has none: choose a "
                f"model_type such as a2o_{model.config.model_type}"
            )

    def create_optimizer(self, *args: Any, **kwargs: Any) -> torch.optim.Optimizer:
        """The optimizer, in which the adapter may have a learning rate of its own."""
        had_none = self.optimizer is None
        optimizer = super().create_optimizer(*args, **kwargs)
        if had_none and self.args.adapter_learning_rate is not None:
            self._split_groups(optimizer)
        return optimizer

    def _split_groups(self, optimizer: torch.optim.Optimizer) -> None:
        """Move the adapter's weights into groups of their own, with the settings of those that they were in."""
        of_adapter = {id(parameter) for _, parameter in self.adapter_weights()}
        for group in list(optimizer.param_groups):
            own = [parameter for parameter in group["params"] if id(parameter) in of_adapter]
            if not own:
                continue
            group["params"] = [parameter for parameter in group["params"] if id(parameter) not in of_adapter]
            settings = {name: value for name, value in group.items() if name not in ("params", "lr", "initial_lr")}
            optimizer.add_param_group({**settings, "params": own, "lr": self.args.adapter_learning_rate})
        # a group without weights would still be scheduled and logged, as that of a frozen classifier
        optimizer.param_groups[:] = [group for group in optimizer.param_groups if group["params"]]
