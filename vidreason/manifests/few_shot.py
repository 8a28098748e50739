"""Smaller training splits of a manifest: a few videos of each class, a random part, or a published list.

A2O is evaluated with 2, 4 and 8 labelled videos a class (section 4.4.1), and its analyses with about 5,000 training
videos (section 4.5). Other splits stay as they are, and label ids stay those of the whole.
"""

from __future__ import annotations

import os
import re
import zlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np
from datasets import Dataset

from ..errors import ManifestError
from .manifest import Manifest, write_manifest
from .splits import name_examples, read_list

_LIST_LINE = re.compile(r"(?P<name>\S.*\S|\S)\s+(?P<label>\d{1,9})")


@dataclass(frozen=True)
class Selection:
    """Which rows of a split are taken.

    Attributes:
        positions: Positions of the rows in the split, rising.
        sentence: How they were chosen, for the card.
        absent: Names that a list has and the split does not.
    """

    positions: list[int]
    sentence: str
    absent: list[str] = field(default_factory=list)


def draw_shots(rows: Dataset, shots: int, seed: int, allow_fewer: bool = False) -> Selection:
    """Draw some videos of each class.

    With one seed, the 2 of a class are among its 4, and those among its 8; another class that comes or goes, and
    another order of the rows, change nothing.

    Args:
        rows: Split of a manifest.
        shots: Number of videos of each class.
        seed: Seed of the draw.
        allow_fewer: Whether a class with fewer videos gives all that it has, in place of an error.

    Raises:
        ManifestError: A number is out of range, or a class has fewer videos.
    """
    if shots < 1 or seed < 0:
        raise ManifestError(f"shots is {shots} and seed is {seed}, expected at least 1 and at least 0")
    names = rows.features["label"].names
    members: dict[int, list[tuple[str, int]]] = defaultdict(list)
    for position, (video_id, label) in enumerate(zip(rows["video_id"], rows["label"], strict=True)):
        members[label].append((video_id, position))
    short = [f"{names[label]} ({len(of)})" for label, of in sorted(members.items()) if len(of) < shots]
    if short and not allow_fewer:
        raise ManifestError(f"{len(short)} classes have fewer than {shots} videos: {name_examples(short)}")
    positions: list[int] = []
    for label, of in members.items():
        # by the class's name: `hash` differs by process, and ids shift where a class comes or goes
        order = np.random.default_rng([seed, zlib.crc32(names[label].encode())]).permutation(len(of))
        positions += [sorted(of)[place][1] for place in order[:shots]]
    few = f"; {len(short)} classes have fewer" if short else ""
    return Selection(sorted(positions), f"{shots} of each class, drawn with seed {seed}{few}")


def draw_part(rows: Dataset, size: int, seed: int) -> Selection:
    """Draw some videos of a split, whatever their class.

    Args:
        rows: Split of a manifest.
        size: Number of videos.
        seed: Seed of the draw.

    Raises:
        ManifestError: The split has fewer videos, or a number is out of range.
    """
    if not 1 <= size <= len(rows) or seed < 0:
        raise ManifestError(f"size is {size} and seed is {seed}; the split has {len(rows)} videos, seeds start at 0")
    by_id = sorted(zip(rows["video_id"], range(len(rows)), strict=True))
    chosen = np.random.default_rng(seed).permutation(len(rows))[:size]
    return Selection(sorted(by_id[place][1] for place in chosen), f"{size} in all, drawn with seed {seed}")


