"""One run at a time writes into a folder, and none among the checkpoints of another."""

import json
import os
from pathlib import Path

import pytest
from fixtures.line_task import LineTask
from fixtures.train_runs import run

from vidreason.errors import ConfigError
from vidreason.training.checkpoints import UNFINISHED
from vidreason.training.output_folder import LOCK_FILE, SETTINGS_FILE
from vidreason.training.run import run_training


class NeverPrepared(LineTask):
    """What cannot be saved is not worth preparing."""

    def prepare(self):
        raise AssertionError("prepared in vain")


def test_a_second_run_in_a_folder_is_refused_while_the_first_lasts(line_arguments, tmp_path):
    refused = []

    class First(LineTask):
        def prepare(self):
            with pytest.raises(ConfigError, match=r"another run is writing into output_dir .*line: wait for its end"):
                run_training(NeverPrepared(line_arguments()))
            refused.append(True)
            return super().prepare()

    run_training(First(line_arguments()))
    assert refused
    assert (tmp_path / "line" / "model.safetensors").is_file()
    run_training(LineTask(line_arguments()))  # the lock ended with the first


def test_the_checkpoints_of_another_run_are_not_mixed_with_this_one(line_arguments, tmp_path, caplog):
    saved = {"save_strategy": "steps", "save_steps": 1}
    run_training(LineTask(line_arguments(**saved)))
    with pytest.raises(
        ConfigError, match=r"checkpoints \(checkpoint-4 the last\), those of a run with another "
    ) as caught:
        run_training(NeverPrepared(line_arguments(**saved, learning_rate=0.01, hint_weight=2.0)))
    assert "hint_weight, learning_rate: go on from them with --resume_from_checkpoint true" in str(caught.value)
    # going on with other settings is what one asks for, and then they are this run's
    going_on = {"learning_rate": 0.01, "num_train_epochs": 3}
    result = run_training(LineTask(line_arguments(**saved, **going_on, resume_from_checkpoint="true")))
    assert [entry["step"] for entry in result.log_history if "loss" in entry] == [1, 2, 3, 4, 5, 6]
    # a study makes a run anew that it had not finished; what has no effect on it may differ
    run_training(LineTask(line_arguments(**going_on, logging_steps=2, disable_tqdm=False)))
    assert "checkpoints of an earlier run with the same settings are replaced" in caplog.text
    # checkpoints of 0.1.0 have no settings beside them
    (tmp_path / "line" / SETTINGS_FILE).unlink()
    with pytest.raises(ConfigError, match=r"those of an earlier run: go on from them with"):
        run_training(NeverPrepared(line_arguments(**saved)))


def test_the_data_and_the_model_belong_to_the_settings(write_recipe, tiny_world, tmp_path):
    own = {"manifest": str(tiny_world.manifest_folder), "guidance": str(tiny_world.guidance_folder)}
    recipe = write_recipe(**own, num_train_epochs=1, save_strategy="epoch", test_splits=[])
    run(recipe)
    settings = json.loads((tmp_path / "model" / SETTINGS_FILE).read_text())
    assert settings["manifest"] == own["manifest"]
    with pytest.raises(ConfigError, match="those of a run with another brightness, model_type"):
        run(recipe, "--brightness", "0", "--model_type", "timesformer")
    run(recipe)


@pytest.mark.parametrize("place", ["a file", "a file/model", "no room", "read only"])
def test_a_folder_that_cannot_be_written_is_named_before_all_else(line_arguments, tmp_path, monkeypatch, place):
    (tmp_path / "a file").write_text("")
    folder = tmp_path / place

    def refuse(path, *args, **kwargs):
        raise PermissionError(13, os.strerror(13), str(path))

    if place == "no room":
        folder.mkdir()
        os.symlink("/dev/full", folder / f".{SETTINGS_FILE}.{os.getpid()}.partial")
    if place == "read only":  # by its error: the superuser may write anywhere
        monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(ConfigError, match=f"output_dir {folder} cannot be written: ") as caught:
        run_training(NeverPrepared(line_arguments(output_dir=str(folder))))
    assert "\n" not in str(caught.value)


def test_a_run_that_comes_to_nothing_leaves_no_folder(line_arguments, tmp_path):
    class Failing(LineTask):
        def prepare(self):
            assert (tmp_path / "line" / LOCK_FILE).exists()
            raise ConfigError("there is no such manifest")

    with pytest.raises(ConfigError, match="no such manifest"):
        run_training(Failing(line_arguments()))
    assert not (tmp_path / "line").exists()
    (tmp_path / "line").mkdir()
    (tmp_path / "line" / "notes.txt").write_text("of the user")
    with pytest.raises(ConfigError, match="no such manifest"):
        run_training(Failing(line_arguments()))
    assert (tmp_path / "line" / "notes.txt").exists()


def test_what_was_not_finished_is_deleted_and_named(line_arguments, tmp_path, caplog):
    left = tmp_path / "line" / UNFINISHED / "checkpoint-7"
    left.mkdir(parents=True)
    run_training(LineTask(line_arguments()))
    assert not left.parent.exists()
    assert "deleted what an earlier run had not finished writing: checkpoint-7" in caplog.text
