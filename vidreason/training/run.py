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

from ..reporting.device import describe_device
from ..reporting.recipe_facts import RecipeFacts
from .checkpoints import checkpoint_to_resume, saving
from .output_folder import claimed_output_folder
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
    # before anything is read or built: what cannot be saved is not worth preparing
    resume = checkpoint_to_resume(args)
    with claimed_output_folder(args, task.settings(), resumes=resume is not None):
        return _train(task, callbacks, resume)


def _train(task: Task[DataT], callbacks: Sequence[TrainerCallback], resume: str | None) -> RunResult:
    """A run in a folder that is its own.

    Args:
        task: What is trained, on what, and how it is reported.
        callbacks: Objects that are told of the training's progress.
        resume: Folder of the checkpoint to go on from; None starts anew.
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
    trainer.train(resume_from_checkpoint=resume)
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
    with saving(Path(str(args.output_dir))):
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
