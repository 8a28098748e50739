"""Several rows of a frame as one: the map, the status, what is on record; and tables matched by video and time."""

import json
from collections.abc import Sequence

import numpy as np
import pytest
from datasets import Dataset

from vidreason.annotation.job import AnnotationRun, merge_runs
from vidreason.errors import GuidanceError
from vidreason.guidance import FEATURES, GridMap, guidance_row
from vidreason.guidance.merge import merge_rows, merge_tables


def row(
    weights: Sequence[float] = (1, 0, 0, 0),
    grid: tuple[int, int] = (2, 2),
    time_s: float = 0.0,
    video_id: str = "clips/a",
    source: str = "tests@1",
    split: str = "train",
    frame_index: int | None = None,
    **fields,
) -> dict:
    key = {"video_id": video_id, "source": source, "split": split, "frame_height": 120, "frame_width": 160}
    key |= {"frame_index": round(time_s * 25) if frame_index is None else frame_index, "timestamp_s": time_s}
    return guidance_row(key, list(weights), grid, producer=fields.pop("producer", "tests"), **fields)


def failed(status: str, **fields) -> dict:
    return row((0, 0, 0, 0), status=status, **fields)


EMPTY = (0, 0, 0, 0)


# One frame


def test_the_map_is_the_mean():
    assert merge_rows([row((1, 0, 0, 0)), row((0, 0, 0, 1))])["weights"] == [0.5, 0, 0, 0.5]
    # each row's map counts alike, however many cells it marks
    assert merge_rows([row((1, 0, 0, 0)), row((0, 1, 1, 2))])["weights"] == [0.5, 0.125, 0.125, 0.25]


def test_weights_shift_the_mean():
    merged = merge_rows([row((1, 0, 0, 0)), row((0, 0, 0, 1))], weights=[3, 1])
    assert merged["weights"] == [0.75, 0, 0, 0.25]
    assert [part["weight"] for part in json.loads(merged["raw_response"])["merged"]] == [3, 1]


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        (["ok"], "ok"),
        (["failed", "empty", "ok"], "ok"),
        (["empty", "empty"], "empty"),
        (["empty", "failed"], "failed"),  # not all are empty: there may be something to see
        (["refused", "failed", "failed"], "failed"),
        (["failed", "refused"], "refused"),  # as common: as `STATUSES` has them
        (["invalid", "truncated", "empty", "empty"], "truncated"),
    ],
)
def test_statuses(statuses, expected):
    rows = [row() if status == "ok" else failed(status) for status in statuses]
    merged = merge_rows(rows)
    assert merged["status"] == expected
    assert merged["weights"] == ([1, 0, 0, 0] if expected == "ok" else [0, 0, 0, 0])
    assert json.loads(merged["raw_response"])["num_ok"] == statuses.count("ok")


def test_rows_that_mark_nothing_do_not_thin_the_map_out():
    merged = merge_rows([row((0, 1, 0, 0)), failed("empty"), failed("invalid")])
    assert merged["weights"] == [0, 1, 0, 0]


def test_other_grids_are_resampled_to_the_finest():
    fine = [0.0] * 16
    fine[0] = 1.0
    merged = merge_rows([row((1, 0, 0, 0)), row(fine, (4, 4))])
    assert (merged["grid_rows"], merged["grid_cols"]) == (4, 4)
    expected = np.zeros((4, 4))
    expected[:2, :2] = 0.125
    expected[0, 0] += 0.5
    np.testing.assert_allclose(merged["weights"], expected.reshape(-1))


def test_grids_that_do_not_fit_into_each_other():
    one, other = row((0, 1, 0, 0)), row((1, 0, 0, 0, 0, 1), (2, 3))
    merged = merge_rows([one, other])
    resampled = GridMap(np.array([0, 1.0, 0, 0]), (2, 2)).resample((2, 3)).weights
    np.testing.assert_allclose(merged["weights"], (resampled + np.array([0.5, 0, 0, 0, 0, 0.5])) / 2)
    np.testing.assert_allclose(resampled, [0, 1 / 3, 2 / 3, 0, 0, 0])


def test_a_named_grid():
    merged = merge_rows([row((1, 0, 0, 0)), row((0, 0, 0, 1))], grid=(1, 2))
    assert merged["weights"] == [0.5, 0.5]
    assert merge_rows([failed("empty")], grid=(3, 3))["grid_rows"] == 3


