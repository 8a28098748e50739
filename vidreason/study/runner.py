"""Makes the runs of a study that have no result yet: in this process, in several, or all under `accelerate launch`.

A run that fails is told at the end and stops no other.
"""

from __future__ import annotations

import os
from typing import Any

from ..errors import ConfigError
from .attempts import Outcome, RunnerSettings, attempt, claim, has_record, note
from .design import RunPlan, Study
from .execution import DecodedVideos
from .records import add_record, as_reused, copy_study, read_results, reusable_records, settings_sha256
from .together import run_together
from .workers import run_in_workers


def plan_runs(study: Study, settings: RunnerSettings) -> tuple[list[RunPlan], list[str]]:
    """The runs to make, seed by seed, and the names of those that are there.

    Raises:
        ConfigError: The results are not usable, or `only` matches no run.
    """
    for worker_setting in ("num_workers", "num_threads"):
        if getattr(settings, worker_setting) < 1:
            raise ConfigError(f"{worker_setting} is {getattr(settings, worker_setting)}, expected at least 1")
    runs = study.runs()
    wanted = [run for run in runs if not settings.only or any(part in run.name for part in settings.only)]
    if not wanted:
        raise ConfigError(f"--only {' '.join(settings.only)} fits no run of {study.path}; one is {runs[0].name}")
    records = read_results(study, settings.out)
    there = [run.name for run in wanted if run.name in records]
    todo = [run for run in wanted if run.name not in records]
    return sorted(todo, key=lambda run: study.seeds.index(run.seed)), there


def run_study(study: Study, settings: RunnerSettings) -> Outcome:
    """Make every run that has no result.

    Raises:
        ConfigError: The results are not usable, or `only` matches no run.
    """
    todo, there = plan_runs(study, settings)
    copy_study(study, settings.out)
    outcome = Outcome(there=there)
    outcome.reused = reuse_runs(todo, settings)
    todo = [run for run in todo if run.name not in outcome.reused]
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        return run_together(todo, settings, outcome)
    num_gpus = 0 if study.recipe.get("use_cpu") else _num_gpus()
    if settings.num_workers > 1 or num_gpus > 1:
        return run_in_workers(todo, settings, outcome, num_gpus)
    videos = DecodedVideos()
    for run in todo:
        note(outcome, run.name, *attempt(run, settings, videos, os.cpu_count() or 1), total=len(todo))
    return outcome


def reuse_runs(todo: list[RunPlan], settings: RunnerSettings) -> list[str]:
    """Take over what other studies have made: the names of the runs that need not be made any more.

    Raises:
        ConfigError: A folder to reuse from is not there, or a record in it is broken.
    """
    found: dict[str, dict[str, Any]] = {}
    for folder in settings.reuse:
        found |= reusable_records(folder, settings.out)
    known = {run.name: record for run in todo if (record := found.get(settings_sha256(run.settings))) is not None}
    # every process of one command has to leave out the same runs, whichever of them writes
    if os.environ.get("RANK", "0") == "0":
        for run in todo:
            with claim(run, settings) as claimed:
                if run.name in known and claimed and not has_record(settings.out, run):
                    add_record(settings.out, as_reused(known[run.name], run))
    return list(known)


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
