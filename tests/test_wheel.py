"""The wheel, installed beside no clone: what is in it, and its commands."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from vidreason.publishing.release import WHEEL_SOURCES

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("vidreason", "modeling_tsvit", "modeling_a2o", "datasets_scripts", "space_app")
BUILDERS = {path.stem.removeprefix("build_").replace("_", "-") for path in ROOT.glob("datasets_scripts/build_*.py")}

# Every command's help, in one process: most of the time goes into importing torch.
ASK_FOR_HELP = """
import contextlib, importlib.metadata, io, json, sys, traceback
sys.path[:] = [path for path in sys.path if path]
distribution, = importlib.metadata.distributions(name="vidreason", path=[sys.argv[1]])
answers = {}
for entry in distribution.entry_points.select(group="console_scripts"):
    sys.argv = [entry.name, "--help"]
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            entry.load()()
    except SystemExit as ended:
        answers[entry.name] = [ended.code or 0, printed.getvalue()]
    except Exception:
        answers[entry.name] = [1, traceback.format_exc()]
places = {name: sys.modules[name].__file__ for name in ("vidreason", "datasets_scripts", "space_app")}
print(json.dumps([places, answers]))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built from a copy: setuptools writes beside the sources, and takes what an earlier build left there."""
    copy = tmp_path_factory.mktemp("sources")
    for name in WHEEL_SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(ROOT / name, copy / name)
    out = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", out, copy)
    (built,) = out.iterdir()
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("installed")
    pip("install", "--no-deps", "--no-index", "--target", folder, wheel)
    return folder


@pytest.fixture(scope="module")
def answers(installed, tmp_path_factory) -> dict[str, tuple[int, str]]:
    """Exit code and text of each command's --help."""
    folder = tmp_path_factory.mktemp("elsewhere")
    finished = run([sys.executable, "-c", ASK_FOR_HELP, installed], installed, folder)
    places, answers = json.loads(finished.stdout.splitlines()[-1])
    assert all(Path(place).is_relative_to(installed) for place in places.values()), places
    return answers


def pip(*arguments: object) -> None:
    command = [sys.executable, "-m", "pip", *map(str, arguments), "--quiet", "--disable-pip-version-check"]
    finished = subprocess.run(command, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr


def run(command: list[object], installed: Path, folder: Path) -> subprocess.CompletedProcess:
    """Run away from the clone, with the installed packages before those that the tests run with."""
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    finished = subprocess.run(list(map(str, command)), cwd=folder, env=environment, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    return finished


def test_it_holds_the_packages_whole_and_nothing_else(wheel):
    """Prompts, templates, prices and the page's files too, which `package-data` may miss."""
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    tracked = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert names == tracked


def test_its_metadata_leads_to_the_project(wheel):
    archive = zipfile.ZipFile(wheel)
    (metadata,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
    text = archive.read(metadata).decode()
    for label in ("Homepage", "Documentation", "Repository", "Changelog", "Issues"):
        assert f"Project-URL: {label}, https://" in text
    assert "Author: The vidreason developers" in text and "License-Expression: Apache-2.0" in text


@pytest.mark.parametrize(
    ("command", "flag"),
    [
        ("train", "--spatial_weight"),
        ("label", "--model"),
        ("study", "tables"),
        ("build", "synthetic-actions"),
        ("pack", "--short_side_px"),
        ("annotate", "--annotator"),
        ("detect", "--classes"),
        ("merge", "--interpolate_fps"),
        ("audit", "--truth"),
        ("audit-detections", "--box_class"),
        ("audit-graphs", "--min_overlap"),
        ("search-objects", "--num_trials"),
        ("publish", "--license"),
        ("release", "--repo_id"),
        ("space", "MODEL_IDS"),
    ],
)
def test_every_command_says_what_it_takes(answers, command, flag):
    code, text = answers[f"vidreason-{command}"]
    assert code == 0, text
    assert flag in text
    assert len(answers) == 15


def test_there_is_a_builder_for_each_script(answers):
    assert BUILDERS and all(f"  {name} " in answers["vidreason-build"][1] for name in BUILDERS)


def test_a_builder_builds(installed, tmp_path):
    script = installed / "bin" / "vidreason-build"
    sizes = ["--train", 12, "--validation", 0, "--test", 0, "--test_shifted", 0, "--num_frames", 6, "--num_proc", 1]
    finished = run([sys.executable, script, "synthetic-actions", "--out", "world", *sizes], installed, tmp_path)
    assert "train: 12 clips" in finished.stdout
    assert (tmp_path / "world" / "manifest.json").is_file()
    told = run([sys.executable, script, "ucf101", "--help"], installed, tmp_path).stdout
    assert told.startswith("usage: vidreason-build ucf101")
