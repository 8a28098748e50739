"""What is in each frame, as the ground truth says it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..shapes import Part, clipped_extent
from ..truth import HAND, named_relations
from .items import SOCKET_PLACE
from .state import FRONT, State, point_of_board
from .steps import Step

_HOLDING_GRIP = 0.5
_PLUGGED_DISTANCE = 0.5  # from the socket to the plug's tip, at most


@dataclass(frozen=True)
class Frame:
    """The frame that boxes are measured in.

    Args:
        scale_px: Number of pixels per unit of the desk.
        origin_px: Place of the desk's origin in pixels without shake, (2,).
        size: Size of the frame in pixels, (width, height).
    """

    scale_px: float
    origin_px: np.ndarray
    size: tuple[int, int]

    def box(self, parts: Sequence[Part], around: list[float], shift_px: np.ndarray) -> list[float] | None:
        """The box (4,) in [0, 1] around what of some parts is in the frame; None where nothing is.

        Args:
            parts: Parts of one object.
            around: The box (4,) around the parts in units of the desk, in plain numbers: this runs for every object of
                every frame.
            shift_px: Shift of the camera in pixels, (2,).
        """
        place = self.origin_px + shift_px
        (dx, dy), (width, height) = place.tolist(), self.size
        x0, y0, x1, y1 = (v * self.scale_px + d for v, d in zip(around, (dx, dy, dx, dy), strict=True))
        if x0 < 0 or y0 < 0 or x1 > width or y1 > height:
            clipped = clipped_extent(parts, self.scale_px, place, self.size)
            if clipped is None:
                return None
            x0, y0, x1, y1 = clipped.tolist()
        box = [min(max(v / side, 0.0), 1.0) for v, side in zip((x0, y0, x1, y1), self.size * 2, strict=True)]
        return box if box[2] > box[0] and box[3] > box[1] else None


def relations_of(state: State, step: Step, present: set[str]) -> list[dict[str, str]]:
    """The relations of a frame, among the objects that are in view."""
    found = [(HAND, "holding" if state.hand.grip > _HOLDING_GRIP else "touching", step.held)] if step.held else []
    found += step.relations(state)
    found += [(name, "on", "board") for name, place in state.items.items() if place.parent]
    if _is_plugged(state):
        found.append(("plug", "inside", "board"))
    return named_relations(dict.fromkeys(found), present)


def _is_plugged(state: State) -> bool:
    if "board" not in state.items or state.side_up != FRONT:
        return False
    plug = state.items["plug"]
    return math.dist((plug.x, plug.y), point_of_board(state, SOCKET_PLACE)) < _PLUGGED_DISTANCE
