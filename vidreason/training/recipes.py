"""Settings that come in YAML, in JSON, or under the name of a method.

Loads no torch: a study reads its methods before a worker process is given its GPU.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from ..errors import ConfigError


def method_settings(name: str | None, methods: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The settings of a named method; none for None.

    Raises:
        ConfigError: There is no such method.
    """
    if name is None:
        return {}
    if name not in methods:
        raise ConfigError(f"method is {name!r}, expected one of {sorted(methods)}")
    return dict(methods[name])  # a copy: all runs of a process share the table of methods


def read_mapping(value: dict | str | None, name: str) -> dict[str, Any]:
    """A mapping that may have come as JSON from the command line.

    Args:
        value: The mapping, or JSON of one; None is an empty one.
        name: Name of the setting, for the message.

    Raises:
        ConfigError: It is neither.
    """
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except json.JSONDecodeError as error:
            raise ConfigError(f"{name} is not valid JSON ({error}): {value!r}") from None
    # valid JSON may still be a list or a number
    if value is not None and not isinstance(value, dict):
        raise ConfigError(f"{name} is {value!r}, expected a mapping")
    return dict(value or {})


def read_recipe(path: str) -> dict[str, Any]:
    """The settings of a YAML recipe.

    Raises:
        ConfigError: It is not there, or is no mapping.
    """
    if not Path(path).is_file():
        raise ConfigError(f"recipe {path} does not exist")
    try:
        # safe_load: an unsafe loader lets a recipe construct any Python object, and so run code
        recipe = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ConfigError(f"recipe {path} is not valid YAML: {error}") from None
    # an empty file loads as None, a line without a colon as text
    if not isinstance(recipe, dict):
        raise ConfigError(f"recipe {path} holds {type(recipe).__name__}, expected settings as `name: value`")
    return recipe
