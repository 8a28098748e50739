"""Leave one group out: train on all groups (people, recordings) but one, test on that one, for every group.

    python -m vidreason.rs.study.leave_one_group_out --manifest outputs/clips --guidance outputs/motion \
        --recipes plain=recipes/weizmann_plain.yaml rs=recipes/weizmann_rs.yaml --seeds 0 1 2 \
        --test_pattern "_original$" --work outputs/folds --out docs/results/clips

Writes one JSON per run under `<out>/runs` and the table beside them. A run whose JSON is there is not made again, and
`--table_only` rebuilds the table from the JSON. Where the manifest has a table of segments, each fold has its part of
it, for recipes of the task `segmentation`.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ...errors import ConfigError, VidreasonError
from ...files import write_whole
from ...guidance import load_guidance, write_guidance
from ...manifests.manifest import Manifest, load_manifest, write_manifest
from ...manifests.segments import SEGMENTS_FOLDER, load_segments, write_segments
from ...reporting.statistics import compare_paired, summarize
from ...reporting.tables import Column, markdown_table, write_csv
from ...study.metric_styles import METRIC_STYLES, SEGMENTATION_METRICS
from ...study.study_file import GROUPS_KIND, STUDY_FILE

logger = logging.getLogger(__name__)

METRICS = ("top1", "loss", "attention_in_region", "pointing_accuracy")
"""What is reported of clips; of segmentation it is `SEGMENTATION_METRICS`."""


@dataclass
class LeaveOneGroupOutArguments:
    """What is run and where it is written."""

    out: str = field(metadata={"help": "Folder of the JSON of every run and of the table."})
    manifest: str | None = field(default=None, metadata={"help": "Manifest with a group for every video."})
    guidance: str | None = field(default=None, metadata={"help": "Guidance table for all its videos."})
    split: str = field(default="all", metadata={"help": "The split of manifest and guidance that holds all videos."})
    recipes: list[str] = field(default_factory=list, metadata={"help": "name=path of a recipe, the baseline first."})
    seeds: list[int] = field(default_factory=lambda: [0], metadata={"help": "Every recipe is run with each."})
    test_pattern: str = field(default="", metadata={"help": "Only videos whose id has this pattern are tested on."})
    work: str = field(default="outputs/leave_one_group_out", metadata={"help": "For folds and models."})
    title: str = field(default="Leave one group out", metadata={"help": "Heading of the table's page."})
    table_only: bool = field(default=False, metadata={"help": "Rebuild the table from the JSON that is there."})


@dataclass(frozen=True)
class Fold:
    """Where the data of one fold lie."""

    group: str
    manifest: Path
    guidance: Path


def main() -> int:
    """Run; a mistake ends with one line that names it."""
    # imported here, so that rebuilding a table from JSON in another program needs no torch
    from transformers import HfArgumentParser
    from transformers.utils import logging as transformers_logging

    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    transformers_logging.set_verbosity_error()
    (args,) = HfArgumentParser(LeaveOneGroupOutArguments).parse_args_into_dataclasses()
    try:
        if not args.table_only:
            run_all(args)
            write_title(Path(args.out), args.title)
        print(write_tables(Path(args.out), args.title))
    except VidreasonError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


def run_all(args: LeaveOneGroupOutArguments) -> None:
    """Make every run that has no JSON yet."""
    recipes = dict(recipe.split("=", 1) for recipe in args.recipes if "=" in recipe)
    if len(recipes) != len(args.recipes) or not recipes:
        raise ConfigError(f"recipes are {args.recipes}, expected name=path for each, with different names")
    if not (args.manifest and args.guidance):
        raise ConfigError("manifest and guidance are not both set: name the folders of both")
    for fold in make_folds(args):
        for seed in args.seeds:
            for name, recipe in recipes.items():
                path = Path(args.out) / "runs" / f"{name}-{fold.group}-seed{seed}.json"
                if path.exists():
                    logger.info("%s is there already", path)
                    continue
                record = run_one(fold, name, recipe, seed, Path(args.work))
                path.parent.mkdir(parents=True, exist_ok=True)
                write_whole(path, json.dumps(record, indent=1) + "\n")
                print(f"{name} group {fold.group} seed {seed}: {record['metrics']}", flush=True)


def make_folds(args: LeaveOneGroupOutArguments) -> Iterator[Fold]:
    """Write the manifest and the guidance of every fold.

    Raises:
        ConfigError: there are fewer than two groups, or a group has nothing to test on.
    """
    manifest = load_manifest(args.manifest)
    rows = manifest.split(args.split).to_list()
    guidance = load_guidance(args.guidance)[args.split].to_list()
    groups = sorted({row["group"] for row in rows})
    if len(groups) < 2:
        raise ConfigError(f"{args.manifest} has the groups {groups}; leaving one out takes at least two")
    for group in groups:
        split_of = {}
        for row in rows:
            if row["group"] != group:
                split_of[row["video_id"]] = "train"
            elif re.search(args.test_pattern, row["video_id"]):
                split_of[row["video_id"]] = "test"
        if "test" not in split_of.values():
            raise ConfigError(f"group {group!r} has no video that matches test_pattern {args.test_pattern!r}")
        fold = write_fold(manifest, rows, guidance, split_of, group, Path(args.work) / f"fold_{group}")
        if (Path(args.manifest) / SEGMENTS_FOLDER).is_dir():
            write_fold_segments(fold, Path(args.manifest), args.split, split_of, manifest.source)
        yield fold


def write_fold(
    manifest: Manifest, rows: list[dict], guidance: list[dict], split_of: dict[str, str], group: str, folder: Path
) -> Fold:
    """The manifest and the guidance of one fold; videos without a split are left out of both."""
    by_split: dict[str, list[dict]] = {"train": [], "test": []}
    guidance_by_split: dict[str, list[dict]] = {"train": [], "test": []}
    for row in rows:
        if row["video_id"] in split_of:
            by_split[split_of[row["video_id"]]].append(row)
    for row in guidance:
        if row["video_id"] in split_of:
            split = split_of[row["video_id"]]
            guidance_by_split[split].append({**row, "split": split})
    fold = Fold(group, folder / "manifest", folder / "guidance")
    write_manifest(fold.manifest, by_split, manifest.class_names, manifest.source, manifest.video_root)
    write_guidance(fold.guidance, guidance_by_split)
    return fold


def write_fold_segments(fold: Fold, manifest: Path, split: str, split_of: dict[str, str], source: str) -> None:
    """The part of a table of segments that a fold's videos have, beside its manifest."""
    segments = load_segments(manifest)[split]
    rows: dict[str, list[dict]] = {"train": [], "test": []}
    for row in segments.to_list():
        if row["video_id"] in split_of:
            rows[split_of[row["video_id"]]].append(row)
    write_segments(fold.manifest, rows, segments.features["label"].names, source)


