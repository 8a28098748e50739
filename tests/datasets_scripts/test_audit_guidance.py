"""The script, run as a user runs it: against ground truth, and against a file of boxes of real clips."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from vidreason.annotation import MotionAnnotator, NoiseModel, truth_guidance
from vidreason.files import read_folder
from vidreason.guidance import write_guidance
from vidreason.manifests.manifest import load_manifest
from vidreason.manifests.splits import split_by_fractions
from vidreason.manifests.video_folder import build_video_folder, scan_video_tree
from vidreason.synthetic import WorldConfig, build_synthetic_actions

SCRIPT = Path(__file__).parents[2] / "datasets_scripts" / "audit_guidance.py"


def run(*flags):
    return subprocess.run([sys.executable, SCRIPT, *map(str, flags)], capture_output=True, text=True)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A small world, its exact truth as guidance, and the same with mistakes."""
    folder = tmp_path_factory.mktemp("world")
    config = WorldConfig(width=64, height=48, num_frames=6)
    build_synthetic_actions(folder / "world", config, {"train": 24}, num_proc=1)
    truth = read_folder(folder / "world" / "truth")["train"]
    write_guidance(folder / "exact", {"train": truth_guidance(truth)})
    noise = NoiseModel(missed_frames=0.2, misplaced_cells=0.3, extra_cells=0.1)
    write_guidance(folder / "noisy", {"train": truth_guidance(truth, noise=noise)})
    return folder


def sections(out):
    return {section["key"]: section for section in json.loads((out / "audit.json").read_text())["sections"]}


def value(section, source, measure):
    (scores,) = [scores for scores in section["scores"] if scores["source"] == source]
    return scores["measures"][measure]["value"]


def test_noise_costs_what_it_should(world, tmp_path):
    flags = ["--truth", world / "world" / "truth", "--compare", world / "exact", "--manifest", world / "world"]
    done = run("--guidance", world / "noisy", *flags, "--out", tmp_path, "--resamples", 200)
    assert done.returncode == 0, done.stderr
    assert "# Audit of the guidance table noisy" in done.stdout
    assert done.stdout.rstrip().endswith("audit.html")
    found = sections(tmp_path)
    counts = found["truth"]["counts"]
    assert counts["reference_frames"] == 24 * 6
    assert counts["statuses"]["failed"]["ok"] > 0
    assert counts["coverage"] == pytest.approx(0.8, abs=0.12)
    # both references mark the same cells, since the other table is the truth itself
    for measure in ("precision", "recall", "iou"):
        assert value(found["truth"], "guidance", measure) == value(found["agreement"], "guidance", measure)
    assert 0.4 < value(found["truth"], "guidance", "iou") < 0.8
    assert value(found["truth"], "guidance", "iou") > 2 * value(found["truth"], "uniform prior", "iou")
    assert (tmp_path / "contact_sheet.png").stat().st_size > 10_000


def test_the_truth_agrees_with_itself(world, tmp_path):
    done = run("--guidance", world / "exact", "--truth", world / "world" / "truth", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    scores = sections(tmp_path)["truth"]
    assert all(value(scores, "guidance", name) == 1 for name in ("precision", "recall", "iou", "pointing_accuracy"))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ["--boxes", "boxes.json"],
            "error: --boxes names frames by index: give --manifest too, whose videos tell their times",
        ),
        (["--truth", "nowhere"], "error: nowhere: no Parquet files under data/; was the folder built?"),
    ],
)
def test_a_mistake_ends_with_one_line(world, tmp_path, flags, message):
    done = run("--guidance", world / "exact", "--out", tmp_path, *flags)
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1] == message
    assert "Traceback" not in done.stderr


def test_motion_against_the_boxes_of_real_clips(shared_data, repository, tmp_path):
    """The same figures as `docs/results/real_clips`, which are computed in another way."""
    tree = scan_video_tree(shared_data / "clips" / "UCF-101")
    splits = split_by_fractions(tree.class_of, {"test": 1.0}, 0)
    build_video_folder(tree, tmp_path / "manifest", splits, source="ucf101@1.0")
    rows = MotionAnnotator((4, 4)).annotate(load_manifest(tmp_path / "manifest"), "test")
    write_guidance(tmp_path / "motion", {"test": rows})
    flags = ["--boxes", shared_data / "clips" / "ucf101_actor_boxes.json", "--manifest", tmp_path / "manifest"]
    done = run("--guidance", tmp_path / "motion", *flags, "--out", tmp_path / "audit", "--frames_per_group", 2)
    assert done.returncode == 0, done.stderr
    section = sections(tmp_path / "audit")["truth"]
    assert section["counts"]["scored_frames"] == section["counts"]["reference_frames"] == 491
    committed = json.loads((repository / "docs" / "results" / "real_clips" / "motion.json").read_text())
    for row in committed:
        source = "guidance" if row["guidance"] == "motion" else row["guidance"]
        (scores,) = [scores for scores in section["groups"]["video"][row["clip"]] if scores["source"] == source]
        assert scores["num_frames"] == row["num_frames"]
        for measure, estimate in scores["measures"].items():
            assert estimate["value"] == pytest.approx(row[measure], abs=0.02), (row["clip"], source, measure)
