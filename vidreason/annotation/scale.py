"""Annotation in many parts, on datatrove's executors: local processes, Slurm or Ray.

datatrove starts the ranks, keeps their logs and remembers which of them are done. A rank is the annotator of a single
machine, for every n-th video, with its answers, ledger and journal in a folder of its own; so a rank that died is
started again alone and goes on where it was. When all are done, their tables become the one that a single machine
writes. datatrove is imported where an executor is made, so that the settings can be read where it is not installed.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from operator import itemgetter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from ..errors import ConfigError, GuidanceError
from ..files import split_path
from ..guidance.merge import join_names
from .job import WORK_FOLDER, AnnotationJob, AnnotationRun, Shard, read_run, sum_totals

EXECUTORS = ("local", "slurm", "ray")


@dataclass
class ScaleArguments:
    """Annotation in parts (wants `pip install "vidreason[scale]"`)."""

    tasks: int = field(default=1, metadata={"help": "Parts; keep the number when you go on with a run."})
    workers: int = field(default=-1, metadata={"help": "Parts at the same time; all by default."})
    executor: str = field(default="local", metadata={"help": "Who starts them.", "choices": list(EXECUTORS)})
    slurm_partition: str = field(default="", metadata={"help": "Slurm's partition."})
    slurm_time: str = field(default="24:00:00", metadata={"help": "Slurm's limit for each part."})
    cpus_per_task: int = field(default=1, metadata={"help": "Slurm and Ray: cores of a part."})


def annotate_in_parts(job: AnnotationJob, scale: ScaleArguments) -> None:
    """Start the parts that are not done, and the merge after them.

    With Slurm this returns when all is submitted; with the others when the table is written.

    Args:
        job: What to annotate; a cap on the cost is shared out evenly among the parts.
        scale: How many parts there are, and what starts them.

    Raises:
        ConfigError: the settings do not go together, or datatrove is not installed.
    """
    if scale.tasks < 1:
        raise ConfigError(f"--tasks is {scale.tasks}, expected at least 1")
    if scale.executor == "slurm" and not scale.slurm_partition:
        raise ConfigError("--executor slurm wants --slurm_partition")
    folder = ranks_folder(job)
    # logs by fingerprint: datatrove skips ranks that its logs say are done, which with other settings they are not
    logs = folder / "logs" / _fingerprint(job, scale.tasks)
    ranks = make_executor(scale, AnnotateRank(job), scale.tasks, logs / "ranks")
    merge = make_executor(scale, MergeRanks(job, scale.tasks), 1, logs / "merge", depends=ranks, skip_completed=False)
    merge.run()


def make_executor(scale: ScaleArguments, step: Callable[..., None], tasks: int, logs: Path, **options: Any) -> Any:
    """One of datatrove's executors. Options that only some of them know are left out for the others.

    Args:
        scale: What starts the tasks.
        step: Function of (data, rank, world size) that does the work of a task.
        tasks: Number of tasks.
        logs: Folder of the logs.
        options: Further options that all executors know.

    Raises:
        ConfigError: datatrove is not installed.
    """
    try:
        import datatrove.executor as executors
    except ImportError as error:
        raise ConfigError(f'--tasks wants datatrove: pip install "vidreason[scale]" ({error})') from error
    common = {"pipeline": [step], "tasks": tasks, "workers": min(scale.workers, tasks), "logging_dir": str(logs)}
    if scale.executor == "local":
        return executors.LocalPipelineExecutor(**common, **options)
    if scale.executor == "ray":
        return executors.RayPipelineExecutor(**common, cpus_per_task=scale.cpus_per_task, **options)
    return executors.SlurmPipelineExecutor(
        **common,
        **options,
        cpus_per_task=scale.cpus_per_task,
        partition=scale.slurm_partition,
        time=scale.slurm_time,
        job_name=f"vidreason-{logs.name}",
    )


@dataclass(frozen=True)
class AnnotateRank:
    """Annotates a rank's share of the videos, as a step of a datatrove pipeline.

    Args:
        job: Job of the whole.
    """

    job: AnnotationJob

    def __call__(self, data: object = None, rank: int = 0, world_size: int = 1) -> None:
        """Annotate every `world_size`-th video from `rank` on."""
        self.job.run(rank_folder(self.job, rank, world_size), Shard(rank, world_size), progress=False)


@dataclass(frozen=True)
class MergeRanks:
    """Merges the ranks' tables, as a step of a datatrove pipeline.

    Args:
        job: Job of the whole.
        tasks: Number of ranks.
    """

    job: AnnotationJob
    tasks: int

    def __call__(self, data: object = None, rank: int = 0, world_size: int = 1) -> None:
        """Merge all."""
        merge_ranks(self.job, self.tasks)


def ranks_folder(job: AnnotationJob) -> Path:
    """Where the ranks keep their tables and their state."""
    return Path(job.args.out) / WORK_FOLDER / "ranks"


def rank_folder(job: AnnotationJob, rank: int, tasks: int) -> Path:
    """Where one rank keeps its table and its state."""
    return ranks_folder(job) / f"{rank:05d}-of-{tasks:05d}"


def merge_ranks(job: AnnotationJob, tasks: int) -> Path:
    """Write the one table of all ranks' tables, in the order of the manifest.

    A frame that looks like one of another rank was asked about and paid for by both, as ranks share no answers.

    Args:
        job: Job of the whole.
        tasks: Number of ranks.

    Raises:
        GuidanceError: a rank has not written its table.
    """
    folders = [rank_folder(job, rank, tasks) for rank in range(tasks)]
    found = {folder: read_run(folder) for folder in folders}
    runs = [run for run in found.values() if run is not None]
    missing = [folder.name for folder, run in found.items() if run is None]
    if missing:
        raise GuidanceError(f"{ranks_folder(job)}: ranks {', '.join(missing)} have not finished")
    rows = {split: interleave([read_rows(folder, split) for folder in folders]) for split in job.args.splits}
    return job.write(Path(job.args.out), rows, _merged_facts(runs))


def read_rows(folder: str | os.PathLike, split: str) -> Iterator[dict[str, Any]]:
    """The rows of one split of a rank's table, a batch at a time."""
    for batch in pq.ParquetFile(split_path(folder, split)).iter_batches(batch_size=1024):
        yield from batch.to_pylist()


