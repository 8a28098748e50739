"""One training run, from a task to a saved model with its card."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
import transformers
from transformers import TrainerCallback, TrainingArguments, set_seed
from transformers.trainer_utils import get_last_checkpoint

from ..errors import ConfigError
from ..reporting.device import describe_device
from ..reporting.recipe_facts import RecipeFacts
from .task import Metrics, RunData, Task

DataT = TypeVar("DataT", bound=RunData)


@dataclass(frozen=True)
class RunResult:
    """What a run leaves behind in memory.

    Args:
        metrics: Split -> name -> value, as the task reports them; a value that was not measured is None.
        log_history: The entries of the Trainer's log.
        train_seconds: Wall time of the training alone, in seconds.
        device: Name of the device it ran on.
        skipped: Split -> video id -> reason, of videos that could not be read, as far as this process saw them.
    """

    metrics: Metrics
    log_history: list[dict[str, Any]]
    train_seconds: float
    device: str
    skipped: dict[str, dict[str, str]]


def run_training(task: Task[DataT], callbacks: Sequence[TrainerCallback] = ()) -> RunResult:
    """Train, evaluate on the test splits, and save the model, its processor and its card to `output_dir`.

    Args:
        task: What is trained, on what, and how it is reported.
        callbacks: Objects that are told of the training's progress.

    Raises:
        VidreasonError: Anything that the settings, the data or the training get wrong, with the reason.
    """
    args = task.args
    set_seed(args.seed)  # before the model is built: its random weights belong to the run
    prepared = task.prepare()
    trainer = task.make_trainer(prepared, list(callbacks))
    metrics: Metrics = {}
    train_seconds: float | None = None
    # monotonic, so that a correction of the clock does not enter; seconds, without loading data and model
    started = time.perf_counter()

    def write_card(folder: Path) -> None:
        # a checkpoint's card has no results yet, and the time until then
        seconds = time.perf_counter() - started if train_seconds is None else train_seconds
        task.write_card(folder, prepared, recipe_facts(args, seconds), metrics)

    # before training: checkpoints that are pushed carry a card as well
    trainer.card_writer = write_card
    trainer.train(resume_from_checkpoint=checkpoint_to_resume(args))
    train_seconds = time.perf_counter() - started
    # with load_best_model_at_end these are the best weights, not the last
    for split, examples in prepared.data.tests.items():
        # the split is the prefix: with the default `eval_` the splits would share their keys in the log
        metrics[split] = task.report(trainer.evaluate(examples, metric_key_prefix=split), split)
    result = RunResult(
        metrics=metrics,
        log_history=trainer.state.log_history,
        train_seconds=train_seconds,
        device=describe_device(args.device),
        skipped=prepared.data.unreadable,
    )
    # saved after the evaluation, so that the card has its results
    trainer.save_model()  # with its card, and to the Hub where that is asked for
    trainer.save_state()
    trainer.accelerator.wait_for_everyone()  # nobody reads the folder before it is whole
    return result


def recipe_facts(args: TrainingArguments, train_seconds: float) -> RecipeFacts:
    """How a run trains, for its card.

    Args:
        args: Settings of the training.
        train_seconds: Wall time of the training, in seconds.
    """
    return RecipeFacts(
        num_epochs=args.num_train_epochs,
        # examples of one optimizer step, over all micro-batches and processes
        batch_size=args.train_batch_size * args.gradient_accumulation_steps * args.world_size,
        learning_rate=args.learning_rate,
        seed=args.seed,
        device=describe_device(args.device),
        train_seconds=round(train_seconds, 1),
        library_versions={"torch": torch.__version__, "transformers": transformers.__version__},
    )


def checkpoint_to_resume(args: TrainingArguments) -> str | None:
    """The checkpoint to go on from: a path, or the last one in `output_dir` for "true"; None to start anew.

    Raises:
        ConfigError: There is none where one is asked for.
    """
    wanted, output_dir = args.resume_from_checkpoint, str(args.output_dir)
    if not wanted:
        return None
    # `true` is a bool in a recipe and text as a flag
    if str(wanted).lower() == "true":
        # get_last_checkpoint lists the folder, and fails where there is none
        last = get_last_checkpoint(output_dir) if Path(output_dir).is_dir() else None
        if last is None:
            raise ConfigError(f"resume_from_checkpoint is set but {output_dir} holds no checkpoint")
        return last
    if not Path(wanted).is_dir():
        raise ConfigError(f"resume_from_checkpoint names {wanted}, which is not a folder")
    return wanted
