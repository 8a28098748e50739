"""Learning rate, weight decay and adapter depth by Optuna, as the paper tunes them (appendix B.1, table 10).

Object classes are no part of it: the choices of a categorical parameter must be the same in all trials, and an open
vocabulary has no such list. An extra: pip install "vidreason[tune]".
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from ..errors import ConfigError, TrainingError
from ..files import held_lock

logger = logging.getLogger(__name__)

LEARNING_RATES = (1e-5, 1e-3)
"""Range of the learning rate, on a logarithmic scale. Table 10 has 2e-5 to 1e-4 for ViT-L; small models want more."""
WEIGHT_DECAYS = (1e-6, 1e-1)
"""Range of the weight decay, on a logarithmic scale. Table 10 has 6.7e-6 and 1.4e-5; AdamW's usual value is 1e-2."""
MAX_ADAPTER_DEPTH = 4
"""Largest number of blocks before the adapter's last convolution, as in table 10."""


@dataclass(frozen=True)
class Hyperparameters:
    """What is tuned.

    Args:
        learning_rate: Learning rate.
        weight_decay: Weight decay.
        adapter_depth: Blocks of 1x1 convolution and ReLU before the adapter's last convolution.
    """

    learning_rate: float
    weight_decay: float
    adapter_depth: int


@dataclass(frozen=True)
class Tuned:
    """What tuning found.

    Args:
        best: The hyperparameters with the highest value, the earliest of equal ones.
        accuracy: That value.
        num_trials: Number of trials that ended with a value.
    """

    best: Hyperparameters
    accuracy: float
    num_trials: int


def tune(
    objective: Callable[[Hyperparameters], float],
    folder: str | os.PathLike,
    num_trials: int,
    seed: int = 0,
) -> Tuned:
    """Search for the hyperparameters with the highest accuracy on the validation split.

    Args:
        objective: Function that trains and gives the accuracy; a `TrainingError` or a value that is no number is a
            trial that failed.
        folder: Folder of the study's file; a study that was broken off there goes on.
        num_trials: Number of trials, those of earlier calls counted in.
        seed: Seed of the sampler.

    Raises:
        ConfigError: Optuna is not installed, `num_trials` is below 1, or the folder is used by another process.
        TrainingError: No trial brought a value.
    """
    if num_trials < 1:
        raise ConfigError(f"num_trials is {num_trials}, expected at least 1")
    # two of them would each take the other's trial for one that a kill has left
    busy = f"another process is tuning in {folder}: wait for its end, or name another folder"
    with held_lock(Path(folder) / "tuning.lock", busy):
        return _tune(objective, Path(folder) / "tuning.sqlite", num_trials, seed)


def _tune(objective: Callable[[Hyperparameters], float], path: Path, num_trials: int, seed: int) -> Tuned:
    try:
        import optuna
        from optuna.trial import TrialState
    except ImportError as error:
        raise ConfigError('tuning needs optuna: pip install "vidreason[tune]"') from error
    storage = optuna.storages.RDBStorage(f"sqlite:///{path.resolve()}")
    study = optuna.create_study(
        study_name="tuning", storage=storage, direction="maximize", load_if_exists=True, sampler=_sampler(0, seed)
    )
    # with ask and tell nobody looks after trials of a process that was killed: they would stay running for ever
    for left in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(left.number, state=TrialState.FAIL)
        study.enqueue_trial(left.params)
    ended = (TrialState.COMPLETE, TrialState.FAIL)
    # what a kill left is no trial of its own: its hyperparameters were given to the next one
    while sum(not trial.user_attrs.get("given_up", True) for trial in study.get_trials(states=ended)) < num_trials:
        number = len(study.get_trials(deepcopy=False))
        study.sampler = _sampler(number, seed)
        trial = study.ask()
        asked = Hyperparameters(
            trial.suggest_float("learning_rate", *LEARNING_RATES, log=True),
            trial.suggest_float("weight_decay", *WEIGHT_DECAYS, log=True),
            trial.suggest_int("adapter_depth", 0, MAX_ADAPTER_DEPTH),
        )
        try:
            accuracy = objective(asked)
        except TrainingError as error:
            logger.warning("trial %d failed with %s: %s", trial.number, asdict(asked), error)
            accuracy = math.nan
        trial.set_user_attr("given_up", False)
        failed = not math.isfinite(accuracy)
        study.tell(trial, None if failed else accuracy, TrialState.FAIL if failed else None)
    done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if not done:
        raise TrainingError(f"{path}: no trial of {num_trials} brought an accuracy")
    best = max(done, key=lambda trial: trial.value or 0.0)  # max keeps the earliest of equal ones
    return Tuned(Hyperparameters(**best.params), best.value or 0.0, len(done))


def _sampler(number: int, seed: int):
    import optuna

    # a sampler keeps no place in its random numbers over processes: one for each trial, so that a study that is taken
    # up goes on as it would have
    return optuna.samplers.TPESampler(seed=seed + number)
