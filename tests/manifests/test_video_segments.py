"""The table of actions beside a manifest, and look-ups in it by time."""

import json

import pytest

from vidreason.errors import ManifestError
from vidreason.manifests.segments import SegmentIndex, load_segments, write_segments

NAMES = ["reach", "grasp", "background"]


def row(video_id, start_frame, end_frame, label, fps=10.0):
    times = {"start_s": start_frame / fps, "end_s": end_frame / fps}
    return {"video_id": video_id, "start_frame": start_frame, "end_frame": end_frame, **times, "label": label}


ROWS = {
    "train": [row("a", 0, 3, "reach"), row("a", 3, 5, 1), row("a", 7, 9, "reach"), row("b", 2, 4, "grasp")],
    "test": [row("c", 0, 4, "background")],
}


@pytest.fixture
def index(tmp_path):
    write_segments(tmp_path, ROWS, NAMES, "toys")
    return SegmentIndex(load_segments(tmp_path))


def test_a_table_is_read_as_it_was_written(tmp_path):
    folder = write_segments(tmp_path, ROWS, NAMES, "toys")
    assert folder == tmp_path / "segments"
    for place in (tmp_path, folder):
        table = load_segments(place)
        assert table["train"].features["label"].names == NAMES and table["train"]["label"] == [0, 1, 0, 1]
        assert table["test"].to_list() == [row("c", 0, 4, 2)]
    card = (folder / "README.md").read_text()
    assert "| train | 2 | 4 | 0.0 |" in card and "reach, grasp, background" in card and "videos of toys" in card


def test_a_split_that_is_gone_does_not_stay(tmp_path):
    write_segments(tmp_path, ROWS, NAMES)
    write_segments(tmp_path, {"train": ROWS["train"]}, NAMES)
    assert list(load_segments(tmp_path)) == ["train"]


@pytest.mark.parametrize(
    "video_id, timestamp_s, label",
    [
        ("a", 0.0, "reach"),
        ("a", 0.29, "reach"),
        ("a", 0.3, "grasp"),
        ("a", 0.3 - 1e-9, "grasp"),  # a frame's time, stored with less precision
        ("a", 0.49, "grasp"),
        ("a", 0.5, None),  # no label from here to 0.7
        ("a", 0.69, None),
        ("a", 0.7, "reach"),
        ("a", 0.9, None),
        ("a", -0.1, None),
        ("b", 0.1, None),
        ("b", 0.2, "grasp"),
        ("c", 0.1, "background"),
        ("d", 0.1, None),
    ],
)
def test_the_action_at_a_time(index, video_id, timestamp_s, label):
    assert index.label_at(video_id, timestamp_s) == label


def test_the_segments_of_a_video(index):
    assert index.video_ids == {"a", "b", "c"}
    assert [segment["label"] for segment in index.segments_of("a")] == ["reach", "grasp", "reach"]
    assert json.loads(json.dumps(index.segments_of("b"))) == [
        {"start_frame": 2, "end_frame": 4, "start_s": 0.2, "end_s": 0.4, "label": "grasp"}
    ]
    assert index.segments_of("d") == []
    index.segments_of("a")[0]["label"] = "changed"
    assert index.label_at("a", 0.0) == "reach"


def test_one_split_may_be_looked_up_alone(tmp_path):
    write_segments(tmp_path, ROWS, NAMES)
    index = SegmentIndex(load_segments(tmp_path)["test"])
    assert index.video_ids == {"c"} and index.label_at("a", 0.0) is None


BROKEN = {
    "no length": ([row("a", 3, 3, 0)], "segments of a (train): frames 3 to 3, 0.3 to 0.3 s: nothing lasts so long"),
    "backwards": ([row("a", 3, 2, 0)], "nothing lasts so long"),
    "overlap": ([row("a", 0, 3, 0), row("a", 2, 4, 1)], "frames 2 to 4: starts before the segment in front ends"),
    "out of order": ([row("a", 4, 6, 0), row("a", 0, 2, 1)], "frames 0 to 2: starts before the segment in front ends"),
    "in two places": (
        [row("a", 0, 1, 0), row("b", 0, 1, 0), row("a", 1, 2, 0)],
        "segments of a (train): given in two",
    ),
    "unknown name": ([row("a", 0, 1, "jump")], "unknown label 'jump'; labels are ['reach', 'grasp', 'background']"),
    "unknown id": ([row("a", 0, 1, 3)], "unknown label 3"),
    "negative id": ([row("a", 0, 1, -1)], "unknown label -1"),
}


@pytest.mark.parametrize("rows, message", BROKEN.values(), ids=BROKEN.keys())
def test_broken_segments_are_named(tmp_path, rows, message):
    with pytest.raises(ManifestError) as caught:
        write_segments(tmp_path, {"train": rows}, NAMES)
    assert message in str(caught.value)
    assert not list(tmp_path.rglob("*.parquet"))


def test_what_is_no_table_is_named(tmp_path):
    with pytest.raises(ManifestError, match="no table of segments"):
        load_segments(tmp_path)
    write_segments(tmp_path / "one", ROWS, NAMES)
    import datasets

    (tmp_path / "two" / "data").mkdir(parents=True)
    datasets.Dataset.from_dict({"x": [1]}).to_parquet(tmp_path / "two" / "data" / "train-00000-of-00001.parquet")
    with pytest.raises(ManifestError, match=r"split 'train': columns \['video_id', .* are missing; is this a segment"):
        load_segments(tmp_path / "two")
