"""MultiSports: instances become clips with the annotation's frames and boxes, and hostile files are named."""

import pickle
import shutil
from collections import Counter

import numpy as np
import pytest
from fixtures.layout_trees import put

from datasets_scripts import build_multisports
from vidreason.detection.truth import TruthDetector
from vidreason.errors import ManifestError
from vidreason.files import read_folder
from vidreason.guidance import OBJECT_FEATURES
from vidreason.manifests.layouts import read_multisports
from vidreason.manifests.layouts.multisports import truth_features
from vidreason.manifests.manifest import load_manifest, read_skipped
from vidreason.video import decode_frames
from vidreason.video.writer import write_video

HEIGHT, WIDTH, FRAMES = 48, 96, 30
LABELS = ["aerobic turn", "aerobic bent leg(s) jump", "football pass"]
A, B, C, D = "aerobic_gymnastics/v_a_c001", "aerobic_gymnastics/v_b_c001", "football/v_c_c001", "football/v_d_c001"


def tube(first, last, box=(10, 12, 40, 36)):
    """Numbers from 1, as the release has them, and a box that moves by a pixel a frame."""
    numbers = np.arange(first, last + 1)
    return np.stack([numbers, *(np.full(len(numbers), side) + np.arange(len(numbers)) for side in box)], 1).astype(
        float
    )


