"""Kinetics-400 and Mimetics in the layouts of their copies, and one joined manifest of both."""

import csv
import re
from collections import Counter

import pytest
from fixtures.layout_trees import clip_bytes, put

from datasets_scripts import build_joined, build_kinetics400, build_mimetics
from vidreason.errors import ManifestError
from vidreason.manifests.layouts import read_kinetics400, read_mimetics
from vidreason.manifests.layouts.kinetics import read_class_names
from vidreason.manifests.manifest import load_manifest, read_skipped

NAMES = ["air drumming", "archery", "massaging person's head"]
HEADER = "label,youtube_id,time_start,time_end,split,is_cc\n"


def clip_id(number):
    return f"abc-_{number:06d}"


def line(number, label, split, start=7):
    return f'"{label}",{clip_id(number)},{start},{start + 10},{split},0\n'


def file_name(number, start=7):
    return f"{clip_id(number)}_{start:06d}_{start + 10:06d}.mp4"


@pytest.fixture
def tree(tmp_path):
    """Two of train in folders of classes, one flat, one of validation by split and class; a replacement; a twin."""
    root, video = tmp_path / "kinetics400", clip_bytes(".mp4")
    put(root / "train" / "air_drumming" / file_name(1), video)
    put(root / "train" / "massaging person_s head" / file_name(2), video)
    put(root / file_name(3), b"damaged")
    put(root / "replacement" / "replacement_for_corrupted_k400" / file_name(3), video)
    put(root / "val" / "archery" / file_name(4), video)
    put(root / "train" / file_name(5), b"damaged")
    put(root / file_name(9), video)
    put(root / "trailer.mp4", video)
    put(root / "train" / "air_drumming" / file_name(1).replace(".mp4", ".webm"), clip_bytes(".webm"))
    rows = [line(1, NAMES[0], "train"), line(2, NAMES[2], "train"), line(3, NAMES[1], "train")]
    rows += [line(5, NAMES[1], "train"), line(6, NAMES[0], "train"), line(1, NAMES[0], "train")]
    put(root / "annotations" / "train.csv", HEADER + "".join(rows))
    put(root / "annotations" / "val.csv", HEADER + line(4, NAMES[1], "validate") + line(1, NAMES[0], "val"))
    return root


