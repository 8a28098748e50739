"""A folder that `datasets.load_dataset(folder)` opens: one Parquet file per split, and a dataset card that names them.

datasets 4 and later run no loading scripts, so this is the form in which manifests, ground truth and guidance are kept
and published. Rows are written in bounded batches; column types travel in the Parquet schema.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from datasets import Dataset, DatasetDict, Features
from huggingface_hub import DatasetCard, DatasetCardData

from .errors import VidreasonError

ROWS_PER_BATCH = 4096


def split_path(folder: str | os.PathLike, split: str) -> Path:
    """The Parquet file of a split, in the Hub's naming."""
    return Path(folder) / "data" / f"{split}-00000-of-00001.parquet"


def write_split(folder: str | os.PathLike, split: str, rows: Iterable[Mapping[str, Any]], features: Features) -> int:
    """Write the rows of one split and return how many there were.

    The file appears under its name only when it is whole, so that a run that is killed leaves no half table behind.
    """
    path = split_path(folder, split)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    count, batch = 0, []
    with pq.ParquetWriter(partial, features.arrow_schema) as writer:
        for row in rows:
            batch.append({name: row[name] for name in features})
            if len(batch) == ROWS_PER_BATCH:
                count += _write_batch(writer, batch, features)
                batch = []
        count += _write_batch(writer, batch, features)
    os.replace(partial, path)
    return count


def _write_batch(writer: pq.ParquetWriter, batch: list[dict[str, Any]], features: Features) -> int:
    if batch:
        writer.write_table(Dataset.from_list(batch, features=features).data.table)
    return len(batch)


def write_card(folder: str | os.PathLike, splits: Iterable[str], body: str, **metadata: Any) -> Path:
    """Write `README.md` with the YAML that maps splits to files. Other keys of the card's YAML go in `metadata`."""
    data_files = [{"split": split, "path": f"data/{split}-*.parquet"} for split in splits]
    data = DatasetCardData(configs=[{"config_name": "default", "data_files": data_files}], **metadata)
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