def test_rectangles():
    left = (0.0, 0.0, 0.5, 1.0)
    same = merge_rows([row((1, 0, 0, 0), rectangle=left), row((0, 1, 0, 0), rectangle=left)])
    assert same["rectangle"] == list(left) and same["weights"] == [0.5, 0.5, 0, 0]
    other = merge_rows([row((0, 1, 0, 0), rectangle=left), row((0, 0, 0, 1))])
    assert other["rectangle"] == [0, 0, 1, 1]
    assert other["weights"] == [0.5, 0, 0, 0.5]  # the left half's top right cell lies in the frame's top left one


def test_everything_is_on_record():
    hand = {"name": "hand", "center": [0.5, 0.5], "box": [], "relevant": True}
    provenance = {"prompt_id": "ucf-1", "prompt_sha256": "ab", "raw_response": '{"key_r": [[0, 0]]}'}
    first = row(producer="llm", model="gpt-4.1-mini", request_hash="1", objects=[hand], **provenance)
    second = row((0, 1, 0, 0), producer="llm", model="gpt-4.1-mini", request_hash="2", objects=[hand], **provenance)
    first |= {"prompt_tokens": 300, "completion_tokens": 20, "cost_usd": 0.5}
    second |= {"prompt_tokens": 301, "completion_tokens": 10, "cost_usd": 0.25}
    third = failed("refused", producer="motion", prompt_tokens=7, cost_usd=0.125)
    merged = merge_rows([first, second, third], producer="several")
    assert (merged["producer"], merged["model"], merged["prompt_id"]) == ("several", "gpt-4.1-mini", "ucf-1")
    assert (merged["prompt_sha256"], merged["request_hash"]) == ("ab", "1 + 2")
    assert (merged["prompt_tokens"], merged["completion_tokens"], merged["cost_usd"]) == (608, 30, 0.875)
    assert merged["objects"] == [hand]
    record = json.loads(merged["raw_response"])
    assert record["num_ok"] == 2
    assert record["merged"][0] == {
        "weight": 1.0,
        "producer": "llm",
        "model": "gpt-4.1-mini",
        "prompt_id": "ucf-1",
        "prompt_sha256": "ab",
        "request_hash": "1",
        "status": "ok",
        "raw_response": '{"key_r": [[0, 0]]}',
    }
    assert record["merged"][2] == {"weight": 1.0, "producer": "motion", "status": "refused"}


def test_merged_rows_can_be_merged_again():
    once = merge_rows([row((1, 0, 0, 0)), row((0, 1, 0, 0))])
    twice = merge_rows([once, row((0, 0, 0, 1))])
    assert twice["weights"] == [0.25, 0.25, 0, 0.5]


@pytest.mark.parametrize(
    ("rows", "weights", "message"),
    [
        ([], None, "nothing to merge"),
        ([row()], [1, 2], "2 weights do not fit 1 rows"),
        ([row(), row()], [1, 0], "above zero"),
        ([row(), row()], [1, float("nan")], "above zero"),
        ([row(), row(video_id="clips/b")], None, "different video_id"),
        ([row(), row(source="other@2")], None, r"different source \['other@2', 'tests@1'\]"),
        ([row(), row(split="test")], None, "different split"),
    ],
)
def test_rows_that_cannot_be_merged(rows, weights, message):
    with pytest.raises(GuidanceError, match=message):
        merge_rows(rows, weights)


# Tables


def table(*rows: dict) -> Dataset:
    return Dataset.from_list(list(rows), features=FEATURES)


def merge(*tables: Dataset, **settings) -> list[tuple]:
    """(video, time, weights) of the merged rows."""
    merged = merge_tables(tables, **settings)
    return [(entry["video_id"], entry["timestamp_s"], [round(w, 6) for w in entry["weights"]]) for entry in merged]


def test_tables_meet_by_video_and_time():
    one = table(row((1, 0, 0, 0), time_s=0.4), row((1, 0, 0, 0), time_s=0.0), row((1, 0, 0, 0), video_id="clips/b"))
    other = table(
        row((0, 0, 0, 1), video_id="clips/c"), row((0, 0, 0, 1), time_s=0.4001), row((0, 0, 0, 1), time_s=0.8)
    )
    assert merge(one, other) == [
        ("clips/a", 0.0, [1, 0, 0, 0]),
        ("clips/a", 0.4, [0.5, 0, 0, 0.5]),  # the first table's key is kept
        ("clips/a", 0.8, [0, 0, 0, 1]),
        ("clips/b", 0.0, [1, 0, 0, 0]),
        ("clips/c", 0.0, [0, 0, 0, 1]),
    ]


