"""Kinetics-400 (Kay et al. 2017), and Mimetics (Weinzaepfel and Rogez 2021): 50 of its actions, mimed.

    <anywhere>/<youtube id>_<start>_<end>.mp4     seconds with six digits: 0wR5jVB-WPk_000417_000427.mp4
    annotations/train.csv, val.csv, test.csv      columns label, youtube_id, time_start, time_end and, mostly, split

Files may lie flat, in a folder of their split, of their class (with spaces or underscores), or of both. In the copy of
CVDF, `replacement/replacement_for_corrupted_k400` holds whole files in place of damaged ones, and those are taken.
Many videos are gone from YouTube, so that hardly any copy is whole: `allow_incomplete` counts those that lack.

Mimetics is one file, `mimetics-v1.0.csv`, with 713 videos. That it has the columns and the file names of Kinetics is
assumed: other names of the columns are an error that lists what is there. Its label ids are those of Kinetics-400, so
that a model that was trained on the first is tested on the second as it is: the shortcut benchmark of A2O's table 4.
"""

from __future__ import annotations

import csv
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from ...errors import ManifestError
from ...files import readable_name
from ...video.probe import VIDEO_SUFFIXES
from ..manifest import MANIFEST_FILE, video_id_of
from ..splits import SplitAssignment, name_examples, read_list
from ..video_folder import TreeVideo, VideoTree, as_suffixes, suffix_of, unusable_name, walk_tree
from .known import KnownLayout, LayoutProblems, find_root

NUM_CLASSES, MIMETICS_NUM_CLASSES, MIMETICS_NUM_VIDEOS = 400, 50, 713
SPLITS = ("train", "validation", "test")

_LIST_NAMES = {"train": ("train",), "validation": ("val", "validate", "validation"), "test": ("test",)}
_LIST_PREFIXES = ("", "kinetics_", "kinetics400_", "kinetics_400_")
_REPLACEMENTS = "replacement_for_corrupted_k400"
_COLUMNS = ("label", "youtube_id", "time_start", "time_end")
_FILE_NAME = re.compile(r"(?P<youtube_id>[\w-]{11})_(?P<start>\d{6})_(?P<end>\d{6})")
_YOUTUBE_ID = re.compile(r"[\w-]{11}")
_MAX_LIST_BYTES = 256 * 2**20  # that of Kinetics-400 has 240,000 lines and 15 MB
_KINETICS_TEXT = (
    "Kinetics-400 (Kay et al., 2017): clips of about ten seconds from YouTube, one action each. A group holds the "
    "clips that were cut from one video."
)
_MIMETICS_TEXT = (
    "Mimetics (Weinzaepfel and Rogez, 2021): mimed actions, without the objects and places that they mostly have. It "
    "is a test set for models that were trained on Kinetics-400, whose label ids it has."
)


class Clip(NamedTuple):
    """A line of a list: `key` is the stem of its file, `<youtube id>_<start>_<end>`."""

    key: str
    youtube_id: str
    label: str


@dataclass
class _Lists:
    """What the lists say: split -> clips, each once, and the lines that were left out."""

    clips: dict[str, list[Clip]] = field(default_factory=dict)
    skipped: list[dict[str, str]] = field(default_factory=list)


def read_kinetics400(
    root: str | os.PathLike,
    annotations: str | os.PathLike | None = None,
    labels: str | os.PathLike | None = None,
    splits: Sequence[str] = SPLITS[:2],
    allow_incomplete: bool = False,
    suffixes: Sequence[str] = VIDEO_SUFFIXES,
) -> KnownLayout:
    """Check a copy of Kinetics-400 against its lists. No video is opened.

    Args:
        root: Folder of the videos, whatever folders are in it.
        annotations: Folder of the lists; by default `annotations` in the root or beside it.
        labels: File of the class names in the order of their ids, as lines `<name>` or `<id>,<name>`, or a manifest
            of the data set; by default all labels of the lists in the order of the alphabet, which is theirs.
        splits: Any of train, validation and test; the lists of others need not be there.
        allow_incomplete: Whether to build from the videos that are there where others are missing.
        suffixes: Suffixes of video files; of two files of one clip, that of the earlier suffix is taken.

    Raises:
        ManifestError: Naming what is missing, misplaced or contradictory.
    """
    if not splits or not set(splits) <= set(SPLITS):
        raise ManifestError(f"Kinetics-400 has the splits {', '.join(SPLITS)}, got {list(splits)}")
    given, root = Path(root), find_root(root, "kinetics400")
    problems = LayoutProblems(root, allow_incomplete)
    folder = _find_annotations(given, root, annotations)
    lists = _Lists()
    for split in (split for split in SPLITS if split in splits):
        _add_list(lists, split, _find_list(folder, split), problems)
    used = {clip.label for of in lists.clips.values() for clip in of}
    class_names = read_class_names(labels) if labels is not None else sorted(used)
    if len(class_names) != NUM_CLASSES:
        problems.add_missing(f"there are {len(class_names)} classes, Kinetics-400 has {NUM_CLASSES}")
    return _match(root, lists, class_names, problems, suffixes, "kinetics400", _KINETICS_TEXT)


