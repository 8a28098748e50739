"""Text files that are there whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path


def write_whole(path: str | os.PathLike, text: str) -> None:
    """Write a UTF-8 file under its name in one step.

    A process that is killed leaves no half file there, and of several that write the same file at once the last to
    finish wins: each has a file of its own until then.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
