"""Makes the benchmarks importable by their bare names, and runs them as Python does."""

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

from vidreason.manifests.manifest import manifest_row, write_manifest
from vidreason.video import probe_video, write_video

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path.insert(0, str(FOLDER))


@pytest.fixture
def run_benchmark(tmp_path, monkeypatch, capsys):
    """Runs a benchmark with flags; gives what it exits with, its JSON (or None) and what it printed."""

    def run(script: str, *flags: str):
        out = tmp_path / "results" / f"{script}.json"
        monkeypatch.setattr(sys, "argv", [script, "--out", str(out), *flags])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(FOLDER / f"{script}.py"), run_name="__main__")
        printed = capsys.readouterr()
        report = json.loads(out.read_text()) if out.exists() else None
        return ended.value.code, report, printed.out + printed.err

    return run


@pytest.fixture(scope="session")
def bright_and_dark(tmp_path_factory) -> Path:
    """The manifest of a few clips of two classes, dark and bright, in three splits."""
    folder = tmp_path_factory.mktemp("bright_and_dark")
    rng, rows = np.random.default_rng(0), {}
    for split in ("train", "test", "test_shifted"):
        rows[split] = []
        for number in range(8):
            name, label = f"videos/{split}/{number}.mp4", number % 2
            frames = rng.integers(0, 40, (4, 32, 32, 3), dtype=np.uint8) + np.uint8(200 * label)
            write_video(folder / name, frames, 8.0)
            rows[split].append(manifest_row(name, label, probe_video(folder / name)))
    write_manifest(folder, rows, ["dark", "bright"], "tests@1", folder)
    return folder


TINY = (
    *("--image_size", "16", "--patch_size", "8", "--num_frames", "4", "--hidden_size", "16", "--num_layers", "2"),
    *("--num_attention_heads", "2", "--intermediate_size", "32", "--batch_size", "2", "--device", "cpu"),
)


@pytest.fixture
def tiny_flags() -> tuple[str, ...]:
    """Sizes at which a benchmark takes a second."""
    return TINY
