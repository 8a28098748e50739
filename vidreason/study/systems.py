"""What studies can be made of. A system, kind of data or producer of guidance becomes known by a line here.

The protocols that they follow are those of `vidreason.study.plugins`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import ConfigError
from ..rs.study import RSStudies
from .folds import GroupsKind
from .places import ManifestKind
from .plugins import DataKind, GuidanceKind, System
from .worlds import WORLDS, ObjectsKind

DEFAULT_SYSTEM = "rs"

SYSTEMS: Mapping[str, System] = {"rs": RSStudies()}

DATA_KINDS: Mapping[str, DataKind] = {
    "manifest": ManifestKind(),
    **WORLDS,
    "leave_one_group_out": GroupsKind(),
}

GUIDANCE_KINDS: Mapping[str, GuidanceKind] = {"objects": ObjectsKind()}
"""Producers that need a synthetic world, which no system may know; a system brings its own."""


def find_system(name: Any, where: str) -> System:
    """A system by its name.

    Args:
        name: Name of the system, as a file or flag gives it.
        where: Place of the name, for messages.

    Raises:
        ConfigError: There is no such system; the message names `where`.
    """
    if name not in SYSTEMS:
        raise ConfigError(f"{where}: system is {name!r}, expected one of {sorted(SYSTEMS)}")
    return SYSTEMS[name]
