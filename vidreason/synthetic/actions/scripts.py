"""The scripts: what is where at each moment of an action.

A script is a function of the scene and of `u`, which runs from 0 (before) to 1 (after). The other action of a reversed
pair has no script of its own; it is the same one with time running backwards. Coordinates are around the place of the
action, in units of the scene.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..hand import WAVE_RADIUS, HandPose, arm_part, hand_parts
from ..scene import Scene
from ..shapes import Part, Shape, extent, move
from ..things import (
    bowl_back_shapes,
    bowl_front_shapes,
    box_back_shapes,
    box_front_shapes,
    lid_edge,
    lid_shapes,
    shadow_shape,
    thing_shapes,
)
from .config import REVERSED_PAIRS

ROLES = {"hand": "hand", "lid": "handled", "box": "container", "bowl": "container"}
"""Item -> role in the ground truth; every other item of a script is the thing that is handled."""

_ARM_LENGTH = 300.0  # the shoulder is far out of any frame
_OPEN_LID = 1.85
_PEN_GRIP = 0.85  # around a thin handle

Relation = tuple[str, str, str]


@dataclass(frozen=True)
class Moment:
    """The moving part of a scene at one time.

    Args:
        parts: Parts in the order in which they are drawn.
        relations: Relations as (subject, predicate, object).
    """

    parts: tuple[Part, ...]
    relations: tuple[Relation, ...] = ()

    def parts_of(self, item: str) -> list[Part]:
        """The parts of one item, in the order in which they are drawn."""
        return [part for part in self.parts if part.item == item]

    @cached_property
    def extents(self) -> dict[str, np.ndarray]:
        """Item -> the box (4,) around it."""
        return {item: extent(self.parts_of(item)) for item in {part.item: None for part in self.parts} if item}

    @property
    def relevant_items(self) -> list[str]:
        """The items that are evidence: the hand, what it handles and a container that takes part."""
        return [item for item in self.extents if item != "arm"]


def play(action: str, scene: Scene, u: float) -> Moment:
    """The moment of an action at the script's time `u`. One that runs backwards has the script of its partner."""
    return _SCRIPTS[REVERSED_PAIRS.get(action, action)](scene, u)


def _ramp(u: float, start: float, end: float) -> float:
    """0 before `start`, 1 after `end`, smooth between."""
    t = min(1.0, max(0.0, (u - start) / (end - start)))
    return t * t * (3 - 2 * t)


def _direction(scene: Scene) -> np.ndarray:
    """(2,): in which the fingers point."""
    return np.array([math.cos(scene.arm_angle), math.sin(scene.arm_angle)])


def _shoulder(scene: Scene) -> np.ndarray:
    """(2,)."""
    return -_ARM_LENGTH * _direction(scene)


def _pose(scene: Scene, position: np.ndarray, grip: float, turn: float = 0.0) -> HandPose:
    """A hand at position (2,) whose arm comes from the shoulder."""
    x, y = (position - _shoulder(scene)).tolist()
    return HandPose(float(position[0]), float(position[1]), math.atan2(y, x) + turn, grip)


def _thing(scene: Scene, x: float = 0.0, y: float = 0.0, angle: float = 0.0) -> Part:
    return Part(scene.kind, move(thing_shapes(scene.kind, scene.thing_color), x, y, angle, scene.thing_size))


def _thing_extent(scene: Scene) -> np.ndarray:
    """(4,): of the thing that is handled, around its own middle."""
    return extent([_thing(scene)])


def _ground_shadow(scene: Scene, x: float) -> Part:
    x0, _, x1, y1 = _thing_extent(scene)
    return Part("", (shadow_shape(x, y1 - 1, (x1 - x0) * 1.15),))


def _box_shadow() -> Part:
    return Part("", (shadow_shape(2, 12, 36),))


def _hold_offset(scene: Scene) -> np.ndarray:
    """(2,): from the middle of a thing to where the hand is that holds it, a little to the arm's side."""
    x0, y0, x1, y1 = _thing_extent(scene)
    along = _direction(scene)
    return -0.6 * along * (abs(along[0]) * (x1 - x0) + abs(along[1]) * (y1 - y0)) / 2


