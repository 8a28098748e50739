import evaluate
import numpy as np
import pytest

from vidreason.metrics import metric_path

NAN, INF = float("nan"), float("inf")


@pytest.fixture
def topk_accuracy(tmp_path):
    return evaluate.load(metric_path("topk_accuracy"), cache_dir=str(tmp_path), experiment_id="test")


@pytest.mark.parametrize(
    ("scores", "labels", "k", "expected"),
    [
        pytest.param([[1, 2, 3], [3, 2, 1]], [2, 2], 1, {"top1": 0.5}, id="one-k"),
        pytest.param([[1, 2, 3], [3, 2, 1]], [1, 2], [1, 2, 3], {"top1": 0.0, "top2": 0.5, "top3": 1.0}, id="many-k"),
        pytest.param([[1, 2, 3]], [0], 5, {"top5": 1.0}, id="k-above-the-number-of-classes"),
        pytest.param([[7]], [0], 1, {"top1": 1.0}, id="a-single-class"),
        pytest.param([[-INF, 0, INF]], [2], 1, {"top1": 1.0}, id="infinite-scores"),
        pytest.param([[1, 1, 0]], [0], [1, 2], {"top1": 0.0, "top2": 1.0}, id="tie-with-a-later-class"),
        pytest.param([[1, 1, 0]], [1], [1, 2], {"top1": 0.0, "top2": 1.0}, id="tie-with-an-earlier-class"),
        pytest.param([[1, 1, 2]], [2], 1, {"top1": 1.0}, id="tie-among-other-classes"),
        pytest.param([[1.0, 1.0 + 1e-12]], [1], 1, {"top1": 1.0}, id="nearly-a-tie-in-double-precision"),
    ],
)
def test_values(topk_accuracy, scores, labels, k, expected):
    result = topk_accuracy.compute(predictions=scores, references=labels, k=k)
    assert result == {**expected, "num_samples": len(labels), "num_ignored": 0}


def test_agrees_with_sorting_where_there_are_no_ties(topk_accuracy):
    rng = np.random.default_rng(0)
    scores, labels = rng.standard_normal((500, 20)), rng.integers(0, 20, 500)
    best_first = np.argsort(-scores, axis=1)
    result = topk_accuracy.compute(predictions=scores.astype(np.float32), references=labels, k=[1, 5])
    for k in (1, 5):
        expected = np.mean([label in row[:k] for label, row in zip(labels, best_first, strict=True)])
        assert result[f"top{k}"] == pytest.approx(expected)


def test_ignored_labels_are_left_out_and_counted(topk_accuracy):
    result = topk_accuracy.compute(predictions=[[0, 1], [1, 0], [0.5, 0]], references=[1, -100, -100])
    assert result == {"top1": 1.0, "num_samples": 1, "num_ignored": 2}


def test_another_ignore_index(topk_accuracy):
    result = topk_accuracy.compute(predictions=[[0, 1], [0, 1]], references=[0, 1], ignore_index=0)
    assert result == {"top1": 1.0, "num_samples": 1, "num_ignored": 1}


def test_no_clip_counts(topk_accuracy):
    result = topk_accuracy.compute(predictions=[[0, 1]], references=[-100], k=[1, 5])
    assert result == {"top1": None, "top5": None, "num_samples": 0, "num_ignored": 1}


def test_batches_add_up(topk_accuracy):
    topk_accuracy.add_batch(predictions=np.array([[0.0, 1.0]]), references=np.array([1]))
    topk_accuracy.add_batch(predictions=np.array([[0.0, 1.0]]), references=np.array([0]))
    assert topk_accuracy.compute() == {"top1": 0.5, "num_samples": 2, "num_ignored": 0}


@pytest.mark.parametrize(
    ("scores", "labels", "k", "message"),
    [
        pytest.param([], [], 1, "there are no clips to score", id="empty"),
        pytest.param([[0, 1], [NAN, 1]], [0, 0], 1, "row 1 has a NaN score", id="nan"),
        pytest.param([[0, 1], [NAN, 1]], [0, -100], 1, "row 1 has a NaN score", id="nan-in-an-ignored-row"),
        pytest.param([[0, 1], [0, 1, 2]], [0, 0], 1, "row 1 has 3 class scores, row 0 has 2", id="ragged"),
        pytest.param([[0, 1]], [2], 1, "row 0: label 2 is not one of 2 classes", id="label-too-large"),
        pytest.param([[0, 1]], [-1], 1, "row 0: label -1 is not one of 2 classes", id="label-negative"),
        pytest.param([[0, 1]], [0], 0, "k must be a whole number of at least 1, got 0", id="k-zero"),
        pytest.param([[0, 1]], [0], [1, 2.5], "k must be a whole number of at least 1, got 2.5", id="k-fraction"),
        pytest.param([[0, 1]], [0], [], "k is empty", id="no-k"),
    ],
)
def test_bad_input_is_named(topk_accuracy, scores, labels, k, message):
    with pytest.raises(ValueError, match=message):
        topk_accuracy.compute(predictions=scores, references=labels, k=k)