def test_tables_weigh_as_told_where_both_have_a_frame():
    one = table(row((1, 0, 0, 0), time_s=0.0), row((1, 0, 0, 0), time_s=0.4))
    other = table(row((0, 0, 0, 1), time_s=0.4))
    assert merge(one, other, weights=[1, 3]) == [
        ("clips/a", 0.0, [1, 0, 0, 0]),
        ("clips/a", 0.4, [0.25, 0, 0, 0.75]),
    ]


def test_the_nearest_rows_find_each_other():
    one = table(row((1, 0, 0, 0), time_s=0.0), row((0, 1, 0, 0), time_s=0.04))
    other = table(row((0, 0, 0, 1), time_s=0.03, frame_index=1), row((0, 0, 1, 0), time_s=0.07, frame_index=2))
    assert merge(one, other, tolerance_s=0.035) == [
        ("clips/a", 0.0, [1, 0, 0, 0]),
        ("clips/a", 0.04, [0, 0.5, 0, 0.5]),  # 0.03 is nearer to 0.04 than 0.07 is, and than to 0.0
        ("clips/a", 0.07, [0, 0, 1, 0]),
    ]


def test_three_tables_and_a_frame_that_only_the_later_ones_have():
    tables = [table(row((1, 0, 0, 0))), table(row((0, 1, 0, 0), time_s=0.4)), table(row((0, 0, 1, 0), time_s=0.4))]
    assert merge(*tables) == [("clips/a", 0.0, [1, 0, 0, 0]), ("clips/a", 0.4, [0, 0.5, 0.5, 0])]


def test_the_tolerance_holds_at_its_border():
    one, other = table(row(time_s=0.29)), table(row((0, 0, 0, 1), time_s=0.3, frame_index=99))
    assert 0.3 - 0.29 > 0.01  # for floats
    assert len(merge(one, other, tolerance_s=0.01)) == 1
    assert len(merge(one, other, tolerance_s=0.0099)) == 2


def test_a_grid_for_all_frames():
    merged = merge_tables([table(row()), table(row((0,) * 5 + (1,), (2, 3), time_s=0.4))], grid=(4, 4))
    assert [(entry["grid_rows"], entry["grid_cols"]) for entry in merged] == [(4, 4), (4, 4)]


@pytest.mark.parametrize(
    ("tables", "settings", "message"),
    [
        ([], {}, "nothing to merge"),
        ([table(row())], {"weights": [1, 2]}, "2 weights"),
        ([table(row())], {"tolerance_s": -1}, "tolerance_s is -1"),
        ([table(row())], {"tolerance_s": float("nan")}, "tolerance_s is nan"),
        ([table(row()), table(row(source="other@2"))], {}, "clips/a: rows of different source"),
        (
            [table(row(time_s=0.0)), table(row(time_s=0.04, frame_index=0))],
            {},
            r"clips/a: frame 0 stands at 0.0000 s and at 0.0400 s; a larger tolerance_s",
        ),
    ],
)
def test_tables_that_cannot_be_merged(tables, settings, message):
    with pytest.raises(GuidanceError, match=message):
        list(merge_tables(tables, **settings))


def test_one_video_is_held_at_a_time():
    many = table(*(row(video_id=f"clips/{number}") for number in range(50)))

    class Watched:
        """A table that counts the rows that were asked of it."""

        def __init__(self, rows):
            self.rows, self.read = rows, 0

        def with_format(self, name):
            return self.rows.with_format(name)

        def __getitem__(self, positions):
            self.read += len(positions)
            return self.rows[positions]

    watched = Watched(many)
    merged = merge_tables([watched])
    next(merged)
    assert watched.read == 1
    assert len(list(merged)) == 49


# Facts of runs


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ([True, False], True),
        ([True, None], True),
        ([False, None], None),
        ([False, False], False),
        ([None], None),
    ],
)
def test_whether_an_annotator_was_told_the_action_is_not_lost(told, expected):
    assert merge_runs([AnnotationRun(label_in_prompt=answer) for answer in told]).label_in_prompt is expected


def test_facts_of_runs():
    one = AnnotationRun("llm", "gpt", "ucf-1", "ab", "10 frames", ("train",), True, totals={"cost_usd": 1.5})
    other = AnnotationRun("motion", "diff", policy="every frame", splits=("train", "test"), label_in_prompt=False)
    merged = merge_runs([one, other, one])
    assert (merged.annotator, merged.model, merged.policy) == ("llm + motion", "gpt + diff", "10 frames + every frame")
    assert (merged.prompt_id, merged.prompt_sha256, merged.splits) == ("ucf-1", "ab", ("train", "test"))
    assert merged.totals == {"cost_usd": 3.0}
    assert merge_runs([one, None], policy="mine").policy == "mine"
    assert merge_runs([None]) == AnnotationRun()
