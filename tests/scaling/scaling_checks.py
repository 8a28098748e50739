"""What the runs of `scaling_runs.py` leave, and when two of them are the same."""

import json
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / "recipes" / "accelerate"
RUNS = Path(__file__).with_name("scaling_runs.py")
PARTS = ("loss", "loss_classification", "loss_spatial", "loss_temporal", "grad_norm")


def accelerate_command(config: str, *arguments: str, flags: tuple[str, ...] = ()) -> list[str]:
    """The command that starts `scaling_runs.py` in two processes with one of `recipes/accelerate`."""
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(CONFIGS / config)]
    return [*launcher, "--num_processes", "2", *flags, str(RUNS), *arguments]


def read(folder: Path, name: str = "record.json"):
    return json.loads((folder / name).read_text())


def training_log(folder: Path) -> list[dict]:
    return [entry for entry in read(folder)["log"] if "loss_classification" in entry]


def assert_same_training(ours: Path, reference: Path, rel: float = 1e-4, atol: float = 1e-5) -> None:
    """Every part of the loss and the gradient's length at every step, and the weights in the end."""
    for entry, expected in zip(training_log(ours), training_log(reference), strict=True):
        for part in PARTS:
            assert entry[part] == pytest.approx(expected[part], rel=rel, abs=atol), (part, entry["step"])
    weights, expected = load_file(ours / "model.safetensors"), load_file(reference / "model.safetensors")
    assert weights.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(weights[name], value, rtol=rel, atol=atol, msg=lambda text, name=name: name + text)
