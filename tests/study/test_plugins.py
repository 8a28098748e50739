"""A system, a kind of guidance and folds as data are brought from outside: nothing in study names them."""

import json
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
import yaml
from fixtures.small_studies import RECIPE, STUDY, write_study

from vidreason.errors import ConfigError
from vidreason.guidance import guidance_row, load_guidance, write_guidance
from vidreason.manifests.manifest import load_manifest, manifest_row, write_manifest
from vidreason.reporting.tables import MetricStyle
from vidreason.study import systems
from vidreason.study.attempts import RunnerSettings
from vidreason.study.execution import check_settings
from vidreason.study.places import make_places
from vidreason.study.report import write_tables
from vidreason.study.runner import run_study
from vidreason.study.study_file import load_study
from vidreason.video import probe_video, write_video


def dots(videos, split, cell):
    """A row for the first frame of every video, with one cell marked."""
    key = {"split": split, "frame_index": 0, "timestamp_s": 0.0, "frame_height": 32, "frame_width": 32}
    weights = np.eye(16)[cell].tolist()
    return [
        guidance_row({**key, "video_id": row["video_id"], "source": row["source"]}, weights, (4, 4), producer="motion")
        for row in videos
    ]


class DotGuidance:
    """Marks one cell that a study chooses."""

    options = ("cell",)

    def problem(self, data_kind, has_truth):
        return None if data_kind == "manifest" else "dots are for manifests"

    def is_drawn(self, source):
        return False

    def write(self, folder, data, split, source, seed):
        rows = dots(load_manifest(data.manifest).split(split), split, source.options["cell"])
        write_guidance(folder, {split: rows})


class Guessing:
    """A system whose accuracy is the setting `luck`."""

    metric_styles: ClassVar = {
        "hits": MetricStyle("hits", "%", 100, 1),
        "speed": MetricStyle("speed", "clips/s", 1, 0),
    }
    tasks: ClassVar = {
        "guessing": SimpleNamespace(subject="guesses", reported=("hits", "speed"), main=(), over_groups=("hits",))
    }
    guidance_kinds: ClassVar = {"dot": DotGuidance()}

    def spell_out(self, settings):
        return dict(settings)

    def known_settings(self):
        return {"luck", "test_splits"}

    def train(self, recipe, flags, keep_model, video_cache):
        settings = yaml.safe_load(recipe.read_text())
        metrics = {split: {"hits": settings["luck"] + 0.01 * settings["seed"]} for split in settings["test_splits"]}
        facts = {"train_seconds": 1.0, "device": "dice", "num_parameters": 6, "epochs": 1, "steps": 1}
        return {"metrics": metrics, **facts, "skipped": {}, "versions": {"dice": "1"}}


@pytest.fixture
def manifest(tmp_path):
    """Videos of two people, two actions each."""
    rows = []
    for person in ("ana", "ben"):
        for label in (0, 1):
            name = f"videos/{person}_{label}.mp4"
            write_video(tmp_path / name, np.full((4, 32, 32, 3), 60 * label, np.uint8), 8.0)
            rows.append(manifest_row(name, label, probe_video(tmp_path / name), group=person))
    write_manifest(tmp_path / "manifest", {"train": rows}, ["dark", "bright"], "tests@1", tmp_path)
    return tmp_path / "manifest"


def write_guessing(folder, **changes):
    axes = {"luck": {"bad": {"luck": 0.25}, "good": {"luck": 0.5}}}
    study = {"name": "dice", "system": "guessing", "axes": axes, "blocks": [{"luck": "all"}], "defaults": None}
    path = write_study(folder, {**study, "baseline": {"luck": "bad"}, **changes})
    (folder / "recipe.yaml").write_text("test_splits: [test]\n")
    return path


@pytest.fixture
def guessing(monkeypatch):
    monkeypatch.setattr(systems, "SYSTEMS", {**systems.SYSTEMS, "guessing": Guessing()})


