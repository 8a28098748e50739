import evaluate
import numpy as np
import pytest

from vidreason.metrics import metric_path


@pytest.fixture
def pointing(tmp_path):
    return evaluate.load(metric_path("pointing"), cache_dir=str(tmp_path), experiment_id="test")


@pytest.mark.parametrize(
    ("cells", "regions", "accuracy", "num_frames", "num_ignored"),
    [
        pytest.param([0], [[0]], 1.0, 1, 0, id="hit"),
        pytest.param([1], [[0]], 0.0, 1, 0, id="miss"),
        pytest.param([3, 3], [[1, 2, 3], [1, 2]], 0.5, 2, 0, id="hit-and-miss"),
        pytest.param([3], [[3, 3]], 1.0, 1, 0, id="a-cell-twice-is-one-hit"),
        pytest.param([0, 1], [[1], [0]], 0.0, 2, 0, id="regions-are-not-mixed-between-frames"),
        pytest.param([0, 1, 2], [[], [1], []], 1.0, 1, 2, id="frames-without-guidance"),
        pytest.param([-100, 1], [[0], [0]], 0.0, 1, 1, id="padded-frame"),
        pytest.param([-100], [[]], None, 0, 1, id="padded-and-without-guidance-counts-once"),
        pytest.param([4], [[]], None, 0, 1, id="no-frame-counts"),
    ],
)
def test_values(pointing, cells, regions, accuracy, num_frames, num_ignored):
    result = pointing.compute(predictions=cells, references=regions)
    assert result == {"pointing_accuracy": accuracy, "num_frames": num_frames, "num_ignored": num_ignored}


def test_agrees_with_a_loop(pointing):
    rng = np.random.default_rng(0)
    cells = rng.integers(0, 16, 400)
    regions = [rng.choice(16, size=rng.integers(0, 6), replace=False).tolist() for _ in cells]
    hits = [cell in region for cell, region in zip(cells, regions, strict=True) if region]
    result = pointing.compute(predictions=cells, references=regions)
    assert result["pointing_accuracy"] == pytest.approx(np.mean(hits))
    assert result["num_frames"] == len(hits)
    assert result["num_ignored"] == 400 - len(hits) > 0


def test_batches_add_up(pointing):
    pointing.add_batch(predictions=[0], references=[[0]])
    pointing.add_batch(predictions=[0, 0], references=[[1], []])
    assert pointing.compute() == {"pointing_accuracy": 0.5, "num_frames": 2, "num_ignored": 1}


def test_another_ignore_index(pointing):
    result = pointing.compute(predictions=[-1, 0], references=[[0], [0]], ignore_index=-1)
    assert result == {"pointing_accuracy": 1.0, "num_frames": 1, "num_ignored": 1}


@pytest.mark.parametrize(
    ("cells", "regions", "message"),
    [
        pytest.param([], [], "there are no frames to score", id="empty"),
        pytest.param([0, -1], [[0], [0]], "frame 1: prediction -1 is not the index of a cell", id="prediction"),
        pytest.param([0, 0], [[0], [1, -2]], "frame 1: reference -2 is not the index of a cell", id="reference"),
    ],
)
def test_bad_input_is_named(pointing, cells, regions, message):
    with pytest.raises(ValueError, match=message):
        pointing.compute(predictions=cells, references=regions)
