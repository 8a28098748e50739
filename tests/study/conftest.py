"""Small studies, and results that are made up."""

from pathlib import Path

import fake_runs
import matplotlib.figure
import pytest
from small_studies import write_study

from vidreason.study.records import record_path, write_record
from vidreason.study.runner import RunnerSettings
from vidreason.study.study_file import load_study


@pytest.fixture
def make_study(tmp_path):
    """Writes and reads a study file, with settings added to its recipe and keys changed (None leaves one out)."""

    def make(settings: dict | None = None, /, **changes):
        return load_study(write_study(tmp_path / "study", changes, settings))

    return make


@pytest.fixture
def make_settings(tmp_path):
    """How a study is run: without training, unless another `execute` is given."""

    def make(**changes) -> RunnerSettings:
        settings = {"out": tmp_path / "out", "work": tmp_path / "work", "execute": fake_runs.fake_run}
        return RunnerSettings(**{**settings, **changes})

    return make


@pytest.fixture
def write_results():
    """Writes the records of all runs of a study; `value` gives the top-1 accuracy from (cell's name, seed, split)."""

    def write(study, out: Path, value, leave_out=()):
        for run in study.runs():
            if run.name in leave_out:
                continue
            cell = run.name.rsplit("-", 1)[0]
            metrics = {split: fake_runs.fake_metrics(value(cell, run.seed, split)) for split in study.splits}
            write_record(record_path(out, run), fake_runs.fake_record(run, metrics))

    return write


@pytest.fixture
def drawn(monkeypatch):
    """The figures that are saved, to look into."""
    figures, savefig = [], matplotlib.figure.Figure.savefig

    def keep(figure, *args, **kwargs):
        figures.append(figure)
        return savefig(figure, *args, **kwargs)

    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", keep)
    return figures
