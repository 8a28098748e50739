"""What a scene looks like apart from the action in it: the actor, the thing that is handled, and how far things go."""

from __future__ import annotations

import colorsys
import math
from dataclasses import dataclass

import numpy as np

from .hand import HandLook
from .shapes import Color
from .things import THING_KINDS

SKIN_TONES = ((255, 219, 186), (236, 188, 148), (206, 150, 108), (160, 108, 72), (112, 74, 50), (84, 56, 40))


@dataclass(frozen=True)
class Scene:
    """What a script needs to know. It is drawn without knowledge of the action, so nothing in it can tell the label.

    Lengths are in units of the scene, angles in radians.

    Args:
        kind: Kind of the thing that is handled, one of `THING_KINDS`.
        thing_color: RGB color of that thing.
        thing_size: Scale of that thing; 1 is normal.
        container_color: RGB color of a box or bowl that takes part.
        look: Skin, sleeve and side of the actor's hand.
        arm_angle: Direction in which the arm points, away from the edge that it comes from.
        side: Either -1 or +1: where a lid has its hinge, and to which side a thing is taken.
        reach_before: Distance of the hand from where it takes hold, before the action.
        reach_after: Distance of the hand from where it let go, after the action.
        lift_height: Height to which a thing is picked up.
        lift_drift: Sideways distance that it moves meanwhile.
        slide_length: Distance over which a thing is slid.
        cycles: Number of repetitions of what is repeated, 2 or 3.
        swing: Relative size of repeated movements, 0.8 to 1.2.
        swing_angle: Direction of a shake.
        tilt: Tilt of a spoon.
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
    """Draw a scene. The number and order of draws is always the same: both worlds' versions hang on it."""
    tone = np.asarray(SKIN_TONES[rng.integers(len(SKIN_TONES))]) + rng.integers(-10, 11)
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
