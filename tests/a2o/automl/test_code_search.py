"""The loop in which a language model writes recognisers: what it is shown, and what is kept."""

import json

import numpy as np
import pytest
from fixtures.small_worlds import ACTIONS_WORLD

from vidreason.a2o.automl import __main__ as command
from vidreason.a2o.automl import search
from vidreason.a2o.automl.clips import write_clips
from vidreason.a2o.automl.sandbox import CodeRun
from vidreason.a2o.automl.search import TRIALS_FILE, code_of
from vidreason.errors import ConfigError
from vidreason.llm.testing.chat_server import ChatServer
from vidreason.manifests.manifest import load_manifest

GOOD = """import torch

def build_model(num_classes):
    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(3 * 4, num_classes)
        def forward(self, frames):
            return self.layer(frames.mean((3, 4)).flatten(1))
    return Model()
"""


def test_code_is_found_in_answers():
    assert code_of("x = 1") == "x = 1"
    assert code_of("Here:\n```python\nx = 1\n```\nThat is all.") == "x = 1"
    assert (
        code_of(f"```\npip install torch and a great many other things, one after another\n```\n```py\n{GOOD}```")
        == GOOD.strip()
    )
    assert code_of("```\r\nx = 1\r\n```") == "x = 1"
    assert code_of("") == ""


@pytest.fixture
def folder(folder_of):
    return folder_of(ACTIONS_WORLD)


def flags(folder, out, server, *more):
    shape = ("--num_frames", 4, "--size_px", 16, "--validation_split", "test_shifted", "--test_splits", "other")
    settings = ("--model", "any", "--base_url", server.url, "--run_generated_code", "--memory_mb", 4096)
    return list(map(str, ("automl", "--manifest", folder, "--out", out, *shape, *settings, *more)))


@pytest.fixture
def runs(monkeypatch):
    """In place of the sandbox: the outcomes that are put in, and the code that was to be run."""
    outcomes, asked = {}, []

    def run_sandboxed(code, file, sizes, num_classes, training, limits, allow_unconfined):
        asked.append((code, dict(sizes), training.num_epochs, limits.seconds))
        status, share = outcomes[code]
        if status != "ok":
            return CodeRun(status, "in one line", seconds=1.0)
        # the first clips are the first classes, as a world deals them out
        labels = {part: np.arange(size) % num_classes for part, size in sizes.items()}
        for part, size in sizes.items():
            labels[part][round(size * share) :] += 1
            labels[part] %= num_classes
        return CodeRun("ok", "", labels, 8, 1.0)

    monkeypatch.setattr(search, "run_sandboxed", run_sandboxed)
    return outcomes, asked


@pytest.fixture
def three_splits(folder, tmp_path):
    """The small world with a further split, whose classes begin with another one."""
    from vidreason.manifests.manifest import write_manifest

    world = load_manifest(folder)
    train = world.split("train")
    rows = {
        "train": train.select(range(12)),
        "test_shifted": world.split("test_shifted"),
        "other": train.select(range(12, 24)),
    }
    write_manifest(tmp_path / "three", rows, world.class_names, "w", world.video_root)
    return tmp_path / "three"


def named(name):
    return f"# {name}\n{GOOD}"


