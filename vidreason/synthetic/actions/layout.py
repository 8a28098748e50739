"""Where and when: the action's place, size and timing in the clip, and what stands around it.

Everything here is in the script's own time. An action that runs backwards is turned around when it is rendered.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ...errors import ConfigError
from ..scene import Scene, draw_color
from ..shapes import Part, Shape, extent, move
from ..stickers import sticker_shapes
from ..things import DISTRACTOR_KINDS
from ..truth import EVIDENCE_GRID
from .config import WorldConfig
from .nuisance import Nuisance
from .scripts import ROLES, Moment, play

_MARGIN_PX = 3.0  # between the frame's edge and what must be wholly in view
_ATTEMPTS = 60


@dataclass(frozen=True)
class StaticItem:
    """Something that stands still. Its shapes are in pixels of the frame without camera shake.

    Args:
        name: Name of the item, unique within the clip.
        role: Either "distractor" or "cooccurring".
        shapes: Shapes in the order in which they are drawn.
    """

    name: str
    role: str
    shapes: tuple[Shape, ...]

    @property
    def part(self) -> Part:
        """For drawing."""
        return Part(self.name, self.shapes)

    @cached_property
    def box_px(self) -> np.ndarray:
        """The box (4,) around it."""
        return extent([self.part])


@dataclass(frozen=True)
class Layout:
    """A scene laid out in time and in the frame.

    Args:
        moments: Moving part of the scene, one moment per frame.
        start_frame: First frame of the action.
        end_frame: Frame after the last of the action.
        scale_px: Number of pixels per unit of the scene.
        anchor_px: Place of the scene's origin in pixels, (2,).
        static_items: Items that stand still, in the order in which they are drawn, behind everything that moves.
    """

    moments: tuple[Moment, ...]
    start_frame: int
    end_frame: int
    scale_px: float
    anchor_px: np.ndarray
    static_items: tuple[StaticItem, ...]


def draw_layout(
    action: str, scene: Scene, nuisance: Nuisance, config: WorldConfig, rng: np.random.Generator
) -> Layout:
    """Draw times and places. What is drawn does not depend on which nuisances they are.

    Raises:
        ConfigError: the frame has no room for the scene.
    """
    idle_before, idle_after = rng.integers(1, config.num_frames // 6 + 1, size=2).tolist()
    end_frame = config.num_frames - idle_after
    moments = tuple(play(action, scene, u) for u in _script_times(config.num_frames, idle_before, end_frame))
    scale_px = config.unit_px * rng.uniform(1.15, 1.4)
    sticker = move(sticker_shapes(nuisance.cooccurring_object), 0, 0, rng.uniform(-0.3, 0.3))
    sticker_px = 11.5 * config.unit_px * rng.uniform(0.85, 1.05)  # half its side, the same for all sorts
    anchor, swept, place = _draw_places(moments, scale_px, sticker_px, config, rng)
    cooccurring = StaticItem(nuisance.cooccurring_object, "cooccurring", _fit_centered(sticker, place, sticker_px))
    taken = [*swept, np.concatenate([place - sticker_px, place + sticker_px])]
    names = {part.item for moment in moments for part in moment.parts}
    distractors = _draw_distractors(names, taken, config, rng)
    return Layout(moments, idle_before, end_frame, scale_px, anchor, (*distractors, cooccurring))


def _draw_places(
    moments: tuple[Moment, ...], scale_px: float, sticker_px: float, config: WorldConfig, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The anchor (2,), the padded boxes (boxes, 4) of all evidence, and the middle (2,) of the co-occurring object."""
    evidence, in_view = (np.stack(boxes) * scale_px for boxes in _evidence_boxes(moments))
    shake_px = config.max_jitter_px + 1
    # by rejection: the cells with evidence depend on where the scene is anchored
    for attempt in range(_ATTEMPTS):
        anchor = _draw_anchor(in_view, config, rng)
        swept = evidence + np.concatenate([anchor - shake_px, anchor + shake_px])
        # rather off the arm too, unless that leaves no room
        lines = _arm_lines(moments, scale_px, anchor) if attempt < _ATTEMPTS // 2 else []
        place = _draw_sticker_place(swept, lines, sticker_px + shake_px, config, rng)
        if place is not None:
            return anchor, swept, place
    raise ConfigError(f"no room for a co-occurring object in frames of {config.width} x {config.height}")


def _script_times(num_frames: int, start: int, end: int) -> list[float]:
    """The script's time of each frame: 0 while idle before, 1 while idle after, evenly spaced between."""
    return [min(1.0, max(0.0, (frame - start + 1) / (end - start + 1))) for frame in range(num_frames)]


