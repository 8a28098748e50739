"""Runs that are really trained, on the command line: one after the other, and each by two processes together."""

import json
import os
import subprocess
import sys

import pytest
from fixtures.small_studies import write_study

from vidreason.rs.run import parse_arguments
from vidreason.study.__main__ import main
from vidreason.study.execution import DecodedVideos
from vidreason.study.records import read_results
from vidreason.study.study_file import load_study

PART = "noisy-50"  # the run with the least training


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """The world is drawn once for all tests here."""
    return tmp_path_factory.mktemp("work")


@pytest.fixture
def study_path(tmp_path):
    return write_study(tmp_path / "study", {"seeds": [0]})


def run(study_path, work, out, *flags: str) -> int:
    return main(["run", str(study_path), "--out", str(out), "--work", str(work), *flags])


def test_a_dry_run_lists_the_runs_and_makes_nothing(study_path, work, tmp_path, capsys):
    assert run(study_path, work, tmp_path / "out", "--dry_run", "--only", PART) == 0
    assert capsys.readouterr().out == "to do  both-noisy-50-seed0\n0 runs are there, 1 to do\n"
    assert not (tmp_path / "out").exists()


def test_a_run_leaves_its_record_and_its_recipe_and_no_model(study_path, work, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(study_path, work, out, "--only", "unused-50", "--keep_models") == 0
    assert run(study_path, work, out, "--only", PART, "unused-50") == 0
    assert capsys.readouterr().out.splitlines()[-1] == "1 runs were there, 1 made, 0 failed"
    records = read_results(load_study(out / "study.yaml"), out)
    plain, supervised = records["none-unused-50-seed0"], records["both-noisy-50-seed0"]
    for record in (plain, supervised):
        assert set(record["metrics"]) == {"test", "test_shifted"}
        assert set(record["metrics"]["test"]) == {
            *("top1", "top5", "loss", "attention_in_region", "pointing_accuracy"),
        }
        assert all(value is not None for value in record["metrics"]["test"].values())
        assert record["steps"] == 2  # 12 clips in batches of 6
        assert record["num_parameters"] > 10_000
        assert (record["num_processes"], record["epochs"], record["skipped"]) == (1, 1, {})
        assert record["device"].startswith("cpu")
        assert set(record["versions"]) == {"python", "torch", "transformers", "accelerate", "vidreason"}
    assert plain["effective_settings"]["supervision"]["spatial_weight"] == 0
    assert supervised["effective_settings"]["supervision"]["temperature"] == 1.0  # a default that nobody set
    assert plain["metrics"] != supervised["metrics"]
    assert str(work) not in json.dumps(supervised)  # no places of this machine
    assert [path.parts[-3] for path in work.rglob("model.safetensors")] == ["none-unused-50-seed0"]  # asked for
    _, data_args, args = parse_arguments([str(work / "small" / "both-noisy-50-seed0" / "recipe.yaml")])
    assert (args.seed, args.spatial_weight) == (0, 1.0)  # the run can be repeated by hand
    assert "guidance-truth" in data_args.guidance
    assert main(["tables", str(out)]) == 0
    assert "2 of 5 runs" in (out / "README.md").read_text()


def test_decoded_videos_are_kept_for_runs_of_the_same_world(study_path):
    study, videos = load_study(study_path), DecodedVideos()
    first, second = (videos.of(study.plan(cell, seed=0)) for cell in study.cells[:2])
    assert first is second
    first["a"] = "decoded"
    assert videos.of(study.plan(study.cells[0], seed=1)) == {}
    assert videos.of(study.plan(study.cells[0], seed=0)) == {}  # those of one world at a time


def test_a_run_with_a_setting_that_cannot_be_is_told(work, tmp_path, capsys):
    path = write_study(tmp_path / "study", {"seeds": [0]}, {"spatial_weight": 1.0, "temperature": -1.0})
    assert run(path, work, tmp_path / "out", "--only", PART) == 1
    assert "FAILED both-noisy-50-seed0: ConfigError: temperature is -1.0" in capsys.readouterr().out
    assert read_results(load_study(path), tmp_path / "out") == {}


@pytest.mark.slow
def test_two_processes_train_each_run_together(work, tmp_path):
    settings = {"per_device_train_batch_size": 3}  # of each process
    axes = {
        "supervision": {"good": {"temporal_weight": 0.1}, "bad": {"temperature": -1.0}},
        "guidance": {"noisy": {"producer": "truth", "missed_frames": 0.1}},
        "share": {"50": {"train_share": 0.5}, "100": {}},
    }
    blocks = [{"supervision": ["bad", "good"]}, {"supervision": "good", "share": "50"}]
    changes = {"name": "together", "axes": axes, "blocks": blocks, "baseline": None, "seeds": [0]}
    path, out = write_study(tmp_path / "study", changes, settings), tmp_path / "out"
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    launcher += [
        "--num_machines",
        "1",
        "--mixed_precision",
        "no",
        "--dynamo_backend",
        "no",
        "--main_process_port",
        "0",
    ]
    command = [*launcher, "-m", "vidreason.study", "run", str(path), "--out", str(out), "--work", str(work)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    finished = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert finished.returncode != 0  # of the run that failed
    assert "0 runs were there, 2 made, 1 failed" in finished.stdout
    assert finished.stdout.count("FAILED bad-noisy-100-seed0: ConfigError: temperature is -1.0") == 1
    records = read_results(load_study(path), out)
    assert list(records) == ["good-noisy-100-seed0", "good-noisy-50-seed0"]
    assert {record["num_processes"] for record in records.values()} == {2}
    assert [record["steps"] for record in records.values()] == [4, 2]  # 24 and 12 clips, six at a time
    assert not list(work.rglob("together/*/model"))
