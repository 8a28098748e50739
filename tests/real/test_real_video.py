"""The pipeline on real video, where there is some beside the repository."""

import json
import subprocess
import sys

import numpy as np
import pytest
import real_clips
import weizmann_strips

from vidreason.guidance import load_guidance
from vidreason.manifests.manifest import load_manifest
from vidreason.rs.study import RSStudies
from vidreason.study.leave_one_group_out import LeaveOneGroupOutArguments, run_all, write_tables
from vidreason.study.records import read_records
from vidreason.video import decode_frames

TINY_RECIPE = """
model_config: {image_size: 64, num_frames: 4, hidden_size: 32, intermediate_size: 64, num_attention_heads: 2,
  num_spatial_layers: 1, num_temporal_layers: 1}
test_splits: [test]
spatial_weight: %s
temporal_weight: 0.0
num_train_epochs: 1
per_device_train_batch_size: 8
save_strategy: "no"
report_to: none
use_cpu: true
disable_tqdm: true
"""


def test_a_strip_becomes_the_video_of_its_frames(shared_data, tmp_path):
    strip = shared_data / "weizmann4" / "bend" / "00000006.png"
    frames = weizmann_strips.read_strip(strip)
    assert frames.shape[1:] == (64, 64, 3)
    mirror = weizmann_strips.read_strip(strip.with_name("00000007.png"))
    assert np.abs(frames[:, :, ::-1].astype(int) - mirror).mean() < 1  # odd ids mirror the even id before them
    (tmp_path / "source" / "bend").mkdir(parents=True)
    (tmp_path / "source" / "bend" / strip.name).symlink_to(strip)
    (video,) = weizmann_strips.strips_to_videos(tmp_path / "source", tmp_path / "videos")
    decoded = decode_frames(video)
    assert video.name == "person0_06_original.mp4"
    assert len(decoded.frames) == len(frames)
    assert np.abs(decoded.frames.astype(int) - frames).mean() < 6


def test_leave_one_person_out_from_strips_to_table(shared_data, tmp_path, repository):
    """Strips, the folder builder, motion guidance, two recipes and the table: the whole way, with two people."""
    source = tmp_path / "source"
    for label in ("bend", "one_hand_wave"):
        (source / label).mkdir(parents=True)
        for strip in sorted((shared_data / "weizmann4" / label).glob("*.png"))[:4]:
            (source / label / strip.name).symlink_to(strip)
    weizmann_strips.strips_to_videos(source, tmp_path / "videos")
    scripts = repository / "datasets_scripts"
    build = ["--root", tmp_path / "videos", "--out", tmp_path / "manifest", "--source", "weizmann4"]
    build += ["--fractions", "all=1.0", "--group_pattern", r"(person\d+)_"]
    annotate = ["--manifest", tmp_path / "manifest", "--splits", "all", "--out", tmp_path / "guidance"]
    for script, flags in (("build_video_folder.py", build), ("annotate.py", annotate)):
        subprocess.run([sys.executable, scripts / script, *map(str, flags)], check=True, capture_output=True)
    for name, weight in (("plain", 0.0), ("rs", 1.0)):
        (tmp_path / f"{name}.yaml").write_text(TINY_RECIPE % weight)
    args = LeaveOneGroupOutArguments(
        out=str(tmp_path / "results"),
        manifest=str(tmp_path / "manifest"),
        guidance=str(tmp_path / "guidance"),
        recipes=[f"plain={tmp_path / 'plain.yaml'}", f"rs={tmp_path / 'rs.yaml'}"],
        test_pattern="_original$",
        work=str(tmp_path / "work"),
    )
    run_all(args)
    runs = [stored.record for stored in read_records(tmp_path / "results")]
    assert sorted((run["recipe"], run["group"]) for run in runs) == [
        (recipe, person) for recipe in ("plain", "rs") for person in ("person0", "person1")
    ]
    fold = load_manifest(tmp_path / "work" / "fold_person0" / "manifest")
    assert set(fold.splits["train"]["group"]) == {"person1"}
    assert set(fold.splits["test"]["group"]) == {"person0"}
    assert all("original" in video_id for video_id in fold.splits["test"]["video_id"])
    guided = load_guidance(tmp_path / "work" / "fold_person0" / "guidance")["train"]
    assert not any("person0" in video_id for video_id in set(guided["video_id"]))
    text = write_tables(tmp_path / "results", "Two people", RSStudies())
    assert "| plain |" in text and "| rs |" in text and "top1, rs minus plain" in text


def test_motion_points_at_the_actor_more_often_than_chance(shared_data):
    rows = {(row["clip"][-7:], row["guidance"]): row for row in real_clips.motion_against_boxes(shared_data / "clips")}
    for clip in ("g23_c01", "g24_c01"):
        motion, uniform = rows[clip, "motion"], rows[clip, "uniform prior"]
        assert motion["num_frames"] > 200
        assert motion["pointing_accuracy"] > 2 * uniform["pointing_accuracy"]
        assert motion["iou"] > uniform["iou"]


def test_committed_figures_are_those_of_the_code(shared_data, repository):
    committed = json.loads((repository / "docs" / "results" / "real_clips" / "motion.json").read_text())
    for old, new in zip(committed, real_clips.motion_against_boxes(shared_data / "clips"), strict=True):
        assert new.keys() == old.keys()
        for key, value in new.items():
            assert value == (pytest.approx(old[key], abs=0.02) if isinstance(value, float) else old[key]), key
