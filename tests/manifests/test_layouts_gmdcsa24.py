"""GMDCSA24 as it is laid out, and with one thing wrong each."""

import csv
import shutil

import pytest
from fixtures.gmdcsa24_trees import gmdcsa24, line, two_people
from fixtures.layout_trees import put

from vidreason.errors import ManifestError
from vidreason.manifests.layouts import LayoutArguments, build_gmdcsa24, describe_notes, read_gmdcsa24
from vidreason.manifests.layouts.gmdcsa24 import OVERLAP_RULE, RANKS
from vidreason.manifests.manifest import load_manifest, read_skipped
from vidreason.manifests.segments import SegmentIndex, load_segments

ACTIONS = ["Falling forward", "Falling backward", "Falling sideways", "Writing", "Reading", "Eating", "Drinking"]
ACTIONS += ["Exercising", "Walking", "Standing", "Sitting", "Sleeping"]


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    return two_people(tmp_path_factory.mktemp("gmdcsa24"))


def build(root, out, **flags):
    """Build in one split; returns the manifest, and the notes as (file, line, outcome, reason, said, made)."""
    data = read_gmdcsa24(root, single_split=True, **flags)
    _, notes = build_gmdcsa24(data, LayoutArguments(root="", out=str(out)))
    return load_manifest(out), [(note.file, note.line, *note[3:]) for note in notes]


def with_lines(tmp_path, *lines, videos=2):
    """A copy in which one table has other lines."""
    root = two_people(tmp_path / "copy")
    return gmdcsa24(root, {"subject_1/ADL": list(lines)}, videos)


def test_a_copy_becomes_a_manifest_with_segments(release, tmp_path):
    manifest, notes = build(release, tmp_path / "out")
    assert manifest.class_names == ["ADL", "Fall"] and manifest.source == "gmdcsa24"
    rows = manifest.split("all")
    assert rows["path"][:3] == ["subject_1/ADL/01.mp4", "subject_1/ADL/02.mp4", "subject_1/Fall/01.mp4"]
    assert rows["label"] == [0, 0, 1, 1] * 2 and rows["group"] == ["subject_1"] * 4 + ["subject_2"] * 4
    segments = load_segments(tmp_path / "out")["all"]
    assert segments.features["label"].names == ACTIONS == list(RANKS)
    found = [
        (s["start_frame"], s["end_frame"], s["start_s"], s["end_s"], ACTIONS[s["label"]])
        for s in segments
        if s["video_id"].startswith("subject_2/")
    ]
    assert found == [  # 25 frames a second
        (0, 10, 0.0, 0.4, "Walking"),
        (10, 25, 0.4, 1.0, "Sitting"),
        (0, 25, 0.0, 1.0, "Reading"),
        (0, 15, 0.0, 0.6, "Standing"),
        (15, 25, 0.6, 1.0, "Falling sideways"),
        (0, 25, 0.0, 1.0, "Falling backward"),
    ]
    assert [note[2:4] for note in notes] == [("noted", "hidden")] * 2  # sitting, while reading


def test_cards_state_the_rule_and_what_has_no_label(release, tmp_path):
    build(release, tmp_path / "out")
    for card in ("README.md", "segments/README.md"):
        text = (tmp_path / "out" / card).read_text()
        assert OVERLAP_RULE in text  # 8 videos of 1.2 s, each with labels to 1 s
        assert "No label covers 1.6 of the 9.6 seconds of all 8 videos; 1.6 of them come after" in text
        assert "2 noted (hidden 2)" in text


def test_each_person_is_left_out_once(release, tmp_path):
    data = read_gmdcsa24(release)
    reports, _ = build_gmdcsa24(data, LayoutArguments(root="", out=str(tmp_path)))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fold_subject_1", "fold_subject_2"]
    assert len(reports) == 2
    for person, others in (("subject_1", "subject_2"), ("subject_2", "subject_1")):
        folder = tmp_path / f"fold_{person}"
        splits = load_manifest(folder).splits
        assert {split: set(rows["group"]) for split, rows in splits.items()} == {"test": {person}, "train": {others}}
        tables = load_segments(folder)
        assert {split: {name[:9] for name in rows["video_id"]} for split, rows in tables.items()} == {
            "test": {person},
            "train": {others},
        }
        assert (folder / "label_report.csv").is_file()
        assert f"Split: fold_{person}." in (folder / "README.md").read_text()


def test_one_person_is_left_out(release, tmp_path):
    data = read_gmdcsa24(release, ["subject_2"])
    build_gmdcsa24(data, LayoutArguments(root="", out=str(tmp_path)))
    assert set(load_manifest(tmp_path).split("test")["group"]) == {"subject_2"}


