"""Models that accelerate has sharded over two processes (FSDP2) train, resume and are saved as if they were whole.

accelerate offers FSDP for accelerators alone. Here it is told that two CPUs are such: the rest is its code, that of
transformers and that of torch, with `recipes/accelerate/fsdp_1_node.yaml`.
"""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from scaling_checks import accelerate_command, assert_same_training, read, training_log
from scaling_runs import make_model, run

from modeling_tsvit import TSViTForVideoClassification
from vidreason.training.checkpoints import find_damage
from vidreason.training.distributed import unsharded_class

SCENARIOS = ("steps", "videomae", "accumulation", "bf16", "resumed", "sharded_checkpoint")


@pytest.fixture(scope="module")
def sharded(tmp_path_factory, launch) -> Path:
    """The runs of two processes that share one model."""
    folder = tmp_path_factory.mktemp("sharded")
    flags = ("--mixed_precision", "no")  # but for one scenario, results are to be equal, not close
    launch(accelerate_command("fsdp_1_node.yaml", str(folder), "--fsdp", "--scenarios", *SCENARIOS, flags=flags))
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """The runs of one process with the whole model."""
    folder = tmp_path_factory.mktemp("whole")
    run(folder, ["steps", "videomae", "bf16"])
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scenario", "reference"), [("steps", "steps"), ("accumulation", "steps"), ("videomae", "videomae")]
)
def test_a_sharded_model_takes_the_steps_of_a_whole_one(sharded, whole, scenario, reference):
    assert read(sharded / scenario)["processes"] == 2
    assert read(sharded / scenario)["sharded"]
    assert not read(whole / reference)["sharded"]
    assert_same_training(sharded / scenario, whole / reference)


@pytest.mark.slow
def test_half_precision_comes_close(sharded, whole):
    assert_same_training(sharded / "bf16", whole / "bf16", rel=2e-2, atol=2e-3)
    exact, half = training_log(sharded / "steps"), training_log(sharded / "bf16")
    assert [entry["loss"] for entry in half] != [entry["loss"] for entry in exact]


@pytest.mark.slow
@pytest.mark.parametrize("scenario", ["resumed", "sharded_checkpoint"])
def test_a_sharded_model_resumes_to_the_same_weights(sharded, scenario):
    whole_run, again = sharded / scenario / "whole", sharded / scenario / "again"
    files = {path.name for path in (whole_run / "checkpoint-4").iterdir()}
    assert ("pytorch_model_fsdp_0" in files) == (scenario == "sharded_checkpoint"), "the other form of checkpoint"
    assert find_damage(whole_run / "checkpoint-4") is None
    assert not list(whole_run.glob("_unfinished"))
    assert len(training_log(again)) == 8
    assert_same_training(again, whole_run, rel=0, atol=0)


@pytest.mark.slow
@pytest.mark.parametrize("saved", ["steps", "resumed/whole", "sharded_checkpoint/whole", "resumed/whole/checkpoint-4"])
def test_a_sharded_model_is_saved_like_a_whole_one(sharded, whole, saved):
    """Weights, code and configuration: nothing that torch makes of a model to shard it."""
    code = {path.name for path in (whole / "steps").glob("*.py")}
    assert "modeling_tsvit.py" in code
    assert {path.name for path in (sharded / saved).glob("*.py")} == code
    configs = [json.loads((folder / "config.json").read_text()) for folder in (sharded / saved, whole / "steps")]
    assert configs[0]["auto_map"] == configs[1]["auto_map"]
    assert configs[0]["architectures"] == configs[1]["architectures"]
    loaded, report = TSViTForVideoClassification.from_pretrained(sharded / saved, output_loading_info=True)
    assert not report["missing_keys"] | report["unexpected_keys"]
    on_disk = load_file(sharded / saved / "model.safetensors")
    assert all(torch.equal(value, on_disk[name]) for name, value in loaded.state_dict().items())


def test_a_whole_model_keeps_its_class():
    model = make_model()
    with unsharded_class(model):
        assert type(model) is TSViTForVideoClassification
    assert type(model) is TSViTForVideoClassification
