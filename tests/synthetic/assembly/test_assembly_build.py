"""The assembly data set on disk: videos, manifest, segments and ground truth."""

from itertools import groupby, pairwise

import numpy as np
import pytest
from datasets import ClassLabel, load_dataset
from fixtures.small_worlds import ASSEMBLY_WORLD

from vidreason.annotation import truth_guidance
from vidreason.files import read_folder
from vidreason.guidance.schema import check_row
from vidreason.manifests.segments import SEGMENTS_FOLDER, SegmentIndex, load_segments
from vidreason.synthetic import TRUTH_FOLDER, clip_seed, truth_features
from vidreason.synthetic.assembly import (
    ACTIVITY,
    ASSEMBLY_ACTIONS,
    DEFAULT_SPLIT_SIZES,
    SOURCE,
    assembly_truth_features,
    build_synthetic_assembly,
    draw_sequence,
    render_assembly,
)
from vidreason.video import decode_frames, probe_video

CONFIG, SIZES = ASSEMBLY_WORLD.config, ASSEMBLY_WORLD.sizes


@pytest.fixture(scope="module")
def folder(folder_of):
    return folder_of(ASSEMBLY_WORLD)


@pytest.fixture(scope="module")
def truth(folder):
    return read_folder(folder / TRUTH_FOLDER)


def test_files_are_where_the_manifest_says(folder):
    manifest = build_synthetic_assembly(folder, CONFIG, SIZES, seed=3)
    assert manifest.class_names == [ACTIVITY] and manifest.source == SOURCE
    assert {split: len(rows) for split, rows in manifest.splits.items()} == SIZES
    for split, rows in manifest.splits.items():
        for index, row in enumerate(rows):
            assert row["path"] == f"{split}/{split}_{index:05d}.mp4"
            info = probe_video(manifest.video_path(row))
            frames = draw_sequence(clip_seed(3, split, index), split, CONFIG)[-1].end_frame
            assert (info.width, info.height, info.num_frames, info.fps) == (96, 72, frames, pytest.approx(10))
            assert (row["width"], row["height"], row["num_frames"], row["fps"]) == (96, 72, frames, 10)
            assert row["duration_s"] == pytest.approx(frames / 10)
            assert info.codec == "h264"


def test_segments_cover_every_video_without_overlap(folder, truth):
    manifest = build_synthetic_assembly(folder, CONFIG, SIZES, seed=3)
    segments = load_segments(folder)
    assert segments["train"].features["label"].names == list(ASSEMBLY_ACTIONS)
    index = SegmentIndex(segments)
    for split, rows in manifest.splits.items():
        for row in rows:
            found = index.segments_of(row["video_id"])
            assert found[0]["start_frame"] == 0 and found[0]["start_s"] == 0
            assert found[-1]["end_frame"] == row["num_frames"]
            assert found[-1]["end_s"] == pytest.approx(row["duration_s"])
            assert all(one["end_frame"] == other["start_frame"] for one, other in pairwise(found))
            assert all(one["end_s"] == other["start_s"] for one, other in pairwise(found))
            frames = [frame for frame in truth[split] if frame["video_id"] == row["video_id"]]
            labels = [index.label_at(row["video_id"], frame["timestamp_s"]) for frame in frames]
            assert labels == [frame["segment"] for frame in frames]
            assert labels == [ASSEMBLY_ACTIONS[frame["label"]] for frame in frames]
            assert [label for label, _ in groupby(labels)] == [segment["label"] for segment in found]


