"""The data set on disk: videos, manifest and ground truth."""

import json
from collections import Counter

import numpy as np
import pytest
from datasets import ClassLabel, load_dataset

from vidreason.errors import ConfigError
from vidreason.parquet_folder import read_folder
from vidreason.synthetic import (
    ACTIONS,
    SOURCE,
    TRUTH_FOLDER,
    WorldConfig,
    build_synthetic_actions,
    clip_seed,
    draw_nuisance,
    render_clip,
    truth_features,
)
from vidreason.video import decode_frames, probe_video

CONFIG = WorldConfig(width=96, height=72, num_frames=8)
SIZES = {"train": 24, "test_shifted": 5}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("synthetic") / "built"
    build_synthetic_actions(path, CONFIG, SIZES, seed=3, num_proc=2)
    return path


@pytest.fixture(scope="module")
def truth(folder):
    return read_folder(folder / TRUTH_FOLDER)


def count_videos(folder):
    return len(list(folder.rglob("*.mp4")))


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


def test_clips_do_not_depend_on_processes_or_on_how_many_there_are(folder, tmp_path):
    build_synthetic_actions(tmp_path / "other", CONFIG, {"test_shifted": 3, "train": 14}, seed=3, num_proc=1)
    names = sorted(path.relative_to(tmp_path / "other") for path in (tmp_path / "other").rglob("*.mp4"))
    assert len(names) == 17
    for name in names:
        # the frames are the same to the byte before encoding; x264 does not promise the same bytes every time
        built, other = (decode_frames(root / name).frames.astype(int) for root in (folder, tmp_path / "other"))
        assert np.abs(built - other).mean() < 6  # another clip is more than 20 away
    rows, other_rows = (read_folder(path / TRUTH_FOLDER)["train"] for path in (folder, tmp_path / "other"))
    assert rows.select(range(len(other_rows))).to_list() == other_rows.to_list()


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


def test_a_complete_folder_is_left_alone_and_other_settings_are_named(folder):
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    build_synthetic_actions(folder, CONFIG, SIZES, seed=3)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()} == before
    with pytest.raises(ConfigError, match=r"seed is 3 and not 4.*split_sizes\.train is 24 and not 12"):
        build_synthetic_actions(folder, CONFIG, {**SIZES, "train": 12}, seed=4)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()} == before


def test_overwriting_and_building_again_after_an_interruption(tmp_path):
    config = WorldConfig(width=64, height=48, num_frames=6)
    build_synthetic_actions(tmp_path / "world", config, {"train": 13}, seed=0)
    build_synthetic_actions(tmp_path / "world", config, {"test": 12}, seed=1, overwrite=True)
    assert count_videos(tmp_path / "world") == 12
    assert set(read_folder(tmp_path / "world" / TRUTH_FOLDER)) == {"test"}
    (tmp_path / "world" / "settings.json").rename(tmp_path / "world" / "settings.unfinished.json")
    manifest = build_synthetic_actions(tmp_path / "world", config, {"train": 12}, seed=0)
    assert list(manifest.splits) == ["train"] and count_videos(tmp_path / "world") == 12
    assert json.loads((tmp_path / "world" / "settings.json").read_text())["seed"] == 0


def test_foreign_files_are_never_touched(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(ConfigError, match="not empty"):
            build_synthetic_actions(tmp_path, CONFIG, SIZES, overwrite=overwrite)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"split_sizes": {"dev": 12}}, "dev"),
        ({"split_sizes": {}}, "no split"),
        ({"split_sizes": {"train": 0}}, "'train' has the size 0"),
        ({"split_sizes": {"train": 12.5}}, "size 12.5"),
        ({"split_sizes": {"train": 11, "test": 3}}, "12 clips"),
        ({"num_proc": 0}, "num_proc is 0"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_requests_that_make_no_data_set_are_named(tmp_path, arguments, named):
    with pytest.raises(ConfigError, match=named):
        build_synthetic_actions(tmp_path / "world", **arguments)
    assert not (tmp_path / "world").exists()
