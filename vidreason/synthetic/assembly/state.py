"""Where everything on the desk is at one time."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from ..shapes import Shape

Point = tuple[float, float]

FRONT, BACK = "board", "board back"
"""What an item can be fixed to: either side of the board, which has one name in the ground truth."""


class Placement(NamedTuple):
    """Where one item is.

    Args:
        x: Horizontal place in units of the desk, or of the board that the item is fixed to.
        y: Vertical place in the same units.
        angle: Angle in radians, clockwise on the screen.
        flip: Scale of the item's own x, before it is turned; negative when it is mirrored or turned over.
        parent: Either `FRONT` or `BACK` when it is fixed to a side of the board; else empty.
        length: Length of a strip of tape, in units.
    """

    x: float
    y: float
    angle: float = 0.0
    flip: float = 1.0
    parent: str = ""
    length: float = 0.0


class HandState(NamedTuple):
    """The hand.

    Args:
        x: Horizontal place of the point between the fingertips, where things are held, in units.
        y: Vertical place of the same point.
        grip: How far the hand is closed: 0 open and spread, 1 around something.
        pointing: How far the index finger is stretched out, 0 to 1.
    """

    x: float
    y: float
    grip: float = 0.35
    pointing: float = 0.0


class State(NamedTuple):
    """Everything that can move.

    Args:
        hand: Place and grip of the hand.
        items: Place of each item by name. What is not on the desk has no entry. Never changed in place.
        mirror: Sign of the board's `flip` while its front is up: -1 when the layout is mirrored, else +1.
    """

    hand: HandState
    items: dict[str, Placement]
    mirror: int

    def with_item(self, name: str, place: Placement) -> State:
        """With one item elsewhere."""
        return self._replace(items={**self.items, name: place})

    def without(self, names: Iterable[str]) -> State:
        """With some items taken off the desk."""
        gone = set(names)
        return self._replace(items={name: place for name, place in self.items.items() if name not in gone})

    @property
    def side_up(self) -> str:
        """Which side of the board one sees, `FRONT` or `BACK`."""
        return FRONT if self.items["board"].flip * self.mirror >= 0 else BACK

    def is_seen(self, name: str) -> bool:
        """Whether an item is on the desk and not on the lower side of the board."""
        place = self.items.get(name)
        return place is not None and (not place.parent or place.parent == self.side_up)

    def names(self, kind: str) -> list[str]:
        """The items of a kind that are numbered, such as "screw 1"."""
        return [name for name in self.items if name.startswith(f"{kind} ") and name[len(kind) + 1 :].isdigit()]


def affine(state: State, name: str) -> tuple[np.ndarray, np.ndarray]:
    """A matrix (2, 2) and a shift (2,): an item's own points `p` are at `p @ matrix + shift` on the desk."""
    # of the item in its parent, and then of the board on the desk
    place = state.items[name]
    matrix, shift = _matrix(place), np.array([place.x, place.y])
    if place.parent:
        board = state.items["board"]
        outer = _matrix(board)
        return matrix @ outer, shift @ outer + (board.x, board.y)
    return matrix, shift


def _matrix(place: Placement) -> np.ndarray:
    """(2, 2), for points as rows."""
    cos, sin = math.cos(place.angle), math.sin(place.angle)
    return np.array([[place.flip * cos, place.flip * sin], [-sin, cos]])


def placed(shapes: tuple[Shape, ...], matrix: np.ndarray, shift: np.ndarray) -> tuple[Shape, ...]:
    """Shapes, at `points @ matrix + shift`."""
    return tuple(Shape(points @ matrix + shift, fill, outline) for points, fill, outline in shapes)


def point_on(state: State, name: str, point: Point) -> Point:
    """A point of an item, on the desk."""
    matrix, shift = affine(state, name)
    x, y = (np.asarray(point) @ matrix + shift).tolist()
    return x, y


def point_of_board(state: State, point: Point) -> Point:
    """A place of the board's layout on the desk, whichever side is up."""
    # the layout is mirrored once, but not again by turning the board over
    return point_on(state, "board", (point[0] * state.mirror / state.items["board"].flip, point[1]))


def fixed_to_board(state: State, name: str) -> State:
    """The state with an item fixed to the upper side of the board, where it lies."""
    place, board = state.items[name], state.items["board"]
    x, y = (np.array([place.x - board.x, place.y - board.y]) @ np.linalg.inv(_matrix(board))).tolist()
    # on a board that is turned over, clockwise is the other way round
    angle = (place.angle - board.angle) * math.copysign(1.0, board.flip)
    return state.with_item(
        name, place._replace(x=x, y=y, angle=angle, flip=place.flip / board.flip, parent=state.side_up)
    )
