import sqlite3

import numpy as np
import pytest
from fixtures.color_detector import ColorDetector, color_video_frames

from vidreason.detection import (
    DetectionCounts,
    DetectionStore,
    Detector,
    Found,
    detect_video,
    make_detector,
    register_detector,
)
from vidreason.detection.store import LASTING
from vidreason.errors import DetectionError, VideoError
from vidreason.video import write_video


@pytest.fixture
def video(tmp_path):
    return write_video(tmp_path / "colors.mp4", color_video_frames(), fps=10)


def frame_keys(indices, video_id="v"):
    common = {"video_id": video_id, "source": "test", "split": "train", "frame_height": 48, "frame_width": 96}
    return [{**common, "frame_index": index, "timestamp_s": index / 10} for index in indices]


def test_only_what_is_missing_is_detected_and_decoded(video, tmp_path):
    detector, counts = ColorDetector(), DetectionCounts()
    with DetectionStore(tmp_path / "found.sqlite") as store:
        first = detect_video(video, frame_keys([0, 1, 2]), detector, ["red", "blue"], store, counts)
        assert (counts.made, counts.reused, counts.frames_decoded) == (6, 0, 3)
        detector.asked.clear()
        # nothing found is known as well: blue is not in the first two frames, and is not looked for again there
        second = detect_video(video, frame_keys([2, 1, 3]), detector, ["blue", "green", "red"], store, counts)
    assert sorted(detector.asked) == [("blue", 3), ("green", 1), ("green", 2), ("green", 3), ("red", 3)]
    assert counts.reused == 4
    assert [one.status for one in first["blue"]] == ["empty", "empty", "ok"]
    assert np.array_equal(second["red"][0].boxes, first["red"][2].boxes)
    assert [round(float(one.boxes[0, 0]) * 96 / 8) for one in second["red"]] == [2, 1, 3]
    assert abs(second["blue"][0].boxes[0] - [0, 40 / 48, 1, 1]).max() < 0.05


def test_a_class_is_found_alike_alone_and_among_others(video):
    alone = detect_video(video, frame_keys(range(6)), ColorDetector(), ["red"])
    together = detect_video(video, frame_keys(range(6)), ColorDetector(), ["green", "blue", "red"])
    assert all(np.array_equal(a.boxes, b.boxes) for a, b in zip(alone["red"], together["red"], strict=True))


def test_a_class_outside_the_vocabulary_has_a_status_and_takes_no_frame(video):
    counts = DetectionCounts()
    found = detect_video(video, frame_keys([0, 1]), ColorDetector(), ["unicorn"], counts=counts)
    assert [one.status for one in found["unicorn"]] == ["unknown_class"] * 2
    assert "unicorn" in found["unicorn"][0].reason
    assert (counts.made, counts.frames_decoded) == (0, 0)


def test_another_threshold_weights_or_file_are_other_detections(video, tmp_path):
    changed = write_video(tmp_path / "other.mp4", color_video_frames()[::-1], fps=10)
    with DetectionStore(tmp_path / "found.sqlite") as store:
        for detector, path, new in [
            (ColorDetector(), video, 1),
            (ColorDetector(), video, 0),
            (ColorDetector(threshold=0.2), video, 1),
            (ColorDetector(), changed, 1),
        ]:
            counts = DetectionCounts()
            detect_video(path, frame_keys([0]), detector, ["red"], store, counts)
            assert counts.made == new


def test_a_failure_is_not_kept_and_is_tried_again(video, tmp_path):
    class Flaky(ColorDetector):
        def detect(self, frames, keys, class_text):
            return [Found.without("failed", "out of memory") for _ in keys]

    with DetectionStore(tmp_path / "found.sqlite") as store:
        found = detect_video(video, frame_keys([0]), Flaky(), ["red"], store)
        assert found["red"][0].status == "failed"
        assert "failed" not in LASTING
        assert detect_video(video, frame_keys([0]), ColorDetector(), ["red"], store)["red"][0].status == "ok"


def test_a_frame_that_is_not_there_fails_alone_and_a_file_that_is_none_is_named(video, tmp_path):
    counts = DetectionCounts()
    found = detect_video(video, frame_keys([0, 500]), ColorDetector(), ["red"], counts=counts)
    assert [one.status for one in found["red"]] == ["ok", "failed"]
    assert (counts.made, counts.failed) == (1, 1)
    (tmp_path / "none.mp4").write_bytes(b"no video")
    with DetectionStore(tmp_path / "found.sqlite") as store, pytest.raises(VideoError, match=r"none\.mp4"):
        detect_video(tmp_path / "none.mp4", frame_keys([0]), ColorDetector(), ["red"], store)


