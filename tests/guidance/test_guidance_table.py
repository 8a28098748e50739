"""The contract of a row, the store, and the join to frames."""

import hashlib
import pickle
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vidreason import files
from vidreason.errors import GuidanceError, VidreasonError
from vidreason.guidance import (
    FEATURES,
    MISSING,
    SCHEMA_VERSION,
    GuidanceIndex,
    check_row,
    checks,
    guidance_row,
    load_guidance,
    write_guidance,
)
from vidreason.guidance.table import complete_table, summarize_table


def frame_key(video_id="clips/a", frame_index=0, timestamp_s=0.0, split="train"):
    return {
        "video_id": video_id,
        "source": "tests@1",
        "split": split,
        "frame_index": frame_index,
        "timestamp_s": timestamp_s,
        "frame_height": 120,
        "frame_width": 160,
    }


def row(weights=(0, 2, 2, 0), grid=(2, 2), **key):
    return guidance_row(frame_key(**key), list(weights), grid, producer="tests")


def test_weights_are_normalised_and_status_follows_them():
    assert row()["weights"] == [0, 0.5, 0.5, 0]
    assert row()["status"] == "ok"
    assert row(weights=(0, 0, 0, 0))["status"] == "empty"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weights": [0.5, 0.5, 0.5, 0.5]}, "sum to 2.0000, expected 1"),
        ({"weights": [1.5, -0.5, 0, 0]}, "non-negative"),
        ({"weights": [float("nan"), 1, 0, 0]}, "finite"),
        ({"weights": [1, 0, 0]}, "3 weights for a grid of 2 x 2"),
        ({"status": "fine"}, "status is 'fine'"),
        ({"status": "refused"}, "expected 0 for status 'refused'"),
        ({"rectangle": [0, 0, 1, 2]}, "rectangle"),
        ({"rectangle": [0, 0, 1]}, "rectangle"),
        ({"grid_rows": 0}, "grid is 0 x 2"),
        ({"timestamp_s": float("inf")}, "timestamp_s"),
    ],
)
def test_a_row_that_breaks_the_contract_is_named(change, message):
    with pytest.raises(GuidanceError, match=message) as caught:
        check_row({**row(frame_index=7), **change})
    assert "clips/a frame 7" in str(caught.value)


def test_a_missing_field_is_named():
    incomplete = row()
    del incomplete["prompt_id"]
    with pytest.raises(GuidanceError, match=r"missing fields \['prompt_id'\]"):
        check_row(incomplete)


def test_unknown_provenance_is_refused():
    with pytest.raises(GuidanceError, match="temperature"):
        guidance_row(frame_key(), [1], (1, 1), "tests", temperature=0.2)


def test_a_folder_loads_in_one_line_and_keeps_its_rows(tmp_path):
    objects = [{"name": "hand", "center": [0.1, 0.2], "box": [], "relevant": True}]
    rows = [row(frame_index=i, timestamp_s=i / 10) for i in range(3)]
    rows.append(guidance_row(frame_key(frame_index=3, timestamp_s=0.3), [0] * 4, (2, 2), "tests", objects=objects))
    write_guidance(tmp_path / "table", {"train": rows}, license="cc0-1.0")
    loaded = datasets.load_dataset(str(tmp_path / "table"), cache_dir=str(tmp_path / "cache"))["train"]
    assert loaded.features == FEATURES
    assert loaded["status"][:] == ["ok", "ok", "ok", "empty"]
    assert loaded[3]["objects"][0]["name"] == "hand"
    assert load_guidance(tmp_path / "table")["train"].to_list() == loaded.to_list()
    card = (tmp_path / "table" / "README.md").read_text()
    assert "| train | 4 | 1 | 3 | 1 | 0 | 0 | 0 | 0 |" in card


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([row(), row()], "clips/a frame 0: given twice"),
        ([row(split="test")], "its split is 'test' but it was given for 'train'"),
    ],
)
def test_a_table_that_cannot_be_right_is_not_written(tmp_path, rows, message):
    with pytest.raises(GuidanceError, match=message):
        write_guidance(tmp_path / "table", {"train": rows})
    assert not list(tmp_path.glob("table/data/*.parquet"))


def test_a_table_without_rows_is_refused(tmp_path):
    with pytest.raises(GuidanceError, match="no guidance rows"):
        write_guidance(tmp_path / "table", {"train": []})


