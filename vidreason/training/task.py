"""What a system gives to a training run: its model, data, trainer, what it reports, and its card.

A system adds training by a subclass of `Task` and a call of `vidreason.training.run.run_training`; nothing in this
room changes for it. `vidreason.rs.tasks` and `vidreason.rs.segmentation.task` are two.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from torch.utils.data import Dataset
from transformers import PreTrainedModel, TrainerCallback, TrainingArguments

from ..reporting.recipe_facts import RecipeFacts
from .distributed import DistributedTrainer
from .output_folder import training_settings

Metrics = dict[str, dict[str, float | None]]
"""Split -> name -> value; what was not measured is None."""


@dataclass(frozen=True)
class RunData:
    """The data sets of a run. A system adds what else its card and its trainer need of them.

    Args:
        train: What is trained on.
        validation: What is evaluated on while training; None for nothing.
        tests: Split -> what is evaluated on after training.
    """

    train: Dataset
    validation: Dataset | None
    tests: Mapping[str, Dataset]

    @property
    def unreadable(self) -> dict[str, dict[str, str]]:
        """Split -> video id -> reason, of the videos that could not be read, as far as this process saw them."""
        return {}  # data sets that read no video files have nothing to name


# a parameter of type: a task's trainer and card use fields that only its own data sets have
DataT = TypeVar("DataT", bound=RunData)


@dataclass(frozen=True)
class Prepared(Generic[DataT]):
    """All that a training run starts from.

    Args:
        model: The model that is trained.
        processor: What prepares the model's input, saved beside the model.
        data: The data sets.
    """

    model: PreTrainedModel
    processor: Any
    data: DataT


class Task(ABC, Generic[DataT]):
    """One kind of training run.

    Args:
        args: Settings of the training.
    """

    def __init__(self, args: TrainingArguments):
        self.args = args

    def settings(self) -> dict[str, Any]:
        """The settings that tell one run from another, by name. A system adds those of its model and data."""
        return training_settings(self.args)

    @abstractmethod
    def prepare(self) -> Prepared[DataT]:
        """Build the model, its processor and the data sets. Called once, after the seed is set.

        Raises:
            VidreasonError: Something that is asked for is not there, or does not fit.
        """

    @abstractmethod
    def make_trainer(self, prepared: Prepared[DataT], callbacks: list[TrainerCallback]) -> DistributedTrainer:
        """The trainer of what was prepared.

        Args:
            prepared: What `prepare` gave.
            callbacks: Objects that are told of the training's progress.
        """

    @abstractmethod
    def report(self, metrics: Mapping[str, float], split: str) -> dict[str, float | None]:
        """The metrics of a test split under the names of reports, the main one first.

        Args:
            metrics: What the trainer's `evaluate` gave, with `split` and an underscore before each name.
            split: Name of the test split.
        """

    @abstractmethod
    def write_card(self, folder: Path, prepared: Prepared[DataT], recipe: RecipeFacts, metrics: Metrics) -> None:
        """Write the model's card, `README.md`, into a folder that the model is saved in.

        Args:
            folder: Folder of the finished model, or of a checkpoint.
            prepared: What was trained.
            recipe: How it was trained, up to now.
            metrics: Results on the test splits; empty for a checkpoint, which is not evaluated on them.
        """