def test_masks_and_scores_come_back_as_they_went(tmp_path):
    mask = np.zeros((5, 7), dtype=bool)
    mask[1:3, 2:6] = True
    found = Found.of([[0.2, 0.2, 0.9, 0.6], [0, 0, 0.5, 0.5]], [0.4, 0.75], [mask, ~mask])
    with DetectionStore(tmp_path / "found.sqlite") as store:
        store.put("video", "detector", {"arm": {3: found}, "person": {3: Found.of([[0, 0, 1, 1]], [0.5])}})
        kept = store.get("video", "detector", "arm", [3, 4])
    assert list(kept) == [3]
    assert np.array_equal(kept[3].scores, np.float32([0.75, 0.4])) and np.array_equal(kept[3].boxes, found.boxes)
    assert np.array_equal(kept[3].masks[0], ~mask) and np.array_equal(kept[3].masks[1], mask)


def test_a_file_that_is_no_store_is_named(tmp_path):
    (tmp_path / "text.sqlite").write_text("no database at all, but a text of some length" * 40)
    with pytest.raises(DetectionError, match=r"text\.sqlite"):
        DetectionStore(tmp_path / "text.sqlite")
    with sqlite3.connect(tmp_path / "later.sqlite") as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(DetectionError, match="format 99"):
        DetectionStore(tmp_path / "later.sqlite")


def test_a_store_that_breaks_is_named(video, tmp_path):
    """As on a full disk, or where another program has written into the file."""
    with DetectionStore(tmp_path / "found.sqlite") as store:
        store._connection.execute("PRAGMA query_only = ON")
        with pytest.raises(DetectionError, match=r"found\.sqlite: attempt to write a readonly database"):
            detect_video(video, frame_keys([0]), ColorDetector(), ["red"], store)
        store._connection.execute("PRAGMA query_only = OFF")
        detect_video(video, frame_keys([0]), ColorDetector(), ["red"], store)
        store._connection.execute("DROP TABLE found")
        with pytest.raises(DetectionError, match=r"found\.sqlite: no such table"):
            detect_video(video, frame_keys([0]), ColorDetector(), ["red"], store)


def test_what_a_detector_gives_is_brought_into_the_contract():
    found = Found.of([[-0.2, 0.1, 0.5, 1.7], [0.3, 0.3, 0.3, 0.9], [0, 0, 1, 1]], [0.2, 0.9, 0.6])
    assert np.allclose(found.scores, [0.6, 0.2])  # best first, and the box without area is none
    assert np.allclose(found.boxes, [[0, 0, 1, 1], [0, 0.1, 0.5, 1]])
    with pytest.raises(DetectionError, match="not finite"):
        Found.of([[0, 0, float("nan"), 1]], [0.5])
    with pytest.raises(DetectionError, match="1 boxes, 2 scores"):
        Found.of([[0, 0, 1, 1]], [0.5, 0.4])


def test_another_detector_takes_a_line():
    register_detector("colors_of_tests", f"{ColorDetector.__module__}:ColorDetector")
    assert isinstance(make_detector("colors_of_tests", threshold=0.25), Detector)
    with pytest.raises(DetectionError, match="ColorDetector already"):
        register_detector("colors_of_tests", "elsewhere:Other")
    with pytest.raises(DetectionError, match="no address"):
        register_detector("other", "elsewhere.Other")
    with pytest.raises(DetectionError, match="cannot be made with"):
        make_detector("colors_of_tests", colour="red")
    with pytest.raises(DetectionError, match=r"expected one of .*coco"):
        make_detector("yolo")


def test_a_pass_that_finds_all_classes_is_made_once(video, tmp_path):
    class AtOnce(ColorDetector):
        finds_all_at_once = True

        def detect_classes(self, frames, keys, texts):
            self.passes = getattr(self, "passes", 0) + len(frames)
            return super().detect_classes(frames, keys, texts)

    detector, counts = AtOnce(), DetectionCounts()
    with DetectionStore(tmp_path / "found.sqlite") as store:
        detect_video(video, frame_keys([0, 2]), detector, ["red", "unicorn"], store, counts)
        assert (counts.made, detector.passes) == (2, 2)
        found = detect_video(video, frame_keys([0, 2]), detector, ["blue", "green", "red"], store, counts)
    # the colours that nobody had asked for were seen in the same passes, and where they were not, that is known too
    assert (counts.made, counts.reused, detector.passes) == (2, 6, 2)
    alone = detect_video(video, frame_keys([0, 2]), ColorDetector(), ["blue", "green", "red"])
    assert [[one.status for one in found[text]] for text in found] == [[one.status for one in alone[t]] for t in found]
    assert np.array_equal(found["blue"][1].boxes, alone["blue"][1].boxes)


def test_what_is_kept_of_a_damaged_file_stays_when_the_rest_is_tried_again(video, tmp_path):
    with DetectionStore(tmp_path / "found.sqlite") as store:
        first, second = (
            detect_video(video, frame_keys([0, 500]), ColorDetector(), ["red"], store)["red"] for _ in range(2)
        )
    assert [one.status for one in first] == [one.status for one in second] == ["ok", "failed"]
