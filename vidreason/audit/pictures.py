"""Frames of an audit to look at: chosen by a stated rule, drawn with the guidance beside what it is judged by."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
from PIL import Image

from ..errors import GuidanceError
from ..guidance.geometry import GridMap
from ..guidance.join import MISSING
from ..manifests.manifest import Manifest
from ..video import side_by_side
from .drawing import (
    GUIDANCE_COLOR,
    TRUTH_COLOR,
    blank_frame,
    captioned,
    draw_boxes,
    draw_map,
    heading,
    in_column,
    in_row,
    read_pixels,
)
from .measures import marked_cells
from .references import OK
from .run import Audit, AuditedFrame

logger = logging.getLogger(__name__)

WORST, BEST, RANDOM, UNANSWERED = "worst", "best", "random", "without guidance"
GROUPS = (WORST, BEST, RANDOM, UNANSWERED)

MIN_GAP_S = 1.0
CHOICE = (
    "Worst and best are by cell IoU, then by the mass inside, then at random; random frames are drawn from all that "
    "were scored, and frames without guidance from those that could have been. Frames of one video are at least "
    f"{MIN_GAP_S:g} s apart, and no video has more than its share of a group."
)
"""The rule by which examples are chosen, for readers."""

CHOICE_UNJUDGED = (
    "There is nothing to judge by: random frames are drawn from the rows with guidance, and frames without guidance "
    f"from the others. Frames of one video are at least {MIN_GAP_S:g} s apart, and no video has more than its share "
    "of a group."
)
"""The rule where a table is looked through as it is."""

PANEL_HEIGHT_PX, MAX_SIDE_PX = 132, 320
_DEFAULT_SIZE = (240, 320)


@dataclass(frozen=True, eq=False)
class ExampleFrame:
    """A frame to look at.

    Args:
        group: One of `GROUPS`.
        frame: What the audit says of the frame.
        picture: The guidance beside the reference, uint8 (height, width, 3).
        marked: The guidance's marked cells as (row, column); empty where there is no map.
        has_pixels: Whether the picture shows the video itself.
    """

    group: str
    frame: AuditedFrame
    picture: np.ndarray
    marked: list[tuple[int, int]]
    has_pixels: bool


def choose_frames(audit: Audit, per_group: int, seed: int = 0) -> dict[str, list[AuditedFrame]]:
    """Frames of each group, by the rule of `CHOICE`; or by that of `CHOICE_UNJUDGED`, with two groups.

    Args:
        audit: The audit whose frames are chosen from.
        per_group: Largest number of frames of each group.
        seed: Seed of the random choices and of the order of frames that score alike.

    Returns:
        Group -> frames; groups without any frame are left out.
    """
    rng = np.random.default_rng(seed)

    def quality(frame: AuditedFrame) -> tuple[float, float]:
        return audit.score(frame, "iou"), audit.score(frame, "mass_inside")

    def shuffled(frames: list[AuditedFrame]) -> list[AuditedFrame]:
        return [frames[i] for i in rng.permutation(len(frames))]

    if audit.is_judged:
        # only frames that could have been scored: others have nothing to look at
        unanswered = [frame for frame in audit.frames if frame.reference_status == OK and frame.status != OK]
        scored = shuffled(audit.scored)  # sorting keeps the order of what is equal
        ordered = {
            WORST: sorted(scored, key=quality),
            BEST: sorted(scored, key=quality, reverse=True),
            RANDOM: shuffled(scored),
            UNANSWERED: shuffled(unanswered),
        }
    else:
        ordered = {
            RANDOM: shuffled([frame for frame in audit.frames if frame.status == OK]),
            UNANSWERED: shuffled([frame for frame in audit.frames if frame.status != OK]),
        }
    chosen = {group: spread(frames, per_group) for group, frames in ordered.items()}
    return {group: frames for group, frames in chosen.items() if frames}


class PlacedFrame(Protocol):
    """A frame of a video at a time."""

    @property
    def video_id(self) -> str:
        """Id of the video."""
        ...

    @property
    def timestamp_s(self) -> float:
        """Time in seconds."""
        ...


Placed = TypeVar("Placed", bound=PlacedFrame)


def spread(frames: Sequence[Placed], count: int) -> list[Placed]:
    """The first frames of a list that are not too near to one another."""
    # without a share, the worst frames would all be of the one video that went wrong
    share = math.ceil(count / max(1, len({frame.video_id for frame in frames})))
    taken: dict[str, list[float]] = {}
    chosen = []
    for frame in frames:
        times_s = taken.setdefault(frame.video_id, [])
        if len(times_s) < share and all(abs(frame.timestamp_s - time_s) >= MIN_GAP_S for time_s in times_s):
            times_s.append(frame.timestamp_s)
            chosen.append(frame)
        if len(chosen) == count:
            break
    return chosen


def draw_examples(
    audit: Audit,
    chosen: Mapping[str, Iterable[AuditedFrame]],
    manifest: Manifest | None = None,
    sizes: Mapping[str, tuple[int, int]] | None = None,
) -> list[ExampleFrame]:
    """Draw frames: the guidance at the left, what it is judged by at the right.

    Args:
        audit: The audit that the frames are from.
        chosen: Maps each group to its frames, as from `choose_frames`.
        manifest: Manifest of the videos, for their pixels; without it blank frames are drawn.
        sizes: Maps a video id to the (height, width) of its frames in pixels, for blank frames.
    """
    frames = [(group, frame) for group, members in chosen.items() for frame in members]
    pixels = {}
    if manifest is not None:
        times_s: dict[str, list[float]] = {}
        for _, frame in frames:
            times_s.setdefault(frame.video_id, []).append(frame.timestamp_s)
        pixels = read_pixels(manifest, times_s, MAX_SIDE_PX)
    examples = []
    for group, frame in frames:
        picture = pixels.get((frame.video_id, frame.timestamp_s))
        blank = blank_frame(*(sizes or {}).get(frame.video_id, _DEFAULT_SIZE))
        examples.append(_draw_example(audit, group, frame, blank if picture is None else picture, picture is not None))
    return examples


def _draw_example(
    audit: Audit, group: str, frame: AuditedFrame, picture: np.ndarray, has_pixels: bool
) -> ExampleFrame:
    guidance = guidance_map(audit, frame)
    reference = draw_boxes(
        draw_map(picture, audit.reference.map_to_draw(frame.video_id, frame.position, guidance), TRUTH_COLOR),
        audit.reference.boxes(frame.video_id, frame.position),
        TRUTH_COLOR,
    )
    left = "guidance" if frame.status == OK else f"guidance: {frame.status}"
    panels = [(left, draw_map(picture, guidance, GUIDANCE_COLOR)), (audit.reference.name, reference)]
    return ExampleFrame(group, frame, side_by_side(panels, PANEL_HEIGHT_PX), _marked(guidance), has_pixels)


def guidance_map(audit: Audit, frame: AuditedFrame) -> GridMap | None:
    """The guidance's map of a frame; None where its status is not ok."""
    if frame.status != OK or frame.guidance_s is None:
        return None
    return audit.index.lookup(frame.video_id, [frame.guidance_s]).maps[0]


