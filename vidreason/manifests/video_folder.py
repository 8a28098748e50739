"""From a tree of `<class>/<video>` files to a manifest. One bad file never ends the run: it is listed and left out."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from ..errors import ManifestError
from ..files import is_utf8, readable_name
from ..video.probe import VIDEO_SUFFIXES, Probed, VideoInfo, VideoProbe, probe_videos
from .manifest import Manifest, check_names, manifest_row, video_id_of, write_manifest
from .splits import SplitAssignment

logger = logging.getLogger(__name__)

_SUFFIXES_SHOWN = 10


@dataclass(frozen=True)
class TreeVideo:
    """A video file of a tree. `path` is POSIX, relative to the root; `split` is set where folders name splits."""

    path: str
    class_name: str
    split: str | None = None


@dataclass(frozen=True)
class VideoTree:
    """What was found under a root.

    Attributes:
        root: Folder that was searched.
        videos: Videos sorted by path; each video id once.
        skipped: Files that look like videos but cannot be used: path, reason and detail of each.
        ignored: Paths of all other files, readable; see `describe_ignored`.
        folders_without_videos: Names of class folders in which there is no video; they are no classes.
    """

    root: Path
    videos: list[TreeVideo]
    skipped: list[dict[str, str]] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    folders_without_videos: list[str] = field(default_factory=list)

    @property
    def class_of(self) -> dict[str, str]:
        """Video path -> class name."""
        return {video.path: video.class_name for video in self.videos}


@dataclass(frozen=True)
class FolderReport:
    """The outcome of a build: the manifest, what was left out, and which videos are used though damaged."""

    manifest: Manifest
    skipped: list[dict[str, str]]
    damaged: list[str]


NO_SUFFIX = "none"
"""What stands for files without a suffix in a list of suffixes."""


def suffix_of(path: str) -> str:
    """The suffix of a file's name with its dot, in lower case; `NO_SUFFIX` where there is none."""
    return PurePosixPath(path).suffix.lower() or NO_SUFFIX


def as_suffixes(names: Iterable[str]) -> list[str]:
    """Suffixes as people type them, as `suffix_of` gives them: `MTS`, `.mts` and `*.mts` are one."""
    plain = [name.strip().lower().lstrip("*").lstrip(".") for name in names]
    return [name if name == NO_SUFFIX else f".{name}" for name in plain if name]


def unusable_name(path: str) -> dict[str, str] | None:
    """The entry in the list of those left out for a file whose name no table can hold; None for other names."""
    if is_utf8(path):
        return None
    return {
        "path": readable_name(path),
        "reason": "name_not_utf8",
        "detail": "rename it, or link to it by another name",
    }


def count_suffixes(paths: Iterable[str]) -> str:
    """How many files of which suffix there are, the most frequent first: `2 .dav, 1 without a suffix`."""
    counts = sorted(Counter(map(suffix_of, paths)).items(), key=lambda item: (-item[1], item[0]))
    shown = [f"{count} {'without a suffix' if suffix == NO_SUFFIX else suffix}" for suffix, count in counts]
    return ", ".join(shown[:_SUFFIXES_SHOWN]) + (", ..." if len(shown) > _SUFFIXES_SHOWN else "")


def describe_ignored(tree: VideoTree) -> str:
    """The files that were not taken for videos, by suffix, and the folders that are no class for want of a video."""
    lines = [f"ignored files: {len(tree.ignored)}"]
    if tree.ignored:
        flag = f"--more_suffixes takes suffixes as videos, and {NO_SUFFIX!r} files without one"
        lines = [f"{lines[0]} ({count_suffixes(tree.ignored)}); {flag}"]
    if tree.folders_without_videos:
        lost = [_describe_folder(tree, folder) for folder in tree.folders_without_videos]
        lines.append(f"folders without videos, no classes: {', '.join(lost)}")
    return "\n".join(lines)


def _describe_folder(tree: VideoTree, folder: str) -> str:
    """A folder's name with what is in it in place of videos."""
    ignored = [path for path in tree.ignored if path.startswith(f"{folder}/")]
    reasons = Counter(entry["reason"] for entry in tree.skipped if entry["path"].startswith(f"{folder}/"))
    contents = [f"{count} {reason}" for reason, count in reasons.most_common()]
    contents += [count_suffixes(ignored)] if ignored else []
    return f"{folder} ({', '.join(contents)})" if contents else folder


