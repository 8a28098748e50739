"""Folders that several processes of a study want: each is made once, and named by a hash of what it is made of."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from filelock import FileLock


def made_once(folder: Path, write: Callable[[Path], Any]) -> Path:
    """A folder that is there whole or not at all, made by one process while others wait.

    Args:
        folder: Where it is to lie.
        write: Writes it into the folder that it is given.

    Returns:
        `folder`.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    # the lock is the operating system's, so that it ends with its process, however that ends
    with FileLock(folder.with_name(folder.name + ".lock")):
        if not folder.is_dir():
            unfinished = folder.with_name(folder.name + ".unfinished")
            shutil.rmtree(unfinished, ignore_errors=True)  # of a process that was killed
            write(unfinished)
            os.replace(unfinished, folder)
    return folder


def digest(value: Any) -> str:
    """Ten hexadecimal digits that stand for plain data, however its keys are ordered."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=list).encode("utf-8")).hexdigest()[:10]
