"""The builder as it is started from a shell, on files as they are met in the wild."""

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from vidreason.manifests.manifest import load_manifest
from vidreason.video import write_video

SCRIPT = Path(__file__).parents[2] / "datasets_scripts" / "build_video_folder.py"


def run(*arguments):
    """Start the script; returns its exit status, output and errors."""
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout, done.stderr


def clip(path):
    return write_video(path, [np.full((16, 16, 3), 30 * number, dtype=np.uint8) for number in range(4)], fps=10)


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """Three groups of two classes, a broken file, and files that are no videos."""
    root = tmp_path_factory.mktemp("data") / "UCF-3"
    for name in ("Jump", "Walk"):
        for group in (1, 2, 3):
            for number in (1, 2):
                clip(root / name / f"v_{name}_g{group:02d}_c{number:02d}.mp4")
    (root / "Walk" / "v_Walk_g01_c09.mp4").write_bytes(b"")
    (root / "Walk" / "notes.txt").write_text("x")
    (root / "extra").mkdir()
    return root


def names(manifest, split):
    return {row["video_id"] for row in manifest.split(split)}


def test_groups_are_on_one_side(tree, tmp_path):
    out = tmp_path / "out"
    status, output, errors = run("--root", tree, "--out", out, "--group_pattern", r"_g(\d+)_", "--test_groups", "02")
    assert status == 0, errors
    manifest = load_manifest(out)
    assert (manifest.class_names, manifest.source) == (["Jump", "Walk"], "UCF-3")
    assert set(manifest.split("test")["group"]) == {"02"}
    assert set(manifest.split("train")["group"]) == {"01", "03"}
    assert json.loads((out / "skipped.jsonl").read_text()) == {
        "path": "Walk/v_Walk_g01_c09.mp4",
        "reason": "empty_file",
        "detail": "",
    }
    assert re.search(r"^test +2 +4$", output, re.M) and re.search(r"^train +2 +8$", output, re.M)
    assert re.search(r"^left out: 1\n +empty_file +1$", output, re.M)
    assert "ignored files: 1" in output and "folders without videos, no classes: extra" in output


def test_groups_of_a_table_and_videos_of_unknown_group_are_left_out(tree, tmp_path):
    ids = [path.stem for path in tree.rglob("v_*_g*_c*.*")]
    groups = {name: int(name.split("_g")[1][:2]) for name in ids}
    unknown = next(name for name in ids if name.startswith("v_Jump_g03"))
    (tmp_path / "groups.json").write_text(json.dumps({**groups, unknown: None}))
    flags = ["--groups_file", tmp_path / "groups.json", "--fractions", "train=0.67", "test=0.33"]
    status, _, errors = run("--root", tree, "--out", tmp_path / "out", *flags)
    assert status == 0, errors
    manifest = load_manifest(tmp_path / "out")
    sides = [set(manifest.split(split)["group"]) for split in ("train", "test")]
    assert not sides[0] & sides[1] and sides[0] | sides[1] == {"1", "2", "3"}
    skipped = [json.loads(line) for line in (tmp_path / "out" / "skipped.jsonl").read_text().splitlines()]
    assert [entry["reason"] for entry in skipped if unknown in entry["path"]] == ["not_in_a_split"]
    for content, message in [("[]", "expected an object"), ('{"a": true}', "no texts"), ("{", "cannot be read")]:
        (tmp_path / "groups.json").write_text(content)
        status, _, errors = run("--root", tree, "--out", tmp_path / "out2", *flags)
        assert status == 1 and message in errors
    (tmp_path / "groups.json").write_text('{"another": 1}')
    assert "has the group of no video" in run("--root", tree, "--out", tmp_path / "out2", *flags)[2]


def test_splits_from_files(tree, tmp_path):
    (tmp_path / "a.txt").write_bytes(b"Jump/v_Jump_g01_c01.avi 1\r\nWalk/v_Walk_g01_c01.avi 2\r\nWalk/gone.avi 2\r\n")
    (tmp_path / "b.txt").write_text("Jump/v_Jump_g02_c01\nWalk/v_Walk_g02_c01\n")
    files = [f"train={tmp_path / 'a.txt'}", f"test={tmp_path / 'b.txt'}"]
    status, output, errors = run(
        "--root", tree, "--out", tmp_path / "out", "--split_files", *files, "--source", "toy@2"
    )
    assert status == 0, errors
    manifest = load_manifest(tmp_path / "out")
    assert manifest.source == "toy@2"
    assert names(manifest, "train") == {"Jump/v_Jump_g01_c01", "Walk/v_Walk_g01_c01"}
    assert names(manifest, "test") == {"Jump/v_Jump_g02_c01", "Walk/v_Walk_g02_c01"}
    assert "1 names are not in the tree" in errors
    assert re.search(r"^ +not_in_a_split +9$", output, re.M) and re.search(r"^ +not_in_tree +1$", output, re.M)


def test_splits_by_folders_and_by_fractions(tree, tmp_path):
    for split, group in [("train", "g01"), ("test", "g02")]:
        for name in ("Jump", "Walk"):
            target = tmp_path / "by_split" / split / name
            target.mkdir(parents=True)
            for path in (tree / name).glob(f"*_{group}_c0[12].mp4"):
                (target / path.name).write_bytes(path.read_bytes())
    status, _, errors = run("--root", tmp_path / "by_split", "--out", tmp_path / "out", "--split_dirs")
    assert status == 0, errors
    manifest = load_manifest(tmp_path / "out")
    assert names(manifest, "train") == {f"train/{c}/v_{c}_g01_c0{i}" for c in ("Jump", "Walk") for i in (1, 2)}
    fractions = ["--fractions", "train=0.67", "test=0.33", "--group_pattern", r"_g(\d+)_", "--num_proc", "2"]
    status, _, errors = run("--root", tree, "--out", tmp_path / "out2", *fractions)
    assert status == 0, errors
    manifest = load_manifest(tmp_path / "out2")
    assert not set(manifest.split("train")["group"]) & set(manifest.split("test")["group"])
    assert (manifest.split("train").num_rows, manifest.split("test").num_rows) == (8, 4)


BAD_FLAGS = {
    "no way to split": ([], "give one of --split_dirs"),
    "two ways": (["--split_files", "a=b.txt", "--fractions", "train=1"], "give one of --split_dirs"),
    "groups without a pattern": (["--test_groups", "01"], "need --group_pattern"),
    "no pairs": (["--fractions", "0.8", "0.2"], "--fractions takes split=value pairs"),
    "no number": (["--fractions", "train=most"], "--fractions takes numbers"),
    "wrong sum": (["--fractions", "train=0.8"], "sum to 1"),
    "pattern that does not match": (
        ["--group_pattern", r"_p(\d+)_", "--test_groups", "1"],
        "13 videos do not match '_p(\\\\d+)_', such as 'Jump/v_Jump_g01_c01.mp4'",
    ),
}


@pytest.mark.parametrize("flags, message", BAD_FLAGS.values(), ids=BAD_FLAGS.keys())
def test_bad_flags_end_with_a_sentence(tree, tmp_path, flags, message, monkeypatch, capsys):
    spec = importlib.util.spec_from_file_location("build_video_folder", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, script)
    spec.loader.exec_module(script)
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), "--root", str(tree), "--out", str(tmp_path / "out"), *flags])
    assert script.main() == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error
    assert not (tmp_path / "out").exists()
