"""Sources of detections in a study file: what they say, who detects, and the table that is written."""

from pathlib import Path

import numpy as np
import pytest

from vidreason.detection import load_detections
from vidreason.errors import ConfigError, VidreasonError
from vidreason.study.detections import DetectionSource, write_source
from vidreason.study.plugins import DataPlaces

NOISY = {"detector": "truth", "classes": ["hand", "mug"], "misses": 0.5, "frames_per_second": 4}


def test_a_source_is_read_and_says_itself_again():
    source = DetectionSource.read(NOISY, "here")
    assert (source.detector, source.classes, source.frames_per_second) == ("truth", ("hand", "mug"), 4)
    assert source.options == {"misses": 0.5}
    assert source.settings == NOISY
    # mistakes alone are drawn: without them, and of a detector that looks, every seed has the same
    assert source.is_drawn
    assert not DetectionSource.read({**NOISY, "misses": 0.0}, "here").is_drawn
    assert not DetectionSource.read({"detector": "coco", "classes": ["person"]}, "here").is_drawn


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"detector": None}, "here: detections want a detector and a list of classes"),
        ({"classes": "hand"}, "here: detections want a detector and a list of classes"),
        ({"classes": ["hand", "Hand"]}, "here: .*hand"),
        ({"frames_per_second": 0}, "here: frames_per_second is 0"),
        ({"frames_per_second": "all"}, "here: frames_per_second is 'all'"),
    ],
)
def test_what_is_no_source_is_named(changes, message):
    with pytest.raises(ConfigError, match=message):
        DetectionSource.read({**NOISY, **changes}, "here")


def test_truth_is_asked_only_where_there_is_some(tmp_path):
    source = DetectionSource.read(NOISY, "here")
    with pytest.raises(ConfigError, match="the data name no truth"):
        source.make_detector(None, 0)
    with pytest.raises(VidreasonError, match="nowhere"):
        DetectionSource.read({"detector": "nowhere", "classes": ["hand"]}, "here").make_detector(None, 0)


def boxes(folder: Path, split: str) -> list:
    return [np.asarray(row["boxes"]).tolist() for row in load_detections(folder)[split]]


def test_a_table_has_the_splits_classes_and_frames_that_were_asked_for(detected_world, tmp_path):
    data = DataPlaces(tmp_path, detected_world.manifest, truth=detected_world.truth)
    source = DetectionSource.read(NOISY, "here")
    for seed, name in [(0, "a"), (0, "again"), (1, "other")]:
        write_source(tmp_path / name, source, data, ["train", "test"], seed, tmp_path / "store.sqlite")
    table = load_detections(tmp_path / "a")
    assert set(table) == {"train", "test"}
    rows = table["test"].to_list()
    assert {row["class_text"] for row in rows} == {"hand", "mug"}
    every_frame = load_detections(detected_world.detections)["test"].to_list()
    assert {row["video_id"] for row in rows} == {row["video_id"] for row in every_frame}
    assert 0 < len(rows) < len(every_frame)  # four frames of each second
    # a seed draws the same mistakes again, another one others
    assert boxes(tmp_path / "a", "test") == boxes(tmp_path / "again", "test") != boxes(tmp_path / "other", "test")
