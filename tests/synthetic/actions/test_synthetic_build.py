"""The data set on disk: videos, manifest and ground truth."""

from collections import Counter

import numpy as np
import pytest
from datasets import ClassLabel, load_dataset
from fixtures.small_worlds import ACTIONS_WORLD

from vidreason.errors import ConfigError
from vidreason.files import read_folder
from vidreason.synthetic import (
    ACTIONS,
    SOURCE,
    TRUTH_FOLDER,
    build_synthetic_actions,
    clip_seed,
    draw_nuisance,
    render_clip,
    truth_features,
)
from vidreason.video import decode_frames, probe_video

CONFIG, SIZES = ACTIONS_WORLD.config, ACTIONS_WORLD.sizes


@pytest.fixture(scope="module")
def folder(folder_of):
    return folder_of(ACTIONS_WORLD)


@pytest.fixture(scope="module")
def truth(folder):
    return read_folder(folder / TRUTH_FOLDER)


def test_labels_are_balanced_and_files_are_where_the_manifest_says(folder):
    manifest = build_synthetic_actions(folder, CONFIG, SIZES, seed=3)
    assert manifest.class_names == list(ACTIONS) and manifest.source == SOURCE
    assert Counter(manifest.split("train")["label"]) == dict.fromkeys(range(12), 2)
    assert {split: len(rows) for split, rows in manifest.splits.items()} == SIZES
    for split, rows in manifest.splits.items():
        for index, row in enumerate(rows):
            action = ACTIONS[row["label"]]
            assert row["path"] == f"{split}/{action}/{split}_{index:05d}.mp4"
            info = probe_video(manifest.video_path(row))
            assert (info.width, info.height, info.num_frames, info.fps) == (96, 72, 8, pytest.approx(12))
            assert (row["width"], row["height"], row["num_frames"], row["fps"]) == (96, 72, 8, 12)
            assert info.codec == "h264"


def test_both_folders_open_with_load_dataset(folder, tmp_path):
    videos = load_dataset(str(folder), cache_dir=str(tmp_path))
    assert {split: len(rows) for split, rows in videos.items()} == SIZES
    assert isinstance(videos["train"].features["label"], ClassLabel)
    frames = load_dataset(str(folder / TRUTH_FOLDER), cache_dir=str(tmp_path))
    assert {split: len(rows) for split, rows in frames.items()} == {split: 8 * size for split, size in SIZES.items()}
    assert frames["train"].features == truth_features()
    assert frames["train"].features["label"].names == list(ACTIONS)


def test_the_truth_belongs_to_the_decoded_frames(folder, truth):
    manifest = build_synthetic_actions(folder, CONFIG, SIZES, seed=3)
    for split, rows in manifest.splits.items():
        for index, row in enumerate(rows.select(range(5))):
            decoded = decode_frames(manifest.video_path(row))
            found = [entry for entry in truth[split] if entry["video_id"] == row["video_id"]]
            assert [entry["timestamp_s"] for entry in found] == pytest.approx(decoded.timestamps_s, abs=1e-9)
            assert [entry["frame_index"] for entry in found] == decoded.frame_indices
            assert {(entry["frame_height"], entry["frame_width"]) for entry in found} == {decoded.frames.shape[1:3]}
            seed, action = clip_seed(3, split, index), ACTIONS[row["label"]]
            clip = render_clip(action, seed, CONFIG, draw_nuisance(action, split, seed))
            difference = decoded.frames.astype(int) - clip.frames
            assert np.abs(difference).mean() < 16 and np.abs(difference.mean(axis=(0, 1, 2))).max() < 4
            for entry, frame in zip(found, clip.truth.frames, strict=True):
                assert entry["segment"] == frame.segment and entry["relations"] == frame.relations
                assert [o["name"] for o in entry["objects"]] == [o["name"] for o in frame.objects]
                for stored, drawn in zip(entry["objects"], frame.objects, strict=True):
                    np.testing.assert_allclose(stored["box"], drawn["box"], atol=1e-6)


def test_the_truth_names_its_nuisances(truth):
    for split, rows in truth.items():
        for row in rows.select(range(0, len(rows), 8)):
            index = int(row["video_id"].rsplit("_", 1)[1])
            nuisance = draw_nuisance(ACTIONS[row["label"]], split, clip_seed(3, split, index))
            assert {name: row[name] for name in vars(nuisance)} == vars(nuisance)
    assert not any(truth["test_shifted"]["background_tied"])
    assert not any(truth["test_shifted"]["cooccurring_object_tied"])


def test_cards_tell_what_is_in_the_folders(folder):
    card = (folder / "README.md").read_text()
    assert "`pick_up` and `put_down`" in card and "| train | 0.4 | 0.6 |" in card and "| wave | paper |" in card
    assert "`relevant`" in (folder / TRUTH_FOLDER / "README.md").read_text()


def test_a_request_without_every_class_is_named(tmp_path):
    with pytest.raises(ConfigError, match="12 clips"):
        build_synthetic_actions(tmp_path / "world", split_sizes={"train": 11, "test": 3})
    assert not (tmp_path / "world").exists()
