"""The actions: which movements each consists of, and which items take part in it.

Here are the pauses and what is done with the board as a whole; `part_scripts` and `tool_scripts` have the rest.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from .desk import DESK_HEIGHT, DESK_WIDTH, Desk
from .items import BOARD_HALF_WIDTH, SWITCH_PLACE
from .part_scripts import attach_cover, insert_card, place_chip, plug_cable, unplug_cable
from .stage import CLOSED, OPEN, REST_GRIP, Script, Stage
from .state import FRONT, HandState, Placement, Point, State
from .steps import ease, follow, grip_to, move_hand, ramp, reach, reach_for, straight_to, visiting, wave
from .tool_scripts import apply_tape, press_switch, screw, test_meter, unscrew, wipe

_IDLE_SPEED = 60.0  # of a hand in no hurry, in units per second
_OUTSIDE = BOARD_HALF_WIDTH + 4  # from the frame's edge to the middle of a board that is just out of view


def _stay(stage: Stage, target: Point) -> Script:
    """The hand goes somewhere and stays, never quite still."""
    x, y = _on_the_way(stage.state.hand, target, _IDLE_SPEED * stage.seconds)

    def sway(hand: HandState, u: float, seconds: float) -> HandState:
        window = ramp(u, 0, 0.2)
        drift = 1.5 * window * wave(u, 0.25 * seconds), 1.0 * window * wave(u, 0.4 * seconds)
        return hand._replace(x=x + drift[0], y=y + drift[1])

    return Script(stage.state, [reach(lambda _: (x, y), REST_GRIP, seconds=1.2), move_hand(sway)])


def _on_the_way(hand: HandState, target: Point, longest: float) -> Point:
    """As far towards a place as a hand in no hurry gets."""
    way = (target[0] - hand.x, target[1] - hand.y)
    share = min(1.0, longest / max(math.hypot(*way), 1e-6))
    return hand.x + share * way[0], hand.y + share * way[1]


def rest(stage: Stage) -> Script:
    """The hand lies before the board."""
    x, y = stage.desk.rest_place
    return _stay(stage, (x + stage.rng.uniform(-6, 6), y + stage.rng.uniform(-4, 4)))


def away(stage: Stage) -> Script:
    """The hand goes out of view, and comes back with the next segment."""
    x, _ = stage.desk.rest_place
    return _stay(stage, (x + stage.rng.uniform(-15, 15), stage.desk.view[3] + 24))


def hesitate(stage: Stage) -> Script:
    """The hand wanders over the desk without taking anything."""
    legs = max(1, int(stage.seconds / 1.2))
    places = stage.rng.uniform((30, 60), (DESK_WIDTH - 30, DESK_HEIGHT - 20), size=(legs, 2)).tolist()
    points = [(stage.state.hand.x, stage.state.hand.y)]
    for place in places:
        points.append(_on_the_way(HandState(*points[-1]), tuple(place), _IDLE_SPEED * stage.seconds / legs))

    def wander(hand: HandState, u: float, _: float) -> HandState:
        (x, y), _ = visiting(points, u, 0.8)
        return hand._replace(x=x, y=y)

    start = points[0]
    return Script(stage.state, [reach(lambda _: start, REST_GRIP, seconds=0.3), move_hand(wander)])


def take_board(stage: Stage) -> Script:
    """Draw a board to the middle of the desk, from the rack out of view that feeds it to the frame's edge."""
    desk, side = stage.desk, stage.desk.rack_side
    x, y = desk.board_place
    edge = desk.edge(side)
    outside = Placement(edge + side * _OUTSIDE, y, desk.board_angle, desk.mirror)
    peeking = edge + side * (BOARD_HALF_WIDTH - 12)
    state = stage.state.with_item("board", outside).with_item("switch", Placement(*SWITCH_PLACE, parent=FRONT))

    def feed(state: State, u: float) -> State:
        share = ramp(u, 0.1, 0.8)
        return state.with_item("board", outside._replace(x=outside.x + (peeking - outside.x) * share))

    hold = (-side * 23.0 * desk.mirror, 5.0)
    steps = [
        reach_for("board", hold, seconds=1.0, effect=feed),
        grip_to(CLOSED, "board"),
        follow("board", hold, straight_to(Placement(x, y, desk.board_angle))),
        grip_to(OPEN, "board"),
    ]
    return Script(state, steps, {"board"})


def put_away(stage: Stage) -> Script:
    """Push the board out of view, on the other side."""
    desk, side = stage.desk, -stage.desk.rack_side
    outside = Placement(desk.edge(side) + side * _OUTSIDE, desk.board_place[1], desk.board_angle)
    hold = (-side * 23.0 * desk.mirror, 5.0)

    def leave(state: State, u: float, _: float) -> State:
        if u < 1:
            return state
        return state.without({name for name, place in state.items.items() if place.parent} | {"board"})

    steps = [
        reach_for("board", hold),
        grip_to(CLOSED, "board"),
        follow("board", hold, straight_to(outside), effect=leave),
    ]
    return Script(stage.state, steps, {"board"})


def turn_over(stage: Stage) -> Script:
    """Turn the board over, like a page."""
    board = stage.state.items["board"]
    side = stage.rng.choice((-1, 1))
    hold = (side * 23.0 / board.flip, 5.0)

    def path(start: Placement, u: float, _: float) -> Placement:
        turned = math.cos(math.pi * ease(u))
        return start._replace(flip=start.flip * turned, y=start.y - 7 * math.sin(math.pi * ease(u)))

    steps = [
        reach_for("board", hold),
        grip_to(CLOSED, "board"),
        follow("board", hold, path),
        grip_to(OPEN, "board"),
    ]
    return Script(stage.state, steps, {"board"})


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
        label: One of `ASSEMBLY_ACTIONS`.
        pause: One of `PAUSES` for `background`, else empty.
        state: State at the start of the segment.
        desk: Desk of the video.
        seconds: Length of the segment in seconds.
        rng: Generator that draws tempo and choices.
    """
    stage = Stage(state, desk, seconds, rng.uniform(0.8, 1.25), rng)
    return _PAUSES[pause](stage) if pause else _ACTIONS[label](stage)
