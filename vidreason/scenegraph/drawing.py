"""Scene graphs on frames: boxes with their names, and below each frame what holds then. No matplotlib is needed."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..errors import GraphError
from ..video.decode import decode_frames
from .graph import Edge, SceneGraph
from .moment import DEFAULT_TOLERANCE_S, Moment, moment_of, telling_times

COLORS = (
    *((0, 114, 178), (213, 94, 0), (0, 158, 115), (204, 121, 167), (86, 180, 233), (230, 159, 0), (120, 94, 240)),
    *((128, 128, 0), (150, 75, 0), (90, 90, 90)),
)
"""Okabe and Ito's colours without those too pale on white, then others; a node after the last begins anew."""

MAX_LINES = 10
"""Lines below a frame; what more holds is counted."""

_BLANK_GREY = 200
_BACKGROUND, _TEXT = (255, 255, 255), (20, 20, 20)
_GAP_PX = 10
_PALE = 140
_HIDDEN_SHARE = 0.1
"""Share of a box that a name may hide before another place is looked for: names do not jump for a corner of one."""

Rectangle = tuple[float, float, float, float]
"""Left, top, right and bottom in pixels."""


def node_colors(graph: SceneGraph) -> dict[str, tuple[int, int, int]]:
    """`node_id` -> colour of a node in every picture of its graph; red, green and blue from 0 to 255."""
    return {node.node_id: COLORS[number % len(COLORS)] for number, node in enumerate(graph.nodes)}


def node_label(graph: SceneGraph, node_id: str) -> str:
    """How a node is called in pictures: by its id where that says the name, else by both."""
    node = graph.node(node_id)
    return node_id if node.name in node_id.replace("_", " ").lower() else f"{node.name} ({node_id})"


def describe_edges(graph: SceneGraph, edges: Sequence[Edge]) -> list[str]:
    """Edges as sentences, each once, in the graph's order."""
    return list(dict.fromkeys(_sentence(graph, edge) for edge in edges))


def _sentence(graph: SceneGraph, edge: Edge) -> str:
    start = f"{node_label(graph, edge.subject)} {edge.predicate}"
    # how a thing moves is said of it alone
    return start if edge.subject == edge.object else f"{start} {node_label(graph, edge.object)}"


def draw_moment(frame: np.ndarray, graph: SceneGraph, moment: Moment) -> np.ndarray:
    """A frame with the boxes of what is seen, each with its name.

    Args:
        frame: RGB, uint8 (height, width, 3).
        graph: The graph.
        moment: What it says of the frame, as from `moment_of`.

    Returns:
        A new picture, uint8 (height, width, 3).
    """
    height, width = frame.shape[:2]
    picture = Image.fromarray(frame)
    draw = ImageDraw.Draw(picture)
    colors = node_colors(graph)
    line_px, font = max(2, round(width / 240)), _font(max(11, round(width / 30)))
    # large boxes first, so that small ones within them stay to be seen
    boxes = {
        # the last pixel of a box that ends at the frame's border is within the frame
        name: (x0 * width, y0 * height, max(x0 * width, x1 * width - 1), max(y0 * height, y1 * height - 1))
        for name, (x0, y0, x1, y1) in sorted(moment.boxes.items(), key=lambda entry: -_area(entry[1]))
    }
    for node_id, corners in boxes.items():
        draw.rectangle(corners, outline=colors[node_id], width=line_px)
    taken: list[Rectangle] = []
    for node_id in boxes:  # names above all boxes
        label = node_label(graph, node_id)
        left, top, right, bottom = draw.textbbox((0, 0), label, font=font)
        place = _place((right - left + 4, bottom - top + 4), node_id, boxes, (width, height), taken)
        taken.append(place)
        draw.rectangle((place[0], place[1], place[2] - 1, place[3] - 1), fill=colors[node_id])
        text_color = _TEXT if _is_pale(colors[node_id]) else _BACKGROUND
        draw.text((place[0] + 2 - left, place[1] + 2 - top), label, fill=text_color, font=font)
    return np.asarray(picture)


def _area(box: Sequence[float]) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _font(size_px: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=size_px)


def _is_pale(color: tuple[int, int, int]) -> bool:
    # by the luminance of ITU-R BT.601
    return 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2] > _PALE


