"""Stands in for training. In a file of its own, so that worker processes can import it."""

import os
import time

from vidreason.errors import ConfigError
from vidreason.study.records import new_record


def fake_metrics(top1: float) -> dict[str, float | None]:
    values = {"top1": top1, "top5": min(1.0, 2 * top1), "loss": 3.0 - top1}
    return {**values, "attention_in_region": None, "pointing_accuracy": 0.5}


def fake_record(run, metrics) -> dict:
    return new_record(
        run,
        metrics,
        train_seconds=1.0 + run.seed,
        device="cpu (1 threads)",
        num_processes=1,
        num_parameters=1_500_000,
        epochs=2.0,
        steps=8,
        skipped={},
        versions={"python": "3.10.1", "torch": "2.11.0"},
    )


def fake_run(run, work, num_proc, keep_model) -> dict:
    """Leaves a line with its name and process; what it does follows from the run's learning rate."""
    with (work / "trace.txt").open("a") as file:
        file.write(f"{run.name} {os.getpid()}\n")
    print("training", run.name)
    wish = run.recipe["learning_rate"]
    if wish == "fail":
        raise ConfigError("learning_rate is 'fail'")
    if wish == "break":
        raise ZeroDivisionError("no VidreasonError")
    if wish == "die":
        os._exit(7)
    if wish == "slow":
        time.sleep(0.3)
    return fake_record(run, {split: fake_metrics(0.25 + 0.1 * run.seed) for split in run.recipe["test_splits"]})


def read_trace(work) -> list[tuple[str, int]]:
    """(name, process) of every run that was started."""
    path = work / "trace.txt"
    lines = path.read_text().splitlines() if path.exists() else []
    return [(name, int(process)) for name, process in map(str.split, lines)]
