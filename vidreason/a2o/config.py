"""Settings of an object-centric run: of its training, and of its data."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from transformers import TrainingArguments

from ..errors import ConfigError
from ..training.arguments import ClipArguments


@dataclass
class ObjectCentricConfig(TrainingArguments):
    """`transformers.TrainingArguments`, and what training with maps of objects adds to them.

    The loss is the cross-entropy of the actions (A2O, section 3.3); all weights are trained, from those that the
    classifier starts with. The paper tunes learning rate, weight decay and adapter for each data set (table 10).

    Defaults that differ from `TrainingArguments`: `remove_unused_columns` is False, because maps reach a model under
    supervision by another name; `logging_nan_inf_filter` is False, because a loss that is not finite ends the run
    with a named error.
    """

    adapter_learning_rate: float | None = field(
        default=None,
        metadata={
            "help": "Learning rate of the adapter, which starts from zero while the classifier may start from trained "
            "weights. By default that of all."
        },
    )
    freeze_classifier: bool = field(
        default=False, metadata={"help": "Train the adapter alone, and leave the classifier inside as it is."}
    )
    evaluation_clips: int = field(
        default=1,
        metadata={"help": "Evaluation: readings of a clip at other times; probabilities are averaged over all."},
    )
    evaluation_crops: int = field(
        default=1,
        metadata={
            "help": "Evaluation: squares along the longer side of the frame, from end to end, that each reading is "
            "made of; 1 reads the whole frame."
        },
    )
    remove_unused_columns: bool = field(
        default=False, metadata={"help": "Leave this False: the clips' maps would be removed before the model."}
    )
    logging_nan_inf_filter: bool = field(
        default=False, metadata={"help": "Leave this False: a loss that is not finite ends the run with an error."}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        rate = self.adapter_learning_rate
        if rate is not None and not (math.isfinite(rate) and rate >= 0):
            raise ConfigError(f"adapter_learning_rate is {rate}, expected a finite number >= 0")
        for name in ("evaluation_clips", "evaluation_crops"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}, expected at least 1")
        if self.remove_unused_columns:
            raise ConfigError("remove_unused_columns must be False, or maps are removed before the model sees them")


@dataclass
class DataArguments(ClipArguments):
    """Which videos a model is trained on, and which objects in them it is shown."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.guidance:
            raise ConfigError(
                f"guidance is {self.guidance!r}, which no loss here reads: use the method reasoning_supervision, "
                "which trains a model with maps as well"
            )
