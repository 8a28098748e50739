"""One run of a study, made once: who may make it, what became of it, and how that is told.

Two processes never make the same run, also not those of two commands on one machine: the process that makes a run
holds a lock that ends with it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from .design import RunPlan
from .execution import DecodedVideos, logged, make_run, run_folder
from .records import add_record, read_records

Execute = Callable[[RunPlan, Path, int, bool, DecodedVideos], dict[str, Any]]
"""Makes a run as `make_run` does, and returns its record."""

MADE, FAILED, TAKEN = "made", "failed", "taken"


@dataclass(frozen=True)
class RunnerSettings:
    """How a study is run.

    Args:
        out: Folder of the results.
        work: Folder for data, models and logs.
        only: Parts of names; only runs whose name has one of them are made. Empty for all.
        num_workers: Number of processes, each of which makes whole runs.
        num_threads: Number of threads of each worker on a CPU.
        keep_models: Whether the trained models stay in the work folder.
        reuse: Folders of other studies' results, whose runs with the same settings and seed are not made again.
        execute: Makes a run.
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
    """What a command did.

    Args:
        there: Names of the runs that had a record before.
        made: Names of the runs that were made.
        failed: Name of a run that failed -> the reason.
        taken: Names of the runs that another command was making at the time.
        reused: Names of the runs that another study has made.
    """

    there: list[str] = field(default_factory=list)
    made: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    taken: list[str] = field(default_factory=list)
    reused: list[str] = field(default_factory=list)


def has_record(out: Path, run: RunPlan) -> bool:
    """Whether a run has been made."""
    return any(stored.name == run.name for stored in read_records(out))


@contextmanager
def claim(run: RunPlan, settings: RunnerSettings) -> Iterator[bool]:
    """Whether this process may make a run, since no other does. The claim ends with the process, however that ends."""
    # by the folder of results, since two commands may make the same run for different ones
    place = hashlib.sha256(str(settings.out.resolve()).encode("utf-8")).hexdigest()[:10]
    path = run_folder(run, settings.work) / f"claim_{place}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def attempt(run: RunPlan, settings: RunnerSettings, videos: DecodedVideos, num_proc: int = 1) -> tuple[str, str]:
    """Make one run unless it has a record or another process is at it.

    Args:
        run: The run.
        settings: How and where it is made.
        videos: What earlier runs of this process have decoded.
        num_proc: Number of processes that render a world.

    Returns:
        `MADE`, `FAILED` or `TAKEN`, and the same in words.
    """
    with claim(run, settings) as claimed:
        if not claimed or has_record(settings.out, run):
            return TAKEN, "another process makes it, or has made it"
        try:
            with logged(run, settings.work):
                record = settings.execute(run, settings.work, num_proc, settings.keep_models, videos)
            add_record(settings.out, record)
        except Exception as error:  # whatever it is, the other runs go on, and it is told at the end
            return FAILED, f"{type(error).__name__}: {error}"
        return MADE, describe(record)


def describe(record: dict[str, Any]) -> str:
    """A record in one line: the first metric that each split has a value of, and the time."""
    firsts = {
        split: next(((name, value) for name, value in metrics.items() if value is not None), None)
        for split, metrics in record["metrics"].items()
    }
    shown = [f"{split} {first[0]} {first[1]:.3f}" for split, first in firsts.items() if first]
    return f"{', '.join(shown)} ({record.get('train_seconds', 0):.0f} s of training)"


def note(outcome: Outcome, name: str, state: str, text: str, total: int) -> None:
    """Add what became of a run to the outcome, and print it.

    Args:
        outcome: What the command has done so far.
        name: Name of the run.
        state: `MADE`, `FAILED` or `TAKEN`.
        text: The same in words.
        total: Number of runs that the command is to make.
    """
    if state == FAILED:
        outcome.failed[name] = text
    else:
        (outcome.made if state == MADE else outcome.taken).append(name)
    number = len(outcome.made) + len(outcome.failed) + len(outcome.taken)
    print(f"[{number}/{total}] {name}: {'' if state == MADE else state + ', '}{text}", flush=True)
