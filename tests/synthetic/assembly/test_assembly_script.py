"""The script that builds the assembly data set, run in this process."""

import importlib.util
import json
import sys

import pytest


@pytest.fixture
def script(repository, monkeypatch):
    spec = importlib.util.spec_from_file_location(
        "build_synthetic_assembly_script", repository / "datasets_scripts" / "build_synthetic_assembly.py"
    )
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)  # the parser looks the arguments' types up there
    spec.loader.exec_module(module)
    return module


def run(script, monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["build_synthetic_assembly.py", *map(str, arguments)])
    return script.main()


TIMES = {"min_duration_s": 3, "max_duration_s": 6, "min_action_s": 0.6, "max_action_s": 1.2}
PAUSES = {"min_pause_s": 0.3, "max_pause_s": 0.5}


def test_the_script_builds_what_its_flags_say(script, monkeypatch, tmp_path, capsys):
    settings = {"width": 64, "height": 48, "num_proc": 1, "seed": 7, **TIMES, **PAUSES}
    flags = [word for name, value in settings.items() for word in (f"--{name}", value)]
    assert run(script, monkeypatch, "--out", tmp_path / "w", "--split_sizes", '{"test": 1}', *flags) == 0
    assert "test: 1 videos" in capsys.readouterr().out
    found = json.loads((tmp_path / "w" / "settings.json").read_text())
    assert found["seed"] == 7 and found["split_sizes.test"] == 1
    assert found["config.max_action_s"] == 1.2 and found["config.width"] == 64


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--split_sizes", "many"], "split_sizes is 'many'"),
        (["--split_sizes", "[1]"], "expected numbers by split"),
        (["--split_sizes", '{"dev": 1}'], "dev"),
        (["--fps", "0"], "fps is 0"),
    ],
)
def test_the_script_names_what_is_wrong(script, monkeypatch, tmp_path, capsys, arguments, named):
    assert run(script, monkeypatch, "--out", tmp_path / "w", *arguments) == 1
    assert named in capsys.readouterr().err
