import datasets
import numpy as np
import pytest
from fixtures.color_detector import ColorDetector
from fixtures.small_worlds import ACTIONS_WORLD

from vidreason.detection import (
    DetectionIndex,
    Found,
    check_row,
    detection_row,
    found_of,
    load_detections,
    make_detector,
    write_detections,
)
from vidreason.errors import DetectionError
from vidreason.files import read_folder
from vidreason.synthetic import TRUTH_FOLDER

KEY = {"video_id": "v", "source": "test", "split": "train", "frame_height": 48, "frame_width": 96}
MASK = np.eye(4, dtype=bool)


def row(class_text="hand", number=0, time_s=0.0, found=None, **changes):
    found = Found.of([[0.1, 0.2, 0.3, 0.4], [0, 0, 1, 1]], [0.9, 0.5]) if found is None else found
    made = detection_row({**KEY, "frame_index": number, "timestamp_s": time_s}, class_text, found, ColorDetector())
    return {**made, **changes}


def test_a_row_says_what_was_found_and_by_what():
    made = row(found=Found.of([[0, 0, 1, 1]], [0.5], [MASK]))
    assert (made["model"], made["revision"], made["producer"]) == ("color prevailing color", "1", "detector")
    assert made["threshold"] == pytest.approx(0.1) and made["max_side_px"] == 0
    again = found_of(made)
    assert np.array_equal(again.masks[0], MASK) and again.scores.tolist() == [0.5] and again.status == "ok"
    assert row(found=Found.without("failed", "decode failed"))["raw_response"] == "decode failed"


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"status": "fine"}, "status is 'fine'"),
        ({"status": "empty"}, "2 boxes with status 'empty'"),
        ({"boxes": [], "scores": []}, "0 boxes with status 'ok'"),
        ({"scores": [0.5, 0.9]}, "scores are in"),
        ({"scores": [1.2, 0.5]}, "scores are in"),
        ({"scores": [float("nan"), 0.5]}, "score nan"),
        ({"scores": [0.5]}, "2 boxes and 1 scores"),
        ({"boxes": [[0, 0, 1], [0, 0, 1, 1]]}, "four finite numbers"),
        ({"boxes": [[0.5, 0, 0.1, 1], [0, 0, 1, 1]]}, "x0 < x1"),
        ({"boxes": [[0, 0, 96, 48], [0, 0, 1, 1]]}, "within"),
        ({"class_text": "Hand"}, "spelled 'hand'"),
        ({"class_text": "hand, arm"}, "one concept"),
        ({"masks": [[16]], "mask_height": 4, "mask_width": 4}, "1 masks and 2 boxes"),
        ({"masks": [[16], [3]], "mask_height": 4, "mask_width": 4}, "do not fill"),
        ({"masks": [[16], [16]], "mask_height": 0, "mask_width": 0}, "mask size"),
        ({"mask_height": 4}, "without masks"),
        ({"timestamp_s": float("inf")}, "timestamp_s"),
        ({"frame_height": 0}, "frame_height"),
        ({"threshold": -1.0}, "threshold"),
        ({"video_id": ""}, "empty"),
    ],
)
def test_a_row_that_breaks_the_contract_is_named(changes, problem):
    with pytest.raises(DetectionError, match=problem):
        check_row(row(**changes))


def test_a_table_is_opened_by_datasets_and_its_card_counts_it(tmp_path):
    rows = [row("hand", n, n / 10) for n in range(3)]
    rows += [row("cup", n, n / 10, Found.of([], [])) for n in range(3)]
    folder = write_detections(tmp_path / "found", {"train": rows}, title="Hands", description="By color.")
    opened = datasets.load_dataset(str(folder))["train"]
    assert opened.num_rows == 6 and load_detections(folder)["train"][0]["boxes"][0] == opened[0]["boxes"][0]
    card = (folder / "README.md").read_text()
    assert "| hand | 3 | 0 | 6 |" in card and "| cup | 0 | 3 | 0 |" in card and "color prevailing color@1" in card
    for bad, problem in [
        ([row(), row()], "given twice"),
        ([row(split="test")], "its split is 'test'"),
        ([], "no detections"),
    ]:
        with pytest.raises(DetectionError, match=problem):
            write_detections(tmp_path / "bad", {"train": bad})
    with pytest.raises(DetectionError, match="neither a folder"):
        load_detections("nobody/nothing")


