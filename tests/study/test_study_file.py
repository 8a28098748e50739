"""Study files: which runs they make, what a run is told, and what a mistake looks like."""

import re

import pytest
from fixtures.small_studies import STUDY

from vidreason.errors import ConfigError
from vidreason.study.execution import check_settings
from vidreason.study.plugins import GuidanceSource
from vidreason.study.study_file import load_study
from vidreason.study.study_plots import check_plots


def names(study) -> list[str]:
    return [cell.name for cell in study.cells]


def test_runs_are_the_products_of_the_blocks_in_the_order_of_the_axes(make_study):
    study = make_study()
    assert names(study) == [
        "none-unused-50",
        "none-unused-100",
        "both-noisy-50",
        "both-noisy-100",
        "both-wrong-100",
    ]
    assert [run.name for run in study.runs()][:4] == [
        "none-unused-50-seed0",
        "none-unused-50-seed1",
        "none-unused-50-seed2",
        "none-unused-100-seed0",
    ]
    assert len(study.runs()) == 15


def test_a_setting_of_two_blocks_is_one_with_the_seeds_of_both(make_study):
    blocks = [
        {"supervision": "none", "guidance": "unused", "seeds": [0, 1]},
        {"supervision": ["none"], "guidance": "unused", "seeds": [1, 5]},
    ]
    (cell,) = make_study(blocks=blocks).cells
    assert cell.seeds == (0, 1, 5)


def test_an_axis_with_one_value_needs_no_default(make_study):
    axes = {"backbone": {"tsvit": None}, **STUDY["axes"]}
    assert names(make_study(axes=axes))[0] == "tsvit-none-unused-50"


def test_what_a_run_is_told(make_study):
    study = make_study({"spatial_weight": 7.0, "guidance_resampling": "area"})
    plain, noisy = study.plan(study.cells[0], 3), study.plan(study.cells[3], 4)
    assert (plain.recipe["spatial_weight"], plain.train_share, plain.guidance) == (0.0, 0.5, GuidanceSource())
    assert (noisy.recipe["spatial_weight"], noisy.train_share) == (1.0, 1.0)
    assert noisy.guidance == GuidanceSource("truth", missed_frames=0.1)
    assert "train_share" not in plain.recipe  # no setting of train.py
    assert noisy.settings["guidance"] == {"producer": "truth", "missed_frames": 0.1}
    assert noisy.settings["recipe"]["seed"] == 4


def test_a_study_has_settings_of_its_own_between_the_recipes_and_a_values(make_study):
    study = make_study({"spatial_weight": 7.0, "learning_rate": 0.5}, settings={"learning_rate": 0.1, "seed": 9})
    plain = study.plan(study.cells[0], 3)
    assert (plain.recipe["learning_rate"], plain.recipe["spatial_weight"]) == (0.1, 0.0)
    assert plain.settings["recipe"]["seed"] == 3


def test_a_method_may_stand_in_the_recipe_or_in_the_settings(make_study):
    named = {"method": "evidence_supervision"}
    for study in (make_study(named), make_study(settings=named)):
        run = study.plan(study.cells[0], 0)
        assert "method" not in run.recipe
        # what the method sets, unless the setting of an axis says otherwise
        assert run.recipe["evidence_zoom"] > 0
        check_settings(study)


def test_a_guidance_source_can_bring_settings(make_study):
    axes = {
        **STUDY["axes"],
        "guidance": {"unused": {}, "cut": {"settings": {"guidance_resampling": "pad_or_truncate"}}},
    }
    blocks = [{"supervision": "none", "guidance": "all"}]
    study = make_study(axes=axes, blocks=blocks)
    assert study.plan(study.cells[1], 0).recipe["guidance_resampling"] == "pad_or_truncate"


