"""Measures of guidance against cells, by known answers and by counting again in the plainest way."""

import math

import numpy as np
import pytest

from vidreason.audit.measures import (
    MEASURES,
    centre_prior,
    compare_with_cells,
    map_distances,
    marked_cells,
    score_maps,
    uniform_prior,
)
from vidreason.errors import GuidanceError
from vidreason.reporting.bootstrap import Bootstrap, estimate_means


def cells(*marked, size=4):
    return np.isin(np.arange(size), marked)


@pytest.mark.parametrize(
    ("weights", "true", "expected"),
    [
        # pointing, mass inside, precision, recall, iou, share marked
        ([1, 0, 0, 0], [0], [1, 1, 1, 1, 1, 0.25]),
        ([1, 0, 0, 0], [3], [0, 0, 0, 0, 0, 0.25]),
        ([0.5, 0.5, 0, 0], [0], [0.5, 0.5, 0.5, 1, 0.5, 0.5]),  # a tie shares the point
        ([0.6, 0.3, 0.1, 0], [1, 2], [0, 0.4, 0.5, 0.5, 1 / 3, 0.5]),  # 0.1 of 4 cells is not marked
        ([0.25, 0.25, 0.25, 0.25], [0, 1], [0.5, 0.5, 0.5, 1, 0.5, 1]),
    ],
)
def test_scores_of_one_frame(weights, true, expected):
    scores = score_maps(np.asarray([weights], dtype=float), cells(*true))
    np.testing.assert_allclose(scores[0], expected)
    agreement = compare_with_cells([np.asarray(weights) * 7], [cells(*true)])
    assert [getattr(agreement, name) for name in MEASURES] == pytest.approx(expected)


def test_scores_are_those_of_counting_in_sets():
    rng = np.random.default_rng(0)
    for _ in range(200):
        size = int(rng.integers(2, 30))
        weights = rng.dirichlet(np.full(size, 0.3))
        true = rng.random(size) < 0.4
        true[rng.integers(size)] = True
        marked = {i for i in range(size) if weights[i] > 0.5 / size}
        wanted = {i for i in range(size) if true[i]}
        expected = [
            float(int(weights.argmax()) in wanted),
            sum(weights[i] for i in wanted),
            len(marked & wanted) / len(marked),
            len(marked & wanted) / len(wanted),
            len(marked & wanted) / len(marked | wanted),
            len(marked) / size,
        ]
        np.testing.assert_allclose(score_maps(weights[None], true)[0], expected)


def test_frames_without_guidance_or_without_a_true_cell_are_left_out():
    agreement = compare_with_cells([[1, 0], [0, 0], [0, 1]], [cells(0, size=2), cells(0, size=2), cells(size=2)])
    assert agreement.num_frames == 1
    with pytest.raises(GuidanceError, match="no frame has both"):
        compare_with_cells([[0, 0]], [cells(0, size=2)])
    with pytest.raises(GuidanceError, match="frame 0: a map of 2 cells against 4 true ones"):
        compare_with_cells([[1, 0]], [cells(0)])
    with pytest.raises(GuidanceError, match="1 maps cannot be compared with the cells of 2 frames"):
        compare_with_cells([[1, 0]], [cells(0, size=2)] * 2)


@pytest.mark.parametrize(
    ("first", "second", "total_variation", "divergence", "correlation"),
    [
        ([1, 0, 0, 0], [1, 0, 0, 0], 0, 0, 1),
        ([1, 0, 0, 0], [0, 1, 0, 0], 1, 1, -1 / 3),
        ([0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5], 1, 1, -1),
        # half of each map is common: H(1/4, 1/2, 1/4) - 1 bit
        ([0.5, 0.5, 0, 0], [0, 0.5, 0.5, 0], 0.5, 0.5, 0),
        ([0.25, 0.25, 0.25, 0.25], [1, 0, 0, 0], 0.75, None, math.nan),
    ],
)
def test_distances_of_two_maps(first, second, total_variation, divergence, correlation):
    found = map_distances(np.asarray([first], dtype=float), np.asarray(second, dtype=float))[0]
    assert found[0] == pytest.approx(total_variation)
    if divergence is not None:
        assert found[1] == pytest.approx(divergence)
    assert found[2] == pytest.approx(correlation, nan_ok=True)


