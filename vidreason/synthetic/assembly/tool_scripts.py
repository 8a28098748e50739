"""What is done to the board with a tool, or with a finger."""

from __future__ import annotations

import math

import numpy as np

from .items import HOLES, SWITCH_PLACE, TAPE_LANES, TEST_PLACES
from .stage import CLOSED, CONTACT, HOLDS, Script, Stage
from .state import BACK, FRONT, HandState, Placement, Point, State
from .steps import Relation, Step, always, carry, cycles, ease, follow, move_hand, ramp, reach, stroke, visiting, wave

FINGER_REACH = 11.0
"""From where the hand holds things to the tip of the stretched index finger."""

_SWING = 0.6  # of a screwdriver, to either side, in radians


def screw(stage: Stage) -> Script:
    """Turn screws in, clockwise."""
    free = [n for n in range(1, len(HOLES) + 1) if f"screw {n}" not in stage.state.items]
    return _drive(stage, free[: _screws_at_once(stage)], 1)


def unscrew(stage: Stage) -> Script:
    """Turn screws out: the strokes of `screw`, backwards in time."""
    driven = sorted(int(name.split()[1]) for name in stage.state.names("screw"))
    return _drive(stage, driven[::-1][: _screws_at_once(stage)], -1)


def _screws_at_once(stage: Stage) -> int:
    return 2 if stage.seconds > 5 else 1


def _drive(stage: Stage, numbers: list[int], sense: int) -> Script:
    """Turn screws in (sense +1, clockwise) or out (-1)."""
    hold, work, used = HOLDS["screwdriver"], [], {"screwdriver"}
    for number in numbers:
        name, target = f"screw {number}", stage.placed_on_board(HOLES[number - 1])
        used.add(name)
        ready = target._replace(angle=-_SWING)
        work.append(carry("screwdriver", hold, ready, 0.9))
        work.append(_turning(stage, name, HOLES[number - 1], sense))
    return Script(stage.state, stage.with_tool("screwdriver", work), used)


def _turning(stage: Stage, name: str, hole: Point, sense: int) -> Step:
    """Strokes of the screwdriver: slow in the sense of the turn, quickly back. Turning out is the same backwards."""

    def swing(u: float, seconds: float) -> tuple[float, int]:
        count = cycles(seconds, 0.9 * stage.tempo)
        # time runs backwards for `unscrew`: single frames do not tell the two apart
        time = (u if sense > 0 else 1 - u) * count
        turn = min(int(time), count - 1)
        return _SWING * stroke(time - turn), turn

    def path(start: Placement, u: float, seconds: float) -> Placement:
        return start._replace(angle=swing(u, seconds)[0])

    def effect(state: State, u: float, seconds: float) -> State:
        if sense < 0 and u >= 1:
            return state.without([name])
        angle, turn = swing(u, seconds)
        return state.with_item(name, Placement(*hole, angle=angle + 0.9 * turn, parent=FRONT))

    touching = always(("screwdriver", "touching", name))
    return follow("screwdriver", HOLDS["screwdriver"], path, effect=effect, relations=touching)


def press_switch(stage: Stage) -> Script:
    """Poke the switch on the board with the index finger, again and again."""
    switch = stage.on_board(SWITCH_PLACE)
    along = np.array(switch) - stage.desk.shoulder
    along /= np.linalg.norm(along)

    def hand_at(gap: float) -> Point:
        x, y = (np.array(switch) - (FINGER_REACH + gap) * along).tolist()
        return x, y

    def poke(hand: HandState, u: float, seconds: float) -> HandState:
        beat = 0.5 + 0.5 * math.cos(2 * math.pi * cycles(seconds, 1.4 * stage.tempo) * u)
        x, y = hand_at(9 * beat)
        return hand._replace(x=x, y=y)

    def touching(state: State) -> tuple[Relation, ...]:
        near = math.dist(state.hand[:2], hand_at(0)) < CONTACT
        return (("hand", "touching", "switch"),) if near else ()

    steps = [
        reach(lambda _: hand_at(9), CLOSED, pointing=1.0, seconds=0.7),
        move_hand(poke, touching),
    ]
    return Script(stage.state, steps, {"switch"})


def apply_tape(stage: Stage) -> Script:
    """Unroll a strip of tape along a lane of the side that is up."""
    front = stage.state.side_up == FRONT
    # strips are numbered over both sides, so that no two have one name
    lanes = TAPE_LANES["front" if front else "back"]
    first = 1 if front else 1 + len(TAPE_LANES["front"])
    number = next(n for n in range(first, first + len(lanes)) if f"tape {n}" not in stage.state.items)
    item, ((x0, y0), (x1, _)) = f"tape {number}", lanes[number - first]
    sense = 1 if front else -1
    start = Placement(sense * x0, y0, 0.0, sense, FRONT if front else BACK)
    home = stage.desk.homes["tape roll"]

    def along(u: float) -> float:
        return ease(min(1.0, u / 0.85)) * (x1 - x0)

    def path(_: Placement, u: float, __: float) -> Placement:
        x, y = stage.on_board((x0 + along(u), y0))
        return Placement(x, y, home.angle)

    def effect(state: State, u: float, _: float) -> State:
        return state.with_item(item, start._replace(length=along(u)))

    x, y = stage.on_board((x0, y0))
    work = [
        carry("tape roll", HOLDS["tape roll"], Placement(x, y, home.angle)),
        follow("tape roll", HOLDS["tape roll"], path, effect=effect, relations=always(("tape roll", "on", "board"))),
    ]
    return Script(stage.state, stage.with_tool("tape roll", work), {"tape roll", item})


def wipe(stage: Stage) -> Script:
    """Wipe the board with the cloth, from side to side."""
    x, y = stage.on_board((0, -9))

    def path(start: Placement, u: float, seconds: float) -> Placement:
        window = ramp(u, 0, 0.1) * (1 - ramp(u, 0.9, 1))
        swing = wave(u, cycles(seconds, 0.9 * stage.tempo)) * window
        return start._replace(x=x + 16 * swing, y=y + 18 * u, angle=0.3 * swing)

    work = [
        carry("cloth", HOLDS["cloth"], Placement(x, y)),
        follow("cloth", HOLDS["cloth"], path, relations=always(("cloth", "on", "board"))),
    ]
    return Script(stage.state, stage.with_tool("cloth", work), {"cloth"})


def test_meter(stage: Stage) -> Script:
    """Touch one place of the board after another with the probe."""
    places = [stage.on_board(point) for point in TEST_PLACES]

    def path(start: Placement, u: float, seconds: float) -> Placement:
        count = 1 + cycles(seconds, 0.9 * stage.tempo)
        (x, y), way = visiting([places[n % len(places)] for n in range(count)], u, 0.5)
        return start._replace(x=x, y=y + 4 * math.sin(math.pi * way))

    def touching(state: State) -> tuple[Relation, ...]:
        tip = state.items["probe"][:2]
        on_place = min(math.dist(tip, place) for place in places) < CONTACT
        return (("probe", "touching", "board"),) if on_place else ()

    x, y = places[0]
    work = [
        carry("probe", HOLDS["probe"], Placement(x, y, stage.rng.uniform(-0.4, 0.4)), 0.9),
        follow("probe", HOLDS["probe"], path, relations=touching),
    ]
    return Script(stage.state, stage.with_tool("probe", work), {"probe", "meter"})
