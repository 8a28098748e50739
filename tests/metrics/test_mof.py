import evaluate
import numpy as np
import pytest

from vidreason.metrics import metric_path

# what other tests left for the garbage collector may be collected here, and is no fault of a metric
pytestmark = pytest.mark.filterwarnings("error", "default::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture
def mof(tmp_path):
    return evaluate.load(metric_path("mof"), cache_dir=str(tmp_path), experiment_id="test")


@pytest.mark.parametrize(
    ("predictions", "references", "pooled", "per_video"),
    [
        pytest.param([[1, 2, 3, 4]], [[1, 2, 3, 0]], 75.0, 75.0, id="one-video"),
        pytest.param([[0], [5, 5, 5, 5]], [[0], [5, 5, 0, 0]], 60.0, 75.0, id="long-videos-weigh-more-in-the-pool"),
        pytest.param([[7]], [[7]], 100.0, 100.0, id="one-frame-right"),
        pytest.param([[7]], [[6]], 0.0, 0.0, id="one-frame-wrong"),
        pytest.param([[0, 0]], [[0, 0]], 100.0, 100.0, id="background-counts"),
    ],
)
def test_values(mof, predictions, references, pooled, per_video):
    frames = sum(map(len, references))
    counts = {
        "num_videos": len(references),
        "num_ignored_videos": 0,
        "num_frames": frames,
        "num_ignored_frames": 0,
    }
    inputs = {"predictions": predictions, "references": references}
    assert mof.compute(**inputs) == {"mof": pooled, **counts}
    assert mof.compute(**inputs, average="video") == {"mof": per_video, **counts}


@pytest.mark.parametrize(("average", "expected"), [("pooled", 75.0), ("video", 83.333333)])
def test_ignored_frames_are_left_out_and_counted(mof, average, expected):
    # video 0: 1 of 1 frame, video 1: none counts, video 2: 2 of 3
    predictions = [[1, 9], [2, 2], [3, 3, 4, 0, 0]]
    references = [[1, -100], [8, -100], [3, 3, 3, 8, 8]]
    result = mof.compute(predictions=predictions, references=references, average=average, ignore=[8, -100])
    counts = {"num_videos": 2, "num_ignored_videos": 1, "num_frames": 4, "num_ignored_frames": 5}
    assert result == {"mof": pytest.approx(expected), **counts}


def test_a_prediction_of_an_ignored_label_is_a_miss(mof):
    assert mof.compute(predictions=[[8, 1]], references=[[1, 1]], ignore=8)["mof"] == 50.0


@pytest.mark.parametrize("average", ["pooled", "video"])
def test_no_frame_counts(mof, average):
    result = mof.compute(predictions=[[1], [2, 2]], references=[[0], [0, 0]], ignore=0, average=average)
    assert result == {"mof": None, "num_videos": 0, "num_ignored_videos": 2, "num_frames": 0, "num_ignored_frames": 3}


def test_agrees_with_a_loop(mof):
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 60, 20)
    predictions, references = ([rng.integers(0, 4, length) for length in lengths] for _ in range(2))
    hits = [
        [p == r for p, r in zip(prediction, reference, strict=True) if r != 3]
        for prediction, reference in zip(predictions, references, strict=True)
    ]
    inputs = {"predictions": predictions, "references": references, "ignore": 3}
    assert mof.compute(**inputs)["mof"] == pytest.approx(100 * np.mean([hit for video in hits for hit in video]))
    per_video = [100 * np.mean(video) for video in hits if video]
    assert mof.compute(**inputs, average="video")["mof"] == pytest.approx(np.mean(per_video))


def test_unknown_average_is_named(mof):
    with pytest.raises(ValueError, match="mof: average must be 'pooled' or 'video', got 'macro'"):
        mof.compute(predictions=[[1]], references=[[1]], average="macro")
