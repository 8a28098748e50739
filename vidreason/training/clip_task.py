"""What the tasks of all systems share that train on clips: settings, reports, processor and card."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from transformers import BaseVideoProcessor, PreTrainedModel, TrainingArguments

from ..backbones.models import build_processor
from ..publishing.cards import ObjectFacts, TrainingFacts, write_model_card
from ..reporting.recipe_facts import RecipeFacts
from ..video.cache import SharedVideos
from .arguments import ClipArguments, ModelArguments
from .object_data import ObjectTables
from .task import DataT, Metrics, Prepared, Task


class ClipTask(Task[DataT]):
    """A run that trains a model on clips of videos.

    Args:
        model_args: Settings of the model.
        data_args: Settings of the data.
        args: Settings of the training.
        video_cache: Decoded videos that runs share; what this one decodes joins it. None keeps nothing.
    """

    def __init__(
        self,
        model_args: ModelArguments,
        data_args: ClipArguments,
        args: TrainingArguments,
        video_cache: SharedVideos | None = None,
    ):
        super().__init__(args)
        self.model_args, self.video_cache = model_args, video_cache
        self._clip_args = data_args

    def settings(self) -> dict[str, Any]:
        """The settings of training, model and data."""
        return {**super().settings(), **asdict(self.model_args), **asdict(self._clip_args)}

    @abstractmethod
    def reported(self) -> dict[str, str]:
        """Name in reports -> name among the trainer's metrics, the main metric first."""

    def report(self, metrics: Mapping[str, float], split: str) -> dict[str, float | None]:
        """The metrics of a test split under the names of reports; a value that was not measured is None."""
        # None and not 0: what was not measured must not look like a bad result
        return {name: metrics.get(f"{split}_{metric}") for name, metric in self.reported().items()}

    def config_overrides(self, objects: ObjectTables | None) -> dict[str, Any]:
        """The fields of the model's configuration that the run sets: which maps it is shown, and `model_config`."""
        shown = {} if objects is None else objects.config_fields(self.model_args.model_name_or_path)
        return {**shown, **self.model_args.config_overrides}

    def build_processor(self, model: PreTrainedModel) -> BaseVideoProcessor:
        """The video processor of the run's model."""
        return build_processor(model.config, self.model_args.model_name_or_path)

    def write_card(self, folder: Path, prepared: Prepared[DataT], recipe: RecipeFacts, metrics: Metrics) -> None:
        """Write the model's card into a folder."""
        write_model_card(folder, self.facts(prepared, recipe, metrics))

    @abstractmethod
    def facts(self, prepared: Prepared[DataT], recipe: RecipeFacts, metrics: Metrics) -> TrainingFacts:
        """What the model card says of the run.

        Args:
            prepared: What is trained, on what.
            recipe: How it is trained.
            metrics: Results by split and name.
        """


def object_facts(objects: ObjectTables | None, split: str) -> ObjectFacts | None:
    """What a card says of the maps that a model is shown; None for a model that is shown none.

    Args:
        objects: The run's detections.
        split: The training split.
    """
    if objects is None:
        return None
    source = objects.source
    return ObjectFacts(
        class_texts=objects.class_texts,
        detector=" ".join(filter(None, [source.detector, source.model])),
        revision=source.revision,
        threshold=source.threshold,
        source=Path(objects.name).name,  # a folder's whole path is of one machine
        coverage=objects.coverage(split),
    )
