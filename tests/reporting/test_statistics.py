import math

import pytest
from scipy import stats

from vidreason.errors import VidreasonError
from vidreason.reporting.statistics import compare_paired, summarize


def test_summary_of_a_textbook_sample():
    summary = summarize([2, 4, 4, 4, 5, 5, 7, 9])
    assert (summary.n, summary.mean) == (8, 5.0)
    assert summary.std == pytest.approx(math.sqrt(32 / 7))
    # t(0.975, 7) = 2.364624 from printed tables
    margin = 2.364624 * math.sqrt(32 / 7) / math.sqrt(8)
    assert summary.interval == pytest.approx((5 - margin, 5 + margin), rel=1e-6)


def test_a_higher_confidence_gives_a_wider_interval():
    low, high = summarize([1, 2, 3], 0.9).interval, summarize([1, 2, 3], 0.99).interval
    assert high[0] < low[0] < low[1] < high[1]


def test_one_value_has_no_spread_and_no_interval():
    summary = summarize([0.5])
    assert (summary.n, summary.mean, summary.std, summary.interval) == (1, 0.5, None, None)


def test_equal_values_have_an_interval_of_no_width():
    assert summarize([0.5, 0.5]).interval == (0.5, 0.5)


@pytest.mark.parametrize(
    ("values", "confidence", "message"),
    [
        ([], 0.95, "no values"),
        ([1.0, float("nan")], 0.95, "must be finite"),
        ([1.0, float("inf")], 0.95, "must be finite"),
        ([1.0, 2.0], 95, "confidence is 95"),
    ],
)
def test_bad_samples_are_named(values, confidence, message):
    with pytest.raises(VidreasonError, match=message):
        summarize(values, confidence)


def test_paired_comparison_agrees_with_the_formula():
    first = {0: 0.61, 1: 0.70, 2: 0.66, 3: 0.64}
    second = {3: 0.69, 2: 0.68, 1: 0.71, 0: 0.66}  # another order on purpose
    comparison = compare_paired(first, second)
    differences = [0.05, 0.01, 0.02, 0.05]
    expected = summarize(differences)
    t_statistic = expected.mean / (expected.std / 2)
    assert comparison.difference.mean == pytest.approx(expected.mean)
    assert comparison.difference.interval == pytest.approx(expected.interval)
    assert comparison.t_statistic == pytest.approx(t_statistic)
    assert comparison.p_value == pytest.approx(2 * stats.t.sf(t_statistic, df=3))


def test_the_sign_is_second_minus_first():
    comparison = compare_paired({"a": 1.0, "b": 2.0, "c": 3.0}, {"a": 0.5, "b": 1.0, "c": 2.9})
    assert comparison.difference.mean < 0
    assert comparison.t_statistic < 0


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param({0: 0.5}, {0: 0.75}, id="one-pair"),
        pytest.param({0: 0.5, 1: 0.25}, {0: 0.5, 1: 0.25}, id="no-difference"),
        pytest.param({0: 0.5, 1: 0.25}, {0: 0.75, 1: 0.5}, id="the-same-difference"),
    ],
)
def test_a_test_that_is_not_defined_is_none(first, second):
    comparison = compare_paired(first, second)
    assert (comparison.t_statistic, comparison.p_value) == (None, None)
    assert comparison.difference.mean == second[0] - first[0]


def test_unmatched_pairs_are_named():
    with pytest.raises(VidreasonError, match=r"the first lacks \['fold 3'\], the second lacks \['fold 1'\]"):
        compare_paired({"fold 1": 0.1, "fold 2": 0.2}, {"fold 2": 0.2, "fold 3": 0.3})
