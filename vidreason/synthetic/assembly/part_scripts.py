"""What becomes part of the board, and the cable that is plugged into it."""

from __future__ import annotations

import math

from .items import CARD_PLACES, CHIP_PLACES, COVER_PLACE, SOCKET_PLACE
from .stage import CLOSED, HOLDS, OPEN, Script, Stage, fixing, next_number
from .state import HandState, Placement
from .steps import always, carry, cycles, ease, follow, grip_to, move_hand, reach_for, visiting, wave


def place_chip(stage: Stage) -> Script:
    """Take a chip from the tray, lay it in its place and wiggle it tight."""
    number = next_number(stage.state, "chip", CHIP_PLACES)
    item, hold = f"chip {number}", HOLDS["chip"]
    state = stage.state.with_item(item, stage.desk.stock("chip", stage.rng))
    target = stage.placed_on_board(CHIP_PLACES[number - 1])

    def wiggle(start: Placement, u: float, seconds: float) -> Placement:
        angle = 0.5 * wave(u, cycles(seconds, 1.6 * stage.tempo)) * (1 - 0.4 * u)
        return start._replace(angle=target.angle + angle)

    work = follow(item, hold, wiggle, effect=fixing(item), relations=always((item, "on", "board")))
    steps = [
        reach_for(item, hold),
        grip_to(CLOSED, item),
        carry(item, hold, target, 0.9),
        work,
        grip_to(OPEN, item),
    ]
    return Script(state, steps, {item})


def insert_card(stage: Stage) -> Script:
    """Take a card from the box and push it into its slot, away from the body, with jolts."""
    number = next_number(stage.state, "card", CARD_PLACES)
    item, hold = f"card {number}", HOLDS["card"]
    state = stage.state.with_item(item, stage.desk.stock("card", stage.rng))
    target = stage.placed_on_board(CARD_PLACES[number - 1])
    # in front of the slot, seen from the hand
    before = target._replace(y=target.y + 9)

    def push(_: Placement, u: float, seconds: float) -> Placement:
        jolt = 2.5 * abs(wave(u, cycles(seconds, 0.9 * stage.tempo)))
        return target._replace(y=target.y + 9 * (1 - ease(u)) + jolt * (1 - u))

    work = follow(item, hold, push, effect=fixing(item), relations=always((item, "on", "board")))
    steps = [
        reach_for(item, hold),
        grip_to(CLOSED, item),
        carry(item, hold, before, 0.9),
        work,
        grip_to(OPEN, item),
    ]
    return Script(state, steps, {item})


def attach_cover(stage: Stage) -> Script:
    """Lay a cover on the board and press it down, corner by corner."""
    item, hold = "cover 1", HOLDS["cover"]
    state = stage.state.with_item(item, stage.desk.stock("cover", stage.rng))
    target = stage.placed_on_board(COVER_PLACE)
    x, y = target.x, target.y
    corners = [(x + dx * stage.desk.mirror, y + dy) for dx, dy in ((-13, 6), (13, 6), (13, -5), (-13, -5))]

    def press(hand: HandState, u: float, seconds: float) -> HandState:
        count = 1 + cycles(seconds, 0.8 * stage.tempo)
        (x, y), way = visiting([(hand.x, hand.y), *corners[:count]], u, 0.55)
        return hand._replace(x=x, y=y + 2.5 * math.sin(math.pi * way), grip=0.25)

    steps = [
        reach_for(item, hold),
        grip_to(CLOSED, item),
        carry(item, hold, target, 1.2, effect=fixing(item)),
        grip_to(0.25, "", 0.2),
        move_hand(press, always(("hand", "touching", item))),
    ]
    return Script(state, steps, {item})


def _plugging(stage: Stage, seconds: float, u: float) -> float:
    """How far a plug is out of its socket, from 14 to 0, with jolts."""
    return 14 * (1 - ease(u)) + 2.5 * abs(wave(u, cycles(seconds, 0.9 * stage.tempo))) * (1 - u)


def _plug_place(stage: Stage, out: float) -> Placement:
    x, y = stage.on_board(SOCKET_PLACE)
    return Placement(x + out * stage.desk.mirror, y, 0.0, stage.desk.mirror)


def plug_cable(stage: Stage) -> Script:
    """Push the cable's plug into the socket at the board's side."""
    hold = HOLDS["plug"]
    steps = [
        reach_for("plug", hold),
        grip_to(CLOSED, "plug"),
        carry("plug", hold, _plug_place(stage, 14), 0.9),
        follow("plug", hold, lambda _, u, seconds: _plug_place(stage, _plugging(stage, seconds, u))),
        grip_to(OPEN, "plug"),
    ]
    return Script(stage.state, steps, {"plug"})


def unplug_cable(stage: Stage) -> Script:
    """Pull it out: the jolts of `plug_cable`, backwards in time."""
    hold = HOLDS["plug"]
    steps = [
        reach_for("plug", hold),
        grip_to(CLOSED, "plug"),
        follow("plug", hold, lambda _, u, seconds: _plug_place(stage, _plugging(stage, seconds, 1 - u))),
        carry("plug", hold, stage.desk.homes["plug"], 0.9),
        grip_to(OPEN, "plug"),
    ]
    return Script(stage.state, steps, {"plug"})
