"""The command line: a recipe in, a search and its report out; mistakes in one line."""

import json
import re
import sys

import datasets
import pytest
import yaml

from vidreason.a2o.__main__ import main, parse_arguments
from vidreason.a2o.environment import make_environment, register_environment

WORDS = ["person", "ball", "net", "hoop", "floor", "forearm"]


@pytest.fixture(autouse=True)
def environments():
    register_environment("worth", "fixtures.object_search:WorthEnvironment")


def write_recipe(folder, **settings):
    path = folder / "recipe.yaml"
    recipe = {
        "out": str(folder / "search"),
        "agent": "random",
        "environment": "worth",
        "environment_settings": {"vocabulary": WORDS, "noise": 0.01},
        "num_trials": 3,
        "max_classes": 3,
        **settings,
    }
    path.write_text(yaml.safe_dump(recipe))
    return str(path)


def test_searches_from_a_recipe_are_reported_together(tmp_path, capsys, monkeypatch):
    recipe = write_recipe(tmp_path)
    folders = []
    for agent in ("random", "coordinate", "none"):
        for seed in ("0", "1"):
            folders.append(str(tmp_path / f"{agent}_{seed}"))
            assert main([recipe, "--agent", agent, "--seed", seed, "--out", folders[-1]]) == 0
            assert f"A search by `{agent}`" in capsys.readouterr().out
    assert len(datasets.load_dataset(f"{folders[0]}/trials")["trials"]) == 3
    facts = json.loads((tmp_path / "none_0" / "search.json").read_text())
    assert facts["class_texts"] == [] and facts["test_accuracy"] == {"test": 0.5}

    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)  # no embeddings: the page says so
    assert main(["report", *folders, "--out", str(tmp_path / "report")]) == 0
    page = (tmp_path / "report" / "README.md").read_text()
    assert "| random | 2 |" in page and "| coordinate | 2 |" in page and "| none | 2 |" in page
    assert "not measured: no embeddings" in page and "Rank correlation" in page
    assert (tmp_path / "report" / "accuracy_over_iterations.png").read_bytes()[:4] == b"\x89PNG"


def test_a_search_trains_on_a_world_by_its_recipe(tmp_path, capsys, detected_world, short_training, tiny_model):
    training = {
        **short_training,
        "method": "object_centric",
        "manifest": str(detected_world.manifest),
        "validation_split": "validation",
        "test_splits": ["test"],
        "model_type": "a2o_tsvit",
        "model_config": tiny_model,
        "map_size_px": 8,
        "num_train_epochs": 1,
        "cache_videos": True,
    }
    (tmp_path / "training.yaml").write_text(yaml.safe_dump(training))
    settings = {"recipe": str(tmp_path / "training.yaml"), "training": {"learning_rate": 1e-3}}
    settings |= {"detector": "truth", "detector_truth": str(detected_world.truth), "frames_per_second": 4.0}
    changes = {"environment": "training", "agent": "coordinate", "num_trials": 2, "noise_seeds": 2, "max_classes": 2}
    recipe = write_recipe(tmp_path, **changes, environment_settings=settings)
    assert main([recipe]) == 0
    rows = datasets.load_dataset(str(tmp_path / "search" / "trials"))["trials"].to_list()
    assert [row["status"] for row in rows] == ["ok", "ok"] and len(rows[0]["seeds"]) == 2
    chosen = next(row for row in rows if row["is_chosen"])
    assert [entry["name"] for entry in chosen["test_accuracy"]] == ["test"]
    first, second = (set(row["class_texts"]) for row in rows)
    assert len(first ^ second) == 1  # one class more or less
    frames = rows[0]["detections_made"]
    assert frames > 0 and rows[1]["detections_made"] == (frames if second > first else 0)
    assert (tmp_path / "search" / "trainings" / "detections.sqlite").is_file()
    capsys.readouterr()

    # the same training with the chosen set, tuned
    pytest.importorskip("optuna")
    table = next((tmp_path / "search" / "trainings" / "tables").iterdir())
    tuned = {**training, "detections": str(table), "object_classes": list(rows[0]["class_texts"])}
    (tmp_path / "tuned.yaml").write_text(yaml.safe_dump({**tuned, "output_dir": "nowhere"}))
    out = tmp_path / "tuning"
    assert main(["tune", str(tmp_path / "tuned.yaml"), "--out", str(out), "--num_trials", "2"]) == 0
    assert "validation accuracy" in capsys.readouterr().out
    best = yaml.safe_load((out / "tuned.yaml").read_text())
    assert best["test_splits"] == ["test"] and best["model_config"]["adapter_depth"] in range(5)
    assert best["learning_rate"] != training["learning_rate"] and best["output_dir"] == "nowhere"
    (tmp_path / "blind.yaml").write_text(yaml.safe_dump({**tuned, "validation_split": None}))
    assert main(["tune", str(tmp_path / "blind.yaml"), "--out", str(out)]) == 1
    assert "validation_split is not set" in capsys.readouterr().err

    wrong = write_recipe(tmp_path, environment="training", environment_settings={"recipe": "x", "detecter": "coco"})
    assert main([wrong]) == 1 and "has no setting detecter" in capsys.readouterr().err


def test_the_documented_search_of_ones_own_videos_is_one(tmp_path, repository, detected_world):
    page = (repository / "docs" / "a2o.md").read_text(encoding="utf-8")
    (recipe,) = re.findall(r"```yaml\n(# my_search\.yaml.*?)```", page, re.DOTALL)
    recipe = recipe.replace("data/manifest", str(detected_world.manifest))
    recipe = recipe.replace("detector: coco", f"detector: truth\n  detector_truth: {detected_world.truth}")
    (tmp_path / "my_search.yaml").write_text(recipe)
    args = parse_arguments([str(tmp_path / "my_search.yaml"), "--agent", "random", "--out", str(tmp_path / "out")])
    environment = make_environment(args.environment, args.environment_settings, tmp_path / "out")
    assert environment.description.startswith("Two people") and "hand" in environment.vocabulary


@pytest.mark.parametrize(
    ("settings", "flags", "message"),
    [
        ({"num_trial": 3}, [], "unknown settings ['num_trial']"),
        ({}, ["--num_trials", "0"], "num_trials is 0"),
        ({"environment": "mars"}, [], "environment is 'mars', expected one of"),
        ({"environment_settings": {"colour": 1}}, [], "environment 'worth' cannot be made with ['colour']"),
        ({"environment_settings": "{"}, [], "environment_settings is not valid JSON"),
        ({"agent_settings": {"colour": 1}}, [], "agent random cannot be made with ['colour']"),
        ({}, ["--agent_settings", '{"colour": 1}'], "agent random cannot be made with ['colour']"),
        ({"out": ""}, [], "out is not set"),
        ({}, ["--agents", "random"], "did you mean --agent"),
    ],
)
def test_a_mistake_is_one_line(tmp_path, capsys, settings, flags, message):
    assert main([write_recipe(tmp_path, **settings), *flags]) in (1, 2)
    error = capsys.readouterr().err.splitlines()
    assert message in error[0] and "Traceback" not in "".join(error) and len(error) <= 2


def test_a_report_of_what_is_no_search_names_it(tmp_path, capsys):
    assert main(["report", str(tmp_path), "--out", str(tmp_path / "report")]) == 1
    assert f"{tmp_path} holds no search that has ended" in capsys.readouterr().err


def test_the_rooms_of_a_search_load_no_torch(repository):
    import subprocess

    code = (
        "import sys, vidreason.a2o.loop, vidreason.a2o.agents, vidreason.a2o.__main__; print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=repository, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
