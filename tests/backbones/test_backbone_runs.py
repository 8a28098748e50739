"""Whole runs: training, resuming, what is saved, and that it loads without this project."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load_file
from transformers import AutoModelForVideoClassification, AutoVideoProcessor

from vidreason.attention.visualize import attention_maps
from vidreason.backbones import supervised_view
from vidreason.clips.transforms import evaluation_transform
from vidreason.video import decode_frames

CLASSES = {"timesformer": "Timesformer", "vivit": "Vivit", "videomae": "VideoMAE", "vjepa2": "VJEPA2"}
CARD_NAMES = {"timesformer": "TimeSformer", "vivit": "ViViT", "videomae": "VideoMAE", "vjepa2": "V-JEPA 2"}

ALONE = """
import json, sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("vidreason", "modeling_tsvit"):
            raise ImportError(name + " is not there")

sys.meta_path.insert(0, Refuse())
import torch
from transformers import AutoModelForVideoClassification, AutoVideoProcessor, pipeline

answers = {}
for folder in sys.argv[2:]:
    model = AutoModelForVideoClassification.from_pretrained(folder)
    classify = pipeline("video-classification", model=folder, trust_remote_code=True)
    native = AutoVideoProcessor.from_pretrained(folder, trust_remote_code=False)
    trusted = AutoVideoProcessor.from_pretrained(folder, trust_remote_code=True)
    clip = torch.randint(0, 255, (4, 3, 48, 64), dtype=torch.uint8)
    name = "pixel_values_videos" if model.config.model_type == "vjepa2" else "pixel_values"
    pixels = [p(clip, do_sample_frames=False, return_tensors="pt")[name] for p in (native, trusted)]
    answers[folder] = {
        "class": type(model).__name__,
        "labels": sorted(answer["label"] for answer in classify(sys.argv[1])),
        "scores": {answer["label"]: answer["score"] for answer in classify(sys.argv[1])},
        "native": type(native).__name__,
        "trusted": type(trusted).__name__,
        "difference": (pixels[0] - pixels[1]).abs().max().item(),
        "shape": list(pixels[1].shape),
    }
print("ANSWERS" + json.dumps(answers))
"""


def weights_in(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def test_a_run_leaves_the_plain_model(trained, model_type):
    result, folder = trained(model_type)
    logged = [entry for entry in result.log_history if "loss_spatial" in entry]
    assert logged[-1]["loss_spatial"] < logged[0]["loss_spatial"]
    assert all("loss_temporal" in entry for entry in logged)
    assert result.metrics["test"]["attention_in_region"] is not None
    config = json.loads((folder / "config.json").read_text())
    assert config["architectures"] == [f"{CLASSES[model_type]}ForVideoClassification"]
    assert config["id2label"] == {"0": "left_to_right", "1": "right_to_left"}
    assert config["num_frames"] == 4
    model, report = AutoModelForVideoClassification.from_pretrained(folder, output_loading_info=True)
    assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert type(model).__name__ == f"{CLASSES[model_type]}ForVideoClassification"
    card = ModelCard.load(folder / "README.md").content
    assert CARD_NAMES[model_type] in card
    assert "4 frames" in card
    assert "The model is one of `transformers`" in card
    assert "supervised_view(" in card
    assert "**Supervised layers:** 0, 1" in card


def test_saved_folders_work_without_this_project(trained, tiny_world, tmp_path):
    folders = {model_type: str(trained(model_type)[1]) for model_type in CLASSES}
    video = tiny_world.manifest_folder / "videos/test/0.mp4"
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_MODULES_CACHE": str(tmp_path / "modules")}
    finished = subprocess.run(
        [sys.executable, "-c", ALONE, str(video), *folders.values()],
        capture_output=True,
        text=True,
        env=environment,
        cwd=tmp_path,
        timeout=300,
    )
    assert finished.returncode == 0, finished.stderr
    answers = json.loads(finished.stdout.split("ANSWERS")[1])
    for model_type, folder in folders.items():
        answer = answers[folder]
        assert answer["class"] == f"{CLASSES[model_type]}ForVideoClassification"
        assert answer["labels"] == ["left_to_right", "right_to_left"]
        assert answer["trusted"] == "TSViTVideoProcessor"
        assert answer["native"] == f"{CLASSES[model_type]}VideoProcessor"
        assert answer["shape"] == [1, 4, 3, 32, 32]
        assert answer["difference"] < 1e-4, model_type  # the processor of transformers, where no code is trusted
        assert answer["scores"] == pytest.approx(scores_here(folder, video), abs=1e-4)


def scores_here(folder: str, video: Path) -> dict[str, float]:
    """By the path that evaluation takes: the project's decoder and transform, and the supervised view."""
    model = supervised_view(AutoModelForVideoClassification.from_pretrained(folder))
    processor = AutoVideoProcessor.from_pretrained(folder)
    frames = decode_frames(video, [1, 3, 5, 7]).frames  # centres of four equal segments of eight frames
    pixels = evaluation_transform(processor, (4, 4))(frames, [None] * 4).pixel_values
    with torch.no_grad():
        probabilities = model(pixels.unsqueeze(0)).logits[0].softmax(dim=-1)
    return {model.config.id2label[index]: value for index, value in enumerate(probabilities.tolist())}


