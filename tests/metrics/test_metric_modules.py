"""What holds for every metric: it loads offline, its examples are true, its card is whole."""

import doctest
import importlib
import inspect
import os
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import evaluate
import pytest
import yaml

from vidreason.errors import ConfigError
from vidreason.metrics import metric_names, metric_path

METRICS = metric_names()
CARD_SECTIONS = (
    "## Metric Description",
    "## How to Use",
    "### Inputs",
    "### Output Values",
    "## Limitations and Bias",
)

# a row of input, the name of the count of rows, and the arguments that have no default
VIDEO = {"prediction": [1, 2], "reference": [1, 1]}
ROWS = {
    "edit_score": (VIDEO, "num_videos", {"background": None}),
    "mof": (VIDEO, "num_videos", {}),
    "pointing": ({"prediction": 1, "reference": [1]}, "num_frames", {}),
    "segment_f1": (VIDEO, "num_videos", {"background": None}),
    "topk_accuracy": ({"prediction": [0.0, 1.0], "reference": 1}, "num_samples", {}),
}


@pytest.fixture
def local_load(tmp_path):
    """`evaluate.load("name")`, as the examples write it, for the folders here."""
    load = evaluate.load

    def load_local(name, **kwargs):
        path = name if os.path.sep in name else metric_path(name)
        return load(path, **{"cache_dir": str(tmp_path), "experiment_id": "examples", **kwargs})

    with patch("evaluate.load", side_effect=load_local) as patched:
        yield patched


def import_script(name):
    return importlib.import_module(evaluate.loading.evaluation_module_factory(metric_path(name)).module_path)


def test_the_metrics_are_found():
    assert METRICS == ["edit_score", "mof", "pointing", "segment_f1", "topk_accuracy"]


def test_unknown_metric_is_named_beside_the_known_ones():
    known = "edit_score, mof, pointing, segment_f1, topk_accuracy"
    with pytest.raises(ConfigError, match=f"unknown metric 'top_k'; known metrics: {known}$"):
        metric_path("top_k")


@pytest.mark.parametrize("name", METRICS)
def test_doctests_of_the_script(name, local_load):
    script = import_script(name)
    results = doctest.testmod(script, raise_on_error=False)
    assert results.attempted > 1
    assert results.failed == 0


@pytest.mark.parametrize("name", METRICS)
def test_examples_of_the_card(name, local_load):
    card = Path(metric_path(name), "README.md").read_text(encoding="utf-8")
    examples = "\n".join("" if line.startswith("```") else line for line in card.splitlines())
    test = doctest.DocTestParser().get_doctest(examples, {}, f"{name}/README.md", None, 0)
    results = doctest.DocTestRunner().run(test)
    assert results.attempted > 2
    assert results.failed == 0


@pytest.mark.parametrize("name", METRICS)
def test_card_has_front_matter_and_sections(name):
    card = Path(metric_path(name), "README.md").read_text(encoding="utf-8")
    front_matter = yaml.safe_load(card.split("---")[1])
    assert {"evaluate", "metric"} <= set(front_matter["tags"])
    assert front_matter["title"] in card.split("# Metric Card for ")[1]
    assert [section for section in CARD_SECTIONS if section not in card] == []


@pytest.mark.parametrize("name", METRICS)
def test_arguments_are_all_named(name):
    metric = evaluate.loading.import_main_class(import_script(name).__name__)
    kinds = {parameter.kind for parameter in inspect.signature(metric._compute).parameters.values()}
    assert inspect.Parameter.VAR_KEYWORD not in kinds


@pytest.mark.parametrize("name", METRICS)
def test_two_live_instances_do_not_share_a_cache_file(name, tmp_path):
    first, second = (
        evaluate.load(metric_path(name), cache_dir=str(tmp_path), experiment_id=experiment) for experiment in "ab"
    )
    row, count, arguments = ROWS[name]
    first.add(**row)
    for _ in range(2):
        second.add(**row)
    assert (first.compute(**arguments)[count], second.compute(**arguments)[count]) == (1, 2)


def test_loads_in_a_fresh_process_without_a_network(tmp_path):
    program = """
import socket

def refuse(*args, **kwargs):
    raise AssertionError("a metric asked for the network")

socket.socket.connect = refuse
socket.getaddrinfo = refuse
import evaluate
from vidreason.metrics import metric_names, metric_path

for name in metric_names():
    print(evaluate.load(metric_path(name)).name)
"""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    environment = {key: value for key, value in environment.items() if key not in ("HF_MODULES_CACHE",)}
    finished = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, cwd=tmp_path, timeout=120
    )
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.split() == METRICS
