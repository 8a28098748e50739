"""Object-centric runs, from arguments to a trained model with its card: what `train.py` and searches call."""

from __future__ import annotations

from collections.abc import Sequence

from transformers import TrainerCallback

from ..training import arguments as settings
from ..training import run
from ..training.arguments import ModelArguments
from ..training.run import RunResult
from ..video.cache import SharedVideos
from .config import DataArguments, ObjectCentricConfig
from .methods import METHODS
from .tasks import ObjectCentricTask


def parse_arguments(arguments: list[str]) -> tuple[ModelArguments, DataArguments, ObjectCentricConfig]:
    """Read a recipe and flags; flags win over the recipe, and settings over those of the method named beside them.

    Args:
        arguments: Those of the command line; the first may be the path of a YAML recipe.

    Raises:
        ConfigError: The recipe cannot be read, or names a setting or a method that does not exist.
    """
    return settings.parse_arguments(arguments, (ModelArguments, DataArguments, ObjectCentricConfig), METHODS)


def run_training(
    model_args: ModelArguments,
    data_args: DataArguments,
    args: ObjectCentricConfig,
    callbacks: Sequence[TrainerCallback] = (),
    video_cache: SharedVideos | None = None,
) -> RunResult:
    """Train, evaluate on the test splits, and save the model, its processor and its card to `output_dir`.

    Args:
        model_args: Which model is trained.
        data_args: Which videos it is trained on, and which objects in them it is shown.
        args: Settings of the training.
        callbacks: Objects that are told of the training's progress.
        video_cache: Decoded videos that runs share; what this one decodes joins it. None keeps nothing.

    Raises:
        VidreasonError: Anything that the settings, the data or the training get wrong, with the reason.
    """
    return run.run_training(ObjectCentricTask(model_args, data_args, args, video_cache), callbacks)


__all__ = ["DataArguments", "ModelArguments", "RunResult", "parse_arguments", "run_training"]
