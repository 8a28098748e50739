"""The tables of GMDCSA24 as they were published, and the videos of it that are beside the repository."""

import itertools

import pytest

from vidreason.manifests.layouts import LayoutArguments, build_gmdcsa24, read_gmdcsa24
from vidreason.manifests.manifest import load_manifest, read_skipped
from vidreason.manifests.segments import SegmentIndex, load_segments
from vidreason.video import decode_frames

# (action, start, end) in seconds, worked out by hand from the tables and the rule
EXPECTED = {
    # Eating[7.7 to 9]; Sitting[6.9 to 9]; Standing[3 to 6.4]; Walking[0 to 1.7]
    "subject_4/ADL/19": [("Walking", 0, 1.7), ("Standing", 3, 6.4), ("Sitting", 6.9, 7.7), ("Eating", 7.7, 9)],
    # Falling (BW)[6.9 to 12]; Drinking[3.5 to 5.3]; Standing[3.6 to 6.9]; Walking[0 to 3.6]
    "subject_2/Fall/12": [
        ("Walking", 0, 3.5),
        ("Drinking", 3.5, 5.3),
        ("Standing", 5.3, 6.9),
        ("Falling backward", 6.9, 12),
    ],
    # Exercising[0 to 3]; Standing[0 to 0.3; 1.5 to 2.2]
    "subject_3/ADL/07": [("Exercising", 0, 3)],
    # Eating[5.1 to 5.8]; Sitting[0.6 to 11]; Walking[0 to 0.5]
    "subject_3/ADL/18": [("Walking", 0, 0.5), ("Sitting", 0.6, 5.1), ("Eating", 5.1, 5.8), ("Sitting", 5.8, 11)],
    # Falling (SW) [1.8 to 6] ; Sitting [0 to 2]
    "subject_1/Fall/15": [("Sitting", 0, 1.8), ("Falling sideways", 1.8, 6)],
    # Falling (SW)[1.8 to 7]; Walking[0 to 1.7], in a video of 6.08 s
    "subject_3/Fall/16": [("Walking", 0, 1.7), ("Falling sideways", 1.8, 6.08)],
    # Fall (FW)[0 to 3]
    "subject_3/Fall/01": [("Falling forward", 0, 3)],
}

# (table, line, outcome, reason), found by eye
NOTES = [
    ("subject_1/Fall.csv", 6, "corrected", "separator"),  # Falling (SW)[1.8 to 5]:
    ("subject_2/ADL.csv", 7, "left out", "start_after_end"),  # Sitting[9.7 to 3]
    ("subject_2/Fall.csv", 12, "corrected", "brackets"),  # Falling (BW[5.9 to 10]
    ("subject_2/Fall.csv", 20, "corrected", "separator"),  # Eating[0.9 4.6]
    ("subject_3/ADL.csv", 5, "corrected", "brackets"),  # Standing[2.4 to 3.6; 6.6 to 7.9; Walking[
    ("subject_3/ADL.csv", 8, "noted", "hidden"),  # both times of standing, while exercising
    ("subject_3/ADL.csv", 8, "noted", "hidden"),
    ("subject_3/ADL.csv", 13, "left out", "no_times"),  # Reading; Sitting[0.8 to 8.1]
    ("subject_3/ADL.csv", 16, "noted", "hidden"),  # sitting, while reading throughout
    ("subject_3/Fall.csv", 2, "corrected", "spelling"),  # Fall (FW)
    ("subject_3/Fall.csv", 3, "corrected", "spelling"),
    ("subject_3/Fall.csv", 17, "corrected", "past_the_end"),
    ("subject_3/Fall.csv", 17, "noted", "length"),  # 7 s is stated, too
    ("subject_4/Fall.csv", 10, "corrected", "separator"),  # Falling (BW)[2.3 6]
    ("subject_4/Fall.csv", 16, "left out", "no_times"),  # Falling (FW)
]


@pytest.fixture(scope="module")
def built(shared_data, tmp_path_factory):
    """(folder of the manifests, notes), a fold for each person."""
    root = shared_data / "gmdcsa24"
    if not root.is_dir():
        pytest.skip("no GMDCSA24 in ../shared/data")
    out = tmp_path_factory.mktemp("gmdcsa24")
    data = read_gmdcsa24(root, allow_incomplete=True)
    return out, build_gmdcsa24(data, LayoutArguments(root="", out=str(out)))[1]


def test_four_people_are_left_out_in_turn(built):
    out, _ = built
    counts = {}
    for fold in sorted(out.iterdir()):
        splits = load_manifest(fold).splits
        assert set(splits["test"]["group"]).isdisjoint(splits["train"]["group"])
        counts[fold.name] = (splits["test"].num_rows, splits["train"].num_rows)
    assert counts == {
        "fold_subject_1": (5, 18),
        "fold_subject_2": (4, 19),
        "fold_subject_3": (10, 13),
        "fold_subject_4": (4, 19),
    }
    # 16 + 16, 23 + 25, 22 + 21 and 20 + 17 lines in the tables
    assert [entry["reason"] for entry in read_skipped(out / "fold_subject_1")] == ["not_in_tree"] * (160 - 23)


def test_every_error_of_the_tables_is_told_and_nothing_else(built):
    _, notes = built
    assert [(note.file, note.line, note.outcome, note.reason) for note in notes] == NOTES


@pytest.mark.parametrize("video_id", EXPECTED)
def test_segments_are_those_that_a_person_reads_from_the_tables(built, shared_data, video_id):
    out, _ = built
    index = SegmentIndex(load_segments(out / "fold_subject_1"))
    segments = index.segments_of(video_id)
    assert [segment["label"] for segment in segments] == [label for label, _, _ in EXPECTED[video_id]]
    decoded = decode_frames(shared_data / "gmdcsa24" / f"{video_id}.mp4")
    times_s = decoded.timestamps_s
    for segment, (_, start_s, end_s) in zip(segments, EXPECTED[video_id], strict=True):
        inside = [i for i, t in enumerate(times_s) if start_s - 1e-6 <= t < end_s - 1e-6]
        assert (segment["start_frame"], segment["end_frame"]) == (inside[0], inside[-1] + 1)
        assert segment["start_s"] == pytest.approx(times_s[inside[0]])
        assert segment["end_s"] == pytest.approx(end_s, abs=0.09)  # the next frame, at 12 to 30 a second


def test_segments_do_not_overlap_and_most_seconds_have_one(built):
    out, _ = built
    segments = load_segments(out / "fold_subject_1")
    by_video: dict[str, list[dict]] = {}
    for rows in segments.values():
        for row in rows:
            by_video.setdefault(row["video_id"], []).append(row)
    assert len(by_video) == 23
    for rows in by_video.values():
        assert all(a["end_frame"] <= b["start_frame"] for a, b in itertools.pairwise(rows))
    covered_s = sum(row["end_s"] - row["start_s"] for rows in by_video.values() for row in rows)
    manifest = load_manifest(out / "fold_subject_1")
    whole_s = sum(sum(rows["duration_s"]) for rows in manifest.splits.values())
    text = (out / "fold_subject_1" / "README.md").read_text()
    assert f"No label covers {whole_s - covered_s:.1f} of the {whole_s:.1f} seconds of all 23 videos" in text