def facts():
    jump = tube(11, 15)
    return {
        "labels": LABELS,
        "train_videos": [[A, B, D]],
        "test_videos": [[C]],
        "nframes": dict.fromkeys((A, B, C, D), FRAMES),
        "resolution": dict.fromkeys((A, B, C, D), (HEIGHT * 2, WIDTH * 2)),  # annotated at twice the size of the files
        "gttubes": {
            A: {0: [tube(1, 4), tube(27, 30, (100, 20, 140, 80))], 1: [jump]},
            B: {1: [tube(3, 9)]},
            C: {2: [tube(5, 12, (0, 0, 192, 96)), tube(8, 20)]},
            D: {2: [tube(5, 12)]},
        },
    }


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Frame k of each video is grey, 8 k + 8 bright: which frame a picture is can be read from it."""
    root = tmp_path_factory.mktemp("multisports") / "trainval"
    for name in (A, B, C):
        write_video(
            root / f"{name}.mp4", [np.full((HEIGHT, WIDTH, 3), 8 * k + 8, np.uint8) for k in range(FRAMES)], 25
        )
    return root


@pytest.fixture
def root(videos, tmp_path):
    shutil.copytree(videos, tmp_path / "trainval")
    put(tmp_path / "trainval" / "multisports_GT.pkl", pickle.dumps(facts()))
    return tmp_path / "trainval"


def run(monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["build_multisports", *map(str, arguments)])
    return build_multisports.main()


def brightest(path):
    """The decode indices that the frames of a clip had in their video."""
    return [round((frame.mean() - 8) / 8) for frame in decode_frames(path).frames]


def test_instances_become_clips_with_the_frames_and_boxes_of_their_tubes(root, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    assert run(monkeypatch, "--root", root.parent, "--out", out) == 1
    error = capsys.readouterr().err
    assert "has 3 classes, MultiSports has 66" in error and "1 of 3 videos of train are not there: 'football" in error
    flags = ("--root", root.parent, "--allow_incomplete", "--shorter_side_px", 24)
    assert run(monkeypatch, *flags, "--out", out, "--num_proc", 2) == 0
    assert "instances: 7, kept 6, left out 1" in capsys.readouterr().out
    manifest = load_manifest(out)
    assert manifest.class_names == LABELS and not manifest.missing_videos()
    rows = {row["video_id"]: (split, row) for split, of in manifest.splits.items() for row in of}
    spans = {
        f"{A}/aerobic_turn_000": (0, 4, "train"),
        f"{A}/aerobic_turn_001": (26, 30, "train"),
        f"{A}/aerobic_bent_leg_s__jump_000": (10, 15, "train"),
        f"{B}/aerobic_bent_leg_s__jump_000": (2, 9, "train"),
        f"{C}/football_pass_000": (4, 12, "test"),
        f"{C}/football_pass_001": (7, 20, "test"),
    }
    assert set(rows) == set(spans)
    for video_id, (start, end, split) in spans.items():
        found_split, row = rows[video_id]
        # frame number N is decode index N - 1
        assert brightest(manifest.video_path(row)) == list(range(start, end))
        assert (found_split, row["num_frames"], row["height"], row["width"]) == (split, end - start, 24, 48)
        assert row["group"] == video_id.rsplit("/", 1)[0] and row["fps"] == 25
    assert rows[f"{A}/aerobic_bent_leg_s__jump_000"][1]["label"] == 1
    assert [entry["reason"] for entry in read_skipped(out)] == ["no_video"]

    truth = read_folder(out / "truth")
    boxes = {(row["video_id"], row["frame_index"]): row for of in truth.values() for row in of}
    assert len(boxes) == sum(end - start for start, end, _ in spans.values())
    first = boxes[f"{C}/football_pass_001", 2]  # frame number 10: decode index 9
    assert first["timestamp_s"] == pytest.approx(2 / 25) and (first["frame_height"], first["frame_width"]) == (24, 48)
    assert [(entry["name"], entry["relevant"]) for entry in first["objects"]] == [
        ("person", True),
        ("person 2", False),
    ]
    assert first["objects"][0]["box"] == pytest.approx([12 / 192, 14 / 96, 42 / 192, 38 / 96])
    assert first["objects"][1]["box"] == pytest.approx([5 / 192, 5 / 96, 1, 1])  # clipped to the frame
    assert set(truth_features()["objects"].feature) == set(OBJECT_FEATURES)
    # the form of a synthetic world's truth, so that whatever reads that reads this
    detector = TruthDetector(out / "truth")
    (found,) = detector.detect([], [first], "person")
    assert detector.vocabulary == ("person",) and len(found) == 2


def test_a_second_run_cuts_nothing_anew_and_other_settings_are_refused(root, tmp_path, monkeypatch, capsys):
    flags = ("--root", root, "--out", tmp_path / "out", "--allow_incomplete", "--shorter_side_px", 24)
    assert run(monkeypatch, *flags) == 0
    clips = sorted((tmp_path / "out" / "clips").rglob("*.mp4"))
    times = {path: path.stat().st_mtime_ns for path in clips}
    clips[0].unlink()
    clips[1].write_bytes(clips[1].read_bytes()[:900])  # cut short
    assert run(monkeypatch, *flags) == 0
    later = {path for path in clips if path.stat().st_mtime_ns != times[path]}
    assert len(clips) == 6 and later == set(clips[:2])
    capsys.readouterr()
    assert run(monkeypatch, *flags[:-1], 48) == 1
    assert "holds clips of {" in capsys.readouterr().err


def test_parts_of_training_are_drawn_by_video_and_by_instance(root, tmp_path, monkeypatch, capsys):
    flags = ("--root", root, "--allow_incomplete", "--shorter_side_px", 24)
    assert run(monkeypatch, *flags, "--out", tmp_path / "v", "--validation_fraction", 0.5) == 0
    groups = {split: set(rows["group"]) for split, rows in load_manifest(tmp_path / "v").splits.items()}
    assert groups["train"] | groups["validation"] == {A, B} and not groups["train"] & groups["validation"]
    assert groups["test"] == {C}
    assert run(monkeypatch, *flags, "--out", tmp_path / "n", "--max_train_instances", 2) == 0
    assert {split: len(rows) for split, rows in load_manifest(tmp_path / "n").splits.items()} == {
        "train": 2,
        "test": 2,
    }
    assert Counter(entry["reason"] for entry in read_skipped(tmp_path / "n")) == {"not_drawn": 2, "no_video": 1}
    for flag, value in (("--validation_fraction", 1.0), ("--max_train_instances", 0), ("--shorter_side_px", 2)):
        capsys.readouterr()
        assert run(monkeypatch, *flags, "--out", tmp_path / "x", flag, value) == 1
        assert f"{flag[2:]} is {value}" in capsys.readouterr().err


def test_instances_that_cannot_be_used_are_counted_by_reason(root, tmp_path, monkeypatch, capsys):
    bad = facts()
    bad["gttubes"][A][0] = [
        tube(1, 4),
        tube(0, 4),  # before the first frame
        tube(28, 31),  # behind the last
        tube(1, 4)[::-1].copy(),
        tube(1, 4)[:, :4].copy(),
        tube(1, 4) + 0.5,
        np.full((2, 5), np.nan),
        np.full((2, 5), 1e300),
        np.zeros((0, 5)),
        tube(1, 4, (300, 0, 310, 20)),  # beside the picture
        [[1, 2, 3, 4]],
        "tube",
        None,
    ]
    bad["nframes"][B] = 100
    bad["gttubes"][B][1] = [tube(28, 32)]  # the file has fewer frames than the annotation says
    put(root / "multisports_GT.pkl", pickle.dumps(bad))
    flags = ("--root", root, "--out", tmp_path / "out", "--allow_incomplete", "--shorter_side_px", 24)
    assert run(monkeypatch, *flags) == 0
    reasons = Counter(entry["reason"] for entry in read_skipped(tmp_path / "out"))
    assert reasons == {"bad_tube": 9, "outside_video": 3, "bad_box": 1, "no_video": 1}
    assert "instances: 18, kept 4, left out 14" in capsys.readouterr().out


def changed(**parts):
    return pickle.dumps({**facts(), **parts})


class Runs:
    def __reduce__(self):
        return pytest.fail, ("code in the file was run",)


BROKEN = {
    "code": (changed(labels=[Runs()]), r"it names _pytest\.\S+ \(nothing in it was run\)"),
    "a list": (pickle.dumps([1]), "no dictionary with labels, train_videos"),
    "no tubes": (pickle.dumps({"labels": []}), "no dictionary with train_videos, test_videos"),
    "no names": (changed(labels=[1]), "labels is no list of names"),
    "a name twice": (changed(labels=["a", "a"]), "labels names 'a' twice"),
    "a path that leads out": (changed(gttubes={"../../x": {}}), "is no <sport>/<video>"),
    "an absolute path": (changed(gttubes={"/etc": {}}), "is no <sport>/<video>"),
    "no number of frames": (changed(nframes={}), "nframes has no number of frames of 'aerobic"),
    "no size": (changed(resolution={A: (1, 2, 3)}), "resolution has no height and width of 'aerobic"),
    "an unknown class": (changed(gttubes={A: {3: []}}), "has instances of an unknown class '3'"),
    "in both splits": (changed(test_videos=[[A, C]]), "1 videos are in train_videos and in test_videos"),
    "in no split": (changed(test_videos=[[]]), "1 videos have instances and are in no list: 'football/v_c_c001'"),
    "no names of videos": (changed(train_videos=[[1]]), "train_videos is no list of names"),
    "instances without end": (changed(gttubes={A: {0: [[tube(1, 2)]] * 1_000_001}}), "more than 1000000 instances"),
}


@pytest.mark.parametrize("content, message", BROKEN.values(), ids=BROKEN.keys())
def test_broken_annotations_are_named(root, content, message):
    put(root / "multisports_GT.pkl", content)
    with pytest.raises(ManifestError, match=message):
        read_multisports(root, allow_incomplete=True)


def test_class_names_of_the_release(shared_data, root):
    lines = (shared_data / "label_maps" / "multisports.txt").read_text().split("\n")
    names = [line.split(": ")[1] for line in lines if line]
    put(root / "multisports_GT.pkl", changed(labels=names))
    assert read_multisports(root, allow_incomplete=True).class_names[65] == "basketball_jump_ball"
    with pytest.raises(ManifestError, match=r"no multisports_GT\.pkl in it or beside it"):
        (root / "multisports_GT.pkl").unlink()
        read_multisports(root)
