"""What `release/` holds, as far as the demo uses it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ConfigError

RELEASED = ("plain", "rs", "rs_evidence")
"""Folders of the three classifiers: plain training, the paper's method, and ours."""


@dataclass(frozen=True)
class Release:
    """The released models and what is recorded of them.

    Args:
        folder: Folder of the release.
        models: Name -> what `release.json` says of it: how it was trained, and what came out.
    """

    folder: Path
    models: Mapping[str, Any]


def read_release(folder: Path) -> Release:
    """Read the record of a release, and see that its classifiers are there.

    Args:
        folder: Folder that holds `release.json` and a folder for each model.

    Raises:
        ConfigError: The record or a model is not there, or cannot be read.
    """
    path = folder / "release.json"
    try:
        models = json.loads(path.read_text(encoding="utf-8"))["models"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} cannot be read ({type(error).__name__}: {error}); name a release folder") from error
    missing = [name for name in RELEASED if name not in models or not (folder / name / "config.json").is_file()]
    if missing:
        raise ConfigError(f"{folder}: the released models {missing} are not there")
    return Release(folder, models)
