"""Runs that train a Video-LLM, from arguments to a trained model with its card: what `train.py` calls."""

from __future__ import annotations

from collections.abc import Sequence

from transformers import TrainerCallback

from ...training import arguments as settings
from ...training import run
from ...training.run import RunResult
from .config import QuestionDataArguments, VideoLanguageModelArguments, VideoQAConfig
from .methods import METHODS
from .task import VideoQATask

Arguments = tuple[VideoLanguageModelArguments, QuestionDataArguments, VideoQAConfig]


def parse_arguments(arguments: list[str]) -> Arguments:
    """Read a recipe and flags; flags win over the recipe, and settings over those of the method named beside them.

    Args:
        arguments: Those of the command line; the first may be the path of a YAML recipe.

    Raises:
        ConfigError: The recipe cannot be read, or names a setting or a method that does not exist.
    """
    return settings.parse_arguments(
        arguments, (VideoLanguageModelArguments, QuestionDataArguments, VideoQAConfig), METHODS
    )


def run_training(
    model_args: VideoLanguageModelArguments,
    data_args: QuestionDataArguments,
    args: VideoQAConfig,
    callbacks: Sequence[TrainerCallback] = (),
) -> RunResult:
    """Train, evaluate on the test splits, and save the model, its processor and its card to `output_dir`.

    Args:
        model_args: Which model is trained, and which of its weights.
        data_args: Which questions it is trained on, and what it is shown with each.
        args: Settings of the training.
        callbacks: Objects that are told of the training's progress.

    Raises:
        VidreasonError: Anything that the settings, the data or the training get wrong, with the reason.
    """
    return run.run_training(VideoQATask(model_args, data_args, args), callbacks)


__all__ = ["QuestionDataArguments", "RunResult", "VideoLanguageModelArguments", "VideoQAConfig", "parse_arguments"]
