"""What the hand does in a pause: nothing that matters."""

from __future__ import annotations

import math

from .desk import DESK_HEIGHT, DESK_WIDTH
from .stage import REST_GRIP, Script, Stage
from .state import HandState, Point
from .steps import move_hand, ramp, reach, visiting, wave

_IDLE_SPEED = 60.0  # of a hand in no hurry, in units per second


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
