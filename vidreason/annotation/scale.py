"""Annotation in many parts, on datatrove's executors: local processes, Slurm or Ray.

datatrove starts the ranks, keeps their logs and remembers which of them are done. A rank is the annotator of a single
machine, for every n-th video, with its answers, ledger and journal in a folder of its own; so a rank that died is
started again alone and goes on where it was. When all are done, their tables become the one that a single machine
writes.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, replace
from operator import itemgetter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from datatrove.executor import LocalPipelineExecutor, RayPipelineExecutor, SlurmPipelineExecutor
from datatrove.pipeline.base import PipelineStep

from ..errors import ConfigError, GuidanceError
from ..files import split_path
from .annotation_run import WORK_FOLDER, AnnotationRun, read_run
from .job import AnnotationJob, write_table
from .scale_arguments import ScaleArguments
from .shard import Shard

_OPERATION = (
    *("max_in_flight", "timeout_s", "max_attempts", "max_cost_usd", "max_useless"),
    *("batch", "batch_poll_s", "dry_run"),
)
"""Settings that change how a run goes and not what its table says."""


def annotate_in_parts(job: AnnotationJob, scale: ScaleArguments) -> None:
    """Start the parts that are not done, and the merge after them.

    With Slurm this returns when all is submitted; with the others when the table is written.

    Args:
        job: what to annotate; a cap on the cost is shared out evenly among the parts.
        scale: how many parts, and who starts them.

    Raises:
        ConfigError: the settings do not go together.
    """
    if scale.tasks < 1:
        raise ConfigError(f"--tasks is {scale.tasks}, expected at least 1")
    if scale.executor == "slurm" and not scale.slurm_partition:
        raise ConfigError("--executor slurm wants --slurm_partition")
    folder = ranks_folder(job)
    logs = folder / "logs" / _fingerprint(job, scale.tasks)
    ranks = make_executor(scale, [AnnotateRank(job)], scale.tasks, logs / "ranks")
    merge = make_executor(
        scale, [MergeRanks(job, scale.tasks)], 1, logs / "merge", depends=ranks, skip_completed=False
    )
    merge.run()


def make_executor(scale: ScaleArguments, pipeline: list[PipelineStep], tasks: int, logs: Path, **options: Any):
    """One of datatrove's executors. Options that only some of them know are left out for the others."""
    common = {"pipeline": pipeline, "tasks": tasks, "workers": min(scale.workers, tasks), "logging_dir": str(logs)}
    if scale.executor == "local":
        return LocalPipelineExecutor(**common, **options)
    if scale.executor == "ray":
        return RayPipelineExecutor(**common, cpus_per_task=scale.cpus_per_task, **options)
    return SlurmPipelineExecutor(
        **common,
        **options,
        cpus_per_task=scale.cpus_per_task,
        partition=scale.slurm_partition,
        time=scale.slurm_time,
        job_name=f"vidreason-{logs.name}",
    )


class AnnotateRank(PipelineStep):
    """Annotates a rank's share of the videos.

    Args:
        job: of the whole.
    """

    name = "Annotate"
    type = "Annotator"

    def __init__(self, job: AnnotationJob):
        super().__init__()
        self.job = job

    def run(self, data=None, rank: int = 0, world_size: int = 1) -> None:
        """Annotate every `world_size`-th video from `rank` on."""
        self.job.run(rank_folder(self.job, rank, world_size), Shard(rank, world_size), progress=False)


class MergeRanks(PipelineStep):
    """Merges the ranks' tables.

    Args:
        job: of the whole.
        tasks: number of ranks.
    """

    name = "Merge"
    type = "Writer"

    def __init__(self, job: AnnotationJob, tasks: int):
        super().__init__()
        self.job, self.tasks = job, tasks

    def run(self, data=None, rank: int = 0, world_size: int = 1) -> None:
        """Merge all."""
        merge_ranks(self.job, self.tasks)


def ranks_folder(job: AnnotationJob) -> Path:
    """Where the ranks keep their tables and their state."""
    return Path(job.args.out) / WORK_FOLDER / "ranks"


def rank_folder(job: AnnotationJob, rank: int, tasks: int) -> Path:
    """Of one rank."""
    return ranks_folder(job) / f"{rank:05d}-of-{tasks:05d}"


def merge_ranks(job: AnnotationJob, tasks: int) -> Path:
    """Write the one table of all ranks' tables, in the order of the manifest.

    A frame that looks like one of another rank was asked about and paid for by both, as ranks share no answers.

    Raises:
        GuidanceError: a rank has not written its table.
    """
    folders = [rank_folder(job, rank, tasks) for rank in range(tasks)]
    runs = [read_run(folder) for folder in folders]
    missing = [folder.name for folder, run in zip(folders, runs, strict=True) if run is None]
    if missing:
        raise GuidanceError(f"{ranks_folder(job)}: ranks {', '.join(missing)} have not finished")
    rows = {split: interleave([read_rows(folder, split) for folder in folders]) for split in job.args.splits}
    return write_table(Path(job.args.out), rows, _merged_facts(runs), job.args.title)


def read_rows(folder: str | os.PathLike, split: str) -> Iterator[dict[str, Any]]:
    """The rows of one split of a rank's table, a batch at a time."""
    for batch in pq.ParquetFile(split_path(folder, split)).iter_batches(batch_size=1024):
        yield from batch.to_pylist()


def interleave(ranks: list[Iterator[dict[str, Any]]]) -> Iterator[dict[str, Any]]:
    """Rows of all ranks, a video of each in turn: the order of the videos before they were dealt out.

    Args:
        ranks: the rows of each rank, those of a video beside one another.
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
    totals: Counter = Counter()
    for run in runs:
        totals.update(run.totals)
    settings = {**runs[0].settings, "tasks": len(runs)}
    stops = [run.settings["stopped"] for run in runs if "stopped" in run.settings]
    if stops:
        settings["stopped"] = stops[0]
    return replace(runs[0], totals=totals, settings=settings, started_at=min(run.started_at for run in runs))


def _fingerprint(job: AnnotationJob, tasks: int) -> str:
    """Of the settings that the table hangs on: with others, ranks that are done are not done."""
    settings = asdict(job)
    for name in _OPERATION:
        del settings["llm"][name]
    return hashlib.sha256(json.dumps([settings, tasks], sort_keys=True).encode()).hexdigest()[:16]
