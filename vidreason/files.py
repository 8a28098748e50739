"""Files that are there whole or not at all, and folders of Parquet files that `datasets.load_dataset(folder)` opens.

datasets 4 and later run no loading scripts, so Parquet files for each split with a dataset card that names them is the
form in which manifests, ground truth and guidance are kept and published. Rows are written in bounded batches; column
types travel in the Parquet schema.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from datasets import Dataset, DatasetDict, Features
from huggingface_hub import DatasetCard, DatasetCardData

from .errors import VidreasonError

ROWS_PER_BATCH = 1024


def write_whole(path: str | os.PathLike, text: str) -> None:
    """Write a UTF-8 file under its name in one step.

    A process that is killed leaves no half file there, and of several that write the same file at once the last to
    finish wins: each has a file of its own until then.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


@dataclass(frozen=True)
class FileLimits:
    """When the next Parquet file of a split is begun; one file holds all where nothing is set.

    Args:
        max_rows: of a file.
        max_bytes: of a file; exceeded only where a single batch of rows is larger.
        batch_rows: written, and later read, at a time; few where rows are large. `ROWS_PER_BATCH` if not set.
    """

    max_rows: int | None = None
    max_bytes: int | None = None
    batch_rows: int | None = None

    def __post_init__(self):
        for name in ("max_rows", "max_bytes", "batch_rows"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise VidreasonError(f"{name} of a Parquet file is {getattr(self, name)}, expected at least 1")


def split_path(folder: str | os.PathLike, split: str, number: int = 0, count: int = 1) -> Path:
    """A Parquet file of a split, in the Hub's naming."""
    return Path(folder) / "data" / f"{split}-{number:05d}-of-{count:05d}.parquet"


def write_split(
    folder: str | os.PathLike,
    split: str,
    rows: Iterable[Mapping[str, Any]],
    features: Features,
    limits: FileLimits | None = None,
    compress: bool = True,
) -> int:
    """Write the rows of one split and return how many there were.

    With `compress=False` values are stored as they are, which is best for bytes that are compressed already.

    Files appear under their names only when all rows are written, so that a run that is killed leaves no half table
    behind. Files that an earlier table had for this split, in whatever number, are removed then.
    """
    with _writing(folder, split, features, limits or FileLimits(), compress) as shards:
        batch = []
        for row in rows:
            batch.append({name: row[name] for name in features})
            if len(batch) == shards.batch_size:
                shards.write(batch)
                batch = []
        shards.write(batch)
    return shards.num_rows


@contextmanager
def _writing(
    folder: str | os.PathLike, split: str, features: Features, limits: FileLimits, compress: bool
) -> Iterator[_ShardWriter]:
    """A writer whose files are put in place at the end, or removed where there is an error on the way."""
    shards = _ShardWriter(Path(folder), split, features, limits, compress)
    try:
        yield shards
    except BaseException:
        shards.discard()
        raise
    shards.finish()


class _ShardWriter:
    """Writes batches of rows to one file after another."""

    def __init__(self, folder: Path, split: str, features: Features, limits: FileLimits, compress: bool):
        self.folder, self.split, self.features, self.limits = folder, split, features, limits
        self._options = {} if compress else {"compression": "none", "use_dictionary": False}
        self.num_rows = 0
        self._partials: list[Path] = []
        split_path(folder, split).parent.mkdir(parents=True, exist_ok=True)
        self._open()

    @property
    def batch_size(self) -> int:
        """How many rows the next batch may have."""
        batch_rows = self.limits.batch_rows or ROWS_PER_BATCH
        if self.limits.max_rows is None:
            return batch_rows
        left = self.limits.max_rows - self._rows_in_file
        return min(batch_rows, left or self.limits.max_rows)

    def write(self, batch: list[dict[str, Any]]) -> None:
        if not batch:
            return
        table = Dataset.from_list(batch, features=self.features).data.table
        if self._rows_in_file and self._is_full(len(batch), table.nbytes):
            self._close()
            self._open()
        self._writer.write_table(table)
        self._rows_in_file += len(batch)
        self.num_rows += len(batch)

    def finish(self) -> None:
        self._close()
        count = len(self._partials)
        names = [split_path(self.folder, self.split, number, count) for number in range(count)]
        for partial, name in zip(self._partials, names, strict=True):
            os.replace(partial, name)
        for path in names[0].parent.glob(f"{self.split}-*-of-*.parquet"):
            if path not in names:
                path.unlink()

    def discard(self) -> None:
        self._close()
        for partial in self._partials:
            partial.unlink(missing_ok=True)

    def _is_full(self, num_rows: int, num_bytes: int) -> bool:
        if self.limits.max_rows is not None and self._rows_in_file + num_rows > self.limits.max_rows:
            return True
        # compressed rows take less than they do in memory, so that the file stays under the limit
        return self.limits.max_bytes is not None and self._file.tell() + num_bytes > self.limits.max_bytes

    def _open(self) -> None:
        partial = self.folder / "data" / f"{self.split}-{len(self._partials):05d}.partial"
        self._partials.append(partial)
        self._file = partial.open("wb")
        self._writer = pq.ParquetWriter(self._file, self.features.arrow_schema, **self._options)
        self._rows_in_file = 0

    def _close(self) -> None:
        self._writer.close()
        self._file.close()


def folder_card_data(splits: Iterable[str], **metadata: Any) -> DatasetCardData:
    """The YAML of a card, with the mapping from splits to files. Other keys go in `metadata`."""
    data_files = [{"split": split, "path": f"data/{split}-*.parquet"} for split in splits]
    return DatasetCardData(configs=[{"config_name": "default", "data_files": data_files}], **metadata)


def write_card(folder: str | os.PathLike, splits: Iterable[str], body: str, **metadata: Any) -> Path:
    """Write `README.md` with the YAML that maps splits to files. Other keys of the card's YAML go in `metadata`."""
    data = folder_card_data(splits, **metadata)
    path = Path(folder) / "README.md"
    DatasetCard(f"---\n{data.to_yaml()}\n---\n\n{body.strip()}\n").save(path)
    return path


def read_folder(folder: str | os.PathLike) -> DatasetDict:
    """Open all splits of a folder that this module wrote, straight from its Parquet files and without any cache.

    `datasets.load_dataset(folder)` gives the same rows and features.
    """
    files = sorted((Path(folder) / "data").glob("*-*-of-*.parquet"))
    if not files:
        raise VidreasonError(f"{folder}: no Parquet files under data/; was the folder built?")
    tables: dict[str, list[str]] = {}
    for file in files:
        tables.setdefault(file.name.rsplit("-", 3)[0], []).append(str(file))
    # the features are read from the Parquet schema's own metadata
    return DatasetDict({split: Dataset(pq.read_table(paths)) for split, paths in tables.items()})
