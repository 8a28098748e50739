"""Guidance for frames between annotated ones: the evidence of an action moves little in a fraction of a second.

The paper annotates 10 frames of a video and trains on others of the same clip; it does not say what guides those.
"""

from __future__ import annotations

import bisect
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..errors import GuidanceError
from ..reporting.tables import producer_name
from .merge import join_names, mix_maps
from .schema import complete_row, guidance_row

PRODUCER = "interpolate"

_SAME_FRAME_S = 1e-3


def interpolate_rows(
    rows: Sequence[Mapping[str, Any]], frame_keys: Iterable[Mapping[str, Any]], max_gap_s: float
) -> list[dict[str, Any]]:
    """The rows of a video with guidance for the frames between them.

    A frame between two `ok` rows gets their maps' mean, weighted by nearness in time (linear interpolation). Frames
    before the first and after the last `ok` row get none, nor those in a longer gap than `max_gap_s`. Failures are
    looked past, but an `empty` row is an answer: nothing is interpolated across it. Rows that are there stay as they
    are, failures too. Objects are not interpolated.

    The new rows have the producer `interpolate`, a `model` that states the method, the longest gap and who made the
    rows it is from, the prompt of these rows, and in `raw_response` JSON with frame, time, share and request hash of
    both. They cost nothing.

    Args:
        rows: Rows of one video, in any order.
        frame_keys: Frames that want guidance, with the fields of `FRAME_KEY`.
        max_gap_s: Largest time in seconds between two rows whose maps are interpolated.

    Returns:
        Old and new rows, in order of time.

    Raises:
        GuidanceError: the rows or frames are of several videos, or the gap is not above zero.
    """
    if not 0 < max_gap_s < math.inf:
        raise GuidanceError(f"max_gap_s is {max_gap_s}, expected a number of seconds above 0")
    frame_keys = list(frame_keys)
    videos = {(entry["source"], entry["video_id"]) for entry in (*rows, *frame_keys)}
    if len(videos) > 1:
        raise GuidanceError(f"expected the rows and frames of one video, got {sorted(videos)[:3]}")
    rows = sorted(map(complete_row, rows), key=lambda row: row["timestamp_s"])
    # a failure says nothing about its frame, while `empty` says that nothing is there
    anchors = [row for row in rows if row["status"] in ("ok", "empty")]
    times_s = [row["timestamp_s"] for row in anchors]
    result = [dict(row) for row in rows]
    for frame_key in _frames_without_row(rows, frame_keys):
        after = bisect.bisect(times_s, frame_key["timestamp_s"])
        if not 0 < after < len(anchors) or times_s[after] - times_s[after - 1] > max_gap_s:
            continue
        if anchors[after - 1]["status"] == anchors[after]["status"] == "ok":
            result.append(_interpolate(anchors[after - 1], anchors[after], frame_key, max_gap_s))
    return sorted(result, key=lambda row: row["timestamp_s"])


def _frames_without_row(
    rows: Sequence[Mapping[str, Any]], frame_keys: list[Mapping[str, Any]]
) -> list[Mapping[str, Any]]:
    """The frames that want guidance and have no row, each once."""
    times_s = [row["timestamp_s"] for row in rows]
    taken = {row["frame_index"] for row in rows}
    missing = []
    for frame_key in frame_keys:
        time_s = frame_key["timestamp_s"]
        place = bisect.bisect_left(times_s, time_s - _SAME_FRAME_S)
        # by time first: tables of one video may have been made from files with other frame counts
        has_row = place < len(times_s) and times_s[place] <= time_s + _SAME_FRAME_S
        if not has_row and frame_key["frame_index"] not in taken:
            # a frame that is asked for twice is made once
            taken.add(frame_key["frame_index"])
            missing.append(frame_key)
    return missing


def _interpolate(
    before: Mapping[str, Any], after: Mapping[str, Any], frame_key: Mapping[str, Any], max_gap_s: float
) -> dict[str, Any]:
    """The row of a frame between two."""
    pair = (before, after)
    share = (frame_key["timestamp_s"] - before["timestamp_s"]) / (after["timestamp_s"] - before["timestamp_s"])
    shares = (1 - share, share)
    grid_map = mix_maps(pair, shares)
    made_by = join_names(producer_name(row) for row in pair)
    recorded = [
        {
            "frame_index": row["frame_index"],
            "timestamp_s": row["timestamp_s"],
            "share": own_share,
            "request_hash": row["request_hash"],
        }
        for row, own_share in zip(pair, shares, strict=True)
    ]
    return guidance_row(
        frame_key,
        grid_map.weights.tolist(),
        grid_map.grid,
        producer=PRODUCER,
        rectangle=grid_map.rectangle,
        model=f"linear,max_gap_s={max_gap_s:g},from={made_by}",
        prompt_id=join_names(row["prompt_id"] for row in pair),
        prompt_sha256=join_names(row["prompt_sha256"] for row in pair),
        raw_response=json.dumps({"interpolated": recorded}, ensure_ascii=False),
    )