def test_every_setting_knows_its_baseline(make_study):
    study = make_study()
    baselines = [study.baseline_cell(cell) for cell in study.cells]
    assert [cell and cell.name for cell in baselines] == [
        None,
        None,
        "none-unused-50",
        "none-unused-100",
        "none-unused-100",
    ]
    uncompared = make_study(baseline=None)
    assert not any(uncompared.baseline_cell(cell) for cell in uncompared.cells)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": None}, r"missing keys \['name'\]"),
        ({"seed": 3}, r"unknown keys \['seed'\]"),
        ({"settings": [1]}, r"settings is \[1\], expected"),
        ({"name": "two words"}, "name is 'two words'"),
        ({"recipe": "elsewhere/recipe.yaml"}, "expected a file beside the study"),
        ({"recipe": "none.yaml"}, "none.yaml does not exist"),
        ({"seeds": []}, "seeds are"),
        ({"seeds": [1, 1]}, "seeds are"),
        ({"seeds": [True]}, "seeds are"),
        ({"data": {}}, "one of manifest, synthetic, assembly and leave_one_group_out"),
        ({"data": {"synthetic": {"size": 3}}}, r"data, synthetic has \['size'\]"),
        ({"axes": {}}, "axes is empty"),
        ({"axes": {"share": {"a-b": {}}}}, "axes, share, a-b"),
        ({"axes": {"share": {"50": 0.5}}}, "expected settings as a mapping"),
        ({"blocks": [{"speed": "all"}]}, r"\['speed'\] are no axes"),
        ({"blocks": [{"supervision": "none"}]}, "no value for axis 'guidance'"),
        ({"blocks": [{"supervision": "bothh", "guidance": "unused"}]}, r"axis 'supervision' has no \['bothh'\]"),
        ({"defaults": {"share": "99"}}, "axis 'share' has no value '99'"),
        ({"baseline": {"supervision": "none", "guidance": "wrong"}}, "no block makes the baseline of none-unused-50"),
        ({"metrics": ["top2"]}, r"metrics has \['top2'\]"),
        ({"data": {"manifest": "m"}}, "data name no truth"),
        ({"data": {"leave_one_group_out": {"groups": 3}}}, r"data, leave_one_group_out has \['groups'\]"),
        ({"system": "nobodys"}, "system is 'nobodys', expected one of"),
    ],
)
def test_a_mistake_is_named(make_study, changes, message):
    with pytest.raises(ConfigError, match=message):
        make_study(**changes)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"producer": "oracle"}, "axes, guidance, noisy: producer is 'oracle'"),
        ({"producer": "truth", "wrong": 1}, "axes, guidance, noisy: got an unexpected keyword argument 'wrong'"),
        ({"producer": "motion", "wrong_cells": 0.5}, "mistakes are put on the producer truth alone"),
        ({"producer": "table"}, "if, and only if, its producer is table"),
        ({"producer": "truth", "coverage": 0}, "coverage is 0"),
    ],
)
def test_a_guidance_source_that_cannot_be_made_is_named(make_study, source, message):
    axes = {**STUDY["axes"], "guidance": {**STUDY["axes"]["guidance"], "noisy": source}}
    with pytest.raises(ConfigError, match=message):
        make_study(axes=axes)


def test_a_share_that_is_none_is_named(make_study):
    axes = {**STUDY["axes"], "share": {"50": {"train_share": 50}, "100": {}}}
    with pytest.raises(ConfigError, match=r"none-unused-50-seed0: train_share is 50"):
        make_study(axes=axes)


def test_a_setting_that_does_not_exist_is_named(make_study):
    with pytest.raises(ConfigError, match=r"run none-unused-50-seed0: unknown settings \['learning_rte'\]"):
        check_settings(make_study({"learning_rte": 1}))


def test_a_recipe_without_tests_is_named(make_study):
    with pytest.raises(ConfigError, match="names no test_splits"):
        make_study({"test_splits": []})


@pytest.mark.parametrize("name", ["methods", "data_share", "guidance_quality", "choices"])
def test_the_studies_that_come_with_the_project_can_be_run(repository, name):
    study = load_study(repository / "recipes" / "study" / f"{name}.yaml")
    check_settings(study)
    check_plots(study)
    assert study.name == name
    assert len(study.seeds) >= 5
    assert study.data == {"synthetic": {}}  # the world's own settings and sizes
    assert study.splits == ["test", "test_shifted"]


def test_the_study_on_the_page_can_be_run(repository, tmp_path):
    page = (repository / "docs" / "studies.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"^```yaml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    (tmp_path / "warmup.yaml").write_text(example)
    (tmp_path / "tsvit.yaml").write_bytes((repository / "recipes" / "study" / "tsvit.yaml").read_bytes())
    study = load_study(tmp_path / "warmup.yaml")
    check_settings(study)
    check_plots(study)
    assert names(study) == ["plain-unused", "at_once-noisy", "warmed_up-noisy"]
    warmed_up = study.plan(study.cells[2], 0).recipe
    assert (warmed_up["weight_warmup_ratio"], warmed_up["num_train_epochs"]) == (0.2, 20)
