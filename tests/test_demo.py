"""The demo from the released models to report and pictures, small: what `make demo` promises to leave behind."""

import json
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoModelForVideoClassification

from vidreason.demo import DemoArguments, run_demo
from vidreason.demo.run import FRESH_SEED
from vidreason.errors import ConfigError
from vidreason.guidance import load_guidance

METRICS = {"top1", "top5", "loss", "attention_in_region", "pointing_accuracy"}
RELEASED, TRAINED = ("plain", "rs", "rs_evidence"), ("mended", "plain_longer")


@pytest.fixture(scope="module")
def arguments(tmp_path_factory, repository):
    sizes = json.dumps({"train": 24, "validation": 12, "test": 12, "test_shifted": 12})
    return DemoArguments(
        str(tmp_path_factory.mktemp("demo")),
        str(repository / "recipes"),
        seed=1,
        num_proc=1,
        num_train_epochs=2,
        split_sizes=sizes,
        release_folder=str(repository / "release"),
    )


@pytest.fixture(scope="module")
def demo(arguments):
    return Path(arguments.output_dir), run_demo(arguments)


def test_the_report_holds_what_it_promises(demo):
    folder, report = demo
    assert json.loads((folder / "report.json").read_text()) == report
    assert report["seed"] == 1
    assert set(report) >= {"device", "train_seconds", "dataset", "runs"}
    assert report["dataset"]["split_sizes"] == {"train": 24, "validation": 12, "test": 12, "test_shifted": 12}
    assert len(report["dataset"]["labels"]) == 12
    assert tuple(report["runs"]) == (*RELEASED, *TRAINED)
    assert tuple(report["trained_here"]) == TRAINED
    for run in report["runs"]:
        assert 0 < report["train_seconds_by_run"][run] < report["train_seconds"]
        for split in ("test", "test_shifted"):
            metrics = report["runs"][run][split]
            assert set(metrics) == METRICS
            assert all(np.isfinite(value) for value in metrics.values())


def test_released_models_are_evaluated_and_not_trained(demo, repository):
    """Their supervision is in where they look, on any world: theirs is far from plain training's."""
    _, report = demo
    inside = {name: report["runs"][name]["test_shifted"]["attention_in_region"] for name in RELEASED}
    assert inside["plain"] < 0.3 < min(inside["rs"], inside["rs_evidence"])
    record = json.loads((repository / "release" / "release.json").read_text())
    assert report["train_seconds_by_run"]["rs"] == record["models"]["rs"]["train_seconds"]
    assert {run["seed"] for run in report["released"].values()} == {0}


def test_the_demos_own_world_is_one_that_nothing_was_trained_or_tuned_on():
    assert DemoArguments().seed == FRESH_SEED
    assert FRESH_SEED not in {0, 1, 2, 3, 4, 100, 200}


def test_both_trainings_start_from_the_plain_release_and_end_apart(demo, repository):
    folder, _ = demo
    start, mended, longer = (
        AutoModelForVideoClassification.from_pretrained(path)
        for path in (repository / "release" / "plain", *(folder / "models" / name for name in TRAINED))
    )
    assert mended.config.id2label[0] == "pick_up"
    assert any((a != b).any() for a, b in zip(mended.parameters(), longer.parameters(), strict=True))
    norm = sum(a.square().sum() for a in start.parameters())
    for trained in (mended, longer):  # two short epochs: moved away from one start, not begun at another place
        moved = sum((a - b).square().sum() for a, b in zip(start.parameters(), trained.parameters(), strict=True))
        assert 0 < moved < 0.1 * norm
    assert all(torch.isfinite(parameter).all() for parameter in mended.parameters())


def test_training_guidance_is_noisy_and_that_of_the_tests_is_true(demo):
    folder, _ = demo
    noisy = load_guidance(folder / "data" / "guidance_training")
    true = load_guidance(folder / "data" / "guidance_true")
    assert set(noisy) == {"train"}
    assert "failed" in set(noisy["train"]["status"])
    assert set(true["test_shifted"]["status"]) <= {"ok", "empty"}
    assert "missed=0.1" in noisy["train"][0]["model"]


def test_the_cards_state_supervision_and_the_noise_of_the_guidance(demo):
    folder, _ = demo
    mended = (folder / "models" / "mended" / "README.md").read_text()
    assert "misplaced_cells 0.1" in mended
    assert "**Guidance data set:** guidance_training" in mended
    assert "50 % of the training clips are cropped to their guidance" in mended.split("## ")[0]
    assert "No guidance" in (folder / "models" / "plain_longer" / "README.md").read_text()


def test_pictures_are_pictures(demo):
    folder, _ = demo
    for name in ("curves.png", "overlay.png", "second_look.png"):
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


def test_a_second_run_uses_the_world_that_is_there(demo, arguments):
    folder, report = demo
    videos = sorted((folder / "data" / "world" / "videos").rglob("*.mp4"))
    before = [video.stat().st_mtime_ns for video in videos]
    again = run_demo(arguments)
    assert [video.stat().st_mtime_ns for video in videos] == before
    assert again["runs"] == report["runs"]  # the same seed gives the same figures


def test_a_release_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"release\.json cannot be read"):
        run_demo(DemoArguments(str(tmp_path / "out"), release_folder=str(tmp_path)))
    (tmp_path / "release.json").write_text('{"models": {"plain": {}}}')
    with pytest.raises(ConfigError, match="rs_evidence"):
        run_demo(DemoArguments(str(tmp_path / "out"), release_folder=str(tmp_path)))
    assert not (tmp_path / "out").exists()
