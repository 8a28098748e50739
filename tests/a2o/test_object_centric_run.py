"""Whole runs of models that are shown maps: by the recipe, to a saved model with its card."""

import json
import re

import pytest
import torch
import yaml
from fixtures.detected_world import CLASSES, detect_world
from transformers import AutoModelForVideoClassification

from vidreason import commands
from vidreason.a2o import run as a2o_run
from vidreason.a2o.config import ObjectCentricConfig
from vidreason.a2o.tasks import ObjectCentricTask
from vidreason.annotation import truth_guidance
from vidreason.clips.data import GuidedClipCollator
from vidreason.clips.views import ViewedClips, clip_views
from vidreason.detection import load_detections, make_detector, write_detections
from vidreason.errors import ConfigError, DetectionError
from vidreason.files import read_folder
from vidreason.guidance import write_guidance
from vidreason.rs import run as rs_run
from vidreason.rs.tasks import ClassificationTask


@pytest.fixture
def write_object_recipe(detected_world, short_training, tiny_model, tmp_path):
    """Writes a recipe that trains a tiny model with maps for an epoch, and gives its path."""

    def write(**settings) -> str:
        path = tmp_path / "recipe.yaml"
        common = {
            "method": "object_centric",
            "manifest": str(detected_world.manifest),
            "detections": str(detected_world.detections),
            "object_classes": CLASSES,
            "validation_split": "validation",
            "test_splits": ["test"],
            "model_type": "a2o_tsvit",
            "model_config": tiny_model,
            "output_dir": str(tmp_path / "model"),
            "num_train_epochs": 1,
            "seed": 3,
        }
        settings = {**short_training, **common, **settings}
        path.write_text(yaml.safe_dump({name: value for name, value in settings.items() if value is not None}))
        return str(path)

    return write


def run(*arguments: str):
    """Train in this process, as `train.py` does with these arguments."""
    system = commands.find_system(list(arguments))
    return system.run_training(*system.parse_arguments(list(arguments)))


def test_a_recipe_trains_evaluates_and_says_what_the_model_was_shown(write_object_recipe, tmp_path):
    result = run(write_object_recipe(eval_strategy="epoch", map_size_px=8))
    assert set(result.metrics["test"]) == {"top1", "top5", "loss"}
    evaluated = next(entry for entry in result.log_history if "eval_top1" in entry)
    assert evaluated["eval_maps_missing"] == 0.0
    by_class = [value for name, value in evaluated.items() if name.startswith("eval_accuracy_of_")]
    assert len(by_class) == 12
    assert sum(by_class) / 12 == pytest.approx(evaluated["eval_top1"])  # one clip of each class
    model = AutoModelForVideoClassification.from_pretrained(tmp_path / "model")
    assert model.config.class_texts == tuple(CLASSES)
    assert (model.config.detector, model.config.map_size_px) == ("truth", 8)
    assert model.adapter.projection.weight.abs().max() > 0  # it has learned
    card = (tmp_path / "model" / "README.md").read_text()
    assert "## Object maps" in card
    assert "- **Classes (2), in the order of the channels:** `hand`, `mug`" in card
    assert f"- **Revision:** {model.config.detector_revision}" in card
    assert "rows with status empty" in card
    assert "object-centric" in card


def test_the_method_chooses_the_system(write_object_recipe, write_recipe):
    assert commands.find_system([write_object_recipe()]) is a2o_run
    assert commands.find_system([write_object_recipe(), "--method=plain"]) is rs_run
    assert commands.find_system(["--method", "object_adapter"]) is a2o_run
    assert commands.find_system(["--manifest", "m"]) is rs_run
    assert commands.find_system([write_recipe()]) is rs_run
    with pytest.raises(ConfigError, match=r"'object_centred', expected one of .*object_centric.*reasoning"):
        commands.find_system(["--method", "object_centred"])
    with pytest.raises(ConfigError, match=r"method is \['plain'\]"):
        commands.find_system([write_object_recipe(method=["plain"])])


def test_reasoning_supervision_trains_a_model_with_maps(write_object_recipe, detected_world, tmp_path):
    """Both losses and exchanged surroundings, on the same clips, with the same maps."""
    truth = read_folder(detected_world.truth)
    guidance = write_guidance(
        tmp_path / "guidance", {split: truth_guidance(rows, (4, 4)) for split, rows in truth.items()}
    )
    recipe = write_object_recipe(method="reasoning_supervision", guidance=str(guidance), evidence_swap=0.5)
    result = run(recipe)
    assert result.metrics["test"]["attention_in_region"] is not None
    assert all(name in result.log_history[0] for name in ("loss_classification", "loss_spatial", "loss_temporal"))
    model = AutoModelForVideoClassification.from_pretrained(tmp_path / "model")
    assert model.adapter.projection.weight.abs().max() > 0
    assert "## Object maps" in (tmp_path / "model" / "README.md").read_text()