def test_a_study_of_another_system_goes_from_file_to_page(guessing, manifest, tmp_path):
    study = load_study(write_guessing(tmp_path / "study", data={"manifest": str(manifest)}))
    check_settings(study)
    outcome = run_study(study, RunnerSettings(tmp_path / "out", tmp_path / "work"))
    assert (len(outcome.made), outcome.failed) == (6, {})
    page = write_tables(tmp_path / "out")
    assert "## Hits on `test`" in page
    assert "| good | 3 | 51.0 ± 1.0 |" in page
    assert "speed (clips/s)" in page and "not measured" in page
    assert "top-1" not in page


def test_a_setting_that_the_system_does_not_know_is_named(guessing, manifest, tmp_path):
    changes = {"data": {"manifest": str(manifest)}, "settings": {"spatial_weight": 1.0}}
    study = load_study(write_guessing(tmp_path / "study", **changes))
    with pytest.raises(ConfigError, match=r"unknown settings \['spatial_weight'\]"):
        check_settings(study)


def test_a_system_brings_a_kind_of_guidance_with_settings_of_its_own(guessing, manifest, tmp_path):
    axes = {"luck": {"bad": {"luck": 0.25}}, "guidance": {"dot": {"producer": "dot", "cell": 5}}}
    changes = {"axes": axes, "blocks": [{"guidance": "dot"}], "baseline": None}
    study = load_study(write_guessing(tmp_path / "study", data={"manifest": str(manifest)}, **changes))
    run = study.runs()[0]
    assert run.settings["guidance"] == {"producer": "dot", "cell": 5}
    table = load_guidance(make_places(run, tmp_path / "work").guidance)["train"]
    assert {int(np.argmax(weights)) for weights in table["weights"]} == {5}
    with pytest.raises(ConfigError, match="bad-dot-seed0: dots are for manifests"):
        load_study(write_guessing(tmp_path / "other", data={"synthetic": {}}, **changes))
    axes["guidance"]["dot"]["colour"] = "red"
    with pytest.raises(ConfigError, match="unexpected keyword argument 'colour'"):
        load_study(write_guessing(tmp_path / "third", data={"manifest": str(manifest)}, **changes))


def test_guidance_of_one_system_is_unknown_to_another(tmp_path):
    axes = {**STUDY["axes"], "guidance": {**STUDY["axes"]["guidance"], "noisy": {"producer": "dot", "cell": 5}}}
    with pytest.raises(ConfigError, match="producer is 'dot', expected truth, motion, objects or table"):
        load_study(write_study(tmp_path, {"axes": axes}, RECIPE))


def test_leaving_one_group_out_is_a_kind_of_data(manifest, tmp_path):
    rows = load_manifest(manifest).split("train").to_list()
    write_guidance(tmp_path / "guidance", {"train": dots(rows, "train", 0)})
    folders = {"manifest": str(manifest), "guidance": str(tmp_path / "guidance"), "split": "train"}
    axes = {
        "supervision": STUDY["axes"]["supervision"],
        "person": {name: {"test_group": name} for name in ("ana", "ben", "eve")},
    }
    changes = {
        "data": {"leave_one_group_out": folders},
        "axes": axes,
        "defaults": None,
        "blocks": [{"supervision": "all", "person": "all"}],
        "baseline": {"supervision": "none"},
    }
    runs = {run.name: run for run in load_study(write_study(tmp_path / "study", changes)).runs()}
    run = runs["both-ana-seed0"]
    assert "test_group" not in run.recipe
    assert run.settings["data"] == {"leave_one_group_out": {**folders, "test_group": "ana"}}
    places = make_places(run, tmp_path / "work")
    fold = load_manifest(places.manifest)
    assert set(fold.split("test")["group"]) == {"ana"}
    assert set(fold.split("train")["group"]) == {"ben"}
    assert not fold.missing_videos()
    assert set(load_guidance(places.guidance)["test"]["video_id"]) == set(fold.split("test")["video_id"])
    assert make_places(runs["none-ana-seed1"], tmp_path / "work") == places  # made once
    with pytest.raises(ConfigError, match="test_group is 'eve', expected one of"):
        make_places(runs["both-eve-seed0"], tmp_path / "work")


def test_what_is_known_of_a_run_is_plain_data(manifest, tmp_path, guessing):
    study = load_study(write_guessing(tmp_path / "study", data={"manifest": str(manifest)}))
    assert json.loads(json.dumps(study.runs()[0].settings)) == study.runs()[0].settings
