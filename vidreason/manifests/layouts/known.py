"""What the readers of known data sets share: finding files, collecting what is wrong, and writing manifests.

The videos are read once, however many folds are written.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ...errors import ManifestError
from ...files import readable_name
from ...video.probe import VIDEO_SUFFIXES, Probed, VideoProbe, probe_videos
from ..manifest import check_names
from ..splits import SplitAssignment, name_examples, read_list
from ..video_folder import (
    FolderReport,
    VideoTree,
    as_suffixes,
    describe_ignored,
    suffix_of,
    summary_table,
    unusable_name,
    write_video_folder,
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class KnownLayout:
    """A data set whose files were found where its own lists say.

    Attributes:
        source: Name of the data set, and its revision where it has some.
        tree: The videos, with their classes under the names of `class_names`.
        class_names: Names of the classes, in the order of the data set's own label ids.
        folds: Splits of the videos under each fold's name. A single fold is written to the folder that is asked for,
            several to sub-folders of their names.
        groups: Maps each video path to its group.
        description: Paragraph for the card; `{fold}` in it stands for the fold's name.
        allow_incomplete: Whether videos and classes may be missing.
    """

    source: str
    tree: VideoTree
    class_names: list[str]
    folds: dict[str, SplitAssignment]
    groups: dict[str, str] = field(default_factory=dict)
    description: str = ""
    allow_incomplete: bool = False

    @property
    def paths(self) -> list[str]:
        """The videos that are in a split of any fold."""
        return [video.path for video in self.tree.videos if any(video.path in a.split_of for a in self.folds.values())]


@dataclass
class LayoutArguments:
    """What the builders of known data sets have in common."""

    root: str = field(metadata={"help": "Folder of the data set's videos."})
    out: str = field(metadata={"help": "Folder to write: Parquet tables, manifest.json, skipped.jsonl and the card."})
    source: str = field(default="", metadata={"help": "Data set and revision. Default: the data set's name."})
    num_proc: int = field(default=1, metadata={"help": "Processes that read videos."})
    decode_all: bool = field(
        default=False, metadata={"help": "Decode every frame, and leave out videos with damage anywhere. Slow."}
    )
    max_pixels: int | None = field(default=None, metadata={"help": "Leave out videos with larger frames."})
    allow_incomplete: bool = field(
        default=False,
        metadata={"help": "Build from what is there: missing videos and classes are listed in place of an error."},
    )

    more_suffixes: list[str] = field(
        default_factory=list,
        metadata={"help": "Suffixes of video files beside the usual; 'none' stands for files without one."},
    )

    @property
    def suffixes(self) -> list[str]:
        """Suffixes of the files that are taken for videos."""
        return [*VIDEO_SUFFIXES, *self.more_suffixes]

    def probe(self, root: Path) -> VideoProbe:
        """How videos under a root are read."""
        return VideoProbe(root, self.decode_all, self.max_pixels)


def build_layout(
    layout: KnownLayout, args: LayoutArguments, probe: Callable[[str], Probed] | None = None
) -> dict[str, FolderReport]:
    """Read the videos of a layout and write a manifest for each fold.

    Args:
        layout: The checked layout.
        args: Folder to write, source, and how videos are read.
        probe: Reads one video, in place of the probe that the arguments ask for.

    Returns:
        The folder of each manifest -> what came of it.

    Raises:
        ManifestError: the reasons of `vidreason.manifests.video_folder.write_video_folder`.
    """
    check_names(Path(args.out), layout.tree.root, args.source)  # before the videos are read, which takes long
    probed = probe_videos(probe or args.probe(layout.tree.root), layout.paths, args.num_proc)
    return write_folds(layout, probed, args)


def write_folds(layout: KnownLayout, probed: Mapping[str, Probed], args: LayoutArguments) -> dict[str, FolderReport]:
    """Write a manifest for each fold from one reading of the videos. As `build_layout`."""
    reports = {}
    for name, assignment in layout.folds.items():
        folder = Path(args.out) / name if len(layout.folds) > 1 else Path(args.out)
        reports[str(folder)] = write_video_folder(
            layout.tree,
            probed,
            folder,
            assignment,
            args.source or layout.source,
            layout.groups,
            # not `format`: a description may hold other braces
            layout.description.replace("{fold}", name),
            layout.class_names,
            allow_absent_classes=layout.allow_incomplete,
        )
    return reports


def describe_reports(layout: KnownLayout, reports: Mapping[str, FolderReport]) -> str:
    """What was written and left out, for a terminal."""
    parts = [f"{summary_table(report)}\nwritten to {folder}" for folder, report in reports.items()]
    return "\n".join([*parts, describe_ignored(layout.tree)])


def find_root(root: str | os.PathLike, name: str) -> Path:
    """The data set's folder: what was given, or the folder of the data set's name in it.

    Raises:
        ManifestError: there is no such folder.
    """
    root = Path(root)
    if not root.is_dir():
        raise ManifestError(f"{root}: no such folder; expected that of {name}")
    return root / name if (root / name).is_dir() else root


def read_numbered_names(file: Path, what: str, first_id: int) -> list[str]:
    """A file of lines `<id> <name>`, as the names in the order of their ids.

    Args:
        file: The file of the list.
        what: What the list holds, for messages.
        first_id: First of the ids, which then count on without a gap.

    Raises:
        ManifestError: no such file, a line of another form, a repeated id or name, or a gap.
    """
    if not file.is_file():
        raise ManifestError(f"{file}: no such file; {what} was expected there")
    name_of: dict[int, str] = {}
    # names may hold spaces, numbers stand first
    for line in read_list(file, what):
        match = re.fullmatch(r"(-?\d+)\s+(\S.*)", line)
        if not match:
            raise ManifestError(f"{file}: {line!r} is not <id> <name>")
        number, name = int(match.group(1)), match.group(2)
        if number in name_of:
            raise ManifestError(f"{file}: the id {number} stands for {name_of[number]!r} and for {name!r}")
        if name in name_of.values():
            raise ManifestError(f"{file}: {name!r} is named twice")
        name_of[number] = name
    if not name_of:
        raise ManifestError(f"{file}: {what} is empty")
    missing = [str(number) for number in range(first_id, max(name_of) + 1) if number not in name_of]
    if missing or min(name_of) != first_id:
        gap = f"missing: {name_examples(missing)}" if missing else f"found: {sorted(name_of)[:5]}"
        raise ManifestError(f"{file}: the ids do not count from {first_id} without a gap; {gap}")
    return [name_of[number] for number in sorted(name_of)]


class LayoutProblems:
    """What is wrong with the layout of a data set.

    Two kinds: what is contradictory is always an error; what is merely not there, such as a class that was not
    downloaded, is an error unless a part of the data set is asked for.

    Args:
        root: Folder of the data set, for messages.
        allow_incomplete: Whether something missing is a warning in place of an error.
    """

    def __init__(self, root: Path, allow_incomplete: bool = False):
        self.root = root
        self.allow_incomplete = allow_incomplete
        self._contradictions: list[str] = []
        self._missing: list[str] = []

    def add(self, sentence: str, names: Sequence[str] | None = None) -> None:
        """Note a contradiction. With names, it is one only if there are any; the first few are told."""
        self._note(self._contradictions, sentence, names)

    def add_missing(self, sentence: str, names: Sequence[str] | None = None) -> None:
        """Note something that is not there. With names, it is noted only if there are any."""
        self._note(self._missing, sentence, names)

    def check(self) -> None:
        """Warn of what may be missing, and raise for the rest.

        Raises:
            ManifestError: naming every problem.
        """
        fatal = list(self._contradictions)
        if self.allow_incomplete:
            for sentence in self._missing:
                logger.warning("%s: %s", self.root, sentence)
        else:
            fatal += self._missing
        if fatal:
            hint = "" if self._contradictions else " (allow_incomplete builds from what is there)"
            raise ManifestError(f"{self.root}: {'; '.join(fatal)}{hint}")

    @staticmethod
    def _note(sentences: list[str], sentence: str, names: Sequence[str] | None) -> None:
        if names is None:
            sentences.append(sentence)
        elif names:
            sentences.append(f"{sentence}: {name_examples(names)}")


@dataclass(frozen=True)
class FlatVideos:
    """What was found.

    Attributes:
        paths: Names of the video files, sorted; each stem once.
        skipped: Other files of a stem that is there already: path, reason and detail of each.
        ignored: Names of all other files.
    """

    paths: list[str]
    skipped: list[dict[str, str]] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)


def scan_flat_videos(folder: Path, suffixes: Sequence[str], form: str) -> FlatVideos:
    """List the videos of a folder, hidden files apart. No file is opened, and none is looked at twice.

    Args:
        folder: Folder of the videos.
        suffixes: Suffixes of videos, as for `scan_video_tree`; of two files of one stem the earlier suffix is taken.
        form: Form of their names, for messages.

    Raises:
        ManifestError: no such folder, or no video in it.
    """
    if not folder.is_dir():
        raise ManifestError(f"{folder}: no such folder; videos as {form} were expected there")
    rank = {suffix: position for position, suffix in enumerate(dict.fromkeys(as_suffixes(suffixes)))}
    best: dict[str, str] = {}
    skipped, ignored, folders = [], [], []
    # scandir tells folders from files without a call for each of 220,000 files
    with os.scandir(folder) as entries:
        names = [(entry.name, entry.is_dir()) for entry in entries if not entry.name.startswith(".")]
    for name, is_folder in sorted(names):
        stem, unusable = os.path.splitext(name)[0], unusable_name(name)
        if is_folder:
            folders.append(name)
        elif suffix_of(name) not in rank:
            ignored.append(readable_name(name))
        elif unusable:
            skipped.append(unusable)
        elif stem not in best:
            best[stem] = name
        else:
            taken, left = sorted((best[stem], name), key=lambda of: rank[suffix_of(of)])
            best[stem] = taken
            skipped.append({"path": left, "reason": "duplicate_id", "detail": f"the same id as {taken}"})
    if not best:
        hint = f", only folders such as {name_examples(folders)}" if folders else ""
        raise ManifestError(f"{folder}: no video as {form} in it{hint}")
    return FlatVideos(sorted(best.values()), skipped, ignored)
