"""What `report.json` holds, and its table in a few lines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from ..rs.run import RunResult
from ..training.task import Metrics
from .released import RELEASED, Release
from .world import TRAINING_NOISE, WorldData

TEST_SPLITS = ("test_shifted", "test")
"""The shifted one first: there, what a model learnt of backgrounds is of no use."""


def build_report(
    released: Mapping[str, Metrics], trained: Mapping[str, RunResult], release: Release, data: WorldData, seed: int
) -> dict[str, Any]:
    """What `report.json` holds.

    Args:
        released: Name -> metrics of the released models on this world.
        trained: Name -> result of what was trained here.
        release: What is recorded of the release.
        data: The world.
        seed: Seed of the demo.
    """
    seconds = {name: float(release.models[name]["train_seconds"]) for name in RELEASED}
    seconds |= {name: round(result.train_seconds, 1) for name, result in trained.items()}
    return {
        "seed": seed,
        "device": next(iter(trained.values())).device,
        # of released models as it was recorded where they were trained
        "train_seconds": round(sum(seconds.values()), 1),
        "train_seconds_by_run": seconds,
        "dataset": {
            "source": data.manifest.source,
            "split_sizes": {split: len(rows) for split, rows in data.manifest.splits.items()},
            "labels": data.manifest.class_names,
        },
        "guidance_noise": {**asdict(TRAINING_NOISE), "seed": seed},
        "runs": {**released, **{name: result.metrics for name, result in trained.items()}},
        "released": {name: {"seed": release.models[name]["seed"]} for name in RELEASED},
        "trained_here": list(trained),
        "skipped_videos": {name: result.skipped for name, result in trained.items()},
    }


def summary(report: Mapping[str, Any]) -> str:
    """The report's table: a line for each split and run, in percent but for the loss in nats."""
    lines = [f"{'(%)':26}{'top-1':>8}{'top-5':>8}{'in region':>11}{'pointing':>10}{'loss':>8}"]
    for split in TEST_SPLITS:
        for name, metrics in report["runs"].items():
            values = metrics[split]
            lines.append(
                f"{split + ' ' + name:26}{100 * values['top1']:>8.1f}{100 * values['top5']:>8.1f}"
                f"{100 * values['attention_in_region']:>11.1f}{100 * values['pointing_accuracy']:>10.1f}"
                f"{values['loss']:>8.2f}"
            )
    return "\n".join(lines)
