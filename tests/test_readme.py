"""The README's ways of use run as they are printed, on a demo's folders made small."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from modeling_tsvit import TSViTConfig, TSViTForVideoClassification, TSViTVideoProcessor
from vidreason.annotation import truth_guidance
from vidreason.files import read_folder
from vidreason.guidance import write_guidance
from vidreason.synthetic import ACTIONS, WorldConfig, build_synthetic_actions

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "space_app"))  # starts the app as `make space` does

from fixtures.space_server import SpaceServer  # noqa: E402

SECTION = re.compile(r"^## Four ways to use it\n(.*?)^## ", re.MULTILINE | re.DOTALL)
BLOCK = re.compile(r"^```(python|bash)\n(.*?)^```", re.MULTILINE | re.DOTALL)
BLOCKS = BLOCK.findall(SECTION.search((ROOT / "README.md").read_text(encoding="utf-8"))[1])


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Iterator[Path]:
    """What looks like a clone after `make demo`: a world, guidance, a model with random weights, and a clip."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("train.py", "recipes", "modeling_tsvit"):
        (folder / name).symlink_to(ROOT / name)
    data = folder / "outputs" / "demo" / "data"
    sizes = {"train": 12, "validation": 12, "test": 12, "test_shifted": 12}
    manifest = build_synthetic_actions(data / "world", WorldConfig(num_frames=8, fps=4.0), sizes)
    truth = read_folder(data / "world" / "truth")
    for name in ("guidance_training", "guidance_true"):
        guidance = {split: truth_guidance(rows, (4, 4)) for split, rows in truth.items()}
        write_guidance(data / name, guidance, title=name, description="Cells that relevant objects cover.")
    (folder / "my_video.mp4").symlink_to(manifest.video_path(manifest.split("test")[0]))
    torch.manual_seed(0)
    fields = {"image_size": 64, "num_frames": 8, "hidden_size": 32, "intermediate_size": 32, "num_attention_heads": 2}
    fields |= {"num_spatial_layers": 1, "num_temporal_layers": 1}
    model = folder / "outputs" / "demo" / "models" / "rs_evidence"
    TSViTForVideoClassification(TSViTConfig(**fields, id2label=dict(enumerate(ACTIONS)))).save_pretrained(model)
    TSViTVideoProcessor(size={"height": 64, "width": 64}, num_frames=8).save_pretrained(model)
    yield folder


def code_with(part: str) -> str:
    """The one block of the section that has this in it."""
    (found,) = [code for _, code in BLOCKS if part in code]
    return found


def run_python(code: str, folder: Path, monkeypatch) -> dict:
    """The names that a block leaves behind."""
    monkeypatch.chdir(folder)
    names: dict = {}
    exec(code, names)
    return names


def test_there_are_four():
    assert len(BLOCKS) == 4


def test_a_trained_model_answers(checkout, monkeypatch):
    names = run_python(code_with("pipeline("), checkout, monkeypatch)
    assert {answer["label"] for answer in names["answers"]} <= set(ACTIONS)
    assert names["outputs"].logits.shape == (1, len(ACTIONS))
    assert names["outputs"].segment_logits.shape == (1, 3, len(ACTIONS))
    attention = names["outputs"].frame_attention
    assert attention.shape == (1, 8, 16)
    paid = attention.sum(dim=-1)  # what is left goes to CLS itself
    assert ((paid > 0) & (paid < 1)).all()


def test_guidance_loads_as_a_data_set(checkout, monkeypatch):
    names = run_python(code_with("load_dataset("), checkout, monkeypatch)
    guidance = names["guidance"]
    assert len(guidance) == 12 * 8
    assert len(guidance[0]["weights"]) == 16
    assert names["found"].statuses == ["ok", "ok"]


def test_a_model_trains_with_it(checkout):
    command = code_with("accelerate launch").strip()
    commands = command.replace("accelerate", f"{Path(sys.executable).parent}/accelerate") + " --max_steps 2 --use_cpu"
    done = subprocess.run(["bash", "-ec", commands], cwd=checkout, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    folder = checkout / "outputs" / "mine"
    assert (folder / "model.safetensors").is_file()
    assert "outputs/mine" in command
    assert "guidance_training" in (folder / "README.md").read_text(encoding="utf-8")
    TSViTForVideoClassification.from_pretrained(folder)


def test_the_space_answers_a_program(checkout, monkeypatch, tmp_path):
    code = code_with("gradio_client")
    assert "http://127.0.0.1:7860" in code
    with SpaceServer([checkout / "outputs" / "demo" / "models" / "rs_evidence"], tmp_path) as server:
        names = run_python(code.replace("http://127.0.0.1:7860", server.url), checkout, monkeypatch)
    labels = names["result"]["checkpoints"][0]["labels"]
    assert set(labels) <= set(ACTIONS) and list(labels.values()) == sorted(labels.values(), reverse=True)
