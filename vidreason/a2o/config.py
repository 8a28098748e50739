"""Settings of an object-centric run: of its training, and of its data."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..errors import ConfigError
from ..training.arguments import ClipArguments
from ..training.clip_trainer import ClipTrainingArguments


@dataclass
class ObjectCentricConfig(ClipTrainingArguments):
    """`ClipTrainingArguments`, those of transformers among them, and what training with maps of objects adds to them.

    The loss is the cross-entropy of the actions (A2O, section 3.3); all weights are trained, from those that the
    classifier starts with. The paper tunes learning rate, weight decay and adapter for each data set (table 10).
    """

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

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("evaluation_clips", "evaluation_crops"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}, expected at least 1")


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
