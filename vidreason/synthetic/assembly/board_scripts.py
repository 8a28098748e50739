"""The board itself: it is taken, turned over and put away."""

from __future__ import annotations

import math

from .items import BOARD_HALF_WIDTH, SWITCH_PLACE
from .stage import CLOSED, OPEN, Script, Stage
from .state import FRONT, Placement, State
from .steps import ease, follow, grip_to, ramp, reach_for, straight_to

_OUTSIDE = BOARD_HALF_WIDTH + 4


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
