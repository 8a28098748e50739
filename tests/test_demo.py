"""The demo from nothing to report and pictures, small: what `make demo` promises to leave behind."""

import json

import av
import numpy as np
import pytest
from PIL import Image
from transformers import AutoModelForVideoClassification

from vidreason.demo import DemoArguments, run_demo
from vidreason.guidance import load_guidance

METRICS = {"top1", "top5", "loss", "attention_in_region", "pointing_accuracy"}


@pytest.fixture(scope="module")
def demo(tmp_path_factory, repository):
    folder = tmp_path_factory.mktemp("demo")
    sizes = json.dumps({"train": 24, "validation": 12, "test": 12, "test_shifted": 12})
    recipes = str(repository / "recipes")
    report = run_demo(DemoArguments(str(folder), recipes, seed=1, num_proc=1, num_train_epochs=2, split_sizes=sizes))
    return folder, report


def test_the_report_holds_what_it_promises(demo):
    folder, report = demo
    assert json.loads((folder / "report.json").read_text()) == report
    assert report["seed"] == 1
    assert set(report) >= {"device", "train_seconds", "dataset", "runs"}
    assert report["dataset"]["split_sizes"] == {"train": 24, "validation": 12, "test": 12, "test_shifted": 12}
    assert len(report["dataset"]["labels"]) == 12
    for run in ("plain", "rs", "rs_evidence"):
        assert 0 < report["train_seconds_by_run"][run] < report["train_seconds"]
        for split in ("test", "test_shifted"):
            metrics = report["runs"][run][split]
            assert set(metrics) == METRICS
            assert all(np.isfinite(value) for value in metrics.values())


@pytest.mark.parametrize("name", ["rs", "rs_evidence"])
def test_models_load_and_start_from_the_same_weights_but_end_apart(demo, name):
    folder, _ = demo
    plain, supervised = (
        AutoModelForVideoClassification.from_pretrained(folder / "models" / n) for n in ("plain", name)
    )
    assert plain.config.id2label[0] == "pick_up"
    assert any((a != b).any() for a, b in zip(plain.parameters(), supervised.parameters(), strict=True))
    # two short epochs: the two have moved away from one start, not begun at two places
    distance = sum((a - b).square().sum() for a, b in zip(plain.parameters(), supervised.parameters(), strict=True))
    assert distance < 0.1 * sum(a.square().sum() for a in plain.parameters())


def test_training_guidance_is_noisy_and_that_of_the_tests_is_true(demo):
    folder, _ = demo
    noisy = load_guidance(folder / "data" / "guidance_training")
    true = load_guidance(folder / "data" / "guidance_true")
    assert set(noisy) == {"train"}
    assert "failed" in set(noisy["train"]["status"])
    assert set(true["test_shifted"]["status"]) <= {"ok", "empty"}
    assert "missed=0.1" in noisy["train"][0]["model"]


def test_the_card_states_the_noise_of_the_guidance(demo):
    folder, _ = demo
    card = (folder / "models" / "rs" / "README.md").read_text()
    assert "misplaced_cells 0.1" in card
    assert "**Guidance data set:** guidance_training" in card
    evidence_card = (folder / "models" / "rs_evidence" / "README.md").read_text()
    assert "of the training clips" not in card.split("## ")[0]
    assert "50 % of the training clips are cropped to their guidance" in evidence_card.split("## ")[0]
    assert "No guidance" in (folder / "models" / "plain" / "README.md").read_text()


def test_pictures_are_pictures(demo):
    folder, _ = demo
    for name in ("curves.png", "overlay.png"):
        picture = np.asarray(Image.open(folder / name).convert("RGB"))
        assert min(picture.shape[:2]) > 200
        assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 50
    with av.open(folder / "overlay.mp4") as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert sum(1 for _ in container.decode(stream)) == 24
    with Image.open(folder / "overlay.webp") as moving:
        assert moving.n_frames == 24


def test_a_second_run_uses_the_world_that_is_there(demo, repository):
    folder, report = demo
    videos = sorted((folder / "data" / "world" / "videos").rglob("*.mp4"))
    before = [video.stat().st_mtime_ns for video in videos]
    sizes = json.dumps(report["dataset"]["split_sizes"])
    again = run_demo(
        DemoArguments(str(folder), str(repository / "recipes"), 1, num_proc=1, num_train_epochs=2, split_sizes=sizes)
    )
    assert [video.stat().st_mtime_ns for video in videos] == before
    assert again["runs"] == report["runs"]  # the same seed gives the same figures
