"""Makes the runs of a study that have no result yet: in this process, in several, or all under `accelerate launch`.

A run that fails is told at the end and stops no other. Two processes never make the same run, also not those of two
commands on one machine: whoever makes a run holds a lock that ends with its process.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from .design import RunPlan, Study
from .execution import logged, make_run, run_folder
from .records import as_reused, copy_study, read_results, record_path, reusable_records, settings_sha256, write_record

Execute = Callable[..., dict[str, Any]]

MADE, FAILED, TAKEN = "made", "failed", "taken"


@dataclass(frozen=True)
class RunnerSettings:
    """How a study is run.

    Args:
        out: folder of the results.
        work: folder for data, models and logs.
        only: parts of names; only runs whose name has one of them are made. Empty for all.
        num_workers: processes, each of which makes whole runs.
        num_threads: of each worker on a CPU.
        keep_models: leave the trained models in the work folder.
        reuse: folders of other studies' results, whose runs with the same settings and seed are not made again.
        execute: makes a run, as `make_run` does.
    """

    out: Path
    work: Path
    only: tuple[str, ...] = ()
    num_workers: int = 1
    num_threads: int = 1
    keep_models: bool = False
    reuse: tuple[Path, ...] = ()
    execute: Execute = make_run


@dataclass
class Outcome:
    """What a command did: runs that were there before, that were made, and that failed, with the reason."""

    there: list[str] = field(default_factory=list)
    made: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    taken: list[str] = field(default_factory=list)
    """Runs that another command was making at the time."""
    reused: list[str] = field(default_factory=list)
    """Runs that another study has made."""


def plan_runs(study: Study, settings: RunnerSettings) -> tuple[list[RunPlan], list[str]]:
    """The runs to make, seed by seed, and the names of those that are there.

    Raises:
        ConfigError: the results are not usable, or `only` matches no run.
    """
    for worker_setting in ("num_workers", "num_threads"):
        if getattr(settings, worker_setting) < 1:
            raise ConfigError(f"{worker_setting} is {getattr(settings, worker_setting)}, expected at least 1")
    runs = study.runs()
    wanted = [run for run in runs if not settings.only or any(part in run.name for part in settings.only)]
    if not wanted:
        raise ConfigError(f"--only {' '.join(settings.only)} fits no run of {study.path}; one is {runs[0].name}")
    records = read_results(study, settings.out, lambda run: _is_taken(run, settings))
    there = [run.name for run in wanted if run.name in records]
    todo = [run for run in wanted if run.name not in records]
    return sorted(todo, key=lambda run: study.seeds.index(run.seed)), there


def _is_taken(run: RunPlan, settings: RunnerSettings) -> bool:
    with claim(run, settings) as claimed:
        return not claimed


@contextmanager
def claim(run: RunPlan, settings: RunnerSettings) -> Iterator[bool]:
    """Whether this process may make a run, since no other does. The claim ends with the process, however that ends."""
    place = hashlib.sha256(str(settings.out.resolve()).encode("utf-8")).hexdigest()[:10]
    path = run_folder(run, settings.work) / f"claim_{place}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def attempt(run: RunPlan, settings: RunnerSettings, num_proc: int = 1) -> tuple[str, str]:
    """Make one run unless it is there or taken: (what became of it, in words)."""
    with claim(run, settings) as claimed:
        path = record_path(settings.out, run)
        if not claimed or path.exists():
            return TAKEN, "another process makes it, or has made it"
        try:
            with logged(run, settings.work):
                record = settings.execute(run, settings.work, num_proc, settings.keep_models)
            write_record(path, record)
        except Exception as error:  # whatever it is, the other runs go on, and it is told at the end
            return FAILED, f"{type(error).__name__}: {error}"
        return MADE, describe(record)


def describe(record: dict[str, Any]) -> str:
    """A record in one line."""
    shown = [f"{split} top1 {metrics['top1']:.3f}" for split, metrics in record["metrics"].items()]
    return f"{', '.join(shown)} ({record.get('train_seconds', 0):.0f} s of training)"


def run_study(study: Study, settings: RunnerSettings) -> Outcome:
    """Make every run that has no result.

    Raises:
        ConfigError: the results are not usable, or `only` matches no run.
    """
    todo, there = plan_runs(study, settings)
    copy_study(study, settings.out)
    outcome = Outcome(there=there)
    outcome.reused = reuse_runs(todo, settings)
    todo = [run for run in todo if run.name not in outcome.reused]
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        from .together import run_together

        return run_together(todo, settings, outcome)
    num_gpus = 0 if study.recipe.get("use_cpu") else _num_gpus()
    if settings.num_workers > 1 or num_gpus > 1:
        from .workers import run_in_workers

        return run_in_workers(todo, settings, outcome, num_gpus)
    for run in todo:
        note(outcome, run.name, *attempt(run, settings, os.cpu_count() or 1), total=len(todo))
    return outcome


def reuse_runs(todo: list[RunPlan], settings: RunnerSettings) -> list[str]:
    """Take over what other studies have made: the names of the runs that need not be made any more.

    Raises:
        ConfigError: a folder to reuse from is not there, or a record in it is broken.
    """
    found: dict[str, dict[str, Any]] = {}
    for folder in settings.reuse:
        found |= reusable_records(folder, settings.out)
    known = {run.name: record for run in todo if (record := found.get(settings_sha256(run.settings))) is not None}
    # every process of one command has to leave out the same runs, whichever of them writes
    if os.environ.get("RANK", "0") == "0":
        for run in todo:
            with claim(run, settings) as claimed:
                path = record_path(settings.out, run)
                if run.name in known and claimed and not path.exists():
                    write_record(path, as_reused(known[run.name], run))
    return list(known)


def note(outcome: Outcome, name: str, state: str, text: str, total: int) -> None:
    """Add what became of a run, and say it."""
    if state == FAILED:
        outcome.failed[name] = text
    else:
        (outcome.made if state == MADE else outcome.taken).append(name)
    number = len(outcome.made) + len(outcome.failed) + len(outcome.taken)
    print(f"[{number}/{total}] {name}: {'' if state == MADE else state + ', '}{text}", flush=True)


def _num_gpus() -> int:
    """GPUs that are visible, counted without touching them."""
    if os.environ.get("CUDA_VISIBLE_DEVICES") == "":
        return 0
    import torch

    return torch.cuda.device_count()


def summary(outcome: Outcome) -> str:
    """The outcome in a few lines, failures by name."""
    lines = [f"{len(outcome.there)} runs were there, {len(outcome.made)} made, {len(outcome.failed)} failed"]
    if outcome.reused:
        lines.append(f"{len(outcome.reused)} runs were made by another study: {', '.join(outcome.reused)}")
    if outcome.taken:
        lines.append(f"{len(outcome.taken)} runs were being made by another command: {', '.join(outcome.taken)}")
    lines += [f"FAILED {name}: {error}" for name, error in outcome.failed.items()]
    return "\n".join(lines)