def test_a_trained_adapter_goes_on_with_its_own_maps_alone(write_object_recipe, detected_world, tmp_path):
    run(write_object_recipe(max_steps=1))
    again = {"model_name_or_path": str(tmp_path / "model"), "model_type": None, "model_config": None}
    again |= {"output_dir": str(tmp_path / "again"), "max_steps": 1}
    run(write_object_recipe(**again))
    for changes, message in [
        ({"object_classes": ["mug", "hand"]}, "maps of 'hand', 'mug', in this order"),
        ({"object_classes": ["hand"]}, "maps of 'hand', 'mug', in this order, and object_classes are 'hand'"),
        ({"object_classes": None, "detections": None}, "maps of 'hand', 'mug': name detections"),
    ]:
        with pytest.raises(ConfigError, match=message):
            run(write_object_recipe(**again | changes))
    other = make_detector("truth", truth=detected_world.truth, misses=0.5)
    table = detect_world(detected_world.truth, tmp_path / "other", other, CLASSES)
    with pytest.raises(ConfigError, match=r"not what the model was made for: it has detector_model .*misses=0.5"):
        run(write_object_recipe(**again | {"detections": str(table)}))


def test_what_does_not_fit_is_named_before_training(write_object_recipe, detected_world, tmp_path):
    with pytest.raises(ConfigError, match="a model of type tsvit takes no maps: set model_type to a2o_tsvit"):
        run(write_object_recipe(model_type="tsvit"))
    with pytest.raises(DetectionError, match="no row of 'unicorn'"):
        run(write_object_recipe(object_classes=["hand", "unicorn"]))
    with pytest.raises(DetectionError, match="given twice"):
        run(write_object_recipe(object_classes=["hand", "Hand"]))
    with pytest.raises(ConfigError, match="map_size_px is 5"):
        run(write_object_recipe(map_size_px=5))
    with pytest.raises(ConfigError, match="detections are None and object_classes"):
        run(write_object_recipe(detections=None))
    with pytest.raises(ConfigError, match="takes none"):
        run(write_object_recipe(method="plain", task="segmentation"))
    with pytest.raises(ConfigError, match="guidance is 'somewhere', which no loss here reads"):
        run(write_object_recipe(guidance="somewhere"))
    mixed = detect_world(
        detected_world.truth, tmp_path / "first", make_detector("truth", truth=detected_world.truth), ["hand"]
    )
    rows = {split: list(table) for split, table in load_detections(mixed).items()}
    for split_rows in rows.values():
        split_rows[0]["threshold"] = 0.25
    write_detections(tmp_path / "mixed", rows)
    with pytest.raises(ConfigError, match=r"of one detector, threshold and size, and are of .*threshold 0.25"):
        run(write_object_recipe(detections=str(tmp_path / "mixed"), object_classes=["hand"]))
    rows = {split: list(table) for split, table in load_detections(mixed).items()}
    rows["test"] = [{**row, "threshold": 0.25} for row in rows["test"]]
    write_detections(tmp_path / "other_test", rows)
    with pytest.raises(ConfigError, match=r"split 'test', are of .*threshold 0.25; those of training are of"):
        run(write_object_recipe(detections=str(tmp_path / "other_test"), object_classes=["hand"]))


def test_frames_without_detections_are_counted(write_object_recipe, detected_world, tmp_path, caplog):
    """The first clip of each split has no rows at all."""
    truth = make_detector("truth", truth=detected_world.truth)
    table = detect_world(detected_world.truth, tmp_path / "part", truth, CLASSES, skipped=8)
    result = run(write_object_recipe(detections=str(table), eval_strategy="epoch"))
    evaluated = next(entry for entry in result.log_history if "eval_top1" in entry)
    assert evaluated["eval_maps_missing"] == pytest.approx(1 / 12)
    assert "split 'train': detections for 23 of 24 videos" in caplog.text