def scan_video_tree(
    root: str | os.PathLike, split_dirs: bool = False, suffixes: Iterable[str] = VIDEO_SUFFIXES
) -> VideoTree:
    """Find the videos of a tree. No file is opened.

    Args:
        root: Folder of `<class>/<video>`, or `<split>/<class>/<video>` with `split_dirs`. Deeper folders are part of
            the video's name. Hidden files are ignored, links are followed.
        split_dirs: Whether the first folder names the split.
        suffixes: Suffixes of video files, in any case, with or without the dot; `NO_SUFFIX` for files without one.

    Raises:
        ManifestError: no such folder, or no video at the right depth.
    """
    root = Path(root)
    if not root.is_dir():
        raise ManifestError(f"{root}: no such folder of videos")
    depth = 2 if split_dirs else 1
    known_suffixes = set(as_suffixes(suffixes))
    tree = VideoTree(root, [])
    path_of_id: dict[str, str] = {}
    paths, folders = walk_tree(root, depth)
    for path in paths:
        parts = PurePosixPath(path).parts
        unusable = unusable_name(path)
        if suffix_of(path) not in known_suffixes:
            tree.ignored.append(readable_name(path))
        elif unusable:
            tree.skipped.append(unusable)
        elif len(parts) <= depth:
            detail = f"expected {'<split>/' if split_dirs else ''}<class>/<video>"
            tree.skipped.append({"path": path, "reason": "no_class_folder", "detail": detail})
        # `a.avi` and `a.mp4` would be one video to everything that goes by ids
        elif path_of_id.setdefault(video_id_of(path), path) != path:
            detail = f"the same id as {path_of_id[video_id_of(path)]}"
            tree.skipped.append({"path": path, "reason": "duplicate_id", "detail": detail})
        else:
            tree.videos.append(TreeVideo(path, parts[depth - 1], parts[0] if split_dirs else None))
    if not tree.videos:
        layout = "<split>/<class>/<video>" if split_dirs else "<class>/<video>"
        raise ManifestError(
            f"{root}: no video as {layout} among {len(paths)} files ({count_suffixes(paths) or 'none'}); suffixes are "
            f"{sorted(known_suffixes)}"
        )
    used = {str(PurePosixPath(*PurePosixPath(video.path).parts[:depth])) for video in tree.videos}
    tree.folders_without_videos.extend(sorted(map(readable_name, folders - used)))
    lost = [_describe_folder(tree, folder) for folder in tree.folders_without_videos]
    if lost:  # a class that is not there shows in no number
        logger.warning("%s: folders without videos are no classes: %s", readable_name(root), ", ".join(lost))
    return tree


def split_by_folders(tree: VideoTree) -> SplitAssignment:
    """The splits that the tree's own folders name (`scan_video_tree(..., split_dirs=True)`)."""
    return SplitAssignment({video.path: video.split for video in tree.videos if video.split is not None})


def build_video_folder(
    tree: VideoTree,
    out: str | os.PathLike,
    assignment: SplitAssignment,
    source: str,
    groups: Mapping[str, str] | None = None,
    description: str = "",
    num_proc: int = 1,
    decode_all: bool = False,
    max_pixels: int | None = None,
) -> FolderReport:
    """Probe the videos of a tree and write those that can be read as a manifest.

    The classes are those of the videos that are in a split, in the order of their names.

    Args:
        tree: The videos, as `scan_video_tree` found them.
        out: Folder of the manifest.
        assignment: The split of each video; videos without one are left out and listed.
        source: Data set and revision.
        groups: Maps a video path to its group, which is written into the rows.
        description: Paragraph for the card.
        num_proc: Number of processes that probe videos.
        decode_all: Whether videos of which any frame does not decode are left out. Slow.
        max_pixels: Largest number of pixels of a frame; videos with larger frames are left out.

    Raises:
        ManifestError: the reasons of `write_manifest`; a split or class of which no video can be read is one.
    """
    check_names(Path(out), tree.root, source)  # before the videos are read, which takes long
    probe = VideoProbe(tree.root, decode_all, max_pixels)
    chosen = [video.path for video in tree.videos if video.path in assignment.split_of]
    probed = probe_videos(probe, chosen, num_proc)
    return write_video_folder(tree, probed, out, assignment, source, groups, description)


