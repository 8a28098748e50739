"""Where a segment's sign is laid: beside the work, off what is evidence in it."""

from __future__ import annotations

import numpy as np

from ..shapes import Part, extent
from ..truth import EVIDENCE_GRID
from .desk import Desk
from .items import BOARD_HALF_HEIGHT, BOARD_HALF_WIDTH
from .play import PlayedSegment
from .signs import sign_shapes
from .truth import Frame
from .view import item_parts, with_hand

_HALF_SIZE = 8.0  # of a sign, in units of the desk
_CANDIDATES = 200
_EVERY = 2  # frames between those at which evidence is looked at
_PADDING = 2.0  # around evidence, for the shake and for the frames between

# what a place costs: to lie on other things, or in cells with evidence, or under the arm
_ON_ITEMS, _PER_CELL, _UNDER_ARM = 1000.0, 10.0, 1.0


def place_sign(played: PlayedSegment, desk: Desk, frame: Frame, rng: np.random.Generator) -> Part:
    """The sign of a segment, at the best of some places drawn at random.

    Best is off other things, then off the cells with evidence, then off the arm. The number of draws is always the
    same.
    """
    half = _HALF_SIZE * rng.uniform(0.9, 1.1)
    angle = rng.uniform(-0.3, 0.3)
    reach = half * (1 + abs(angle))  # of a square that is turned, about
    low, high = np.array(desk.view[:2]) + reach + 2, np.array(desk.view[2:]) - reach - 2
    places = low + rng.random((_CANDIDATES, 2)) * (high - low)
    boxes = np.concatenate([places - reach, places + reach], axis=1)
    evidence, arms = _swept(played, desk)
    costs = (
        _ON_ITEMS * _overlaps(boxes, _lying(played, desk)).sum(axis=1)
        + _PER_CELL * _shared_cells(boxes, evidence, frame)
        + _UNDER_ARM * _overlaps(boxes, arms).mean(axis=1)
    )
    x, y = places[costs.argmin()].tolist()
    return Part(played.segment.sign, sign_shapes(played.segment.sign, x, y, half, angle))


def _lying(played: PlayedSegment, desk: Desk) -> np.ndarray:
    """(boxes, 4): around what lies on the desk, at home or where the segment finds it, and the place of the board."""
    x, y = desk.board_place
    width, height = BOARD_HALF_WIDTH + 2, BOARD_HALF_HEIGHT + 2
    board = np.array([x - width, y - height, x + width, y + height])
    plug = extent(item_parts(played.moments[0].state, desk, ["plug"]))
    return np.stack([board, plug, *desk.boxes.values()])


def _swept(played: PlayedSegment, desk: Desk) -> tuple[np.ndarray, np.ndarray]:
    """The boxes (boxes, 4) of all evidence in a segment, and those of hand and forearm."""
    evidence: list[np.ndarray] = []
    arms: list[np.ndarray] = []
    for moment in played.moments[::_EVERY]:
        names = [name for name in moment.state.items if name in played.used]
        parts = with_hand(moment.state, desk, item_parts(moment.state, desk, names), "")
        boxes = {part.item: extent([of for of in parts if of.item == part.item]) for part in parts}
        forearm = next(part for part in parts if part.item == "arm").shapes[0]
        arms.append(extent([Part("", (forearm,))]))
        del boxes["arm"]
        evidence += boxes.values() if played.used else []
    padding = np.array([-_PADDING, -_PADDING, _PADDING, _PADDING])
    return np.array(evidence).reshape(-1, 4) + padding, np.array(arms)


def _overlaps(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(boxes, others), bool: which of boxes (boxes, 4) overlap which of others (others, 4)."""
    a, b = boxes[:, None], others[None]
    overlap = (a[..., :2] < b[..., 2:]) & (b[..., :2] < a[..., 2:])
    return np.asarray(overlap.all(axis=-1))


def _shared_cells(boxes: np.ndarray, evidence: np.ndarray, frame: Frame) -> np.ndarray:
    """(boxes,): how many cells of the grid each of boxes (boxes, 4) shares with evidence (others, 4)."""
    rows, cols = EVIDENCE_GRID
    scale = np.array([cols, rows]) / frame.size
    edges = [(b * frame.scale_px + np.tile(frame.origin_px, 2)) * np.tile(scale, 2) for b in (boxes, evidence)]
    x, y = np.meshgrid(np.arange(cols), np.arange(rows))
    cells = np.stack([x, y, x + 1, y + 1], axis=-1).reshape(-1, 4).astype(float)
    taken = _overlaps(cells, edges[1]).any(axis=1)
    return (_overlaps(edges[0], cells) & taken).sum(axis=1)
