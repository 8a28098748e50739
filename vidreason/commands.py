"""Commands of the whole: what `train.py` and the scripts of the wheel run, above every room."""

from __future__ import annotations

import logging
import sys
from types import ModuleType

from .a2o import methods as a2o_methods
from .a2o import run as a2o_run
from .command_line import end_with_status
from .errors import ConfigError
from .rs import methods as rs_methods
from .rs import run as rs_run
from .training.arguments import named_setting
from .videoqa.training import methods as videoqa_methods
from .videoqa.training import run as videoqa_run

SYSTEMS: dict[str, ModuleType] = {
    **dict.fromkeys(rs_methods.METHODS, rs_run),
    **dict.fromkeys(a2o_methods.METHODS, a2o_run),
    **dict.fromkeys(videoqa_methods.METHODS, videoqa_run),
}
"""Name of a method -> the module of its system, which has `parse_arguments` and `run_training`."""

TASKS: dict[str, ModuleType] = {videoqa_methods.TASK: videoqa_run}
"""Name of a task -> the module of its system, of tasks that are found without a method."""


def train() -> int:
    """Train by the command line's recipe and flags; a mistake in them or in the data ends with one line.

    Returns:
        What the process should exit with.
    """
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    return end_with_status(_train)


def find_system(arguments: list[str]) -> ModuleType:
    """The system that trains by the method or for the task that is named; reasoning supervision where none is.

    Args:
        arguments: Those of the command line; the first may be the path of a YAML recipe.

    Raises:
        ConfigError: There is no such method, or the recipe cannot be read.
    """
    method = named_setting(arguments, "method")
    if method is None:
        return TASKS.get(named_setting(arguments, "task") or "", rs_run)
    if method not in SYSTEMS:
        raise ConfigError(f"method is {method!r}, expected one of {sorted(SYSTEMS)}")
    return SYSTEMS[method]


def _train() -> None:
    arguments = sys.argv[1:]
    system = find_system(arguments)
    result = system.run_training(*system.parse_arguments(arguments))
    for split, metrics in result.metrics.items():
        shown = ", ".join(f"{name} {value:.4f}" for name, value in metrics.items() if value is not None)
        print(f"{split}: {shown}")
    for split, videos in result.skipped.items():
        print(f"{split}: {len(videos)} videos could not be read: {', '.join(videos)}")


if __name__ == "__main__":
    sys.exit(train())
