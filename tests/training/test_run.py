"""Whole runs: recipes and flags, one process and two, what is saved, and what a mistake looks like."""

import dataclasses
import json
import re
import shutil

import pytest
import torch
from fixtures.train_runs import launch, run
from huggingface_hub import ModelCard
from transformers import AutoModelForVideoClassification, AutoVideoProcessor, pipeline

from vidreason.errors import ConfigError, VidreasonError
from vidreason.guidance import guidance_row, load_guidance, write_guidance
from vidreason.rs.config import RSConfig
from vidreason.rs.run import DataArguments, ModelArguments, parse_arguments


@pytest.fixture
def recipe(tiny_world, write_recipe):
    """Writes a recipe for the tiny world and returns its path."""

    def write(**changes) -> str:
        settings = {
            "manifest": str(tiny_world.manifest_folder),
            "guidance": str(tiny_world.guidance_folder),
            "mirror_probability": 0.0,
        }
        return write_recipe(**{**settings, **changes})

    return write


def test_a_recipe_gives_a_model_that_loads_and_a_card_with_its_results(recipe, tmp_path, tiny_world):
    result = run(recipe(save_strategy="epoch"))
    folder = tmp_path / "model"
    assert "Not recorded: the model came without an evaluation" in (folder / "checkpoint-2" / "README.md").read_text()
    assert set(result.metrics["test"]) == {"top1", "top5", "loss", "attention_in_region", "pointing_accuracy"}
    model = AutoModelForVideoClassification.from_pretrained(folder)
    assert model.config.id2label == {0: "left_to_right", 1: "right_to_left"}
    assert AutoVideoProcessor.from_pretrained(folder).num_frames == 4
    card = ModelCard.load(folder / "README.md")
    results = {r.metric_name: r.metric_value for r in card.data.eval_results}
    assert results["top1"] == pytest.approx(result.metrics["test"]["top1"])
    assert "Guidance" in card.content
    assert {path.name for path in folder.glob("*.py")} >= {"modeling_tsvit.py", "video_processing_tsvit.py"}
    labels = pipeline("video-classification", model=str(folder))(str(tiny_world.manifest_folder / "videos/test/0.mp4"))
    assert {label["label"] for label in labels} == set(model.config.id2label.values())


def test_flags_win_over_the_recipe(recipe):
    model_args, data_args, args = parse_arguments(
        [recipe(), "--seed", "11", "--spatial_weight", "4", "--brightness", "0"]
    )
    assert (args.seed, args.spatial_weight, data_args.brightness) == (11, 4.0, 0.0)
    assert args.learning_rate == 1e-3
    assert model_args.model_config["hidden_size"] == 32


def test_mappings_can_be_given_as_json(recipe):
    arguments = [recipe(), "--mirrored_labels", '{"left_to_right": "right_to_left"}']
    assert parse_arguments(arguments)[1].mirrored_labels == {"left_to_right": "right_to_left"}


def test_training_starts_from_a_checkpoint_with_other_labels_only_where_that_is_asked_for(recipe, tmp_path, caplog):
    run(recipe())
    checkpoint = AutoModelForVideoClassification.from_pretrained(tmp_path / "model")
    checkpoint.config.id2label = {0: "a", 1: "b", 2: "c"}
    checkpoint.classifier.out_proj = torch.nn.Linear(checkpoint.classifier.out_proj.in_features, 3)
    checkpoint.save_pretrained(tmp_path / "other")
    for file in (tmp_path / "model").glob("*processor_config.json"):
        shutil.copy(file, tmp_path / "other")
    arguments = [recipe(), "--model_name_or_path", str(tmp_path / "other"), "--output_dir", str(tmp_path / "tuned")]
    with pytest.raises(
        ConfigError, match=r"other labels: \[a, b, c\]; the data have \[left_to_right, right_to_left\]"
    ):
        run(*arguments)
    assert not (tmp_path / "tuned").exists()
    result = run(*arguments, "--replace_head", "true")
    assert 0 <= result.metrics["test"]["top1"] <= 1
    assert "the classification head starts anew, for [left_to_right, right_to_left]" in caplog.text
    assert ModelCard.load(tmp_path / "tuned" / "README.md").data.base_model == str(tmp_path / "other")


