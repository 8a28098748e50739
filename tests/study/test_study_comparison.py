"""Numbers of a study against numbers worked out by hand."""

import math

import pytest
from scipy import stats

from vidreason.study.comparison import as_row, compare, compare_all, not_run
from vidreason.study.records import read_results

VALUES = {
    "none-unused-100": [0.20, 0.30, 0.40],
    "both-noisy-100": [0.30, 0.50, 0.40],
    "none-unused-50": [0.10, 0.10, 0.10],
    "both-noisy-50": [0.20, 0.20, 0.20],
    "both-wrong-100": [0.20, 0.10, 0.30],
}


@pytest.fixture
def study(make_study):
    return make_study()


@pytest.fixture
def compared(study, write_results, tmp_path):
    """Gives one result, after some runs were left out."""

    def find(name: str, split="test", metric="top1", leave_out=()):
        out = tmp_path / f"out_{len(leave_out)}"
        if not out.exists():
            write_results(
                study, out, lambda cell, seed, split: VALUES[cell][seed] / (1 + (split != "test")), leave_out
            )
        cell = next(cell for cell in study.cells if cell.name == name)
        return compare(study, read_results(study, out), cell, split, metric)

    return find


def test_mean_deviation_and_interval(compared):
    result = compared("none-unused-100")
    assert (result.n, result.planned) == (3, 3)
    assert result.summary.mean == pytest.approx(0.3)
    assert result.summary.std == pytest.approx(0.1)
    margin = 4.302653 * 0.1 / math.sqrt(3)  # Student's t at 0.975 with 2 degrees of freedom
    assert result.summary.interval == pytest.approx((0.3 - margin, 0.3 + margin), abs=1e-6)
    assert result.paired is None


def test_the_difference_to_the_baseline_is_paired_by_seed(compared):
    result = compared("both-noisy-100")
    differences = [0.1, 0.2, 0.0]
    assert result.paired.difference.mean == pytest.approx(0.1)
    margin = 4.302653 * 0.1 / math.sqrt(3)
    assert result.paired.difference.interval == pytest.approx((0.1 - margin, 0.1 + margin), abs=1e-6)
    assert result.relative == pytest.approx(0.1 / 0.3)
    t_statistic = 0.1 / (0.1 / math.sqrt(3))
    assert result.paired.t_statistic == pytest.approx(t_statistic)
    assert result.paired.p_value == pytest.approx(2 * stats.t.sf(t_statistic, df=2))
    assert result.paired.p_value == pytest.approx(stats.ttest_1samp(differences, 0).pvalue)


def test_each_share_has_a_baseline_of_its_own(compared):
    result = compared("both-noisy-50")
    assert result.paired.difference.mean == pytest.approx(0.1)
    assert result.relative == pytest.approx(1.0)
    assert result.paired.p_value is None  # the same difference for every seed


def test_another_split_and_metric(compared):
    assert compared("both-noisy-100", split="test_shifted").summary.mean == pytest.approx(0.2)
    assert compared("both-noisy-100", metric="loss").paired.difference.mean == pytest.approx(-0.1)


def test_a_metric_that_was_not_measured(compared):
    result = compared("both-noisy-100", metric="attention_in_region")
    assert (result.n, result.runs, result.summary, result.paired) == (0, 3, None, None)


def test_only_seeds_that_both_have_are_compared(compared):
    missing = ("none-unused-100-seed0", "both-noisy-100-seed2")
    result = compared("both-noisy-100", leave_out=missing)
    assert (result.n, result.planned) == (2, 3)
    assert result.summary.mean == pytest.approx(0.4)  # of its own seeds
    assert result.paired.difference.n == 1
    assert result.paired.difference.mean == pytest.approx(0.2)
    assert result.relative == pytest.approx(0.2 / 0.3)  # of the baseline on that seed


def test_rows_hold_every_number_and_gaps_where_there_is_none(study, compared):
    row = as_row(study, compared("both-noisy-100"))
    assert (row["supervision"], row["guidance"]) == ("both", "noisy")
    assert (row["n"], row["pairs"], row["mean"], row["std"]) == (3, 3, 0.4, 0.1)
    assert row["relative"] == 0.3333333333  # ten digits
    empty = as_row(study, compare(study, {}, study.cells[2], "test", "top1"))
    assert (empty["n"], empty["planned_seeds"], empty["pairs"]) == (0, 3, 0)
    assert {empty[name] for name in ("mean", "std", "low", "high", "difference", "relative", "t", "p")} == {None}


def test_everything_that_is_planned_is_in_the_table_or_named(study):
    results = compare_all(study, {})
    assert len(results) == 5 * 2 * 5  # settings, splits, metrics
    assert len(not_run(study, {})) == 15
