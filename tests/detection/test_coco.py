"""The detector of COCO's classes on real frames; skipped where its optional packages are not installed."""

import numpy as np
import pytest

from vidreason.detection import detect_video, make_detector
from vidreason.detection.coco import CLASS_IDS, PACKAGE, models_folder
from vidreason.errors import DetectionError
from vidreason.video import decode_frames, write_video


@pytest.fixture(scope="module")
def coco():
    pytest.importorskip("cv2", reason="opencv-python-headless of requirements/detection.txt is not installed")
    try:
        return make_detector("coco")
    except DetectionError as error:
        pytest.skip(f"{error}")


def test_people_of_a_real_clip_are_found_where_they_are(coco, shared_data, tmp_path):
    clip = shared_data / "clips" / "UCF-101" / "SoccerJuggling" / "v_SoccerJuggling_g23_c01.avi"
    frames = decode_frames(clip, [10]).frames
    keys = [{"video_id": "v", "frame_index": 0}]
    person = coco.detect_classes(frames, keys, ["person", "unicorn"])
    assert person["unicorn"][0].status == "unknown_class"
    boxes = person["person"][0].boxes
    assert len(boxes) and coco.detect(frames, keys, "person")[0].scores.tolist() == person["person"][0].scores.tolist()
    # mirrored frames give mirrored boxes: neither the colours nor the sides are exchanged on the way
    mirrored = coco.detect(np.ascontiguousarray(frames[:, :, ::-1]), keys, "person")[0].boxes
    best = boxes[0]
    expected = np.array([1 - best[2], best[1], 1 - best[0], best[3]])
    assert np.abs(mirrored - expected).max(axis=1).min() < 0.08
    # a picture beside an empty half: the box must not reach into it, on a frame twice as wide as high
    wide = np.concatenate([frames[0], np.full_like(frames[0], 128)], axis=1)
    found = coco.detect(wide[None], keys, "person")[0]
    assert len(found) and found.boxes[0, 2] < 0.55


def test_an_empty_wall_has_no_people_and_says_so(coco, tmp_path):
    path = write_video(tmp_path / "wall.mp4", [np.full((64, 96, 3), 120, np.uint8)] * 2, fps=5)
    keys = [{"frame_index": n} for n in range(2)]
    assert [one.status for one in detect_video(path, keys, coco, ["person"])["person"]] == ["empty", "empty"]


def test_the_eighty_classes_have_their_ids():
    assert len(CLASS_IDS) == 80
    assert [CLASS_IDS[name] for name in ("person", "sports ball", "tv", "toothbrush")] == [1, 37, 72, 90]


@pytest.mark.parametrize("name", ["coco", "movenet", "person_mask", "grounding_dino", "owlv2", "sam3", "vitpose"])
def test_limits_that_no_detector_has_are_named(name):
    for side in (0, -3):
        with pytest.raises(DetectionError, match=f"max_side_px is {side}, expected at least 1"):
            make_detector(name, max_side_px=side)
    for threshold in (-0.1, 1.0, float("nan")):
        with pytest.raises(DetectionError, match="expected a score in"):
            make_detector(name, threshold=threshold)


def test_weights_that_are_not_there_are_named(tmp_path, monkeypatch):
    with pytest.raises(DetectionError, match=r"frozen_inference_graph\.pb is missing"):
        make_detector("coco", folder=str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(DetectionError, match=f"{PACKAGE} is not installed"):
        models_folder()
