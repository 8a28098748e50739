"""The results of a study on disk: a copy of the study file and its recipe, and one file with the records of its runs.

`records.jsonl` has one record a line, sorted by the names of the runs. It is written whole, under a lock: a process
that is killed leaves the file as it was before or as it is after, and of several that finish at once none loses a
record.
Version 0.1.0 had a JSON file for each run under `runs/`, which are still read.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock

from ..errors import ConfigError
from ..files import write_whole
from .design import RunPlan, Study
from .study_file import GROUPS_KIND, STUDY_FILE, read_yaml

RUN_KIND = "vidreason study run"
RECORDS_FILE = "records.jsonl"
RUNS_FOLDER = "runs"
"""Where version 0.1.0 kept a file for each run."""

_LOCK_SUFFIX = ".lock"
_PARTIAL_SUFFIX = ".partial"

_FIELDS = ("kind", "study", "run", "values", "seed", "settings", "settings_sha256", "metrics")


class StoredRecord(NamedTuple):
    """A record and where it was found.

    Args:
        name: Name of the run.
        where: File, and line where it has several, for messages.
        record: The record as plain data.
    """

    name: str
    where: str
    record: dict[str, Any]


def settings_sha256(settings: dict[str, Any]) -> str:
    """A hash that stays the same however keys are ordered."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode("utf-8")).hexdigest()


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


def record_name(record: Mapping[str, Any]) -> str | None:
    """The name of a record's run, of a study or of leaving one group out; None where it has none."""
    if "run" in record:
        return str(record["run"])
    if {"recipe", "group", "seed"} <= set(record):
        return f"{record['recipe']}-{record['group']}-seed{record['seed']}"
    return None


def has_records(folder: Path) -> bool:
    """Whether a folder holds results of runs, in the form of this version or of 0.1.0."""
    runs = folder / RUNS_FOLDER
    return (folder / RECORDS_FILE).exists() or (runs.is_dir() and any(runs.iterdir()))


def find_results(folder: Path) -> list[Path]:
    """The folders of results at and below a folder, sorted."""
    of_files = {path.parent for path in folder.rglob(RECORDS_FILE)}
    return sorted(of_files | {path.parent for path in folder.rglob(RUNS_FOLDER) if path.is_dir()})


def read_records(folder: Path) -> list[StoredRecord]:
    """All records of a folder of results, sorted by the names of their runs.

    Raises:
        ConfigError: A record is broken, half-written or there twice, or `runs/` holds a file that is no record.
    """
    return _sorted([*_read_lines(folder / RECORDS_FILE), *_read_files(folder / RUNS_FOLDER)])


def _sorted(records: Iterable[StoredRecord]) -> list[StoredRecord]:
    """Records by the names of their runs, each of which may be there once."""
    found: dict[str, StoredRecord] = {}
    for stored in records:
        if stored.name in found:
            raise ConfigError(f"{stored.where} is of a run that {found[stored.name].where} is of; remove one of them")
        found[stored.name] = stored
    return [found[name] for name in sorted(found)]


def _read_lines(path: Path) -> Iterator[StoredRecord]:
    if not path.exists():
        return
    # not splitlines(), which also breaks at characters that JSON allows inside a text
    for number, line in enumerate(path.read_bytes().split(b"\n"), start=1):
        if line.strip():
            where = f"{path}, line {number}"
            record = _parse(line, where)
            name = record_name(record)
            if name is None:
                raise ConfigError(f"{where} is no record of a run")
            yield StoredRecord(name, where, record)


def _read_files(folder: Path) -> Iterator[StoredRecord]:
    """The files of version 0.1.0, each named by its run."""
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.suffix == _PARTIAL_SUFFIX:
            raise ConfigError(f"{path} is half-written: its run was killed; remove it, and the run is made again")
        if path.suffix != ".json":
            raise ConfigError(f"{path} is no record of a run")
        yield StoredRecord(path.stem, str(path), _parse(path.read_bytes(), str(path)))


def _parse(content: bytes, where: str) -> dict[str, Any]:
    try:
        record = json.loads(content.decode("utf-8"))
    except ValueError as error:
        raise ConfigError(f"{where} is broken ({error}); remove it, and the run is made again") from None
    if not isinstance(record, dict):
        raise ConfigError(f"{where} is no record of a run")
    return record