def _marked(guidance: GridMap | None) -> list[tuple[int, int]]:
    if guidance is None:
        return []
    weights = np.asarray(guidance.weights, dtype=np.float64)
    return [divmod(int(cell), guidance.grid[1]) for cell in np.flatnonzero(marked_cells(weights / weights.sum()))]


def describe_frame(audit: Audit, frame: AuditedFrame) -> list[str]:
    """What a caption says of a frame: its scores or status, then where it is from."""
    if frame.scores is None:
        scores = "no row" if frame.status == MISSING else f"status {frame.status}"
    else:
        iou, mass, hit = (audit.score(frame, name) for name in ("iou", "mass_inside", "pointing_accuracy"))
        scores = f"IoU {iou:.2f}, mass inside {mass:.2f}, pointing {hit:.2f}"
    return [scores, f"{frame.timestamp_s:.2f} s of {frame.video_id.rsplit('/', 1)[-1]}", frame.class_name]


def write_contact_sheet(
    path: str | os.PathLike,
    audit: Audit,
    examples: list[ExampleFrame],
    per_row: int = 4,
) -> Path:
    """Write the first examples of each group as rows of one PNG, and return its path.

    Args:
        path: The PNG file to write.
        audit: The audit that the examples are from.
        examples: Examples as from `draw_examples`.
        per_row: Largest number of examples of each group.

    Raises:
        GuidanceError: there are no examples.
    """
    tiles = {
        group: [captioned(one.picture, describe_frame(audit, one.frame)) for one in examples if one.group == group]
        for group in GROUPS
    }
    return write_sheet(path, {group: members[:per_row] for group, members in tiles.items()})


def write_sheet(path: str | os.PathLike, tiles: Mapping[str, Sequence[np.ndarray]]) -> Path:
    """Write pictures as rows of one PNG, each group under its name, and return its path.

    Args:
        path: The PNG file to write.
        tiles: Pictures of each group; groups without any are left out.

    Raises:
        GuidanceError: There are no pictures.
    """
    rows = []
    for group, members in tiles.items():
        if members:
            row = in_row(members)
            rows.append(np.concatenate([heading(group.capitalize(), row.shape[1]), row]))
    if not rows:
        raise GuidanceError(f"{path}: there are no frames to draw")
    sheet = np.pad(in_column(rows), ((12, 12), (12, 12), (0, 0)), constant_values=255)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(sheet).save(path, optimize=True)
    return path
