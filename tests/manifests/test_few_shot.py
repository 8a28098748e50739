"""Smaller training splits: a few videos of each class, a part, and the published Something-Something lists."""

import csv
import re
from collections import Counter

import pytest
from fixtures.layout_trees import put

from datasets_scripts import build_few_shot
from vidreason.errors import ManifestError
from vidreason.manifests.few_shot import draw_part, draw_shots, select_listed
from vidreason.manifests.manifest import load_manifest, read_skipped, write_manifest

FACTS = {"num_frames": 10, "fps": 25.0, "duration_s": 0.4, "height": 32, "width": 48}
NAMES = ["wave", "tap", "stir"]


def rows_of(counts, prefix=""):
    return [
        {"path": f"{prefix}{name}/{index:03d}.mp4", "label": name, **FACTS}
        for name, count in counts.items()
        for index in range(count)
    ]


@pytest.fixture
def whole(tmp_path):
    (tmp_path / "videos").mkdir()
    rows = {"train": rows_of({"wave": 12, "tap": 20, "stir": 3}), "test": rows_of({"tap": 2, "wave": 1}, "test/")}
    return write_manifest(tmp_path / "whole", rows, NAMES, "acts@1", tmp_path / "videos")


def ids(rows, selection):
    return set(rows.select(selection.positions)["video_id"])


def test_shots_are_nested_balanced_and_independent_of_order_and_of_other_classes(whole):
    rows = whole.split("train")
    drawn = {shots: ids(rows, draw_shots(rows, shots, seed=1, allow_fewer=True)) for shots in (2, 4, 8)}
    assert drawn[2] < drawn[4] < drawn[8]
    counts = {shots: Counter(name.split("/")[0] for name in of) for shots, of in drawn.items()}
    assert counts == {
        2: {"wave": 2, "tap": 2, "stir": 2},
        4: {"wave": 4, "tap": 4, "stir": 3},
        8: {"wave": 8, "tap": 8, "stir": 3},
    }
    turned = rows.select(range(len(rows) - 1, -1, -1))
    without = rows.filter(lambda row: row["label"] != 1)
    assert ids(turned, draw_shots(turned, 2, seed=1)) == drawn[2]
    assert ids(without, draw_shots(without, 2, seed=1)) == {name for name in drawn[2] if not name.startswith("tap")}
    others = [ids(rows, draw_shots(rows, 2, seed=seed)) for seed in range(5)]
    assert len({frozenset(one) for one in others}) > 1
    with pytest.raises(ManifestError, match=r"1 classes have fewer than 4 videos: 'stir \(3\)'"):
        draw_shots(rows, 4, seed=1)
    assert len(draw_part(rows, 7, seed=0).positions) == 7
    with pytest.raises(ManifestError, match=r"size is 36 .* the split has 35 videos"):
        draw_part(rows, 36, seed=0)


@pytest.mark.parametrize("shots", [2, 4, 8, 16])
def test_the_published_lists_of_something_something(shared_data, tmp_path, shots):
    folder = shared_data / "few_shot" / "ssv2"
    with (folder / "labels.csv").open() as file:
        names = [row["name"] for row in csv.DictReader(file)]
    listed = [line.split() for line in (folder / f"train1_few_shot_{shots}.txt").read_text().split("\n") if line]
    rows = [{"path": path, "label": int(label), **FACTS} for path, label in listed]
    more = [{"path": f"{10**7 + label}.webm", "label": label, **FACTS} for label in range(len(names))]
    manifest = write_manifest(tmp_path / "whole", {"train": [*more, *rows]}, names, "ssv2", tmp_path)
    selection = select_listed(manifest.split("train"), folder / f"train1_few_shot_{shots}.txt")
    chosen = manifest.split("train").select(selection.positions)
    assert set(chosen["path"]) == {path for path, _ in listed} and not selection.absent
    assert Counter(chosen["label"]) == dict.fromkeys(range(174), shots)