def add_record(folder: Path, record: dict[str, Any]) -> None:
    """Add the record of a run to the results, in one step.

    Args:
        folder: Folder of the results; it is made where it does not exist.
        record: The record; its numbers have to be finite, since JSON has no others.

    Raises:
        ConfigError: There is a record of this run already, or the results are not usable.
    """
    name = record_name(record)
    if name is None:
        raise ConfigError("a record needs the name of its run, or recipe, group and seed")
    json.dumps(record, allow_nan=False)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / RECORDS_FILE
    with FileLock(path.with_name(path.name + _LOCK_SUFFIX)):
        lines = list(_read_lines(path))
        for stored in (*lines, *_read_files(folder / RUNS_FOLDER)):
            if stored.name == name:
                raise ConfigError(f"{stored.where} has appeared while the run {name} was made; it is not overwritten")
        _write_lines(path, [one.record for one in _sorted([*lines, StoredRecord(name, "the new record", record)])])


def _write_lines(path: Path, records: list[dict[str, Any]]) -> None:
    """Write records under the file's name in one step that also outlives a machine that loses its power."""
    text = "".join(json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n" for record in records)
    partial = path.with_name(path.name + _PARTIAL_SUFFIX)  # of a killed process, it is written anew: we hold the lock
    with partial.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def check_record(stored: StoredRecord, run: RunPlan) -> dict[str, Any]:
    """A record that has to be that of a planned run.

    Raises:
        ConfigError: It is none of a study, or belongs to another study or to other settings.
    """
    record = _of_a_study(stored)
    where = stored.where
    if record["study"] != run.study:
        raise ConfigError(f"{where} is of the study {record['study']!r}, not of {run.study!r}")
    if (record["run"], record["values"], record["seed"]) != (run.name, run.values, run.seed):
        raise ConfigError(f"{where} is the record of {record['run']!r}, not of the run that its name says")
    found, expected = record["settings"], run.settings
    if record["settings_sha256"] != settings_sha256(expected):
        raise ConfigError(f"{where} was made with other settings: {_difference(found, expected)}")
    return record


def _of_a_study(stored: StoredRecord) -> dict[str, Any]:
    """The record of a study's run.

    Raises:
        ConfigError: It is none, or its settings were changed.
    """
    record = stored.record
    if any(name not in record for name in _FIELDS) or record["kind"] != RUN_KIND:
        raise ConfigError(f"{stored.where} is no record of a study's run")
    if settings_sha256(record["settings"]) != record["settings_sha256"]:
        raise ConfigError(f"{stored.where} was changed by hand: its settings do not give its settings_sha256")
    return record


def reusable_records(folder: Path, out: Path) -> dict[str, dict[str, Any]]:
    """What other studies have made, by the hash of the settings: equal settings and seed make equal runs.

    Args:
        folder: Folder of the results of one or many studies. Runs of leaving one group out have other records, and
            are left out.
        out: Folder of the study that wants them; its own are left out.

    Raises:
        ConfigError: `folder` is not there, or a record in it is broken.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder} is no folder of results to reuse")
    places = [place for place in find_results(folder) if place.resolve() != out.resolve()]
    studies = [place for place in places if not _leaves_groups_out(place)]
    records = [_of_a_study(stored) for place in studies for stored in read_records(place)]
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


def read_results(study: Study, out: Path) -> dict[str, dict[str, Any]]:
    """The records of all runs that were made, by name.

    Args:
        study: The study that the results have to be of.
        out: Folder of the results.

    Raises:
        ConfigError: A record is half-written, broken, or none of this study's.
    """
    planned = {run.name: run for run in study.runs()}
    records = {}
    for stored in read_records(out):
        run = planned.get(stored.name)
        if run is None:
            raise ConfigError(f"{stored.where} is no run of the study {study.name!r} as {study.path} describes it")
        records[run.name] = check_record(stored, run)
    return records


def copy_study(study: Study, out: Path) -> None:
    """Put the study file and its recipe beside the results, so that tables can be rebuilt from the folder alone.

    Args:
        study: The study.
        out: Folder of the results; it is made where it does not exist.

    Raises:
        ConfigError: The folder holds another study.
    """
    copy = out / STUDY_FILE
    if copy.exists() and read_yaml(copy).get("name") != study.name:
        raise ConfigError(f"{copy} is of another study than {study.path}; choose another folder for the results")
    if not copy.exists() and has_records(out):
        raise ConfigError(f"{out} holds results but no {STUDY_FILE} says of what; choose another folder")
    out.mkdir(parents=True, exist_ok=True)
    for source, target in ((study.path, copy), (study.recipe_path, out / study.recipe_path.name)):
        if source.resolve() != target.resolve():
            write_whole(target, source.read_text(encoding="utf-8"))  # runs of one study may start at the same time