def test_resuming_goes_on_as_if_nothing_had_happened(train, new_model, model_type, tmp_path):
    model = new_model(model_type)
    whole = train("whole", model=model, save_strategy="steps", save_steps=2)
    checkpoint = str(tmp_path / "whole" / "checkpoint-2")
    resumed = train("resumed", model=model, resume_from_checkpoint=checkpoint, data={"test_splits": []})
    losses = {entry["step"]: entry["loss"] for entry in whole.log_history if "loss" in entry}
    again = {entry["step"]: entry["loss"] for entry in resumed.log_history if "loss" in entry}
    assert set(losses) == {1, 2, 3, 4}
    for step in (3, 4):
        assert again[step] == pytest.approx(losses[step], rel=1e-5)
    expected = weights_in(tmp_path / "whole")
    for name, weight in weights_in(tmp_path / "resumed").items():
        torch.testing.assert_close(weight, expected[name], rtol=1e-5, atol=1e-7, msg=name)


def test_the_best_model_comes_back(train, new_model, tmp_path):
    """The Trainer reads a checkpoint by names that transformers wrote, which are not the model's own in ViViT."""
    train(
        model=new_model("vivit"),
        data={"validation_split": "test"},
        eval_strategy="steps",
        eval_steps=1,
        save_strategy="steps",
        save_steps=1,
        load_best_model_at_end=True,
        metric_for_best_model="loss",
        greater_is_better=True,  # the loss falls, so that this is the first of four checkpoints
    )
    state = json.loads((tmp_path / "model" / "trainer_state.json").read_text())
    best, last = weights_in(Path(state["best_model_checkpoint"])), weights_in(tmp_path / "model")
    assert state["best_model_checkpoint"].endswith("checkpoint-1")
    assert best.keys() == last.keys()
    for name, weight in best.items():
        torch.testing.assert_close(last[name], weight, msg=name)


@pytest.mark.filterwarnings("ignore:.*is deprecated and will be removed in v6:FutureWarning")
@pytest.mark.parametrize(("family", "use_reentrant"), [("timesformer", False), ("vivit", True)])
def test_a_run_with_gradient_checkpointing_is_the_same_run(train, new_model, family, use_reentrant):
    settings = {"model": new_model(family), "data": {"test_splits": []}, "num_train_epochs": 1}
    plain = train("plain", **settings)
    checkpointed = train(
        "checkpointed",
        gradient_checkpointing=True,
        gradient_checkpointing_kwargs={"use_reentrant": use_reentrant},
        **settings,
    )
    for one, two in zip(plain.log_history[:2], checkpointed.log_history[:2], strict=True):
        for key in ("loss", "loss_spatial", "loss_temporal", "grad_norm"):
            assert two[key] == pytest.approx(one[key], rel=1e-3), key


def test_maps_can_be_drawn(trained, model_type, tiny_world):
    _, folder = trained(model_type)
    model = supervised_view(AutoModelForVideoClassification.from_pretrained(folder))
    processor = AutoVideoProcessor.from_pretrained(folder)
    frames = decode_frames(tiny_world.manifest_folder / "videos/test/0.mp4", [0, 2, 4, 6]).frames
    maps = attention_maps(model, processor, frames)
    assert [m.grid for m in maps] == [(4, 4)] * 4
    np.testing.assert_allclose([m.weights.sum() for m in maps], 1.0, rtol=1e-4)
    margin = (1 - 32 / 36) / 2 if model_type == "vjepa2" else 0.0  # V-JEPA 2's own centre crop
    assert maps[0].rectangle == pytest.approx((margin, margin, 1 - margin, 1 - margin))


def test_a_video_that_cannot_be_read_ends_nothing(train, new_model, tiny_world, tmp_path):
    shutil.copytree(tiny_world.manifest_folder, tmp_path / "manifest")
    (tmp_path / "manifest" / "videos" / "train" / "2.mp4").write_bytes(b"")
    result = train(model=new_model("vivit"), data={"manifest": str(tmp_path / "manifest")})
    assert list(result.skipped) == ["train"]
    assert result.metrics["test"]["top1"] is not None
