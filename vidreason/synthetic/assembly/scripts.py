"""The actions: which movements each consists of, and which items take part in it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .board_scripts import put_away, take_board, turn_over
from .desk import Desk
from .part_scripts import attach_cover, insert_card, place_chip, plug_cable, unplug_cable
from .pause_scripts import away, hesitate, rest
from .stage import Script, Stage
from .state import State
from .tool_scripts import apply_tape, press_switch, screw, test_meter, unscrew, wipe

_PAUSES: dict[str, Callable[[Stage], Script]] = {"rest": rest, "away": away, "hesitate": hesitate}

_ACTIONS: dict[str, Callable[[Stage], Script]] = {
    "take_board": take_board,
    "put_away": put_away,
    "turn_over": turn_over,
    "place_chip": place_chip,
    "insert_card": insert_card,
    "attach_cover": attach_cover,
    "plug_cable": plug_cable,
    "unplug_cable": unplug_cable,
    "screw": screw,
    "unscrew": unscrew,
    "press_switch": press_switch,
    "apply_tape": apply_tape,
    "wipe": wipe,
    "test_meter": test_meter,
}


def write_script(label: str, pause: str, state: State, desk: Desk, seconds: float, rng: np.random.Generator) -> Script:
    """The script of a segment.

    Args:
        label: one of `ASSEMBLY_ACTIONS`.
        pause: one of `PAUSES` for `background`.
        state: at its start.
        desk: of the video.
        seconds: how long it takes.
        rng: of tempo and choice.
    """
    stage = Stage(state, desk, seconds, rng.uniform(0.8, 1.25), rng)
    return _PAUSES[pause](stage) if pause else _ACTIONS[label](stage)
