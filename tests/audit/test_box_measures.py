"""Average precision as COCO's own code has it, and what the other measures of boxes count."""

import contextlib
import io
import math

import numpy as np
import pytest

from vidreason.audit.box_measures import average_precision, estimate_average_precision, match_frame
from vidreason.reporting.bootstrap import Bootstrap


def random_frames(seed: int, num_frames: int = 40):
    """(boxes, scores, true boxes) of frames: some boxes found well, some badly, some twice, some invented."""
    rng = np.random.default_rng(seed)
    frames = []
    for _ in range(num_frames):
        corner = rng.uniform(0, 0.6, (rng.integers(0, 4), 2))
        truth = np.concatenate([corner, corner + rng.uniform(0.1, 0.4, corner.shape)], axis=1)
        near = truth[rng.random(len(truth)) < 0.8].repeat(rng.integers(1, 3), axis=0)
        near = near + rng.normal(0, 0.02, near.shape)
        other = rng.uniform(0, 0.6, (rng.integers(0, 3), 2))
        invented = np.concatenate([other, other + 0.2], axis=1)
        boxes = np.concatenate([near, invented]).clip(0, 1)
        # no two scores alike: the order of equals is each implementation's own
        frames.append((boxes, rng.permutation(1000)[: len(boxes)] / 1000 + 0.0005, truth))
    return frames


def coco_average_precision(frames, iou: float) -> float:
    pycocotools = pytest.importorskip("pycocotools.coco", reason="pycocotools, the reference, is not installed")
    from pycocotools.cocoeval import COCOeval

    def xywh(box):
        return [1000 * box[0], 1000 * box[1], 1000 * (box[2] - box[0]), 1000 * (box[3] - box[1])]

    images, annotations, results = [], [], []
    for image, (boxes, scores, truth) in enumerate(frames, start=1):
        images.append({"id": image, "width": 1000, "height": 1000})
        for box in truth:
            entry = {"id": len(annotations) + 1, "image_id": image, "category_id": 1, "bbox": xywh(box), "iscrowd": 0}
            annotations.append({**entry, "area": entry["bbox"][2] * entry["bbox"][3]})
        results += [
            {"image_id": image, "category_id": 1, "bbox": xywh(box), "score": float(score)}
            for box, score in zip(boxes, scores, strict=True)
        ]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = pycocotools.COCO()
        truth.dataset = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "a"}]}
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(results), "bbox")
        evaluation.params.iouThrs = np.asarray([iou])
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"][0, :, 0, 0, -1]
    return float(precision.mean())


@pytest.mark.parametrize("iou", [0.5, 0.75])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_average_precision_is_that_of_coco(seed, iou):
    frames = random_frames(seed)
    matches = [match_frame(*frame, iou=iou) for frame in frames]
    scores = np.concatenate([match.scores for match in matches])
    is_right = np.concatenate([match.is_right for match in matches])
    ours = average_precision(scores, is_right, sum(len(truth) for _, _, truth in frames))
    assert 0 < ours < 1
    assert ours == pytest.approx(coco_average_precision(frames, iou), abs=1e-9)


def test_average_precision_by_hand():
    # right, wrong, right of two boxes: precision 1 up to recall 0.5, then 2/3
    value = average_precision(np.asarray([0.9, 0.8, 0.7]), np.asarray([True, False, True]), 2)
    assert value == pytest.approx((51 * 1 + 50 * 2 / 3) / 101)
    assert average_precision(np.zeros(0), np.zeros(0, bool), 3) == 0
    assert math.isnan(average_precision(np.asarray([0.5]), np.asarray([False]), 0))


def test_a_box_is_found_once_and_by_the_better_scored():
    truth = np.asarray([[0.0, 0.0, 0.5, 0.5], [0.5, 0.5, 1.0, 1.0]])
    boxes = np.asarray([[0.0, 0.0, 0.5, 0.4], [0.0, 0.0, 0.5, 0.5], [0.6, 0.6, 0.7, 0.7]])
    match = match_frame(boxes, np.asarray([0.9, 0.8, 0.7]), truth, iou=0.5)
    assert match.is_right.tolist() == [True, False, False]
    assert match.is_found.tolist() == [True, False]
    # the third lies wholly in the second box, which a loose box of a person is to count
    assert match.is_held.tolist() == [True, True] and match.contained == pytest.approx(1.0)
    assert match.true_share == pytest.approx(0.25)


def test_what_is_not_there_is_not_measured():
    nothing = np.zeros((0, 4))
    found = match_frame(np.asarray([[0.1, 0.1, 0.2, 0.2]]), np.asarray([0.5]), nothing, 0.5)
    assert math.isnan(found.contained) and math.isnan(found.true_share) and not found.is_right.any()
    missed = match_frame(nothing, np.zeros(0), np.asarray([[0.1, 0.1, 0.2, 0.2]]), 0.5)
    assert missed.is_found.tolist() == [False] and math.isnan(missed.contained)


def test_the_interval_is_over_whole_videos():
    good = match_frame(np.asarray([[0, 0, 0.5, 0.5]]), np.asarray([0.9]), np.asarray([[0, 0, 0.5, 0.5]]), 0.5)
    bad = match_frame(np.asarray([[0.5, 0.5, 1, 1]]), np.asarray([0.8]), np.asarray([[0, 0, 0.5, 0.5]]), 0.5)
    mixed = estimate_average_precision([good, bad] * 20, ["a", "b"] * 20, Bootstrap(200))
    assert mixed.low == 0 and mixed.high == 1 and 0.4 < mixed.value < 0.6
    assert estimate_average_precision([good] * 3, ["a"] * 3, Bootstrap(200)).low is None
    both = estimate_average_precision([good, good], ["a", "b"], Bootstrap(200))
    assert (both.value, both.low, both.high) == (1, 1, 1)
