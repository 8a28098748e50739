"""The run skeleton with a task of a system of its own: nothing here knows of videos."""

import json
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from fixtures.line_task import Line, LineArguments, LineConfig, LineTask, LineTrainer, Points

from vidreason.errors import ConfigError, TrainingError
from vidreason.training.arguments import DataArguments, ModelArguments, parse_arguments
from vidreason.training.run import run_training


def card(folder: Path) -> dict:
    return json.loads((folder / "README.md").read_text())


def test_a_task_gives_a_saved_model_its_report_and_its_card(line_arguments, tmp_path):
    result = run_training(LineTask(line_arguments(save_strategy="epoch")))
    folder = tmp_path / "line"
    assert set(result.metrics["test"]) == {"error", "unmeasured"}
    assert result.metrics["test"]["unmeasured"] is None
    assert (folder / "model.safetensors").is_file()
    assert card(folder) == {"metrics": result.metrics, "batch_size": 4}
    assert card(folder / "checkpoint-2") == {"metrics": {}, "batch_size": 4}, "a checkpoint is not evaluated"
    logged = result.log_history[0]
    assert logged["loss"] == pytest.approx(logged["loss_points"] + 0.1 * logged["loss_hints"], rel=1e-5)


@pytest.mark.parametrize("micro_batch", [1, 2, 4])
def test_a_step_has_the_exact_means_of_its_parts_however_it_is_cut_up(line_arguments, micro_batch):
    """One step over all points, where three of eight have a hint: most micro-batches of one have none."""
    args = line_arguments(
        per_device_train_batch_size=micro_batch, gradient_accumulation_steps=8 // micro_batch, num_train_epochs=1
    )
    weight = Line(LineConfig()).weight.detach().clone().requires_grad_()
    points = [Points()[index] for index in range(8)]
    x, labels, hint = (
        torch.stack([torch.as_tensor(point[name]) for point in points]) for name in ("x", "labels", "hint")
    )
    has_hint = torch.tensor([point["has_hint"] for point in points])
    parts = [((x @ weight - labels) ** 2).mean(), ((x @ weight - hint)[has_hint] ** 2).mean()]
    (parts[0] + 0.1 * parts[1]).backward()
    result_task = LineTask(args)
    prepared = result_task.prepare()
    trainer = result_task.make_trainer(prepared, [])
    trainer.train()
    torch.testing.assert_close(trainer.model.weight.detach(), (weight - 0.05 * weight.grad).detach())
    logged = trainer.state.log_history[0]
    assert [logged["loss_points"], logged["loss_hints"]] == pytest.approx([part.item() for part in parts], rel=1e-5)


def test_a_part_that_is_not_finite_is_named_before_it_moves_weights(line_arguments):
    class Broken(LineTrainer):
        def loss_parts(self, outputs, inputs, counts):
            return super().loss_parts(outputs, inputs, counts) | {"hints": outputs["y"].sum() * float("inf")}

    trainer = Broken(model=Line(LineConfig()), args=line_arguments(), train_dataset=Points())
    with pytest.raises(TrainingError, match=r"at step 1 .*hints (nan|inf)"):
        trainer.train()
    assert trainer.model.weight.tolist() == [0.5, -0.25]


def test_what_is_pushed_has_our_card(line_arguments, monkeypatch):
    """Checkpoints and the finished model alike: the Trainer would send none, and then a stub made from its log."""
    pushed = []

    class Hub:
        def create_repo(self, name, **kwargs):
            return SimpleNamespace(repo_id=name)

        def upload_folder(self, *, folder_path, commit_message, **kwargs):
            pushed.append((commit_message, card(Path(folder_path))["metrics"]))
            done = Future()
            done.set_result(None)
            return done

    monkeypatch.setattr("transformers.trainer.hf_api", Hub)
    args = line_arguments(push_to_hub=True, hub_model_id="tests/line", save_strategy="epoch")
    result = run_training(LineTask(args))
    assert pushed == [
        ("Training in progress, epoch 1", {}),
        ("Training in progress, epoch 2", {}),
        ("Model save", result.metrics),
    ]


def test_a_trainer_without_a_task_keeps_the_card_of_transformers(line_arguments, tmp_path):
    trainer = LineTrainer(model=Line(LineConfig()), args=line_arguments(), train_dataset=Points())
    trainer.save_model()
    assert not (tmp_path / "line" / "README.md").exists()
    trainer.create_model_card()
    assert "generated_from_trainer" in (tmp_path / "line" / "README.md").read_text()


def test_settings_of_another_system_are_read_by_their_names(tmp_path):
    classes = (ModelArguments, DataArguments, LineArguments)
    recipe = tmp_path / "line.yaml"
    recipe.write_text(f"manifest: videos\nhint_weight: 0.5\noutput_dir: {tmp_path}\nreport_to: none\n")
    _, data_args, args = parse_arguments([str(recipe), "--seed", "4"], classes)
    assert (data_args.manifest, args.hint_weight, args.seed) == ("videos", 0.5, 4)
    assert parse_arguments([str(recipe), "--hint_weight", "2"], classes)[2].hint_weight == 2.0
    with pytest.raises(ConfigError, match="--method"):
        parse_arguments([str(recipe), "--method", "plain"], classes)
    methods = {"keen": {"hint_weight": 3.0}, "plain": {"hint_weight": 0.0}}
    assert parse_arguments([str(recipe), "--method", "keen"], classes, methods)[2].hint_weight == 3.0
