"""The builders of UCF101, UCF50, Something-Something v2 and Desktop Assembly as they are started from a shell."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
from fixtures.layout_trees import clip_bytes, desktop_assembly, put, something_something, ucf50, ucf101

from vidreason.manifests.layouts import read_captions
from vidreason.manifests.manifest import load_manifest
from vidreason.manifests.segments import SegmentIndex, load_segments

SCRIPTS = Path(__file__).parents[2] / "datasets_scripts"


def run(script, *arguments):
    """Start a script; returns its exit status, output and errors."""
    command = [sys.executable, str(SCRIPTS / f"{script}.py"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout, done.stderr


def call(monkeypatch, script, *arguments):
    """Run a script in this process; returns its exit status."""
    spec = importlib.util.spec_from_file_location(script, SCRIPTS / f"{script}.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, script, module)
    spec.loader.exec_module(module)
    monkeypatch.setattr(sys, "argv", [script, *map(str, arguments)])
    return module.main()


def test_ucf101_from_the_shell(tmp_path):
    root = ucf101(tmp_path)
    out = tmp_path / "out"
    flags = ("--splits", tmp_path / "ucfTrainTestlist", "--fold", 2, "--out", out, "--num_proc", 2)
    status, output, errors = run("build_ucf101", "--root", root, *flags, "--source", "ucf101@1.0")
    assert status == 0, errors
    assert re.search(r"^train +101 +101$", output, re.M) and f"written to {out}" in output
    manifest = load_manifest(out)
    assert manifest.source == "ucf101@1.0" and set(manifest.split("test")["label"]) == set(range(101))
    (root / "YoYo" / "v_YoYo_g08_c01.avi").unlink()
    status, output, errors = run("build_ucf101", "--root", root, "--out", tmp_path / "other")
    assert status == 1 and output == "" and not (tmp_path / "other").exists()
    assert errors.splitlines()[-1] == (
        f"error: {root}: 1 of 101 videos of trainlist01.txt are not there: 'YoYo/v_YoYo_g08_c01.avi' "
        "(allow_incomplete builds from what is there)"
    )


def test_all_folds_of_ucf101(tmp_path, monkeypatch, capsys):
    root = ucf101(tmp_path, groups=(1, 8, 15))
    assert call(monkeypatch, "build_ucf101", "--root", root, "--fold", 1, 2, 3, "--out", tmp_path / "out") == 0
    groups = [
        {name[-3:] for name in load_manifest(tmp_path / "out" / f"fold_{n}").split("test")["group"]} for n in (1, 2, 3)
    ]
    assert groups == [{"g01"}, {"g08"}, {"g15"}]
    assert capsys.readouterr().out.count("written to") == 3


def test_ucf50(tmp_path, monkeypatch):
    root = ucf50(tmp_path, ("PullUps", "YoYo"), (1, 2, 6), clip_bytes(".avi"))
    common = ("--root", root, "--allow_incomplete")
    held_out = ("--test_groups", 6, "--validation_groups", 2)
    assert call(monkeypatch, "build_ucf50", *common, *held_out, "--out", tmp_path / "one") == 0
    splits = load_manifest(tmp_path / "one").splits
    assert {split: set(rows["group"]) for split, rows in splits.items()} == {
        "train": {"g01"},
        "validation": {"g02"},
        "test": {"g06"},
    }
    assert "split by its 25 groups (test groups 6)" in (tmp_path / "one" / "README.md").read_text()
    folds = ("--protocol", "leave_one_group_out", "--fold", 1, 2, 6)
    assert call(monkeypatch, "build_ucf50", *common, *folds, "--out", tmp_path / "many") == 0
    tested = {path.name: set(load_manifest(path).split("test")["group"]) for path in (tmp_path / "many").iterdir()}
    assert tested == {"fold_01": {"g01"}, "fold_02": {"g02"}, "fold_06": {"g06"}}


def test_something_something(tmp_path, monkeypatch):
    root = something_something(tmp_path, answers=True)
    out = tmp_path / "out"
    flags = ("--root", root, "--labels", tmp_path / "labels", "--out", out)
    assert call(monkeypatch, "build_something_something_v2", *flags) == 0
    assert {split: rows.num_rows for split, rows in load_manifest(out).splits.items()} == {
        "train": 174,
        "validation": 3,
        "test": 2,
    }
    assert read_captions(out)["1"] == "putting cup 1 0 onto book"


def test_desktop_assembly(tmp_path, monkeypatch):
    root = desktop_assembly(tmp_path / "labels", num_labels=12)
    (root / "videos").rename(tmp_path / "recordings")
    flags = ("--root", root, "--videos", tmp_path / "recordings", "--out", tmp_path / "out", "--label_fps", 10)
    fractions = ("--fractions", "train=0.6", "test=0.4", "--group_pattern", r"^(\d+-\d+-\d+)")
    assert call(monkeypatch, "build_desktop_assembly", *flags, *fractions) == 0
    manifest = load_manifest(tmp_path / "out")
    assert set(manifest.split("train")["group"]) == {"2020-04-19"}
    index = SegmentIndex(load_segments(tmp_path / "out"))
    assert index.label_at(manifest.split("test")[0]["video_id"], 0.5) == "Close_cover"


BAD_FLAGS = {
    "ucf101: no folder": ("build_ucf101", ["--root", "nowhere"], "nowhere: no such folder; expected that of UCF-101"),
    "ucf101: no such split": (
        "build_ucf101",
        ["--root", ".", "--fold", "4"],
        "UCF101 has the splits 1, 2 and 3, got [4]",
    ),
    "ucf50: no way to split": ("build_ucf50", ["--root", "."], "give one of --test_groups and --protocol"),
    "ucf50: two ways": (
        "build_ucf50",
        ["--root", ".", "--test_groups", "1", "--protocol", "five_fold"],
        "give one of --test_groups and --protocol",
    ),
    "ucf50: a fold of nothing": (
        "build_ucf50",
        ["--root", ".", "--test_groups", "1", "--fold", "1"],
        "--fold goes with --protocol",
    ),
    "ucf50: unknown protocol": ("build_ucf50", ["--root", ".", "--protocol", "loso"], "no protocol 'loso'"),
    "ssv2: unknown split": (
        "build_something_something_v2",
        ["--root", ".", "--splits", "dev"],
        "Something-Something has the splits train, validation, test, got ['dev']",
    ),
    "assembly: no number": (
        "build_desktop_assembly",
        ["--root", ".", "--fractions", "train=most"],
        "--fractions takes split=number pairs, got ['train=most']",
    ),
    "assembly: a split twice": (
        "build_desktop_assembly",
        ["--root", ".", "--fractions", "train=0.5", "train=0.5"],
        "--fractions names a split twice",
    ),
    "assembly: no labels": ("build_desktop_assembly", ["--root", "."], "no groundTruth folder in it"),
}


@pytest.mark.parametrize("script, flags, message", BAD_FLAGS.values(), ids=BAD_FLAGS.keys())
def test_bad_flags_end_with_a_sentence(tmp_path, monkeypatch, capsys, script, flags, message):
    put(tmp_path / "notes.txt")
    monkeypatch.chdir(tmp_path)
    assert call(monkeypatch, script, *flags, "--out", "out") == 1
    (error,) = capsys.readouterr().err.splitlines()
    assert error.startswith("error: ") and message in error
    assert not (tmp_path / "out").exists()
