"""The movements that actions are made of. Each goes on from whatever state the one before it left."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .state import HandState, Placement, Point, State, point_on

Play = Callable[[State, float, float], State]
"""(state before the step, its time from 0 to 1, its length in seconds) -> state."""

Path = Callable[[Placement, float, float], Placement]
"""(where an item was before the step, time, seconds) -> where it is."""

Relation = tuple[str, str, str]
Relations = Callable[[State], tuple[Relation, ...]]

_MIN_WORK_SHARE = 0.45  # of an action's time, however short it is


@dataclass(frozen=True)
class Step:
    """One movement.

    Args:
        play: Gives the state at a time of the movement.
        seconds: Length of the movement in seconds, where there is time enough.
        stretches: Whether it is the work itself, which takes what time is left.
        held: Name of the item that the hand holds; empty for none.
        relations: Gives the relations that hold in a state meanwhile, beside those that follow from what is held and
            what is fixed.
    """

    play: Play
    seconds: float = 0.0
    stretches: bool = False
    held: str = ""
    relations: Relations = lambda state: ()


def lengths_of(steps: Sequence[Step], seconds: float) -> list[float]:
    """How long each step takes when all take `seconds` together."""
    fixed = sum(step.seconds for step in steps if not step.stretches)
    shares = sum(step.stretches for step in steps)
    # in a short action, reaching and putting down are hurried before the work is
    work = max(seconds - fixed, _MIN_WORK_SHARE * seconds)
    scale = (seconds - work) / fixed if fixed else 0.0
    return [work / shares if step.stretches else step.seconds * scale for step in steps]


def ease(u: float) -> float:
    """From 0 to 1, smooth at both ends."""
    return u * u * (3 - 2 * u)


def ramp(u: float, start: float, end: float) -> float:
    """0 before `start`, 1 after `end`, smooth between."""
    return ease(min(1.0, max(0.0, (u - start) / (end - start))))


def blend(start: float, end: float, share: float) -> float:
    """From start to end."""
    return start + (end - start) * share


def cycles(seconds: float, per_second: float) -> int:
    """How often something is repeated in a time."""
    return max(1, round(seconds * per_second))


def reach(
    target: Callable[[State], Point],
    grip: float = 0.0,
    pointing: float = 0.0,
    seconds: float = 1.0,
    effect: Callable[[State, float], State] = lambda state, u: state,
) -> Step:
    """The empty hand goes somewhere. `effect` is what else happens; the target is looked up at its end."""

    def play(before: State, u: float, _: float) -> State:
        # where the target will be at the end: a board that slides in meanwhile is met, not chased
        x, y = target(effect(before, 1.0))
        hand, share = before.hand, ease(u)
        arrival = (x, y, grip, pointing)
        moved = HandState(*(blend(start, end, share) for start, end in zip(hand, arrival, strict=True)))
        return effect(before, u)._replace(hand=moved)

    return Step(play, seconds)


def reach_for(item: str, hold: Point, **settings) -> Step:
    """The hand goes to where it will hold an item."""
    return reach(lambda state: point_on(state, item, hold), **settings)


def grip_to(grip: float, held: str, seconds: float = 0.25) -> Step:
    """The hand closes around an item, or lets go of it."""

    def play(before: State, u: float, _: float) -> State:
        hand = before.hand
        return before._replace(hand=hand._replace(grip=blend(hand.grip, grip, ease(u))))

    return Step(play, seconds, held=held)


def follow(
    item: str,
    hold: Point,
    path: Path,
    seconds: float = 0.0,
    effect: Callable[[State, float, float], State] = lambda state, u, seconds: state,
    relations: Relations = lambda state: (),
) -> Step:
    """The hand moves an item along a path; without `seconds` it is the work itself, which stretches."""

    def play(before: State, u: float, length_s: float) -> State:
        state = before.with_item(item, path(before.items[item], u, length_s))
        x, y = point_on(state, item, hold)
        return effect(state._replace(hand=before.hand._replace(x=x, y=y)), u, length_s)

    return Step(play, seconds, stretches=not seconds, held=item, relations=relations)


def carry(item: str, hold: Point, target: Placement, seconds: float = 0.8, **settings) -> Step:
    """The hand takes an item somewhere, straight."""
    return follow(item, hold, straight_to(target), seconds, **settings)


def straight_to(target: Placement) -> Path:
    """To a place, smoothly."""

    def path(start: Placement, u: float, _: float) -> Placement:
        share = ease(u)
        return start._replace(
            x=blend(start.x, target.x, share),
            y=blend(start.y, target.y, share),
            angle=blend(start.angle, target.angle, share),
        )

    return path


def move_hand(path: Callable[[HandState, float, float], HandState], relations: Relations = lambda state: ()) -> Step:
    """The hand moves without anything in it; this is the work itself."""

    def play(before: State, u: float, seconds: float) -> State:
        return before._replace(hand=path(before.hand, u, seconds))

    return Step(play, stretches=True, relations=relations)


def always(*relations: Relation) -> Relations:
    """Relations that hold throughout a step."""
    return lambda state: relations


def visiting(points: Sequence[Point], u: float, move_share: float) -> tuple[Point, float]:
    """The place on a way from point to point, with a stay at each.

    Returns:
        The place, and how far the way to the next point is: 0 and 1 are at a point.
    """
    legs = max(1, len(points) - 1)
    leg = min(int(u * legs), legs - 1)
    share = ease(min(1.0, (u * legs - leg) / move_share))
    (x0, y0), (x1, y1) = points[leg], points[min(leg + 1, len(points) - 1)]
    return (blend(x0, x1, share), blend(y0, y1, share)), share


def stroke(u: float, forward_share: float = 0.7) -> float:
    """A ratchet's angle over one turn of the hand, from -1 slowly to 1 and quickly back."""
    if u < forward_share:
        return -1 + 2 * ease(u / forward_share)
    return 1 - 2 * ease((u - forward_share) / (1 - forward_share))


def wave(u: float, count: float) -> float:
    """A sine of `count` periods over the time from 0 to 1."""
    return math.sin(2 * math.pi * count * u)
