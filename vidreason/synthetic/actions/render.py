"""Frames of a clip, and the ground truth that belongs to each."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from ..backgrounds import background_picture
from ..camera import Camera, draw_camera
from ..scene import draw_scene
from ..seeds import Seed, stream
from ..shapes import SUPERSAMPLING, Part, Shape, clipped_extent, draw_parts
from ..truth import ACTOR, FrameTruth, named_relations, object_entry
from .config import REVERSED_PAIRS, WorldConfig, check_action
from .layout import Layout, draw_layout, role_of
from .nuisance import BACKGROUND_STREAM, CAMERA_STREAM, LAYOUT_STREAM, SCENE_STREAM, Nuisance
from .scripts import Moment

_ACTOR_ITEMS = ("arm", "hand")
_IRRELEVANT_ROLES = ("actor", "distractor", "cooccurring")
IDLE = "idle"


@dataclass(frozen=True)
class Segment:
    """Frames [start_frame, end_frame) with one label: the action, or "idle"."""

    start_frame: int
    end_frame: int
    label: str


@dataclass(frozen=True)
class ClipTruth:
    """What is in a clip."""

    action: str
    nuisance: Nuisance
    frames: list[FrameTruth]
    segments: list[Segment]


@dataclass(frozen=True, eq=False)
class Clip:
    """A rendered clip.

    Args:
        frames: Frames of shape (frames, height, width, 3), uint8, RGB.
        truth: Ground truth of every frame.
    """

    frames: np.ndarray
    truth: ClipTruth


def render_clip(
    action: str,
    seed: Seed,
    config: WorldConfig | None = None,
    nuisance: Nuisance | None = None,
) -> Clip:
    """Render a clip. The same arguments give the same bytes.

    The clips of a reversed pair with one seed and nuisance are the same frames in opposite order.

    Args:
        action: One of `ACTIONS`.
        seed: Seed of everything that is drawn at random; see `clip_seed`.
        config: Settings of the world.
        nuisance: Background and co-occurring object; see `draw_nuisance`.

    Raises:
        ConfigError: an unknown action, or a frame without room for the scene.
    """
    config, nuisance = config or WorldConfig(), nuisance or Nuisance()
    layout = lay_out(action, seed, config, nuisance)
    camera = draw_camera(config, config.num_frames, stream(seed, CAMERA_STREAM))
    frames = _render_frames(layout, camera, config, nuisance, seed)
    truths = [
        _frame_truth(layout, moment, shift / SUPERSAMPLING, _label_at(layout, action, index), config)
        for index, (moment, shift) in enumerate(zip(layout.moments, camera.shifts_px, strict=True))
    ]
    start, end = layout.start_frame, layout.end_frame
    # the camera is reversed with the script: its shake must not tell the two of a pair apart
    if action in REVERSED_PAIRS:
        frames, truths = np.ascontiguousarray(frames[::-1]), truths[::-1]
        start, end = config.num_frames - end, config.num_frames - start
    segments = [Segment(0, start, IDLE), Segment(start, end, action), Segment(end, config.num_frames, IDLE)]
    return Clip(frames, ClipTruth(action, nuisance, truths, segments))


def lay_out(action: str, seed: Seed, config: WorldConfig, nuisance: Nuisance) -> Layout:
    """The scene of a clip in the script's time, without drawing it."""
    check_action(action)
    return draw_layout(action, draw_scene(stream(seed, SCENE_STREAM)), nuisance, config, stream(seed, LAYOUT_STREAM))


def render_masks(
    action: str,
    seed: Seed,
    config: WorldConfig | None = None,
    nuisance: Nuisance | None = None,
) -> dict[str, np.ndarray]:
    """The coverage of each item in each frame, also where something else covers it: what the boxes are around.

    Returns:
        Object name -> uint8 of shape (frames, height, width), 0 where a pixel is not covered, 254 or 255 where it is
        covered wholly.
    """
    config, nuisance = config or WorldConfig(), nuisance or Nuisance()
    layout = lay_out(action, seed, config, nuisance)
    camera = draw_camera(config, config.num_frames, stream(seed, CAMERA_STREAM))
    masks: dict[str, list[np.ndarray]] = {}
    for moment, shift in zip(layout.moments, camera.shifts_px, strict=True):
        for item in layout.static_items:
            mask = _coverage([item.part], config, 1.0, shift / SUPERSAMPLING)
            masks.setdefault(item.name, []).append(mask)
        place = layout.anchor_px + shift / SUPERSAMPLING
        for name, items in _moving_objects(moment).items():
            parts = [part for part in moment.parts if part.item in items]
            masks.setdefault(name, []).append(_coverage(parts, config, layout.scale_px, place))
    order = -1 if action in REVERSED_PAIRS else 1
    return {name: np.stack(frames[::order]) for name, frames in masks.items()}