def run_one(fold: Fold, name: str, recipe: str, seed: int, work: Path) -> dict[str, Any]:
    """Train and test one model and return the record of the run."""
    from ..run import parse_arguments, run_training

    flags = {
        "manifest": fold.manifest,
        "guidance": fold.guidance,
        "output_dir": work / f"fold_{fold.group}" / f"{name}_seed{seed}",
        "seed": seed,
    }
    command = [recipe, *(part for flag, value in flags.items() for part in (f"--{flag}", str(value)))]
    result = run_training(*parse_arguments(command))
    return {
        "recipe": name,
        "group": fold.group,
        "seed": seed,
        "metrics": result.metrics["test"],
        "train_seconds": round(result.train_seconds, 1),
        "device": result.device,
        "skipped": result.skipped,
    }


def write_tables(out: Path, title: str) -> str:
    """Write `README.md` and `results.csv` from the JSON of the runs, and return the page.

    A metric is first averaged over the seeds of a group; mean and standard deviation are over the groups.

    Raises:
        ConfigError: there are no runs.
    """
    runs = [json.loads(path.read_text(encoding="utf-8")) for path in sorted((out / "runs").glob("*.json"))]
    if not runs:
        raise ConfigError(f"{out / 'runs'} holds no JSON of runs")
    names = sorted({run["recipe"] for run in runs})
    metrics = reported_metrics(runs)
    by_group = {metric: {name: group_means(runs, name, metric) for name in names} for metric in metrics}
    rows = []
    for name in names:
        summaries = {metric: summarize(by_group[metric][name].values()) for metric in metrics}
        row = {metric: (summary.mean, summary.std) for metric, summary in summaries.items()}
        rows.append({"recipe": name, **row, "runs": sum(run["recipe"] == name for run in runs)})
    styles = {metric: METRIC_STYLES[metric] for metric in metrics}
    columns = ["recipe", *(Column(name, of.label, of.decimals, of.scale) for name, of in styles.items()), "runs"]
    write_csv(out / "results.csv", rows, columns)
    text = f"# {title}\n\n{_facts(runs)}\n\n{markdown_table(rows, columns)}\n{_comparisons(by_group, names)}"
    notes = out / "NOTES.md"
    if notes.exists():
        text += "\n" + notes.read_text(encoding="utf-8")
    (out / "README.md").write_text(text, encoding="utf-8")
    return text


def reported_metrics(runs: list[dict]) -> tuple[str, ...]:
    """The metrics of the runs' task.

    Raises:
        ConfigError: the runs are of different tasks.
    """
    is_segmentation = {"mof" in run["metrics"] for run in runs}
    if len(is_segmentation) > 1:
        raise ConfigError("the runs are of clips and of segmentation; keep their results in folders of their own")
    return SEGMENTATION_METRICS if is_segmentation.pop() else METRICS


def write_title(out: Path, title: str) -> None:
    """Say beside the results what they are, for `python -m vidreason.study tables`."""
    content = {"kind": GROUPS_KIND, "title": title}
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    (out / STUDY_FILE).write_text(text, encoding="utf-8")


def group_means(runs: list[dict], name: str, metric: str) -> dict[str, float]:
    """Group -> mean of a metric over the seeds."""
    values: dict[str, list[float]] = {}
    for run in runs:
        if run["recipe"] == name and run["metrics"][metric] is not None:
            values.setdefault(run["group"], []).append(run["metrics"][metric])
    return {group: sum(seeds) / len(seeds) for group, seeds in values.items()}


def _facts(runs: list[dict]) -> str:
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
