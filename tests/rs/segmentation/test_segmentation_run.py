"""A whole run of segmentation by the arguments of train.py: data, training, evaluation, model and card."""

import json
import re
import shutil
from pathlib import Path

import pytest

from modeling_tsvit import TSViTForVideoClassification
from vidreason.errors import ConfigError, ManifestError
from vidreason.rs.run import parse_arguments, run_training
from vidreason.segmentation.labelling import load_labeller


@pytest.fixture
def run(tiny_assembly, window_model, short_training, tmp_path):
    def start(**changes):
        settings = {
            **short_training,
            "task": "segmentation",
            "manifest": tiny_assembly.folder / "manifest",
            "guidance": tiny_assembly.folder / "guidance",
            "output_dir": tmp_path / "run",
            "model_config": json.dumps({**window_model, "patch_embedding": "conv_stem"}),
            "fps": 8,
            "test_splits": "test",
            "background_labels": "rest",
            "unlabelled_as": "rest",
            "cache_videos": True,
            "brightness": 0.0,
            "crop_scale_min": 1.0,
            "max_steps": 2,
            "learning_rate": 3e-3,
            **changes,
        }
        arguments = [
            part for name, value in settings.items() if value is not None for part in (f"--{name}", str(value))
        ]
        return run_training(*parse_arguments(arguments))

    return start


def test_it_learns_to_tell_the_actions_apart(run, tmp_path, tiny_assembly):
    # on its own training videos: three of them are too few for others
    short = run(max_steps=1, test_splits="train")
    result = run(max_steps=120, test_splits="train", smoothing_weight=0.15, class_weighting="sqrt")
    metrics = result.metrics["train"]
    assert list(metrics) == [
        *("mof", "edit", "f1_10", "f1_25", "f1_50", "top1", "top5", "loss", "oversegmentation"),
        *("loss_temporal", "loss_smoothing", "attention_in_region", "pointing_accuracy"),
    ]
    assert metrics["mof"] > max(0.8, short.metrics["train"]["mof"])
    assert metrics["pointing_accuracy"] > short.metrics["train"]["pointing_accuracy"]
    assert {"loss_spatial", "loss_temporal", "loss_smoothing"} <= set(result.log_history[0])
    card = (tmp_path / "run" / "README.md").read_text()
    assert "temporal-action-segmentation" in card
    assert "Mean over frames (%)" in card
    assert "pipeline_tag" not in card
    assert "Windows of 12 frames at 8 frames per second slide over" in card
    assert "| train | 3 |" in card
    labeller = load_labeller(str(tmp_path / "run"))
    assert labeller.fps == 8.0
    segments = labeller.predict_segments(tiny_assembly.folder / "manifest" / "train" / "1.mp4")
    at_2_s = next(segment for segment in segments if segment.start_s <= 2.0 < segment.end_s)
    assert at_2_s.label == "move_right"  # frames 13 to 20 of 8 per second


def test_the_code_of_the_documentation_runs(run, tmp_path, tiny_assembly, monkeypatch, capsys):
    run()
    page = (Path(__file__).resolve().parents[3] / "docs" / "segmentation.md").read_text()
    (code,) = (block for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "predict_segments" in block)
    shutil.copy(tiny_assembly.folder / "manifest" / "train" / "1.mp4", tmp_path / "video.mp4")
    monkeypatch.chdir(tmp_path)
    exec(code.replace("outputs/assembly/rs", "run"), {})
    assert "0.0 to" in capsys.readouterr().out
    assert {path.suffix for path in tmp_path.glob("video.*")} == {".mp4", ".csv", ".json", ".srt", ".png"}


def test_averaged_scores_are_reported_beside_those_before_and_the_model_keeps_the_setting(run, tmp_path):
    metrics = run(score_averaging_s=0.4).metrics["test"]
    assert {f"{name}_unaveraged" for name in ("mof", "edit", "f1_10", "f1_25", "f1_50")} <= set(metrics)
    assert load_labeller(str(tmp_path / "run")).each_side == 1
    assert "averaged over 0.4 s around it" in (tmp_path / "run" / "README.md").read_text()


def test_a_classifier_is_a_start_where_its_labels_fit_or_are_replaced(
    run, tmp_path, make_segmenter, segment_processor
):
    classifier = TSViTForVideoClassification(make_segmenter(num_labels=5).config)
    classifier.save_pretrained(tmp_path / "classifier")
    segment_processor.save_pretrained(tmp_path / "classifier")
    start = {"model_name_or_path": tmp_path / "classifier", "model_config": None}
    with pytest.raises(ConfigError, match="trained for other labels"):
        run(**start)
    result = run(**start, replace_head=True)
    assert 0 <= result.metrics["test"]["mof"] <= 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "vivit", "model_config": None}, "which is there for tsvit alone, not for vivit"),
        ({"packed_clips": "store", "manifest": None}, "segmentation takes a manifest of videos"),
        ({"background_labels": "pause"}, r"background_labels names \['pause'\]"),
        ({"unlabelled_as": "pause"}, r"unlabelled_as names \['pause'\]"),
        ({"window_stride": 0}, "window_stride is 0.0, expected a share"),
        ({"fps": 0}, "fps is 0"),
        ({"class_weighting": "focal"}, "class_weighting"),
        ({"smoothing_weight": -1}, "smoothing_weight is -1"),
        ({"score_averaging_s": -1}, "score_averaging_s is -1"),
        ({"guidance": None}, "no guidance is given"),
        ({"task": "tracking"}, "task"),
    ],
)
def test_settings_that_do_not_fit_are_named(run, changes, message):
    with pytest.raises((ConfigError, SystemExit), match=None if message in ("task", "class_weighting") else message):
        run(**changes)


def test_a_manifest_without_segments_is_named(run, tiny_assembly, tmp_path):
    shutil.copytree(tiny_assembly.folder / "manifest", tmp_path / "bare")
    shutil.rmtree(tmp_path / "bare" / "segments")
    with pytest.raises(ManifestError, match="is this a segment table"):
        run(manifest=tmp_path / "bare")
