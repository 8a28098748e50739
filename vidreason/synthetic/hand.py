"""The actor: a hand that opens and closes, and the arm that it hangs on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from .shapes import Color, Part, Shape, capsule, ellipse, move, outlined

WAVE_RADIUS = 26.0
"""From the point where the hand holds things back to about the cuff, around which a wave turns."""

_WRIST, _CUFF = 11.0, 21.0  # distances back from the point where the hand holds things
_FINGER_ROOTS = ((-3.5, -4.6), (-2.6, -1.6), (-2.6, 1.6), (-3.5, 4.6))
_OPEN_ANGLES, _CLOSED_ANGLES = (-0.42, -0.14, 0.14, 0.42), (0.1, 0.04, -0.04, -0.1)
_OPEN_LENGTHS, _CLOSED_LENGTH = (8.6, 10.4, 10.6, 9.4), 5.2


@dataclass(frozen=True)
class HandLook:
    """What the actor looks like.

    Args:
        skin: RGB color of the skin.
        sleeve: RGB color of the sleeve.
        thumb_side: Either -1 or +1, a left or a right hand.
    """

    skin: Color
    sleeve: Color
    thumb_side: int


@dataclass(frozen=True)
class HandPose:
    """Where the hand is and what it does.

    Args:
        x: Horizontal place of the point between the fingertips, where things are held, in units.
        y: Vertical place of the same point.
        angle: Direction of the fingers, in radians.
        grip: How far the hand is closed: 0 open and spread, 1 around something.
    """

    x: float
    y: float
    angle: float
    grip: float


def hand_parts(look: HandLook, pose: HandPose) -> tuple[Part, Part]:
    """Palm and thumb, which go behind what is held, and the fingers, which go before it."""
    place = (pose.x, pose.y, pose.angle)
    back, front = _hand_shapes(look, pose.grip)
    return Part("hand", move(back, *place)), Part("hand", move(front, *place))


@lru_cache(maxsize=64)
def _hand_shapes(look: HandLook, grip: float) -> tuple[list[Shape], list[Shape]]:
    """The shapes before they are put in place; kept, since most frames have one of the two extremes of the grip."""
    back = [outlined(ellipse(-8, 0, 7.4, 7.0), look.skin), *_thumb(look, grip)]
    fingers = [outlined(_finger(i, grip), look.skin) for i in range(4)]
    knuckles = Shape(ellipse(-5.4, 0, 3.4, 5.8, 14), look.skin)  # hides the outlines between fingers and palm
    return back, [*fingers, knuckles]


def _thumb(look: HandLook, grip: float) -> list[Shape]:
    angle = (0.95 - 0.75 * grip) * look.thumb_side
    root = np.array([-8.0, 5.4 * look.thumb_side])
    tip = root + 9.0 * np.array([math.cos(angle), math.sin(angle)])
    return [outlined(capsule(root, tip, 2.4, 2.0), look.skin)]


def _finger(index: int, grip: float) -> np.ndarray:
    """Points (12, 2)."""
    root = np.array(_FINGER_ROOTS[index])
    angle = _OPEN_ANGLES[index] * (1 - grip) + _CLOSED_ANGLES[index] * grip
    length = _OPEN_LENGTHS[index] * (1 - grip) + _CLOSED_LENGTH * grip
    return capsule(root, root + length * np.array([math.cos(angle), math.sin(angle)]), 1.9, 1.7)


def arm_part(look: HandLook, pose: HandPose, shoulder: np.ndarray) -> Part:
    """Bare forearm and sleeve. The sleeve runs from the cuff to the shoulder (2,), far out of the frame."""
    back = -np.array([math.cos(pose.angle), math.sin(pose.angle)])
    hand = np.array([pose.x, pose.y])
    wrist, cuff = hand + _WRIST * back, hand + _CUFF * back
    forearm = outlined(capsule(cuff, wrist, 5.2, 4.6), look.skin)
    return Part("arm", (forearm, outlined(capsule(shoulder, cuff, 11.0, 6.6), look.sleeve)))
