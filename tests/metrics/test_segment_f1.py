import tracemalloc
from fractions import Fraction

import evaluate
import numpy as np
import pytest

from vidreason.metrics import metric_path

# what other tests left for the garbage collector may be collected here, and is no fault of a metric
pytestmark = pytest.mark.filterwarnings("error", "default::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture
def segment_f1(tmp_path):
    return evaluate.load(metric_path("segment_f1"), cache_dir=str(tmp_path), experiment_id="test")


def segments(frames, background, shorten):
    """(label, start, end) of each segment, one frame at a time."""
    found = []
    for i, label in enumerate(frames):
        if i and frames[i - 1] == label:
            found[-1][2] = i + 1
        else:
            found.append([label, i, i + 1])
    found[-1][2] -= shorten
    return [tuple(segment) for segment in found if segment[0] not in background]


def true_positives(predicted, true, threshold):
    """Every predicted segment against every true one, in exact fractions."""
    used = set()
    for label, start, end in predicted:
        best, best_overlap = None, Fraction(0)
        for index, (true_label, true_start, true_end) in enumerate(true):
            overlap = min(end, true_end) - max(start, true_start)
            if label == true_label and overlap > 0:
                ratio = Fraction(overlap, max(end, true_end) - min(start, true_start))
                if ratio > best_overlap:
                    best, best_overlap = index, ratio
        if best is not None and best_overlap >= Fraction(threshold) / 100:
            used.add(best)
    return len(used)


def f1_of(hits, num_segments):
    return 200 * hits / num_segments if num_segments else 100


TEN = [1] * 10


@pytest.mark.parametrize(
    ("prediction", "reference", "background", "threshold", "f1", "counts"),
    [
        # counts: true positives, predicted segments, reference segments
        pytest.param([1, 1, 2, 2], [1, 1, 2, 2], None, 100, 100.0, (2, 2, 2), id="identity-at-full-overlap"),
        pytest.param([1, 1, 1, 2], [1, 1, 2, 2], None, 50, 100.0, (2, 2, 2), id="overlaps-of-two-thirds-and-a-half"),
        pytest.param([1, 1, 1, 2], [1, 1, 2, 2], None, 51, 50.0, (1, 2, 2), id="a-half-is-less-than-51-percent"),
        pytest.param([1] + [0] * 9, TEN, 0, 10, 100.0, (1, 1, 1), id="exactly-ten-percent"),
        pytest.param([1] + [0] * 9, TEN, 0, 10.5, 0.0, (0, 1, 1), id="a-threshold-with-a-fraction"),
        pytest.param([2, 2, 3, 3], [3, 3, 2, 2], None, 10, 0.0, (0, 2, 2), id="right-labels-at-the-wrong-time"),
        pytest.param([1, 0, 1, 0, 1], [1] * 5, 0, 10, 50.0, (1, 3, 1), id="further-hits-are-false-positives"),
        pytest.param([1] * 5, [1, 0, 1, 0, 1], 0, 10, 50.0, (1, 1, 3), id="one-prediction-hits-one-segment"),
        # the second prediction overlaps the used first segment by 2 / 7 and the free second one by 1 / 4 only
        pytest.param(
            [1, 1, 0, 1, 1, 1, 1], [1, 1, 1, 1, 1, 0, 1], 0, 10, 50.0, (1, 2, 2), id="the-best-one-is-taken-already"
        ),
        pytest.param([7], [7], None, 50, 100.0, (1, 1, 1), id="one-frame-right"),
        pytest.param([7], [6], None, 50, 0.0, (0, 1, 1), id="one-frame-wrong"),
        pytest.param([0, 0], [0, 0], 0, 50, 100.0, (0, 0, 0), id="background-only-on-both-sides"),
        pytest.param([1, 2], [0, 0], 0, 50, 0.0, (0, 2, 0), id="background-only-in-the-reference"),
        pytest.param([0, 0], [1, 2], 0, 50, 0.0, (0, 0, 2), id="background-only-in-the-prediction"),
        pytest.param([0, 0], [0, 0], None, 50, 100.0, (1, 1, 1), id="without-background-label-0-is-an-action"),
        pytest.param([8, 1, 9], [9, 1, 8], [8, 9], 50, 100.0, (1, 1, 1), id="two-kinds-of-background"),
    ],
)
def test_values_of_one_video(segment_f1, prediction, reference, background, threshold, f1, counts):
    inputs = {"predictions": [prediction], "references": [reference], "background": background}
    expected = {
        f"f1@{threshold}": f1,
        f"true_positives@{threshold}": counts[0],
        "num_predicted_segments": counts[1],
        "num_reference_segments": counts[2],
        "num_videos": 1,
        "num_ignored_videos": 0,
        "num_frames": len(reference),
        "num_ignored_frames": 0,
    }
    assert segment_f1.compute(**inputs, thresholds=threshold) == expected
    pooled = segment_f1.compute(**inputs, thresholds=threshold, average="pooled", shorten_last_segment=False)
    assert pooled == expected


def test_the_two_averages(segment_f1):
    # video 0: 1 hit of 1 and 1; video 1: 1 hit of 3 and 1 (200 / 4); video 2: background only
    inputs = {
        "predictions": [[1, 1], [2, 3, 4, 4], [0, 0]],
        "references": [[1, 1], [4, 4, 4, 4], [0, 0]],
        "background": 0,
        "shorten_last_segment": False,
    }
    assert segment_f1.compute(**inputs, thresholds=50)["f1@50"] == pytest.approx((100 + 50 + 100) / 3)
    assert segment_f1.compute(**inputs, thresholds=50, average="pooled")["f1@50"] == pytest.approx(200 * 2 / 6)


@pytest.mark.parametrize(
    ("prediction", "reference", "long", "short"),
    [
        pytest.param([0, 0, 1, 1], [1, 1, 1, 1], 100.0, 0.0, id="2-of-4-frames-become-1-of-3"),
        pytest.param([0, 1, 1], [2, 1, 1], 200 / 3, 200 / 3, id="both-last-segments-are-shorter"),
        pytest.param([1, 1, 1, 0], [1, 1, 1, 1], 100.0, 100.0, id="3-of-4-frames-become-3-of-3"),
        pytest.param([1, 2], [1, 2], 100.0, 50.0, id="a-last-segment-of-one-frame-is-never-hit"),
        pytest.param([1], [1], 100.0, 0.0, id="a-single-frame-is-never-hit"),
        pytest.param([1, 1, 0], [1, 1, 0], 100.0, 100.0, id="the-last-segment-is-background"),
        pytest.param([0], [0], 100.0, 100.0, id="a-single-frame-of-background"),
    ],
)
def test_shorter_last_segment(segment_f1, prediction, reference, long, short):
    inputs = {"predictions": [prediction], "references": [reference], "background": 0, "thresholds": 50}
    for average, by_default in (("video", long), ("pooled", short)):
        f1 = {
            choice: segment_f1.compute(**inputs, average=average, shorten_last_segment=choice)["f1@50"]
            for choice in (False, True, None)
        }
        assert f1 == {False: pytest.approx(long), True: pytest.approx(short), None: pytest.approx(by_default)}


def test_the_earliest_of_equal_overlaps_is_taken(segment_f1):
    # the first prediction, frames 0 to 3, overlaps the segment on frame 0 by 1 / 4 and that on frames 2 to 7 by 2 / 8;
    # the second one overlaps the latter by 3 / 6, and finds it free only because the first one took the former
    result = segment_f1.compute(
        predictions=[[1, 1, 1, 1, 0, 1, 1, 1]],
        references=[[1, 0, 1, 1, 1, 1, 1, 1]],
        background=0,
        thresholds=[25, 26],
    )
    assert (result["true_positives@25"], result["true_positives@26"]) == (2, 1)


def test_several_thresholds_in_one_call(segment_f1):
    result = segment_f1.compute(predictions=[[1] * 3 + [0] * 7], references=[TEN], background=0)
    assert [result[f"f1@{k}"] for k in (10, 25, 50)] == [100.0, 100.0, 0.0]
    result = segment_f1.compute(
        predictions=[[1] * 3 + [0] * 7], references=[TEN], background=0, thresholds=np.array([30.0, 30.5])
    )
    assert (result["f1@30"], result["f1@30.5"]) == (100.0, 0.0)


def test_ignored_frames_are_removed_before_segments_are_made(segment_f1):
    # video 0 becomes 1 1 2 on both sides, video 1 vanishes, video 2 becomes 3 4 and 3 3 (overlap 1 / 2)
    result = segment_f1.compute(
        predictions=[[1, 7, 1, 2], [5, 6], [3, 4, 5]],
        references=[[1, 9, 1, 2], [9, -1], [3, 3, -1]],
        background=None,
        ignore=[9, -1],
        thresholds=50,
    )
    assert result == {
        "f1@50": pytest.approx((100 + 200 / 3) / 2),
        "true_positives@50": 3,
        "num_predicted_segments": 4,
        "num_reference_segments": 3,
        "num_videos": 2,
        "num_ignored_videos": 1,
        "num_frames": 5,
        "num_ignored_frames": 4,
    }


@pytest.mark.parametrize("average", ["video", "pooled"])
def test_no_frame_counts(segment_f1, average):
    result = segment_f1.compute(
        predictions=[[1, 2]], references=[[9, 9]], background=None, ignore=9, average=average, thresholds=(10, 50)
    )
    assert (result["f1@10"], result["f1@50"], result["true_positives@50"]) == (None, None, 0)
    assert (result["num_videos"], result["num_ignored_videos"], result["num_ignored_frames"]) == (0, 1, 2)


@pytest.mark.parametrize("average", ["video", "pooled"])
@pytest.mark.parametrize("shorten", [False, True])
@pytest.mark.parametrize("background", [None, 0, [0, 2]])
def test_agrees_with_comparing_all_pairs(segment_f1, average, shorten, background):
    rng = np.random.default_rng(0)
    left_out = () if background is None else np.atleast_1d(background).tolist()
    lengths = rng.integers(1, 50, 60)
    references = [np.repeat(rng.integers(0, 4, n), rng.integers(1, 6, n))[:n].tolist() for n in lengths]
    noise = [np.repeat(rng.random(n) < 0.3, 3)[:n] for n in lengths]
    predictions = [
        np.where(bad, rng.integers(0, 4), reference).tolist() for bad, reference in zip(noise, references, strict=True)
    ]
    pairs = [
        (segments(prediction, left_out, shorten), segments(reference, left_out, shorten))
        for prediction, reference in zip(predictions, references, strict=True)
    ]
    result = segment_f1.compute(
        predictions=predictions,
        references=references,
        background=background,
        average=average,
        shorten_last_segment=shorten,
        thresholds=(10, 25, 50, 75),
    )
    sizes = [len(predicted) + len(true) for predicted, true in pairs]
    for threshold in (10, 25, 50, 75):
        hits = [true_positives(predicted, true, threshold) for predicted, true in pairs]
        per_video = np.mean([f1_of(hit, size) for hit, size in zip(hits, sizes, strict=True)])
        expected = per_video if average == "video" else f1_of(sum(hits), sum(sizes))
        assert result[f"f1@{threshold}"] == pytest.approx(expected)
        assert result[f"true_positives@{threshold}"] == sum(hits)


def test_memory_is_linear_in_the_number_of_segments(segment_f1):
    labels = np.arange(10_000) % 7
    tracemalloc.start()
    result = segment_f1.compute(predictions=[labels], references=[labels], background=None)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert result["true_positives@50"] == 10_000
    assert peak < 10_000 * 10_000 / 8  # not even a bit for each pair


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param({"thresholds": 0}, r"percentages in \(0, 100\], got 0", id="threshold-zero"),
        pytest.param({"thresholds": [10, 100.5]}, r"percentages in \(0, 100\], got 100.5", id="threshold-too-large"),
        pytest.param({"thresholds": [-10]}, r"percentages in \(0, 100\], got -10", id="threshold-negative"),
        pytest.param({"thresholds": float("nan")}, r"percentages in \(0, 100\], got nan", id="threshold-nan"),
        pytest.param({"thresholds": True}, r"percentages in \(0, 100\], got True", id="threshold-bool"),
        pytest.param({"thresholds": "50"}, r"percentages in \(0, 100\], got '50'", id="threshold-text"),
        pytest.param({"thresholds": []}, "thresholds is empty", id="no-threshold"),
        pytest.param({"average": "macro"}, "average must be 'video' or 'pooled', got 'macro'", id="average"),
        pytest.param({"shorten_last_segment": 1}, "must be True, False or None, got 1", id="shorten"),
    ],
)
def test_bad_arguments_are_named(segment_f1, arguments, message):
    with pytest.raises(ValueError, match=f"segment_f1: .*{message}"):
        segment_f1.compute(predictions=[[1]], references=[[1]], background=None, **arguments)


def test_background_must_be_given(segment_f1):
    with pytest.raises(TypeError, match="background"):
        segment_f1.compute(predictions=[[1]], references=[[1]])