def test_attempts_are_shown_their_outcomes_and_the_best_is_trained_in_full(
    three_splits, tmp_path, runs, monkeypatch, capsys
):
    outcomes, asked = runs
    outcomes |= {
        named("one").strip(): ("ok", 0.4),
        named("two").strip(): ("crashed", 0),
        named("three").strip(): ("ok", 0.4),
    }
    prompts, names = [], iter(["one", "two", "three"])

    def answer(payload):
        prompts.append(payload["messages"][1]["content"])
        return f"```python\n{named(next(names))}```"

    with ChatServer(answer) as server:
        monkeypatch.setattr("sys.argv", flags(three_splits, tmp_path / "out", server, "--num_trials", 2))
        assert command.main() == 0
        result = json.loads((tmp_path / "out" / "result.json").read_text())
        assert result["best"] == 1 and result["statuses"] == ["ok", "crashed"]
        # a further attempt goes on where those ended, and nothing that was run is run again
        monkeypatch.setattr("sys.argv", flags(three_splits, tmp_path / "out", server, "--num_trials", 3))
        assert command.main() == 0
    assert len(prompts) == 3
    assert "There is no history yet" in prompts[0] and "0: pick_up\n1: put_down\n" in prompts[0]
    assert "Accuracy 40.0%, 8 parameters" in prompts[1] and "# one\n" in prompts[1]
    assert "- pick_up: 100.0%" in prompts[1] and "- slide_right:" not in prompts[1]
    assert (
        "It could not be judged: crashed. in one line" in prompts[2] and "### Model 1 (the best so far)" in prompts[2]
    )
    searched = [entry for entry in asked if entry[1] == {"test_shifted": 5}]
    assert [entry[0].split("\n")[0] for entry in searched] == ["# one", "# two", "# three"]
    assert {entry[2:] for entry in searched} == {(1, 300.0)}
    # of two that are alike the earliest; the test split is judged in full training alone
    full = [entry for entry in asked if entry not in searched]
    assert [(entry[0].split("\n")[0], entry[1], *entry[2:]) for entry in full] == [
        ("# one", {"test_shifted": 5, "other": 12}, 20, 3600.0)
    ] * 2
    out = capsys.readouterr().out
    assert "attempt 2: crashed in one line" in out and "attempt 1 in full, other: 0.4167" in out


def test_test_labels_reach_no_prompt_and_no_file_of_the_sandbox(three_splits, tmp_path):
    from safetensors.numpy import load_file

    manifest = load_manifest(three_splits)
    clips = write_clips(tmp_path / "c.safetensors", manifest, ["test_shifted", "other"], 4, 16)
    stored = load_file(clips.file)
    assert set(stored) == {"train", "train_labels", "test_shifted", "other"}
    assert stored["other"].shape == (12, 4, 16, 16, 3) and stored["other"].dtype == np.uint8
    assert clips.labels["other"].tolist() == manifest.split("other")["label"]
    assert stored["train_labels"].tolist() == manifest.split("train")["label"]
    with pytest.raises(ConfigError, match="is trained on, and cannot be judged too"):
        write_clips(tmp_path / "c.safetensors", manifest, ["train"], 4, 16)
    with pytest.raises(ConfigError, match="make num_frames or size_px smaller"):
        write_clips(tmp_path / "c.safetensors", manifest, ["other"], 1000, 4096)


def test_code_of_a_real_search_is_run_in_the_sandbox(three_splits, tmp_path, monkeypatch, capsys):
    answers = iter(["I cannot help with that.", f"```python\n{GOOD}```"])
    with ChatServer(lambda payload: next(answers)) as server:
        more = ("--num_trials", 2, "--final_epochs", 2)
        monkeypatch.setattr("sys.argv", flags(three_splits, tmp_path / "out", server, *more))
        assert command.main() == 0
    out = capsys.readouterr().out
    assert "attempt 1: no_code" in out and "attempt 2: ok" in out and "attempt 2 in full, other: " in out
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert set(result["accuracy"]) == {"test_shifted", "other"} and result["num_parameters"] == 13 * 12


def test_nothing_happens_without_the_flag_or_with_settings_of_another_search(
    three_splits, tmp_path, runs, monkeypatch, capsys
):
    outcomes, asked = runs
    outcomes[GOOD.strip()] = ("ok", 0.5)
    with ChatServer(lambda payload: GOOD) as server:
        given = flags(three_splits, tmp_path / "out", server, "--num_trials", 1)
        monkeypatch.setattr("sys.argv", [flag for flag in given if flag != "--run_generated_code"])
        assert command.main() == 1
        assert "say so with --run_generated_code" in capsys.readouterr().err
        assert not asked and not (tmp_path / "out").exists()
        monkeypatch.setattr("sys.argv", given)
        assert command.main() == 0
        for more, message in (
            (("--learning_rate", 0.5), "is of another search, whose training differ"),
            (("--size_px", 8), "whose clips_sha256, settings differ".replace(", settings", "")),
            (("--num_trials", 0), "num_trials is 0"),
            (("--test_splits", "test_shifted"), "cannot be a test split"),
        ):
            monkeypatch.setattr("sys.argv", [*given, *map(str, more)])
            assert command.main() == 1
            assert message in capsys.readouterr().err
        (tmp_path / "out" / TRIALS_FILE).write_text("{")
        monkeypatch.setattr("sys.argv", given)
        assert command.main() == 1
        assert "holds no attempts" in capsys.readouterr().err