def _coverage(parts: Iterable[Part], config: WorldConfig, scale_px: float, place: np.ndarray) -> np.ndarray:
    """(height, width), uint8: how far parts at a place (2,) cover each pixel."""
    canvas = Image.new("L", (config.width * SUPERSAMPLING, config.height * SUPERSAMPLING))
    # PIL draws no outline in the color of the fill, and outlines cover a little more
    white = [
        Part(part.item, tuple(Shape(s.points, (255,), s.outline and (254,)) for s in part.shapes)) for part in parts
    ]
    draw_parts(canvas, white, scale_px * SUPERSAMPLING, place * SUPERSAMPLING)
    return np.asarray(canvas.reduce(SUPERSAMPLING))


def _label_at(layout: Layout, action: str, index: int) -> str:
    return action if layout.start_frame <= index < layout.end_frame else IDLE


def _render_frames(
    layout: Layout,
    camera: Camera,
    config: WorldConfig,
    nuisance: Nuisance,
    seed: Seed,
) -> np.ndarray:
    """uint8 (frames, height, width, 3), in the script's time."""
    # drawn once, larger than the frame, and then cropped for each frame's shake
    margin = math.ceil(config.max_jitter_px) + 1
    still = _still_picture(layout, config, nuisance, margin, stream(seed, BACKGROUND_STREAM))
    size = (config.width * SUPERSAMPLING, config.height * SUPERSAMPLING)
    frames = np.empty((config.num_frames, config.height, config.width, 3), dtype=np.uint8)
    for index, (moment, shift) in enumerate(zip(layout.moments, camera.shifts_px, strict=True)):
        left, top = (margin * SUPERSAMPLING - shift).tolist()
        canvas = still.crop((left, top, left + size[0], top + size[1]))
        place = layout.anchor_px * SUPERSAMPLING + shift
        draw_parts(canvas, moment.parts, layout.scale_px * SUPERSAMPLING, place)
        camera.expose(np.asarray(canvas.reduce(SUPERSAMPLING)), index, out=frames[index])
    return frames


def _still_picture(
    layout: Layout, config: WorldConfig, nuisance: Nuisance, margin: int, rng: np.random.Generator
) -> Image.Image:
    """Background and what stands still, supersampled, with a margin of frame pixels around it for the shake."""
    width, height = config.width + 2 * margin, config.height + 2 * margin
    texture = Image.fromarray(background_picture(nuisance.background, height, width, config.unit_px, rng))
    still = texture.resize((width * SUPERSAMPLING, height * SUPERSAMPLING), Image.Resampling.BILINEAR)
    shift = (margin * SUPERSAMPLING, margin * SUPERSAMPLING)
    draw_parts(still, [item.part for item in layout.static_items], SUPERSAMPLING, shift)
    return still


def _moving_objects(moment: Moment) -> dict[str, tuple[str, ...]]:
    """Object name -> the items of the moment that it is made of."""
    return {ACTOR: _ACTOR_ITEMS, **{item: (item,) for item in moment.relevant_items}}


def _frame_truth(
    layout: Layout, moment: Moment, shift_px: np.ndarray, segment: str, config: WorldConfig
) -> FrameTruth:
    size = (config.width, config.height)
    found = []
    for name, items in _moving_objects(moment).items():
        box = _moving_box(moment, items, layout, shift_px, size)
        found.append(_object(name, "actor" if name == ACTOR else role_of(name), box, size))
    for item in layout.static_items:  # always in view
        found.append(_object(item.name, item.role, _shifted(item.box_px.tolist(), *shift_px.tolist()), size))
    objects = [entry for entry in found if entry is not None]
    relations = named_relations(moment.relations, {entry["name"] for entry in objects})
    return FrameTruth(objects, relations, segment)


def _moving_box(
    moment: Moment, items: tuple[str, ...], layout: Layout, shift_px: np.ndarray, size: tuple[int, int]
) -> list[float] | None:
    """The box (4,) in pixels around that part of some items which is in the frame; None where none is.

    In plain numbers where nothing is cut off: this runs for every object of every frame.
    """
    place = layout.anchor_px + shift_px
    lefts, tops, rights, bottoms = zip(*(moment.extents[item].tolist() for item in items), strict=True)
    around = (min(lefts), min(tops), max(rights), max(bottoms))
    box = _shifted([value * layout.scale_px for value in around], *place.tolist())
    if min(box) >= 0 and box[2] <= size[0] and box[3] <= size[1]:
        return box
    parts = [part for item in items for part in moment.parts_of(item)]
    clipped = clipped_extent(parts, layout.scale_px, place, size)
    return None if clipped is None else clipped.tolist()


def _shifted(box: list[float], dx: float, dy: float) -> list[float]:
    """A box (4,), moved."""
    return [box[0] + dx, box[1] + dy, box[2] + dx, box[3] + dy]


def _object(name: str, role: str, box_px: list[float] | None, size: tuple[int, int]) -> dict[str, Any] | None:
    """An entry of the ground truth from a box (4,) within the frame of size (width, height); None where none is."""
    if box_px is None:
        return None
    x0, y0, x1, y1 = (min(max(value / side, 0.0), 1.0) for value, side in zip(box_px, size * 2, strict=True))
    if x1 <= x0 or y1 <= y0:
        return None
    return object_entry(name, role, (x0, y0, x1, y1), role not in _IRRELEVANT_ROLES)
