"""The table of leave-one-group-out runs, rebuilt from made-up JSON. Whole runs are tested on real video."""

import pytest
from fixtures.small_studies import as_version_0_1_0

from vidreason.errors import ConfigError, VidreasonError
from vidreason.rs.study import RSStudies
from vidreason.rs.study.metric_styles import SEGMENTATION_METRICS
from vidreason.study.leave_one_group_out import LeaveOneGroupOutArguments, group_means, run_all
from vidreason.study.leave_one_group_out import write_tables as write_tables_of
from vidreason.study.records import add_record, read_records


def write_tables(out, title):
    return write_tables_of(out, title, RSStudies())


def write_run(folder, recipe, group, seed, top1, attention=0.5):
    metrics = {
        "top1": top1,
        "top5": 1.0,
        "loss": 1.0 - top1,
        "attention_in_region": attention,
        "pointing_accuracy": 0.5,
    }
    record = {
        "recipe": recipe,
        "group": group,
        "seed": seed,
        "metrics": metrics,
        "device": "cpu",
        "train_seconds": 1.0,
    }
    add_record(folder, record)


@pytest.fixture
def results(tmp_path):
    for group, (plain, supervised) in {"a": (0.5, 0.75), "b": (0.25, 0.75), "c": (0.75, 1.0)}.items():
        for seed in (0, 1):
            write_run(tmp_path, "plain", group, seed, plain + 0.1 * seed)
            write_run(tmp_path, "rs", group, seed, supervised + 0.1 * seed, attention=0.8)
    return tmp_path


def test_seeds_are_averaged_first_and_groups_after(results):
    runs = [stored.record for stored in read_records(results)]
    assert group_means(runs, "plain", "top1") == pytest.approx({"a": 0.55, "b": 0.3, "c": 0.8})


def test_the_page_has_means_deviations_and_the_paired_test(results):
    text = write_tables(results, "Three groups")
    assert "| plain | 55.0 ± 25.0 |" in text
    assert "| rs | 88.3 ± 14.4 |" in text
    assert "3 groups, each left out once; seeds 0, 1" in text
    assert "top1, rs minus plain: +0.333, 95 % interval -0.025 to +0.692, paired t-test p = 0.0572" in text
    assert (results / "README.md").read_text() == text
    assert (results / "results.csv").read_text().splitlines()[1].startswith("plain,55.0 ± 25.0")


def test_results_of_version_0_1_0_give_the_same_page(results):
    text = write_tables(results, "Three groups")
    as_version_0_1_0(results)
    assert write_tables(results, "Three groups") == text


def test_notes_are_kept_when_the_page_is_rebuilt(results):
    (results / "NOTES.md").write_text("What to make of it.\n")
    assert write_tables(results, "Three groups").endswith("What to make of it.\n")


def test_a_group_that_only_one_recipe_was_run_on_is_named(results):
    write_run(results, "rs", "d", 0, 0.5)
    with pytest.raises(VidreasonError, match="the first lacks"):
        write_tables(results, "Three groups")


def test_no_runs_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match="no records of runs"):
        write_tables(tmp_path, "None")


@pytest.mark.parametrize(
    ("recipes", "message"),
    [([], "expected name=path"), (["plain.yaml"], "expected name=path"), (["a=x", "a=y"], "different")],
)
def test_recipes_that_are_not_named_are_refused(tmp_path, recipes, message):
    with pytest.raises(ConfigError, match=message):
        run_all(LeaveOneGroupOutArguments(out=str(tmp_path), manifest="m", guidance="g", recipes=recipes))


SEGMENTATION = dict.fromkeys((*SEGMENTATION_METRICS, "top5"), 0.5)


def write_segmentation_run(folder, recipe, group, **metrics):
    record = {"recipe": recipe, "group": group, "seed": 0, "device": "cpu", "train_seconds": 1.0}
    add_record(folder, {**record, "metrics": {**SEGMENTATION, **metrics}})


def test_segmentation_has_the_scores_of_segmentation(tmp_path):
    for group, mof in {"a": 0.4, "b": 0.6}.items():
        write_segmentation_run(tmp_path, "plain", group, mof=mof)
        write_segmentation_run(tmp_path, "rs", group, mof=mof + 0.1, edit=0.75)
    page = write_tables(tmp_path, "Segmented")
    header = next(line for line in page.splitlines() if line.startswith("| recipe"))
    assert "MoF (%) | Edit (%) | F1@10 (%) | F1@25 (%) | F1@50 (%) | top-1 (%)" in header
    assert "- mof, rs minus plain: +0.100" in page
    assert "- edit, rs minus plain: +0.250" in page


def test_runs_of_two_tasks_are_not_mixed(results):
    write_segmentation_run(results, "plain", "d")
    with pytest.raises(ConfigError, match="of clips and of segmentation"):
        write_tables(results, "Mixed")
