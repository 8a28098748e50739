"""A labelled folder of videos as a data set: which videos, which label, which split, and where the files are.

The folder holds one Parquet file per split, a dataset card, `manifest.json` (where the videos are, their source, the
class names) and `skipped.jsonl` (videos that were left out, and why). `datasets.load_dataset(folder)` opens it too.
"""

from __future__ import annotations

import json
import logging
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow.compute as pc
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

from ..errors import ManifestError, VidreasonError
from ..files import (
    OUTSIDE_PATH,
    is_outside,
    is_utf8,
    read_folder,
    readable_name,
    split_path,
    write_card,
    write_split,
    write_whole,
)
from ..video.probe import VideoInfo
from .manifest_card import manifest_card

logger = logging.getLogger(__name__)

MANIFEST_FILE, SKIPPED_FILE = "manifest.json", "skipped.jsonl"
_SKIPPED_FIELDS = ("path", "reason", "detail")


def manifest_features(class_names: Sequence[str]) -> Features:
    """The columns of a manifest."""
    return Features(
        {
            "video_id": Value("string"),  # POSIX path relative to the video root, without its suffix
            "path": Value("string"),  # POSIX path relative to the video root
            "label": ClassLabel(names=list(class_names)),
            "group": Value("string"),  # what must not be on both sides of a split, such as a person; may be empty
            "source": Value("string"),
            "num_frames": Value("int32"),
            "fps": Value("float32"),
            "duration_s": Value("float32"),
            "height": Value("int32"),  # pixels as displayed
            "width": Value("int32"),
        }
    )


@dataclass(frozen=True, eq=False)
class Manifest:
    """A labelled folder of videos.

    Attributes:
        class_names: Names of the classes, in the order of the label ids.
        splits: Maps each split's name to rows with the columns of `manifest_features`.
        video_root: Folder that the rows' paths start from.
        source: Data set and revision, such as "ucf101@1.0".
    """

    class_names: list[str]
    splits: DatasetDict
    video_root: Path
    source: str

    def video_path(self, row: Mapping[str, Any]) -> Path:
        """The file of a row."""
        return self.video_root / row["path"]

    def split(self, name: str) -> Dataset:
        """The rows of a split.

        Raises:
            ManifestError: there is no such split.
        """
        if name not in self.splits:
            raise ManifestError(f"no split {name!r} for videos of {self.source!r}; there are {sorted(self.splits)}")
        return self.splits[name]

    def missing_videos(self) -> list[str]:
        """The paths of rows whose file is not there. Loading does not look, as it would be slow on large folders."""
        paths = [path for rows in self.splits.values() for path in rows["path"]]
        return [path for path in paths if not (self.video_root / path).is_file()]


def video_id_of(path: str) -> str:
    """The video id of a POSIX path relative to the video root: the path without its suffix."""
    return str(PurePosixPath(path).with_suffix(""))


def manifest_row(path: str, label: str | int, info: VideoInfo, group: str = "") -> dict[str, Any]:
    """A row from a probed video. `write_manifest` adds its own source.

    Args:
        path: POSIX path relative to the video root.
        label: Name of the class, or its id.
        info: Facts about the video, as from `probe_video`.
        group: Name of what must not be on both sides of a split, such as a person.
    """
    return {
        "video_id": video_id_of(path),
        "path": path,
        "label": label,
        "group": group,
        "num_frames": info.num_frames,
        "fps": info.fps,
        "duration_s": info.duration_s,
        "height": info.height,
        "width": info.width,
    }


def write_manifest(
    folder: str | os.PathLike,
    rows_by_split: Mapping[str, Iterable[Mapping[str, Any]]],
    class_names: Sequence[str],
    source: str,
    video_root: str | os.PathLike,
    skipped: Iterable[Mapping[str, str]] = (),
    description: str = "",
    allow_absent_classes: bool = False,
) -> Manifest:
    """Write a manifest folder. Everything is checked before the first file is written.

    Args:
        folder: Folder to write. A manifest that is there already is replaced.
        rows_by_split: Maps each split's name to rows with the columns of `manifest_features`. `label` may be a class
            name or id; `video_id` and `source` may be absent, and then follow from `path` and from the argument.
        class_names: Names of the classes, in the order of the label ids.
        source: Data set and revision.
        video_root: Folder that the rows' paths start from. It is written relative to `folder` where it lies inside.
        skipped: Videos that were left out, as mappings of path, reason and detail.
        description: Paragraph for the dataset card.
        allow_absent_classes: Whether a class without any video is a warning, stated on the card, in place of an error:
            for a part of a data set whose label ids must stay those of the whole.

    Returns:
        The manifest, as `load_manifest` gives it.

    Raises:
        ManifestError: no splits, an empty split, an unknown label, a class without any video, a video id twice, a
            path that does not stay under the video root, or a missing field. The message names the row. A class that
            is missing from one split only is a warning, and is stated on the card.
    """
    folder, video_root = Path(folder), Path(video_root)
    features = manifest_features(_checked_class_names(class_names))
    splits = {
        split: [_complete_row(row, features, source, f"{folder}, split {split!r}") for row in rows]
        for split, rows in rows_by_split.items()
    }
    _check_splits(folder, splits, class_names, allow_absent_classes)
    left_out = [{name: readable_name(str(entry.get(name, ""))) for name in _SKIPPED_FIELDS} for entry in skipped]
    check_names(folder, video_root, source)
    folder.mkdir(parents=True, exist_ok=True)
    _remove_older_splits(folder, splits)
    for split, rows in splits.items():
        write_split(folder, split, rows, features)
    _write_side_files(folder, video_root, class_names, source, left_out)
    body = manifest_card(splits, class_names, source, left_out, description)
    write_card(folder, splits, body, pretty_name=source, task_categories=["video-classification"])
    return load_manifest(folder)


