"""Desktop Assembly in the layouts that are about, and in layouts that are broken in one way each."""

import shutil

import numpy as np
import pytest
from fixtures.layout_trees import ACTIONS, clip_bytes, desktop_assembly, put

from vidreason.errors import ManifestError
from vidreason.manifests.layouts import LayoutArguments, build_desktop_assembly, read_desktop_assembly
from vidreason.manifests.layouts.frame_labels import find_count_problem, find_segments
from vidreason.manifests.manifest import load_manifest, read_skipped
from vidreason.manifests.segments import SegmentIndex, load_segments
from vidreason.video.decode import decode_frames
from vidreason.video.frame_table import FrameTable

NAMES = ["2020-04-19_14-03-25", "2020-04-19_15-00-00", "2020-05-01_09-30-00"]
HALVES = {"train": 0.67, "test": 0.33}


def build(data, out, **flags):
    build_desktop_assembly(data, LayoutArguments(root="", out=str(out), **flags))
    return load_manifest(out)


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    """The authors' layout, without splits."""
    return desktop_assembly(tmp_path_factory.mktemp("release"))


def test_a_copy_becomes_a_manifest_with_segments(release, tmp_path):
    data = read_desktop_assembly(release, fractions=HALVES, group_pattern=r"^(\d+-\d+-\d+)")
    manifest = build(data, tmp_path / "out", num_proc=2)
    assert manifest.class_names == ["desktop_assembly"] and manifest.source == "desktop-assembly"
    by_split = {split: rows["video_id"] for split, rows in manifest.splits.items()}
    assert by_split == {"train": NAMES[:2], "test": NAMES[2:]}  # a day is not divided
    assert manifest.split("test")[0]["group"] == "2020-05-01"
    segments = load_segments(tmp_path / "out")
    assert {split: set(rows["video_id"]) for split, rows in segments.items()} == {
        k: set(v) for k, v in by_split.items()
    }
    rows = [row for row in segments["train"] if row["video_id"] == NAMES[0]]
    assert [(row["start_frame"], row["end_frame"], row["label"]) for row in rows] == [
        (0, 10, 0),
        (10, 20, 1),
        (20, 30, 3),
    ]
    assert [(row["start_s"], row["end_s"]) for row in rows] == [(0.0, 0.4), (0.4, 0.8), (0.8, 1.2)]
    assert segments["train"].features["label"].names == ACTIONS
    index = SegmentIndex(segments)
    decoded = decode_frames(manifest.video_path(manifest.split("train")[0]))
    found = [index.label_at(NAMES[0], timestamp_s) for timestamp_s in decoded.timestamps_s]
    assert found == [ACTIONS[0]] * 10 + [ACTIONS[1]] * 10 + [ACTIONS[3]] * 10


def test_load_dataset_opens_the_segments(release, tmp_path):
    import datasets

    build(read_desktop_assembly(release, fractions={"train": 1.0}), tmp_path / "out")
    table = datasets.load_dataset(str(tmp_path / "out" / "segments"), cache_dir=str(tmp_path / "cache"))
    assert table["train"].to_list() == load_segments(tmp_path / "out")["train"].to_list()
    assert "| train | 3 | 9 | 0.1 |" in (tmp_path / "out" / "segments" / "README.md").read_text()
    whole = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert whole["train"].num_rows == 3  # the manifest itself is not disturbed


VARIANTS = {
    "txt, mapping beside, numbered bundles": ({"suffix": ".txt", "mapping": "mapping.txt", "bundles": ".split2"}, 2),
    "as released, plain bundles": ({"bundles": ""}, None),
}


@pytest.mark.parametrize("options, split", VARIANTS.values(), ids=VARIANTS.keys())
def test_variants_of_the_layout(tmp_path, options, split):
    data = read_desktop_assembly(desktop_assembly(tmp_path, **options), split=split)
    expected = {f"{NAMES[0]}.mp4": "train", f"{NAMES[2]}.mp4": "train", f"{NAMES[1]}.mp4": "test"}
    assert data.layout.folds[""].split_of == expected and data.label_names == ACTIONS