def read_mimetics(
    root: str | os.PathLike,
    annotations: str | os.PathLike | None = None,
    labels: str | os.PathLike | None = None,
    allow_incomplete: bool = False,
    suffixes: Sequence[str] = VIDEO_SUFFIXES,
) -> KnownLayout:
    """Check a copy of Mimetics against its list. No video is opened. All videos are in the split `test`.

    Args:
        root: Folder of the videos.
        annotations: The list, or the folder that holds it; by default `mimetics*.csv` in the root or beside it.
        labels: The classes of Kinetics-400: a manifest of it, or a file as for `read_kinetics400`. Needed, since the
            50 classes here do not tell the ids.
        allow_incomplete: As for `read_kinetics400`.
        suffixes: As for `read_kinetics400`.

    Raises:
        ManifestError: Naming what is missing, misplaced or contradictory.
    """
    if labels is None:
        raise ManifestError("Mimetics has the label ids of Kinetics-400: name its manifest, or a file of its classes")
    given, root = Path(root), find_root(root, "mimetics")
    problems = LayoutProblems(root, allow_incomplete)
    class_names = read_class_names(labels)
    if len(class_names) != NUM_CLASSES:
        problems.add_missing(f"{labels}: has {len(class_names)} classes, Kinetics-400 has {NUM_CLASSES}")
    lists = _Lists()
    # its videos are for testing, whatever a column says
    _add_list(lists, "test", _find_mimetics_list(given, annotations), problems, check_split=False)
    clips = lists.clips["test"]
    named = len({clip.label for clip in clips})
    if (len(clips), named) != (MIMETICS_NUM_VIDEOS, MIMETICS_NUM_CLASSES):
        problems.add_missing(
            f"the list names {len(clips)} videos of {named} classes, Mimetics has {MIMETICS_NUM_VIDEOS} of "
            f"{MIMETICS_NUM_CLASSES}"
        )
    layout = _match(root, lists, class_names, problems, suffixes, "mimetics", _MIMETICS_TEXT, want_all_classes=False)
    # most of the 400 classes have no video here, and the ids must stay
    return KnownLayout(**{**vars(layout), "allow_incomplete": True})


