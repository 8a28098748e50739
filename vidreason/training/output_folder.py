"""The folder of a run: one run at a time writes into it, and none among the checkpoints of another."""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from transformers import TrainingArguments

from ..errors import ConfigError
from ..files import take_lock, write_whole
from .checkpoints import UNFINISHED, list_checkpoints, read_json_mapping

logger = logging.getLogger(__name__)

# what begins with _ is not uploaded by the Trainer
LOCK_FILE = "_run.lock"
SETTINGS_FILE = "_run.json"
"""The settings of the run that wrote here last."""

_WITHOUT_EFFECT = (
    *("output_dir", "resume_from_checkpoint", "disable_tqdm", "report_to", "run_name", "project"),
    *("logging_", "log_", "dataloader_", "save_", "push_to_hub", "hub_", "trackio_"),
)
"""Beginnings of the names of `TrainingArguments` that do not change what is trained."""


def training_settings(args: TrainingArguments) -> dict[str, Any]:
    """The settings of a training that change what comes of it."""
    return {name: value for name, value in args.to_dict().items() if not name.startswith(_WITHOUT_EFFECT)}


@contextmanager
def claimed_output_folder(args: TrainingArguments, settings: Mapping[str, Any], resumes: bool) -> Iterator[None]:
    """Make a run's folder, and keep other runs out of it for as long as this one lasts.

    One process of a run does so for all. A folder that was made here is removed again where nothing came of the run.

    Args:
        args: Settings of the training, with its `output_dir`.
        settings: All settings of the run, to tell it from another.
        resumes: Whether the run goes on from a checkpoint.

    Raises:
        ConfigError: The folder cannot be written, another run is writing into it, or it holds the checkpoints of a run
            with other settings and this one does not go on from a checkpoint.
    """
    if args.process_index != 0:
        yield
        return
    folder = Path(str(args.output_dir))
    is_new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        busy = f"another run is writing into output_dir {folder}: wait for its end, or name another folder"
        lock = take_lock(folder / LOCK_FILE, busy)
    except OSError as error:
        raise ConfigError(f"output_dir {folder} cannot be written: {error.strerror or error}") from error
    try:
        own = json.loads(json.dumps(dict(settings), default=str))  # as they are when they are read again
        if not resumes:
            _check_checkpoints(folder, own)
        try:
            _remove_unfinished(folder)
            write_whole(folder / SETTINGS_FILE, json.dumps(own, indent=1, sort_keys=True) + "\n")
        except OSError as error:
            raise ConfigError(f"output_dir {folder} cannot be written: {error.strerror or error}") from error
        yield
    except BaseException:
        if is_new:
            _remove_if_empty(folder)
        raise
    finally:
        if lock is not None:
            lock.release()


def _check_checkpoints(folder: Path, settings: dict[str, Any]) -> None:
    """Refuse a folder whose checkpoints are of a run with other settings, or of one that left no settings."""
    checkpoints = list_checkpoints(folder)
    if not checkpoints:
        return
    try:
        earlier = read_json_mapping(folder / SETTINGS_FILE)
    except (OSError, ValueError):  # none: of 0.1.0, or damaged
        reason = "those of an earlier run"
    else:
        other = sorted(name for name in {*earlier, *settings} if earlier.get(name) != settings.get(name))
        if not other:
            logger.warning("%s: checkpoints of an earlier run with the same settings are replaced", folder)
            return
        reason = f"those of a run with another {', '.join(other[:5])}{', ...' if len(other) > 5 else ''}"
    raise ConfigError(
        f"output_dir {folder} holds checkpoints ({checkpoints[-1].name} the last), {reason}: go on from them with "
        "--resume_from_checkpoint true, name another output_dir, or delete them"
    )


def _remove_unfinished(folder: Path) -> None:
    """Delete what a run that was stopped had not finished writing."""
    unfinished = folder / UNFINISHED
    if not unfinished.is_dir():
        return
    left = sorted(path.name for path in unfinished.iterdir())
    if left:
        logger.warning("%s: deleted what an earlier run had not finished writing: %s", folder, ", ".join(left))
    shutil.rmtree(unfinished)


def _remove_if_empty(folder: Path) -> None:
    """Remove a folder that holds nothing but the files of this module."""
    if {path.name for path in folder.iterdir()} <= {LOCK_FILE, SETTINGS_FILE}:
        with contextlib.suppress(OSError):
            shutil.rmtree(folder)