def test_bundles_may_be_called_training_and_testing(tmp_path):
    root = desktop_assembly(tmp_path, bundles="")
    for name in ("train", "test"):
        (root / "splits" / f"{name}.bundle").rename(root / "splits" / f"{name}ing.bundle")
    put(root / "splits" / "val.bundle", f"groundTruth\\{NAMES[1]}.txt\n")
    put(root / "splits" / "testing.bundle", f"{NAMES[2]}.mp4\n")
    put(root / "splits" / "training.bundle", f"{NAMES[0]}\r\n")
    split_of = read_desktop_assembly(root).layout.folds[""].split_of
    assert split_of == {f"{NAMES[0]}.mp4": "train", f"{NAMES[2]}.mp4": "test", f"{NAMES[1]}.mp4": "validation"}


def test_labels_at_a_rate_of_their_own(tmp_path):
    root = desktop_assembly(tmp_path, num_labels=12)  # 12 labels for 30 frames in 1.2 s
    with pytest.raises(ManifestError) as caught:
        build(read_desktop_assembly(root, fractions={"train": 1.0}), tmp_path / "out")
    assert (
        "no videos in split 'train'; left out: 3 label_count, such as 2020-04-19_14-03-25.mp4: 12 labels for 30 "
        "frames in 1.20 s; labels at a rate of their own (10.00 per second?) need label_fps" in str(caught.value)
    )
    build(read_desktop_assembly(root, fractions={"train": 1.0}, label_fps=10), tmp_path / "out")
    rows = SegmentIndex(load_segments(tmp_path / "out")).segments_of(NAMES[0])
    assert [row["label"] for row in rows] == [ACTIONS[0], ACTIONS[1], ACTIONS[3]]
    assert [row["end_frame"] for row in rows] == [10, 20, 30]


def test_videos_with_other_counts_are_left_out(release, tmp_path):
    shutil.copytree(release, tmp_path / "copy")
    put(tmp_path / "copy" / "groundTruth" / NAMES[0], f"{ACTIONS[0]}\n" * 27)  # 3 too few
    put(tmp_path / "copy" / "groundTruth" / NAMES[1], f"{ACTIONS[1]}\r\n" * 28)  # 2 too few are let pass
    put(tmp_path / "copy" / "groundTruth" / NAMES[2], f"{ACTIONS[2]}\n" * 32)
    manifest = build(read_desktop_assembly(tmp_path / "copy", fractions={"train": 1.0}), tmp_path / "out")
    assert manifest.split("train")["video_id"] == NAMES[1:]
    (entry,) = read_skipped(tmp_path / "out")
    assert entry["reason"] == "label_count" and entry["detail"].startswith("27 labels for 30 frames in 1.20 s")
    index = SegmentIndex(load_segments(tmp_path / "out"))
    assert index.video_ids == set(NAMES[1:])
    assert [(of["end_frame"], of["end_s"]) for of in index.segments_of(NAMES[1])] == [(28, 1.12)]
    assert index.label_at(NAMES[1], 1.08) == ACTIONS[1]  # frame 27
    assert index.label_at(NAMES[1], 1.12) is None  # frame 28 has no label, and none is made up
    assert [(of["end_frame"], of["end_s"]) for of in index.segments_of(NAMES[2])] == [(30, 1.2)]


def test_an_empty_line_is_a_frame_without_a_label(release, tmp_path):
    root = shutil.copytree(release, tmp_path / "copy")
    first, second = ACTIONS[0], ACTIONS[1]
    # frames 10 to 12 are a gap; a form feed is no line end; the last two frames are a gap too
    lines = [first] * 10 + ["", " \t", ""] + [f"{second}\f"] * 15 + ["", ""]
    put(root / "groundTruth" / NAMES[0], "\n".join(lines) + "\n")
    put(root / "groundTruth" / NAMES[1], "\n".join(["", *[first] * 29]))  # without an end of the last line
    put(root / "groundTruth" / NAMES[2], "\n" * 2 + f"{first}\n" * 31)  # empty lines count: 33 for 30 frames
    build(read_desktop_assembly(root, fractions={"train": 1.0}), tmp_path / "out")
    index = SegmentIndex(load_segments(tmp_path / "out"))
    columns = ("start_frame", "end_frame", "label")
    found = {name: [tuple(of[column] for column in columns) for of in index.segments_of(name)] for name in NAMES}
    assert found == {NAMES[0]: [(0, 10, first), (13, 28, second)], NAMES[1]: [(1, 30, first)], NAMES[2]: []}
    assert index.label_at(NAMES[0], 0.44) is None and index.label_at(NAMES[0], 0.52) == second  # frames 11 and 13
    assert [entry["reason"] for entry in read_skipped(tmp_path / "out")] == ["label_count"]


