"""How good boxes are: detections of one class against boxes that are known, or against those of another detector.

These are the measures, on arrays; `detections` applies them to whole tables. Average precision is COCO's at one IoU:
the mean, over 101 recalls from 0 to 1, of the largest precision at that recall or a higher one. (PASCAL VOC's of 2010
on is the area under the same curve, and differs by a part of a percent.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..reporting.bootstrap import Bootstrap, Estimate

RECALLS = np.linspace(0.0, 1.0, 101)
"""COCO's recalls, at which precision is read off."""

MAX_DETECTIONS = 100
"""Detections of a class in a frame that count, best first, as in COCO."""

HELD_SHARE = 0.5
"""A true box holds a detection that lies in it with at least this share of its area."""


@dataclass(frozen=True, eq=False)
class FrameMatch:
    """The detections of one class in one frame, and which of the true boxes each has found.

    Args:
        scores: Scores (detections,), falling.
        is_right: Whether each has found a true box that none before it has, booleans (detections,).
        is_found: Whether each true box was found, booleans (boxes,).
        is_held: Whether a detection lies in each true box with `HELD_SHARE` of its area, booleans (boxes,).
        contained: Share of the best-scored detection's area that lies in one true box; NaN where there is no
            detection, or no true box.
        true_share: Share of the frame that the true boxes take up, the largest of them; NaN where there is none.
    """

    scores: np.ndarray
    is_right: np.ndarray
    is_found: np.ndarray
    is_held: np.ndarray
    contained: float
    true_share: float


def box_areas(boxes: np.ndarray) -> np.ndarray:
    """Areas of boxes (n, 4), x0, y0, x1, y1: (n,)."""
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def intersections(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Areas that boxes (n, 4) and (m, 4) share: (n, m)."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    return (high - low).clip(min=0.0).prod(axis=2)


def match_frame(boxes: np.ndarray, scores: np.ndarray, true_boxes: np.ndarray, iou: float) -> FrameMatch:
    """Match the detections of one class in one frame with its true boxes.

    The best-scored detection chooses first: of the true boxes that are left, the one with which its intersection over
    union is largest, if that is large enough. A second detection of the same box is a mistake.

    Args:
        boxes: Detections (n, 4): x0, y0, x1, y1 in [0, 1].
        scores: Scores (n,).
        true_boxes: True boxes (m, 4).
        iou: Least intersection over union.
    """
    boxes, true_boxes = np.asarray(boxes, np.float64).reshape(-1, 4), np.asarray(true_boxes, np.float64).reshape(-1, 4)
    order = np.argsort(-np.asarray(scores, np.float64), kind="stable")[:MAX_DETECTIONS]
    boxes, scores = boxes[order], np.asarray(scores, np.float64)[order]
    shared, areas, true_areas = intersections(boxes, true_boxes), box_areas(boxes), box_areas(true_boxes)
    overlaps = shared / np.maximum(areas[:, None] + true_areas[None] - shared, 1e-12)
    is_right, is_found = np.zeros(len(boxes), bool), np.zeros(len(true_boxes), bool)
    for number, row in enumerate(overlaps):
        left = np.where(is_found, -1.0, row)
        if len(left) and left.max() >= iou:
            is_right[number] = is_found[left.argmax()] = True
    inside = shared / np.maximum(areas[:, None], 1e-12)
    both = len(boxes) > 0 and len(true_boxes) > 0
    return FrameMatch(
        scores,
        is_right,
        is_found,
        (inside >= HELD_SHARE).any(axis=0),
        float(inside[0].max()) if both else float("nan"),
        float(true_areas.max()) if len(true_boxes) else float("nan"),
    )


def average_precision(
    scores: np.ndarray, is_right: np.ndarray, num_boxes: float, weights: np.ndarray | None = None
) -> float:
    """COCO's average precision of one class at the IoU that the detections were matched with.

    Args:
        scores: Scores of the detections of all frames, (n,).
        is_right: Whether each has found a true box, booleans (n,).
        num_boxes: Number of true boxes of all frames.
        weights: How often each detection counts, (n,); once by default.

    Returns:
        In [0, 1]; NaN where there is no true box.
    """
    if num_boxes <= 0:
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    counts = np.ones(len(scores)) if weights is None else weights[order].astype(np.float64)
    right = np.cumsum(counts * is_right[order])
    taken = np.cumsum(counts)
    # detections that do not count at all at the start of a resample have no precision
    precision = np.divide(right, taken, out=np.zeros_like(right), where=taken > 0)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    # no slack for the rounding of a recall that is just one of these: COCO has none, and its figures are to be met
    places = np.searchsorted(right / num_boxes, RECALLS)
    return float(np.append(envelope, 0.0)[places].mean())


def estimate_average_precision(frames: Sequence[FrameMatch], videos: Sequence[str], bootstrap: Bootstrap) -> Estimate:
    """Average precision over frames, with a percentile interval by resampling whole videos.

    Args:
        frames: Matches of one class.
        videos: The video of each frame.
        bootstrap: How the interval is found.
    """
    numbers = {video: number for number, video in enumerate(sorted(set(videos)))}
    video_of_frame = np.asarray([numbers[video] for video in videos], dtype=int)
    scores = np.concatenate([frame.scores for frame in frames] or [np.zeros(0)])
    is_right = np.concatenate([frame.is_right for frame in frames] or [np.zeros(0, bool)])
    video_of_detection = np.repeat(video_of_frame, [len(frame.scores) for frame in frames])
    num_boxes = np.bincount(video_of_frame, [len(frame.is_found) for frame in frames], minlength=len(numbers))
    value = average_precision(scores, is_right, num_boxes.sum())
    if np.isnan(value):
        return Estimate()
    if np.count_nonzero(num_boxes) < 2:
        return Estimate(value)
    # sorted once: the order is the same in every resample
    order = np.argsort(-scores, kind="stable")
    scores, is_right, video_of_detection = scores[order], is_right[order], video_of_detection[order]
    rng = np.random.default_rng(bootstrap.seed)
    drawn = rng.multinomial(len(numbers), np.full(len(numbers), 1 / len(numbers)), size=bootstrap.resamples)
    values = [average_precision(scores, is_right, counts @ num_boxes, counts[video_of_detection]) for counts in drawn]
    tail = (1 - bootstrap.confidence) / 2
    low, high = np.nanquantile(values, [tail, 1 - tail])
    return Estimate(value, float(low), float(high))
