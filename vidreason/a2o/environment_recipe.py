"""The environment that trains, made of what a search's recipe says of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from ..annotation.detections import DetectorSettings
from ..errors import ConfigError
from ..training.recipes import read_recipe
from .training_environment import EnvironmentSettings, TrainingEnvironment


def training_environment(
    folder: str | Path, recipe: str | None = None, training: Mapping[str, Any] | None = None, **settings: Any
) -> TrainingEnvironment:
    """A `TrainingEnvironment` over a recipe of `train.py`.

    Args:
        folder: Folder of all that it makes.
        recipe: Path of the YAML recipe of one training.
        training: Settings of a training; they win over the recipe's.
        settings: Fields of `DetectorSettings` and of `EnvironmentSettings`.

    Raises:
        ConfigError: There is no setting of a name, or neither a recipe nor settings of a training.
        VidreasonError: The manifest, the detector or a setting cannot be used.
    """
    if recipe is None and not training:
        raise ConfigError("an environment that trains needs recipe, the path of a recipe of train.py, or training")
    of_detector = {entry.name for entry in fields(DetectorSettings)}
    own = {entry.name for entry in fields(EnvironmentSettings)} - {"training", "detector"}
    unknown = sorted(set(settings) - of_detector - own)
    if unknown:
        known = ", ".join(sorted({"recipe", "training", *of_detector, *own}))
        raise ConfigError(f"environment training has no setting {', '.join(unknown)}; it has {known}")
    detector = DetectorSettings(**{name: value for name, value in settings.items() if name in of_detector})
    whole = {**({} if recipe is None else read_recipe(recipe)), **(training or {})}
    others = {name: value for name, value in settings.items() if name in own}
    return TrainingEnvironment(folder, EnvironmentSettings(whole, detector, **others))