def select_listed(rows: Dataset, file: str | os.PathLike, allow_incomplete: bool = False) -> Selection:
    """Take the videos of a published list, whose lines are `<video> <label id>`.

    The form is that of the Something-Something lists published with TC-CLIP, such as `154139.webm 19`. A video is
    found by its name without folder and suffix, and its label must be the manifest's.

    Args:
        rows: Split of a manifest.
        file: The list.
        allow_incomplete: Whether videos of the list may be missing from the split.

    Raises:
        ManifestError: A line of another form, a video twice, a label that is not the manifest's, or a missing video.
    """
    label_of: dict[str, int] = {}
    for number, line in enumerate(read_list(file, "a few-shot list"), start=1):
        match = _LIST_LINE.fullmatch(line)
        if match is None:
            raise ManifestError(f"{file}: entry {number}, {line[:80]!r}, is not <video> <label id>")
        name = _name_of(match["name"])
        if name in label_of:
            raise ManifestError(f"{file}: entry {number}, {line[:80]!r}, names a video for the second time")
        label_of[name] = int(match["label"])
    if not label_of:
        raise ManifestError(f"{file}: the list is empty")
    positions: list[int] = []
    wrong: list[str] = []
    found: Counter[str] = Counter()
    names = rows.features["label"].names
    for position, (video_id, label) in enumerate(zip(rows["video_id"], rows["label"], strict=True)):
        name = PurePosixPath(video_id).name
        if name not in label_of:
            continue
        found[name] += 1
        positions.append(position)
        if label_of[name] != label:
            wrong.append(f"{video_id} is {label_of[name]} there and {label} ({names[label]}) here")
    if wrong:
        raise ManifestError(f"{file}: {len(wrong)} labels are not the manifest's: {name_examples(wrong)}")
    twins = [name for name, count in found.items() if count > 1]
    if twins:
        raise ManifestError(f"{file}: {len(twins)} names stand for several videos: {name_examples(twins)}")
    absent = [name for name in label_of if name not in found]
    if absent and not (allow_incomplete and positions):
        raise ManifestError(
            f"{file}: {len(absent)} of {len(label_of)} videos are not in the split: {name_examples(absent)}"
        )
    return Selection(positions, f"{len(positions)} of the {len(label_of)} listed in {Path(file).name}", absent)


def write_selection(
    folder: str | os.PathLike, manifest: Manifest, selection: Selection, split: str = "train"
) -> Manifest:
    """Write a manifest with the chosen rows of one split and all rows of the others.

    Args:
        folder: Folder to write.
        manifest: The whole. Its videos stay where they are.
        selection: What is taken of the split.
        split: Name of the split that is made smaller.

    Raises:
        ManifestError: The reasons of `write_manifest`.
    """
    whole = manifest.split(split)
    chosen = whole.select(selection.positions)
    skipped = [
        {"path": name, "reason": "not_in_tree", "detail": f"listed for split {split}"} for name in selection.absent
    ]
    description = (
        f"A part of {manifest.source}: split `{split}` holds {len(chosen)} of its {len(whole)} videos "
        f"({selection.sentence}); {len(whole) - len(chosen)} were not taken. Other splits are whole."
    )
    rows = {name: chosen if name == split else of for name, of in manifest.splits.items()}
    return write_manifest(
        folder,
        rows,
        manifest.class_names,
        manifest.source,
        manifest.video_root,
        skipped,
        description,
        allow_absent_classes=True,
    )


def describe_selection(manifest: Manifest, selection: Selection, written: Manifest, split: str) -> str:
    """What was taken and left, for a terminal."""
    kept, source = len(written.split(split)), len(manifest.split(split))
    counts: Sequence[int] = list(Counter(written.split(split)["label"]).values())
    return (
        f"{split}: {kept} of {source} videos ({selection.sentence}), {source - kept} not taken, "
        f"{len(selection.absent)} listed but absent; {len(counts)} of {len(manifest.class_names)} classes with "
        f"{min(counts)} to {max(counts)} videos"
    )


def _name_of(listed: str) -> str:
    """A listed video's name without folder and suffix. Windows' slashes too."""
    name = PurePosixPath(listed.replace("\\", "/")).name
    stem, dot, suffix = name.rpartition(".")
    # an id may hold a point and no suffix
    return stem if dot and re.fullmatch(r"(?=\w*[A-Za-z])\w{2,4}", suffix) else name
