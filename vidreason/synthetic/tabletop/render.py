"""Frames of a video, and the ground truth that belongs to each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from ..backgrounds import background_picture
from ..camera import draw_camera
from ..hand import HandPose, arm_part, hand_parts
from ..seeds import Seed, stream
from ..shapes import SUPERSAMPLING, Part, Shape, clipped_extent, draw_parts, move
from ..things import box_back_shapes, box_front_shapes, shadow_shape, thing_shapes
from ..truth import ACTOR, HAND, FrameTruth, named_relations, object_entry
from .config import CONTAINER, TabletopConfig
from .play import Moment, Placed, play
from .story import BACKGROUND_STREAM, CAMERA_STREAM, Story, Thing, draw_story

_HAND_SCALE = 1.25  # in proportion to the things, which are drawn larger than in the other worlds
_SHOULDER = (60.0, 260.0)  # far below the table: the arm hides little of what lies beside the thing it reaches


@dataclass(frozen=True, eq=False)
class TabletopVideo:
    """A rendered video.

    Args:
        frames: Frames of shape (frames, height, width, 3), uint8, RGB.
        story: What happens in it.
        truth: Ground truth of every frame, in which objects have a `color` and a `size` too, "" for none.
    """

    frames: np.ndarray
    story: Story
    truth: list[FrameTruth] = field(default_factory=list)


def render_tabletop(seed: Seed, config: TabletopConfig | None = None) -> TabletopVideo:
    """Render a video. The same arguments give the same bytes.

    Args:
        seed: Seed of everything that is drawn at random; see `vidreason.synthetic.clip_seed`.
        config: Settings of the world.
    """
    config = config or TabletopConfig()
    story = draw_story(seed, config)
    camera = draw_camera(config, story.num_frames, stream(seed, CAMERA_STREAM))
    margin = math.ceil(config.max_jitter_px) + 1
    table = _table_picture(story, config, margin, stream(seed, BACKGROUND_STREAM))
    size = (config.width * SUPERSAMPLING, config.height * SUPERSAMPLING)
    origin = np.array([config.width, config.height]) / 2 - 60 * config.unit_px
    frames = np.empty((story.num_frames, config.height, config.width, 3), dtype=np.uint8)
    truth = []
    for index, (moment, shift) in enumerate(zip(play(story), camera.shifts_px, strict=True)):
        left, top = (margin * SUPERSAMPLING - shift).tolist()
        canvas = table.crop((left, top, left + size[0], top + size[1]))
        parts = _parts(story, moment)
        draw_parts(canvas, parts, config.unit_px * SUPERSAMPLING, origin * SUPERSAMPLING + shift)
        camera.expose(np.asarray(canvas.reduce(SUPERSAMPLING)), index, out=frames[index])
        truth.append(_frame_truth(story, moment, parts, origin + shift / SUPERSAMPLING, index, config))
    return TabletopVideo(frames, story, truth)


def _table_picture(story: Story, config: TabletopConfig, margin: int, rng: np.random.Generator) -> Image.Image:
    """The empty table, supersampled, with a margin of frame pixels around it for the shake."""
    width, height = config.width + 2 * margin, config.height + 2 * margin
    texture = Image.fromarray(background_picture(story.background, height, width, config.unit_px, rng))
    return texture.resize((width * SUPERSAMPLING, height * SUPERSAMPLING), Image.Resampling.BILINEAR)


def _parts(story: Story, moment: Moment) -> list[Part]:
    """Parts in the order in which they are drawn: what stands farther up first, the hand with what it holds last."""
    palm, fingers, arm = _hand_parts(story, moment)
    inside = next((name for name, place in moment.things.items() if place.inside), "")
    behind, above = [], []
    for name in sorted(moment.things, key=lambda name: (moment.things[name].y, name)):
        thing, place = story.things[name], moment.things[name]
        if thing.kind == CONTAINER:
            behind += _box_parts(thing, place, story.things.get(inside), moment.things.get(inside))
        elif name == moment.held and name != inside:
            above = [_thing_part(thing, place)]
        elif name != inside:
            behind += [_shadow(thing, place), _thing_part(thing, place)]
    return [*behind, arm, palm, *above, fingers]


def _thing_part(thing: Thing, place: Placed) -> Part:
    return Part(thing.name, move(thing_shapes(thing.kind, thing.rgb), place.x, place.y, place.angle, thing.scale))


def _shadow(thing: Thing, place: Placed) -> Part:
    return Part("", move([shadow_shape(0, 9, 18)], place.x, place.y, 0.0, thing.scale))


def _box_parts(box: Thing, place: Placed, content: Thing | None, content_place: Placed | None) -> list[Part]:
    def part(shapes: Sequence[Shape]) -> Part:
        return Part(box.name, move(shapes, place.x, place.y, 0.0, box.scale))

    within = [_thing_part(content, content_place)] if content is not None and content_place is not None else []
    shadow = Part("", move([shadow_shape(2, 12, 36)], place.x, place.y, 0.0, box.scale))
    return [shadow, part(box_back_shapes(box.rgb)), *within, part(box_front_shapes(box.rgb))]


def _hand_parts(story: Story, moment: Moment) -> tuple[Part, Part, Part]:
    """Palm, fingers and arm. They are drawn around the fingertips, larger than the hand of the other worlds."""
    x, y = moment.hand
    angle = math.atan2(y - _SHOULDER[1], x - _SHOULDER[0])
    pose = HandPose(0.0, 0.0, angle, moment.grip)
    shoulder = (np.array(_SHOULDER) - (x, y)) / _HAND_SCALE
    palm, fingers = hand_parts(story.look, pose)
    parts = (palm, fingers, arm_part(story.look, pose, shoulder))
    moved = [Part(part.item, move(part.shapes, x, y, 0.0, _HAND_SCALE)) for part in parts]
    return moved[0], moved[1], moved[2]


def _frame_truth(
    story: Story, moment: Moment, parts: list[Part], origin_px: np.ndarray, index: int, config: TabletopConfig
) -> FrameTruth:
    event = story.events[story.event_at(index)] if story.event_at(index) >= 0 else None
    objects = []
    for name, items in ((ACTOR, ("arm", HAND)), (HAND, (HAND,)), *((name, (name,)) for name in story.things)):
        shown = [part for part in parts if part.item in items]
        box = _box(shown, origin_px, config)
        if box is None:
            continue
        role = _role(name, event.thing if event else "", event.goal if event else "")
        relevant = event is not None and role in (HAND, "handled", "container")
        thing = story.things.get(name)
        entry: dict[str, Any] = object_entry(name, role, box, relevant)
        objects.append({**entry, "color": thing.color if thing else "", "size": thing.size if thing else ""})
    relations = named_relations(moment.relations, {entry["name"] for entry in objects})
    return FrameTruth(objects, relations, story.segment_at(index))


def _role(name: str, handled: str, container: str) -> str:
    roles = {ACTOR: "actor", HAND: "hand", handled: "handled", container: "container"}
    return roles.get(name, "visible")


def _box(parts: list[Part], origin_px: np.ndarray, config: TabletopConfig) -> list[float] | None:
    """The box (4,) in [0, 1] around what of some parts is in the frame; None where nothing is."""
    size = (config.width, config.height)
    found = clipped_extent(parts, config.unit_px, origin_px, size)
    if found is None:
        return None
    box = [min(max(v / side, 0.0), 1.0) for v, side in zip(found.tolist(), size * 2, strict=True)]
    return box if box[2] > box[0] and box[3] > box[1] else None
