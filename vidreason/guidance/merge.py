"""Several answers about a frame, or several annotators' tables, as one, with every part on record.

"We aggregate them into spatial distribution maps", as the paper has it (section 3.1).
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import datasets
import numpy as np

from ..errors import GuidanceError
from ..provenance import FRAME_KEY, STATUSES
from .geometry import GridMap, Rectangle
from .schema import FULL_FRAME, complete_row, guidance_row

MERGE_TOLERANCE_S = 0.01
"""How far apart in time rows may be and still speak of one frame: less than half a frame at 50 frames per second."""

_JOINED = ("model", "revision", "prompt_id", "prompt_sha256", "request_hash")
_SUMMED = ("prompt_tokens", "completion_tokens", "cost_usd")
_RECORDED = ("producer", *_JOINED, "status", "raw_response")


def merge_rows(
    rows: Sequence[Mapping[str, Any]],
    weights: Sequence[float] | None = None,
    producer: str = "merge",
    grid: tuple[int, int] | None = None,
) -> dict[str, Any]:
    """One row from several about the same frame.

    The map is the weighted mean of the maps of the `ok` rows; a row that marks nothing does not thin it out. The
    status is `ok` where any is, `empty` where all are, and otherwise the commonest failure (of several as common, the
    one that `STATUSES` names first). Objects are those of all rows, without repeats. Tokens and cost are summed.
    `model`, `revision`, `prompt_id`, `prompt_sha256` and `request_hash` name each value once, joined by " + ", and
    `raw_response` is JSON with the number of `ok` rows and what is known of each row, its weight and its own raw
    response included.

    Args:
        rows: Rows of the guidance table; the first one's frame key is kept.
        weights: Weight of each row, above zero; all alike by default.
        producer: Value of the merged row's `producer`.
        grid: Size of the resulting grid, (rows, columns); by default that of the `ok` row with the most cells. Other
            maps are resampled to it by exact area. The result covers what all maps cover, and else the full frame.

    Raises:
        GuidanceError: no rows, weights that do not fit, or rows of different videos or sources.
    """
    weights = _check_weights(weights, len(rows))
    rows = [complete_row(row) for row in rows]
    _check_same_video(rows)
    used = [(row, weight) for row, weight in zip(rows, weights, strict=True) if row["status"] == "ok"]
    if used:
        grid_map = mix_maps([row for row, _ in used], [weight for _, weight in used], grid)
    else:
        first_grid = grid or (rows[0]["grid_rows"], rows[0]["grid_cols"])
        grid_map = GridMap(np.zeros(first_grid[0] * first_grid[1]), first_grid)
    return guidance_row(
        {name: rows[0][name] for name in FRAME_KEY},
        grid_map.weights.tolist(),
        grid_map.grid,
        producer=producer,
        status=_merge_statuses([row["status"] for row in rows]),
        objects=_merge_objects(rows),
        rectangle=grid_map.rectangle,
        raw_response=_describe(rows, weights),
        **{name: join_names(row[name] for row in rows) for name in _JOINED},
        **{name: sum(row[name] for row in rows) for name in _SUMMED},
    )


def mix_maps(
    rows: Sequence[Mapping[str, Any]], weights: Sequence[float], grid: tuple[int, int] | None = None
) -> GridMap:
    """The weighted mean of the maps of `ok` rows, normalised: weights of (rows * columns,) that sum to 1.

    Args:
        rows: Rows of the guidance table with the status `ok`.
        weights: Weight of each row; they need not sum to 1.
        grid: Size of the resulting grid, (rows, columns); by default that of the row with the most cells.
    """
    grids = [(row["grid_rows"], row["grid_cols"]) for row in rows]
    rectangles = {tuple(row["rectangle"]) for row in rows}
    grid = grid or max(grids, key=math.prod)
    rectangle: Rectangle = rectangles.pop() if len(rectangles) == 1 else FULL_FRAME
    # in float64: a mean of many float32 maps would not sum to 1 within the contract's tolerance
    mixed = np.zeros(grid[0] * grid[1])
    for row, own_grid, weight in zip(rows, grids, weights, strict=True):
        grid_map = GridMap(np.asarray(row["weights"], dtype=np.float64), own_grid, tuple(row["rectangle"]))
        if own_grid != grid or grid_map.rectangle != rectangle:
            grid_map = grid_map.resample(grid, rectangle)
        mixed += weight * grid_map.weights
    # weights need not sum to 1, and resampling cuts off what lies outside the new rectangle
    return GridMap(mixed / mixed.sum(), grid, rectangle)


def merge_tables(
    tables: Sequence[datasets.Dataset],
    weights: Sequence[float] | None = None,
    producer: str = "merge",
    grid: tuple[int, int] | None = None,
    tolerance_s: float = MERGE_TOLERANCE_S,
) -> Iterator[dict[str, Any]]:
    """Merge tables of the same videos, frame by frame, matched by video and time. One video is held at a time.

    A frame that only some of the tables have is merged from those.

    Args:
        tables: Tables of one split each.
        weights: Weight of each table, above zero; all alike by default.
        producer: Value of the merged rows' `producer`.
        grid: Size of the resulting grid, (rows, columns), the same for all frames; by default each frame's is that of
            `merge_rows`.
        tolerance_s: Largest difference in seconds between rows that speak of one frame.

    Yields:
        Rows, by video in the order in which the tables name them, and by time.

    Raises:
        GuidanceError: the reasons of `merge_rows`, or the tables disagree about when a frame is shown.
    """
    weights = _check_weights(weights, len(tables))
    if not tolerance_s >= 0:
        raise GuidanceError(f"tolerance_s is {tolerance_s}, expected a number of seconds >= 0")
    for video_id, rows_by_table in rows_by_video(tables):
        frames = _match_frames(rows_by_table, tolerance_s)
        _check_indices(video_id, frames)
        for frame in frames:
            numbers = sorted(frame)
            yield merge_rows([frame[n] for n in numbers], [weights[n] for n in numbers], producer, grid)


def rows_by_video(tables: Sequence[datasets.Dataset]) -> Iterator[tuple[str, list[list[dict[str, Any]]]]]:
    """The rows of each video, from each table.

    Yields:
        A video id and, for each table, its rows in order of time. Videos come in the order in which they are named.
    """
    positions: list[dict[str, list[int]]] = []
    for table in tables:
        positions.append({})
        for position, video_id in enumerate(table.with_format("arrow")["video_id"].to_pylist()):
            positions[-1].setdefault(video_id, []).append(position)
    # a dict and not a set, which would give the videos in another order each time
    for video_id in dict.fromkeys(video_id for found in positions for video_id in found):
        yield video_id, [_take(table, found.get(video_id, [])) for table, found in zip(tables, positions, strict=True)]


def join_names(names: Iterable[str]) -> str:
    """Each of some names once, in order and without empty ones."""
    return " + ".join(dict.fromkeys(name for name in names if name))


def _take(table: datasets.Dataset, positions: list[int]) -> list[dict[str, Any]]:
    if not positions:
        return []
    columns = table[positions]
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    return sorted(rows, key=lambda row: row["timestamp_s"])


def _match_frames(rows_by_table: list[list[dict[str, Any]]], tolerance_s: float) -> list[dict[int, dict[str, Any]]]:
    """Frames in order of time, each as table number -> row. The nearest rows find each other first."""
    frames: list[dict[int, dict[str, Any]]] = []
    times_s: list[float] = []  # of the first row of each frame
    for number, rows in enumerate(rows_by_table):
        pairs = _near_pairs([row["timestamp_s"] for row in rows], times_s, tolerance_s)
        taken, matched = set(), {}
        for _, row, frame in pairs:
            if row not in matched and frame not in taken:
                matched[row] = frame
                taken.add(frame)
        for row, values in enumerate(rows):
            if row in matched:
                frames[matched[row]][number] = values
            else:
                frames.append({number: values})
                times_s.append(values["timestamp_s"])
    return [frames[index] for index in np.argsort(times_s, kind="stable")]


def _near_pairs(row_times_s: list[float], frame_times_s: list[float], tolerance_s: float):
    """(distance in seconds, row, frame) of all pairs within the tolerance, nearest first."""
    order = np.argsort(frame_times_s, kind="stable")
    ascending = np.asarray(frame_times_s, dtype=np.float64)[order]
    slack = tolerance_s + 1e-9  # for the rounding of times that were computed in different ways
    pairs = []
    for row, time_s in enumerate(row_times_s):
        start, stop = np.searchsorted(ascending, [time_s - slack, time_s + slack], side="left")
        pairs += [(abs(ascending[place] - time_s), row, int(order[place])) for place in range(start, stop)]
    return sorted(pairs)


def _check_weights(weights: Sequence[float] | None, count: int) -> list[float]:
    if count == 0:
        raise GuidanceError("there is nothing to merge")
    weights = [1.0] * count if weights is None else [float(weight) for weight in weights]
    if len(weights) != count:
        raise GuidanceError(f"{len(weights)} weights do not fit {count} rows or tables to merge")
    if not all(math.isfinite(weight) and weight > 0 for weight in weights):
        raise GuidanceError(f"weights are {weights}, expected finite numbers above zero")
    return weights


def _check_same_video(rows: Sequence[Mapping[str, Any]]) -> None:
    for name in ("video_id", "source", "split"):
        values = sorted({row[name] for row in rows})
        if len(values) > 1:
            raise GuidanceError(f"{rows[0]['video_id']}: rows of different {name} {values} cannot be merged")


def _check_indices(video_id: str, frames: list[dict[int, dict[str, Any]]]) -> None:
    times_s: dict[int, float] = {}
    for frame in frames:
        first = frame[min(frame)]
        index, time_s = first["frame_index"], first["timestamp_s"]
        if index in times_s:
            raise GuidanceError(
                f"{video_id}: frame {index} stands at {times_s[index]:.4f} s and at {time_s:.4f} s; a larger "
                "tolerance_s merges these rows, if the tables are of the same videos"
            )
        times_s[index] = time_s


def _merge_statuses(statuses: list[str]) -> str:
    if "ok" in statuses:
        return "ok"
    # a merge of failures is a failure: `empty` would say that somebody looked and found nothing
    failures = Counter(status for status in statuses if status != "empty")
    return max(STATUSES, key=lambda status: failures[status]) if failures else "empty"


def _merge_objects(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    found = {json.dumps(entry, sort_keys=True): entry for row in rows for entry in row["objects"]}
    return list(found.values())


def _describe(rows: Sequence[Mapping[str, Any]], weights: list[float]) -> str:
    parts = [
        {"weight": weight, **{name: row[name] for name in _RECORDED if row[name]}}
        for row, weight in zip(rows, weights, strict=True)
    ]
    num_ok = sum(row["status"] == "ok" for row in rows)
    return json.dumps({"num_ok": num_ok, "merged": parts}, ensure_ascii=False)
