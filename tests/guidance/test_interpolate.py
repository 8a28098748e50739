"""Guidance between annotated frames: linear in time, never beyond them, over no gap that is too long, on record."""

import json

import numpy as np
import pytest

from vidreason.errors import GuidanceError
from vidreason.guidance import guidance_row
from vidreason.guidance.interpolate import interpolate_rows

LEFT, RIGHT, NOWHERE = (1, 0), (0, 1), (0, 0)


def key(time_s: float, frame_index: int | None = None, video_id: str = "clips/a", source: str = "tests@1") -> dict:
    index = round(time_s * 100) if frame_index is None else frame_index
    return {
        "video_id": video_id,
        "source": source,
        "split": "train",
        "frame_index": index,
        "timestamp_s": time_s,
        "frame_height": 120,
        "frame_width": 160,
    }


def row(time_s: float, weights=LEFT, grid=(1, 2), **fields) -> dict:
    fields = {"producer": "llm", "model": "gpt-4.1-mini", **fields}
    return guidance_row(key(time_s), list(weights), grid, **fields)


def interpolate(rows: list[dict], times_s: list[float], max_gap_s: float = 1.0) -> dict[float, list[float]]:
    """Time -> weights of the new rows."""
    found = interpolate_rows(rows, [key(time_s) for time_s in times_s], max_gap_s)
    assert [entry["timestamp_s"] for entry in found] == sorted(entry["timestamp_s"] for entry in found)
    assert [entry for entry in found if entry["producer"] != "interpolate"] == sorted(
        rows, key=lambda entry: entry["timestamp_s"]
    )  # what was there is as it was
    new = [entry for entry in found if entry["producer"] == "interpolate"]
    return {entry["timestamp_s"]: [round(weight, 6) for weight in entry["weights"]] for entry in new}


def test_linear_in_time():
    rows = [row(0.0, LEFT), row(1.0, RIGHT)]
    assert interpolate(rows, [0.1, 0.25, 0.5, 0.9]) == {
        0.1: [0.9, 0.1],
        0.25: [0.75, 0.25],
        0.5: [0.5, 0.5],
        0.9: [0.1, 0.9],
    }


def test_the_nearest_two_rows_count_in_whatever_order_they_come():
    rows = [row(2.0, LEFT), row(0.0, LEFT), row(1.0, RIGHT)]
    assert interpolate(rows, [1.5, 0.5]) == {0.5: [0.5, 0.5], 1.5: [0.5, 0.5]}


def test_never_beyond_the_ends():
    assert interpolate([row(1.0), row(1.5)], [0.0, 0.99, 1.51, 9.0]) == {}
    assert interpolate([row(1.0)], [0.5, 1.5]) == {}
    assert interpolate([], [0.5]) == {}


def test_not_over_a_gap_that_is_too_long():
    rows = [row(0.0), row(1.0, RIGHT), row(2.5)]
    assert list(interpolate(rows, [0.5, 1.5], max_gap_s=1.0)) == [0.5]
    assert list(interpolate(rows, [0.5, 1.5], max_gap_s=1.5)) == [0.5, 1.5]
    assert interpolate(rows, [0.5, 1.5], max_gap_s=0.9) == {}


@pytest.mark.parametrize("status", ["failed", "invalid", "refused", "truncated"])
def test_failures_are_looked_past_and_kept(status):
    rows = [row(0.0, LEFT), row(0.5, NOWHERE, status=status), row(1.0, RIGHT)]
    assert interpolate(rows, [0.25, 0.5, 0.75]) == {0.25: [0.75, 0.25], 0.75: [0.25, 0.75]}


def test_an_empty_frame_is_an_answer():
    rows = [row(0.0, LEFT), row(0.5, NOWHERE), row(1.0, RIGHT), row(1.5, RIGHT)]
    assert rows[1]["status"] == "empty"
    assert interpolate(rows, [0.25, 0.75, 1.25]) == {1.25: [0, 1]}