def run(module, monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", [module.__name__, *map(str, arguments)])
    return module.main()


def test_a_copy_becomes_a_manifest_and_all_lines_are_accounted_for(tree, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    assert run(build_kinetics400, monkeypatch, "--root", tree, "--out", out) == 1
    error = capsys.readouterr().err
    assert "there are 3 classes, Kinetics-400 has 400" in error and "1 of 5 videos of train are not there" in error
    assert run(build_kinetics400, monkeypatch, "--root", tree.parent, "--out", out, "--allow_incomplete") == 0
    manifest = load_manifest(out)
    assert manifest.class_names == NAMES
    assert {split: sorted(rows["path"]) for split, rows in manifest.splits.items()} == {
        "train": [
            f"replacement/replacement_for_corrupted_k400/{file_name(3)}",
            f"train/air_drumming/{file_name(1)}",
            f"train/massaging person_s head/{file_name(2)}",
        ],
        "validation": [f"val/archery/{file_name(4)}"],
    }
    labels = {row["group"]: row["label"] for row in manifest.split("train")}
    assert labels == {clip_id(1): 0, clip_id(2): 2, clip_id(3): 1}
    reasons = Counter(entry["reason"] for entry in read_skipped(out))
    # 8 lines: 4 kept, 2 that repeat the first, 1 absent, 1 that cannot be read
    lost = {
        "listed_twice": 2,
        "not_in_tree": 1,
        "replaced": 1,
        "duplicate_id": 1,
        "other_name": 1,
        "not_in_a_split": 1,
    }
    read = reasons - Counter(lost)
    assert sum(read.values()) == 1 and reasons == Counter(lost) + read
    assert 4 + lost["listed_twice"] + lost["not_in_tree"] + 1 == 8


def test_train_on_one_and_test_on_the_other(tree, tmp_path, monkeypatch, capsys):
    assert run(build_kinetics400, monkeypatch, "--root", tree, "--out", tmp_path / "k", "--allow_incomplete") == 0
    root = tmp_path / "mimes"
    put(root / "archery" / file_name(20), clip_bytes(".mp4"))
    put(root / "archery" / file_name(21, start=0), clip_bytes(".mp4"))
    rows = line(20, NAMES[1], "test") + line(21, NAMES[1], "train", start=0)
    put(root / "mimetics-v1.0.csv", HEADER + rows)
    flags = ("--root", root, "--out", tmp_path / "m")
    assert run(build_mimetics, monkeypatch, *flags, "--allow_incomplete") == 1
    assert "has the label ids of Kinetics-400" in capsys.readouterr().err
    assert run(build_mimetics, monkeypatch, *flags, "--labels", tmp_path / "k") == 1
    assert "the list names 2 videos of 1 classes, Mimetics has 713 of 50" in capsys.readouterr().err
    assert run(build_mimetics, monkeypatch, *flags, "--labels", tmp_path / "k", "--allow_incomplete") == 0
    mimes = load_manifest(tmp_path / "m")
    assert mimes.class_names == NAMES and mimes.split("test")["label"] == [1, 1] and list(mimes.splits) == ["test"]
    capsys.readouterr()
    add = f"mimetics={tmp_path / 'm'}:test"
    shared = ("--manifest", tmp_path / "k", "--out", tmp_path / "both")
    assert run(build_joined, monkeypatch, *shared, "--add", add) == 0
    both = load_manifest(tmp_path / "both")
    assert {name: len(rows) for name, rows in both.splits.items()} == {"train": 3, "validation": 1, "mimetics": 2}
    assert not both.missing_videos() and both.source == "kinetics400 and mimetics"
    assert set(both.split("mimetics")["source"]) == {"mimetics"} and both.split("mimetics")["label"] == [1, 1]
    for added, message in (
        ([add.replace("mimetics=", "train=")], "there is a split 'train' in 'kinetics400' already"),
        ([add, add], "names the split 'mimetics' twice"),
        (["mimetics"], "--add takes <new name>=<folder>:<split>, got 'mimetics'"),
        ([add.replace(":test", ":dev")], "no split 'dev'"),
    ):
        assert run(build_joined, monkeypatch, *shared, "--add", *added) == 1
        assert message in capsys.readouterr().err
    put(tmp_path / "others.txt", "air drumming\narchery\nzumba\n")
    more = ("--labels", tmp_path / "others.txt", "--allow_incomplete")
    assert run(build_mimetics, monkeypatch, *flags[:2], "--out", tmp_path / "z", *more) == 0
    assert run(build_joined, monkeypatch, *shared, "--add", f"mimetics={tmp_path / 'z'}:test") == 1
    assert "class 2 is \"massaging person's head\" and 'zumba'" in capsys.readouterr().err


BROKEN = {
    "id,name\n": r"no columns label, youtube_id, time_start, time_end; there are: id, name",
    HEADER + line(1, "zumba", "train"): r"1 labels are not among the class names: 'zumba'",
    HEADER + line(1, NAMES[0], "test"): r"train\.csv has 1 lines of another split: 'line 2 \(test\)'",
    HEADER + f"archery,{clip_id(1)},ten,20,train,0\n": r"train\.csv has 1 lines without a usable label.*: 'line 2'",
    HEADER + f"archery,{clip_id(1)},20,10,train,0\n": r"train\.csv has 1 lines without a usable label",
    HEADER + "archery,../../../etc,1,2,train,0\n": r"train\.csv has 1 lines without a usable label",
    HEADER + line(1, NAMES[1], "train"): r"1 videos are in the folder of another class: 'train/air_drumming/abc",
    HEADER + line(50, NAMES[0], "train"): r"none of the listed videos is there",
    HEADER + 'archery,"x': r"train\.csv: cannot be read \(unexpected end of data\)",
    HEADER: r"train\.csv names no video of any class",
}


@pytest.mark.parametrize("text, message", BROKEN.items(), ids=range(len(BROKEN)))
def test_broken_lists_are_named(tree, tmp_path, text, message):
    put(tree / "annotations" / "train.csv", text)
    names = put(tmp_path / "names.txt", "".join(f"{name}\n" for name in NAMES))
    with pytest.raises(ManifestError, match=message):
        read_kinetics400(tree, labels=names, splits=["train"], allow_incomplete=True)


def test_class_names_as_published_and_broken_ones(shared_data, tmp_path):
    file = shared_data / "label_maps" / "kinetics_400.csv"
    names = read_class_names(file)
    assert len(names) == 400 and names == sorted(names)
    with file.open() as lines:
        assert names == [row["name"] for row in csv.DictReader(lines)]
    for text, message in {
        "id,name\n0,a\n2,b\n": "the ids do not count from 0 in order; see '2'",
        "a\nb\na\n": "'a' is named twice",
        "": "holds no list of class names",
    }.items():
        with pytest.raises(ManifestError, match=re.escape(message)):
            read_class_names(put(tmp_path / "names.csv", text))
    put(tmp_path / "m" / "manifest.json", '{"class_names": [1, 2]}')
    with pytest.raises(ManifestError, match="holds no list of class names"):
        read_class_names(tmp_path / "m")
    with pytest.raises(ManifestError, match=r"several lists: 'mimetics-a\.csv', 'mimetics-b\.csv'"):
        put(tmp_path / "l" / "mimetics-a.csv"), put(tmp_path / "l" / "mimetics-b.csv")
        read_mimetics(tmp_path, tmp_path / "l", labels=file)
