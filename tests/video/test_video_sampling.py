"""Which frames are looked at."""

import numpy as np
import pytest

from vidreason.video import fps_timestamps, jittered_indices, uniform_indices


@pytest.mark.parametrize(
    "num_frames, num_samples, expected",
    [
        (8, 4, [1, 3, 5, 7]),
        (10, 4, [1, 3, 6, 8]),
        (10, 1, [5]),
        (1, 3, [0, 0, 0]),
        (3, 6, [0, 0, 1, 1, 2, 2]),
        (5, 5, [0, 1, 2, 3, 4]),
    ],
)
def test_uniform_indices_are_the_middles_of_equal_segments(num_frames, num_samples, expected):
    assert uniform_indices(num_frames, num_samples) == expected


def test_jittered_indices_stay_in_their_segments_and_reach_all_of_it():
    rng = np.random.default_rng(0)
    draws = np.array([jittered_indices(20, 4, rng) for _ in range(400)])
    for segment in range(4):
        assert set(draws[:, segment]) == set(range(5 * segment, 5 * segment + 5))


def test_jittered_indices_of_short_videos_repeat_in_order():
    rng = np.random.default_rng(0)
    for _ in range(50):
        drawn = jittered_indices(3, 8, rng)
        assert drawn == sorted(drawn)
        assert set(drawn) == {0, 1, 2}
    assert jittered_indices(7, 4, np.random.default_rng(5)) == jittered_indices(7, 4, np.random.default_rng(5))


@pytest.mark.parametrize(
    "duration_s, fps, expected",
    [
        (1.0, 4, [0.0, 0.25, 0.5, 0.75]),
        (1.1, 4, [0.0, 0.25, 0.5, 0.75, 1.0]),
        (0.3, 10, [0.0, 0.1, 0.2]),
        (0.0, 10, [0.0]),
        (0.04, 2, [0.0]),
    ],
)
def test_fps_timestamps_end_before_the_duration(duration_s, fps, expected):
    assert fps_timestamps(duration_s, fps) == pytest.approx(expected)


@pytest.mark.parametrize("num_frames, num_samples, name", [(0, 4, "num_frames"), (4, 0, "num_samples")])
def test_counts_below_one_are_refused(num_frames, num_samples, name):
    with pytest.raises(ValueError, match=name):
        uniform_indices(num_frames, num_samples)
    with pytest.raises(ValueError, match=name):
        jittered_indices(num_frames, num_samples, np.random.default_rng(0))


@pytest.mark.parametrize("duration_s, fps", [(-1, 10), (float("nan"), 10), (1, 0), (1, -2), (1, float("inf"))])
def test_times_that_make_no_sense_are_refused(duration_s, fps):
    with pytest.raises(ValueError, match="must be finite"):
        fps_timestamps(duration_s, fps)