def load_manifest(
    folder: str | os.PathLike, video_root: str | os.PathLike | None = None, allow_outside_paths: bool = False
) -> Manifest:
    """Open a manifest folder.

    A manifest may come from elsewhere, and what is read through it may be published. So its paths must stay under the
    folder of videos, and that folder under the manifest's unless the manifest names it in full. Links are followed.

    Args:
        folder: Folder of the manifest, as `write_manifest` wrote it.
        video_root: Folder of the videos now, if it is not where the manifest says.
        allow_outside_paths: Whether paths may leave the folder of videos, and so name any file of this machine.

    Raises:
        ManifestError: the folder, its tables or the video root are not there, do not fit together, or a path is not
            one under the video root.
    """
    folder = Path(folder)
    facts = _read_facts(folder)
    try:
        splits = read_folder(folder)
    except VidreasonError as error:
        raise ManifestError(str(error)) from error
    for split, rows in splits.items():
        _check_rows(rows, f"{folder}, split {split!r}", allow_outside_paths)
    root = Path(video_root) if video_root is not None else folder / facts["video_root"]
    if video_root is None and not allow_outside_paths and ".." in PurePosixPath(facts["video_root"]).parts:
        raise ManifestError(
            f"{folder}: {MANIFEST_FILE} names the videos' folder {facts['video_root']!r}, which leads out of the "
            "manifest's own; pass video_root=<where they are>"
        )
    if not root.is_dir():
        hint = "check the video_root argument" if video_root is not None else "pass video_root=<where they are now>"
        raise ManifestError(f"{folder}: the videos' folder {root} does not exist; {hint}")
    for split, rows in splits.items():
        label = rows.features.get("label")
        if not isinstance(label, ClassLabel) or label.names != facts["class_names"]:
            raise ManifestError(f"{folder}: the labels of split {split!r} are not the class names of {MANIFEST_FILE}")
    return Manifest(facts["class_names"], splits, root, facts["source"])


def read_skipped(folder: str | os.PathLike) -> list[dict[str, str]]:
    """The videos that were left out of a manifest folder: path, reason and detail of each."""
    # not `splitlines`, which also breaks at signs that JSON allows inside a text, and that a file's name may have
    lines = (Path(folder) / SKIPPED_FILE).read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines if line]


def _checked_class_names(class_names: Sequence[str]) -> list[str]:
    repeated = [name for name, count in Counter(class_names).items() if count > 1]
    if not class_names or repeated:
        raise ManifestError(f"class names are repeated: {repeated}" if repeated else "there are no class names")
    return list(class_names)


def _check_rows(rows: Dataset, where: str, allow_outside_paths: bool) -> None:
    """Check that a split has its columns, and paths that stay under the folder of videos."""
    lacking = [name for name in manifest_features(["any"]) if name not in rows.column_names]
    if lacking:
        raise ManifestError(f"{where}: columns {lacking} are missing; is this a manifest?")
    for name in ("video_id", "path"):
        if rows.features[name] != Value("string"):
            raise ManifestError(f"{where}: column {name!r} is not text but {rows.features[name]}")
        if missing := rows.data.column(name).null_count:
            raise ManifestError(f"{where}: {missing} rows have no {name}")
    paths = rows.data.column("path")
    # in Arrow: a Python string for each of millions of rows would take seconds
    outside = pc.match_substring_regex(paths, OUTSIDE_PATH)
    if not allow_outside_paths and pc.any(outside).as_py():
        raise ManifestError(
            f"{where}: {paths.filter(outside)[0].as_py()!r} is not a POSIX path under the folder of videos; if this "
            "manifest may read any file of this machine, pass allow_outside_paths"
        )


