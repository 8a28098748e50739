"""Whether a whole guidance table keeps the contract, every field of every row, as it is opened.

A table comes from anywhere, so nothing of it is believed: a rectangle of three numbers would shift those of all rows
after it. `check_row` says of one row what is wrong, in plain Python. Of millions of rows, vectors first find those
that are suspicious, one batch at a time, so that a check takes neither minutes nor memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..errors import GuidanceError
from ..provenance import STATUSES
from .schema import FEATURES, LEAST, NAMES, PLACE_TOLERANCE, SUM_TOLERANCE, TEXTS, check_row, complete_row

ROWS_AT_ONCE = 16_384
"""Rows whose columns are held at a time: 1 MB of weights of a grid of 4 x 4."""


def check_table(rows: datasets.Dataset, where: str) -> None:
    """Check every field of every row of a table against the contract, in vectors.

    Args:
        rows: A split of a table of this version of the contract.
        where: Name of the table and the split in messages.

    Raises:
        GuidanceError: naming the table, the first row at fault and what is wrong with it.
    """
    missing = [column for column in FEATURES if column not in rows.column_names]
    if missing:
        raise GuidanceError(f"{where}: columns {missing} are missing; is this a guidance table?")
    for _ in checked_batches(rows, list(FEATURES), where):
        pass


def checked_batches(rows: datasets.Dataset, columns: Iterable[str], where: str) -> Iterator[pa.Table]:
    """Some columns of a table, batch by batch, each checked before it is given.

    A memory-mapped table is read a bounded piece at a time, and none of it is kept.

    Args:
        rows: Rows with the columns of the contract.
        columns: Names of the columns to read and to check.
        where: Name of the table in messages.

    Raises:
        GuidanceError: a column is missing or of another type, or a row breaks the contract.
    """
    names = list(columns)
    missing = [name for name in names if name not in rows.column_names]
    if missing:
        raise GuidanceError(f"{where}: columns {missing} are missing; is this a guidance table?")
    for name in names:
        _check_type(rows.features[name], FEATURES[name], f"{where}: column {name}")
    start = 0
    for batch in rows.with_format("arrow").select_columns(names).iter(ROWS_AT_ONCE):
        for place in np.flatnonzero(_suspicious(batch)):
            _check_suspicious(rows, start + int(place), where)
        start += len(batch)
        yield batch


def _check_suspicious(rows: datasets.Dataset, number: int, where: str) -> None:
    """Let the check of a single row decide, whose sums are exact and whose words are for people."""
    try:
        check_row(complete_row(rows.with_format(None)[number]))
    except GuidanceError as error:
        raise GuidanceError(f"{where}, row {number}: {error}") from None


def _check_type(found: Any, expected: Any, where: str) -> None:
    """Any width of number will do, and any kind of list; a text is no number.

    Raises:
        GuidanceError: the column cannot hold what the contract says.
    """
    if isinstance(expected, dict):
        for name, part in expected.items():
            if not isinstance(found, dict) or name not in found:
                raise GuidanceError(f"{where} holds {_type_name(found)}, expected {_type_name(expected)}")
            _check_type(found[name], part, f"{where}, {name}")
        return
    if hasattr(expected, "feature"):
        if not hasattr(found, "feature"):
            raise GuidanceError(f"{where} holds {_type_name(found)}, expected a list")
        _check_type(found.feature, expected.feature, where)
        return
    kinds = {"string": ("string", "large_string"), "bool": ("bool",)}
    accepted = kinds.get(expected.dtype, ("int", "uint", *(("float",) if "float" in expected.dtype else ())))
    if not str(getattr(found, "dtype", "")).startswith(accepted):
        raise GuidanceError(f"{where} holds {_type_name(found)}, expected {expected.dtype}")


def _type_name(feature: Any) -> str:
    if isinstance(feature, dict):
        return f"objects of {', '.join(feature)}"
    return "a list" if hasattr(feature, "feature") else str(getattr(feature, "dtype", feature))


# Vectors: each function gives the suspicious rows among some, booleans (rows,)


def _suspicious(batch: pa.Table) -> np.ndarray:
    """The rows that may break the contract, among the columns that a batch has: booleans (rows,)."""
    found = np.zeros(len(batch), dtype=bool)
    for name, find in _FINDERS.items():
        if name in batch.column_names and len(batch):
            found |= find(batch)
    return found


def _bad_texts(name: str) -> Callable[[pa.Table], np.ndarray]:
    def find(batch: pa.Table) -> np.ndarray:
        column = batch[name]
        # not combined: a copy of all answers would be the largest of the table
        bad = np.asarray(column.is_null()) if column.null_count else np.zeros(len(column), dtype=bool)
        if name in NAMES:
            bad |= np.asarray(pc.fill_null(pc.equal(pc.binary_length(column), 0), True))
        if name == "status":
            bad |= ~np.asarray(pc.is_in(column, value_set=pa.array(STATUSES)))
        return bad

    return find


def _bad_numbers(name: str, least: float) -> Callable[[pa.Table], np.ndarray]:
    def find(batch: pa.Table) -> np.ndarray:
        values = _floats(batch[name])
        return ~(np.isfinite(values) & (values >= least))

    return find


def _bad_rectangles(batch: pa.Table) -> np.ndarray:
    lengths, values = _lists(batch["rectangle"])
    whole = lengths == 4
    x0, y0, x1, y1 = _floats(values)[np.repeat(whole, np.maximum(lengths, 0))].reshape(-1, 4).T
    bad = ~whole
    # "not good" rather than "bad", since comparisons with NaN are false
    bad[whole] = ~((x0 >= 0) & (x0 < x1) & (x1 <= 1) & (y0 >= 0) & (y0 < y1) & (y1 <= 1))
    return bad


def _bad_weights(batch: pa.Table) -> np.ndarray:
    lengths, column = _lists(batch["weights"])
    values, counts = _floats(column), np.maximum(lengths, 0)
    row_of = np.repeat(np.arange(len(batch)), counts)
    bad = lengths < 0
    bad |= np.bincount(row_of, weights=~(np.isfinite(values) & (values >= 0)), minlength=len(batch)) > 0
    if {"grid_rows", "grid_cols"} <= set(batch.column_names):
        # in floating point: 65536 x 65536 cells are none in 32 bits
        bad |= ~(lengths == _floats(batch["grid_rows"]) * _floats(batch["grid_cols"]))
    if "status" in batch.column_names:
        expected = np.asarray(pc.fill_null(pc.equal(batch["status"], "ok"), False)).astype(np.float64)
        sums = np.bincount(row_of, weights=np.nan_to_num(values), minlength=len(batch))
        bad |= ~(np.abs(sums - expected) <= SUM_TOLERANCE)
    return bad


def _bad_objects(batch: pa.Table) -> np.ndarray:
    lengths, entries = _lists(batch["objects"])
    bad = lengths < 0
    if not len(entries):
        return bad
    # flattened, so that an entry that is null is null in each of its fields
    fields = dict(zip([field.name for field in entries.type], entries.flatten(), strict=True))
    wrong = np.asarray(fields["name"].is_null()) | np.asarray(fields["relevant"].is_null())
    for name, size in (("center", 2), ("box", 4)):
        sizes, column = _lists(fields[name])
        whole, values = sizes == size, _floats(column)
        wrong |= ~(whole | (sizes == 0))
        places = values[np.repeat(whole, np.maximum(sizes, 0))].reshape(-1, size)
        good = ((places >= -PLACE_TOLERANCE) & (places <= 1 + PLACE_TOLERANCE)).all(axis=1)
        if size == 4:
            good &= (places[:, :2] <= places[:, 2:]).all(axis=1)
        wrong[whole] |= ~good
    row_of = np.repeat(np.arange(len(batch)), np.maximum(lengths, 0))
    return bad | (np.bincount(row_of, weights=wrong, minlength=len(batch)) > 0)


def _lists(column: pa.ChunkedArray | pa.Array) -> tuple[np.ndarray, pa.Array]:
    """The length of each list, int64 (rows,), -1 where there is none; and the values of all lists, in order."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    lengths = pc.fill_null(pc.list_value_length(array), -1)
    return np.asarray(lengths).astype(np.int64), array.flatten()


def _floats(column: pa.ChunkedArray | pa.Array) -> np.ndarray:
    """The values of a column, float64 (rows,); NaN where there is none."""
    # 0 and then NaN, since `to_numpy` makes objects of columns that are null throughout
    values = np.asarray(pc.fill_null(column, 0)).astype(np.float64)
    if column.null_count:
        values[np.asarray(column.is_null())] = np.nan
    return values


_FINDERS: Mapping[str, Callable[[pa.Table], np.ndarray]] = {
    **{name: _bad_texts(name) for name in TEXTS},
    **{name: _bad_numbers(name, least) for name, least in LEAST.items()},
    "timestamp_s": _bad_numbers("timestamp_s", -math.inf),
    "cost_usd": _bad_numbers("cost_usd", 0),
    "rectangle": _bad_rectangles,
    "weights": _bad_weights,
    "objects": _bad_objects,
}
"""Column of the contract -> what finds its suspicious rows. Every column has one."""
