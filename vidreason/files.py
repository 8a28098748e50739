"""Files that are there whole or not at all, and folders of Parquet files that `datasets.load_dataset(folder)` opens.

datasets 4 and later run no loading scripts, so Parquet files for each split with a dataset card that names them is the
form in which manifests, ground truth and guidance are kept and published. Rows are written in bounded batches; column
types travel in the Parquet schema. A large table is read memory-mapped, so that it takes no memory of a process and is
pickled to loader workers as the name of a file.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset, DatasetDict, Features
from filelock import FileLock, Timeout
from huggingface_hub import DatasetCard, DatasetCardData

from .errors import ConfigError, VidreasonError

logger = logging.getLogger(__name__)

ROWS_PER_BATCH = 1024

IN_MEMORY_BYTES = 32 * 2**20
"""Splits up to this size, uncompressed, are read into memory; of larger ones an Arrow copy in the cache is mapped."""

_HASHED_BYTES = 2**20  # read at a time

OUTSIDE_PATH = r"^$|^/|\\|\x00|(^|/)\.\.(/|$)"
"""Pattern of texts that are no POSIX path under a folder, for `re` and for Arrow alike: empty, absolute, with
backslashes, or with a `..` that may leave the folder."""


def take_lock(path: str | os.PathLike, busy: str, waits: bool = False) -> FileLock | None:
    """The lock of a file, taken; None where its file system knows no locks.

    It ends with the process that holds it, however that ends. Its file stays: who removes it may remove it from under
    another process that has just taken it.

    Args:
        path: The lock's file, in a folder that is there.
        busy: What is said where another process has it.
        waits: Whether to wait for the end of that process, rather than raise.

    Raises:
        ConfigError: Another process has it.
    """
    lock = FileLock(path)
    try:
        try:
            lock.acquire(timeout=0)
        except Timeout:
            if not waits:
                raise ConfigError(busy) from None
            logger.info("%s", busy)
            lock.acquire()
    except NotImplementedError:  # flock on some network file systems
        logger.warning("the file system of %s knows no locks: start no other process there", Path(path).parent)
        return None
    return lock


@contextmanager
def held_lock(path: str | os.PathLike, busy: str, waits: bool = False) -> Iterator[None]:
    """Around what one process at a time does: `take_lock`, whose folder is made where it is missing."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    lock = take_lock(path, busy, waits)
    try:
        yield
    finally:
        if lock is not None:
            lock.release()


@contextmanager
def database_errors(path: str | os.PathLike, kind: type[VidreasonError]) -> Iterator[None]:
    """Around what is done with an SQLite file: names the file in SQLite's errors, such as of a full disk or damage.

    Args:
        path: The file.
        kind: What is raised in place of SQLite's own error.
    """
    try:
        yield
    except sqlite3.Error as error:
        raise kind(f"{path}: {error}") from error


def is_outside(path: str) -> bool:
    """Whether a text in a table is no POSIX path under the folder that the table's paths start from.

    Tables come from elsewhere, and such a path would name any file of this machine. Links are not looked at: what lies
    under the folder was put there by its owner, and the Hub's own cache consists of links.
    """
    return re.search(OUTSIDE_PATH, path) is not None


def is_utf8(name: str | os.PathLike) -> bool:
    """Whether a file's name is text that tables, JSON and cards can hold; on Linux a name is any bytes."""
    try:
        os.fspath(name).encode()
    except UnicodeEncodeError:  # Python puts lone surrogates for bytes that are no UTF-8
        return False
    return True


def readable_name(name: str | os.PathLike) -> str:
    r"""A file's name as text: bytes that are no UTF-8 are shown as `\xe9`, all else stays."""
    return os.fspath(name) if is_utf8(name) else os.fsencode(name).decode(errors="backslashreplace")


