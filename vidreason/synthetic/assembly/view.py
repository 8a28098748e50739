"""What of the desk is drawn, in which order."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from ..hand import HandPose, arm_part, hand_parts
from ..shapes import Part, Shape, capsule, move, outlined
from .desk import Desk
from .items import item_shapes, kind_of, strip_shape, wire_shape
from .state import BACK, State, affine, placed
from .tool_scripts import FINGER_REACH

# from the lowest to the highest; what a hand can lay on the board is above it
_ORDER = (
    *("chip tray", "card box", "cover stack", "pliers", "wrench", "brush", "ruler", "pen", "coil", "meter"),
    *("board", "switch", "chip", "card", "tape", "cover", "screw", "cable", "plug", "lead", "probe"),
    *("tape roll", "cloth", "screwdriver"),
)
_RANK = {kind: rank for rank, kind in enumerate(_ORDER)}
_WIRES = {"cable": "plug", "lead": "probe"}  # wire -> the item at its end that is moved
_FLAT = ("board", "cloth")  # the hand lies on these when it holds them


def wires_of(names: Iterable[str]) -> list[str]:
    """The wires that hang on some items."""
    names = set(names)
    return [wire for wire, item in _WIRES.items() if item in names]


def item_parts(state: State, desk: Desk, names: Iterable[str]) -> list[Part]:
    """The parts of some items and wires that are seen, in the order in which they are drawn."""
    seen = [name for name in names if name in _WIRES or state.is_seen(name)]
    seen.sort(key=lambda name: (_RANK[kind_of(name)], name))
    return [_wire(state, desk, name) if name in _WIRES else _item(state, desk, name) for name in seen]


def _item(state: State, desk: Desk, name: str) -> Part:
    kind, place = kind_of(name), state.items[name]
    if kind == "tape":
        shapes: tuple[Shape, ...] = (strip_shape(desk.colors["tape"], place.length),)
    else:
        drawn = BACK if name == "board" and state.side_up == BACK else kind
        shapes = item_shapes(drawn, desk.colors[kind])
    return Part(name, placed(shapes, *affine(state, name)))


def _wire(state: State, desk: Desk, name: str) -> Part:
    ends = {"cable": ((15.0, 0.0), (60, 60, 66)), "lead": ((0.0, 18.0), (170, 40, 40))}
    tail, color = ends[name]
    matrix, shift = affine(state, _WIRES[name])
    start = np.array(tail) @ matrix + shift
    if name == "cable":
        return Part(name, (wire_shape(start, np.array(desk.outlet), np.array([8.0 * desk.mirror, 0.0]), color),))
    meter_matrix, meter_shift = affine(state, "meter")
    return Part(
        name, (wire_shape(start, np.array([0.0, 12.0]) @ meter_matrix + meter_shift, np.array([0, 7.0]), color),)
    )


def with_hand(state: State, desk: Desk, items: list[Part], held: str) -> list[Part]:
    """Parts in the order in which they are drawn: items, arm, palm, what is held, fingers."""
    dx, dy = (np.array([state.hand.x, state.hand.y]) - desk.shoulder).tolist()
    pose = HandPose(state.hand.x, state.hand.y, math.atan2(dy, dx), state.hand.grip)
    palm, fingers = hand_parts(desk.look, pose)
    above = [part for part in items if part.item == held and held not in _FLAT]
    below = [part for part in items if part not in above] if above else items
    return [*below, arm_part(desk.look, pose, desk.shoulder), palm, *_index_finger(state, desk, pose), *above, fingers]


def _index_finger(state: State, desk: Desk, pose: HandPose) -> list[Part]:
    if state.hand.pointing < 0.05:
        return []
    tip = -2.6 + (FINGER_REACH + 2.6 - 1.7) * state.hand.pointing
    finger = outlined(capsule((-2.6, -1.0), (tip, 0.0), 1.9, 1.7), desk.look.skin)
    return [Part("hand", move([finger], pose.x, pose.y, pose.angle))]