def _evidence_boxes(moments: Iterable[Moment]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The boxes (4,) of all evidence at all times, and of that part of it which must be in view."""
    evidence: list[np.ndarray] = []
    in_view: list[np.ndarray] = []
    for moment in moments:
        boxes = {item: moment.extents[item] for item in moment.relevant_items}
        evidence += boxes.values()
        if len(boxes) > 1 and not any(subject == "hand" for subject, _, _ in moment.relations):
            del boxes["hand"]  # at rest it may be out of view
        in_view += boxes.values()
    return evidence, in_view


def _draw_anchor(boxes: np.ndarray, config: WorldConfig, rng: np.random.Generator) -> np.ndarray:
    """(2,): a place from which boxes (boxes, 4) in pixels around the anchor are in view."""
    margin = _MARGIN_PX + config.max_jitter_px
    low = margin - boxes[:, :2].min(axis=0)
    high = np.array([config.width, config.height]) - margin - boxes[:, 2:].max(axis=0)
    return np.where(low <= high, low + rng.random(2) * (high - low), (low + high) / 2)


def _arm_lines(moments: tuple[Moment, ...], scale_px: float, anchor: np.ndarray) -> list[np.ndarray]:
    """The middle line (2, 2) of the arm in some frames, in pixels."""
    lines = []
    for moment in moments[::3]:
        sleeve = moment.parts_of("arm")[0].shapes[-1].points
        lines.append(np.stack([sleeve[:6].mean(axis=0), sleeve[6:].mean(axis=0)]) * scale_px + anchor)
    return lines


def _draw_sticker_place(
    swept: np.ndarray, arm_lines: list[np.ndarray], half_px: float, config: WorldConfig, rng: np.random.Generator
) -> np.ndarray | None:
    """(2,): a middle for the co-occurring object, off the cells with evidence and off the arm; None if none fits.

    swept: (boxes, 4), the evidence.
    """
    size = np.array([config.width, config.height])
    places = half_px + rng.random((40, 2)) * (size - 2 * half_px)
    taken = np.zeros(EVIDENCE_GRID, dtype=bool)
    for left, top, right, bottom in np.unique(_cell_ranges(swept, config), axis=0):
        taken[top:bottom, left:right] = True
    ranges = _cell_ranges(np.concatenate([places - half_px, places + half_px], axis=1), config)
    free = np.array([not taken[top:bottom, left:right].any() for left, top, right, bottom in ranges])
    for line in arm_lines:
        free &= _distances(places, line) > half_px * 1.3 + 10 * config.unit_px
    found = np.flatnonzero(free)
    return places[found[0]] if len(found) else None


def _cell_ranges(boxes: np.ndarray, config: WorldConfig) -> np.ndarray:
    """The ranges of columns and rows that boxes (boxes, 4) reach into: (boxes, 4), first inclusive, last exclusive."""
    rows, cols = EVIDENCE_GRID
    scaled = boxes * np.tile([cols / config.width, rows / config.height], 2)
    return np.concatenate([np.floor(scaled[:, :2]), np.ceil(scaled[:, 2:])], axis=1).clip(0).astype(int)


def _distances(points: np.ndarray, line: np.ndarray) -> np.ndarray:
    """From points (points, 2) to a line segment (2, 2)."""
    start, along = line[0], line[1] - line[0]
    share = np.clip((points - start) @ along / (along @ along), 0, 1)
    return np.linalg.norm(points - start - share[:, None] * along, axis=1)


def _draw_distractors(
    names: set[str], taken: list[np.ndarray], config: WorldConfig, rng: np.random.Generator
) -> list[StaticItem]:
    """Neutral things, whatever the action. One that finds no free place is left out."""
    items: list[StaticItem] = []
    names, taken = set(names), list(taken)
    for _ in range(rng.integers(config.max_distractors + 1)):
        kind = list(DISTRACTOR_KINDS)[rng.integers(len(DISTRACTOR_KINDS))]
        name, make = DISTRACTOR_KINDS[kind]
        shapes = make(draw_color(rng))
        scale = config.unit_px * rng.uniform(0.8, 1.05)
        box = extent([Part(kind, tuple(shapes))]) * scale
        place = _draw_free_place(box, taken, config, rng)
        if place is None:
            continue
        while name in names:  # two mugs are "mug" and "mug 2"
            base, _, number = name.partition(" ")
            name = f"{base} {int(number or 1) + 1}"
        names.add(name)
        taken.append(box + np.concatenate([place, place]))
        items.append(StaticItem(name, "distractor", move(shapes, place[0], place[1], scale=scale)))
    return items


def _draw_free_place(
    box: np.ndarray, taken: list[np.ndarray], config: WorldConfig, rng: np.random.Generator
) -> np.ndarray | None:
    """(2,): where to put something with the box (4,) around its origin so that it is in view and covers nothing."""
    margin = _MARGIN_PX + config.max_jitter_px
    low, high = margin - box[:2], np.array([config.width, config.height]) - margin - box[2:]
    others = np.stack(taken)
    for place in low + rng.random((20, 2)) * (high - low):
        x0, y0, x1, y1 = box + np.concatenate([place, place])
        apart = (others[:, 0] > x1) | (others[:, 2] < x0) | (others[:, 1] > y1) | (others[:, 3] < y0)
        if apart.all():
            return place
    return None


def _fit_centered(shapes: Iterable[Shape], place: np.ndarray, half_px: float) -> tuple[Shape, ...]:
    """Put the middle of shapes at a place (2,), scaled so that the longer half side is `half_px`."""
    box = extent([Part("", tuple(shapes))])
    middle, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]).max() / 2
    centred = move(shapes, -middle[0], -middle[1])
    return move(centred, place[0], place[1], scale=half_px / half)


def role_of(item: str) -> str:
    """The role of a moving item in the ground truth."""
    return ROLES.get(item, "handled")
