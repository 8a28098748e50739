"""Checkpoints are there whole or not at all, and a run goes on from the newest that is whole."""

import errno
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from fixtures.line_task import LineArguments, LineTask
from transformers.trainer_utils import get_last_checkpoint

from vidreason.errors import ConfigError, TrainingError
from vidreason.training.checkpoints import UNFINISHED, find_damage
from vidreason.training.run import run_training

KILLED = """
import os, signal, sys
import torch
from fixtures.line_task import LineArguments, LineTask
from vidreason.training.run import run_training

save = torch.save

def killed(content, file, **options):
    save(content, file, **options)
    # the third of four files of torch's, when the weights are written and the state of the run is not
    if "checkpoint-3" in str(file) and str(file).endswith("scheduler.pt"):
        os.kill(os.getpid(), signal.SIGKILL)

torch.save = killed
settings = dict(per_device_train_batch_size=4, logging_steps=1, save_strategy="steps", save_steps=1, report_to="none")
run_training(LineTask(LineArguments(sys.argv[1], use_cpu=True, num_train_epochs=2, optim="sgd", **settings)))
"""


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory) -> Path:
    """A run of four steps with a checkpoint after each, made once."""
    settings = {"per_device_train_batch_size": 4, "num_train_epochs": 2, "logging_steps": 1, "report_to": "none"}
    settings |= {"save_strategy": "steps", "save_steps": 1, "use_cpu": True, "optim": "adamw_torch"}
    folder = tmp_path_factory.mktemp("finished_run") / "line"
    run_training(LineTask(LineArguments(str(folder), **settings)))
    return folder


@pytest.fixture
def checkpoints(finished_run, tmp_path) -> Path:
    """A copy of that run, to be damaged."""
    return shutil.copytree(finished_run, tmp_path / "line")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_dir())