def test_a_broken_table_is_named_when_it_is_loaded(tmp_path):
    broken = datasets.Dataset.from_list([row(), {**row(frame_index=1), "weights": [1.0, 1.0, 0.0, 0.0]}], FEATURES)
    folder = tmp_path / "table" / "data"
    folder.mkdir(parents=True)
    broken.to_parquet(folder / "train-00000-of-00001.parquet")
    with pytest.raises(GuidanceError, match=r"split 'train', row 1: clips/a frame 1: weights sum to 2.0000"):
        load_guidance(tmp_path / "table")


NAN = float("nan")
HAND = {"name": "hand", "center": [0.1, 0.2], "box": [0.0, 0.1, 0.2, 0.3], "relevant": True}

DAMAGE = {
    "video_id": [None, ""],
    "source": [None],
    "split": [None],
    "frame_index": [None, -1],
    "timestamp_s": [None, NAN, float("inf")],
    "frame_height": [None, 0],
    "frame_width": [None, -160],
    "grid_rows": [None, 0, -2],
    "grid_cols": [None, 0],
    "weights": [None, [], [0.5, None, 0.5, 0.0], [0.5, NAN, 0.5, 0], [1.5, -0.5, 0, 0], [1, 0, 0], [1, 1, 0, 0]],
    "rectangle": [
        *([], None, [0, 0, 1], [0, 0, 1, None], [0, 0, 1, NAN], [1, 0, 0, 1], [0, 1, 1, 0], [0.5, 0, 0.5, 1]),
        *([-0.1, 0, 1, 1], [0, 0, 1, 1.5], [0, 0, 1, 1, 1]),
    ],
    "objects": [
        *(None, [None]),
        *([{**HAND, **change}] for change in ({"name": None}, {"relevant": None}, {"center": None}, {"box": None})),
        *([HAND, {**HAND, **change}] for change in ({"center": [0.1]}, {"center": [0.1, NAN]}, {"center": [0.1, 40]})),
        *([HAND, {**HAND, "box": box}] for box in ([0, 0, 1], [0.2, 0, 0.1, 1], [0, 0, 20, 20], [0, 0, 1, None])),
    ],
    "producer": [None, ""],
    "model": [None],
    "revision": [None],
    "prompt_id": [None],
    "prompt_sha256": [None],
    "request_hash": [None],
    "status": [None, "", "fine", "refused"],
    "raw_response": [None],
    "prompt_tokens": [None, -1],
    "completion_tokens": [None, -5],
    "cost_usd": [None, NAN, -0.1],
    "schema_version": [None],
}
"""Field -> values that break the contract."""


def table_folder(folder, rows):
    """A table as others may write it, of which nothing was checked."""
    (folder / "data").mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pylist(rows, FEATURES.arrow_schema)
    pq.write_table(table, folder / "data" / "train-00000-of-00001.parquet")
    return folder


def test_every_damaged_field_is_found_when_a_table_is_opened(tmp_path, monkeypatch):
    monkeypatch.setattr(checks, "ROWS_AT_ONCE", 2)  # the damage is not in the first batch
    assert set(DAMAGE) == set(FEATURES)
    good = [{**row(frame_index=n, timestamp_s=n / 10), "objects": [HAND] * n} for n in range(5)]
    assert len(load_guidance(table_folder(tmp_path, good))["train"]) == 5
    for name, values in DAMAGE.items():
        for value in values:
            bad = {**good[3], name: value}
            with pytest.raises(GuidanceError) as caught:
                load_guidance(table_folder(tmp_path, [*good[:3], bad, good[4]]))
            message = str(caught.value)
            assert f"split 'train', row 3: {bad['video_id']} frame {bad['frame_index']}: " in message, (name, value)
            # a status that its weights belie is a matter of both
            words = {"grid_rows": "grid", "grid_cols": "grid", "status": "status"}
            assert words.get(name, name) in message, (name, value, message)
            with pytest.raises(GuidanceError, match="frame"):
                check_row(bad)


