"""What the tasks of all systems share that train on clips: settings, reports, model and processor."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from transformers import BaseVideoProcessor, PreTrainedModel, TrainingArguments

from ..backbones.models import build_processor
from ..video.cache import SharedVideos
from .arguments import ClipArguments, ModelArguments
from .object_data import ObjectTables
from .task import DataT, Task


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
        model_args = self.model_args
        fields = (model_args.model_type, model_args.model_name_or_path)
        return {**({} if objects is None else objects.config_fields(*fields)), **model_args.config_overrides}

    def build_processor(self, model: PreTrainedModel) -> BaseVideoProcessor:
        """The video processor of the run's model."""
        return build_processor(model.config, self.model_args.model_name_or_path)