def test_divergence_is_symmetric_and_that_of_its_definition():
    rng = np.random.default_rng(1)
    for _ in range(50):
        p, q = rng.dirichlet(np.full(9, 0.5), size=2)
        m = (p + q) / 2
        expected = 0.5 * (p * np.log2(p / m)).sum() + 0.5 * (q * np.log2(q / m)).sum()
        assert map_distances(p[None], q)[0, 1] == pytest.approx(expected)
        assert map_distances(q[None], p)[0, 1] == pytest.approx(expected)
        assert map_distances(p[None], q)[0, 2] == pytest.approx(np.corrcoef(p, q)[0, 1])


def test_priors_sum_to_one_and_the_centre_is_in_the_middle():
    assert uniform_prior((2, 3)).tolist() == pytest.approx([1 / 6] * 6)
    prior = centre_prior((5, 5))
    assert prior.sum() == pytest.approx(1)
    assert prior.argmax() == 12
    np.testing.assert_allclose(prior.reshape(5, 5), prior.reshape(5, 5)[::-1, ::-1])


def test_the_centre_prior_of_a_part_of_the_frame_is_about_the_frames_centre():
    right_half = centre_prior((1, 2), rectangle=(0.5, 0.0, 1.0, 1.0))
    whole = centre_prior((1, 4))
    assert right_half[0] > right_half[1]
    np.testing.assert_allclose(right_half, whole[2:] / whole[2:].sum())


def test_some_cell_of_any_map_is_marked():
    rng = np.random.default_rng(2)
    maps = rng.dirichlet(np.full(16, 0.2), size=100)
    assert marked_cells(maps).any(axis=1).all()


# intervals


def test_means_are_over_frames_and_missing_values_do_not_count():
    values = np.asarray([[1.0, np.nan], [0.0, 2.0], [1.0, np.nan], [1.0, np.nan]])
    means = estimate_means(values, ["a", "a", "b", "c"], Bootstrap())
    assert means[0].value == 0.75
    assert means[1].value == 2.0
    assert means[0].low <= 0.75 <= means[0].high
    assert (means[1].low, means[1].high) == (None, None)  # one video only has it


def test_intervals_are_those_of_drawing_videos_in_a_loop():
    rng = np.random.default_rng(3)
    videos = [str(v) for v in range(12) for _ in range(int(rng.integers(1, 6)))]
    values = rng.random((len(videos), 1)) + np.asarray([int(v) for v in videos])[:, None] / 10
    (found,) = estimate_means(values, videos, Bootstrap(resamples=4000, seed=0))
    means = []
    for _ in range(4000):
        drawn = rng.integers(0, 12, size=12)
        frames = np.concatenate([values[[video == str(v) for video in videos], 0] for v in drawn])
        means.append(frames.mean())
    low, high = np.quantile(means, [0.025, 0.975])
    assert found.low == pytest.approx(low, abs=0.03)
    assert found.high == pytest.approx(high, abs=0.03)


def test_frames_of_one_video_do_not_narrow_an_interval():
    """A hundred copies of each frame are no more evidence than one."""
    values = np.random.default_rng(4).random((20, 1))
    videos = [str(v) for v in range(20)]
    (once,) = estimate_means(values, videos, Bootstrap())
    (often,) = estimate_means(np.repeat(values, 100, axis=0), np.repeat(videos, 100).tolist(), Bootstrap())
    assert (often.low, often.high) == pytest.approx((once.low, once.high))


def test_the_seed_decides_and_one_video_has_no_interval():
    values, videos = np.random.default_rng(5).random((30, 1)), [str(v % 10) for v in range(30)]
    assert estimate_means(values, videos, Bootstrap(seed=1)) == estimate_means(values, videos, Bootstrap(seed=1))
    assert estimate_means(values, videos, Bootstrap(seed=1)) != estimate_means(values, videos, Bootstrap(seed=2))
    (alone,) = estimate_means(values, ["a"] * 30, Bootstrap())
    assert alone.low is None and alone.value == pytest.approx(values.mean())


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"resamples": 10}, "10 resamples"), ({"confidence": 1.0}, "confidence is 1.0"), ({"seed": -1}, "seed is -1")],
)
def test_bootstraps_that_mean_nothing_are_refused(settings, message):
    with pytest.raises(GuidanceError, match=message):
        Bootstrap(**settings)
