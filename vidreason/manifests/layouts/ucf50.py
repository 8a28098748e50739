"""UCF50 (Reddy and Shah 2013), which is tested by its 25 groups.

    UCF50/<Class>/v_<Class>_g<group>_c<clip>.avi

The release has no lists. Its authors leave out one group after the other (25 runs); five runs of five groups each are
common too. A group is a person or place, so that its clips must not be on both sides of a split.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from ...errors import ManifestError
from ...video.probe import VIDEO_SUFFIXES
from ..splits import SplitAssignment, split_by_groups
from ..video_folder import VideoTree
from .known import KnownLayout, LayoutProblems, find_root
from .ucf import parse_video_name, scan_class_folders

NUM_GROUPS = 25

CLASS_NAMES = Path(__file__).with_name("ucf50_classes.txt").read_text(encoding="utf-8").split()
"""UCF50 has no published label ids: these are its folders in alphabetical order."""

PROTOCOLS = {"five_fold": 5, "leave_one_group_out": 25}
"""Protocol -> number of folds, each of as many groups, in the order of their numbers."""

_DESCRIPTION = (
    "UCF50 (Reddy and Shah, 2013), split by its 25 groups ({fold}). The label ids count the class folders in "
    "alphabetical order."
)


def protocol_folds(protocol: str, folds: Sequence[int] = ()) -> dict[str, list[int]]:
    """The groups that each fold of a protocol tests on.

    Args:
        protocol: A key of `PROTOCOLS`.
        folds: Numbers of the folds, from 1; all where none are given.

    Returns:
        `fold_<number>` -> numbers of groups. `five_fold` tests on groups 1 to 5, 6 to 10, and so on.

    Raises:
        ManifestError: there is no such protocol or fold.
    """
    if protocol not in PROTOCOLS:
        raise ManifestError(f"no protocol {protocol!r}; there are {sorted(PROTOCOLS)}")
    num_folds = PROTOCOLS[protocol]
    unknown = [fold for fold in folds if not 1 <= fold <= num_folds]
    if unknown:
        raise ManifestError(f"{protocol} has the folds 1 to {num_folds}, got {unknown}")
    size = NUM_GROUPS // num_folds
    chosen = list(dict.fromkeys(folds)) or range(1, num_folds + 1)
    digits = len(str(num_folds))
    return {f"fold_{fold:0{digits}d}": list(range((fold - 1) * size + 1, fold * size + 1)) for fold in chosen}


def read_ucf50(
    root: str | os.PathLike,
    folds: Mapping[str, Sequence[int]],
    validation_groups: Sequence[int] = (),
    allow_incomplete: bool = False,
    suffixes: Sequence[str] = VIDEO_SUFFIXES,
) -> KnownLayout:
    """Check a copy of UCF50. No video is opened.

    Args:
        root: The folder `UCF50`, or the one that holds it.
        folds: Maps the name of each fold to the numbers of the groups to test on, as `protocol_folds` gives them.
        validation_groups: Numbers of the groups to validate on, in all folds.
        allow_incomplete: Whether to build from the videos that are there where others are missing.
        suffixes: Suffixes of video files; see `scan_video_tree`.

    Raises:
        ManifestError: naming what is missing, misplaced or contradictory.
    """
    _check_group_numbers([*(group for groups in folds.values() for group in groups), *validation_groups])
    root = find_root(root, "UCF50")
    problems = LayoutProblems(root, allow_incomplete)
    tree = scan_class_folders(root, CLASS_NAMES, problems, suffixes)
    group_of = _read_groups(tree, problems)
    problems.check()
    groups = {path: f"g{group:02d}" for path, group in group_of.items()}
    assignments = {}
    for name, test_groups in folds.items():
        held_out = {"test": test_groups, "validation": validation_groups}
        assignments[name] = _assign(tree, groups, held_out, allow_incomplete)
    return KnownLayout("ucf50", tree, list(CLASS_NAMES), assignments, groups, _DESCRIPTION, allow_incomplete)


def _check_group_numbers(numbers: Sequence[int]) -> None:
    unknown = sorted({number for number in numbers if not 1 <= number <= NUM_GROUPS})
    if unknown:
        raise ManifestError(f"UCF50 has the groups 1 to {NUM_GROUPS}, got {unknown}")


def _read_groups(tree: VideoTree, problems: LayoutProblems) -> dict[str, int]:
    """Video path -> number of its group, for the videos in class folders."""
    spelling = {name.casefold(): name for name in CLASS_NAMES}
    group_of: dict[str, int] = {}
    unnamed, misplaced, unknown = [], [], []
    for video in (video for video in tree.videos if video.class_name):
        parsed = parse_video_name(video.path)
        if parsed is None:
            unnamed.append(video.path)
        elif spelling.get(parsed[0].casefold(), video.class_name) != video.class_name:
            misplaced.append(video.path)
        elif not 1 <= parsed[1] <= NUM_GROUPS:
            unknown.append(video.path)
        else:
            group_of[video.path] = parsed[1]
    problems.add_missing(f"{len(unnamed)} videos are not named v_<Class>_g<group>_c<clip>", unnamed)
    problems.add(f"{len(misplaced)} videos are in another class's folder than their names say", misplaced)
    problems.add(f"{len(unknown)} videos are of groups that UCF50 lacks", unknown)
    _check_groups_of_classes(tree, group_of, problems)
    return group_of


def _check_groups_of_classes(tree: VideoTree, group_of: Mapping[str, int], problems: LayoutProblems) -> None:
    groups: dict[str, set[int]] = {}
    for video in tree.videos:
        if video.path in group_of:
            groups.setdefault(video.class_name, set()).add(group_of[video.path])
    lacking = [
        f"{name}/g{number:02d}" for name in groups for number in range(1, NUM_GROUPS + 1) if number not in groups[name]
    ]
    problems.add_missing(f"{len(lacking)} groups of classes have no video", lacking)


def _assign(
    tree: VideoTree, groups: Mapping[str, str], held_out: Mapping[str, Sequence[int]], allow_incomplete: bool
) -> SplitAssignment:
    present = set(groups.values())
    names = {split: [f"g{number:02d}" for number in numbers] for split, numbers in held_out.items() if numbers}
    if allow_incomplete:  # a split none of whose groups is there is left with their names, for the error
        names = {split: [name for name in of if name in present] or of for split, of in names.items()}
    split_of = split_by_groups(groups, names).split_of
    return SplitAssignment(split_of, [video.path for video in tree.videos if video.path not in split_of])