def run(monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["build_few_shot", *map(str, arguments)])
    return build_few_shot.main()


def test_the_command_writes_a_part_and_says_what_was_left(whole, tmp_path, monkeypatch, capsys):
    listing = put(tmp_path / "list.txt", "wave/003.avi 0\r\nC:\\clips\\stir\\000.mp4 2\n999.mp4 1\n")
    shared = ("--manifest", tmp_path / "whole", "--out", tmp_path / "out")
    assert run(monkeypatch, *shared, "--shots", 2, "--seed", 3) == 0
    out = capsys.readouterr().out
    assert "train: 6 of 35 videos (2 of each class, drawn with seed 3), 29 not taken" in out
    written = load_manifest(tmp_path / "out")
    assert written.class_names == NAMES and len(written.split("test")) == 3
    assert "6 of its 35 videos" in (tmp_path / "out" / "README.md").read_text()
    # names of files repeat over the classes here, which is an error and not a guess
    assert run(monkeypatch, *shared, "--list_file", listing) == 1
    assert "labels are not the manifest's" in capsys.readouterr().err
    for row in (flat := rows_of({"wave": 4, "stir": 1})):
        row["path"] = row["path"].replace("/", "_")
    write_manifest(tmp_path / "flat", {"train": flat}, NAMES, "acts", tmp_path, allow_absent_classes=True)
    listing = put(tmp_path / "list.txt", "any/wave_003.avi 0\r\nC:\\clips\\stir_000.mp4 2\n999.mp4 1\n")
    shared = ("--manifest", tmp_path / "flat", "--out", tmp_path / "listed", "--list_file", listing)
    assert run(monkeypatch, *shared) == 1
    assert "1 of 3 videos are not in the split: '999'" in capsys.readouterr().err
    assert run(monkeypatch, *shared, "--allow_incomplete") == 0
    assert "2 of 5 videos (2 of the 3 listed in list.txt), 3 not taken, 1 listed but absent" in capsys.readouterr().out
    assert load_manifest(tmp_path / "listed").split("train")["path"] == ["wave_003.mp4", "stir_000.mp4"]
    assert [entry["reason"] for entry in read_skipped(tmp_path / "listed")] == ["not_in_tree"]


@pytest.mark.parametrize(
    "text, message",
    {
        "wave_000.mp4": "is not <video> <label id>",
        "wave_000.mp4 0\nwave_000.avi 0\n": "entry 2, 'wave_000.avi 0', names a video for the second time",
        "wave_000.mp4 1": r"1 labels are not the manifest's: 'wave_000 is 1 there and 0 \(wave\) here'",
        "": "the list is empty",
        "nowhere.mp4 0": "1 of 1 videos are not in the split",
    }.items(),
)
def test_broken_lists_are_named(tmp_path, text, message):
    row = {"path": "wave_000.mp4", "label": "wave", **FACTS}
    manifest = write_manifest(tmp_path / "m", {"train": [row]}, NAMES, "a", tmp_path, allow_absent_classes=True)
    listing = put(tmp_path / "list.txt", text)
    with pytest.raises(ManifestError, match=re.escape(str(listing)) + ".*" + message):
        select_listed(manifest.split("train"), listing, allow_incomplete=True)


def test_flags_that_do_not_fit(whole, tmp_path, monkeypatch, capsys):
    for flags, message in (
        ((), "give one of --shots, --size and --list_file"),
        (("--shots", 2, "--size", 3), "give one of --shots, --size and --list_file"),
        (("--shots", 0), "shots is 0"),
        (("--shots", 2, "--split", "dev"), "no split 'dev'"),
    ):
        assert run(monkeypatch, "--manifest", tmp_path / "whole", "--out", tmp_path / "out", *flags) == 1
        assert message in capsys.readouterr().err
    assert run(monkeypatch, "--manifest", tmp_path / "whole", "--out", tmp_path / "whole", "--shots", 2) == 1
    assert "is the whole manifest" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
