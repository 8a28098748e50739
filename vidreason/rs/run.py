"""Runs of reasoning supervision, from arguments to a trained model with its card: what `train.py` and studies call."""

from __future__ import annotations

from collections.abc import Sequence

from transformers import TrainerCallback

from ..training import arguments as settings
from ..training import run
from ..training.arguments import ModelArguments
from ..training.run import RunResult
from ..training.task import Metrics
from ..video.cache import SharedVideos
from .config import DataArguments, RSConfig
from .methods import METHODS
from .segmentation.task import SegmentationTask
from .tasks import ClassificationTask, RSTask


def parse_arguments(arguments: list[str]) -> tuple[ModelArguments, DataArguments, RSConfig]:
    """Read a recipe and flags; flags win over the recipe, and settings over those of the method named beside them.

    Args:
        arguments: Those of the command line; the first may be the path of a YAML recipe.

    Raises:
        ConfigError: The recipe cannot be read, or names a setting or a method that does not exist.
    """
    return settings.parse_arguments(arguments, (ModelArguments, DataArguments, RSConfig), METHODS)


def run_training(
    model_args: ModelArguments,
    data_args: DataArguments,
    args: RSConfig,
    callbacks: Sequence[TrainerCallback] = (),
    video_cache: SharedVideos | None = None,
) -> RunResult:
    """Train, evaluate on the test splits, and save the model, its processor and its card to `output_dir`.

    Args:
        model_args: Which model is trained.
        data_args: Which videos and guidance it is trained on, and for which task.
        args: Settings of the training.
        callbacks: Objects that are told of the training's progress.
        video_cache: Decoded videos that runs share; what this one decodes joins it. None keeps nothing.

    Raises:
        VidreasonError: Anything that the settings, the data or the training get wrong, with the reason.
    """
    return run.run_training(_make_task(model_args, data_args, args, video_cache), callbacks)


def run_evaluation(
    model_args: ModelArguments, data_args: DataArguments, args: RSConfig, video_cache: SharedVideos | None = None
) -> Metrics:
    """Evaluate a model on the test splits as it is, and write nothing.

    Args:
        model_args: Which model is evaluated.
        data_args: Which videos and guidance it is evaluated on, and for which task.
        args: Settings of the evaluation.
        video_cache: Decoded videos that runs share; what this one decodes joins it. None keeps nothing.

    Raises:
        VidreasonError: Anything that the settings or the data get wrong, with the reason.
    """
    task = _make_task(model_args, data_args, args, video_cache)
    prepared = task.prepare()
    trainer = task.make_trainer(prepared, [])
    tests = prepared.data.tests
    return {split: task.report(trainer.evaluate(tests[split], metric_key_prefix=split), split) for split in tests}


def _make_task(
    model_args: ModelArguments, data_args: DataArguments, args: RSConfig, video_cache: SharedVideos | None
) -> RSTask:
    kinds: dict[str, type[RSTask]] = {"classification": ClassificationTask, "segmentation": SegmentationTask}
    return kinds[data_args.task](model_args, data_args, args, video_cache)


__all__ = ["DataArguments", "ModelArguments", "RunResult", "parse_arguments", "run_evaluation", "run_training"]