def test_the_adapter_may_have_a_rate_of_its_own_and_the_classifier_stay(write_object_recipe, tmp_path):
    recipe = write_object_recipe(method="object_adapter", adapter_learning_rate=0.01, weight_decay=0.1)
    model_args, data_args, args = a2o_run.parse_arguments([recipe])
    task = ObjectCentricTask(model_args, data_args, args)
    trainer = task.make_trainer(task.prepare(), [])
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    trainer.train()
    changed = {name for name, value in trainer.model.state_dict().items() if not torch.equal(before[name], value)}
    assert changed == {name for name in before if name.startswith("adapter.")}
    assert {group["lr"] > 0 for group in trainer.optimizer.param_groups} <= {True, False}

    for system, make_task, method in [
        (a2o_run, ObjectCentricTask, "object_centric"),
        (rs_run, ClassificationTask, "plain"),
    ]:
        recipe = write_object_recipe(method=method, adapter_learning_rate=0.5, learning_rate=0.001)
        task = make_task(*system.parse_arguments([recipe]))
        trainer = task.make_trainer(task.prepare(), [])
        trainer.create_optimizer()
        rates = {}
        names = {id(parameter): name for name, parameter in trainer.model.named_parameters()}
        for group in trainer.optimizer.param_groups:
            for parameter in group["params"]:
                rates[names[id(parameter)]] = group["lr"]
        assert set(rates) == set(names.values())
        assert {name: rate for name, rate in rates.items() if rate == 0.5} == {
            name: 0.5 for name in rates if name.startswith("adapter.")
        }


def test_a_model_without_an_adapter_has_no_rate_of_one(write_object_recipe):
    for system, make_task, method in [
        (a2o_run, ObjectCentricTask, "object_centric"),
        (rs_run, ClassificationTask, "plain"),
    ]:
        recipe = write_object_recipe(
            method=method, model_type="tsvit", detections=None, object_classes=None, adapter_learning_rate=0.5
        )
        task = make_task(*system.parse_arguments([recipe]))
        with pytest.raises(ConfigError, match="adapter_learning_rate is of the adapter, and a model of type tsvit"):
            task.make_trainer(task.prepare(), [])


def test_a_resumed_run_ends_as_one_that_was_never_stopped(write_object_recipe, tmp_path):
    whole = run(write_object_recipe(save_strategy="steps", save_steps=3, adapter_learning_rate=0.01))
    resumed = tmp_path / "model" / "checkpoint-3"
    state = json.loads((resumed / "trainer_state.json").read_text())
    assert state["global_step"] == 3
    again = run(
        write_object_recipe(
            save_strategy="steps", save_steps=3, adapter_learning_rate=0.01, resume_from_checkpoint=str(resumed)
        )
    )
    losses = [[entry["loss"] for entry in one.log_history if "loss" in entry] for one in (whole, again)]
    assert losses[0] == losses[1]
    assert whole.metrics == again.metrics


def test_settings_out_of_range_are_named(tmp_path):
    for changes, message in [
        ({"adapter_learning_rate": -1.0}, "adapter_learning_rate is -1.0"),
        ({"evaluation_clips": 0}, "evaluation_clips is 0"),
        ({"evaluation_crops": 0}, "evaluation_crops is 0"),
        ({"remove_unused_columns": True}, "remove_unused_columns must be False"),
    ]:
        with pytest.raises(ConfigError, match=re.escape(message)):
            ObjectCentricConfig(output_dir=str(tmp_path), **changes)


def test_several_readings_are_averaged(write_object_recipe, detected_world):
    """In evaluation alone, and as probabilities: the same that each view gives by itself."""
    recipe = write_object_recipe(evaluation_clips=2, evaluation_crops=3, per_device_eval_batch_size=5)
    task = ObjectCentricTask(*a2o_run.parse_arguments([recipe]))
    prepared = task.prepare()
    trainer = task.make_trainer(prepared, [])
    clips = prepared.data.validation
    metrics = trainer.evaluate(clips, metric_key_prefix="validation")
    trainer.model.eval()
    probabilities = 0
    for view in clip_views(2, 3):
        batch = GuidedClipCollator()([ViewedClips(clips, view)[number] for number in range(12)])
        with torch.no_grad():
            outputs = trainer.model(**trainer.model_inputs(batch))
        probabilities = probabilities + outputs["logits"].softmax(-1) / 6
    loss = torch.nn.functional.nll_loss(probabilities.log(), batch["labels"]).item()
    assert metrics["validation_loss"] == pytest.approx(loss, abs=1e-5)
    assert metrics["validation_num_clips"] == 12