def _with_hand(scene: Scene, pose: HandPose, behind: list[Part], held: list[Part]) -> tuple[Part, ...]:
    """Draw order: what stands behind, the arm, the palm, what is held, the fingers."""
    palm, fingers = hand_parts(scene.look, pose)
    return (*behind, arm_part(scene.look, pose, _shoulder(scene)), palm, *held, fingers)


def _hand_relation(item: str, reach: float, grip: float) -> tuple[Relation, ...]:
    if grip > 0.5 and reach < 0.02:
        return (("hand", "holding", item),)
    return (("hand", "touching", item),) if reach < 0.12 else ()


def _pick_up(scene: Scene, u: float) -> Moment:
    reach, grip, lift = 1 - _ramp(u, 0, 0.34), _ramp(u, 0.28, 0.44), _ramp(u, 0.42, 0.92)
    x, y = scene.lift_drift * lift, -scene.lift_height * lift
    hand = np.array([x, y]) + _hold_offset(scene) - _direction(scene) * scene.reach_before * reach
    parts = _with_hand(scene, _pose(scene, hand, grip), [_ground_shadow(scene, x)], [_thing(scene, x, y)])
    return Moment(parts, _hand_relation(scene.kind, reach, grip))


def _slide_right(scene: Scene, u: float) -> Moment:
    # symmetric in time, so that sliding left is the mirror image of sliding right in distribution
    reach = scene.reach_before * (1 - _ramp(u, 0, 0.24)) + scene.reach_after * _ramp(u, 0.76, 1)
    grip = _ramp(u, 0.2, 0.32) - _ramp(u, 0.68, 0.8)
    x = scene.slide_length * (_ramp(u, 0.3, 0.7) - 0.5)
    hand = np.array([x, 0.0]) + _hold_offset(scene) - _direction(scene) * reach
    parts = _with_hand(scene, _pose(scene, hand, grip), [_ground_shadow(scene, x)], [_thing(scene, x)])
    return Moment(parts, _hand_relation(scene.kind, reach / 24, grip))


def _take_out(scene: Scene, u: float) -> Moment:
    reach, grip = 1 - _ramp(u, 0, 0.3), _ramp(u, 0.25, 0.4)
    rise, aside = _ramp(u, 0.38, 0.78), _ramp(u, 0.58, 0.96)
    x, y = 2 + 22 * scene.side * aside, -3 - scene.lift_height * rise + 5 * aside
    hand = np.array([x, y]) + _hold_offset(scene) - _direction(scene) * scene.reach_before * reach
    pose, thing = _pose(scene, hand, grip), _thing(scene, x, y)
    back = Part("box", box_back_shapes(scene.container_color))
    front = Part("box", box_front_shapes(scene.container_color))
    relations = _hand_relation(scene.kind, reach, grip)
    if rise < 0.5:  # its lower end is behind the front, and so are the fingers' tips
        palm, fingers = hand_parts(scene.look, pose)
        arm = arm_part(scene.look, pose, _shoulder(scene))
        parts = (_box_shadow(), back, thing, front, arm, palm, _upper_part(thing, y), fingers)
        return Moment(parts, (*relations, (scene.kind, "inside", "box")))
    return Moment(_with_hand(scene, pose, [_box_shadow(), back, front], [thing]), relations)


def _upper_part(thing: Part, y: float) -> Part:
    """What looks out of the box once more, cut off at its front edge, for drawing over the palm."""
    cut = [Shape(np.minimum(shape.points, (np.inf, 0.0)), shape.fill, shape.outline) for shape in thing.shapes]
    return Part(thing.item, tuple(cut))


def _open_box(scene: Scene, u: float) -> Moment:
    reach = scene.reach_before * (1 - _ramp(u, 0, 0.28)) + scene.reach_after * _ramp(u, 0.78, 1)
    grip = _ramp(u, 0.24, 0.36) - _ramp(u, 0.72, 0.82)
    opening = _OPEN_LID * _ramp(u, 0.34, 0.74)
    hand = lid_edge(opening, scene.side) - _direction(scene) * (2 + reach)
    back = Part("box", box_back_shapes(scene.container_color))
    front = Part("box", box_front_shapes(scene.container_color))
    lid = Part("lid", tuple(lid_shapes(scene.container_color, opening, scene.side)))
    relations = _hand_relation("lid", reach / 24, grip)
    if opening < 0.12:
        relations = (*relations, ("lid", "on", "box"))
    return Moment(_with_hand(scene, _pose(scene, hand, grip), [_box_shadow(), back, front], [lid]), relations)


