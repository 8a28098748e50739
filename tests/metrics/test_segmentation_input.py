"""What `mof`, `edit_score` and `segment_f1` have in common: the form of their input, and properties of any score."""

import evaluate
import numpy as np
import pytest

from vidreason.metrics import metric_path

# what other tests left for the garbage collector may be collected here, and is no fault of a metric
pytestmark = pytest.mark.filterwarnings("error", "default::pytest.PytestUnraisableExceptionWarning")

NAN, INF = float("nan"), float("inf")
ARGUMENTS = {"mof": {}, "edit_score": {"background": None}, "segment_f1": {"background": None}}
SCORES = {"mof": ("mof",), "edit_score": ("edit_score",), "segment_f1": ("f1@10", "f1@25", "f1@50")}
BACKGROUND = {"mof": {}, "edit_score": {"background": 0}, "segment_f1": {"background": 0}}


@pytest.fixture(params=list(ARGUMENTS))
def name(request):
    return request.param


@pytest.fixture
def metric(name, tmp_path):
    return evaluate.load(metric_path(name), cache_dir=str(tmp_path), experiment_id="test")


def random_videos(seed, num_labels=5):
    """12 videos of segments of up to 9 frames."""
    rng = np.random.default_rng(seed)
    runs = rng.integers(1, 15, 12)
    return [np.repeat(rng.integers(0, num_labels, n), rng.integers(1, 10, n))[:30] for n in runs]


def noisy(videos, seed=1, num_labels=5):
    rng = np.random.default_rng(seed)
    return [np.where(rng.random(len(v)) < 0.2, rng.integers(0, num_labels, len(v)), v) for v in videos]


def scores(name, result):
    return [result[score] for score in SCORES[name]]


def test_identity_is_100(name, metric):
    videos = random_videos(0)
    result = metric.compute(predictions=videos, references=videos, **ARGUMENTS[name])
    assert scores(name, result) == [100.0] * len(SCORES[name])
    assert (result["num_videos"], result["num_frames"]) == (12, sum(map(len, videos)))


def test_renaming_the_labels_on_both_sides_changes_nothing(name, metric):
    videos = random_videos(2)
    predictions = noisy(videos)
    renamed = np.array([0, 41, 7, 2**40, 3])  # background stays what it is
    before = metric.compute(predictions=predictions, references=videos, **BACKGROUND[name])
    after = metric.compute(
        predictions=[renamed[video] for video in predictions],
        references=[renamed[video] for video in videos],
        **BACKGROUND[name],
    )
    assert before == after
    assert all(0 < score < 100 for score in scores(name, before))


def test_the_order_of_the_videos_does_not_matter(name, metric):
    videos = random_videos(3)
    predictions = noisy(videos)
    forth = metric.compute(predictions=predictions, references=videos, **BACKGROUND[name])
    back = metric.compute(predictions=predictions[::-1], references=videos[::-1], **BACKGROUND[name])
    assert forth == pytest.approx(back)


@pytest.mark.parametrize(("name", "extra"), [("mof", {}), ("segment_f1", {"shorten_last_segment": False})])
def test_both_averages_are_equal_for_a_single_video(name, extra, metric):
    videos = random_videos(4)
    for prediction, reference in zip(noisy(videos), videos, strict=True):
        pooled, per_video = (
            metric.compute(
                predictions=[prediction], references=[reference], average=average, **BACKGROUND[name], **extra
            )
            for average in ("pooled", "video")
        )
        assert pooled == pytest.approx(per_video)


@pytest.mark.parametrize(
    "convert",
    [
        pytest.param(lambda video: video.tolist(), id="list"),
        pytest.param(lambda video: video.astype(np.uint8), id="uint8"),
        pytest.param(lambda video: video.astype(np.int32), id="int32"),
        pytest.param(lambda video: video.astype(np.float32), id="whole-numbers-in-float32"),
    ],
)
def test_forms_of_input(name, metric, convert):
    videos = random_videos(5)
    predictions = noisy(videos)
    expected = metric.compute(predictions=predictions, references=videos, **BACKGROUND[name])
    inputs = {"predictions": [*map(convert, predictions)], "references": [*map(convert, videos)]}
    assert metric.compute(**inputs, **BACKGROUND[name]) == expected


