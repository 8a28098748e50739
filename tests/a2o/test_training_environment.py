"""The environment of a search: what is detected, trained and measured in a trial, and what of it survives a kill."""

import json
import math
import re
import shutil
import threading

import pytest
import torch
import yaml
from fixtures.detected_world import CLASSES

from vidreason.a2o import training_environment
from vidreason.a2o.training_environment import EnvironmentSettings, TrainingEnvironment, without_maps
from vidreason.annotation.detections import DetectorSettings
from vidreason.detection import load_detections
from vidreason.errors import ComputeExceeded, ConfigError, DetectionError, ManifestError


@pytest.fixture
def training(detected_world, short_training, tiny_model) -> dict:
    return {
        **short_training,
        "method": "object_centric",
        "manifest": str(detected_world.manifest),
        "validation_split": "validation",
        "test_splits": ["test"],
        "model_type": "a2o_tsvit",
        "model_config": {**tiny_model, "adapter_depth": 1},
        "map_size_px": 8,
        "num_train_epochs": 2,
        "cache_videos": True,
    }


@pytest.fixture
def make_environment(training, detected_world, tmp_path):
    """Builds environments over one folder."""

    def make(folder="environment", **changes) -> TrainingEnvironment:
        detector = DetectorSettings(detector="truth", detector_truth=str(detected_world.truth))
        return TrainingEnvironment(tmp_path / folder, EnvironmentSettings({**training, **changes}, detector))

    return make


def test_a_trial_detects_what_is_missing_trains_and_measures(make_environment, tmp_path):
    environment = make_environment()
    assert environment.class_names[0] in environment.proxy(("hand",), 0, 1).class_accuracy
    assert "mug" in environment.vocabulary
    first = environment.proxy(("hand", "mug"), 0, 2)
    frames = (24 + 12) * 8  # of training and validation alone
    assert (first.detections_made, first.detections_reused) == (frames, frames)
    again = environment.proxy(("mug", "hand"), 0, 3)
    assert (again.detections_made, again.detections_reused) == (0, 2 * frames)
    assert first.accuracy == pytest.approx(sum(first.class_accuracy.values()) / 12)  # one clip of each action
    assert first.seconds > 0
    assert first.gpu_seconds == 0
    tables = list((tmp_path / "environment" / "tables").iterdir())
    assert {split for table in tables for split in load_detections(table)} == {"train", "validation"}


def test_every_trial_of_a_seed_begins_from_the_same_weights(make_environment):
    environment = make_environment()
    sets = [(), ("hand",), ("hand", "mug"), ("mug", "hand"), ("hand", "mug", "box")]
    hashes = {environment.proxy(texts, 0, number).initial_weights_sha256 for number, texts in enumerate(sets)}
    assert len(hashes) == 1
    assert environment.proxy(("hand",), 1, 9).initial_weights_sha256 not in hashes


def test_the_same_trial_has_the_same_outcome(make_environment):
    one, other = (make_environment(folder).proxy(("hand", "mug"), 5, 1) for folder in ("one", "other"))
    assert (one.accuracy, one.class_accuracy) == (other.accuracy, other.class_accuracy)


def test_a_trial_that_was_killed_is_redone_and_one_that_ended_is_read(make_environment, monkeypatch, tmp_path):
    class Killed(BaseException):
        pass

    def die(*args):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(training_environment, "_write_outcome", die)  # the last thing that a trial does
        with pytest.raises(Killed):
            make_environment().proxy(("hand",), 0, 1)
    (folder,) = (tmp_path / "environment" / "trials").iterdir()
    (folder / "model").mkdir(exist_ok=True)
    (folder / "model" / "half").write_text("of a training that was killed")
    redone = make_environment().proxy(("hand",), 0, 1)
    assert redone.detections_made == 0  # they are kept at once
    assert not (folder / "model" / "half").exists()
    monkeypatch.setattr(training_environment, "set_seed", die)  # nothing is trained any more
    assert make_environment().proxy(("hand",), 0, 1) == redone
    with pytest.raises(Killed):
        make_environment().proxy(("hand",), 1, 1)
    (folder / "outcome.json").write_text('{"class_texts": ["hand"]')
    with pytest.raises(ConfigError, match=r"outcome\.json is not what a training leaves"):
        make_environment().proxy(("hand",), 0, 1)


def test_searches_that_share_an_environment_wait_for_each_other(make_environment, monkeypatch):
    """Two may propose the same set in the same trial: the second neither deletes nor repeats what the first makes."""
    first, second, trained, waited = make_environment(), make_environment(), [], threading.Event()
    evaluated = training_environment.set_seed

    def train_slowly(seed):
        trained.append(seed)
        waited.wait(timeout=60)
        evaluated(seed)

    monkeypatch.setattr(training_environment, "set_seed", train_slowly)
    outcomes = {}
    threads = [
        threading.Thread(target=lambda e=e, n=n: outcomes.update({n: e.proxy(("hand",), 0, 1)}))
        for n, e in enumerate((first, second))
    ]
    for thread in threads:
        thread.start()
    threads[1].join(timeout=1.0)
    waited.set()
    for thread in threads:
        thread.join(timeout=120)
    assert len(trained) == 1 and outcomes[0] == outcomes[1]


def test_the_recipe_of_a_trial_trains_the_same_again(make_environment, tmp_path):
    from vidreason import commands

    outcome = make_environment().proxy(("hand", "mug"), 3, 1)
    (recipe,) = (tmp_path / "environment" / "trials").glob("*/recipe.yaml")
    flags = [str(recipe), "--output_dir", str(tmp_path / "again"), "--test_splits", "validation"]
    system = commands.find_system(flags)
    result = system.run_training(*system.parse_arguments(flags))
    assert result.metrics["validation"]["top1"] == outcome.accuracy