def _shake(scene: Scene, u: float) -> Moment:
    reach, grip, lift = 1 - _ramp(u, 0, 0.22), _ramp(u, 0.16, 0.28), _ramp(u, 0.24, 0.4)
    time = max(0.0, u - 0.34) / 0.66
    swing = math.sin(2 * math.pi * (scene.cycles + 1) * time) * _ramp(time, 0, 0.12) * scene.swing
    x = 8 * swing * math.cos(scene.swing_angle)
    y = 8 * swing * math.sin(scene.swing_angle) - 12 * lift
    hand = np.array([x, y]) + _hold_offset(scene) - _direction(scene) * scene.reach_before * reach
    thing = _thing(scene, x, y, 0.4 * swing)
    parts = _with_hand(scene, _pose(scene, hand, grip, 0.2 * swing), [_ground_shadow(scene, x)], [thing])
    return Moment(parts, _hand_relation(scene.kind, reach, grip))


def _tap(scene: Scene, u: float) -> Moment:
    away = 1 - _ramp(u, 0, 0.2) + _ramp(u, 0.82, 1)
    beat = 0.5 + 0.5 * math.cos(2 * math.pi * scene.cycles * min(1.0, max(0.0, (u - 0.2) / 0.62)))
    gap = 10 * scene.swing * beat + scene.reach_before * 0.7 * away
    x0, y0, x1, y1 = _thing_extent(scene)
    along = _direction(scene)
    contact = -along * (0.35 * (abs(along[0]) * (x1 - x0) + abs(along[1]) * (y1 - y0)) + 5)
    pose = _pose(scene, contact - along * gap, 0.25)
    parts = _with_hand(scene, pose, [_ground_shadow(scene, 0), _thing(scene)], [])
    return Moment(parts, (("hand", "touching", scene.kind),) if gap < 2 else ())


def _stir(scene: Scene, u: float) -> Moment:
    lowered = _ramp(u, 0, 0.2)
    turn = 2 * math.pi * scene.cycles * max(0.0, u - 0.14) / 0.86
    tip = np.array([8 * math.cos(turn), 2 * math.sin(turn) - 16 * (1 - lowered)])
    handle = np.array([math.sin(scene.tilt), -math.cos(scene.tilt)])
    middle = tip + 8 * handle
    spoon = Part("spoon", move(thing_shapes("spoon", scene.thing_color), middle[0], middle[1], scene.tilt))
    back = Part("bowl", bowl_back_shapes(scene.container_color))
    front = Part("bowl", bowl_front_shapes(scene.container_color))
    pose = _pose(scene, middle + 11 * handle, _PEN_GRIP)
    palm, fingers = hand_parts(scene.look, pose)
    arm = arm_part(scene.look, pose, _shoulder(scene))
    shadow = Part("", (shadow_shape(0, 12, 26),))
    inside = lowered > 0.6
    relations = (("hand", "holding", "spoon"), *((("spoon", "inside", "bowl"),) if inside else ()))
    order = (shadow, back, spoon, front) if inside else (shadow, back, front, spoon)
    return Moment((*order, arm, palm, fingers), relations)


def _wave(scene: Scene, u: float) -> Moment:
    reach = scene.reach_before * (1 - _ramp(u, 0, 0.2))
    window = _ramp(u, 0.06, 0.2) * (1 - _ramp(u, 0.9, 1))
    turn = 0.55 * scene.swing * scene.side * math.sin(2 * math.pi * scene.cycles * u) * window
    elbow = -_direction(scene) * (WAVE_RADIUS + reach)
    angle = scene.arm_angle + turn
    hand = elbow + WAVE_RADIUS * np.array([math.cos(angle), math.sin(angle)])
    return Moment(_with_hand(scene, _pose(scene, hand, 0.0, turn), [], []))


_SCRIPTS: dict[str, Callable[[Scene, float], Moment]] = {
    "pick_up": _pick_up,
    "open_box": _open_box,
    "slide_right": _slide_right,
    "take_out": _take_out,
    "shake": _shake,
    "tap": _tap,
    "stir": _stir,
    "wave": _wave,
}