def test_training_on_the_command_line(recipe, repository, tmp_path):
    finished = launch(repository, recipe(), "--report_to", "tensorboard")
    assert finished.returncode == 0, finished.stderr
    assert "test: top1" in finished.stdout
    assert (tmp_path / "model" / "model.safetensors").exists()
    assert list((tmp_path / "model").rglob("events.out.tfevents*"))


def test_two_processes_take_the_steps_of_one(recipe, repository, tmp_path):
    """The same global batch, with guided frames spread unevenly over the processes."""
    settings = {"optim": "sgd", "learning_rate": 0.05, "spatial_weight": 2.0, "crop_scale_min": 1.0, "brightness": 0.0}
    histories, weights = [], []
    for name, processes, batch_size in (("one", 1, 8), ("two", 2, 4)):
        output = tmp_path / name
        path = recipe(**settings, sampling="uniform", per_device_train_batch_size=batch_size, output_dir=str(output))
        finished = launch(repository, path, processes=processes)
        assert finished.returncode == 0, finished.stderr
        histories.append(json.loads((output / "trainer_state.json").read_text())["log_history"])
        weights.append(AutoModelForVideoClassification.from_pretrained(output).state_dict())
    for one, two in zip(*histories, strict=True):
        for key in {"loss", "loss_classification", "loss_spatial", "loss_temporal", "test_loss_spatial"} & one.keys():
            assert one[key] == pytest.approx(two[key], rel=1e-3), key
    assert histories[0][0]["step"] == 1
    assert histories[0][0]["loss_spatial"] > 0
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, rtol=1e-3, atol=1e-5)


def rename_video(rows, split):
    return [{**row, "video_id": f"elsewhere/{row['video_id']}"} for row in rows[split]]


def test_guidance_for_unknown_videos_is_named(recipe, tiny_world, tmp_path, caplog):
    rows = load_guidance(tiny_world.guidance_folder)
    write_guidance(tmp_path / "strange", {"train": rename_video(rows, "train")})
    with pytest.raises(ConfigError, match="fits none of the manifest's videos"):
        run(recipe(guidance=str(tmp_path / "strange")))
    stranger = rename_video(rows, "train")[:8]
    write_guidance(tmp_path / "mixed", {"train": [*rows["train"], *stranger]})
    run(recipe(guidance=str(tmp_path / "mixed")))
    assert "1 guided videos are not in the manifest, such as elsewhere/videos/train/0" in caplog.text


