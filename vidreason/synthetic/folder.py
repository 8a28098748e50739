"""The folder of a rendered data set: whether it is finished, how it is begun, and the processes that fill it."""

from __future__ import annotations

import json
import multiprocessing
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import ConfigError

TRUTH_FOLDER, VIDEO_FOLDER = "truth", "videos"
SETTINGS_FILE, UNFINISHED_FILE = "settings.json", "settings.unfinished.json"

OWN_ENTRIES = (VIDEO_FOLDER, TRUTH_FOLDER, "data", "README.md", "manifest.json", "skipped.jsonl", UNFINISHED_FILE)


@contextmanager
def mapped_jobs(function: Callable, jobs: Sequence, num_proc: int, chunk_size: int = 4) -> Iterator[Iterator]:
    """The results of the jobs, in their order."""
    if num_proc == 1:
        yield map(function, jobs)
        return
    # spawned and not forked: the caller may hold threads of torch or of a progress bar, which a fork does not survive
    # an executor and not a Pool, which would start a worker that cannot start again and again, without an end
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(num_proc, len(jobs)), mp_context=context) as pool:
        yield pool.map(function, jobs, chunksize=chunk_size)


def is_complete(folder: Path, settings: dict[str, Any]) -> bool:
    """Whether a finished data set with these settings is there.

    Raises:
        ConfigError: one with other settings is.
    """
    path = folder / SETTINGS_FILE
    if not path.is_file():
        return False
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"{path} is not readable ({error}); pass overwrite to build anew") from error
    names = sorted(name for name in {*found, *settings} if found.get(name) != settings.get(name))
    if names:
        changes = ", ".join(f"{name} is {found.get(name)} and not {settings.get(name)}" for name in names)
        raise ConfigError(f"{folder} was built with other settings: {changes}; choose another folder or overwrite")
    return True


def prepare_folder(folder: Path, settings: dict[str, Any], own_entries: Sequence[str] = OWN_ENTRIES) -> None:
    """Make the folder ready, without what an earlier build left there, and mark it as unfinished.

    Raises:
        ConfigError: it is a file, or holds files that no build made.
    """
    started = (folder / SETTINGS_FILE).is_file() or (folder / UNFINISHED_FILE).is_file()
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file, expected a folder")
    if folder.is_dir() and any(folder.iterdir()) and not started:
        raise ConfigError(f"{folder} is not empty and was not built by this library; choose another folder")
    for name in (SETTINGS_FILE, *own_entries) if started else ():
        path = folder / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / UNFINISHED_FILE).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
