"""One manifest of several that have the same classes: train on one data set, test on another.

That is how shortcuts show: A2O trains on Kinetics-400 and tests on Mimetics (section 4.4.3, table 4).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from datasets import Dataset

from ..errors import ManifestError
from .manifest import Manifest, video_id_of, write_manifest


def join_manifests(folder: str | os.PathLike, whole: Manifest, added: Mapping[str, tuple[Manifest, str]]) -> Manifest:
    """Write a manifest with all splits of one manifest and some splits of others, under new names.

    The folder of videos is the nearest one that holds those of all. Each row keeps its own source, and gets an id
    from its path under that folder: detections and guidance belong to the ids of the manifest they were made with.

    Args:
        folder: Folder to write.
        whole: The manifest whose splits keep their names.
        added: Maps each new split's name to a manifest and the split to take from it.

    Raises:
        ManifestError: Other classes or ids, a split's name twice, no common folder, or the reasons of
            `write_manifest`.
    """
    for name, (other, _) in added.items():
        if name in whole.splits:
            raise ManifestError(f"{folder}: there is a split {name!r} in {whole.source!r} already; give another name")
        _check_classes(whole, other)
    roots = [whole.video_root, *(other.video_root for other, _ in added.values())]
    common = Path(os.path.commonpath([root.resolve() for root in roots]))
    if common == Path(common.anchor):  # else any file of the machine would be under the folder of videos
        names = ", ".join(sorted({str(root) for root in roots}))
        raise ManifestError(f"{folder}: {names} have no folder in common; link them into one")
    rows = {name: _rows(of, whole, common) for name, of in whole.splits.items()}
    rows |= {name: _rows(other.split(split), other, common) for name, (other, split) in added.items()}
    sources = " and ".join(dict.fromkeys([whole.source, *(other.source for other, _ in added.values())]))
    parts = ", ".join(f"`{name}` is `{split}` of {other.source}" for name, (other, split) in added.items())
    description = f"Several data sets with the same classes: {parts}; all other splits are of {whole.source}."
    return write_manifest(folder, rows, whole.class_names, sources, common, [], description, allow_absent_classes=True)


def _check_classes(whole: Manifest, other: Manifest) -> None:
    if other.class_names == whole.class_names:
        return
    pairs = enumerate(zip(whole.class_names, other.class_names, strict=False))
    label = next((label for label, (one, two) in pairs if one != two), None)
    if label is None:
        difference = f"{len(whole.class_names)} and {len(other.class_names)} classes"
    else:
        difference = f"class {label} is {whole.class_names[label]!r} and {other.class_names[label]!r}"
    raise ManifestError(f"{whole.source!r} and {other.source!r} have different classes: {difference}")


def _rows(rows: Dataset, manifest: Manifest, root: Path) -> Iterator[dict[str, Any]]:
    inner = manifest.video_root.resolve().relative_to(root)
    for row in rows:
        path = (inner / row["path"]).as_posix()
        # groups of two data sets are not the same person or recording because they are named alike
        group = f"{manifest.source} {row['group']}" if row["group"] else ""
        yield {**row, "path": path, "video_id": video_id_of(path), "group": group}