def test_the_truth_belongs_to_the_decoded_frames(folder, truth):
    manifest = build_synthetic_assembly(folder, CONFIG, SIZES, seed=3)
    row = manifest.split("train")[1]
    decoded = decode_frames(manifest.video_path(row))
    found = [entry for entry in truth["train"] if entry["video_id"] == row["video_id"]]
    assert [entry["timestamp_s"] for entry in found] == pytest.approx(decoded.timestamps_s, abs=1e-9)
    assert [entry["frame_index"] for entry in found] == decoded.frame_indices
    assert {(entry["frame_height"], entry["frame_width"]) for entry in found} == {decoded.frames.shape[1:3]}
    rendered = list(render_assembly(clip_seed(3, "train", 1), "train", CONFIG))
    for entry, frame, pixels in zip(found, rendered, decoded.frames, strict=True):
        assert np.abs(pixels.astype(int) - frame.picture).mean() < 16
        assert entry["relations"] == frame.truth.relations and entry["segment"] == frame.truth.segment
        assert [o["name"] for o in entry["objects"]] == [o["name"] for o in frame.truth.objects]
        for stored, drawn in zip(entry["objects"], frame.truth.objects, strict=True):
            np.testing.assert_allclose(stored["box"], drawn["box"], atol=1e-6)
            assert stored["relevant"] == drawn["relevant"] and stored["role"] == drawn["role"]


def test_all_three_folders_open_with_load_dataset(folder, tmp_path):
    videos = load_dataset(str(folder), cache_dir=str(tmp_path))
    assert {split: len(rows) for split, rows in videos.items()} == SIZES
    frames = load_dataset(str(folder / TRUTH_FOLDER), cache_dir=str(tmp_path))
    assert {split: len(rows) for split, rows in frames.items()} == {
        split: sum(videos[split]["num_frames"]) for split in SIZES
    }
    assert frames["train"].features == assembly_truth_features()
    segments = load_dataset(str(folder / SEGMENTS_FOLDER), cache_dir=str(tmp_path))
    assert isinstance(segments["train"].features["label"], ClassLabel)
    assert set(segments) == set(SIZES)


def test_the_truth_has_the_columns_of_the_synthetic_actions():
    ours, theirs = assembly_truth_features(), truth_features()
    assert list(ours) == list(theirs)
    assert {name: feature for name, feature in ours.items() if name != "label"} == {
        name: feature for name, feature in theirs.items() if name != "label"
    }


def test_the_truth_names_its_nuisances(truth):
    for split, rows in truth.items():
        for index, (_, frames) in enumerate(groupby(rows, key=lambda row: row["video_id"])):
            frames, sequence = list(frames), draw_sequence(clip_seed(3, split, index), split, CONFIG)
            for segment in sequence:
                for row in frames[segment.start_frame : segment.end_frame]:
                    assert row["cooccurring_object"] == segment.sign
                    assert row["cooccurring_object_tied"] == segment.sign_tied
            assert len({row["background"] for row in frames}) == 1
    assert not any(truth["test_shifted"]["cooccurring_object_tied"])
    assert not any(value for rows in truth.values() for value in rows["background_tied"])


def test_guidance_from_the_truth_is_valid_and_empty_in_pauses(truth):
    rows = truth["train"].to_list()
    statuses = {}
    for guidance, row in zip(truth_guidance(rows), rows, strict=True):
        check_row(guidance)
        statuses.setdefault(row["segment"] == "background", set()).add(guidance["status"])
        names = {entry["name"] for entry in guidance["objects"] if entry["relevant"]}
        assert (row["segment"] != "background") or not names
    assert statuses == {True: {"empty"}, False: {"ok"}}


def test_cards_tell_what_is_in_the_folders(folder):
    card = (folder / "README.md").read_text()
    sequences = [draw_sequence(clip_seed(3, split, n), split, CONFIG) for split in SIZES for n in range(SIZES[split])]
    wipes = sum(segment.label == "wipe" for sequence in sequences for segment in sequence)
    assert f"| wipe | {wipes} |" in card and "| train | 0.6 |" in card and "| put_away | lime bars |" in card
    assert "Limits" in card and "Seed 3" in card
    assert "`relevant`" in (folder / TRUTH_FOLDER / "README.md").read_text()
    assert "take_board" in (folder / SEGMENTS_FOLDER / "README.md").read_text()


def test_default_sizes():
    assert DEFAULT_SPLIT_SIZES == {"train": 30, "validation": 4, "test": 10, "test_shifted": 10}