def test_the_last_training_is_in_full_and_the_only_one_that_sees_the_test_split(
    make_environment, detected_world, tmp_path
):
    """Its videos are taken away while trials run: who so much as opened one would say so."""
    environment = make_environment(num_train_epochs=2, eval_strategy="epoch")
    held = detected_world.manifest / "videos" / "test"
    away = held.rename(held.with_name("away"))
    try:
        environment.proxy(tuple(CLASSES), 0, 1)
    finally:
        away.rename(held)
    final = environment.final(tuple(CLASSES), 0)
    assert set(final.test_accuracy) == {"test"}
    assert math.isfinite(final.test_accuracy["test"])
    assert len(final.test_class_accuracy["test"]) == 12
    assert final.validation.detections_made == 2 * 12 * 8  # those of the test split
    log = json.loads((tmp_path / "environment" / "final").glob("*/model/trainer_state.json").__next__().read_text())
    assert log["epoch"] == 2
    assert (tmp_path / final.model_path / "README.md").is_file()
    assert make_environment(num_train_epochs=2, eval_strategy="epoch").final(tuple(CLASSES), 0) == final


def test_a_final_training_that_was_killed_goes_on_from_its_checkpoint(make_environment, monkeypatch):
    settings = {"save_strategy": "steps", "save_steps": 4, "num_train_epochs": 1}

    class Killed(BaseException):
        pass

    def stop(self, args, state, control, **kwargs):
        if state.global_step == 5:
            raise Killed

    whole = make_environment("whole", **settings).final(("hand",), 0)
    with monkeypatch.context() as patch:
        patch.setattr("transformers.trainer_callback.DefaultFlowCallback.on_step_begin", stop, raising=False)
        with pytest.raises(Killed):
            make_environment(**settings).final(("hand",), 0)
    steps = []
    monkeypatch.setattr(
        "transformers.trainer_callback.DefaultFlowCallback.on_step_begin",
        lambda self, args, state, control, **kwargs: steps.append(state.global_step),
        raising=False,
    )
    resumed = make_environment(**settings).final(("hand",), 0)
    assert steps == [4, 5]
    assert resumed.test_accuracy == whole.test_accuracy
    assert resumed.validation.class_accuracy == whole.validation.class_accuracy


def test_time_that_is_over_ends_a_trial(make_environment, monkeypatch, tmp_path):
    environment = make_environment()
    with pytest.raises(ComputeExceeded, match="over after 0 steps"):
        environment.proxy(("hand",), 0, 1, max_seconds=0.0)
    assert not list((tmp_path / "environment").glob("trials/*/outcome.json"))
    assert environment.proxy(("hand",), 0, 1, max_seconds=3600.0).accuracy >= 0


def test_what_a_search_cannot_use_is_named(make_environment, training, detected_world, tmp_path):
    detector = DetectorSettings(detector="truth", detector_truth=str(detected_world.truth))
    for changes, message in [
        ({"validation_split": None}, "validation_split is not set"),
        ({"validation_split": "test"}, "'test', which is in test_splits"),
        ({"validation_split": "train"}, "'train', which is in train_split"),
        ({"packed_clips": "packed"}, "name a manifest in place of packed_clips"),
    ]:
        with pytest.raises(ConfigError, match=message):
            EnvironmentSettings({**training, **changes}, detector)
    with pytest.raises(ConfigError, match="proxy_epochs is 0"):
        EnvironmentSettings(training, detector, proxy_epochs=0)
    for rate in (0, -1.0, math.nan):
        with pytest.raises(ConfigError, match="frames_per_second is"):
            EnvironmentSettings(training, detector, frames_per_second=rate)
    # what only training reads is named before anything is asked or detected, too
    for changes, message in [
        ({"learning_rat": 0.1}, "learning_rat"),
        ({"method": "nonsense"}, "nonsense"),
        ({"evaluation_clips": 0}, "evaluation_clips is 0"),
    ]:
        with pytest.raises(ConfigError, match=message):
            make_environment("never_made", **changes)
    assert not (tmp_path / "never_made").exists()
    with pytest.raises(ManifestError, match="no split 'nowhere'"):
        make_environment(test_splits=["nowhere"])
    assert make_environment(test_splits="test")._test_splits == ["test"]
    shutil.rmtree(tmp_path / "environment")
    make_environment()
    with pytest.raises(ConfigError, match="trainings with another training: name another folder"):
        make_environment(learning_rate=0.5)
    assert make_environment(logging_steps=7).key == make_environment().key
    with pytest.raises(DetectionError):
        make_environment().check_text("a, b")
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(training))
    assert EnvironmentSettings.from_recipe(str(path), detector).training == training


def test_a_training_without_maps_is_that_of_the_classifier_inside():
    assert without_maps({"model_type": "a2o_tsvit", "detections": "d", "object_classes": ["a"], "map_size_px": 8}) == {
        "model_type": "tsvit"
    }
    inside = {"adapter_depth": 2, "backbone_config": {"model_type": "vjepa2", "hidden_size": 8}}
    assert without_maps({"model_type": "a2o", "model_config": inside, "method": "object_adapter"}) == {
        "model_type": "vjepa2",
        "model_config": {"hidden_size": 8},
        "method": "object_centric",
    }
    assert without_maps({"model_type": "a2o", "model_name_or_path": "m"}) == {"model_name_or_path": "m"}
    with pytest.raises(ConfigError, match=re.escape("say which classifier is inside")):
        without_maps({"model_type": "a2o"})


def test_weights_are_hashed_by_their_bits():
    layer = torch.nn.Linear(2, 2)
    before = training_environment.initial_weights_hash(layer)
    with torch.no_grad():
        layer.bias[0] += 1e-3
    assert training_environment.initial_weights_hash(layer) != before