def test_guidance_of_another_grid_is_resampled(recipe, tiny_world, tmp_path):
    rows = load_guidance(tiny_world.guidance_folder)
    coarse = [
        guidance_row(row, [1, 0, 0, 0, 0, 0], (2, 3), "tests") if row["status"] == "ok" else row
        for row in rows["train"]
    ]
    write_guidance(tmp_path / "coarse", {"train": coarse})
    result = run(recipe(guidance=str(tmp_path / "coarse")))
    assert any("loss_spatial" in entry for entry in result.log_history)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"manifest": "nowhere"}, "nowhere"),
        ({"manifest": ""}, "manifest is not set"),
        ({"guidance": "nowhere/at-all"}, "nowhere/at-all"),
        ({"guidance": None}, "no guidance is given"),
        ({"train_split": "training"}, "training"),
        ({"test_splits": ["validation"]}, "validation"),
        ({"model_config": {"hidden_size": 33}}, "hidden_size"),
        ({"model_config": {"hidden": 33}}, r"TSViTConfig has no \['hidden'\]"),
        ({"model_config": "{not json"}, "model_config is not valid JSON"),
        ({"model_name_or_path": "nowhere/model"}, "nowhere/model"),
        ({"supervised_layers": "7"}, "7"),
        ({"resume_from_checkpoint": "true", "output_dir": "empty_folder"}, "holds no checkpoint"),
        ({"mirrored_labels": {"jump": "fall"}}, "jump"),
        ({"crop_scale_min": 2}, "crop_scale_min"),
        ({"eval_strategy": "epoch"}, "eval_strategy is 'epoch' but validation_split is not set"),
        ({"lr_scheduler_type": "sawtooth"}, "sawtooth"),
        ({"learning_rte": 1}, r"unknown settings \['learning_rte'\]"),
    ],
)
def test_a_mistake_is_named(recipe, changes, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # paths that are not absolute stay out of the repository
    with pytest.raises(VidreasonError, match=message):
        run(recipe(**changes))


def test_a_flag_that_does_not_exist_is_named(recipe):
    with pytest.raises(ConfigError, match="--learning_rte"):
        parse_arguments([recipe(), "--learning_rte", "1"])


def test_the_help_lists_every_setting(capsys):
    with pytest.raises(SystemExit):
        parse_arguments(["--help"])
    flags = set(re.findall(r"--(\w+)", capsys.readouterr().out))
    settings = {f.name for cls in (ModelArguments, DataArguments, RSConfig) for f in dataclasses.fields(cls)}
    assert settings | {"method"} <= flags


def test_a_recipe_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(ConfigError, match="does not exist"):
        parse_arguments([str(tmp_path / "none.yaml")])
    (tmp_path / "list.yaml").write_text("- a\n- b\n")
    with pytest.raises(ConfigError, match="holds list"):
        parse_arguments([str(tmp_path / "list.yaml")])
    (tmp_path / "broken.yaml").write_text("a: [1\n")
    with pytest.raises(ConfigError, match="not valid YAML"):
        parse_arguments([str(tmp_path / "broken.yaml")])


def test_a_mistake_on_the_command_line_is_one_line_and_no_stack_trace(recipe, repository):
    finished = launch(repository, recipe(manifest="nowhere"))
    assert finished.returncode == 1
    assert "Traceback" not in finished.stderr
    assert finished.stderr.strip().splitlines()[-1].startswith("error: nowhere")


def settings_of(*arguments: str) -> dict:
    _, data_args, args = parse_arguments(list(arguments))
    names = ("spatial_weight", "temporal_weight", "supervised_layers", "evidence_swap")
    return {**{name: getattr(args, name) for name in names}, "evidence_zoom": data_args.evidence_zoom}


def test_a_method_sets_what_the_recipe_leaves_open(recipe):
    assert settings_of(recipe(method="evidence_supervision")) == {
        "spatial_weight": 1.0,
        "temporal_weight": 0.1,
        "supervised_layers": "all",
        "evidence_swap": 0.5,
        "evidence_zoom": 0.5,
    }
    changed = settings_of(recipe(method="evidence_supervision", spatial_weight=3.0, evidence_zoom=0.0))
    assert (changed["spatial_weight"], changed["evidence_zoom"], changed["evidence_swap"]) == (3.0, 0.0, 0.5)


def test_a_method_as_a_flag_wins_over_the_recipe_and_flags_win_over_it(recipe):
    path = recipe(method="evidence_supervision", spatial_weight=3.0)
    plain = settings_of(path, "--method", "plain")
    assert (plain["spatial_weight"], plain["temporal_weight"], plain["evidence_swap"]) == (0.0, 0.0, 0.0)
    assert settings_of(path, "--method", "plain", "--temporal_weight", "2")["temporal_weight"] == 2.0


def test_a_method_that_does_not_exist_is_named(recipe):
    with pytest.raises(ConfigError, match=r"method is 'magic', expected one of \['evidence_supervision'"):
        parse_arguments([recipe(method="magic")])


def test_training_by_our_method(recipe):
    result = run(recipe(method="evidence_supervision"))
    assert any("loss_spatial" in entry for entry in result.log_history)


def test_a_run_that_looks_twice_reports_both_and_says_so_in_its_card(recipe, tmp_path):
    result = run(recipe(second_look=True, method="evidence_supervision"))
    found = result.metrics["test"]
    assert found["loss"] != found["loss_one_look"]
    assert None not in (found["top1_one_look"], found["top5_one_look"])
    assert "of two looks at each clip" in (tmp_path / "model" / "README.md").read_text()