def test_a_part_is_built(release, tmp_path):
    shutil.copytree(release, tmp_path / "copy")
    (tmp_path / "copy" / "groundTruth" / NAMES[0]).unlink()
    (tmp_path / "copy" / "videos" / f"{NAMES[1]}.mp4").unlink()
    data = read_desktop_assembly(tmp_path / "copy", fractions={"train": 1.0}, allow_incomplete=True)
    manifest = build(data, tmp_path / "out")
    assert manifest.split("train")["video_id"] == NAMES[2:]
    assert {entry["path"]: entry["reason"] for entry in read_skipped(tmp_path / "out")} == {
        f"{NAMES[0]}.mp4": "no_labels",
        NAMES[1]: "not_in_tree",
    }


def change(name, edit):
    """A breakage of one file: its text is changed."""

    def damage(root):
        file = root / name
        put(file, edit(file.read_text() if file.is_file() else ""))

    return damage


BROKEN = {
    "no labels": (lambda root: shutil.rmtree(root / "groundTruth"), "no groundTruth folder in it"),
    "no files of labels": (
        lambda root: [file.unlink() for file in (root / "groundTruth").iterdir()],
        "groundTruth: no files of labels in it",
    ),
    "no mapping": (
        lambda root: shutil.rmtree(root / "mapping"),
        "neither mapping/mapping.txt nor mapping.txt is in it",
    ),
    "no videos": (
        lambda root: shutil.rmtree(root / "videos"),
        "videos: no such folder; videos as <video>.mp4 were exp",
    ),
    "no splits": (
        lambda root: shutil.rmtree(root / "splits"),
        "splits: no such folder; without bundles of names, give fractions such as train=0.8",
    ),
    "numbered splits": (
        lambda root: [
            file.rename(file.with_name(file.stem + ".split3.bundle")) for file in (root / "splits").iterdir()
        ],
        "splits: no train.bundle and test.bundle in it; there are the splits 3: choose one",
    ),
    "a gap in the mapping": (
        change("mapping/mapping.txt", lambda text: text.replace("2 Tighten", "7 Tighten")),
        "mapping.txt: the ids do not count from 0 without a gap; missing: '2', '4', '5', '6'",
    ),
    "a mapping from 1": (
        change("mapping/mapping.txt", lambda text: text.replace("0 Pick_up_chip\n", "")),
        "mapping.txt: the ids do not count from 0 without a gap; missing: '0'",
    ),
    "an empty mapping": (
        change("mapping/mapping.txt", lambda text: ""),
        "mapping.txt: the mapping of ids to actions is empty",
    ),
    "a line that is no mapping": (
        change("mapping/mapping.txt", lambda text: "Pick_up_chip 0\n"),
        "mapping.txt: 'Pick_up_chip 0' is not <id> <name>",
    ),
    "an unknown label": (
        change(f"groundTruth/{NAMES[1]}", lambda text: text.replace("Background", "Dancing", 2)),
        f"1 labels of groundTruth are not in the mapping: 'Dancing ({NAMES[1]})'",
    ),
    "a file without labels": (
        change(f"groundTruth/{NAMES[1]}", lambda text: "\n\n"),
        f"1 files of groundTruth are empty: '{NAMES[1]}'",
    ),
    "labels twice": (
        change(f"groundTruth/{NAMES[1]}.txt", lambda text: "Background\n"),
        f"'{NAMES[1]}' and '{NAMES[1]}.txt' are labels of one video",
    ),
    "a video is missing": (
        lambda root: (root / "videos" / f"{NAMES[1]}.mp4").unlink(),
        f"1 of 3 files in groundTruth have no video in {{root}}/videos: '{NAMES[1]}'",
    ),
    "a video without labels": (
        lambda root: put(root / "videos" / "2020-06-06_06-06-06.mp4", clip_bytes(".mp4")),
        "1 of 4 videos have no file in groundTruth: '2020-06-06_06-06-06.mp4'",
    ),
    "a split of unknown videos": (
        change("splits/test.bundle", lambda text: text + "2021-01-01_01-01-01.txt\n"),
        "1 of 2 videos of test.bundle are not there: '2021-01-01_01-01-01'",
    ),
    "trained and tested on": (
        change("splits/test.bundle", lambda text: text + f"{NAMES[0]}.txt\n"),
        f"'{NAMES[0]}' is in train.bundle and in test.bundle",
    ),
}


