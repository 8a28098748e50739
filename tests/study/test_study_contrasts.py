"""Comparisons with another setting than the baseline."""

import csv
import json

import pytest
from fixtures.small_studies import VALUES
from scipy import stats

from vidreason.errors import ConfigError
from vidreason.study.comparison import contrast_results
from vidreason.study.records import copy_study, read_results
from vidreason.study.report import write_tables

WRONG = {
    "title": "What wrong cells cost",
    "of": {"supervision": "both", "guidance": "wrong"},
    "against": {"supervision": "both", "guidance": "noisy", "share": 100},
}


@pytest.fixture
def write(make_study, write_results, tmp_path):
    """Writes results of a study with contrasts, but for some runs; gives study and folder."""

    def make(*contrasts, leave_out=()):
        study = make_study(contrasts=list(contrasts))
        copy_study(study, tmp_path / "out")
        write_results(study, tmp_path / "out", lambda cell, seed, split: VALUES[cell][seed], leave_out)
        return study, tmp_path / "out"

    return make


def test_settings_are_compared_seed_by_seed(write):
    study, out = write({**WRONG, "metrics": ["top1"]})
    first, *rest = contrast_results(study, read_results(study, out))
    noisy, wrong = VALUES["both-noisy-100"], VALUES["both-wrong-100"]
    assert (first.first.mean, first.second.mean) == (pytest.approx(0.4), pytest.approx(0.2))
    assert first.paired.difference.mean == pytest.approx(-0.2)
    assert first.paired.p_value == pytest.approx(stats.ttest_rel(wrong, noisy).pvalue)
    assert [result.split for result in (first, *rest)] == study.splits


def test_the_page_has_a_table_with_both_settings(write):
    _, out = write({**WRONG, "metrics": ["top1"]})
    page = write_tables(out)
    below = page.split("## What wrong cells cost\n\n")[1].splitlines()
    assert below[0] == "| split | measure | both, noisy, 100 | both, wrong, 100 | difference [95 %] | p (paired) |"
    cells = [cell.strip() for cell in below[2].strip("|").split("|")]
    assert cells[:4] == ["`test`", "top-1 (%)", "40.0 ± 10.0", "20.0 ± 10.0"]
    assert cells[4].startswith("-20.0 [") and cells[5] == "0.18"
    (row, *_) = json.loads((out / "results.json").read_text())["contrasts"]
    assert (row["of"], row["against"], row["pairs"]) == ("both-wrong-100", "both-noisy-100", 3)
    assert row["difference"] == pytest.approx(-0.2)


def test_all_metrics_of_the_study_unless_some_are_named(write):
    study, out = write(WRONG)
    found = contrast_results(study, read_results(study, out))
    assert [result.metric for result in found if result.split == "test"] == list(study.metrics)


def test_only_seeds_that_both_have_count_and_none_is_not_run(write):
    lacking = [f"both-wrong-100-seed{seed}" for seed in range(3)]
    study, out = write({**WRONG, "metrics": ["top1"]}, leave_out=[lacking[0], "both-noisy-100-seed2"])
    first = contrast_results(study, read_results(study, out))[0]
    assert (first.paired.difference.n, first.first.mean, first.second.mean) == (1, 0.5, 0.1)
    assert first.paired.p_value is None


def test_a_contrast_without_any_pair_is_marked(write):
    _, out = write(WRONG, leave_out=[f"both-wrong-100-seed{seed}" for seed in range(3)])
    table = write_tables(out).split("## What wrong cells cost\n\n")[1].split("\n\n")[0]
    assert table.count("not run") == 3 * (len(table.splitlines()) - 2)
    assert json.loads((out / "results.json").read_text())["contrasts"][0]["difference"] is None


def test_a_study_without_contrasts_has_none(write):
    _, out = write()
    write_tables(out)
    assert "contrasts" not in json.loads((out / "results.json").read_text())
    assert "title" not in next(csv.reader((out / "results.csv").open()))


@pytest.mark.parametrize(
    ("listed", "message"),
    [
        ({"title": "x"}, "contrasts is {'title': 'x'}, expected a list"),
        ([{"title": "x", "of": WRONG["of"]}], "number 0: expected title, of, against"),
        ([{**WRONG, "metric": "top1"}], "number 0: expected title, of, against"),
        ([WRONG, {**WRONG, "metrics": ["speed"]}], r"number 1: metrics \['speed'\] are not among the study's"),
        (
            [{**WRONG, "of": {"supervision": "both"}}],
            "number 0, of is .* one setting .* is .*both-noisy-100.*both-wrong",
        ),
        ([{**WRONG, "against": {"supervision": "most"}}], "number 0, against is .* and is none"),
        ([{**WRONG, "against": "plain"}], "number 0, against is 'plain', expected"),
    ],
)
def test_a_contrast_that_makes_no_sense_is_named(make_study, listed, message):
    with pytest.raises(ConfigError, match=message):
        make_study(contrasts=listed)
