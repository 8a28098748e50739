"""Folders that hold their videos side by side, without folders of classes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ...errors import ManifestError
from ..splits import name_examples


@dataclass(frozen=True)
class FlatVideos:
    """What was found.

    Attributes:
        paths: names of the video files, sorted; each stem once.
        skipped: others of the same stem: path, reason and detail.
        ignored: names of all other files.
    """

    paths: list[str]
    skipped: list[dict[str, str]] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)


def scan_flat_videos(folder: Path, suffixes: Sequence[str], form: str) -> FlatVideos:
    """List the videos of a folder, hidden files apart. No file is opened, and none is looked at twice.

    Args:
        folder: where they are.
        suffixes: of videos, in lower case; of two files of one stem the earlier suffix is taken.
        form: of their names, for messages.

    Raises:
        ManifestError: no such folder, or no video in it.
    """
    if not folder.is_dir():
        raise ManifestError(f"{folder}: no such folder; videos as {form} were expected there")
    rank = {suffix: position for position, suffix in enumerate(suffixes)}
    best: dict[str, str] = {}
    skipped, ignored, folders = [], [], []
    with os.scandir(folder) as entries:
        names = [(entry.name, entry.is_dir()) for entry in entries if not entry.name.startswith(".")]
    for name, is_folder in sorted(names):
        stem, suffix = os.path.splitext(name)
        if is_folder:
            folders.append(name)
        elif suffix.lower() not in rank:
            ignored.append(name)
        elif stem not in best:
            best[stem] = name
        else:
            taken, left = sorted((best[stem], name), key=lambda of: rank[os.path.splitext(of)[1].lower()])
            best[stem] = taken
            skipped.append({"path": left, "reason": "duplicate_id", "detail": f"the same id as {taken}"})
    if not best:
        hint = f", only folders such as {name_examples(folders)}" if folders else ""
        raise ManifestError(f"{folder}: no video as {form} in it{hint}")
    return FlatVideos(sorted(best.values()), skipped, ignored)
