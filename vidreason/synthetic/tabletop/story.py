"""What happens in a video, without any picture: which things are where, and what the hand does with them in a row."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..hand import HandLook
from ..scene import SKIN_TONES
from ..seeds import Seed, stream
from ..shapes import Color
from .config import BACKGROUNDS, CONTAINER, IDLE, KINDS, PALETTE, SIZES, TABLETOP_ACTIONS, TabletopConfig

# streams of random numbers, apart from those of the other two worlds
STORY_STREAM, LOOK_STREAM, CAMERA_STREAM, BACKGROUND_STREAM = range(40, 44)

COLUMNS_X, ROWS_Y = (22.0, 60.0, 98.0), (40.0, 92.0)
"""Middles of the six places on the table, in units: the largest things of neighbours stay apart."""

_PLACE_JITTER = 2.0
_BOX_PROBABILITY = 0.6
_BOX_SCALE = 1.25
_PAUSE_FRAMES = (1, 3)


@dataclass(frozen=True)
class Thing:
    """A thing on the table.

    Args:
        name: Name that no other thing of the video has, such as "ball" or "ball 2".
        kind: One of `KINDS`, or `CONTAINER`.
        color: Name in `PALETTE`.
        rgb: The color that it is drawn in.
        size: Name in `SIZES`; empty for a container.
        scale: How large it is drawn.
        place: (column, row) of its place at the start.
        shift: How far off the middle of its place it stands, in units.
    """

    name: str
    kind: str
    color: str
    rgb: Color
    size: str
    scale: float
    place: tuple[int, int]
    shift: tuple[float, float]

    def at(self, place: tuple[int, int]) -> tuple[float, float]:
        """Where it is when it stands at (column, row), in units."""
        return COLUMNS_X[place[0]] + self.shift[0], ROWS_Y[place[1]] + self.shift[1]


@dataclass(frozen=True)
class Event:
    """Frames [start_frame, end_frame) in which the hand does one thing.

    Args:
        start_frame: First frame; the hand sets out for the thing.
        end_frame: Frame after the last; the hand has let go.
        action: One of `TABLETOP_ACTIONS`.
        thing: Name of the thing that it is done with.
        place: (column, row) of that thing afterwards.
        goal: Name of the container that it is put in; empty for other actions.
        cycles: How often a movement is repeated, 2 or 3.
    """

    start_frame: int
    end_frame: int
    action: str
    thing: str
    place: tuple[int, int]
    goal: str
    cycles: int


@dataclass(frozen=True)
class Story:
    """All that happens in a video.

    Args:
        things: Things on the table, by name.
        events: What is done with them, in a row.
        num_frames: Length of the video.
        look: What the hand looks like.
        background: One of `BACKGROUNDS`.
    """

    things: dict[str, Thing]
    events: tuple[Event, ...]
    num_frames: int
    look: HandLook
    background: str

    def event_at(self, frame: int) -> int:
        """Index of the event that a frame is in; -1 in a pause."""
        found = (i for i, event in enumerate(self.events) if event.start_frame <= frame < event.end_frame)
        return next(found, -1)

    def segment_at(self, frame: int) -> str:
        """The action of a frame, or "idle"."""
        index = self.event_at(frame)
        return self.events[index].action if index >= 0 else IDLE


def draw_story(seed: Seed, config: TabletopConfig) -> Story:
    """Draw what happens in a video. It is drawn without regard to any question that could be asked of it."""
    rng, looks = stream(seed, STORY_STREAM), stream(seed, LOOK_STREAM)
    things = {thing.name: thing for thing in _draw_things(config, rng)}
    events, num_frames = _draw_events(things, config, rng)
    skin = SKIN_TONES[looks.integers(len(SKIN_TONES))]
    # a grey sleeve: it must not be taken for a thing's color
    look = HandLook(skin, (128, 134, 140), int(looks.choice((-1, 1))))
    return Story(things, events, num_frames, look, BACKGROUNDS[looks.integers(len(BACKGROUNDS))])


def _draw_things(config: TabletopConfig, rng: np.random.Generator) -> list[Thing]:
    places = [(column, row) for row in range(len(ROWS_Y)) for column in range(len(COLUMNS_X))]
    count = int(rng.integers(config.min_things, config.max_things + 1))
    chosen = [places[i] for i in rng.permutation(len(places))[:count]]
    has_box = rng.random() < _BOX_PROBABILITY
    things: list[Thing] = []
    for place in chosen:
        kind = CONTAINER if has_box and not things else KINDS[rng.integers(len(KINDS))]
        # no two things of one kind have one color: a name such as "the red ball" is a thing's own
        free = [color for color in PALETTE if (kind, color) not in {(thing.kind, thing.color) for thing in things}]
        color = free[rng.integers(len(free))]
        rgb = tuple(np.clip(np.asarray(PALETTE[color]) + rng.integers(-8, 9, size=3), 0, 255).tolist())
        size = list(SIZES)[rng.integers(len(SIZES))]
        scale = (_BOX_SCALE if kind == CONTAINER else SIZES[size]) * rng.uniform(0.95, 1.05)
        number = 1 + sum(thing.kind == kind for thing in things)
        name = kind if number == 1 else f"{kind} {number}"
        dx, dy = rng.uniform(-_PLACE_JITTER, _PLACE_JITTER, size=2).tolist()
        things.append(Thing(name, kind, color, rgb, "" if kind == CONTAINER else size, scale, place, (dx, dy)))
    return things


def _draw_events(
    things: dict[str, Thing], config: TabletopConfig, rng: np.random.Generator
) -> tuple[tuple[Event, ...], int]:
    """The events, and the number of frames of the video."""
    places = {name: thing.place for name, thing in things.items()}
    box = next((name for name, thing in things.items() if thing.kind == CONTAINER), "")
    inside = ""
    events: list[Event] = []
    frame = int(rng.integers(_PAUSE_FRAMES[0], _PAUSE_FRAMES[1] + 1))
    for _ in range(rng.integers(config.min_actions, config.max_actions + 1)):
        options = _options(things, places, box, inside)
        actions = [action for action in TABLETOP_ACTIONS if options[action]]
        action = actions[rng.integers(len(actions))]
        thing = options[action][rng.integers(len(options[action]))]
        end = frame + round(rng.uniform(config.min_action_s, config.max_action_s) * config.fps)
        if action == "put_in":
            places[thing], inside = places[box], thing
        elif action.startswith("slide"):
            places[thing] = _beside(places[thing], action)
        goal = box if action == "put_in" else ""
        # two taps are all that the frames of the shortest action can show
        cycles = 2 if action == "tap" else int(rng.integers(2, 4))
        events.append(Event(frame, end, action, thing, places[thing], goal, cycles))
        frame = end + int(rng.integers(_PAUSE_FRAMES[0], _PAUSE_FRAMES[1] + 1))
    return tuple(events), frame


def _options(
    things: dict[str, Thing], places: dict[str, tuple[int, int]], box: str, inside: str
) -> dict[str, list[str]]:
    """Action -> names of the things that it can be done with now. What is inside a box stays there, and so does it."""
    free = [name for name in things if name not in (box, inside)]
    options = {action: list(free) for action in TABLETOP_ACTIONS}
    for action in ("slide_left", "slide_right"):
        options[action] = [name for name in free if _is_free(_beside(places[name], action), places)]
    if not box or inside:
        options["put_in"] = []
    if box:
        options["tap"].append(box)
    return options


def _beside(place: tuple[int, int], action: str) -> tuple[int, int]:
    return place[0] + (1 if action == "slide_right" else -1), place[1]


def _is_free(place: tuple[int, int], places: dict[str, tuple[int, int]]) -> bool:
    return 0 <= place[0] < len(COLUMNS_X) and place not in places.values()