def test_the_report_lies_in_the_folder(tmp_path):
    root = with_lines(
        tmp_path, line("01.mp4", "Siting[0 to 0.5]; Reading; Sleeping[0.5 to 7]"), line("02.mp4", "Walking[1 to 0]")
    )
    build(root, tmp_path / "out")
    with (tmp_path / "out" / "label_report.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["file"] == "subject_1/ADL.csv"]
    assert [(row["line"], row["video"], row["outcome"], row["reason"], row["said"], row["made"]) for row in rows] == [
        ("2", "subject_1/ADL/01.mp4", "corrected", "spelling", "Siting[0 to 0.5]", "Sitting[0 to 0.5]"),
        ("2", "subject_1/ADL/01.mp4", "left out", "no_times", "Reading", ""),
        ("2", "subject_1/ADL/01.mp4", "corrected", "past_the_end", "Sleeping[0.5 to 7]", "Sleeping[0.5 to 1.20]"),
        ("3", "subject_1/ADL/02.mp4", "left out", "start_after_end", "Walking[1 to 0]", ""),
    ]
    index = SegmentIndex(load_segments(tmp_path / "out"))
    assert [(of["label"], of["end_frame"]) for of in index.segments_of("subject_1/ADL/01")] == [
        ("Sitting", 13),  # frame 12 is at 0.48 s
        ("Sleeping", 30),
    ]
    assert index.segments_of("subject_1/ADL/02") == []  # a video of the manifest without any label


LINES = {
    "a comma in the description": (
        "01.mp4,01,Day,T-shirt,Walks, then sits, Sitting[0 to 1]",
        ("corrected", "columns", "Walks, then sits, Sitting[0 to 1]", "Sitting[0 to 1]"),
    ),
    "a decimal comma that is a column's": (
        "01.mp4,01,Day,T-shirt,Sits, Sitting[0 to 0,5]; Walking[0.5 to 1]",
        ("corrected", "columns", "Sits, Sitting[0 to 0,5]; Walking[0.5 to 1]", "Sitting[0 to 0,5]; Walking[0.5 to 1]"),
    ),
    "too few columns": (
        "01.mp4,01,Day,Sitting[0 to 1]",
        ("left out", "columns", "01.mp4,01,Day,Sitting[0 to 1]", ""),
    ),
    "no classes": (line("01.mp4", " "), ("left out", "no_classes", "", "")),
    "a number without its zero": (line("1.mp4", "Sitting[0 to 1]"), ("corrected", "file_name", "1.mp4", "01.mp4")),
    "no suffix": (line("01", "Sitting[0 to 1]"), ("corrected", "file_name", "01", "01.mp4")),
    "another length": (
        line("01.mp4", "Sitting[0 to 1]", length="70"),
        ("noted", "length", "70 s, the video has 1.20 s", ""),
    ),
}


@pytest.mark.parametrize("typed, note", LINES.values(), ids=LINES.keys())
def test_errors_of_lines_are_told(tmp_path, typed, note):
    manifest, notes = build(with_lines(tmp_path, typed, line("02.mp4", "Sitting[0 to 1]")), tmp_path / "out")
    assert ("subject_1/ADL.csv", 2, *note) in notes
    assert "subject_1/ADL/01.mp4" in manifest.split("all")["path"]
    index = SegmentIndex(load_segments(tmp_path / "out"))
    labels = [of["label"] for of in index.segments_of("subject_1/ADL/01")]
    expected = [] if note[0] == "left out" else ["Sitting", "Walking"] if "Walking" in typed else ["Sitting"]
    assert labels == expected


def test_a_video_that_is_named_twice_has_no_labels(tmp_path):
    root = with_lines(tmp_path, *(line(name, "Sitting[0 to 1]") for name in ("01.mp4", "02.mp4", "01.mp4")))
    with pytest.raises(ManifestError, match=r"1 videos have no line of their own in a table: 'subject_1/ADL/01\.mp4'"):
        read_gmdcsa24(root)
    manifest, notes = build(root, tmp_path / "out", allow_incomplete=True)
    assert ("subject_1/ADL.csv", 4, "left out", "named_twice", "01.mp4 is on line 2 too", "") in notes
    assert "subject_1/ADL/01.mp4" not in manifest.split("all")["path"]
    assert [entry["reason"] for entry in read_skipped(tmp_path / "out")] == ["no_labels"]


def test_a_line_without_a_name_is_told(tmp_path):
    root = with_lines(tmp_path, line(" ", "Sitting[0 to 1]"), *(line(f"0{n}.mp4", "Sitting[0 to 1]") for n in (1, 2)))
    _, notes = build(root, tmp_path / "out")
    assert [note[1:4] for note in notes if note[0] == "subject_1/ADL.csv"] == [(2, "left out", "no_file_name")]


def test_a_part_is_built_when_asked(release, tmp_path):
    root = tmp_path / "copy"
    shutil.copytree(release, root)
    (root / "subject_1" / "ADL" / "02.mp4").unlink()
    (root / "subject_2" / "Fall.csv").unlink()
    put(root / "subject_2" / "Other" / "01.mp4", (root / "subject_2" / "ADL" / "01.mp4").read_bytes())
    put(root / "subject_2" / "ADL" / "03.mp4", b"no video")
    with (root / "subject_2" / "ADL.csv").open("a") as table:
        table.write("\n" + line("03.mp4", "Sitting[0 to 1]"))
    with pytest.raises(ManifestError) as caught:
        read_gmdcsa24(root)
    for problem in (
        "1 tables are not there: 'subject_2/Fall.csv'",
        "2 videos have no line",
        "1 videos are in folders",
    ):
        assert problem in str(caught.value)
    assert "1 videos that the tables name are not there: 'subject_1/ADL/02.mp4'" in str(caught.value)
    manifest, _ = build(root, tmp_path / "out", allow_incomplete=True)
    assert manifest.split("all").num_rows == 5
    assert {entry["path"]: entry["reason"] for entry in read_skipped(tmp_path / "out")} == {
        "subject_1/ADL/02.mp4": "not_in_tree",
        "subject_2/Fall/01.mp4": "no_labels",
        "subject_2/Fall/02.mp4": "no_labels",
        "subject_2/Other/01.mp4": "no_class_folder",
        "subject_2/ADL/03.mp4": "not_a_video",
    }


def test_times_are_those_of_a_variable_rate(tmp_path, odd_videos):
    root = with_lines(tmp_path, line("01.mp4", "Walking[0 to 0.5]; Sitting[0.5 to 2]"), videos=1)
    # in 1/2500 s: five frames in 0.2 s, then one each 0.3 s
    pts = [0, 100, 200, 300, 400, 1150, 1900, 2650, 3400, 4150]
    odd_videos.encode(root / "subject_1" / "ADL" / "01.mp4", 10, pts)
    (root / "subject_1" / "ADL" / "02.mp4").unlink()
    build(root, tmp_path / "out")
    walking, sitting = SegmentIndex(load_segments(tmp_path / "out")).segments_of("subject_1/ADL/01")
    assert (walking["start_frame"], walking["end_frame"]) == (0, 6)  # frame 5 is at 0.46 s, frame 6 at 0.76 s
    assert walking["end_s"] == pytest.approx(0.76, abs=1e-3) == sitting["start_s"]
    assert sitting["end_frame"] == 10


def test_describing_notes(release):
    assert describe_notes(read_gmdcsa24(release).notes) == "labels: none noted"


BROKEN = {
    "no folder": (lambda root: shutil.rmtree(root), {}, "no such folder"),
    "a table of something else": (
        lambda root: put(root / "subject_1" / "ADL.csv", "name;label\n"),
        {},
        r"1 tables cannot be read: .*the first line is not `File Name, ..., Classes`",
    ),
    "an empty table": (lambda root: put(root / "subject_1" / "ADL.csv", ""), {}, "1 tables cannot be read"),
    "a table that is no text": (
        lambda root: put(root / "subject_1" / "ADL.csv", b"\xff\xfe\xfa"),
        {},
        "1 tables cannot be read",
    ),
    "one person": (lambda root: shutil.rmtree(root / "subject_2"), {}, "leaving one person out takes at least two"),
    "another person": (lambda root: None, {"leave_out": ["subject_9"]}, "no video is of group 'subject_9'"),
    "two ways to split": (
        lambda root: None,
        {"leave_out": ["subject_1"], "single_split": True},
        "give persons to leave out or a single split, not both",
    ),
    "no tables": (
        lambda root: [path.unlink() for path in root.rglob("*.csv")],
        {"allow_incomplete": True},
        "no video has a line in a table",
    ),
}


@pytest.mark.parametrize("damage, flags, message", BROKEN.values(), ids=BROKEN.keys())
def test_what_is_wrong_is_named(release, tmp_path, damage, flags, message):
    shutil.copytree(release, tmp_path / "copy")
    damage(tmp_path / "copy")
    with pytest.raises(ManifestError, match=message):
        read_gmdcsa24(tmp_path / "copy", **flags)
