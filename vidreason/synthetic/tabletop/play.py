"""Where everything is at each frame of a story."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from ..shapes import Part, extent, move
from ..things import thing_shapes
from ..truth import HAND
from .config import CONTAINER
from .story import Event, Story, Thing

Point = tuple[float, float]

_AWAY: Point = (60.0, 150.0)  # below the table, where the hand comes from
_RETREAT = 9.0  # how far the hand backs off when it has let go
_LIFT, _SHAKE_LIFT = 18.0, 7.0
_HELD_GRIP = 0.5


@dataclass(frozen=True)
class Placed:
    """A thing at one time: its middle, its turn in radians, and whether it is in the container."""

    x: float
    y: float
    angle: float = 0.0
    inside: bool = False


@dataclass(frozen=True)
class Moment:
    """The scene in one frame.

    Args:
        things: Where each thing is, by name.
        hand: Where the hand's fingertips are.
        grip: How far the hand is closed, 0 to 1.
        held: Name of the thing that the hand has in its grip; empty for none.
        relations: (subject, predicate, object) by names.
    """

    things: dict[str, Placed]
    hand: Point
    grip: float
    held: str
    relations: tuple[tuple[str, str, str], ...]


def play(story: Story) -> list[Moment]:
    """The moments of all frames."""
    things = {name: Placed(*thing.at(thing.place)) for name, thing in story.things.items()}
    hand, moments = _AWAY, []
    for frame in range(story.num_frames):
        index = story.event_at(frame)
        if index < 0:
            moments.append(_moment(story, things, hand, 0.0))
            continue
        event = story.events[index]
        if frame == event.start_frame:
            before, hand_before = dict(things), hand
        # the last frame of an event shows its end
        u = (frame - event.start_frame + 1) / (event.end_frame - event.start_frame)
        things, hand, grip = _play_event(story, event, before, hand_before, u)
        moments.append(_moment(story, things, hand, grip, event))
    return moments


def _play_event(
    story: Story, event: Event, before: dict[str, Placed], hand_before: Point, u: float
) -> tuple[dict[str, Placed], Point, float]:
    """Things, hand and grip at the share `u` of an event."""
    thing = story.things[event.thing]
    start = before[event.thing]
    now = _move(story, event, start, before.get(event.goal), u)
    hold = _hold_offset(thing)
    grip = 0.25 if event.action == "tap" else ramp(u, 0.22, 0.32) - ramp(u, 0.84, 0.94)
    reach, retreat = ramp(u, 0.0, 0.26), ramp(u, 0.86, 1.0)
    contact = (now.x, now.y + hold + _RETREAT * retreat)
    if event.action == "tap":
        beat = 0.5 + 0.5 * math.cos(2 * math.pi * event.cycles * min(1.0, max(0.0, (u - 0.26) / 0.6)))
        # it rests for a moment on the thing, so that no rate of frames misses that they touch
        contact = (contact[0], contact[1] + 12.0 * max(0.0, beat - 0.3) * (1 - retreat))
    hand = (
        hand_before[0] + (contact[0] - hand_before[0]) * reach,
        hand_before[1] + (contact[1] - hand_before[1]) * reach,
    )
    return {**before, event.thing: now}, hand, grip


def _move(story: Story, event: Event, start: Placed, goal: Placed | None, u: float) -> Placed:
    """Where the thing of an event is at its share `u`."""
    if event.action == "pick_up":
        return replace(start, y=start.y - _LIFT * (ramp(u, 0.34, 0.5) - ramp(u, 0.68, 0.84)))
    if event.action == "shake":
        lifted = ramp(u, 0.32, 0.4) - ramp(u, 0.76, 0.84)
        swing = math.sin(2 * math.pi * event.cycles * min(1.0, max(0.0, (u - 0.36) / 0.44))) * lifted
        return replace(start, x=start.x + 5 * swing, y=start.y - _SHAKE_LIFT * lifted, angle=0.55 * swing)
    if event.action.startswith("slide"):
        x, _ = story.things[event.thing].at(event.place)
        return replace(start, x=start.x + (x - start.x) * ramp(u, 0.34, 0.82))
    if event.action == "put_in" and goal is not None:
        share, rise = ramp(u, 0.38, 0.72), ramp(u, 0.32, 0.5) - ramp(u, 0.68, 0.84)
        x, y = goal.x + 2, goal.y - 5
        place = replace(start, x=start.x + (x - start.x) * share, y=start.y + (y - start.y) * share - _LIFT * rise)
        return replace(place, inside=u >= 0.72)
    return start


def ramp(u: float, start: float, end: float) -> float:
    """0 before `start`, 1 after `end`, smooth between."""
    t = min(1.0, max(0.0, (u - start) / (end - start)))
    return t * t * (3 - 2 * t)


def _moment(story: Story, things: dict[str, Placed], hand: Point, grip: float, event: Event | None = None) -> Moment:
    held, relations = "", []
    if event is not None:
        thing = story.things[event.thing]
        now = things[event.thing]
        gap = math.hypot(hand[0] - now.x, hand[1] - now.y - _hold_offset(thing))
        if grip > _HELD_GRIP:
            held, relations = event.thing, [(HAND, "holding", event.thing)]
        elif gap < 2.0:
            relations = [(HAND, "touching", event.thing)]
    box = next((name for name, thing in story.things.items() if thing.kind == CONTAINER), "")
    relations += [(name, "inside", box) for name, place in things.items() if place.inside]
    return Moment(dict(things), hand, grip, held, tuple(relations))


def _hold_offset(thing: Thing) -> float:
    """How far below the middle of a thing the hand takes hold of it: its arm comes from below."""
    shapes = thing_shapes(thing.kind, thing.rgb) if thing.kind != CONTAINER else ()
    if not shapes:
        return 14.0
    box = extent([Part(thing.name, move(shapes, 0, 0, 0, thing.scale))])
    return 0.75 * float(box[3])
