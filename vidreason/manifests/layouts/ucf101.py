"""UCF101 (Soomro et al. 2012) with its three official train and test lists.

UCF-101/<Class>/v_<Class>_g<group>_c<clip>.avi
ucfTrainTestlist/classInd.txt        lines of "<id from 1> <Class>"
ucfTrainTestlist/trainlist0<n>.txt   lines of "<Class>/<video>.avi <id>"
ucfTrainTestlist/testlist0<n>.txt    lines of "<Class>/<video>.avi"
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ...errors import ManifestError
from ...video.probe import VIDEO_SUFFIXES
from ..splits import SplitAssignment, read_list
from ..video_folder import VideoTree
from .known import KnownLayout, LayoutProblems, find_root, read_numbered_names
from .ucf import parse_video_name, scan_class_folders, video_key

NUM_CLASSES = 101
FOLDS = (1, 2, 3)
LIST_FOLDER = "ucfTrainTestlist"

_LIST_FILES = {"train": "trainlist{fold:02d}.txt", "test": "testlist{fold:02d}.txt"}
_LIST_LINE = re.compile(r"(?P<path>(?P<folder>[^/\s]+)/[^/\s]+)(?:\s+(?P<label>\d+))?")
_DESCRIPTION = (
    "UCF101 (Soomro, Zamir and Shah, 2012), official lists ({fold}). The label ids are those of classInd.txt less "
    "one. A group holds the clips of one class that were cut from one recording."
)


@dataclass(frozen=True)
class _List:
    """One official list: video key -> the name in the list."""

    file: Path
    split: str
    videos: dict[str, str]


def read_ucf101(
    root: str | os.PathLike,
    splits: str | os.PathLike | None = None,
    folds: Sequence[int] = (1,),
    allow_incomplete: bool = False,
    suffixes: Sequence[str] = VIDEO_SUFFIXES,
) -> KnownLayout:
    """Check a copy of UCF101 against its lists. No video is opened.

    Lists and files are matched whatever their upper and lower case, as releases differ in it: `HandStandPushups` in
    some lists is the folder `HandstandPushups` of the archive. A row's path is that of the file.

    Args:
        root: The folder `UCF-101`, or the one that holds it.
        splits: Folder of the lists; by default `ucfTrainTestlist` in the root or beside it.
        folds: Numbers of the official splits, any of 1, 2 and 3.
        allow_incomplete: Whether to build from the videos that are there where others are missing.
        suffixes: Suffixes of video files; see `scan_video_tree`.

    Raises:
        ManifestError: naming what is missing, misplaced or contradictory.
    """
    if not folds or not set(folds) <= set(FOLDS):
        raise ManifestError(f"UCF101 has the splits 1, 2 and 3, got {list(folds)}")
    given, root = Path(root), find_root(root, "UCF-101")
    lists_folder = _find_lists(given, splits)
    problems = LayoutProblems(root, allow_incomplete)
    class_names = read_numbered_names(lists_folder / "classInd.txt", "the list of classes", first_id=1)
    if len(class_names) != NUM_CLASSES:
        problems.add_missing(f"classInd.txt has {len(class_names)} classes, UCF101 has {NUM_CLASSES}")
    lists = {fold: _read_fold(lists_folder, fold, class_names, problems) for fold in dict.fromkeys(folds)}
    tree = scan_class_folders(root, class_names, problems, suffixes)
    path_of = _find_listed(tree, lists, problems)
    problems.check()
    groups = {path: f"{name}_g{group:02d}" for path, name, group in _grouped(tree)}
    assignments = {f"fold_{fold}": _assign(tree, fold_lists, path_of) for fold, fold_lists in lists.items()}
    return KnownLayout("ucf101", tree, class_names, assignments, groups, _DESCRIPTION, allow_incomplete)


def _find_lists(root: Path, splits: str | os.PathLike | None) -> Path:
    if splits is not None:
        if not Path(splits).is_dir():
            raise ManifestError(f"{splits}: no such folder of UCF101's lists")
        return Path(splits)
    places = [root / LIST_FOLDER, root.parent / LIST_FOLDER]
    found = next((place for place in places if place.is_dir()), None)
    if found is None:
        raise ManifestError(f"{root}: no {LIST_FOLDER} in it or beside it; give the folder of the official lists")
    return found


def _read_fold(folder: Path, fold: int, class_names: Sequence[str], problems: LayoutProblems) -> list[_List]:
    labels = {name.casefold(): label for label, name in enumerate(class_names, start=1)}
    lists = []
    for split, pattern in _LIST_FILES.items():
        file = folder / pattern.format(fold=fold)
        if not file.is_file():
            raise ManifestError(f"{file}: no such file; the {split} list of split {fold} was expected there")
        lists.append(_List(file, split, _read_list(file, labels, problems)))
    train, test = lists
    both = [name for key, name in train.videos.items() if key in test.videos]
    problems.add(f"{len(both)} videos are in {train.file.name} and in {test.file.name}", both)
    return lists


def _read_list(file: Path, labels: Mapping[str, int], problems: LayoutProblems) -> dict[str, str]:
    """Video key -> name. `labels` maps class names without upper case to their ids from 1."""
    videos: dict[str, str] = {}
    malformed, unknown, mislabelled, repeated = [], [], [], []
    for line in read_list(file, "a list of videos"):
        match = _LIST_LINE.fullmatch(line)
        if not match:
            malformed.append(line)
            continue
        label = labels.get(match["folder"].casefold())
        if label is None:
            unknown.append(line)
        elif match["label"] is not None and int(match["label"]) != label:
            mislabelled.append(line)
        key = video_key(match["path"])
        if key in videos:
            repeated.append(line)
        videos[key] = match["path"]
    name = file.name
    problems.add(f"{name} has {len(malformed)} lines that are not <Class>/<video>.avi [<class id>]", malformed)
    problems.add(f"{name} has {len(unknown)} lines of classes that classInd.txt lacks", unknown)
    problems.add(f"{name} has {len(mislabelled)} lines with another class id than classInd.txt", mislabelled)
    problems.add(f"{name} names {len(repeated)} videos twice", repeated)
    return videos


def _find_listed(tree: VideoTree, lists: Mapping[int, list[_List]], problems: LayoutProblems) -> dict[str, str]:
    """Video key -> the path of its file."""
    path_of: dict[str, str] = {}
    for video in tree.videos:
        path_of.setdefault(video_key(video.path), video.path)
    twins = [video.path for video in tree.videos if path_of[video_key(video.path)] != video.path]
    problems.add(f"{len(twins)} videos are there in another spelling too", twins)
    every_list = [videos for fold_lists in lists.values() for videos in fold_lists]
    listed = {key: name for videos in every_list for key, name in videos.videos.items()}
    # a video in another folder than listed would silently get that folder's class
    name_of_stem = {PurePosixPath(key).name: name for key, name in listed.items()}
    strays = {key: path for key, path in path_of.items() if key not in listed}
    misplaced = {stem: path for key, path in strays.items() if (stem := PurePosixPath(key).name) in name_of_stem}
    problems.add(
        f"{len(misplaced)} videos are in another folder than the lists say",
        [f"{path} (listed as {name_of_stem[stem]})" for stem, path in misplaced.items()],
    )
    for videos in every_list:
        absent = [
            name
            for key, name in videos.videos.items()
            if key not in path_of and PurePosixPath(key).name not in misplaced
        ]
        problems.add_missing(
            f"{len(absent)} of {len(videos.videos)} videos of {videos.file.name} are not there", absent
        )
    return path_of


def _grouped(tree: VideoTree) -> Iterator[tuple[str, str, int]]:
    """Path, class and number of the group of every video whose name tells it."""
    for video in tree.videos:
        parsed = parse_video_name(video.path)
        if parsed and video.class_name:
            yield video.path, video.class_name, parsed[1]


def _assign(tree: VideoTree, lists: Sequence[_List], path_of: Mapping[str, str]) -> SplitAssignment:
    split_of: dict[str, str] = {}
    unknown: dict[str, list[str]] = {}
    for videos in lists:
        split_of |= {path_of[key]: videos.split for key in videos.videos if key in path_of}
        absent = [name for key, name in videos.videos.items() if key not in path_of]
        unknown |= {videos.split: absent} if absent else {}
    return SplitAssignment(split_of, [v.path for v in tree.videos if v.path not in split_of], unknown)
