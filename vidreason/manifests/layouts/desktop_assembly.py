"""Desktop Assembly (Kumar et al., CVPR 2022): people put together a desktop computer; every frame has an action.

    groundTruth/<video>              one action name per line, for each frame; or <video>.txt
    mapping/mapping.txt              lines of "<id from 0> <action>"; or mapping.txt
    videos/<video>.<any suffix>      76 recordings, named by their time, such as 2020-04-19_14-03-25
    splits/train.split<n>.bundle     optional: names of videos, with test.split<n>.bundle; or without ".split<n>"

This is the layout of the authors' release (github.com/trquhuytin/TOT-CVPR22) and of those who build on it. The release
has features in place of the videos, and no splits: published work trains and tests on all videos, or on splits of its
own. About 10 labels a second were made; where the videos have more frames, `label_fps` says so.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from ...errors import ManifestError
from ...video.probe import VIDEO_SUFFIXES, probe_videos
from ..manifest import video_id_of
from ..segments import write_segments
from ..splits import SplitAssignment, groups_from_pattern, read_list, split_by_fractions
from ..video_folder import FolderReport, TreeVideo, VideoTree
from .frame_labels import SegmentProbe, read_frame_labels, segment_rows
from .known import KnownLayout, LayoutArguments, LayoutProblems, read_numbered_names, scan_flat_videos, write_folds

ACTIVITY = "desktop_assembly"
"""The one class of the manifest. The actions are in the table of segments."""

_BUNDLE_NAMES = {"train": ("train", "training"), "test": ("test", "testing"), "validation": ("val", "validation")}
_NUMBERED_BUNDLE = re.compile(r"\w+\.split(\d+)\.bundle")
_DESCRIPTION = (
    "Desktop Assembly (Kumar et al., CVPR 2022): recordings of people who put together a desktop computer. Every "
    "video is of the one activity; which of its actions happens when is in the folder `segments`."
)


@dataclass(frozen=True)
class DesktopAssembly:
    """A checked copy of Desktop Assembly.

    Attributes:
        layout: The videos, checked.
        label_names: Names of the actions, in the order of their ids.
        labels: Maps each video path to the label ids of its lines; None stands for a line without a label.
        label_fps: Number of labels per second; None stands for one label per frame.
    """

    layout: KnownLayout
    label_names: list[str]
    labels: dict[str, list[int | None]] = field(repr=False)
    label_fps: float | None = None


def read_desktop_assembly(
    root: str | os.PathLike,
    videos: str | os.PathLike | None = None,
    split: int | None = None,
    fractions: Mapping[str, float] | None = None,
    seed: int = 0,
    group_pattern: str | None = None,
    label_fps: float | None = None,
    allow_incomplete: bool = False,
    suffixes: Sequence[str] = VIDEO_SUFFIXES,
) -> DesktopAssembly:
    r"""Check a copy of Desktop Assembly. No video is opened.

    Args:
        root: Folder of `groundTruth`, the mapping and the splits.
        videos: Folder of the videos; by default `videos` in the root.
        split: Number in the names of the bundles, where they have one.
        fractions: Share of each split, to divide the videos at random in place of by bundles; train=1.0 puts all in
            one.
        seed: Seed of the random division.
        group_pattern: Regular expression whose first group, in a video's name, names what must not be divided, such as
            the day of the recording, `^(\d+-\d+-\d+)`.
        label_fps: Number of labels per second, for videos that have more frames than labels.
        allow_incomplete: Whether to build from the videos that are there where others are missing.
        suffixes: Suffixes of video files; see `scan_video_tree`.

    Raises:
        ManifestError: naming what is missing, misplaced or contradictory.
    """
    root = Path(root)
    if label_fps is not None and not label_fps > 0:
        raise ManifestError(f"label_fps is {label_fps}, expected labels per second")
    if fractions and split is not None:
        raise ManifestError("give a split of the bundles or fractions, not both")
    label_files = _list_label_files(root)
    video_folder = Path(videos) if videos is not None else root / "videos"
    label_names = read_numbered_names(_find_mapping(root), "the mapping of ids to actions", first_id=0)
    problems = LayoutProblems(root, allow_incomplete)
    tree = _scan(video_folder, label_files, problems, suffixes)
    file_of = {video.path: label_files[video_id_of(video.path)] for video in tree.videos}
    labels = read_frame_labels(file_of, label_names, problems)
    bundles = {} if fractions else _find_bundles(root / "splits", split)
    by_bundles = _split_by_bundles(tree, bundles, problems)
    problems.check()
    groups = groups_from_pattern(file_of, group_pattern) if group_pattern else None
    assignment = split_by_fractions(tree.class_of, fractions, seed, groups) if fractions else by_bundles
    layout = KnownLayout(
        "desktop-assembly", tree, [ACTIVITY], {"": assignment}, groups or {}, _DESCRIPTION, allow_incomplete
    )
    return DesktopAssembly(layout, label_names, labels, label_fps)


def build_desktop_assembly(data: DesktopAssembly, args: LayoutArguments) -> dict[str, FolderReport]:
    """Read the videos, write the manifest, and beside it the table of segments. As `build_layout`.

    A video whose labels and frames differ too much in number is left out (`label_count`).
    """
    layout = data.layout
    probe = SegmentProbe(args.probe(layout.tree.root), data.labels, data.label_fps)
    probed = probe_videos(probe, layout.paths, args.num_proc)
    reports = write_folds(layout, probed, args)
    for folder, report in reports.items():
        rows = {split: segment_rows(of["path"], probed) for split, of in report.manifest.splits.items()}
        write_segments(folder, rows, data.label_names, report.manifest.source)
    return reports


def _list_label_files(root: Path) -> dict[str, Path]:
    """Video name -> its file of labels."""
    if not root.is_dir():
        raise ManifestError(f"{root}: no such folder; expected that of Desktop Assembly")
    folder = root / "groundTruth"
    if not folder.is_dir():
        raise ManifestError(f"{root}: no groundTruth folder in it; the frame-wise labels were expected there")
    files: dict[str, Path] = {}
    for file in sorted(folder.iterdir()):
        if file.is_file() and not file.name.startswith("."):
            # the release has names without a suffix, copies of it have .txt
            name = file.name.removesuffix(".txt")
            if name in files:
                raise ManifestError(f"{folder}: {files[name].name!r} and {file.name!r} are labels of one video")
            files[name] = file
    if not files:
        raise ManifestError(f"{folder}: no files of labels in it")
    return files


def _find_mapping(root: Path) -> Path:
    places = [root / "mapping" / "mapping.txt", root / "mapping.txt"]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise ManifestError(f"{root}: neither mapping/mapping.txt nor mapping.txt is in it")
    return found


def _scan(
    folder: Path, label_files: Mapping[str, Path], problems: LayoutProblems, suffixes: Sequence[str]
) -> VideoTree:
    """The videos that have labels; others are among the skipped."""
    found = scan_flat_videos(folder, suffixes, "<video>.mp4")
    names = {video_id_of(path): path for path in found.paths}
    silent = [name for name in label_files if name not in names]
    problems.add_missing(f"{len(silent)} of {len(label_files)} files in groundTruth have no video in {folder}", silent)
    unlabelled = [path for name, path in names.items() if name not in label_files]
    problems.add_missing(f"{len(unlabelled)} of {len(names)} videos have no file in groundTruth", unlabelled)
    skipped = [{"path": path, "reason": "no_labels", "detail": "no file in groundTruth"} for path in unlabelled]
    skipped += [
        {"path": name, "reason": "not_in_tree", "detail": f"labels in groundTruth/{label_files[name].name}"}
        for name in silent
    ]
    videos = [TreeVideo(path, ACTIVITY) for name, path in names.items() if name in label_files]
    return VideoTree(folder, videos, [*found.skipped, *skipped], found.ignored)


def _find_bundles(folder: Path, split: int | None) -> dict[str, Path]:
    """Split -> its list of videos."""
    if not folder.is_dir():
        raise ManifestError(f"{folder}: no such folder; without bundles of names, give fractions such as train=0.8")
    infix = "" if split is None else f".split{split}"
    found = {}
    for name, stems in _BUNDLE_NAMES.items():
        for file in (folder / f"{stem}{infix}.bundle" for stem in stems):
            if file.is_file():
                found[name] = file
    missing = [name for name in ("train", "test") if name not in found]
    if missing:
        numbers = sorted({match[1] for file in folder.iterdir() if (match := _NUMBERED_BUNDLE.fullmatch(file.name))})
        hint = f"; there are the splits {', '.join(numbers)}: choose one" if numbers else ""
        names = " and ".join(f"{name}{infix}.bundle" for name in missing)
        raise ManifestError(f"{folder}: no {names} in it{hint}")
    return found


def _split_by_bundles(tree: VideoTree, files: Mapping[str, Path], problems: LayoutProblems) -> SplitAssignment:
    path_of = {video_id_of(video.path): video.path for video in tree.videos}
    split_of: dict[str, str] = {}
    unknown: dict[str, list[str]] = {}
    for split, file in files.items():
        names = [_bare_name(line) for line in read_list(file, f"the list of split {split!r}")]
        for name in dict.fromkeys(names):
            path = path_of.get(name)
            if path is None:
                unknown.setdefault(split, []).append(name)
            elif split_of.setdefault(path, split) != split:
                problems.add(f"{name!r} is in {files[split_of[path]].name} and in {file.name}")
        absent = unknown.get(split, [])
        problems.add_missing(f"{len(absent)} of {len(names)} videos of {file.name} are not there", absent)
    return SplitAssignment(split_of, [path for path in path_of.values() if path not in split_of], unknown)


def _bare_name(line: str) -> str:
    """The video that a line of a bundle names, which may be a path to its file of labels."""
    name = PurePosixPath(line.replace("\\", "/")).name
    suffix = PurePosixPath(name).suffix.lower()
    return name[: -len(suffix)] if suffix in (".txt", *VIDEO_SUFFIXES) else name
