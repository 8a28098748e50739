"""What UCF101 and UCF50 share: `<Class>/v_<Class>_g<group>_c<clip>.avi`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from ..splits import name_examples
from ..video_folder import VideoTree, scan_video_tree
from .known import LayoutProblems

_VIDEO_NAME = re.compile(r"v_(?P<name>.+)_g(?P<group>\d+)_c(?P<clip>\d+)")


def parse_video_name(path: str) -> tuple[str, int] | None:
    """The class name in a video's file name and the number of its group; None for a name of another form.

    The class name may differ from the folder's: UCF101 has `HandstandPushups/v_HandStandPushups_*`, UCF50
    `PullUps/v_Pullup_*` and `Billiards/v_Billards_*`.
    """
    match = _VIDEO_NAME.fullmatch(PurePosixPath(path).stem)
    return (match["name"], int(match["group"])) if match else None


def scan_class_folders(
    root: Path, class_names: Sequence[str], problems: LayoutProblems, suffixes: Sequence[str]
) -> VideoTree:
    """The videos of a tree of class folders, under the data set's own class names.

    Folders are matched to classes whatever their upper and lower case. Videos in folders that are no classes stay in
    the tree; as no list names them, they end up among those that were left out.

    Args:
        root: Folder of the class folders.
        class_names: Names of the classes, in the data set's own spelling.
        problems: Takes note of classes without a folder or without videos, and of folders that mean one class.
        suffixes: Suffixes of video files; see `scan_video_tree`.
    """
    tree = scan_video_tree(root, suffixes=suffixes)
    spelling = {name.casefold(): name for name in class_names}
    folders: dict[str, set[str]] = {}
    for folder in {video.class_name for video in tree.videos} | set(tree.folders_without_videos):
        folders.setdefault(folder.casefold(), set()).add(folder)
    absent = [name for name in class_names if name.casefold() not in folders]
    problems.add_missing(f"{len(absent)} of {len(class_names)} classes have no folder", absent)
    empty = [spelling[name.casefold()] for name in tree.folders_without_videos if name.casefold() in spelling]
    problems.add_missing(f"{len(empty)} class folders are without videos", empty)
    for twins in (names for key, names in folders.items() if len(names) > 1 and key in spelling):
        problems.add(f"{name_examples(sorted(twins))} are folders of one class")
    # no class, and not the folder's name: no list may find it by accident
    videos = [replace(video, class_name=spelling.get(video.class_name.casefold(), "")) for video in tree.videos]
    return replace(tree, videos=videos)


def video_key(path: str) -> str:
    """`<class>/<file name>` without suffix and upper case, by which lists and files find one another."""
    return str(PurePosixPath(path).with_suffix("")).casefold()
