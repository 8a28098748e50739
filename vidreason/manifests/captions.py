"""Sentences about videos, beside a manifest: what Something-Something's people said they did, objects and all.

`captions.jsonl` in the manifest's folder has a line per video: `video_id`, `split`, `caption` (the filled-in
sentence), `template` (the sentence with its gaps) and `placeholders` (what fills the gaps).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..errors import ManifestError

CAPTIONS_FILE = "captions.jsonl"

_FIELDS = ("video_id", "split", "caption", "template", "placeholders")


def write_captions(folder: str | os.PathLike, rows: Iterable[Mapping[str, Any]]) -> int:
    """Write the captions of a manifest's videos and return how many there were.

    The file appears under its name only when it is whole.

    Args:
        folder: Folder of the manifest.
        rows: Rows with video_id, split, caption, template and placeholders.
    """
    path = Path(folder) / CAPTIONS_FILE
    # 220,000 lines take a while, and half a file would be read as a whole one
    partial = path.with_suffix(".partial")
    count = 0
    with partial.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps({name: row[name] for name in _FIELDS}, ensure_ascii=False) + "\n")
            count += 1
    os.replace(partial, path)
    return count


def read_captions(folder: str | os.PathLike) -> dict[str, str]:
    """Video id -> the filled-in sentence, for the videos of a manifest that have one.

    Args:
        folder: Folder of the manifest.

    Raises:
        ManifestError: there are no captions, or a line is not one.
    """
    path = Path(folder) / CAPTIONS_FILE
    if not path.is_file():
        raise ManifestError(f"{folder}: no {CAPTIONS_FILE} in it; this manifest has no captions")
    captions: dict[str, str] = {}
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            try:
                row = json.loads(line)
                captions[row["video_id"]] = row["caption"]
            except (ValueError, KeyError, TypeError) as error:
                problem = f"{type(error).__name__}: {error}"
                raise ManifestError(f"{path}: line {number} is not a caption ({problem})") from error
    return captions
