"""Frames of a video, and the ground truth that belongs to each, one after another."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
from PIL import Image

from ...errors import ConfigError
from ..backgrounds import background_picture
from ..camera import Camera, draw_camera
from ..seeds import Seed, stream
from ..shapes import SUPERSAMPLING, Color, Part, draw_parts, extent
from ..truth import ACTOR, HAND, FrameTruth, object_entry
from .config import BACKGROUND, AssemblyConfig
from .desk import Desk, draw_desk, units_per_px
from .play import Moment, PlayedSegment, play_segments
from .sign_places import place_sign
from .timeline import DESK_STREAM, PLACE_STREAM, TEXTURE_STREAM, VIEW_STREAM, AssemblySegment, draw_sequence
from .truth import Frame, relations_of
from .view import item_parts, wires_of, with_hand


class AssemblyFrame(NamedTuple):
    """A rendered frame.

    Args:
        picture: The frame, uint8 of shape (height, width, 3), RGB.
        truth: Ground truth of the frame.
        segment: Segment that the frame belongs to.
        texture: Texture of the desk, one of `DESK_TEXTURES`.
    """

    picture: np.ndarray
    truth: FrameTruth
    segment: AssemblySegment
    texture: str


def render_assembly(
    seed: Seed,
    split: str,
    config: AssemblyConfig | None = None,
    colors: Mapping[str, Color] | None = None,
) -> Iterator[AssemblyFrame]:
    """Render a video, frame by frame; no more than a segment of it is in memory.

    The same arguments give the same bytes.

    Args:
        seed: Seed of everything that is drawn at random; see `vidreason.synthetic.clip_seed`.
        split: Split of the video, which says how strongly signs are tied to actions.
        config: Settings of the world.
        colors: RGB colors of some kinds of items, in place of those that are drawn at random; everything else stays as
            it is.

    Raises:
        ConfigError: an unknown split or kind.
    """
    config = config or AssemblyConfig()
    segments = draw_sequence(seed, split, config)
    desk = draw_desk(config, stream(seed, DESK_STREAM))
    desk = replace(desk, colors={**desk.colors, **_checked_colors(colors or {}, desk)})
    studio = _Studio(config, desk, draw_camera(config, segments[-1].end_frame, stream(seed, VIEW_STREAM)), seed)
    places = stream(seed, PLACE_STREAM)
    for played in play_segments(segments, desk, seed, config):
        yield from _render_segment(studio, played, places)


def _checked_colors(colors: Mapping[str, Color], desk: Desk) -> Mapping[str, Color]:
    unknown = sorted(set(colors) - set(desk.colors))
    if unknown:
        raise ConfigError(f"colors of unknown kinds {unknown}; there are {sorted(desk.colors)}")
    return colors


@dataclass(frozen=True, eq=False)
class _Studio:
    """What all segments of a video share."""

    config: AssemblyConfig
    desk: Desk
    camera: Camera
    seed: Seed

    @cached_property
    def frame(self) -> Frame:
        scale = 1 / units_per_px(self.config)
        origin = -np.array(self.desk.view[:2]) * scale
        return Frame(scale, origin, (self.config.width, self.config.height))

    @property
    def margin(self) -> int:
        """Frame pixels around a still picture, for the shake."""
        return math.ceil(self.config.max_jitter_px) + 1

    @cached_property
    def texture(self) -> Image.Image:
        """The empty desk, supersampled, with a margin."""
        width, height = self.config.width + 2 * self.margin, self.config.height + 2 * self.margin
        unit_px, rng = self.config.height / 120, stream(self.seed, TEXTURE_STREAM)
        picture = Image.fromarray(background_picture(self.desk.texture, height, width, unit_px, rng))
        return picture.resize((width * SUPERSAMPLING, height * SUPERSAMPLING), Image.Resampling.BILINEAR)

    def draw_on(self, still: Image.Image, parts: list[Part]) -> Image.Image:
        """A still picture with more on it."""
        drawn = still.copy()
        place = (self.frame.origin_px + self.margin) * SUPERSAMPLING
        draw_parts(drawn, parts, self.frame.scale_px * SUPERSAMPLING, place)
        return drawn

    def shoot(self, still: Image.Image, parts: list[Part], index: int) -> np.ndarray:
        """Frame `index` of a still picture with what moves on it: uint8 (height, width, 3)."""
        shift, (width, height) = self.camera.shifts_px[index], self.frame.size
        left, top = (self.margin * SUPERSAMPLING - shift).tolist()
        canvas = still.crop((left, top, left + width * SUPERSAMPLING, top + height * SUPERSAMPLING))
        place = self.frame.origin_px * SUPERSAMPLING + shift
        draw_parts(canvas, parts, self.frame.scale_px * SUPERSAMPLING, place)
        picture = np.empty((height, width, 3), dtype=np.uint8)
        self.camera.expose(np.asarray(canvas.reduce(SUPERSAMPLING)), index, out=picture)
        return picture


def _render_segment(studio: _Studio, played: PlayedSegment, places: np.random.Generator) -> Iterator[AssemblyFrame]:
    desk, segment = studio.desk, played.segment
    moving = _moving_items(played)
    still_names = [name for name in played.moments[0].state.items if name not in moving]
    still_names += wires_of(still_names)
    still_parts = item_parts(played.moments[0].state, desk, still_names)
    sign = place_sign(played, desk, studio.frame, places)
    # once for each segment: most of the desk does not move in it
    still = studio.draw_on(studio.texture, still_parts)
    still_with_sign = studio.draw_on(still, [sign])
    still_boxes = {part.item: extent([part]).tolist() for part in (*still_parts, sign)}
    for offset, moment in enumerate(played.moments):
        index = segment.start_frame + offset
        shown = segment.sign_start_frame <= index < segment.sign_end_frame
        names = [name for name in moment.state.items if name in moving]
        parts = with_hand(
            moment.state, desk, item_parts(moment.state, desk, [*names, *wires_of(names)]), moment.step.held
        )
        picture = studio.shoot(still_with_sign if shown else still, parts, index)
        in_view = [*parts, *still_parts, *([sign] if shown else [])]
        shift_px = studio.camera.shifts_px[index] / SUPERSAMPLING
        truth = _truth(studio, played, moment, in_view, still_boxes, shift_px)
        yield AssemblyFrame(picture, truth, segment, desk.texture)


def _moving_items(played: PlayedSegment) -> set[str]:
    """The items that are not in the same place throughout a segment."""
    first = played.moments[0].state.items
    moving = set()
    for moment in played.moments[1:]:
        items = moment.state.items
        # states are never changed in place, so one dictionary means that nothing moved
        if items is not first:
            moving |= {name for name in {*first, *items} if items.get(name) != first.get(name)}
    # what is fixed to the board goes where it goes, without a new place of its own
    if "board" in moving:
        moving |= {name for name, place in first.items() if place.parent}
    return moving


def _truth(
    studio: _Studio,
    played: PlayedSegment,
    moment: Moment,
    parts: list[Part],
    still_boxes: Mapping[str, list[float]],
    shift_px: np.ndarray,
) -> FrameTruth:
    """What is in a frame, from the parts that are drawn in it; `still_boxes` are around those that stand still."""
    by_name: dict[str, list[Part]] = {ACTOR: []}
    for part in parts:
        if part.item in ("arm", HAND):
            by_name[ACTOR].append(part)
        if part.item != "arm":
            by_name.setdefault(part.item, []).append(part)
    label, sign = played.segment.label, played.segment.sign
    objects = []
    for name, of in by_name.items():
        around = still_boxes[name] if name in still_boxes else extent(of).tolist()
        box = studio.frame.box(of, around, shift_px)
        if box is None:
            continue
        relevant = label != BACKGROUND and (name == HAND or name in played.used)
        objects.append(object_entry(name, _role(name, sign, relevant, studio.desk), box, relevant))
    relations = relations_of(moment.state, moment.step, {entry["name"] for entry in objects})
    return FrameTruth(objects, relations, label)


def _role(name: str, sign: str, relevant: bool, desk: Desk) -> str:
    if name in (ACTOR, HAND):
        return "actor" if name == ACTOR else "hand"
    if name == sign:
        return "cooccurring"
    return "handled" if relevant else "distractor" if name in desk.unused else "visible"
