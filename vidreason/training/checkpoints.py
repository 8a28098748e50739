"""Checkpoints that are there whole or not at all, and which of them a run goes on from.

Whether one is whole is read off its files and not off a mark, so that checkpoints of earlier versions are taken too.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import zipfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from safetensors import SafetensorError, safe_open
from transformers import TrainingArguments
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from ..errors import ConfigError, TrainingError

logger = logging.getLogger(__name__)

UNFINISHED = "_unfinished"
"""Folder in `output_dir` where a checkpoint lies until it is whole. The Trainer uploads nothing that begins with _."""

MAX_JSON_BYTES = 2**30
"""Largest JSON file that is read: the state of a run holds its log, some 300 bytes for each entry."""

_STATE = "trainer_state.json"
_OPTIMIZER = ("optimizer.pt", "optimizer.bin")
# torch's own, FSDP's folders and files, adapters, and DeepSpeed's folder, which has the optimizer's state as well
_WEIGHTS = re.compile(
    r"(model|adapter_model)(-\d+-of-\d+)?\.safetensors|pytorch_model.*|adapter_model\.bin|global_step\d+"
)
_TORCH_WRITER = re.compile("PytorchStreamWriter|inline_container|iostream")
_STEP = re.compile(rf"{PREFIX_CHECKPOINT_DIR}-(\d+)")


def list_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in a folder, in the order of their steps; none where there is no folder."""
    entries = list(folder.iterdir()) if folder.is_dir() else []
    return sorted((path for path in entries if _STEP.fullmatch(path.name) and path.is_dir()), key=step_of)


def step_of(checkpoint: Path) -> int:
    """The step that a checkpoint is of, by its name."""
    found = _STEP.fullmatch(checkpoint.name)
    assert found is not None, checkpoint
    return int(found[1])


def find_damage(checkpoint: Path) -> str | None:
    """Why a run cannot go on from a checkpoint; None for one that is whole.

    Looked at are the ends of its files and not all their bytes: what a kill, a full disk or an interrupted copy leaves
    is missing or too short.

    Args:
        checkpoint: Folder of the checkpoint.
    """
    try:
        files = sorted(path for path in checkpoint.iterdir() if path.is_file())
        names = {path.name for path in checkpoint.iterdir()}
        # the Trainer writes it last
        if _STATE not in names:
            return f"it has no {_STATE}"
        if not any(_WEIGHTS.fullmatch(name) for name in names):
            return "it has no weights"
        # both or none: with one of them alone, the Trainer would start both anew without a word
        if any(name in names for name in _OPTIMIZER) and "scheduler.pt" not in names:
            return "it has the state of the optimizer, but no scheduler.pt"
        if "scheduler.pt" in names and not any(name.startswith(("optimizer", "global_step")) for name in names):
            return "it has a scheduler.pt, but no state of the optimizer"
        for path in files:
            _open_file(path)
        # of parallel writers the coordinator writes this last, and each folder of shards has one
        for folder in (path for path in checkpoint.iterdir() if path.is_dir()):
            if any(folder.glob("*.distcp")) and not (folder / ".metadata").is_file():
                return f"{folder.name} has no .metadata"
    except (OSError, ValueError, RecursionError, SafetensorError, zipfile.BadZipFile) as error:
        return _first_line(error)
    return None


def _open_file(path: Path) -> None:
    """Open a file of a checkpoint as its kind is opened, which tells one that is cut short.

    Raises:
        ValueError: It is not whole, and so are the errors of what opens it: OSError, SafetensorError, BadZipFile.
    """
    if path.suffix == ".json":
        content = _read_json(path)
        if path.name == _STATE and not isinstance(content.get("global_step"), int):
            raise ValueError(f"{path.name} has no global_step")
        for shard in sorted(set(content.get("weight_map", {}).values())) if path.name.endswith(".index.json") else ():
            if not (path.parent / shard).is_file():
                raise ValueError(f"{shard} is not there, which {path.name} names")
    elif path.suffix == ".safetensors":
        try:
            with safe_open(path, framework="pt"):  # reads the header, and compares the file's size with it
                pass
        except SafetensorError as error:
            raise ValueError(f"{path.name}: {error}") from error
    elif path.suffix in (".pt", ".pth", ".bin"):
        with path.open("rb") as file:
            is_old_pickle = file.read(1) == b"\x80"  # as torch wrote before 1.6; has no end to look at
        try:
            if not is_old_pickle:
                with zipfile.ZipFile(path):  # whose table of contents is at its end
                    pass
        except zipfile.BadZipFile as error:
            raise ValueError(f"{path.name} is cut short, or none of torch's: {error}") from error


def _read_json(path: Path) -> dict[str, Any]:
    if path.stat().st_size > MAX_JSON_BYTES:
        raise ValueError(f"{path.name} has {path.stat().st_size} bytes, more than {MAX_JSON_BYTES}")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path.name} is not JSON ({_first_line(error)})") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path.name} holds no mapping")
    return content


