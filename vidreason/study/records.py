"""The results of a study on disk: a copy of the study file and its recipe, and one JSON for each run under `runs/`."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from ..files import write_whole
from .design import RunPlan, Study
from .study_file import GROUPS_KIND, STUDY_FILE, read_yaml

RUN_KIND = "vidreason study run"
RUNS_FOLDER = "runs"
PARTIAL_SUFFIX = ".partial"

_FIELDS = ("kind", "study", "run", "values", "seed", "settings", "settings_sha256", "metrics")


def settings_sha256(settings: dict[str, Any]) -> str:
    """A hash that stays the same however keys are ordered."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode("utf-8")).hexdigest()


def record_path(out: Path, run: RunPlan) -> Path:
    """Where the JSON of a run lies."""
    return out / RUNS_FOLDER / f"{run.name}.json"


def new_record(run: RunPlan, metrics: dict[str, dict[str, float | None]], **facts: Any) -> dict[str, Any]:
    """The record of a run: which it is, its settings and their hash, its metrics, and further facts."""
    settings = run.settings
    return {
        "kind": RUN_KIND,
        "study": run.study,
        "run": run.name,
        "values": run.values,
        "seed": run.seed,
        "metrics": metrics,
        **facts,
        "settings_sha256": settings_sha256(settings),
        "settings": settings,
    }


def write_record(path: Path, record: dict[str, Any]) -> None:
    """Write a record under its name in one step, so that a run that is killed leaves no half result there.

    Raises:
        ConfigError: there is one already.
    """
    if path.exists():
        raise ConfigError(f"{path} has appeared while this run was made; it is not overwritten")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + PARTIAL_SUFFIX)
    text = json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    with partial.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def read_record(path: Path, run: RunPlan) -> dict[str, Any]:
    """The record of a planned run.

    Raises:
        ConfigError: the file is broken, or belongs to another study or to other settings.
    """
    record = _read_any(path)
    if record["study"] != run.study:
        raise ConfigError(f"{path} is of the study {record['study']!r}, not of {run.study!r}")
    if (record["run"], record["values"], record["seed"]) != (run.name, run.values, run.seed):
        raise ConfigError(f"{path} is the record of {record['run']!r}, not of the run that its name says")
    found, expected = record["settings"], run.settings
    if record["settings_sha256"] != settings_sha256(expected):
        raise ConfigError(f"{path} was made with other settings: {_difference(found, expected)}")
    return record


def _read_any(path: Path) -> dict[str, Any]:
    """A record of whatever run.

    Raises:
        ConfigError: the file is broken, is no record, or its settings were changed.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise ConfigError(f"{path} is broken ({error}); remove it, and the run is made again") from None
    if not isinstance(record, dict) or any(name not in record for name in _FIELDS) or record["kind"] != RUN_KIND:
        raise ConfigError(f"{path} is no record of a study's run")
    if settings_sha256(record["settings"]) != record["settings_sha256"]:
        raise ConfigError(f"{path} was changed by hand: its settings do not give its settings_sha256")
    return record


def reusable_records(folder: Path, out: Path) -> dict[str, dict[str, Any]]:
    """What other studies have made, by the hash of the settings: equal settings and seed make equal runs.

    Args:
        folder: of the results of one or many studies. Runs of leaving one group out have other records, and are
            left out.
        out: of the study that wants them; its own are left out.

    Raises:
        ConfigError: `folder` is not there, or a record in it is broken.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder} is no folder of results to reuse")
    places = [place.parent for place in sorted(folder.rglob(RUNS_FOLDER)) if place.parent.resolve() != out.resolve()]
    studies = [place for place in places if not _leaves_groups_out(place)]
    records = [_read_any(path) for place in studies for path in sorted((place / RUNS_FOLDER).glob("*.json"))]
    # those that a study has made itself win over those that it has from another
    records.sort(key=lambda record: "reused_from" not in record)
    return {record["settings_sha256"]: record for record in records}


def _leaves_groups_out(place: Path) -> bool:
    study = place / STUDY_FILE
    return study.exists() and read_yaml(study).get("kind") == GROUPS_KIND


def as_reused(record: dict[str, Any], run: RunPlan) -> dict[str, Any]:
    """A record of another study as that of a run with the same settings, saying whose it is."""
    origin = record.get("reused_from") or {"study": record["study"], "run": record["run"]}
    named = {**record, "study": run.study, "run": run.name, "values": run.values}
    return {**named, "reused_from": origin}


def _difference(found: dict[str, Any], expected: dict[str, Any]) -> str:
    """The settings that differ, in words."""
    found, expected = _flat(found), _flat(expected)
    names = sorted(name for name in {**found, **expected} if found.get(name) != expected.get(name))
    return ", ".join(f"{name} is {found.get(name)!r}, not {expected.get(name)!r}" for name in names[:5])


def _flat(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat


def read_results(
    study: Study, out: Path, is_being_written: Callable[[RunPlan], bool] = lambda run: False
) -> dict[str, dict[str, Any]]:
    """The records of all runs that were made, by name.

    Args:
        study: that the results have to be of.
        out: their folder.
        is_being_written: whether another process is at work on a run that has a half-written record.

    Raises:
        ConfigError: a file in the folder of runs is half-written, broken, or none of this study's.
    """
    planned = {run.name: run for run in study.runs()}
    records = {}
    folder = out / RUNS_FOLDER
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        run = planned.get(path.name.removesuffix(PARTIAL_SUFFIX).removesuffix(".json"))
        if run is None or path.suffix not in (".json", PARTIAL_SUFFIX):
            raise ConfigError(f"{path} is no run of the study {study.name!r} as {study.path} describes it")
        if path.suffix == ".json":
            records[run.name] = read_record(path, run)
        elif not is_being_written(run) and path.exists():
            raise ConfigError(f"{path} is half-written: its run was killed; remove it, and the run is made again")
    return records


def copy_study(study: Study, out: Path) -> None:
    """Put the study file and its recipe beside the results, so that tables can be rebuilt from the folder alone.

    Raises:
        ConfigError: the folder holds another study.
    """
    copy = out / STUDY_FILE
    if copy.exists() and read_yaml(copy).get("name") != study.name:
        raise ConfigError(f"{copy} is of another study than {study.path}; choose another folder for the results")
    if not copy.exists() and (out / RUNS_FOLDER).is_dir() and any((out / RUNS_FOLDER).iterdir()):
        raise ConfigError(f"{out / RUNS_FOLDER} holds results but no {STUDY_FILE} says of what; choose another folder")
    out.mkdir(parents=True, exist_ok=True)
    for source, target in ((study.path, copy), (study.recipe_path, out / study.recipe_path.name)):
        if source.resolve() != target.resolve():
            write_whole(target, source.read_text(encoding="utf-8"))  # runs of one study may start at the same time