def _place(
    name_px: tuple[float, float],
    node_id: str,
    boxes: Mapping[str, Rectangle],
    frame_px: tuple[float, float],
    taken: Sequence[Rectangle],
) -> Rectangle:
    """Where a name is written: at its box, where it hides no other name and little of what is boxed.

    Args:
        name_px: Width and height of the name with the ground that it is written on.
        node_id: The node that is named.
        boxes: Boxes of all nodes, its own among them.
        frame_px: Width and height of the frame.
        taken: Where other names are.
    """
    across, down = name_px
    x0, y0, x1, y1 = boxes[node_id]
    beside = [
        *((x0, y0 - down), (x1 + 1 - across, y0 - down), (x0, y1 + 1), (x1 + 1 - across, y1 + 1)),
        *((x1 + 1, y0), (x0 - across, y0), (x0, y0), (x0, y1 + 1 - down)),
    ]
    # where many boxes lie at one place: below one another, then anywhere to the left or right, the nearest first
    lines = [number * down for number in range(int(frame_px[1] // down))]
    rows = [(x, y) for y in sorted(lines, key=lambda y: abs(y - y0)) for x in (x0, 0.0, frame_px[0])]
    best, least = None, (math.inf, math.inf)
    for x, y in (*beside, *rows):
        x, y = max(0.0, min(x, frame_px[0] - across)), max(0.0, min(y, frame_px[1] - down))
        spot = (x, y, x + across, y + down)
        # all names first: a box can be told by its frame, a name under another cannot be read at all
        cost = (
            sum(_shared(spot, other) for other in taken),
            sum(max(0.0, _hidden(spot, box) - _HIDDEN_SHARE) for box in boxes.values()),
        )
        if cost < least:
            best, least = spot, cost
        if not any(least):
            break
    assert best is not None
    return best


def _hidden(spot: Rectangle, box: Rectangle) -> float:
    return _shared(spot, box) / max(_area(box), 1.0)


def _shared(a: Rectangle, b: Rectangle) -> float:
    """Area that two rectangles have in common."""
    across, down = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    return max(across, 0.0) * max(down, 0.0)


def draw_strip(
    graph: SceneGraph,
    times_s: Sequence[float] | None = None,
    frames: Mapping[float, np.ndarray] | None = None,
    count: int = 4,
    width_px: int = 320,
    tolerance_s: float = DEFAULT_TOLERANCE_S,
) -> np.ndarray:
    """Frames of a video side by side, with boxes and names, and below each what holds then.

    Args:
        graph: The graph.
        times_s: Times that are shown, in seconds; by default `count` of them, spread over what the graph speaks of.
        frames: Time -> RGB frame, uint8 (height, width, 3), as from `read_frames`; grey ones of the video's shape are
            drawn where there is none.
        count: Number of frames where no times are given.
        width_px: Width of each frame in pixels.
        tolerance_s: How far, in seconds, a box may lie from a time and still be shown.

    Returns:
        uint8 (height, width, 3).

    Raises:
        GraphError: No times were given and the graph speaks of none.
    """
    shown = list(telling_times(graph, count) if times_s is None else times_s)
    if not shown:
        raise GraphError(f"graph {graph.graph_id!r} speaks of no time: there is nothing to show in frames")
    height_px = round(width_px * graph.frame_height / graph.frame_width) if graph.frame_width else width_px * 3 // 4
    columns = []
    for time_s in shown:
        moment = moment_of(graph, time_s, tolerance_s)
        frame = (frames or {}).get(time_s)
        if frame is None:
            frame = np.full((height_px, width_px, 3), _BLANK_GREY, dtype=np.uint8)
        scaled_px = max(1, round(frame.shape[0] * width_px / frame.shape[1]))
        frame = np.asarray(Image.fromarray(frame).resize((width_px, scaled_px), Image.Resampling.BILINEAR))
        columns.append((draw_moment(frame, graph, moment), _lines(graph, moment)))
    num_lines = max(len(lines) for _, lines in columns)
    made = [np.concatenate([picture, _text_block(lines, num_lines, width_px)]) for picture, lines in columns]
    tallest = max(column.shape[0] for column in made)
    padded = [
        np.pad(column, ((0, tallest - column.shape[0]), (_GAP_PX if number else 0, 0), (0, 0)), constant_values=255)
        for number, column in enumerate(made)
    ]
    return np.concatenate(padded, axis=1)


def read_frames(
    path: str | os.PathLike, times_s: Sequence[float], max_side_px: int | None = 640
) -> dict[float, np.ndarray]:
    """Frames of a video at some times, as `draw_strip` takes them.

    Args:
        path: The video.
        times_s: Times in seconds.
        max_side_px: Longer side in pixels to which larger frames are scaled down; None keeps their size.

    Raises:
        VideoError: The video cannot be read.
    """
    decoded = decode_frames(path, timestamps_s=list(times_s), max_side_px=max_side_px)
    return dict(zip(times_s, decoded.frames, strict=True))


def _lines(graph: SceneGraph, moment: Moment) -> list[str]:
    events = [f"{node_label(graph, node.node_id)} goes on" for node in moment.events]
    said = [*events, *describe_edges(graph, moment.edges)]
    if len(said) > MAX_LINES:
        said = [*said[: MAX_LINES - 1], f"and {len(said) - MAX_LINES + 1} more"]
    return [f"{moment.timestamp_s:.2f} s", *said]


def _text_block(lines: Sequence[str], num_lines: int, width_px: int) -> np.ndarray:
    """Lines of text on white: uint8 (height for `num_lines`, width_px, 3). Those too long are cut."""
    font_px = max(11, round(width_px / 26))
    font, line_px = _font(font_px), round(font_px * 1.35)
    block = Image.new("RGB", (width_px, line_px * num_lines + 6), _BACKGROUND)
    draw = ImageDraw.Draw(block)
    for number, line in enumerate(lines):
        while len(line) > 2 and draw.textlength(line, font=font) > width_px:
            line = line[:-2] + "…"
        draw.text((0, 3 + number * line_px), line, fill=_TEXT, font=font)
    return np.asarray(block)