def cut(path: Path) -> None:
    """Leave half of a file, as an interrupted copy does."""
    os.truncate(path, path.stat().st_size // 2)


def test_a_kill_while_a_checkpoint_is_written_leaves_the_one_before(tmp_path, line_arguments, caplog):
    folder = tmp_path / "line"
    command = [sys.executable, "-c", KILLED, str(folder)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "HF_HUB_OFFLINE": "1"}
    child = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert child.returncode == -signal.SIGKILL, child.stderr
    assert names(folder) == [UNFINISHED, "checkpoint-1", "checkpoint-2"]
    assert "scheduler.pt" in {path.name for path in (folder / UNFINISHED / "checkpoint-3").iterdir()}
    assert find_damage(folder / "checkpoint-2") is None
    result = run_training(LineTask(line_arguments(resume_from_checkpoint="true", save_strategy="no")))
    assert [entry["step"] for entry in result.log_history if "loss" in entry] == [1, 2, 3, 4]
    assert "had not finished writing: checkpoint-3" in caplog.text
    assert names(folder) == ["checkpoint-1", "checkpoint-2"]


def test_the_newest_whole_checkpoint_is_taken_and_the_others_are_named(checkpoints, line_arguments, caplog):
    """As checkpoints of 0.1.0 have no mark, these are judged by their files alone."""
    whole = {path.name for path in (checkpoints / "checkpoint-4").iterdir()}
    assert {"model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json"} <= whole
    (checkpoints / "checkpoint-4" / "trainer_state.json").unlink()
    cut(checkpoints / "checkpoint-3" / "optimizer.pt")
    (checkpoints / "checkpoint-100").mkdir()
    assert get_last_checkpoint(str(checkpoints)).endswith("checkpoint-100")  # which the Trainer would take
    again = {"resume_from_checkpoint": "true", "save_strategy": "no", "optim": "adamw_torch"}
    result = run_training(LineTask(line_arguments(**again)))
    assert [entry["step"] for entry in result.log_history if "loss" in entry] == [1, 2, 3, 4]
    said = next(record.getMessage() for record in caplog.records if "going on from" in record.getMessage())
    assert f"going on from {checkpoints / 'checkpoint-2'}, the newest that is whole" in said
    assert "checkpoint-100 (it has no trainer_state.json)" in said
    assert "checkpoint-4 (it has no trainer_state.json)" in said
    assert "checkpoint-3 (optimizer.pt is cut short" in said


def garbage(path: Path) -> None:
    path.write_bytes(b"\0" * 100)


def middle(path: Path) -> None:
    """Other bytes in a file whose ends are as they were."""
    content = bytearray(path.read_bytes())
    half = len(content) // 2
    content[half - 200 : half + 200] = b"x" * 400
    path.write_bytes(content)


def shards(path: Path, index: str) -> None:
    """Weights in several files, of which there is none."""
    path.rename(path.with_name("model-00001-of-00002.safetensors"))
    path.with_name("model.safetensors.index.json").write_text(index)


@pytest.mark.parametrize(
    ("file", "damage", "message"),
    [
        ("model.safetensors", cut, "model.safetensors: "),
        ("model.safetensors", garbage, "model.safetensors: "),
        ("model.safetensors", Path.unlink, "no weights"),
        ("optimizer.pt", cut, "optimizer.pt is cut short"),
        ("optimizer.pt", garbage, "optimizer.pt is cut short, or none of torch's"),
        ("optimizer.pt", Path.unlink, "a scheduler.pt, but no state of the optimizer"),
        ("optimizer.pt", middle, "cannot be loaded"),
        ("scheduler.pt", Path.unlink, "the state of the optimizer, but no scheduler.pt"),
        ("rng_state.pth", cut, "rng_state.pth is cut short"),
        ("rng_state.pth", middle, "cannot be loaded"),
        ("trainer_state.json", cut, "trainer_state.json is not JSON"),
        ("trainer_state.json", lambda path: path.write_text("[" * 200_000), "trainer_state.json is not JSON"),
        ("trainer_state.json", lambda path: path.write_text("{}"), "trainer_state.json has no global_step"),
        ("config.json", lambda path: path.write_text("[1]"), "config.json holds no mapping"),
        ("model.safetensors", lambda path: shards(path, '{"weight_map": [1]}'), "index.json has no weight_map"),
        ("model.safetensors", lambda path: shards(path, '{"weight_map": {"w": "b"}}'), "b is not there, which model"),
        ("config.json", lambda path: (path.parent / "checkpoint-is-incomplete.txt").touch(), "marked as incomplete"),
    ],
)
def test_damage_of_a_checkpoint_that_is_named_is_one_line(checkpoints, line_arguments, file, damage, message):
    damage(checkpoints / "checkpoint-2" / file)
    arguments = line_arguments(resume_from_checkpoint=str(checkpoints / "checkpoint-2"), optim="adamw_torch")
    with pytest.raises((ConfigError, TrainingError), match=message) as caught:
        run_training(LineTask(arguments))
    assert "checkpoint-2" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_where_no_checkpoint_is_whole_all_are_named(checkpoints, line_arguments):
    for path in checkpoints.glob("checkpoint-*/trainer_state.json"):
        path.unlink()
    with pytest.raises(ConfigError, match=r"holds no checkpoint that is whole: checkpoint-4 \(.*checkpoint-1 \("):
        run_training(LineTask(line_arguments(resume_from_checkpoint="true")))


def test_a_limit_keeps_whole_checkpoints_and_the_best(checkpoints, line_arguments):
    """A damaged one of a later step, which looks like the newest, drives out none."""
    cut(checkpoints / "checkpoint-4" / "model.safetensors")
    shutil.copytree(checkpoints / "checkpoint-4", checkpoints / "checkpoint-9")
    settings = {"optim": "adamw_torch", "save_strategy": "steps", "save_steps": 1, "save_total_limit": 2}
    settings |= {"max_steps": 3, "resume_from_checkpoint": str(checkpoints / "checkpoint-2")}
    run_training(LineTask(line_arguments(**settings)))
    assert names(checkpoints) == ["checkpoint-2", "checkpoint-3"]
    best = line_arguments(
        output_dir=str(checkpoints.parent / "best"),
        save_strategy="best",
        eval_strategy="steps",
        eval_steps=1,
        metric_for_best_model="eval_error",
        greater_is_better=True,  # the first, since the error falls
        load_best_model_at_end=True,
    )

    class WithValidation(LineTask):
        def prepare(self):
            made = super().prepare()
            return replace(made, data=replace(made.data, validation=made.data.train))

    run_training(WithValidation(best))
    folder = checkpoints.parent / "best"
    state = json.loads((folder / "checkpoint-1" / "trainer_state.json").read_text())
    assert state["best_model_checkpoint"] == str(folder / "checkpoint-1"), "by the name that it got in the end"
    assert UNFINISHED not in names(folder)


def test_a_full_disk_is_one_line_and_leaves_the_checkpoints_that_are_there(checkpoints, line_arguments, monkeypatch):
    arguments = {"optim": "adamw_torch", "save_strategy": "steps", "save_steps": 1, "num_train_epochs": 4}
    arguments["resume_from_checkpoint"] = "true"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    reached = []

    class Full(LineTask):
        def make_trainer(self, prepared, callbacks):
            trainer = super().make_trainer(prepared, callbacks)
            save = trainer._save_optimizer_and_scheduler

            def full(folder):
                # files may grow no more, which the system says as it says that a disk is full
                reached.append(folder)
                resource.setrlimit(resource.RLIMIT_FSIZE, (64, hard))
                try:
                    save(folder)
                finally:
                    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

            trainer._save_optimizer_and_scheduler = full
            return trainer

    with pytest.raises(TrainingError, match=r"checkpoint-5 cannot be saved: .*MB are free on its disk") as caught:
        run_training(Full(line_arguments(**arguments)))
    assert reached
    assert "\n" not in str(caught.value)
    assert names(checkpoints)[-4:] == [f"checkpoint-{step}" for step in (1, 2, 3, 4)]
    assert not (checkpoints / UNFINISHED / "checkpoint-5").exists(), "a full disk needs the room"

    def no_room(*args, **kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("transformers.modeling_utils.PreTrainedModel.save_pretrained", no_room)
    done = line_arguments(resume_from_checkpoint="true", save_strategy="no")
    with pytest.raises(TrainingError, match=r"line cannot be saved: .*No space left on device"):
        run_training(LineTask(done))


def test_an_error_of_the_training_is_not_taken_for_one_of_the_disk(line_arguments):
    class Broken(LineTask):
        def write_card(self, folder, prepared, recipe, metrics):
            raise RuntimeError("a mistake in a card")

    with pytest.raises(RuntimeError, match="a mistake in a card"):
        run_training(Broken(line_arguments(save_strategy="epoch")))


def test_weights_of_a_checkpoint_are_on_the_disk_before_its_name(line_arguments, monkeypatch, tmp_path):
    """All of its files and folders are flushed, then it is renamed, then the folder that holds the name is flushed."""
    events: list[str] = []
    flush, replace = os.fsync, os.replace

    def noted_flush(descriptor):
        events.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        flush(descriptor)

    def noted_replace(source, target, **kwargs):
        events.append(f"{source} -> {target}")
        replace(source, target, **kwargs)

    monkeypatch.setattr(os, "fsync", noted_flush)
    monkeypatch.setattr(os, "replace", noted_replace)
    run_training(LineTask(line_arguments(save_strategy="epoch", num_train_epochs=1)))
    written = tmp_path / "line" / UNFINISHED / "checkpoint-2"
    renamed = events.index(f"{written} -> {tmp_path / 'line' / 'checkpoint-2'}")
    files = {path.name for path in (tmp_path / "line" / "checkpoint-2").iterdir()}
    assert {str(written), *(str(written / name) for name in files)} <= set(events[:renamed])
    assert events[renamed + 1] == str(tmp_path / "line")
    assert torch.load(tmp_path / "line" / "checkpoint-2" / "optimizer.pt")