@pytest.mark.parametrize("damage, message", BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_copy_is_named(tmp_path, damage, message):
    root = desktop_assembly(tmp_path / "copy", bundles="")
    damage(root)
    with pytest.raises(ManifestError) as caught:
        read_desktop_assembly(root)
    assert message.format(root=root) in str(caught.value) and "\n" not in str(caught.value)


def test_bad_requests_are_named(release):
    for flags, message in (
        ({"label_fps": 0.0}, "label_fps is 0.0, expected labels per second"),
        ({"fractions": HALVES, "split": 1}, "give a split of the bundles or fractions, not both"),
        ({"fractions": {"train": 0.5}}, "sum to 1"),
        ({"fractions": HALVES, "group_pattern": "^actor(.)"}, "3 videos do not match '^actor(.)'"),
        ({"split": 1}, "no such folder"),
    ):
        with pytest.raises(ManifestError) as caught:
            read_desktop_assembly(release, **flags)
        assert message in str(caught.value)


def table(num_frames, fps=25.0, times_s=None):
    times_s = np.arange(num_frames) / fps if times_s is None else np.asarray(times_s)
    keyframes = np.zeros(0, dtype=np.int64)
    return FrameTable(times_s, None, keyframes, fps, float(times_s[-1]) + 1 / fps, "counted", True)


@pytest.mark.parametrize(
    "num_labels, num_frames, label_fps, fits",
    [
        (30, 30, None, True),
        (28, 30, None, True),  # 2 labels
        (27, 30, None, False),
        (33, 30, None, False),
        (1010, 1000, None, True),  # 1 %
        (1011, 1000, None, False),
        (883, 2650, None, False),
        (883, 2650, 8.33, True),
        (873, 2650, 8.33, False),
        (0, 2, None, True),
    ],
)
def test_how_far_labels_and_frames_may_differ(num_labels, num_frames, label_fps, fits):
    assert (find_count_problem(num_labels, table(num_frames), label_fps) is None) == fits


def test_segments_follow_the_frames_own_times():
    times_s = [0.0, 0.04, 0.08, 0.5, 1.0, 1.04]  # variable frame rate
    segments = find_segments([0, 0, 1, 1, 0, 0], table(6, times_s=times_s))
    assert [tuple(segment) for segment in segments] == [
        (0, 2, 0.0, 0.08, 0),
        (2, 4, 0.08, 1.0, 1),
        (4, 6, 1.0, 1.08, 0),
    ]
    by_rate = find_segments([5, 6, 7], table(6, times_s=times_s), label_fps=2.0)
    assert [(*segment[:2], segment.label) for segment in by_rate] == [(0, 3, 5), (3, 4, 6), (4, 6, 7)]
    assert find_segments([], table(6)) == []


def test_a_rate_does_not_shift_labels_by_rounding():
    segments = find_segments(list(range(300)), table(300, fps=10.0), label_fps=10.0)
    assert [segment.start_frame for segment in segments] == [segment.label for segment in segments] == list(range(300))