def write_video_folder(
    tree: VideoTree,
    probed: Mapping[str, Probed],
    out: str | os.PathLike,
    assignment: SplitAssignment,
    source: str,
    groups: Mapping[str, str] | None = None,
    description: str = "",
    class_names: Sequence[str] | None = None,
    allow_absent_classes: bool = False,
) -> FolderReport:
    """Write the videos of a tree that could be read as a manifest. Several manifests may share one probing.

    Args:
        tree: The videos that were found.
        probed: Facts from `probe_videos` for every video that the assignment has in a split.
        out: Folder of the manifest.
        assignment: The split of each video; videos without one are left out and listed.
        source: Data set and revision.
        groups: Maps a video path to its group, which is written into the rows.
        description: Paragraph for the card.
        class_names: Names of the classes, in the order of the label ids; by default those of the videos in a split,
            sorted.
        allow_absent_classes: Whether a class may have no video, as in `write_manifest`.

    Raises:
        ManifestError: the reasons of `write_manifest`; a split or class of which no video can be read is one.
    """
    groups = groups or {}
    chosen = [video for video in tree.videos if video.path in assignment.split_of]
    class_names = class_names or sorted({video.class_name for video in chosen})
    usable: dict[str, list[TreeVideo]] = {split: [] for split in dict.fromkeys(assignment.split_of.values())}
    infos: dict[str, VideoInfo] = {}
    failed: list[dict[str, str]] = []
    damaged: list[str] = []
    for video in chosen:
        result = probed[video.path]
        if isinstance(result, dict):
            failed.append(result)
            continue
        usable[assignment.split_of[video.path]].append(video)
        infos[video.path] = result
        if result.damaged:
            damaged.append(video.path)
    _check_something_is_usable(out, usable, failed)
    rows = {
        split: (manifest_row(v.path, v.class_name, infos[v.path], groups.get(v.path, "")) for v in videos)
        for split, videos in usable.items()
    }
    skipped = [*tree.skipped, *_not_assigned(assignment), *failed]
    description = "\n\n".join(part for part in (description, _damage_sentence(damaged)) if part)
    manifest = write_manifest(
        out, rows, class_names, source, tree.root, skipped, description, allow_absent_classes=allow_absent_classes
    )
    return FolderReport(manifest, skipped, damaged)


def summary_table(report: FolderReport) -> str:
    """A table of splits, classes and videos, and why files were left out, for a terminal."""
    lines = [f"{'split':<16}{'classes':>9}{'videos':>9}"]
    for split, rows in report.manifest.splits.items():
        lines.append(f"{split:<16}{len(set(rows['label'])):>9}{rows.num_rows:>9}")
    lines.append(f"left out: {len(report.skipped)}")
    reasons = Counter(entry["reason"] for entry in report.skipped)
    lines += [f"  {reason:<14}{count:>18}" for reason, count in sorted(reasons.items())]
    if report.damaged:
        lines.append(f"used though damaged: {len(report.damaged)}")
    return "\n".join(lines)


def walk_tree(root: Path, depth: int) -> tuple[list[str], set[str]]:
    """All files, and the folders at the depth of classes, as POSIX paths relative to the root, without hidden ones."""
    paths, folders, seen = [], set(), set()
    for directory, subdirs, names in os.walk(root, followlinks=True):
        # links are followed, and one that leads back must not be followed for ever
        real = os.path.realpath(directory)
        subdirs[:] = sorted(name for name in subdirs if not name.startswith(".") and real not in seen)
        relative = Path(directory).relative_to(root)
        if real in seen:  # a link that leads back
            continue
        seen.add(real)
        if len(relative.parts) == depth:
            folders.add(relative.as_posix())
        paths += [(relative / name).as_posix() for name in names if not name.startswith(".")]
    return sorted(paths), folders


def _check_something_is_usable(
    out: str | os.PathLike, usable: Mapping[str, list[TreeVideo]], failed: Sequence[Mapping[str, str]]
) -> None:
    """An empty split would be named by `write_manifest` too, which does not know what became of its videos."""
    empty = [split for split, videos in usable.items() if not videos]
    if empty and failed:
        counts = Counter(entry["reason"] for entry in failed)
        reasons = ", ".join(f"{count} {reason}" for reason, count in counts.most_common())
        first = f"{failed[0]['path']}: {failed[0]['detail'] or failed[0]['reason']}"
        raise ManifestError(f"{out}: no videos in split {empty[0]!r}; left out: {reasons}, such as {first}")


def _not_assigned(assignment: SplitAssignment) -> Iterable[dict[str, str]]:
    for path in assignment.unlisted:
        yield {"path": path, "reason": "not_in_a_split", "detail": "no split names it"}
    for split, names in assignment.unknown.items():
        for name in names:
            yield {"path": name, "reason": "not_in_tree", "detail": f"named for split {split}"}


def _damage_sentence(damaged: Sequence[str]) -> str:
    if not damaged:
        return ""
    shown = ", ".join(damaged[:10]) + (", ..." if len(damaged) > 10 else "")
    return f"{len(damaged)} videos end early or are damaged; the frames that can be read are used: {shown}."
