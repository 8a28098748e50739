"""The README's code runs as it is printed, in what looks like a fresh clone: with the released models, and no demo."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from modeling_tsvit import TSViTForVideoClassification
from vidreason.demo.run import FRESH_SEED
from vidreason.synthetic import ACTIONS, WorldConfig, build_synthetic_actions
from vidreason.synthetic.actions.config import DEFAULT_SPLIT_SIZES

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(?:python|bash)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
RUN_HERE = 4  # and `make`, which is two commands


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Iterator[Path]:
    """A clone, and a user's videos in it: two actions, in folders named by them."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("train.py", "recipes", "modeling_tsvit", "datasets_scripts", "release"):
        (folder / name).symlink_to(ROOT / name)
    world = folder / "world"
    manifest = build_synthetic_actions(world, WorldConfig(num_frames=8, fps=4.0), {"train": 72})
    for row in manifest.split("train"):
        action = manifest.class_names[row["label"]]
        if action in ("tap", "stir"):
            target = folder / "my_videos" / action / Path(manifest.video_path(row)).name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(manifest.video_path(row))
    (folder / "my_video.mp4").symlink_to(manifest.video_path(manifest.split("train")[0]))
    (folder / "my_long_video.mp4").symlink_to(manifest.video_path(manifest.split("train")[0]))
    yield folder


def code_with(part: str) -> str:
    """The one block that has this in it."""
    (found,) = [code for code in BLOCKS if part in code]
    return found


def run_python(code: str, folder: Path, monkeypatch) -> dict:
    """The names that a block leaves behind."""
    monkeypatch.chdir(folder)
    names: dict = {}
    exec(code, names)
    return names


def run_bash(code: str, folder: Path) -> None:
    """A block's commands, by this Python."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    script = code.replace("python ", f"{shlex.quote(sys.executable)} ")
    done = subprocess.run(["bash", "-ec", script], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


def test_no_block_is_left_out():
    assert len([code for code in BLOCKS if "make demo" not in code]) == RUN_HERE
    assert len(README.splitlines()) < 140


def test_its_table_is_that_of_a_demo_with_the_released_models():
    report = json.loads((ROOT / "docs" / "results" / "demo" / "report.json").read_text(encoding="utf-8"))
    assert report["seed"] == FRESH_SEED and report["dataset"]["split_sizes"] == DEFAULT_SPLIT_SIZES
    rows = re.findall(r"^\| \w.*\((`\w+`)\) \| (.*) \|$", README, re.MULTILINE)
    assert [name.strip("`") for name, _ in rows] == list(report["runs"])
    for name, row in rows:
        shown = [
            f"{100 * report['runs'][name.strip('`')][split][metric]:.1f}"
            for split in ("test_shifted", "test")
            for metric in ("top1", "attention_in_region", "pointing_accuracy")
        ]
        assert row.split(" | ") == shown


def test_a_released_model_answers(checkout, monkeypatch):
    names = run_python(code_with("pipeline("), checkout, monkeypatch)
    assert {answer["label"] for answer in names["answers"]} <= set(ACTIONS)
    assert names["outputs"].logits.shape == (1, len(ACTIONS))
    attention = names["outputs"].frame_attention
    assert attention.shape == (1, 8, 16)
    paid = attention.sum(dim=-1)  # what is left goes to CLS itself
    assert ((paid > 0) & (paid < 1)).all()


def test_guidance_loads_as_a_data_set(checkout, monkeypatch):
    guidance = run_python(code_with("load_dataset("), checkout, monkeypatch)["guidance"]
    assert len(guidance[0]["weights"]) == 16
    assert set(guidance["split"]) == {"test"}


def test_a_long_video_is_labelled(checkout):
    run_bash(code_with("vidreason.segmentation"), checkout)
    written = {path.suffix for path in (checkout / "outputs" / "labels").iterdir()}
    assert written == {".csv", ".json", ".srt", ".png"}


def test_a_model_trains_on_videos_in_folders(checkout):
    code = code_with("accelerate launch").rstrip()
    assert code.endswith("--output_dir outputs/mine")
    run_bash(code + " --max_steps 2 --use_cpu", checkout)
    folder = checkout / "outputs" / "mine"
    assert "motion" in (folder / "README.md").read_text(encoding="utf-8")
    model = TSViTForVideoClassification.from_pretrained(folder)
    assert set(model.config.id2label.values()) == {"tap", "stir"}
    assert model.config.image_size == 112
