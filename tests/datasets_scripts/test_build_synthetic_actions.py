"""The script, run as a user runs it."""

import subprocess
import sys
from pathlib import Path

from vidreason.manifests.manifest import load_manifest

SCRIPT = Path(__file__).parents[2] / "datasets_scripts" / "build_synthetic_actions.py"
FLAGS = {"train": 12, "validation": 0, "test": 2, "test_shifted": 0, "width": 64, "height": 48, "num_frames": 6}


def run(*flags):
    sizes = [argument for name, value in FLAGS.items() for argument in (f"--{name}", str(value))]
    return subprocess.run([sys.executable, SCRIPT, *sizes, *map(str, flags)], capture_output=True, text=True)


def test_build_then_run_again_then_with_another_seed(tmp_path):
    out = tmp_path / "world"
    built = run("--out", out, "--num_proc", 2)
    assert built.returncode == 0, built.stderr
    assert "train: 12 clips" in built.stdout and "100%" in built.stderr
    assert {split: len(rows) for split, rows in load_manifest(out).splits.items()} == {"train": 12, "test": 2}
    assert len(list((out / "videos").rglob("*.mp4"))) == 14

    again = run("--out", out)
    assert again.returncode == 0, again.stderr
    assert "there already" in again.stderr

    other = run("--out", out, "--seed", 1)
    assert other.returncode == 1
    assert other.stderr.strip().splitlines()[-1].endswith("choose another folder or overwrite")
    assert "seed is 0 and not 1" in other.stderr and "Traceback" not in other.stderr
