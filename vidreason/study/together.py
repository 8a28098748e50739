"""Runs of a study under `accelerate launch`: all processes walk the same list and train each run together."""

from __future__ import annotations

import contextlib
from typing import Any

from ..errors import ConfigError, GuidanceError, ManifestError
from .attempts import FAILED, MADE, TAKEN, Outcome, RunnerSettings, claim, describe, has_record, note
from .design import RunPlan
from .execution import DecodedVideos, logged
from .records import add_record

SAME_IN_ALL = (ConfigError, GuidanceError, ManifestError)
"""Errors in settings and data, which all processes meet alike before training starts."""


def run_together(todo: list[RunPlan], settings: RunnerSettings, outcome: Outcome) -> Outcome:
    """Make runs with all processes; the main one alone claims, writes and speaks.

    A run whose settings or data are wrong is told at the end. Any other error ends the command, because the processes
    that do not meet it wait for the one that does.
    """
    videos = DecodedVideos()
    for run in todo:
        with contextlib.ExitStack() as stack:
            state = None
            if is_main(run):
                claimed = stack.enter_context(claim(run, settings))
                state = None if claimed and not has_record(settings.out, run) else TAKEN
            state = _from_main(state, run)
            text = "another process makes it, or has made it"
            if state is None:
                state, text = _attempt(run, settings, videos)
        if is_main(run):
            note(outcome, run.name, state, text, len(todo))
        elif state == FAILED:
            outcome.failed[run.name] = text
    return outcome


def is_main(run: RunPlan) -> bool:
    """Whether this is the process that writes."""
    return _state(run).is_main_process


def _attempt(run: RunPlan, settings: RunnerSettings, videos: DecodedVideos) -> tuple[str, str]:
    try:
        with logged(run, settings.work):
            record = settings.execute(run, settings.work, 1, settings.keep_models, videos)
    except SAME_IN_ALL as error:
        return FAILED, f"{type(error).__name__}: {error}"
    if is_main(run):
        add_record(settings.out, record)
    return MADE, describe(record)


def _from_main(value: Any, run: RunPlan) -> Any:
    """What the main process has, in all processes."""
    from accelerate.utils import broadcast_object_list

    _state(run)
    values = [value]
    broadcast_object_list(values)
    return values[0]


def _state(run: RunPlan):
    from accelerate import PartialState

    return PartialState(cpu=bool(run.recipe.get("use_cpu", False)))
