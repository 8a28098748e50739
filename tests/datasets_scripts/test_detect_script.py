"""The command line of detection, and guidance made from what it wrote."""

import json
import re
import sys

import pytest
from fixtures.small_worlds import ACTIONS_WORLD, ASSEMBLY_WORLD

from datasets_scripts import annotate, detect
from vidreason.annotation.job import read_run
from vidreason.detection import load_detections
from vidreason.guidance import load_guidance


@pytest.fixture
def call(monkeypatch, capsys):
    """Runs a command in this process: its status, and what it printed."""

    def run(script, *arguments) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", [script.__file__, *map(str, arguments)])
        return script.main(), *capsys.readouterr()

    return run


def test_objects_of_the_actions_world_with_mistakes_and_then_guidance(folder_of, call, tmp_path):
    world = folder_of(ACTIONS_WORLD)
    store = tmp_path / "found.sqlite"
    common = ("--manifest", world, "--detector", "truth", "--truth", world / "truth", "--store", store)
    mistakes = ("--misses", 0.3, "--jitter", 0.05, "--false_boxes", 0.1)
    flags = (*common, *mistakes, "--splits", "train", "test_shifted", "--seed", 4)
    status, out, err = call(detect, *flags, "--out", tmp_path / "one", "--classes", "person", "hand")
    assert status == 0, err
    assert "464 detections made, 0 reused, 0 failed, in 232 frames of 29 videos" in out
    assert "train: 100%" in err and "frames/s" in err
    status, out, _ = call(detect, *flags, "--out", tmp_path / "two", "--classes", "hand", "person", "box", "unicorn")
    assert status == 0 and "232 detections made, 464 reused" in out and "232 unknown_class" in out
    table = load_detections(tmp_path / "two")
    assert set(table) == {"train", "test_shifted"}
    assert table["train"]["model"][0] == "truth misses=0.3,false_boxes=0.1,jitter=0.05,confusions=0,seed=4"
    statuses = [row["status"] for row in table["train"] if row["class_text"] == "person"]
    assert 0.1 < statuses.count("empty") / len(statuses) < 0.5
    evidence = ("--evidence_classes", "hand", "box", "--splits", "train", "test_shifted")
    flags = ("--manifest", world, "--out", tmp_path / "guidance", "--annotator", "detector")
    status, out, err = call(annotate, *flags, "--detections", tmp_path / "two", *evidence)
    assert status == 0, err
    assert len(load_guidance(tmp_path / "guidance")["train"]) == 24 * 8
    assert read_run(tmp_path / "guidance").settings["evidence_classes"] == ["hand", "box"]


def test_objects_of_the_assembly_world_at_a_rate(folder_of, call, tmp_path):
    world = folder_of(ASSEMBLY_WORLD)
    flags = ("--manifest", world, "--detector", "truth", "--truth", world / "truth", "--frames_per_second", 2)
    status, _, err = call(detect, *flags, "--out", tmp_path / "out", "--classes", "hand", "screwdriver")
    assert status == 0, err
    rows = load_detections(tmp_path / "out")["train"].to_list()
    assert {row["class_text"] for row in rows if row["status"] == "ok"} >= {"hand"}
    assert {round(row["timestamp_s"] * 2) for row in rows} >= {0, 1, 2, 3}
    assert json.loads((tmp_path / "out" / "work" / "run.json").read_text())["settings"]["detector"] == "truth"


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--classes", "box"], "--detector truth needs the folder"),
        (["--truth", "nowhere", "--classes", "box"], "nowhere"),
        (["--truth", "TRUTH"], "there are no class texts"),
        (["--truth", "TRUTH", "--classes", "unicorn"], "no row in .* can be used .*unknown_class"),
        (["--truth", "TRUTH", "--classes", "box", "--threshold", "0.5"], "cannot be made with"),
        (["--truth", "TRUTH", "--classes", "box", "--misses", "2"], "misses is 2.0"),
        (["--truth", "TRUTH", "--classes", "box", "--detector", "yolo"], "detector is 'yolo'"),
    ],
)
def test_what_cannot_be_done_is_one_line(folder_of, call, tmp_path, flags, words):
    world = folder_of(ACTIONS_WORLD)
    flags = [str(world / "truth") if flag == "TRUTH" else flag for flag in flags]
    detector = [] if "--detector" in flags else ["--detector", "truth"]
    status, _, err = call(detect, "--manifest", world, "--out", tmp_path / "out", *detector, *flags)
    (line,) = [line for line in err.splitlines() if line.startswith("error: ")]
    assert status == 1
    assert re.search(words, line)
