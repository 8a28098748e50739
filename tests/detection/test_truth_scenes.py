"""The truth detector names what is behind all objects of a synthetic world: its scene anchors."""

import numpy as np
import pytest
from datasets import Dataset
from fixtures.small_worlds import ACTIONS_WORLD, ASSEMBLY_WORLD

from vidreason.detection.schema import detection_row, found_of
from vidreason.detection.score_maps import render_maps
from vidreason.detection.truth import BACKGROUND, TruthDetector
from vidreason.errors import DetectionError
from vidreason.files import read_folder, write_split
from vidreason.synthetic import BACKGROUNDS, TRUTH_FOLDER, clip_seed, draw_nuisance, render_masks
from vidreason.synthetic.truth import frame_truth_features


def keys_of(rows):
    return [{name: row[name] for name in ("video_id", "frame_index")} for row in rows]


@pytest.mark.parametrize("world", [ACTIONS_WORLD, ASSEMBLY_WORLD], ids=["actions", "assembly"])
def test_the_background_of_a_frame_is_found_under_its_name_and_as_background(world, folder_of):
    folder = folder_of(world) / TRUTH_FOLDER
    detector = TruthDetector(folder)
    rows = read_folder(folder)["train"].select(range(0, 64, 7)).to_list()
    textures = set(BACKGROUNDS) & set(detector.vocabulary)
    assert BACKGROUND in detector.vocabulary and {row["background"] for row in rows} <= textures
    assert detector.knows("person") and detector.knows("hand")
    for text in (BACKGROUND, *sorted(textures)):
        for row, found in zip(rows, detector.detect_class([], keys_of(rows), text), strict=True):
            assert (found.status == "ok") == (text in (BACKGROUND, row["background"]))
            if found.status == "ok":
                assert found.scores.tolist() == [1.0] and found.masks[0].shape == (72, 96)
                # a row of the table gives the same back
                stored = found_of(detection_row({**row, "split": "train"}, text, found, detector))
                assert np.array_equal(stored.masks[0], found.masks[0]) and np.allclose(stored.boxes, found.boxes)


def test_the_background_is_where_the_world_draws_no_object(folder_of):
    """Against the renderer's own coverage of each item, which the boxes and so the detector know nothing of."""
    folder = folder_of(ACTIONS_WORLD) / TRUTH_FOLDER
    detector, checked = TruthDetector(folder), 0
    rows = read_folder(folder)["train"].select_columns(["video_id", "frame_index", "objects"]).to_list()
    for start in range(0, len(rows), 8 * 5):
        clip = rows[start : start + 8]
        split, action, _ = clip[0]["video_id"].split("/")
        seed = clip_seed(3, split, start // 8)
        covered = render_masks(action, seed, ACTIONS_WORLD.config, draw_nuisance(action, split, seed))
        anything = np.max(np.stack(list(covered.values())), axis=0)
        for index, found in enumerate(detector.detect([], keys_of(clip), BACKGROUND)):
            mask = found.masks[0]
            # along the edge of a box, half a pixel of its item may be beyond the last whole one
            assert not (mask & (anything[index] > 200)).any()
            boxes = [entry["box"] for entry in clip[index]["objects"]]
            maps = render_maps([found], (72, 96))[0]
            assert maps.min() == 0 and maps.max() == 1
            for x0, y0, x1, y1 in boxes:
                assert not mask[round(y0 * 72) : round(y1 * 72), round(x0 * 96) : round(x1 * 96)].any()
            outside = sum((x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in boxes)
            assert mask.mean() >= 1 - outside - 0.05  # nothing but the boxes is taken away
            checked += 1
    assert checked == 40


def test_mistakes_miss_the_scene_and_never_take_an_object_for_it(folder_of):
    folder = folder_of(ACTIONS_WORLD) / TRUTH_FOLDER
    keys = keys_of(read_folder(folder)["train"])
    right, missing = TruthDetector(folder), TruthDetector(folder, misses=0.3, seed=5)
    shares = [found.status == "empty" for found in missing.detect([], keys, BACKGROUND)]
    assert 0.15 < np.mean(shares) < 0.45
    for exact, found in zip(right.detect([], keys, BACKGROUND), missing.detect([], keys, BACKGROUND), strict=True):
        # an object that is missed is taken for what is behind it
        assert found.status == "empty" or not (exact.masks[0] & ~found.masks[0]).any()
    confused = TruthDetector(folder, confusions=1.0)
    textures = [text for text in BACKGROUNDS if confused.knows(text)]
    for text in (*textures, BACKGROUND):
        assert all(len(found) <= 1 for found in confused.detect([], keys, text))
    false = TruthDetector(folder, false_boxes=1.0).detect([], keys[:8], BACKGROUND)
    assert all(len(found) == 2 == len(found.masks) for found in false)


def test_a_table_without_backgrounds_has_no_scenes_and_a_frame_of_absurd_size_is_named(tmp_path, folder_of):
    rows = read_folder(folder_of(ACTIONS_WORLD) / TRUTH_FOLDER)["train"].select(range(8))
    features = frame_truth_features(rows.features["label"].names)
    plain = rows.remove_columns(["background"])
    write_split(tmp_path / "plain", "train", plain.to_list(), plain.features)
    detector = TruthDetector(tmp_path / "plain")
    assert not detector.knows(BACKGROUND) and detector.knows("person")
    absurd = Dataset.from_list([{**row, "frame_height": 2**30, "frame_width": 2**30} for row in rows], features)
    write_split(tmp_path / "absurd", "train", absurd.to_list(), features)
    with pytest.raises(DetectionError, match=r"split 'train'.*frame 0: the frame is 1073741824 x 1073741824 pixels"):
        TruthDetector(tmp_path / "absurd")
