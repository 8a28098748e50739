"""`python -m vidreason.study tables`: every table is rebuilt from the JSON beside it, those that are committed too."""

import shutil
import subprocess
import sys

import pytest
from fixtures.fake_runs import fake_metrics
from fixtures.small_studies import as_version_0_1_0, change_record

from vidreason.errors import ConfigError
from vidreason.study.__main__ import main
from vidreason.study.leave_one_group_out import write_title
from vidreason.study.rebuild import REBUILDERS, rebuild_all
from vidreason.study.records import copy_study

REBUILD = """
import sys
from vidreason.study.__main__ import main

assert main(sys.argv[1:]) == 0
loaded = {"torch", "transformers", "accelerate"} & set(sys.modules)
assert not loaded, loaded
"""


def test_what_is_committed_is_what_the_json_gives(repository, tmp_path):
    committed = repository / "docs" / "results"
    copy = tmp_path / "results"
    shutil.copytree(committed, copy)
    for name in REBUILDERS:  # nothing is left of the pages, so that what is compared was written now
        for marker in copy.rglob(name):
            (marker.parent / "README.md").unlink()
            (marker.parent / "results.csv").unlink(missing_ok=True)
            (marker.parent / "results.json").unlink(missing_ok=True)
    cost = copy / "ssv2_cost"
    (cost / "README.md").unlink()
    folders = rebuild_all(copy)
    page_only = [sys.executable, str(repository / "benchmarks" / "cost.py"), "--page_only", "true", "--out", str(cost)]
    subprocess.run(page_only, check=True, capture_output=True, timeout=120)
    assert copy / "weizmann4" in folders
    compared = {
        path.relative_to(committed): path.read_bytes()
        for path in committed.rglob("*")
        if path.is_file() and path.suffix != ".png"
    }
    rebuilt = {
        path.relative_to(copy): path.read_bytes()
        for path in copy.rglob("*")
        if path.is_file() and path.suffix != ".png"
    }
    changed = [str(path) for path in sorted({*compared, *rebuilt}) if compared.get(path) != rebuilt.get(path)]
    assert changed == [], "rebuild with `python -m vidreason.study tables docs/results`"


def test_rebuilding_needs_no_torch(make_study, write_results, tmp_path, repository):
    study = make_study(plots=[{"kind": "points", "metric": "top1", "group": "share", "series": "guidance"}])
    copy_study(study, tmp_path / "results" / "small")
    write_results(study, tmp_path / "results" / "small", lambda cell, seed, split: 0.5 + 0.1 * seed)
    shutil.copytree(repository / "docs" / "results" / "weizmann4", tmp_path / "results" / "weizmann4")
    command = [sys.executable, "-c", REBUILD, "tables", str(tmp_path / "results")]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.splitlines() == [str(tmp_path / "results" / name) for name in ("small", "weizmann4")]
    assert (tmp_path / "results" / "small" / "plot_1_top1.png").exists()


def test_the_file_that_leaving_one_group_out_leaves_for_rebuilding(repository, tmp_path):
    shutil.copy(repository / "docs" / "results" / "weizmann4" / "records.jsonl", tmp_path)
    write_title(tmp_path, "Some people: four actions")
    rebuild_all(tmp_path)
    assert (tmp_path / "README.md").read_text().startswith("# Some people: four actions\n")


def test_runs_that_nothing_says_of_are_named(tmp_path):
    (tmp_path / "unknown").mkdir()
    (tmp_path / "unknown" / "records.jsonl").touch()
    with pytest.raises(ConfigError, match=r"unknown holds runs, but no study\.yaml"):
        rebuild_all(tmp_path)
    (tmp_path / "unknown" / "records.jsonl").unlink()
    (tmp_path / "unknown" / "runs").mkdir()
    with pytest.raises(ConfigError, match=r"unknown holds runs, but no study\.yaml"):
        rebuild_all(tmp_path)


def test_results_of_version_0_1_0_give_the_same_pages(make_study, write_results, tmp_path):
    study = make_study()
    copy_study(study, tmp_path)
    write_results(study, tmp_path, lambda cell, seed, split: 0.5 + 0.1 * seed)
    rebuild_all(tmp_path)
    before = {name: (tmp_path / name).read_bytes() for name in ("README.md", "results.csv", "results.json")}
    as_version_0_1_0(tmp_path)
    for name in before:
        (tmp_path / name).unlink()
    rebuild_all(tmp_path)
    assert {name: (tmp_path / name).read_bytes() for name in before} == before


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("study.yaml", "kind: survey\n", "kind is 'survey'"),
        ("study.yaml", "kind: leave_one_group_out\n", "has no title"),
        ("study.yaml", "title: A\n", "missing keys"),
        ("faithfulness.json", "{}", "is not a report of deletion"),
    ],
)
def test_results_that_cannot_be_rebuilt_are_named(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError, match=message):
        rebuild_all(tmp_path)
    assert not (tmp_path / "README.md").exists()


def test_a_mistake_on_the_command_line_is_one_line(tmp_path, capsys):
    assert main(["tables", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith(f"error: {tmp_path} holds none of study.yaml")
    assert main(["tables", str(tmp_path / "nowhere")]) == 1
    assert capsys.readouterr().err == f"error: {tmp_path / 'nowhere'} is no folder\n"
    assert main(["run", "none.yaml", "--out", str(tmp_path)]) == 1
    assert capsys.readouterr().err == "error: none.yaml does not exist\n"


def test_half_written_results_leave_the_tables_as_they_are(make_study, write_results, tmp_path, capsys):
    study = make_study()
    copy_study(study, tmp_path / "out")
    write_results(study, tmp_path / "out", lambda cell, seed, split: 0.5)
    assert main(["tables", str(tmp_path / "out")]) == 0
    before = (tmp_path / "out" / "README.md").read_bytes()
    change_record(tmp_path / "out", "none-unused-50-seed0", metrics={"test": fake_metrics(0.9)}, study="other")
    assert main(["tables", str(tmp_path / "out")]) == 1
    assert str(tmp_path / "out" / "records.jsonl") in capsys.readouterr().err
    assert (tmp_path / "out" / "README.md").read_bytes() == before
