"""Tuning of an object-centric recipe of `train.py`: each trial is its training with other hyperparameters."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import yaml
from transformers import set_seed

from ..errors import ConfigError
from ..files import write_whole
from ..training.recipes import read_mapping, read_recipe
from ..video.cache import SharedVideos
from .run import parse_arguments
from .tasks import ObjectCentricTask
from .tuning import Hyperparameters, Tuned, tune

BEST_FILE = "tuned.yaml"


def tune_recipe(recipe: str, folder: str | os.PathLike, num_trials: int, seed: int = 0) -> Tuned:
    """Search for learning rate, weight decay and adapter depth of a recipe, by the accuracy on its validation split.

    Args:
        recipe: Path of a recipe of `train.py` with a validation split, detections and classes of objects.
        folder: Folder of the study, which goes on where it was broken off; and of the tuned recipe, `BEST_FILE`.
        num_trials: Number of trials, those of earlier calls counted in.
        seed: Seed of the sampler; the trainings have the recipe's.

    Raises:
        ConfigError: The recipe has no validation split, or Optuna is not installed.
        TrainingError: No trial brought an accuracy.
    """
    settings = read_recipe(recipe)
    if not settings.get("validation_split"):
        raise ConfigError(f"{recipe}: validation_split is not set: the accuracy on it is what is tuned for")
    tuned = tune(_objective(settings, Path(folder)), folder, num_trials, seed)
    write_whole(Path(folder) / BEST_FILE, yaml.safe_dump(_changed(settings, tuned.best)))
    return tuned


def _changed(settings: dict, values: Hyperparameters) -> dict:
    inside = read_mapping(settings.get("model_config"), "model_config") | {"adapter_depth": values.adapter_depth}
    changed = {name: value for name, value in asdict(values).items() if name != "adapter_depth"}
    return {**settings, **changed, "model_config": inside}


def _objective(settings: dict, folder: Path) -> Callable[[Hyperparameters], float]:
    videos: SharedVideos | None = {} if settings.get("cache_videos") else None

    def train(values: Hyperparameters) -> float:
        changes = {
            "output_dir": str(folder / "model"),
            "test_splits": [],  # what is tuned must not be tuned on them
            "eval_strategy": "no",
            "save_strategy": "no",
            "load_best_model_at_end": False,
            "push_to_hub": False,
            "disable_tqdm": True,
        }
        path = folder / "trial.yaml"
        write_whole(path, yaml.safe_dump({**_changed(settings, values), **changes}))
        model_args, data_args, args = parse_arguments([str(path)])
        task = ObjectCentricTask(model_args, data_args, args, videos)
        set_seed(args.seed)  # before the model is built: all trials begin with the same weights
        prepared = task.prepare()
        trainer = task.make_trainer(prepared, [])
        trainer.train()
        metrics = trainer.evaluate(prepared.data.validation, metric_key_prefix="validation")
        return metrics.get("validation_top1", math.nan)

    return train
