"""Packed clips: the sampled frames of each video as JPEG with the guidance of these frames, a Parquet row per clip.

Training reads a few small pictures in place of a video file. `datasets.load_dataset(folder)` opens a store, as does
`streaming=True`; `vidreason.clips.packing` makes one. A row holds all that a clip needs, so that a store on the Hub
needs no manifest, no videos and no guidance table beside it.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet
from datasets import ClassLabel, Features, Image, List, Value

from ..errors import ConfigError
from ..guidance.geometry import Layout, grid_maps
from ..guidance.join import MISSING, FrameGuidance

PER_FRAME_PROVENANCE = ("producer", "model", "prompt_id", "prompt_sha256")

GUIDANCE_FEATURES = {
    "table": Value("string"),  # the name of the guidance table, empty where the split was packed without one
    # a list over the packed frames each, with the meaning that the guidance table gives the name
    "status": List(Value("string")),  # also "missing": the table has no row for this frame
    "grid_rows": List(Value("int32")),
    "grid_cols": List(Value("int32")),
    "weights": List(List(Value("float32"))),
    "rectangle": List(List(Value("float32"))),
    **{name: List(Value("string")) for name in PER_FRAME_PROVENANCE},
}


def packed_features(class_names: Sequence[str]) -> Features:
    """The columns of a store, whose labels are ids of these classes."""
    return Features(
        {
            "video_id": Value("string"),
            "source": Value("string"),  # data set and revision
            "split": Value("string"),
            "clip_index": Value("int32"),  # of the video in its split of the manifest, from 0
            "label": ClassLabel(names=list(class_names)),
            "group": Value("string"),  # empty where the data set has none
            "num_frames": Value("int32"),  # of the video
            "frame_height": Value("int32"),  # of the video in pixels, as displayed
            "frame_width": Value("int32"),
            "frame_indices": List(Value("int32")),  # native index of each packed frame, rising
            "timestamps_s": List(Value("float64")),
            "frames": List(Image()),  # JPEG
            "guidance": GUIDANCE_FEATURES,
        }
    )


class PackedClip:
    """One row of a store. Its pictures stay encoded, and its guidance in Arrow's memory, until they are asked for.

    Args:
        row: Table of one row with the columns of `packed_features`.
    """

    def __init__(self, row: pa.Table):
        self._row = row

    def value(self, name: str) -> Any:
        """A column's text or number."""
        return self._column(name)[0].as_py()

    @functools.cached_property
    def frame_indices(self) -> np.ndarray:
        """Native index of each packed frame: (frames,)."""
        return np.asarray(_items(self._column("frame_indices")))

    @property
    def timestamps_s(self) -> np.ndarray:
        """Presentation time of each packed frame: (frames,)."""
        return np.asarray(_items(self._column("timestamps_s")))

    def jpegs(self, frames: Sequence[int]) -> list[bytes]:
        """The encoded pictures of some of the packed frames; empty where one is missing."""
        encoded = _items(self._column("frames")).field("bytes")
        return [encoded[frame].as_py() or b"" for frame in frames]

    def guidance(self, frames: Sequence[int]) -> FrameGuidance:
        """The guidance of some of the packed frames, as `GuidanceIndex.lookup` gives it.

        Args:
            frames: Positions among the packed frames.
        """
        columns = self._column("guidance")
        all_statuses = _items(columns.field("status"))
        statuses = [all_statuses[frame].as_py() for frame in frames]
        rows, cols = (np.asarray(_items(columns.field(name))).tolist() for name in ("grid_rows", "grid_cols"))
        weights, rectangles = _Ragged(columns.field("weights")), _Ragged(columns.field("rectangle"))
        found = [frame for frame, status in zip(frames, statuses, strict=True) if status != MISSING]
        layouts: list[Layout] = []
        for frame in found:
            x0, y0, x1, y1 = rectangles[frame].tolist()
            layouts.append(((rows[frame], cols[frame]), (x0, y0, x1, y1)))
        maps = iter(grid_maps([weights[frame] for frame in found], layouts))
        return FrameGuidance([None if status == MISSING else next(maps) for status in statuses], statuses)

    def _column(self, name: str) -> pa.Array:
        return self._row.column(name).chunk(0)


class _Ragged:
    """The lists of one row as arrays, without a Python object for each number."""

    def __init__(self, lists: pa.ListArray):
        items = _items(lists)
        self._values, self._offsets = np.asarray(items.values), np.asarray(items.offsets)

    def __getitem__(self, index: int) -> np.ndarray:
        return self._values[self._offsets[index] : self._offsets[index + 1]]


def _items(lists: pa.ListArray) -> pa.Array:
    """The items of the one list of an array, without a copy and without Arrow's slower general `flatten`."""
    start, stop = np.asarray(lists.offsets).tolist()
    return lists.values.slice(start, stop - start)


@dataclass(frozen=True)
class PackedGuidance:
    """The guidance that a split of a store carries.

    Args:
        table: Name of the guidance table that it was packed from.
        rows: A row for each packed frame that the table has a row for: video_id, status, producer and model.
    """

    table: str
    rows: datasets.Dataset

    @property
    def video_ids(self) -> set[str]:
        """The videos that have any row."""
        return set(self.rows["video_id"])


