"""The folder of a rendered data set: what can be asked for, whether it is finished, how it is begun and ended."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from ..files import write_whole
from ..manifests.manifest import Manifest, load_manifest
from .seeds import SPLITS

logger = logging.getLogger(__name__)

TRUTH_FOLDER, VIDEO_FOLDER = "truth", "videos"
SETTINGS_FILE, UNFINISHED_FILE = "settings.json", "settings.unfinished.json"

OWN_ENTRIES = (VIDEO_FOLDER, TRUTH_FOLDER, "data", "README.md", "manifest.json", "skipped.jsonl", UNFINISHED_FILE)


def read_split_sizes(text: str, example: Mapping[str, int]) -> dict[str, int]:
    """Split sizes as a command line gives them, as JSON.

    Args:
        text: JSON, such as `{"train": 30, "test": 10}`.
        example: What the error shows.

    Raises:
        ConfigError: It is not JSON, or no mapping.
    """
    try:
        sizes = json.loads(text)
    except ValueError as error:
        raise ConfigError(f"split_sizes is {text!r}, expected JSON such as {dict(example)} ({error})") from error
    if not isinstance(sizes, dict):
        raise ConfigError(f"split_sizes is {text!r}, expected numbers by split")
    return sizes


def check_request(split_sizes: Mapping[str, int], seed: int, num_proc: int) -> None:
    """Raise `ConfigError` where no data set can be made of these."""
    unknown = sorted(set(split_sizes) - set(SPLITS))
    if unknown or not split_sizes:
        raise ConfigError(f"split sizes name {unknown or 'no split'}, expected some of {SPLITS}")
    for split, size in split_sizes.items():
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise ConfigError(f"split {split!r} has the size {size!r}, expected a whole number from 1")
    if seed < 0:
        raise ConfigError(f"seed is {seed}, expected zero or more")
    if num_proc < 1:
        raise ConfigError(f"num_proc is {num_proc}, expected at least 1")


def request_settings(config: Any, split_sizes: Mapping[str, int], seed: int) -> dict[str, Any]:
    """What the settings of every world have: seed, sizes, and the fields of its configuration, a dataclass."""
    return {
        "seed": seed,
        **{f"split_sizes.{split}": size for split, size in split_sizes.items()},
        **{f"config.{name}": value for name, value in asdict(config).items()},
    }


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
    # by name, so that the error says which setting differs
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
    # only a folder that a build has begun may be emptied: anything else could be a user's own files
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
    write_whole(folder / UNFINISHED_FILE, json.dumps(settings, indent=2) + "\n")


def build_world(
    folder: Path,
    settings: dict[str, Any],
    build: Callable[[], Manifest],
    overwrite: bool = False,
    own_entries: Sequence[str] = OWN_ENTRIES,
) -> Manifest:
    """The manifest of a data set: of the one that is there, where it is complete and has the same settings.

    Args:
        folder: Folder of the data set.
        settings: All that decides what is in it.
        build: Writes everything into the folder, which is ready for it, and gives the manifest.
        overwrite: Whether a data set of this kind that is there is built anew.
        own_entries: Names of what a build leaves in the folder.

    Raises:
        ConfigError: The folder was built with other settings, or holds other files.
    """
    if not overwrite and is_complete(folder, settings):
        logger.info("%s is there already, with the same settings", folder)
        return load_manifest(folder)
    prepare_folder(folder, settings, own_entries)
    manifest = build()
    # last of all, so that a build that was broken off is begun anew
    mark_complete(folder)
    return manifest


def mark_complete(folder: Path) -> None:
    """Say that everything is there; `is_complete` finds the folder from now on."""
    os.replace(folder / UNFINISHED_FILE, folder / SETTINGS_FILE)