def test_detections_are_joined_by_video_class_and_time(tmp_path):
    times_s = [0.0, 0.0417, 0.0834, 0.2, 0.9]  # a variable rate
    rows = [row("hand", n, time, Found.of([[0, 0, 0.1 * (n + 1), 1]], [0.5])) for n, time in enumerate(times_s)]
    rows += [row("cup", n, time, Found.of([], [])) for n, time in enumerate(times_s[:4])]
    rows += [{**row("hand", 0, 0.0), "video_id": "w"}]
    table = load_detections(write_detections(tmp_path / "found", {"train": rows[::-1]}))["train"]
    index = DetectionIndex(table, ["cup", "hand"], tolerance_s=0.02)
    found = index.lookup("v", [0.9, 0.05, 0.15, 0.2001])
    assert found.statuses == [["missing", "ok"], ["empty", "ok"], ["missing", "missing"], ["empty", "ok"]]
    widths = [None if one[1] is None else round(float(one[1].boxes[0, 2]), 3) for one in found.found]
    assert widths == [0.5, 0.2, None, 0.4]
    assert index.lookup("unknown", [0.0]).statuses == [["missing", "missing"]]
    assert index.coverage(["v", "x"]).describe() == (
        "detections for 1 of 2 videos; 1 videos with detections are not in the manifest, such as w"
    )


def test_an_index_refuses_a_class_without_rows_and_two_rows_of_an_instant(tmp_path):
    table = datasets.Dataset.from_list([row("hand", 0, 0.0), row("hand", 1, 0.0)])
    with pytest.raises(DetectionError, match="no row of 'cup'"):
        DetectionIndex(table, ["hand", "cup"])
    with pytest.raises(DetectionError, match="v: two rows of class 'hand'"):
        DetectionIndex(table, ["hand"])
    with pytest.raises(DetectionError, match="tolerance_s"):
        DetectionIndex(table, ["hand"], tolerance_s=float("nan"))
    with pytest.raises(DetectionError, match=r"columns .* are missing"):
        DetectionIndex(table.remove_columns("scores"), ["hand"])
    broken = datasets.Dataset.from_list([row("hand", boxes=[[0.5, 0, 0.1, 1], [0, 0, 1, 1]])])
    with pytest.raises(DetectionError, match="x0 < x1"):  # a row is checked when it is read
        DetectionIndex(broken, ["hand"]).lookup("v", [0.0])


def test_the_truth_is_found_and_mistakes_do_not_depend_on_the_other_classes(folder_of):
    truth_folder = folder_of(ACTIONS_WORLD) / TRUTH_FOLDER
    exact = make_detector("truth", truth=truth_folder)
    rows = read_folder(truth_folder)["train"].to_list()
    keys = [{name: one[name] for name in ("video_id", "frame_index")} for one in rows]
    for class_text in ("hand", "person"):
        found = exact.detect(np.zeros((len(keys), 1, 1, 3), np.uint8), keys, class_text)
        for one, truth in zip(found, rows, strict=True):
            boxes = [entry["box"] for entry in truth["objects"] if entry["name"] == class_text]
            assert len(one) == len(boxes) and np.allclose(one.boxes, np.float32(boxes).reshape(-1, 4))
            assert (one.scores == 1).all()
    frames = np.zeros((len(keys), 1, 1, 3), np.uint8)
    noisy = make_detector("truth", truth=truth_folder, misses=0.3, false_boxes=0.2, jitter=0.1, confusions=0.2, seed=5)
    alone = noisy.detect_classes(frames, keys, ["hand"])["hand"]
    together = noisy.detect_classes(frames, keys, [*exact.vocabulary])
    assert all(np.array_equal(a.boxes, b.boxes) for a, b in zip(alone, together["hand"], strict=True))
    assert noisy.key != exact.key
    hands = [any(entry["name"] == "hand" for entry in truth["objects"]) for truth in rows]
    found = np.mean([len(one) > 0 for one, there in zip(alone, hands, strict=True) if there])
    assert 0.4 < found < 0.8  # 1 - 0.3, then a fifth confused, then false boxes in a fifth: about 0.65
    missing = exact.detect(frames[:1], [{"video_id": "nobody", "frame_index": 0}], "hand")[0]
    assert missing.status == "failed"
    with pytest.raises(DetectionError, match="misses is 2"):
        make_detector("truth", truth=truth_folder, misses=2)


def test_the_number_of_a_second_object_is_no_part_of_its_class():
    from vidreason.detection.truth import class_of

    assert class_of("box 2") == "box" and class_of("Red star") == "red star"