def test_frames_with_a_row_keep_it():
    rows = [row(0.0, LEFT), row(0.5, RIGHT), row(1.0, LEFT)]
    # by time, and by index where the clocks differ by more than rounding
    frames = [key(0.5004, 50), key(0.52, 50), key(0.5, 51), key(0.75), key(0.75)]
    new = [entry for entry in interpolate_rows(rows, frames, 1.0) if entry["producer"] == "interpolate"]
    assert [entry["timestamp_s"] for entry in new] == [0.75]  # and a frame that is named twice gets one


def test_other_grids_and_rectangles():
    rows = [row(0.0, (1, 0)), row(1.0, (0, 0, 0, 1), (1, 4))]
    assert interpolate(rows, [0.5]) == {0.5: [0.25, 0.25, 0, 0.5]}
    half = (0.0, 0.0, 0.5, 1.0)
    same = interpolate_rows([row(0.0, rectangle=half), row(1.0, RIGHT, rectangle=half)], [key(0.5)], 1.0)[1]
    assert same["rectangle"] == list(half)


def test_provenance():
    prompt = {"prompt_id": "ucf-1", "prompt_sha256": "ab"}
    rows = [row(0.0, LEFT, request_hash="1", cost_usd=0.5, **prompt), row(1.0, RIGHT, request_hash="2", **prompt)]
    new = interpolate_rows(rows, [key(0.25)], 1.5)[1]
    assert (new["producer"], new["model"]) == ("interpolate", "linear,max_gap_s=1.5,from=llm gpt-4.1-mini")
    assert (new["prompt_id"], new["prompt_sha256"], new["request_hash"]) == ("ucf-1", "ab", "")
    assert (new["status"], new["cost_usd"], new["prompt_tokens"], new["objects"]) == ("ok", 0, 0, [])
    assert {name: new[name] for name in key(0.25)} == key(0.25)
    assert json.loads(new["raw_response"]) == {
        "interpolated": [
            {"frame_index": 0, "timestamp_s": 0.0, "share": 0.75, "request_hash": "1"},
            {"frame_index": 100, "timestamp_s": 1.0, "share": 0.25, "request_hash": "2"},
        ]
    }
    mixed = interpolate_rows([rows[0], row(1.0, producer="motion", model="diff")], [key(0.25)], 1.5)[1]
    assert mixed["model"].endswith("from=llm gpt-4.1-mini + motion diff")


def test_many_frames_agree_with_numpy():
    rng = np.random.default_rng(0)
    times_s = np.sort(rng.uniform(0, 10, 12))
    maps = rng.dirichlet(np.ones(6), len(times_s))
    rows = [row(float(t), w.tolist(), (2, 3)) for t, w in zip(times_s, maps, strict=True)]
    wanted_s = [t for t in np.linspace(0, 10, 101) if np.abs(times_s - t).min() > 0.01]
    found = interpolate_rows(rows, [key(float(t), 1000 + n) for n, t in enumerate(wanted_s)], 100.0)
    new = {entry["timestamp_s"]: entry["weights"] for entry in found if entry["producer"] == "interpolate"}
    inside = [t for t in wanted_s if times_s[0] < t < times_s[-1]]
    assert list(new) == inside
    for cell in range(6):
        expected = np.interp(inside, times_s, maps[:, cell])
        np.testing.assert_allclose([weights[cell] for weights in new.values()], expected, atol=1e-9)


@pytest.mark.parametrize(
    ("rows", "frames", "max_gap_s", "message"),
    [
        ([row(0.0)], [key(0.5)], 0, "max_gap_s is 0"),
        ([row(0.0)], [key(0.5)], float("nan"), "max_gap_s is nan"),
        ([row(0.0)], [key(0.5, video_id="clips/b")], 1, "of one video"),
        ([row(0.0)], [key(0.5, source="other@2")], 1, "of one video"),
    ],
)
def test_what_cannot_be_interpolated(rows, frames, max_gap_s, message):
    with pytest.raises(GuidanceError, match=message):
        interpolate_rows(rows, frames, max_gap_s)
