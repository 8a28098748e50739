"""Scoring is linear in its predictions; what it scored is checked, so that speed is not for nothing."""

import pytest


def test_scoring_is_linear_and_right(run_benchmark):
    status, report, text = run_benchmark(
        "videoqa_scoring", "--num_predictions", "1000", "4000", "--answer_chars", "50"
    )
    assert status == 0
    small, large = report["results"]
    assert (small["num_predictions"], large["num_predictions"]) == (1000, 4000)
    assert 45 < small["score"] < 55 and 45 < large["score"] < 55
    assert report["ratios"]["predictions"] == 4
    assert report["ratios"]["time"] == pytest.approx(large["cpu_s"] / small["cpu_s"])
    assert "of linear" in text