def test_an_index_refuses_a_damaged_table_that_was_not_opened_by_us():
    # one rectangle of three numbers would shift those of all rows after it
    rows = [row(frame_index=n, timestamp_s=float(n)) for n in range(3)]
    rows[1]["rectangle"] = [0.0, 0.0, 1.0]
    with pytest.raises(GuidanceError, match="guidance, row 1: clips/a frame 1: rectangle"):
        GuidanceIndex(datasets.Dataset.from_list(rows, FEATURES))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weights": pa.array([["a", "b", "c", "d"]])}, "column weights holds string, expected float32"),
        ({"weights": pa.array(["0.5 0.5"])}, "column weights holds string, expected a list"),
        ({"timestamp_s": pa.array(["0:01"])}, "column timestamp_s holds string, expected float64"),
        ({"grid_rows": pa.array([2.5])}, "column grid_rows holds float64, expected int32"),
        ({"video_id": pa.array([7])}, "column video_id holds int64, expected string"),
        ({"objects": pa.array([["hand"]])}, "column objects holds string, expected objects of name"),
        ({"objects": pa.array([[{"name": "hand"}]])}, "objects, center|column objects holds objects of name"),
    ],
)
def test_a_column_of_another_type_is_named(tmp_path, change, message):
    folder = table_folder(tmp_path, [row()])
    path = folder / "data" / "train-00000-of-00001.parquet"
    table = pq.read_table(path).replace_schema_metadata(None)
    for name, column in change.items():
        table = table.set_column(table.column_names.index(name), name, column)
    pq.write_table(table, path)
    with pytest.raises(GuidanceError, match=message):
        load_guidance(folder)


def test_wider_numbers_and_other_kinds_of_lists_are_read_as_well():
    plain = datasets.Dataset.from_list([row(), row(frame_index=1, timestamp_s=1.0)], FEATURES)
    wide = pa.schema(
        [
            *[
                field
                for field in plain.features.arrow_schema
                if field.name not in ("weights", "frame_index", "video_id")
            ],
            pa.field("weights", pa.large_list(pa.float64())),
            pa.field("frame_index", pa.int64()),
            pa.field("video_id", pa.large_string()),
        ]
    )
    rows = datasets.Dataset(pa.table({name: plain.data[name] for name in wide.names}).cast(wide))
    checks.check_table(rows, "wide")
    assert GuidanceIndex(rows).lookup("clips/a", [1.0]).maps[0].weights.tolist() == [0, 0.5, 0.5, 0]


