"""Leave one group out: train on all groups (people, recordings) but one, test on that one, for every group.

    python -m vidreason.study.leave_one_group_out --manifest outputs/clips --guidance outputs/motion \
        --recipes plain=recipes/weizmann_plain.yaml rs=recipes/weizmann_rs.yaml --seeds 0 1 2 \
        --test_pattern "_original$" --work outputs/folds --out docs/results/clips

Writes the record of every run to `<out>/records.jsonl` and the table beside it. A run that has a record is not made
again, and `--table_only` rebuilds the table from the records. Where the manifest has a table of segments, each fold
has its part of it, for recipes of the task `segmentation`.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ..command_line import run_command
from ..errors import ConfigError
from ..files import write_whole
from ..reporting.statistics import compare_paired, summarize
from ..reporting.tables import Column, markdown_table, write_csv
from .folds import ALL_VIDEOS, Fold, GroupedVideos
from .plugins import System
from .records import add_record, read_records, record_name
from .study_file import GROUPS_KIND, STUDY_FILE
from .systems import DEFAULT_SYSTEM, SYSTEMS, find_system

logger = logging.getLogger(__name__)

GroupRecords = Sequence[Mapping[str, Any]]
"""Records of runs: {"recipe", "group", "seed", "metrics": {metric: value or None}, "device", ...}."""


@dataclass
class LeaveOneGroupOutArguments:
    """What is run and where it is written."""

    out: str = field(metadata={"help": "Folder of the records of the runs and of the table."})
    manifest: str | None = field(default=None, metadata={"help": "Manifest with a group for every video."})
    guidance: str | None = field(default=None, metadata={"help": "Guidance table for all its videos."})
    split: str = field(
        default=ALL_VIDEOS, metadata={"help": "The split of manifest and guidance that holds all videos."}
    )
    recipes: list[str] = field(default_factory=list, metadata={"help": "name=path of a recipe, the baseline first."})
    seeds: list[int] = field(default_factory=lambda: [0], metadata={"help": "Every recipe is run with each."})
    test_pattern: str = field(default="", metadata={"help": "Only videos whose id has this pattern are tested on."})
    work: str = field(default="outputs/leave_one_group_out", metadata={"help": "Folder for folds and models."})
    title: str = field(default="Leave one group out", metadata={"help": "Heading of the table's page."})
    table_only: bool = field(default=False, metadata={"help": "Rebuild the table from the records that are there."})
    system: str = field(default=DEFAULT_SYSTEM, metadata={"help": "What trains.", "choices": list(SYSTEMS)})


def main() -> int:
    """Run; a mistake ends with one line that names it."""
    # imported here, so that rebuilding tables in another program needs no torch
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    return run_command(run, LeaveOneGroupOutArguments)


def run(args: LeaveOneGroupOutArguments) -> None:
    """Make the runs, unless only the table is wanted, and write it."""
    if not args.table_only:
        run_all(args)
        write_title(Path(args.out), args.title, args.system)
    print(write_tables(Path(args.out), args.title, find_system(args.system, "--system")))


def run_all(args: LeaveOneGroupOutArguments) -> None:
    """Make every run that has no record yet.

    Raises:
        ConfigError: An argument is missing or makes no sense, or the data have no groups.
    """
    recipes = dict(recipe.split("=", 1) for recipe in args.recipes if "=" in recipe)
    if len(recipes) != len(args.recipes) or not recipes:
        raise ConfigError(f"recipes are {args.recipes}, expected name=path for each, with different names")
    if not (args.manifest and args.guidance):
        raise ConfigError("manifest and guidance are not both set: name the folders of both")
    system = find_system(args.system, "--system")
    out, work = Path(args.out), Path(args.work)
    videos = GroupedVideos(args.manifest, args.guidance, args.split, args.test_pattern)
    there = {stored.name for stored in read_records(out)}
    for group in videos.groups:
        fold = videos.write_fold(group, work / f"fold_{group}")
        for seed in args.seeds:
            for name, recipe in recipes.items():
                planned = record_name({"recipe": name, "group": group, "seed": seed})
                if planned in there:
                    logger.info("%s is in %s already", planned, out)
                    continue
                record = run_one(system, fold, name, recipe, seed, work)
                add_record(out, record)
                print(f"{name} group {group} seed {seed}: {record['metrics']}", flush=True)


def run_one(system: System, fold: Fold, name: str, recipe: str, seed: int, work: Path) -> dict[str, Any]:
    """Train and test one model and return the record of the run.

    Args:
        system: What trains.
        fold: The fold's data.
        name: Name of the recipe in tables.
        recipe: File of the recipe.
        seed: Seed of the training.
        work: Folder under which the model is left.
    """
    flags = {
        "manifest": fold.manifest,
        "guidance": fold.guidance,
        "output_dir": work / f"fold_{fold.group}" / f"{name}_seed{seed}",
        "seed": seed,
    }
    facts = system.train(Path(recipe), flags, keep_model=True, video_cache=None)
    return {
        "recipe": name,
        "group": fold.group,
        "seed": seed,
        "metrics": facts["metrics"]["test"],
        **{fact: facts[fact] for fact in ("train_seconds", "device", "skipped")},
    }


def write_tables(out: Path, title: str, system: System) -> str:
    """Write `README.md` and `results.csv` from the records of the runs, and return the page.

    A metric is first averaged over the seeds of a group; mean and standard deviation are over the groups.

    Args:
        out: Folder of the results.
        title: Heading of the page.
        system: What the runs were trained by.

    Raises:
        ConfigError: There are no runs, or they are of different tasks.
    """
    runs = [stored.record for stored in read_records(out)]
    if not runs:
        raise ConfigError(f"{out} holds no records of runs")
    names = sorted({run["recipe"] for run in runs})
    metrics = reported_metrics(runs, system)
    by_group = {metric: {name: group_means(runs, name, metric) for name in names} for metric in metrics}
    rows = []
    for name in names:
        summaries = {metric: summarize(by_group[metric][name].values()) for metric in metrics}
        row = {metric: (summary.mean, summary.std) for metric, summary in summaries.items()}
        rows.append({"recipe": name, **row, "runs": sum(run["recipe"] == name for run in runs)})
    styles = {metric: system.metric_styles[metric] for metric in metrics}
    shown = [Column(name, style.label, style.decimals, style.scale) for name, style in styles.items()]
    columns = [Column("recipe"), *shown, Column("runs")]
    write_csv(out / "results.csv", rows, columns)
    text = f"# {title}\n\n{_facts(runs)}\n\n{markdown_table(rows, columns)}\n{_comparisons(by_group, names)}"
    notes = out / "NOTES.md"
    if notes.exists():
        text += "\n" + notes.read_text(encoding="utf-8")
    write_whole(out / "README.md", text)
    return text


def reported_metrics(runs: GroupRecords, system: System) -> tuple[str, ...]:
    """The metrics of the runs' task, which is the one that most of whose metrics they have.

    Raises:
        ConfigError: The runs are of different tasks.
    """
    found = {_task_of(run, system) for run in runs}
    if len(found) > 1:
        subjects = " and of ".join(task.subject for name, task in system.tasks.items() if name in found)
        raise ConfigError(f"the runs are of {subjects}; keep their results in folders of their own")
    return system.tasks[found.pop()].over_groups


def _task_of(run: Mapping[str, Any], system: System) -> str:
    # a count and no share: runs of segmentation have all metrics of clips as well
    return max(system.tasks, key=lambda name: sum(metric in run["metrics"] for metric in system.tasks[name].reported))


def write_title(out: Path, title: str, system: str = DEFAULT_SYSTEM) -> None:
    """Say beside the results what they are, for `python -m vidreason.study tables`."""
    content = {"kind": GROUPS_KIND, "title": title}
    if system != DEFAULT_SYSTEM:
        content["system"] = system
    write_whole(out / STUDY_FILE, yaml.safe_dump(content, sort_keys=False, allow_unicode=True))


def group_means(runs: GroupRecords, name: str, metric: str) -> dict[str, float]:
    """Group -> mean of a metric over the seeds, of the runs of one recipe."""
    values: dict[str, list[float]] = {}
    for run in runs:
        if run["recipe"] == name and run["metrics"][metric] is not None:
            values.setdefault(run["group"], []).append(run["metrics"][metric])
    return {group: sum(seeds) / len(seeds) for group, seeds in values.items()}


def _facts(runs: GroupRecords) -> str:
    groups, seeds = {run["group"] for run in runs}, sorted({run["seed"] for run in runs})
    devices = ", ".join(sorted({run["device"] for run in runs}))
    return (
        f"{len(groups)} groups, each left out once; seeds {', '.join(map(str, seeds))}; device: {devices}. "
        "Mean ± standard deviation over the groups, each the mean over the seeds."
    )


def _comparisons(by_group: dict[str, dict[str, dict[str, float]]], names: list[str]) -> str:
    """Each recipe against the first, paired by group."""
    lines = []
    for name in names[1:]:
        for metric in by_group:
            paired = compare_paired(by_group[metric][names[0]], by_group[metric][name])
            low, high = paired.difference.interval or (None, None)
            spread = "" if low is None else f", 95 % interval {low:+.3f} to {high:+.3f}"
            p_value = "" if paired.p_value is None else f", paired t-test p = {paired.p_value:.3g}"
            lines.append(f"- {metric}, {name} minus {names[0]}: {paired.difference.mean:+.3f}{spread}{p_value}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