def read_class_names(place: str | os.PathLike) -> list[str]:
    """Class names in the order of their ids, from a manifest's folder or from lines `<name>` or `<id>,<name>`.

    Raises:
        ManifestError: It cannot be read, or the ids do not count from 0 in order.
    """
    place = Path(place)
    if place.is_dir():
        try:
            names = json.loads((place / MANIFEST_FILE).read_text(encoding="utf-8"))["class_names"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ManifestError(f"{place}: no class names in a {MANIFEST_FILE} there ({error})") from error
        return _checked_names(place, names)
    lines = read_list(place, "the class names")
    rows = list(csv.reader(lines))
    if rows and rows[0] == ["id", "name"]:
        rows = rows[1:]
    if rows and all(len(row) == 2 and row[0].strip().isdecimal() for row in rows):
        wrong = [row[0] for number, row in enumerate(rows) if int(row[0]) != number]
        if wrong:
            raise ManifestError(f"{place}: the ids do not count from 0 in order; see {name_examples(wrong)}")
        return _checked_names(place, [row[1] for row in rows])
    return _checked_names(place, lines)


def _checked_names(place: Path, names: object) -> list[str]:
    if not isinstance(names, list) or not names or not all(isinstance(name, str) and name for name in names):
        raise ManifestError(f"{place}: holds no list of class names")
    repeated = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if repeated:
        raise ManifestError(f"{place}: {name_examples(repeated)} is named twice")
    return names


def _find_annotations(given: Path, root: Path, annotations: str | os.PathLike | None) -> Path:
    if annotations is not None:
        if not Path(annotations).is_dir():
            raise ManifestError(f"{annotations}: no such folder of Kinetics' lists")
        return Path(annotations)
    places = [root / "annotations", given / "annotations", given.parent / "annotations", root]
    for place in places:
        if any(_list_places(place, "train")) or any(_list_places(place, "validation")):
            return place
    raise ManifestError(f"{root}: no annotations/train.csv in it or beside it; give the folder of the lists")


def _list_places(folder: Path, split: str) -> Iterator[Path]:
    """The files that may be the list of a split and are there."""
    for prefix in _LIST_PREFIXES:
        for name in _LIST_NAMES[split]:
            if (folder / f"{prefix}{name}.csv").is_file():
                yield folder / f"{prefix}{name}.csv"


def _find_list(folder: Path, split: str) -> Path:
    found = next(_list_places(folder, split), None)
    if found is None:
        names = " nor ".join(f"{name}.csv" for name in _LIST_NAMES[split])
        raise ManifestError(f"{folder}: {'no' if len(_LIST_NAMES[split]) == 1 else 'neither'} {names} is in it")
    return found


def _find_mimetics_list(root: Path, annotations: str | os.PathLike | None) -> Path:
    if annotations is not None and Path(annotations).is_file():
        return Path(annotations)
    places = [Path(annotations)] if annotations is not None else [root, root / "annotations", root.parent]
    found = [file for place in places for file in sorted(place.glob("mimetics*.csv"))]
    if len(found) != 1:
        problem = f"several lists: {name_examples([file.name for file in found])}" if found else "no mimetics*.csv"
        raise ManifestError(f"{places[0]}: {problem}; name the file of the list")
    return found[0]


def _add_list(lists: _Lists, split: str, file: Path, problems: LayoutProblems, check_split: bool = True) -> None:
    """Read one list. A clip that an earlier line names already is left out and counted."""
    taken = {clip.key for of in lists.clips.values() for clip in of}
    clips: list[Clip] = []
    malformed: list[str] = []
    elsewhere: list[str] = []
    for number, row in _rows_of(file):
        clip = _clip_of(row)
        if clip is None:
            malformed.append(f"line {number}")
            continue
        if check_split and row.get("split", "").strip().lower() not in ("", *_LIST_NAMES[split]):
            elsewhere.append(f"line {number} ({row['split']})")
        if not clip.label:  # the labels of some test lists were never published
            lists.skipped.append(_left_out(clip, "no_label", f"{file.name} names no class"))
        elif clip.key in taken:
            lists.skipped.append(_left_out(clip, "listed_twice", f"once more in line {number} of {file.name}"))
        else:
            taken.add(clip.key)
            clips.append(clip)
    problems.add(f"{file.name} has {len(malformed)} lines without a usable {', '.join(_COLUMNS)}", malformed)
    problems.add(f"{file.name} has {len(elsewhere)} lines of another split", elsewhere)
    if not clips and not malformed:
        problems.add(f"{file.name} names no video of any class")
    lists.clips[split] = clips


def _left_out(clip: Clip, reason: str, detail: str) -> dict[str, str]:
    return {"path": clip.key, "reason": reason, "detail": detail}


def _rows_of(file: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Number of the line, and column -> text, of each entry of a CSV file with a header."""
    try:
        if file.stat().st_size > _MAX_LIST_BYTES:
            raise ManifestError(f"{file}: larger than {_MAX_LIST_BYTES >> 20} MiB, which no list of Kinetics is")
        with file.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.DictReader(lines, restkey="", restval="", strict=True)
            lacking = [name for name in _COLUMNS if name not in (reader.fieldnames or ())]
            if lacking:
                found = ", ".join(reader.fieldnames or ())[:200] or "none"
                raise ManifestError(f"{file}: no columns {', '.join(lacking)}; there are: {found}")
            for row in reader:
                yield reader.line_num, row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ManifestError(f"{file}: cannot be read ({error})") from error


def _clip_of(row: Mapping[str, str]) -> Clip | None:
    """What a line says; None where it names no clip."""
    youtube_id = row["youtube_id"].strip()
    try:
        start_s, end_s = (float(row[name]) for name in ("time_start", "time_end"))
    except ValueError:
        return None
    if not _YOUTUBE_ID.fullmatch(youtube_id) or not 0 <= start_s < end_s < 1e6:
        return None
    key = f"{youtube_id}_{int(start_s):06d}_{int(end_s):06d}"
    return Clip(key, youtube_id, sys.intern(row["label"].strip()))


def _match(
    root: Path,
    lists: _Lists,
    class_names: list[str],
    problems: LayoutProblems,
    suffixes: Sequence[str],
    source: str,
    description: str,
    want_all_classes: bool = True,
) -> KnownLayout:
    """Files and lists."""
    known = set(class_names)
    strange = sorted({clip.label for of in lists.clips.values() for clip in of} - known)
    problems.add(f"{len(strange)} labels are not among the class names", strange)
    path_of, tree = _find_files(root, suffixes)
    split_of: dict[str, str] = {}
    class_of: dict[str, str] = {}
    groups: dict[str, str] = {}
    unknown: dict[str, list[str]] = {}
    misplaced: list[str] = []
    folders = {_letters(name): name for name in class_names}
    for split, clips in lists.clips.items():
        absent = [clip.key for clip in clips if clip.key not in path_of]
        problems.add_missing(f"{len(absent)} of {len(clips)} videos of {split} are not there", absent)
        unknown |= {split: absent} if absent else {}
        for clip in clips:
            path = path_of.get(clip.key)
            if path is None:
                continue
            folder = folders.get(_letters(PurePosixPath(path).parent.name), clip.label)
            if folder != clip.label:
                misplaced.append(f"{path} (listed as {clip.label})")
            split_of[path], class_of[path], groups[path] = split, clip.label, clip.youtube_id
    problems.add(f"{len(misplaced)} videos are in the folder of another class", misplaced)
    empty = sorted(known - set(class_of.values()))
    problems.add_missing(f"{len(empty)} of {len(known)} classes have no video", empty if want_all_classes else [])
    problems.check()
    if not split_of:
        raise ManifestError(f"{root}: none of the listed videos is there")
    for split, clips in lists.clips.items():
        if not any(clip.key in path_of for clip in clips):
            raise ManifestError(f"{root}: no video of split {split!r} is there; leave the split out")
    left = sorted(set(path_of.values()) - set(split_of))
    videos = [TreeVideo(path, name) for path, name in sorted(class_of.items())]
    tree = VideoTree(root, videos, tree.skipped + lists.skipped, tree.ignored)
    assignment = SplitAssignment(split_of, left, unknown)
    return KnownLayout(source, tree, class_names, {"": assignment}, groups, description, problems.allow_incomplete)


def _find_files(root: Path, suffixes: Sequence[str]) -> tuple[dict[str, str], VideoTree]:
    """Stem -> path of each clip, and a tree of what else was found."""
    rank = {suffix: position for position, suffix in enumerate(dict.fromkeys(as_suffixes(suffixes)))}
    path_of: dict[str, str] = {}
    tree = VideoTree(root, [])

    def order(path: str) -> tuple[bool, int, str]:
        return _REPLACEMENTS not in PurePosixPath(path).parts, rank[suffix_of(path)], path

    for path in walk_tree(root, 1)[0]:
        unusable = unusable_name(path)
        if suffix_of(path) not in rank:
            tree.ignored.append(readable_name(path))
            continue
        if unusable:
            tree.skipped.append(unusable)
            continue
        stem = PurePosixPath(video_id_of(path)).name
        if not _FILE_NAME.fullmatch(stem):
            detail = "expected <youtube id>_<start>_<end>, with six digits each"
            tree.skipped.append({"path": path, "reason": "other_name", "detail": detail})
            continue
        taken, left = sorted((path_of[stem], path), key=order) if stem in path_of else (path, None)
        path_of[stem] = taken
        if left is not None:
            reason = "replaced" if _REPLACEMENTS in PurePosixPath(taken).parts else "duplicate_id"
            tree.skipped.append({"path": left, "reason": reason, "detail": f"the same clip as {taken}"})
    if not path_of:
        raise ManifestError(f"{root}: no video as <youtube id>_<start>_<end>.mp4 in it")
    return path_of, tree


def _letters(name: str) -> str:
    """A class's name as folders spell it: copies differ in spaces, underscores, quotes and brackets."""
    return re.sub(r"[^a-z0-9]", "", name.casefold())