def test_an_array_of_videos_of_one_length(name, metric):
    references = np.array([[1, 1, 2], [2, 2, 2]])
    result = metric.compute(predictions=references, references=references, **ARGUMENTS[name])
    assert scores(name, result) == [100.0] * len(SCORES[name])


def test_batches_and_single_videos_add_up(name, metric):
    videos = random_videos(6)
    predictions = noisy(videos)
    at_once = metric.compute(predictions=predictions, references=videos, **BACKGROUND[name])
    metric.add_batch(predictions=predictions[:7], references=videos[:7])
    for prediction, reference in zip(predictions[7:], videos[7:], strict=True):
        metric.add(prediction=prediction, reference=reference)
    assert metric.compute(**BACKGROUND[name]) == at_once


@pytest.mark.parametrize(
    ("predictions", "references", "message"),
    [
        pytest.param([], [], "there are no videos to score", id="no-videos"),
        pytest.param([[1], []], [[1], []], "video 1: it has no frames", id="no-frames"),
        pytest.param([[1], None], [[1], [1]], "video 1: its labels are missing", id="no-prediction"),
        pytest.param([[1], [1]], [[1], None], "video 1: its labels are missing", id="no-reference"),
        pytest.param([[1], [1, 2]], [[1], [1]], "video 1: 2 predicted and 1 reference frames", id="longer"),
        pytest.param([[1], []], [[1], [1]], "video 1: 0 predicted and 1 reference frames", id="shorter"),
        pytest.param([[1], [2, -1]], [[1], [2, 2]], "video 1: frame 1: prediction -1 is not a label", id="negative"),
        pytest.param([[1, 1]], [[1, -3]], "video 0: frame 1: reference -3 is not a label", id="negative-reference"),
        pytest.param([[1.5, 1]], [[1, 1]], "video 0: frame 0: prediction 1.5 is not a label", id="fraction"),
        pytest.param([[1, NAN]], [[1, 1]], "video 0: frame 1: prediction nan is not a label", id="nan"),
        pytest.param([[1, None]], [[1, 1]], "video 0: frame 1: prediction nan is not a label", id="none"),
        pytest.param([[1, 1]], [[INF, 1]], "video 0: frame 0: reference inf is not a label", id="infinite"),
        pytest.param([[2**53]], [[1]], "video 0: frame 0: prediction 9.0072e.15 is not a label", id="too-large"),
        pytest.param([[1], [1]], [[1]], "Mismatch in the number of predictions", id="fewer-references"),
        pytest.param([1, 2], [1, 2], "don't match the expected format", id="frames-without-videos"),
    ],
)
def test_bad_input_is_named(name, metric, predictions, references, message):
    own = "" if "Mismatch" in message or "format" in message else f"^{name}: "
    with pytest.raises(ValueError, match=own + message):
        metric.compute(predictions=predictions, references=references, **ARGUMENTS[name])


def test_the_frame_that_is_named_is_a_frame_of_the_video(name, metric):
    with pytest.raises(ValueError, match="video 0: frame 3: prediction -1 is not a label"):
        metric.compute(predictions=[[5, 5, 1, -1]], references=[[9, 9, 1, 1]], ignore=9, **ARGUMENTS[name])


def test_labels_of_ignored_frames_may_be_anything(name, metric):
    result = metric.compute(predictions=[[-1, 1, NAN]], references=[[-100, 1, 9]], ignore=(-100, 9), **ARGUMENTS[name])
    assert (result["num_frames"], result["num_ignored_frames"]) == (1, 2)
    assert scores(name, result) == [100.0] * len(SCORES[name])


@pytest.mark.parametrize("bad", [1.5, True, "0", [0, None], [0, 2.0]])
@pytest.mark.parametrize(
    ("name", "argument"),
    [(name, "ignore") for name in ARGUMENTS] + [("edit_score", "background"), ("segment_f1", "background")],
)
def test_bad_labels_in_arguments_are_named(name, metric, argument, bad):
    with pytest.raises(ValueError, match=f"^{name}: {argument} must be whole numbers, got"):
        metric.compute(predictions=[[1]], references=[[1]], **{**ARGUMENTS[name], argument: bad})


@pytest.mark.parametrize("labels", [0, [0], (0,), {0}, np.array([0]), np.int64(0)])
def test_forms_of_label_arguments(name, metric, labels):
    result = metric.compute(predictions=[[1, 1]], references=[[0, 1]], ignore=labels, **ARGUMENTS[name])
    assert result["num_ignored_frames"] == 1
