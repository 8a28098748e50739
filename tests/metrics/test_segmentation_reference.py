"""The segmentation metrics on predictions of a published model, against values computed with published code."""

import json

import evaluate
import numpy as np
import pytest

from vidreason.metrics import metric_path

# file, background, accuracy, MoF, edit score, F1@10, 25, 50 per video, F1@10, 25, 50 pooled
ROWS = [
    pytest.param(
        "50salads_mid.json", 0, 64.680, 64.345, 59.845, (68.023, 63.890, 52.551), (67.242, 63.055, 51.905), id="mid"
    ),
    pytest.param(
        "50salads_mid.json",
        None,
        *(64.680, 64.345, 50.340, (58.834, 54.944, 43.940), (58.007, 54.065, 43.175)),
        id="mid-without-background",
    ),
    pytest.param(
        "50salads_eval.json", 0, 73.435, 73.526, 72.266, (76.468, 73.767, 64.500), (76.420, 73.834, 64.590), id="eval"
    ),
]


@pytest.fixture
def mean_over_splits(shared_data, tmp_path):
    """A function that computes one metric on each split of a file, and the mean of each score that is asked for."""

    def compute(file, name, scores, **arguments):
        folder = shared_data / "segmentation_reference"
        if not folder.is_dir():
            pytest.skip("no reference predictions: segmentation_reference is not in the shared data")
        splits = json.loads((folder / file).read_text(encoding="utf-8"))
        metric = evaluate.load(metric_path(name), cache_dir=str(tmp_path), experiment_id="test")
        results = [
            metric.compute(
                predictions=[video["prediction"] for video in videos],
                references=[video["reference"] for video in videos],
                **arguments,
            )
            for videos in splits.values()
        ]
        assert len(results) == 5
        return [np.mean([result[score] for result in results]) for score in scores]

    return compute


def three_decimals(values):
    return pytest.approx(values, abs=0.0005 + 1e-9)


@pytest.mark.parametrize(("file", "background", "accuracy", "pooled", "edit", "f1_video", "f1_pooled"), ROWS)
def test_reference_values(mean_over_splits, file, background, accuracy, pooled, edit, f1_video, f1_pooled):
    assert mean_over_splits(file, "mof", ["mof"], average="video") == three_decimals([accuracy])
    assert mean_over_splits(file, "mof", ["mof"]) == three_decimals([pooled])
    assert mean_over_splits(file, "edit_score", ["edit_score"], background=background) == three_decimals([edit])
    for average, expected in (("video", f1_video), ("pooled", f1_pooled)):
        scores = mean_over_splits(
            file, "segment_f1", ["f1@10", "f1@25", "f1@50"], background=background, average=average
        )
        assert scores == three_decimals(list(expected))