def interleave(ranks: list[Iterator[dict[str, Any]]]) -> Iterator[dict[str, Any]]:
    """Rows of all ranks, a video of each in turn: the order of the videos before they were dealt out.

    Args:
        ranks: Rows of each rank, those of a video beside one another.
    """
    videos = [itertools.groupby(rows, itemgetter("video_id")) for rows in ranks]
    while True:
        found = False
        for rank in videos:
            _, rows = next(rank, (None, ()))
            for row in rows:
                found = True
                yield row
        if not found:
            return


def _merged_facts(runs: list[AnnotationRun]) -> AnnotationRun:
    """The facts of all ranks as of one run."""
    settings = {**runs[0].settings, "tasks": len(runs)}
    stops = [run.settings["stopped"] for run in runs if "stopped" in run.settings]
    if stops:
        settings["stopped"] = stops[0]
    rules = join_names(run.settings.get("tokens_counted_by", "") for run in runs)
    if rules:
        settings["tokens_counted_by"] = rules  # of each machine that took part
    started_at = min((run.started_at for run in runs if run.started_at), default=None)
    finished_at = max((run.finished_at for run in runs if run.finished_at), default=None)
    facts = replace(runs[0], totals=sum_totals(runs), settings=settings)
    return replace(facts, started_at=started_at, finished_at=finished_at)


def _fingerprint(job: AnnotationJob, tasks: int) -> str:
    """Hash of the settings that the table depends on: with others, ranks that are done are not done."""
    producer = {name: value for name, value in asdict(job.producer).items() if name not in job.producer.operation}
    settings = [job.producer.name, asdict(job.args), producer, tasks]
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]
