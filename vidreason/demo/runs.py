"""What the demo computes: released models evaluated, and two trainings from one of them, side by side."""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import os
import queue
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import torch
from tqdm.auto import tqdm
from transformers import TrainerCallback
from transformers.utils import logging as transformers_logging

from ..rs.run import RunResult, parse_arguments, run_evaluation, run_training
from ..training.task import Metrics
from ..video.cache import open_decoded, write_decoded
from .released import RELEASED
from .world import WorldData

TRAINED = {"mended": "evidence_supervision", "plain_longer": "plain"}
"""Run -> method. Both start from the plainly trained release and see the same clips for as long; the second tells what
the clips alone do."""


class Settings(Protocol):
    """What is read here of `DemoArguments`."""

    output_dir: str
    release_folder: str
    seed: int
    num_proc: int
    num_train_epochs: float | None


def decode_videos(data: WorldData, recipe: Path, folder: Path) -> None:
    """Decode all videos once, for the evaluation and every training.

    Args:
        data: The world.
        recipe: Recipe of the trainings, which says at what size they read frames.
        folder: Folder to write.
    """
    _, data_args, _ = parse_arguments([str(recipe), "--manifest", str(data.manifest_folder)])
    paths = [data.manifest.video_path(row) for rows in data.manifest.splits.values() for row in rows]
    write_decoded(folder, paths, data_args.decode_max_side_px, tqdm)


def evaluate_released(data: WorldData, recipe: Path, release: Path, seed: int, frames: Path) -> dict[str, Metrics]:
    """The released classifiers on the test splits: {name: {split: {metric: value}}}.

    Args:
        data: The world.
        recipe: Recipe that says how clips are read.
        release: Folder of the release.
        seed: Seed of the demo.
        frames: Folder of the decoded videos.
    """
    videos, found = open_decoded(frames), {}
    for name in tqdm(RELEASED, desc="evaluate", unit=" models"):
        flags = {"model_name_or_path": release / name, "output_dir": frames / name, "disable_tqdm": True}
        command = [str(recipe), *_flags(data, seed), *_as_words(flags), "--method", "plain"]
        with contextlib.redirect_stdout(io.StringIO()):  # the Trainer's log, which is in the table
            found[name] = run_evaluation(*parse_arguments(command), video_cache=videos)
    return found


def train_side_by_side(data: WorldData, recipe: Path, args: Settings, frames: Path) -> dict[str, RunResult]:
    """Go on training the plainly trained release in two ways, at the same time unless `num_proc` is 1: {name: result}.

    A process of its own for each is faster here than all cores for one after the other, since the model is too small
    to keep several cores busy.

    Args:
        data: The world.
        recipe: Recipe of both; they differ in their method alone.
        args: What the demo is told.
        frames: Folder of the decoded videos.
    """
    commands = {name: training_command(name, data, recipe, args) for name in TRAINED}
    if args.num_proc == 1:
        videos = open_decoded(frames)
        return {
            name: run_training(*parse_arguments(command), video_cache=videos) for name, command in commands.items()
        }
    context = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
    with context.Manager() as manager, ProcessPoolExecutor(len(commands), mp_context=context) as pool:
        progress = manager.Queue()
        threads = max(1, (os.cpu_count() or 1) // len(commands))
        futures = {
            name: pool.submit(_train, name, command, threads, frames, progress) for name, command in commands.items()
        }
        _show_progress(futures, progress)
        return {name: future.result() for name, future in futures.items()}


def training_command(name: str, data: WorldData, recipe: Path, args: Settings) -> list[str]:
    """The arguments of `train.py` for one of `TRAINED`: its recipe, its method, and where things lie.

    Args:
        name: Name of the run.
        data: The world.
        recipe: Recipe of both runs.
        args: What the demo is told.
    """
    flags: dict[str, Any] = {
        "method": TRAINED[name],
        "model_name_or_path": Path(args.release_folder) / "plain",
        "output_dir": Path(args.output_dir) / "models" / name,
    }
    if args.num_train_epochs is not None:
        flags["num_train_epochs"] = args.num_train_epochs
    return [str(recipe), *_flags(data, args.seed), *_as_words(flags)]


def _flags(data: WorldData, seed: int) -> list[str]:
    return _as_words(
        {
            "manifest": data.manifest_folder,
            "evaluation_guidance": data.true_guidance,
            "guidance": data.training_guidance,
            "seed": seed,
        }
    )


def _as_words(flags: dict[str, Any]) -> list[str]:
    return [word for flag, value in flags.items() for word in (f"--{flag}", str(value))]


def _train(name: str, command: list[str], num_threads: int, frames: Path, progress: Any) -> RunResult:
    """One run, in a process of its own."""
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    torch.set_num_threads(num_threads)
    model_args, data_args, args = parse_arguments([*command, "--disable_tqdm", "true"])
    log = io.StringIO()  # of every epoch; it is in the curves
    with contextlib.redirect_stdout(log):
        return run_training(model_args, data_args, args, [_ReportProgress(name, progress)], open_decoded(frames))


class _ReportProgress(TrainerCallback):
    """Tells another process how far a training is."""

    def __init__(self, name: str, queue: Any):
        self.name, self.queue = name, queue

    def on_step_end(self, args, state, control, **kwargs):
        self.queue.put((self.name, state.global_step, state.max_steps))


def _show_progress(futures: dict[str, Future], progress: Any) -> None:
    """A bar for each run until all have ended."""
    bars = {name: tqdm(desc=f"train {name}", unit=" steps", position=i) for i, name in enumerate(futures)}
    while not all(future.done() for future in futures.values()) or not progress.empty():
        with contextlib.suppress(queue.Empty):
            name, step, total = progress.get(timeout=0.5)
            bars[name].total = total
            bars[name].update(step - bars[name].n)
    for bar in bars.values():
        bar.close()
