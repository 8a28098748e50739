"""What is drawn by lot for a clip: the nuisances, and everything about the scene that is not the action itself."""

from __future__ import annotations

import colorsys
import math
from dataclasses import dataclass

import numpy as np

from ...errors import ConfigError
from ..backgrounds import BACKGROUNDS
from ..hand import HandLook
from ..shapes import Color
from ..stickers import COOCCURRING_OBJECTS
from ..things import THING_KINDS
from .config import ACTIONS, BACKGROUND_STRENGTHS, COOCCURRING_STRENGTHS, SPLITS, check_action

# each kind of draw has a stream of its own, so that a change in one moves no other
NUISANCE_STREAM, SCENE_STREAM, LAYOUT_STREAM, CAMERA_STREAM, BACKGROUND_STREAM = range(5)

_SKIN_TONES = ((255, 219, 186), (236, 188, 148), (206, 150, 108), (160, 108, 72), (112, 74, 50), (84, 56, 40))


@dataclass(frozen=True)
class Nuisance:
    """What is in view and takes no part in the action.

    Args:
        background: one of `BACKGROUNDS`.
        cooccurring_object: one of `COOCCURRING_OBJECTS`.
        background_tied: it was chosen for the label. An untied draw can hit the same one by chance.
        cooccurring_object_tied: likewise.

    Raises:
        ConfigError: an unknown name.
    """

    background: str = BACKGROUNDS[0]
    cooccurring_object: str = COOCCURRING_OBJECTS[0]
    background_tied: bool = False
    cooccurring_object_tied: bool = False

    def __post_init__(self):
        for name, known in (("background", BACKGROUNDS), ("cooccurring_object", COOCCURRING_OBJECTS)):
            if getattr(self, name) not in known:
                raise ConfigError(f"unknown {name} {getattr(self, name)!r}, expected one of {known}")


def clip_seed(world_seed: int, split: str, index: int) -> np.random.SeedSequence:
    """The seed of one clip, which depends on nothing but the world's seed, the split and the index in it.

    Raises:
        ConfigError: an unknown split, or a negative number.
    """
    if split not in SPLITS:
        raise ConfigError(f"unknown split {split!r}, expected one of {SPLITS}")
    if world_seed < 0 or index < 0:
        raise ConfigError(f"seed {world_seed} and index {index} must not be negative")
    return np.random.SeedSequence(world_seed, spawn_key=(SPLITS.index(split), index))


def stream(seed: int | np.random.SeedSequence, purpose: int) -> np.random.Generator:
    """Random numbers of a clip for one purpose, one of the `*_STREAM` constants."""
    if not isinstance(seed, np.random.SeedSequence):
        seed = np.random.SeedSequence(seed)
    return np.random.default_rng(np.random.SeedSequence(seed.entropy, spawn_key=(*seed.spawn_key, purpose)))


def draw_nuisance(action: str, split: str, seed: int | np.random.SeedSequence) -> Nuisance:
    """Background and co-occurring object of a clip, tied to the label with the strengths of its split."""
    check_action(action)
    rng = stream(seed, NUISANCE_STREAM)
    label = ACTIONS.index(action)
    background_tied = bool(rng.random() < BACKGROUND_STRENGTHS[split])
    object_tied = bool(rng.random() < COOCCURRING_STRENGTHS[split])
    free_background, free_object = rng.integers(len(ACTIONS), size=2)
    return Nuisance(
        BACKGROUNDS[label if background_tied else free_background],
        COOCCURRING_OBJECTS[label if object_tied else free_object],
        background_tied,
        object_tied,
    )


@dataclass(frozen=True)
class Scene:
    """What a script needs to know. It is drawn without knowledge of the action, so nothing in it can tell the label.

    Lengths are in units of the scene, angles in radians.

    Args:
        kind: of the thing that is handled.
        thing_color: its color.
        thing_size: its size, 1 is normal.
        container_color: of a box or bowl that takes part.
        look: of the actor.
        arm_angle: direction in which the arm points, away from the edge that it comes from.
        side: -1 or +1, where a lid has its hinge and to which side a thing is taken.
        reach_before: how far the hand is from where it takes hold, before the action.
        reach_after: the same after it.
        lift_height: of a thing that is picked up.
        lift_drift: how far it moves sideways meanwhile.
        slide_length: how far a thing is slid.
        cycles: of what is repeated, 2 to 3.
        swing: how far repeated movements go, 0.8 to 1.2.
        swing_angle: direction of a shake.
        tilt: of a spoon.
    """

    kind: str
    thing_color: Color
    thing_size: float
    container_color: Color
    look: HandLook
    arm_angle: float
    side: int
    reach_before: float
    reach_after: float
    lift_height: float
    lift_drift: float
    slide_length: float
    cycles: int
    swing: float
    swing_angle: float
    tilt: float


def draw_scene(rng: np.random.Generator) -> Scene:
    """Draw a scene. The number of draws is always the same."""
    tone = np.asarray(_SKIN_TONES[rng.integers(len(_SKIN_TONES))]) + rng.integers(-10, 11)
    look = HandLook(tuple(np.clip(tone, 0, 255).tolist()), draw_color(rng), int(rng.choice((-1, 1))))
    return Scene(
        kind=list(THING_KINDS)[rng.integers(len(THING_KINDS))],
        thing_color=draw_color(rng),
        thing_size=rng.uniform(0.85, 1.1),
        container_color=draw_color(rng),
        look=look,
        arm_angle=rng.integers(4) * math.pi / 2 + rng.uniform(-0.45, 0.45),
        side=int(rng.choice((-1, 1))),
        reach_before=rng.uniform(16, 32),
        reach_after=rng.uniform(16, 32),
        lift_height=rng.uniform(20, 28),
        lift_drift=rng.uniform(-5, 5),
        slide_length=rng.uniform(28, 38),
        cycles=int(rng.integers(2, 4)),
        swing=rng.uniform(0.8, 1.2),
        swing_angle=rng.uniform(0, math.pi),
        tilt=rng.uniform(-0.5, 0.5),
    )


def draw_color(rng: np.random.Generator) -> Color:
    """Any hue, not too pale and not too dark."""
    red, green, blue = colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.35, 0.9), rng.uniform(0.5, 0.95))
    return round(red * 255), round(green * 255), round(blue * 255)
