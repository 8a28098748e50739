"""The data of a study's runs: worlds, guidance with mistakes or for some videos, parts of the training split."""

import logging

import numpy as np
import pytest
from fixtures.small_studies import STUDY, write_study

from vidreason.annotation import NoiseModel
from vidreason.errors import ConfigError
from vidreason.guidance import load_guidance
from vidreason.manifests.manifest import load_manifest
from vidreason.study.places import choose_share, make_places
from vidreason.study.study_file import load_study

GUIDANCE = {
    "unused": {},
    "right": {"producer": "truth"},
    "noisy": {"producer": "truth", "missed_frames": 0.3, "extra_cells": 0.1},
    "wrong": {"producer": "truth", "wrong_cells": 1.0},
    "half": {"producer": "truth", "coverage": 0.5},
    "motion": {"producer": "motion", "coverage": 0.5},
}
AXES = {
    "supervision": {"none": {"spatial_weight": 0.0}},
    "guidance": GUIDANCE,
    "share": {"50": {"train_share": 0.5}, "100": {}},
}


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """Makes the data of one run; worlds are kept over all tests."""
    work = tmp_path_factory.mktemp("places")
    blocks = [{"supervision": "none", "guidance": "all", "share": "all"}]
    changes = {"axes": AXES, "blocks": blocks, "baseline": None, "seeds": [0, 1]}
    study = load_study(write_study(work / "study", changes))
    runs = {run.name: run for run in study.runs()}

    def make(guidance: str, share: str = "100", seed: int = 0):
        return make_places(runs[f"none-{guidance}-{share}-seed{seed}"], work)

    return make


def rows(places, **run):
    return load_guidance(places(**run).guidance)["train"]


def weights(table) -> np.ndarray:
    return np.asarray(table["weights"])


def test_each_seed_has_a_world_of_its_own(places):
    first, again, second = places("unused"), places("unused"), places("unused", seed=1)
    assert first == again
    assert first.manifest != second.manifest
    videos = [place.manifest / "videos" / "train" / "pick_up" / "train_00000.mp4" for place in (first, second)]
    assert videos[0].read_bytes() != videos[1].read_bytes()
    assert first.guidance is None
    assert set(load_guidance(first.evaluation_guidance)) == {"train", "test", "test_shifted"}
    assert len(load_manifest(first.manifest).split("train")) == 24


def test_tables_are_made_once(places):
    made = places("noisy").guidance
    changed = {path: path.stat().st_mtime_ns for path in load_paths(made)}
    assert places("noisy").guidance == made
    assert places("noisy", share="50").guidance == made
    assert {path: path.stat().st_mtime_ns for path in load_paths(made)} == changed


def load_paths(folder: str):
    from pathlib import Path

    return sorted(Path(folder).rglob("*.parquet"))


def test_mistakes_are_drawn_anew_for_every_seed(places):
    tables = [rows(places, guidance="noisy", seed=seed) for seed in (0, 1)]
    seeds = [NoiseModel.from_description(table["model"][0]).seed for table in tables]
    assert seeds == [0, 1]
    assert [status == "failed" for status in tables[0]["status"]] != [
        status == "failed" for status in tables[1]["status"]
    ]


def test_cells_that_are_wrong_hold_no_evidence_at_all(places):
    right, wrong = (weights(rows(places, guidance=name)) for name in ("right", "wrong"))
    assert (right * wrong).sum() == 0
    assert ((wrong > 0).sum(axis=1) > 0).mean() > 0.9


def test_guidance_on_half_of_the_videos_is_half_of_every_class(places):
    whole, half = rows(places, guidance="right"), rows(places, guidance="half")
    kept = set(half["video_id"])
    assert len(kept) == 12
    assert sorted(name.split("/")[1] for name in kept) == sorted({name.split("/")[1] for name in whole["video_id"]})
    found = {(row["video_id"], row["frame_index"]): row["weights"] for row in whole}
    assert all(found[row["video_id"], row["frame_index"]] == row["weights"] for row in half)
    assert set(rows(places, guidance="half", seed=1)["video_id"]) != kept


def test_guidance_from_motion(places):
    table = rows(places, guidance="motion")
    assert set(table["producer"]) == {"motion"}
    assert len(set(table["video_id"])) == 12
    assert "ok" in set(table["status"])


def test_a_part_of_the_training_split_leaves_the_others_whole(places, caplog):
    place = places("unused", share="50")
    part, whole = load_manifest(place.manifest), load_manifest(places("unused").manifest)
    assert part.class_names == whole.class_names
    assert sorted(part.split("train")["label"]) == list(range(12))  # one of each class
    assert part.split("test")["video_id"] == whole.split("test")["video_id"]
    assert not part.missing_videos()
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_smaller_share_lies_within_a_larger_one():
    labels = [0, 1, 2] * 20
    chosen = {share: choose_share(labels, share, seed=3) for share in (0.1, 0.25, 0.5, 1.0)}
    assert {share: len(rows) for share, rows in chosen.items()} == {0.1: 6, 0.25: 15, 0.5: 30, 1.0: 60}
    assert set(chosen[0.1]) < set(chosen[0.25]) < set(chosen[0.5]) < set(chosen[1.0])
    for share, rows_chosen in chosen.items():
        assert np.bincount(np.asarray(labels)[rows_chosen]).tolist() == [20 * share] * 3
        assert rows_chosen == sorted(rows_chosen)
    assert choose_share(labels, 0.5, seed=4) != chosen[0.5]
    assert len(choose_share(labels, 0.001, seed=3)) == 3  # of every class at least one


def test_what_no_world_can_be_made_of_is_named(make_study, tmp_path):
    study = make_study(data={"synthetic": {"world": {"wide": 80}}})
    with pytest.raises(ConfigError, match=r"study small: data, synthetic, world: .*'wide'"):
        make_places(study.runs()[0], tmp_path)


def test_data_that_are_there_already(places, make_study, tmp_path):
    world = places("unused")
    data = {"manifest": str(world.manifest), "truth": str(world.manifest / "truth"), "evaluation_guidance": "true"}
    table = str(places("noisy").guidance)
    guidance = {**STUDY["axes"]["guidance"], "wrong": {"producer": "table", "table": table}}
    study = make_study(data=data, axes={**STUDY["axes"], "guidance": guidance})
    plans = {run.name: run for run in study.runs()}
    made = make_places(plans["both-noisy-100-seed0"], tmp_path)
    assert (made.manifest, made.evaluation_guidance) == (world.manifest, "true")
    assert len(load_guidance(made.guidance)["train"]) == 24 * 6
    assert make_places(plans["both-wrong-100-seed0"], tmp_path).guidance == table