def write_whole(path: str | os.PathLike, text: str) -> None:
    """Write a UTF-8 file under its name in one step.

    A process that is killed leaves no half file there, and of several that write the same file at once the last to
    finish wins: each has a file of its own until then.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with _naming(path):
            partial.write_text(text, encoding="utf-8")
            os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Errors of the file system name the file that was to be written: writing to a full disk says no name."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        # Arrow puts a sentence of its own before the code's
        raise OSError(error.errno, os.strerror(error.errno), str(path)) from error


@dataclass(frozen=True)
class FileLimits:
    """When the next Parquet file of a split is begun; one file holds all where nothing is set.

    Args:
        max_rows: Largest number of rows of a file.
        max_bytes: Largest size of a file in bytes; exceeded only where a single batch of rows is larger.
        batch_rows: Number of rows that are written, and later read, at a time; few where rows are large.
            `ROWS_PER_BATCH` if not set.
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

    Files appear under their names only when all rows are written, so that a run that is killed leaves no half table
    behind. Files that an earlier table had for this split, in whatever number, are removed then.

    Args:
        folder: Folder of the table.
        split: Name of the split.
        rows: Rows that have at least the columns of `features`; they are streamed.
        features: Columns of the table, with their types.
        limits: When the next file is begun; by default one file holds all rows.
        compress: Whether values are compressed. Without it they are stored as they are, which is best for bytes that
            are compressed already, such as JPEG.
    """
    with split_writer(folder, split, features, limits, compress) as shards:
        batch = []
        for row in rows:
            batch.append({name: row[name] for name in features})
            if len(batch) == shards.batch_size:
                shards.write(batch)
                batch = []
        shards.write(batch)
    return shards.num_rows


@contextmanager
def split_writer(
    folder: str | os.PathLike,
    split: str,
    features: Features,
    limits: FileLimits | None = None,
    compress: bool = True,
) -> Iterator[SplitWriter]:
    """A writer of one split, for whoever writes several tables at once, or has columns and no rows.

    Its files are put in place at the end of the context, or removed where there is an error on the way. Arguments are
    those of `write_split`.
    """
    shards = SplitWriter(Path(folder), split, features, limits or FileLimits(), compress)
    try:
        yield shards
        with _naming(split_path(folder, split)):
            shards.finish()
    except BaseException:  # also where the last rows no longer fit on the disk
        shards.discard()
        raise


class SplitWriter:
    """Writes batches of rows to one file after another; `split_writer` makes one.

    Args:
        folder: Folder of the table.
        split: Name of the split.
        features: Columns of the table, with their types.
        limits: When the next file is begun.
        compress: Whether values are compressed.
    """

    def __init__(self, folder: Path, split: str, features: Features, limits: FileLimits, compress: bool):
        self.folder, self.split, self.features, self.limits = folder, split, features, limits
        self._options: dict[str, Any] = {} if compress else {"compression": "none", "use_dictionary": False}
        self.num_rows = 0
        self._partials: list[Path] = []
        split_path(folder, split).parent.mkdir(parents=True, exist_ok=True)
        self._open()

    @property
    def batch_size(self) -> int:
        """Number of rows that the next batch may have."""
        batch_rows = self.limits.batch_rows or ROWS_PER_BATCH
        if self.limits.max_rows is None:
            return batch_rows
        left = self.limits.max_rows - self._rows_in_file
        return min(batch_rows, left or self.limits.max_rows)

    def write(self, batch: Sequence[Mapping[str, Any]]) -> None:
        """Write rows that have at least the columns of the table."""
        if not batch:
            return
        # as `Dataset.from_list` does it, without the fingerprint that it takes of every batch, which costs more
        columns = self.features.encode_batch({name: [row[name] for row in batch] for name in self.features})
        self.write_table(pa.Table.from_pydict(columns, schema=self.features.arrow_schema))

    def write_table(self, table: pa.Table) -> None:
        """Write rows that are Arrow columns of the types of the table already."""
        most = self.limits.max_rows or max(len(table), 1)
        for start in range(0, len(table), most):
            self._write(table.slice(start, most))

    def _write(self, table: pa.Table) -> None:
        with _naming(self._partials[-1]):
            if self._rows_in_file and self._is_full(len(table), table.nbytes):
                self._close()
                self._open()
            self._writer.write_table(table)
        self._rows_in_file += len(table)
        self.num_rows += len(table)

    def finish(self) -> None:
        """Give the files their names, and remove those of an earlier table."""
        self._close()
        count = len(self._partials)
        names = [split_path(self.folder, self.split, number, count) for number in range(count)]
        for partial, name in zip(self._partials, names, strict=True):
            os.replace(partial, name)
        for path in split_files(self.folder, self.split):
            if path not in names:
                path.unlink()

    def discard(self) -> None:
        """Remove what was written. Whatever is wrong with the disk: the error that led here is the one to be told."""
        for close in (self._writer.close, self._file.close, self._file.close):
            # both write what they still hold, and fail again on a full disk; the second time a file is just closed
            with suppress(OSError, ValueError, pa.ArrowException):
                close()
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


def folder_card_data(
    folder: str | os.PathLike, splits: Iterable[str], configurations: Sequence[str] = (), **metadata: Any
) -> DatasetCardData:
    """The YAML of a card, with the mapping from splits to files and a hash of what the files hold.

    Args:
        folder: Folder of the table, whose Parquet files are all written already.
        splits: Names of the splits; those without rows are left out, unless all are.
        configurations: Names of the tables where there are several, each in the folder of its name below `folder`;
            `datasets.load_dataset(folder, name)` opens one. The first is opened where no name is given. Tables without
            rows are left out.
        metadata: Other keys of the card's YAML.
    """
    splits = list(splits)
    # `datasets` opens no split without rows, and with one among them no other split of the configuration either
    if not configurations:
        filled = [split for split in splits if _has_rows(Path(folder), split)]
        return DatasetCardData(configs=[_configuration(Path(folder), "", filled or splits)], **metadata)
    configs = []
    for name in configurations:
        filled = [split for split in splits if _has_rows(Path(folder) / name, split)]
        if filled:
            configs.append(_configuration(Path(folder), name, filled))
    if configs:
        configs[0]["default"] = True
    return DatasetCardData(configs=configs, **metadata)


def _has_rows(folder: Path, split: str) -> bool:
    return any(pq.read_metadata(file).num_rows for file in split_files(folder, split))


def _configuration(folder: Path, name: str, splits: Sequence[str]) -> dict[str, Any]:
    """One table of a card: the only one, "default", where the name is empty."""
    place = f"{name}/data" if name else "data"
    data_files = [{"split": split, "path": f"{place}/{split}-*.parquet"} for split in splits]
    # `datasets.load_dataset(folder)` keys its cache by the folder's last name and the configurations in the card: of
    # two tables with alike cards, or of a table that was written anew, it would give the rows of the first. The
    # description of a configuration is part of that key, and a text that nothing else reads.
    content = content_hash(file for split in splits for file in split_files(folder / name, split))
    return {
        "config_name": name or "default",
        "description": f"Content SHA-256: {content}",
        "data_files": data_files,
    }


def split_files(folder: str | os.PathLike, split: str) -> list[Path]:
    """The Parquet files of a split, in their order."""
    # a split may be called like the beginning of another's name, hence digits and not just a star
    return sorted((Path(folder) / "data").glob(f"{split}-[0-9]*-of-[0-9]*.parquet"))


def content_hash(files: Iterable[Path]) -> str:
    """SHA-256 over the names and bytes of files, in hexadecimal."""
    whole = hashlib.sha256()
    for file in files:
        # of each file on its own: bytes that move from the end of one to the start of the next change the whole
        whole.update(f"{file.name} {file_hash(file)}\n".encode())
    return whole.hexdigest()


def file_hash(file: str | os.PathLike) -> str:
    """SHA-256 of the bytes of a file, in hexadecimal; a file of any size is read in pieces."""
    # `hashlib.file_digest` came with Python 3.11
    digest = hashlib.sha256()
    with Path(file).open("rb") as opened:
        while block := opened.read(_HASHED_BYTES):
            digest.update(block)
    return digest.hexdigest()


def write_card(
    folder: str | os.PathLike,
    splits: Iterable[str],
    body: str,
    configurations: Sequence[str] = (),
    **metadata: Any,
) -> Path:
    """Write `README.md`: the YAML of `folder_card_data`, and a text. To be called when all splits are written.

    Args:
        folder: Folder of the table.
        splits: Names of the splits.
        body: Markdown below the YAML.
        configurations: Names of the tables where there are several, as `folder_card_data` takes them.
        metadata: Other keys of the card's YAML.
    """
    data = folder_card_data(folder, splits, configurations, **metadata)
    path = Path(folder) / "README.md"
    write_whole(path, str(DatasetCard(f"---\n{data.to_yaml()}\n---\n\n{body.strip()}\n")))
    return path


def open_table(
    name: str | os.PathLike, what: str, error: type[VidreasonError], revision: str | None = None
) -> DatasetDict:
    """Open a table: a folder, or the id of a data set on the Hub.

    Args:
        name: A local folder, else the id of a data set on the Hub.
        what: What the rows are called in errors, in the plural: "detections".
        error: The kind of error that is raised.
        revision: Branch, tag or commit of a data set on the Hub.

    Raises:
        VidreasonError: There is no such table; it is of the kind `error`.
    """
    if Path(name).is_dir():
        return read_folder(name)
    try:
        return datasets.load_dataset(str(name), revision=revision)
    except Exception as caught:  # whatever the Hub client raises, the user needs the name that was asked for
        raise error(f"{what} {str(name)!r} are neither a folder nor can be loaded: {caught}") from caught


def check_columns(
    table: Mapping[str, Dataset],
    features: Iterable[str],
    name: str | os.PathLike,
    what: str,
    error: type[VidreasonError],
) -> None:
    """Make sure that every split of a table has the columns of its schema.

    Args:
        table: The table.
        features: Names of the columns.
        name: What the table is called in errors.
        what: What its rows are called in errors, in the plural.
        error: The kind of error that is raised.

    Raises:
        VidreasonError: Columns are missing; it is of the kind `error`, and names them.
    """
    for split, rows in table.items():
        missing = [column for column in features if column not in rows.column_names]
        if missing:
            raise error(f"{name}, split {split!r}: columns {missing} are missing; are these {what}?")


def read_folder(folder: str | os.PathLike, in_memory_bytes: int = IN_MEMORY_BYTES) -> DatasetDict:
    """Open all splits of a folder that this module wrote. `datasets.load_dataset(folder)` gives the same rows.

    A large split is memory-mapped: its rows are copied once into an uncompressed Arrow file beside the cache of
    `datasets`, under a hash of the Parquet files' content, and never into the folder itself.

    Args:
        folder: Folder of the table.
        in_memory_bytes: Size, uncompressed, up to which a split is read into memory in place of mapping it.

    Raises:
        VidreasonError: there are no tables, or one of their files cannot be read, which is named.
    """
    files = sorted((Path(folder) / "data").glob("*-*-of-*.parquet"))
    if not files:
        raise VidreasonError(f"{folder}: no Parquet files under data/; was the folder built?")
    tables: dict[str, list[Path]] = {}
    for file in files:
        tables.setdefault(file.name.rsplit("-", 3)[0], []).append(file)
    return DatasetDict({split: _open_split(paths, in_memory_bytes) for split, paths in tables.items()})


def _open_split(files: Sequence[Path], in_memory_bytes: int) -> Dataset:
    metadata = []
    for file in files:
        with _named(file):
            metadata.append(pq.read_metadata(file))
        if not metadata[-1].schema.equals(metadata[0].schema):
            raise VidreasonError(f"{file}: its columns are not those of {files[0].name}, which is of the same split")
    size = sum(part.row_group(i).total_byte_size for part in metadata for i in range(part.num_row_groups))
    copy = _arrow_copy(files) if size > in_memory_bytes else None
    tables = [] if copy else [_read_whole(file) for file in files]
    with _named(*files):
        # the features are read from the Parquet schema's own metadata
        return Dataset.from_file(str(copy)) if copy else Dataset(pa.concat_tables(tables))


def _read_whole(file: Path) -> pa.Table:
    with _named(file):
        return pq.read_table(str(file))


@contextmanager
def _named(*files: Path) -> Iterator[None]:
    """Name the files where a library cannot read them: cut short, of another kind, or damaged."""
    try:
        yield
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
        names = ", ".join(map(str, files[:3])) + (" and others" if len(files) > 3 else "")
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise VidreasonError(f"{names}: cannot be read as Parquet; is it whole? ({reason})") from error


def _arrow_copy(files: Sequence[Path]) -> Path:
    """The rows of some Parquet files as an Arrow stream in the cache; written where it is not there yet."""
    folder = Path(datasets.config.HF_DATASETS_CACHE) / "vidreason_tables"
    path = folder / f"{content_hash(files)}.arrow"
    if path.is_file():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".{path.name}.{os.getpid()}.partial"
    try:
        schema = pq.read_schema(files[0])
        with _naming(path), pa.OSFile(str(partial), "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
            for file in files:
                with pq.ParquetFile(file) as parquet:
                    for group in range(parquet.num_row_groups):  # as they were written: few rows where these are large
                        with _named(file):  # and not around the writing: a full disk is no fault of the file
                            rows = parquet.read_row_group(group)
                        writer.write_table(rows)
        pa.default_memory_pool().release_unused()  # Arrow keeps what it decoded into, for ever and for nothing here
        os.replace(partial, path)  # of several processes that write the same copy, the last one wins
    finally:
        partial.unlink(missing_ok=True)
    return path