def check_packed(features: Features, where: str) -> None:
    """Check that a table is a store of packed clips.

    Args:
        features: Columns of the table.
        where: Name of the table, for the error.

    Raises:
        ConfigError: It lacks columns, or their types are others; the message names them.
    """
    label = features.get("label")
    expected = packed_features(label.names if isinstance(label, ClassLabel) else ["?"])
    missing = [name for name in expected if name not in features]
    if missing:
        raise ConfigError(f"{where}: columns {missing} are missing; was it made by datasets_scripts/pack_clips.py?")
    others = [name for name, feature in expected.items() if features[name] != feature]
    if others:
        raise ConfigError(f"{where}: columns {others} are not those of packed clips: {features[others[0]]}")


@dataclass(frozen=True)
class PackedStore:
    """A store of packed clips, found and checked, of which nothing but its files' ends has been read.

    Args:
        name: Folder or Hub id.
        revision: Revision of the Hub data set.
        files: Split -> its Parquet files: paths, or addresses that `fsspec` opens.
        features: Columns of its rows.
        source: Data set and revision of its videos.
    """

    name: str
    revision: str | None
    files: dict[str, list[str]]
    features: Features
    source: str

    @property
    def class_names(self) -> list[str]:
        """In the order of the label ids."""
        return self.features["label"].names

    def files_of(self, split: str) -> list[str]:
        """The Parquet files of a split.

        Raises:
            ConfigError: There is no such split.
        """
        if split not in self.files:
            raise ConfigError(f"packed clips {self.name}: no split {split!r}; there are {sorted(self.files)}")
        return self.files[split]

    def video_ids(self, split: str) -> list[str]:
        """The videos of a split, in the store's order."""
        return self._columns(split, ["video_id"]).column("video_id").to_pylist()

    def guidance(self, split: str) -> PackedGuidance | None:
        """The guidance that a split carries, None where it was packed without."""
        names = [f"guidance.{name}" for name in ("table", "status", "producer", "model")]
        table = self._columns(split, ["video_id", *names]).combine_chunks()
        if not len(table):
            return None
        parts = table.column("guidance").combine_chunks()
        name = pa.compute.struct_field(parts, "table")[0].as_py()
        if not name:
            return None
        lists = {column: pa.compute.struct_field(parts, column) for column in ("status", "producer", "model")}
        owner = pa.compute.list_parent_indices(lists["status"])
        columns = {column: values.flatten() for column, values in lists.items()}
        columns["video_id"] = table.column("video_id").combine_chunks().take(owner)
        flat = pa.table(columns)
        flat = flat.filter(pa.compute.not_equal(flat.column("status"), MISSING))
        return PackedGuidance(name, datasets.Dataset(flat))

    def _columns(self, split: str, names: list[str]) -> pa.Table:
        tables = []
        for file in self.files_of(split):
            with open_parquet(file) as parquet:
                tables.append(parquet.read(columns=names))
        return pa.concat_tables(tables)

    def load(self, split: str) -> datasets.Dataset:
        """A split by index, memory-mapped. The first time, `datasets` writes it to its cache in Arrow's format.

        Raises:
            ConfigError: There is no such split, or a file of it cannot be read.
        """
        # by its files, whose paths and times of change are then part of the cache's key; by the folder's name,
        # `datasets` would give the rows of any other folder that was called the same
        files = {split: self.files_of(split)}
        try:
            return datasets.load_dataset("parquet", data_files=files, split=split)
        except Exception as error:  # whatever `datasets` raises, the user needs the name that was asked for
            raise ConfigError(f"packed clips {self.name}, split {split!r}, cannot be read: {error}") from error


def open_packed(name: str | os.PathLike, revision: str | None = None) -> PackedStore:
    """Find a store of packed clips.

    Args:
        name: Local folder, else a Hub id.
        revision: Revision of the Hub data set.

    Raises:
        ConfigError: There is nothing of that name, or it holds something else.
    """
    name = str(name)
    if Path(name).is_dir() and not any((Path(name) / "data").glob("*-*-of-*.parquet")):
        raise ConfigError(f"packed clips {name}: no Parquet files under data/; was the store built to its end?")
    try:
        found = datasets.load_dataset_builder(name, revision=revision).config.data_files
        files = {str(split): [str(path) for path in paths] for split, paths in found.items()}
    except Exception as error:
        raise ConfigError(f"packed clips {name!r} are neither a folder nor can they be found: {error}") from error
    first = next(iter(files.values()))[0]
    schema, source = _read_head(name, first)
    features = Features.from_arrow_schema(schema)
    check_packed(features, f"packed clips {name}")
    return PackedStore(name, revision, files, features, source)


def open_parquet(file: str) -> pa.parquet.ParquetFile:
    """A Parquet file by path or address; a local one is mapped into memory.

    Raises:
        ConfigError: It cannot be read.
    """
    import fsspec

    try:
        if Path(file).is_file():
            return pa.parquet.ParquetFile(file, memory_map=True)
        return pa.parquet.ParquetFile(fsspec.open(file, "rb").open())
    except (OSError, ValueError, pa.ArrowException) as error:
        raise ConfigError(f"{file}: not a readable Parquet file ({error})") from error


def _read_head(name: str, file: str) -> tuple[pa.Schema, str]:
    """The schema of a file and the source that its first row names."""
    if not file.endswith(".parquet"):
        raise ConfigError(f"packed clips {name}: {Path(file).name} is no Parquet file of a store")
    with open_parquet(file) as parquet:
        schema = parquet.schema_arrow
        if "source" not in schema.names:
            return schema, ""  # a foreign table, which is named by `check_packed`
        batch = next(parquet.iter_batches(batch_size=1, columns=["source"]), None)
    return schema, batch.column(0)[0].as_py() if batch is not None and len(batch) else ""
