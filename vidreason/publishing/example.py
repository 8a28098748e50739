"""The example picture of a published table: a few maps, on blank frames unless pixels are asked for."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from PIL import Image

from ..guidance.geometry import GridMap
from ..guidance.pictures import (
    GUIDANCE_COLOR,
    blank_frame,
    captioned,
    draw_boxes,
    draw_map,
    in_column,
    in_row,
    read_pixels,
)
from ..manifests.manifest import Manifest

EXAMPLE_FILE = "example.png"

_PER_ROW, _SIDE_PX = 4, 240


@dataclass(frozen=True)
class ExamplePicture:
    """What was drawn.

    Args:
        num_frames: in the picture.
        num_with_pixels: of these, frames that show the video.
        alt: what the picture shows, in words.
    """

    num_frames: int
    num_with_pixels: int
    alt: str


def write_example(
    folder: str | os.PathLike,
    splits: Mapping[str, datasets.Dataset],
    num_frames: int,
    manifest: Manifest | None = None,
    seed: int = 0,
) -> ExamplePicture | None:
    """Draw frames with a map, chosen at random and from as many videos as there are, into one PNG.

    Args:
        folder: where to.
        splits: of the table.
        num_frames: at most so many.
        manifest: of the videos, for their pixels; without it, blank frames of the same shape are drawn.
        seed: of the choice.

    Returns:
        None where no row has a map, or no frame is wanted.
    """
    rows = _choose_rows(splits, num_frames, seed)
    if not rows:
        return None
    pixels = {}
    if manifest is not None:
        times_s: dict[str, list[float]] = {}
        for row in rows:
            times_s.setdefault(row["video_id"], []).append(row["timestamp_s"])
        pixels = read_pixels(manifest, times_s, _SIDE_PX)
    tiles = [_draw_row(row, pixels.get((row["video_id"], row["timestamp_s"]))) for row in rows]
    lines = [in_row(tiles[start : start + _PER_ROW]) for start in range(0, len(tiles), _PER_ROW)]
    Image.fromarray(in_column(lines)).save(Path(folder) / EXAMPLE_FILE, optimize=True)
    surface = "frames of the videos" if pixels else "blank frames"
    alt = f"Grids of {len(rows)} frames, drawn on {surface}; the stronger a cell's colour, the more weight it has"
    return ExamplePicture(len(rows), len(pixels), alt)


def _choose_rows(splits: Mapping[str, datasets.Dataset], count: int, seed: int) -> list[dict[str, Any]]:
    """Rows that are ok, from different videos as far as there are."""
    rng = np.random.default_rng(seed)
    found = []
    for name, table in splits.items():
        columns = table.with_format("arrow").select_columns(["video_id", "status"])[:]
        videos, statuses = columns["video_id"].to_pylist(), columns["status"].to_pylist()
        found += [(name, index, videos[index]) for index, status in enumerate(statuses) if status == "ok"]
    order = [found[index] for index in rng.permutation(len(found))]
    first_of_video = {video: (name, index) for name, index, video in reversed(order)}
    chosen = [(name, index) for name, index, video in order if first_of_video[video] == (name, index)]
    others = [(name, index) for name, index, video in order if first_of_video[video] != (name, index)]
    return [splits[name][index] for name, index in [*chosen, *others][:count]]


def _draw_row(row: Mapping[str, Any], picture: np.ndarray | None) -> np.ndarray:
    if picture is None:
        picture = blank_frame(row["frame_height"], row["frame_width"])
    grid_map = GridMap(np.asarray(row["weights"]), (row["grid_rows"], row["grid_cols"]), tuple(row["rectangle"]))
    boxes = [entry["box"] for entry in row["objects"] if entry["relevant"] and len(entry["box"]) == 4]
    drawn = draw_boxes(draw_map(picture, grid_map, GUIDANCE_COLOR), np.asarray(boxes), GUIDANCE_COLOR)
    names = ", ".join(dict.fromkeys(entry["name"] for entry in row["objects"] if entry["relevant"]))
    lines = [row["video_id"].rsplit("/", 1)[-1], f"{row['timestamp_s']:.2f} s" + (f": {names}" if names else "")]
    return captioned(drawn, lines)