@pytest.mark.parametrize("in_memory", [True, False])
def test_a_file_that_is_cut_short_or_no_parquet_is_named(tmp_path, monkeypatch, in_memory):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(files.read_folder, "__defaults__", (2**30 if in_memory else 0,))
    folder = table_folder(tmp_path / "table", [row(frame_index=n, timestamp_s=n / 10) for n in range(100)])
    path = folder / "data" / "train-00000-of-00001.parquet"
    whole = path.read_bytes()
    # the footer is whole in the last two, and what it points to is not
    middle = whole[:4] + bytes(len(whole) // 2) + whole[4 + len(whole) // 2 :]
    for damaged in (b"", b"PAR1", b"<html>not found</html>", whole[:-9], whole[: len(whole) // 2], middle):
        path.write_bytes(damaged)
        with pytest.raises(
            VidreasonError, match=r"train-00000-of-00001\.parquet: cannot be read as Parquet"
        ) as caught:
            load_guidance(folder)
        assert "\n" not in str(caught.value)
    path.write_bytes(whole)
    other = folder / "data" / "train-00001-of-00002.parquet"
    pq.write_table(pa.table({"video_id": ["clips/a"]}), other)
    with pytest.raises(VidreasonError, match=f"{other.name}: its columns are not those of {path.name}"):
        load_guidance(folder)


def test_a_table_without_the_columns_is_named(tmp_path):
    folder = tmp_path / "table" / "data"
    folder.mkdir(parents=True)
    datasets.Dataset.from_dict({"x": [1]}).to_parquet(folder / "train-00000-of-00001.parquet")
    with pytest.raises(GuidanceError, match="is this a guidance table"):
        load_guidance(tmp_path / "table")


def test_a_name_that_is_neither_folder_nor_on_the_hub(tmp_path):
    with pytest.raises(GuidanceError, match="neither a folder"):
        load_guidance("nobody/there-is-no-such-table")


def index_of(*rows, tolerance_s=0.05):
    return GuidanceIndex(datasets.Dataset.from_list(list(rows), FEATURES), tolerance_s)


def test_frames_are_matched_by_time_and_not_by_position():
    # given out of order, and with an index that does not tell the time
    index = index_of(
        row(weights=(1, 0, 0, 0), frame_index=5, timestamp_s=0.5),
        row(weights=(0, 0, 0, 1), frame_index=9, timestamp_s=0.1),
    )
    found = index.lookup("clips/a", [0.12, 0.48, 0.3])
    assert found.statuses == ["ok", "ok", MISSING]
    assert found.maps[0].weights.tolist() == [0, 0, 0, 1]
    assert found.maps[1].weights.tolist() == [1, 0, 0, 0]
    assert found.maps[2] is None


def test_the_tolerance_is_kept():
    index = index_of(row(timestamp_s=1.0), tolerance_s=0.1)
    assert index.lookup("clips/a", [1.1]).statuses == ["ok"]
    assert index.lookup("clips/a", [1.11]).statuses == [MISSING]


def test_statuses_come_through():
    index = index_of(row(timestamp_s=0.0), row(weights=(0,) * 4, frame_index=1, timestamp_s=1.0))
    assert index.lookup("clips/a", [0.0, 1.0]).statuses == ["ok", "empty"]


def test_rows_with_different_grids_and_rectangles_live_in_one_table():
    half = guidance_row(frame_key(frame_index=1, timestamp_s=1.0), [1, 0], (1, 2), "tests", rectangle=(0, 0, 0.5, 1))
    found = index_of(row(), half).lookup("clips/a", [0.0, 1.0])
    assert found.maps[0].grid == (2, 2)
    assert found.maps[1].grid == (1, 2)
    assert found.maps[1].rectangle == (0, 0, 0.5, 1)
    np.testing.assert_allclose(found.maps[1].resample((1, 4)).weights, [1, 0, 0, 0])


def test_coverage_counts_both_sides():
    index = index_of(row(video_id="a"), row(video_id="stranger"))
    coverage = index.coverage(["a", "b"])
    assert (coverage.videos, coverage.videos_with_guidance) == (2, 1)
    assert coverage.unknown_videos == ["stranger"]
    assert "1 guided videos are not in the manifest, such as stranger" in coverage.describe()


def test_two_rows_for_one_instant_are_refused():
    with pytest.raises(GuidanceError, match=r"two rows for the frame at 0\.000 s"):
        index_of(row(), row(frame_index=1))


def test_a_negative_tolerance_is_refused():
    with pytest.raises(GuidanceError, match="tolerance_s is -1"):
        index_of(row(), tolerance_s=-1)


OLD_TABLE = Path(__file__).parent.parent / "fixtures" / "guidance_0_1_0"
"""Written by version 0.1.0, whose contract (1.0) has no column `revision`."""


def test_a_table_of_0_1_0_is_read_as_one_of_this_version():
    rows = load_guidance(OLD_TABLE)["train"]
    assert rows.column_names == list(FEATURES) and rows.features == FEATURES
    assert rows["revision"][:] == ["", "", ""] and set(rows["schema_version"]) == {SCHEMA_VERSION}
    assert rows[0]["model"] == "tiny-llm" and rows[0]["weights"] == [0, 0.5, 0.5, 0]
    for entry in rows:
        check_row(entry)


def test_rows_of_0_1_0_are_counted_and_written_again(tmp_path):
    rows = datasets.load_dataset(str(OLD_TABLE), split="train", cache_dir=str(tmp_path / "cache"))
    assert "revision" not in rows.column_names
    assert summarize_table(rows).producers == {"llm tiny-llm": 2, "motion": 1}
    again = load_guidance(write_guidance(tmp_path / "again", {"train": rows}))["train"]
    assert again.to_list() == load_guidance(OLD_TABLE)["train"].to_list()
    assert GuidanceIndex(rows).lookup("clips/a", [0.0, 0.4]).statuses == ["ok", "refused"]


def test_a_revision_is_part_of_what_made_a_row(tmp_path):
    made = guidance_row(frame_key(), [1, 0, 0, 0], (2, 2), producer="detector", model="tiny", revision="a2bb814")
    table = load_guidance(write_guidance(tmp_path / "table", {"train": [made]}))["train"]
    assert table["revision"][:] == ["a2bb814"]
    assert summarize_table(table).producer_text == "detector tiny@a2bb814"


def test_columns_that_are_not_of_the_contract_stay(tmp_path):
    old = datasets.load_dataset(str(OLD_TABLE), split="train", cache_dir=str(tmp_path / "cache"))
    table = complete_table(old.add_column("reviewed", [True, False, True]))
    assert table.column_names == [*FEATURES, "reviewed"]


def test_the_index_keeps_no_object_for_a_row(tmp_path):
    rows = [row(video_id=f"clips/{n // 4}", frame_index=n % 4, timestamp_s=n % 4 / 10) for n in range(4000)]
    index = GuidanceIndex(datasets.Dataset.from_list(rows, features=FEATURES))
    # 16 bytes of weights and 36 of numbers a row, and the names of 1000 videos
    assert len(pickle.dumps(index)) < 4000 * 64 + 1000 * 32
    again = pickle.loads(pickle.dumps(index))
    assert (
        again.find_rows("clips/7", [0.0, 0.31, 0.5]) == index.find_rows("clips/7", [0.0, 0.31, 0.5]) == [28, 31, None]
    )


def test_rows_in_any_order_are_found(tmp_path):
    order = [("b", 1), ("a", 2), ("b", 0), ("a", 0), ("a", 1)]
    table = datasets.Dataset.from_list(
        [row(video_id=video, frame_index=n, timestamp_s=float(n)) for video, n in order], features=FEATURES
    )
    index = GuidanceIndex(table)
    assert index.find_rows("a", [0.0, 1.0, 2.0]) == [3, 4, 1]
    assert index.find_rows("b", [0.0, 1.0, 2.0]) == [2, 0, None]


def test_a_selection_of_rows_is_indexed_as_it_is():
    rows = [row(weights=(n + 1, 1, 0, 0), frame_index=n, timestamp_s=float(n)) for n in range(6)]
    table = datasets.Dataset.from_list(rows, features=FEATURES).select([4, 1])
    maps = GuidanceIndex(table).lookup("clips/a", [1.0, 4.0]).maps
    assert [found.weights.tolist() for found in maps] == [pytest.approx(rows[n]["weights"]) for n in (1, 4)]


def test_a_large_index_reads_no_weights_until_a_clip_does(tmp_path, monkeypatch):
    """What a spawned worker is sent grows by 14 bytes a row, the number of a row among its videos' included."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(files.read_folder, "__defaults__", (0,))
    rows = [row(video_id=f"clips/{n // 10}", frame_index=n % 10, timestamp_s=n % 10 / 10) for n in range(4000)]
    rows[25]["weights"] = [0.0, 0.0, 0.0, 1.0]
    table = load_guidance(table_folder(tmp_path / "table", rows))["train"]
    assert table.cache_files  # it is mapped, although it is small
    sent = pickle.dumps(GuidanceIndex(table))
    few = pickle.dumps(GuidanceIndex(load_guidance(table_folder(tmp_path / "few", rows[:1000]))["train"]))
    assert len(sent) - len(few) < 3000 * 14 + 300 * 24
    again = pickle.loads(sent)
    assert again.lookup("clips/2", [0.5]).maps[0].weights.tolist() == [0, 0, 0, 1]
    # a selection, and tables side by side, are found by their own numbers
    selected = GuidanceIndex(table.select([3999, 25, 7]))
    assert selected.find_rows("clips/2", [0.5]) == [1]
    assert pickle.loads(pickle.dumps(selected)).lookup("clips/2", [0.5]).maps[0].weights.tolist() == [0, 0, 0, 1]


def test_an_index_of_many_layouts_and_of_none():
    rows = [
        guidance_row(
            frame_key(frame_index=n, timestamp_s=float(n)), [1.0], (1, 1), "tests", rectangle=(0, 0, (n + 1) / 300, 1)
        )
        for n in range(300)
    ]
    index = index_of(*rows)
    found = index.lookup("clips/a", [0.0, 255.0, 256.0, 299.0]).maps
    assert [one.rectangle[2] for one in found] == pytest.approx([1 / 300, 256 / 300, 257 / 300, 1])
    empty = GuidanceIndex(datasets.Dataset.from_list(rows, FEATURES).select([]))
    assert empty.video_ids == set() and empty.lookup("clips/a", [0.0]).statuses == [MISSING]


def test_a_large_table_is_mapped_and_its_answers_are_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    rows = [
        guidance_row(
            frame_key(frame_index=n, timestamp_s=n / 10),
            [1, 0],
            (1, 2),
            producer="tests",
            raw_response=hashlib.sha256(b"%d" % n).hexdigest() * 300,
        )
        for n in range(2000)
    ]
    folder = write_guidance(tmp_path / "table", {"train": rows})
    table = load_guidance(folder)["train"]
    assert table.cache_files and len(pickle.dumps(table)) < 100_000
    pa.default_memory_pool().release_unused()
    before = pa.total_allocated_bytes()
    index = GuidanceIndex(table)
    assert pa.total_allocated_bytes() - before < 1_000_000  # of 40 MB of answers
    assert index.find_rows("clips/a", [3.0]) == [30]