def check_names(folder: Path, video_root: Path, source: str) -> None:
    """Check that a manifest can hold the names of its folders and of its data set.

    Raises:
        ManifestError: one of them is not UTF-8.
    """
    for name in (str(folder), str(video_root.resolve()), source):
        if not is_utf8(name):
            raise ManifestError(f"{readable_name(name)}: a manifest cannot hold this name, which is not UTF-8")


def _complete_row(row: Mapping[str, Any], features: Features, source: str, where: str) -> dict[str, Any]:
    """A row with every column and its label as an id."""
    path = row.get("path")
    if not path:
        raise ManifestError(f"{where}: a row has no path: {dict(row)}")
    if is_outside(path):
        raise ManifestError(f"{where}: {path!r} is not a POSIX path under the video root")
    row = {"video_id": video_id_of(path), "group": "", "source": source, **row}
    missing = [name for name in features if name not in row]
    if missing:
        raise ManifestError(f"{where}: {path} has no {', '.join(missing)}")
    label: ClassLabel = features["label"]
    known = row["label"] in label.names if isinstance(row["label"], str) else 0 <= row["label"] < label.num_classes
    if not known:
        raise ManifestError(f"{where}: {path} has the unknown label {row['label']!r}; classes are {label.names}")
    return {**row, "label": label.str2int(row["label"]) if isinstance(row["label"], str) else int(row["label"])}


def _check_splits(
    folder: Path, splits: Mapping[str, list[dict]], class_names: Sequence[str], allow_absent_classes: bool
) -> None:
    empty = [split for split, rows in splits.items() if not rows]
    if not splits or empty:
        raise ManifestError(f"{folder}: no videos in {f'split {empty[0]!r}' if empty else 'any split'}")
    seen: dict[str, str] = {}
    for split, rows in splits.items():
        for row in rows:
            here = f"{row['path']} ({split})"
            if row["video_id"] in seen:
                both = f"{seen[row['video_id']]} and {here}"
                raise ManifestError(f"{folder}: video id {row['video_id']!r} stands for both {both}")
            seen[row["video_id"]] = here
    _check_classes(folder, splits, class_names, allow_absent_classes)


def _check_classes(
    folder: Path, splits: Mapping[str, list[dict]], class_names: Sequence[str], allow_absent_classes: bool
) -> None:
    missing = _missing_classes(splits, class_names)
    absent = [name for name, split_names in missing.items() if len(split_names) == len(splits)]
    if absent and not allow_absent_classes:
        raise ManifestError(f"{folder}: class {absent[0]!r} has no video in any split")
    if absent:  # one line, as there may be hundreds
        logger.warning("%s: %d of %d classes have no video in any split", folder, len(absent), len(class_names))
    for name, split_names in missing.items():
        if name not in absent:
            logger.warning("%s: class %r has no video in %s", folder, name, ", ".join(split_names))


def _missing_classes(splits: Mapping[str, list[dict]], class_names: Sequence[str]) -> dict[str, list[str]]:
    """Class name -> the splits without a video of it, for classes that some split lacks."""
    present = {split: {row["label"] for row in rows} for split, rows in splits.items()}
    missing = {
        name: [split for split in splits if label not in present[split]] for label, name in enumerate(class_names)
    }
    return {name: split_names for name, split_names in missing.items() if split_names}


def _remove_older_splits(folder: Path, splits: Iterable[str]) -> None:
    """A split that the new manifest does not have must not stay behind from an older one."""
    if not (folder / MANIFEST_FILE).is_file():
        return
    current = {split_path(folder, split) for split in splits}
    for path in (folder / "data").glob("*-*-of-*.parquet"):
        if path not in current:
            path.unlink()


def _write_side_files(
    folder: Path, video_root: Path, class_names: Sequence[str], source: str, skipped: list[dict[str, str]]
) -> None:
    root, base = video_root.resolve(), folder.resolve()
    # relative where it can be, so that a folder that is moved with its videos still opens
    stored_root = root.relative_to(base).as_posix() if root.is_relative_to(base) else str(root)
    facts = {"video_root": stored_root, "source": source, "class_names": list(class_names)}
    write_whole(folder / MANIFEST_FILE, json.dumps(facts, indent=2, ensure_ascii=False) + "\n")
    write_whole(folder / SKIPPED_FILE, "".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in skipped))


def _read_facts(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST_FILE
    if not path.is_file():
        problem = f"no {MANIFEST_FILE} in it" if folder.is_dir() else "no such folder"
        raise ManifestError(f"{folder}: {problem}; was the manifest built (datasets_scripts/build_video_folder.py)?")
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        PurePosixPath(facts["video_root"])  # raises where it is no text
        return {name: facts[name] for name in ("video_root", "source", "class_names")}
    except (ValueError, KeyError, TypeError) as error:
        raise ManifestError(f"{path}: not a manifest ({type(error).__name__}: {error})") from error
