"""What the scripts of all actions are written from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from .desk import Desk
from .items import GRIP_OF_DRIVER
from .state import Placement, Point, State, fixed_to_board, point_of_board
from .steps import Step, carry, grip_to, reach_for

REST_GRIP, OPEN, CLOSED = 0.35, 0.0, 1.0
"""How far the hand is closed."""

CONTACT = 2.5
"""How near is touching, in units."""

HOLDS: dict[str, Point] = {
    "chip": (0.0, 7.5),
    "card": (0.0, 6.5),
    "cover": (0.0, 13.0),
    "screwdriver": (0.0, GRIP_OF_DRIVER),
    "plug": (9.0, 7.0),
    "tape roll": (0.0, 9.5),
    "cloth": (0.0, 8.0),
    "probe": (0.0, 13.0),
}
"""Kind -> where the hand holds it, in its own coordinates."""


@dataclass(frozen=True)
class Script:
    """What happens in a segment.

    Args:
        state: State before the segment, with what is taken from a stock for it.
        steps: Movements, one after another.
        used: Names of the items that take part, which are evidence beside the hand.
    """

    state: State
    steps: list[Step]
    used: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Stage:
    """What scripts are written from.

    Args:
        state: State at the start of the segment.
        desk: Desk of the video.
        seconds: Length of the segment in seconds.
        tempo: Relative speed of what is repeated; 1 is normal.
        rng: Generator that draws everything else that is random.
    """

    state: State
    desk: Desk
    seconds: float
    tempo: float
    rng: np.random.Generator

    def on_board(self, point: Point) -> Point:
        """A place of the board's layout, on the desk."""
        return point_of_board(self.state, point)

    def placed_on_board(self, point: Point) -> Placement:
        """How something lies there that is parallel to the board."""
        return Placement(*self.on_board(point), self.desk.board_angle)

    def with_tool(self, item: str, work: list[Step]) -> list[Step]:
        """Take a tool, work with it, and put it back."""
        hold = HOLDS[item]
        return [
            reach_for(item, hold),
            grip_to(CLOSED, item),
            *work,
            carry(item, hold, self.desk.homes[item]),
            grip_to(OPEN, item),
        ]


def fixing(item: str) -> Callable[[State, float, float], State]:
    """Fixes the item to the board at the end of a step."""
    # only at the end: until then the hand moves the item over the desk, not over the board
    return lambda state, u, _: fixed_to_board(state, item) if u >= 1 else state


def next_number(state: State, kind: str, places: tuple) -> int:
    """The number, from 1, of the next free place; the grammar takes care that there is one."""
    return next(number for number in range(1, len(places) + 1) if f"{kind} {number}" not in state.items)