def checkpoint_to_resume(args: TrainingArguments) -> str | None:
    """The checkpoint to go on from: a path, or the newest whole one in `output_dir` for "true"; None to start anew.

    Args:
        args: Settings of the training, of which `resume_from_checkpoint` says what is wanted.

    Raises:
        ConfigError: There is none where one is asked for, or the one that is named is damaged.
    """
    wanted, output_dir = args.resume_from_checkpoint, Path(str(args.output_dir))
    if not wanted:
        return None
    # `true` is a bool in a recipe and text as a flag
    if str(wanted).lower() != "true":
        if not Path(wanted).is_dir():
            raise ConfigError(f"resume_from_checkpoint names {wanted}, which is not a folder")
        damage = find_damage(Path(wanted))
        if damage is not None:
            raise ConfigError(f"resume_from_checkpoint names {wanted}, which is damaged: {damage}")
        return wanted
    left_out: list[str] = []
    for checkpoint in reversed(list_checkpoints(output_dir)):
        damage = find_damage(checkpoint)
        if damage is None:
            if left_out and args.process_index == 0:
                without = ", ".join(left_out)
                logger.warning("going on from %s, the newest that is whole; left out: %s", checkpoint, without)
            return str(checkpoint)
        left_out.append(f"{checkpoint.name} ({damage})")
    which = f"no checkpoint that is whole: {', '.join(left_out)}" if left_out else "no checkpoint"
    raise ConfigError(f"resume_from_checkpoint is set but {output_dir} holds {which}")


def finish_checkpoint(unfinished: Path, checkpoint: Path) -> None:
    """Give a checkpoint that is written its name, in one step. One of that name is replaced.

    Args:
        unfinished: Folder that it was written into, on the same disk.
        checkpoint: Its name.
    """
    for folder, _, names in os.walk(unfinished):
        for name in names:
            _flush(Path(folder) / name)
        _flush(Path(folder))
    replaced = _set_aside(checkpoint) if checkpoint.exists() else None
    os.replace(unfinished, checkpoint)
    _flush(checkpoint.parent)  # or the name could be lost where the machine stops
    if replaced is not None:
        shutil.rmtree(replaced)


def _flush(path: Path) -> None:
    """Have the disk write what it was given of a file or folder: a name may otherwise be there before its content."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _set_aside(checkpoint: Path) -> Path:
    """Take a checkpoint's name away before its first file is deleted, and return where it is."""
    doomed = checkpoint.parent / UNFINISHED / f"removed-{checkpoint.name}"
    doomed.parent.mkdir(exist_ok=True)
    shutil.rmtree(doomed, ignore_errors=True)
    os.replace(checkpoint, doomed)
    return doomed


def rotate_checkpoints(folder: Path, limit: int | None, kept: Collection[Path]) -> None:
    """Delete checkpoints beyond a number: first those that are damaged, then the oldest.

    Args:
        folder: Folder of the run.
        limit: Largest number of checkpoints that stay; None or 0 keeps all.
        kept: Those that stay in any case: the newest, which is whole, and the best.
    """
    if not limit or limit < 0:
        return
    checkpoints, protected = list_checkpoints(folder), {path.resolve() for path in kept}
    others = [path for path in checkpoints if path.resolve() not in protected]
    surplus = len(checkpoints) - max(limit, len(checkpoints) - len(others))
    if surplus > 0:
        # not by their times, as the Trainer: a damaged one must not drive out the last that is whole
        others.sort(key=lambda path: (find_damage(path) is None, step_of(path)))
        for path in others[:surplus]:
            shutil.rmtree(_set_aside(path))


@contextmanager
def saving(folder: Path) -> Iterator[None]:
    """Name what cannot be saved, such as on a full disk, in one line.

    Args:
        folder: What is saved.

    Raises:
        TrainingError: It cannot be written.
    """
    try:
        yield
    except (OSError, SafetensorError, RuntimeError) as error:
        # torch's writer says so with a RuntimeError, which anything else may raise as well
        if isinstance(error, RuntimeError) and not re.search(
            "PytorchStreamWriter|inline_container|iostream", str(error)
        ):
            raise
        existing = next((path for path in (folder, *folder.parents) if path.is_dir()), Path())
        free = shutil.disk_usage(existing).free
        raise TrainingError(
            f"{folder} cannot be saved: {_first_line(error)} ({free / 2**20:,.0f} MB are free on its disk)"
        ) from error


@contextmanager
def loading(checkpoint: str | None) -> Iterator[None]:
    """Name a checkpoint whose files are whole, and yet cannot be loaded, in one line.

    Args:
        checkpoint: Folder of the checkpoint.

    Raises:
        TrainingError: It cannot be loaded.
    """
    # what garbage raises depends on where in a file it lies
    kinds = (OSError, SafetensorError, RuntimeError, ValueError, LookupError, EOFError, TypeError, UnpicklingError)
    try:
        yield
    except kinds as error:
        raise TrainingError(f"checkpoint {checkpoint} cannot be loaded: {_first_line(error)}") from error


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
