"""GMDCSA24: people at home, filmed by phones, who go about their day or fall; tables say when they do what.

    subject_<n>/ADL/<number>.mp4     activities of daily living; Fall/<number>.mp4: falls
    subject_<n>/ADL.csv              a line per video, with `File Name`, `Length (seconds)` and, last, `Classes`:
    subject_<n>/Fall.csv             `Class[start to end]` in seconds, several of them separated by `;`

The manifest has the two classes ADL and Fall, and each video's person as its group; the twelve actions are in its
table of segments. Falls are named by their direction: FW, BW and SW are forward, backward and sideways.

Labels overlap (reading, while sitting), segments do not. The rule, which keeps the more specific action: a fall wins
over everything; reading, writing, eating, drinking and exercising win over walking, standing, sitting and sleeping,
which say how they are done; among equals the label that starts later wins while both go on, of two that start together
the one that ends earlier, and of two that end together too the class that comes first in `RANKS`.

The tables hold typing errors. Each is told in `label_report.csv`, with what was made of it (`timed_labels`, which has
the rules); what cannot be understood is left out and told too. Times are those of the video's own frames, whose rate
varies; frames that no label covers have no segment, also at the end, where labels often stop at a whole second.
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from ...errors import ManifestError
from ...video.probe import VIDEO_SUFFIXES, Probed, probe_videos
from ..segments import write_segments
from ..splits import SplitAssignment, split_by_groups
from ..video_folder import FolderReport, TreeVideo, VideoTree, scan_video_tree
from .frame_labels import segment_rows
from .known import KnownLayout, LayoutArguments, LayoutProblems, find_root, write_folds
from .label_overlaps import LabelledVideoInfo, TimedLabelProbe
from .timed_labels import (
    CORRECTED,
    LEFT_OUT,
    NOTED,
    Finding,
    LabelNote,
    TimedLabel,
    TimedLabelReader,
    count_notes,
    write_label_report,
)

CLASS_NAMES = ["ADL", "Fall"]
"""The classes of the manifest: the folders."""

FALLS = {"FW": "Falling forward", "BW": "Falling backward", "SW": "Falling sideways"}

RANKS = {
    **dict.fromkeys(FALLS.values(), 2),
    **dict.fromkeys(["Writing", "Reading", "Eating", "Drinking", "Exercising"], 1),
    **dict.fromkeys(["Walking", "Standing", "Sitting", "Sleeping"], 0),
}
"""The actions in the order of their label ids -> rank: of labels that overlap, the higher one is kept."""

OVERLAP_RULE = (
    "Where labels overlap, one is kept: a fall wins over everything; reading, writing, eating, drinking and "
    "exercising win over walking, standing, sitting and sleeping; among equals the label that starts later, then the "
    "one that ends earlier, then the class that comes first in the list of actions."
)

_AS_TYPED = {name: name for name in RANKS if name not in FALLS.values()}
_AS_TYPED |= {f"Falling ({code})": name for code, name in FALLS.items()}
_DESCRIPTION = (
    "GMDCSA24: phone videos of people at home, who go about their day (ADL) or fall (Fall). Split: {fold}. When which "
    "action happens is in the folder `segments`."
)
_LENGTH_TOLERANCE_S = 0.05


@dataclass(frozen=True)
class TableLine:
    """A line of a table: what it says about one video.

    Attributes:
        file: Path of the table, relative to the root.
        line: Number of the line in the table, from 1.
        labels: Labels that could be read.
        length_s: Length of the video as the table states it, in whole seconds; None where it is no number.
    """

    file: str
    line: int
    labels: list[TimedLabel]
    length_s: float | None = None


@dataclass(frozen=True)
class GMDCSA24:
    """A checked copy of GMDCSA24.

    Attributes:
        layout: The videos, checked.
        lines: Maps each video path to its line.
        notes: Notes about the labels of all tables, those of absent videos too.
    """

    layout: KnownLayout
    lines: dict[str, TableLine] = field(repr=False)
    notes: list[LabelNote] = field(repr=False)


def read_gmdcsa24(
    root: str | os.PathLike,
    leave_out: Sequence[str] = (),
    single_split: bool = False,
    allow_incomplete: bool = False,
    suffixes: Sequence[str] = VIDEO_SUFFIXES,
) -> GMDCSA24:
    """Check a copy of GMDCSA24. No video is opened.

    Args:
        root: Folder of the persons' folders.
        leave_out: Names of the persons to test on, each in a fold of its own; all where none are named.
        single_split: Whether all videos are in one split `all`, for `vidreason.study.leave_one_group_out`, which
            makes its folds itself.
        allow_incomplete: Whether to build from the videos that are there where others are missing.
        suffixes: Suffixes of video files; see `scan_video_tree`.

    Raises:
        ManifestError: naming what is missing, misplaced or contradictory.
    """
    if leave_out and single_split:
        raise ManifestError("give persons to leave out or a single split, not both")
    root = find_root(root, "GMDCSA24")
    problems = LayoutProblems(root, allow_incomplete)
    found = scan_video_tree(root, split_dirs=True, suffixes=suffixes)
    tables = _Tables(root, {video.path for video in found.videos})
    for person in sorted({video.split for video in found.videos if video.split is not None}):
        for class_name in CLASS_NAMES:
            tables.read(person, class_name)
    tables.tell(problems)
    tree = _with_labels(found, tables, problems)
    problems.check()
    groups = {video.path: video.split for video in tree.videos if video.split is not None}  # folders name all
    folds = {"all persons together": SplitAssignment(dict.fromkeys(groups, "all"))}
    if not single_split:
        folds = leave_one_person_out(groups, leave_out)
    layout = KnownLayout("gmdcsa24", tree, list(CLASS_NAMES), folds, groups, _DESCRIPTION, allow_incomplete)
    return GMDCSA24(layout, tables.lines, tables.notes)


def leave_one_person_out(groups: Mapping[str, str], persons: Sequence[str] = ()) -> dict[str, SplitAssignment]:
    """Folds `fold_<person>`: that person is `test`, all others are `train`.

    Args:
        groups: Maps each video path to its person.
        persons: Names of the persons to leave out; all where none are named.

    Raises:
        ManifestError: there is only one person, or none of a name.
    """
    known = sorted(set(groups.values()))
    if len(known) < 2:
        raise ManifestError(f"there are videos of {known}; leaving one person out takes at least two")
    chosen = list(dict.fromkeys(persons)) or known
    return {f"fold_{person.replace(' ', '_')}": split_by_groups(groups, {"test": [person]}) for person in chosen}


def build_gmdcsa24(data: GMDCSA24, args: LayoutArguments) -> tuple[dict[str, FolderReport], list[LabelNote]]:
    """Read the videos, write the manifests, and beside each the table of segments and the report of the labels.

    Returns:
        As `build_layout`, and all notes about labels: those of the tables, and those of their meeting with the videos.
    """
    root = data.layout.tree.root
    probe = TimedLabelProbe(args.probe(root), {path: line.labels for path, line in data.lines.items()}, RANKS)
    probed = probe_videos(probe, data.layout.paths, args.num_proc)
    met = [note for path, info in probed.items() for note in _notes_of(path, data.lines[path], info)]
    notes = sorted([*data.notes, *met], key=lambda note: (note.file, note.line))
    coverage = _describe_coverage(probed, notes)
    description = f"{data.layout.description}\n\n{OVERLAP_RULE} {coverage}"
    reports = write_folds(replace(data.layout, description=description), probed, args)
    for folder, report in reports.items():
        rows = {split: segment_rows(of["path"], probed) for split, of in report.manifest.splits.items()}
        segments = write_segments(folder, rows, list(RANKS), report.manifest.source)
        with (segments / "README.md").open("a", encoding="utf-8") as card:
            card.write(f"\n{OVERLAP_RULE} {coverage}\n")
        write_label_report(folder, notes)
    return reports, notes


def _notes_of(path: str, line: TableLine, info: Probed) -> list[LabelNote]:
    """What was found where a video met its labels."""
    if not isinstance(info, LabelledVideoInfo):
        return []
    findings = list(info.findings)
    least, most = (line.length_s or 0) - _LENGTH_TOLERANCE_S, (line.length_s or 0) + 1 + _LENGTH_TOLERANCE_S
    if line.length_s is not None and not least <= info.duration_s < most:  # lengths are rounded down
        findings.append(Finding(NOTED, "length", f"{line.length_s:g} s, the video has {info.duration_s:.2f} s"))
    return [LabelNote.of(line.file, line.line, path, finding) for finding in findings]


def _describe_coverage(probed: Mapping[str, Probed], notes: Sequence[LabelNote]) -> str:
    """How much of the videos has no label, and what the labels' errors were, for cards."""
    infos = [info for info in probed.values() if isinstance(info, LabelledVideoInfo)]
    whole_s = sum(info.duration_s for info in infos)
    none_s = sum(info.unlabelled_s for info in infos)
    tail_s = sum(info.after_last_label_s for info in infos)
    return (
        f"No label covers {none_s:.1f} of the {whole_s:.1f} seconds of all {len(infos)} videos; {tail_s:.1f} of them "
        f"come after a video's last label, which often ends at the video's length in whole seconds, rounded down. "
        f"`label_report.csv` tells each error in the labels and what was made of it: {count_notes(notes)}."
    )


def _with_labels(found: VideoTree, tables: _Tables, problems: LayoutProblems) -> VideoTree:
    """The videos that have a line in a table; others are among the skipped, and so are lines without a video."""
    misplaced = [video.path for video in found.videos if video.class_name not in CLASS_NAMES]
    silent = [v.path for v in found.videos if v.class_name in CLASS_NAMES and v.path not in tables.lines]
    problems.add_missing(f"{len(misplaced)} videos are in folders other than ADL and Fall", misplaced)
    problems.add_missing(f"{len(silent)} videos have no line of their own in a table", silent)
    skipped = [{"path": path, "reason": "no_class_folder", "detail": "expected ADL or Fall"} for path in misplaced]
    skipped += [{"path": path, "reason": "no_labels", "detail": "no line of its own in a table"} for path in silent]
    skipped += [
        {"path": p, "reason": "not_in_tree", "detail": f"labels in {file}"} for p, file in tables.absent.items()
    ]
    videos = [TreeVideo(v.path, v.class_name, v.split) for v in found.videos if v.path in tables.lines]
    if not videos:
        problems.add("no video has a line in a table")
    return replace(found, videos=videos, skipped=[*found.skipped, *skipped])


class _Tables:
    """Reads tables, and keeps what they say about which video."""

    def __init__(self, root: Path, paths: set[str]):
        self.root, self.paths = root, paths
        self.lines: dict[str, TableLine] = {}
        self.absent: dict[str, str] = {}  # path as it was to be expected -> table
        self.notes: list[LabelNote] = []
        self._missing: list[str] = []
        self._unreadable: list[str] = []
        self._reader = TimedLabelReader(_AS_TYPED)

    def tell(self, problems: LayoutProblems) -> None:
        """What is wrong with the tables and the videos that they name."""
        problems.add(f"{len(self._unreadable)} tables cannot be read", self._unreadable)
        problems.add_missing(f"{len(self._missing)} tables are not there", self._missing)
        absent = list(self.absent)
        problems.add_missing(f"{len(absent)} videos that the tables name are not there", absent)

    def read(self, person: str, class_name: str) -> None:
        """Read the table of a person's videos of one class."""
        name = f"{person}/{class_name}.csv"
        if not (self.root / name).is_file():
            self._missing.append(name)
            return
        try:
            text = (self.root / name).read_text(encoding="utf-8-sig")
            rows = csv.reader(text.splitlines())
            header = [field.strip().casefold() for field in next(rows, [])]
            if header[:1] != ["file name"] or header[-1] != "classes":
                self._unreadable.append(f"{name} (the first line is not `File Name, ..., Classes`)")
                return
            lines = [(rows.line_num, fields) for fields in rows if any(field.strip() for field in fields)]
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            self._unreadable.append(f"{name} ({error})")
            return
        taken: dict[str, int] = {}
        for line, fields in lines:
            self._read_line(name, line, header, fields, taken)

    def _read_line(self, name: str, line: int, header: list[str], fields: list[str], taken: dict[str, int]) -> None:
        folder = name.removesuffix(".csv")
        path, findings = self._find_path(folder, fields[0])
        labels: list[TimedLabel] = []
        if path is None:
            findings = [Finding(LEFT_OUT, "no_file_name", ",".join(fields))]
        elif path in taken:
            said = f"{fields[0].strip()} is on line {taken[path]} too"
            findings = [Finding(LEFT_OUT, "named_twice", said)]
            self.lines.pop(path, None)  # which of the two is meant cannot be told
        else:
            taken[path] = line
            text, more = _classes_of(fields, len(header))
            labels, found = self._reader.read(text)
            findings += [*more, *found]
            if not (labels or more or found):
                findings.append(Finding(LEFT_OUT, "no_classes", text.strip()))
            self._keep(path, TableLine(name, line, labels, _length_of(header, fields)))
        self.notes += [LabelNote.of(name, line, path or "", finding) for finding in findings]

    def _keep(self, path: str, line: TableLine) -> None:
        if path in self.paths:
            self.lines[path] = line
        else:
            self.absent[path] = line.file

    def _find_path(self, folder: str, typed: str) -> tuple[str | None, list[Finding]]:
        """The video that a line names, and whether its name was typed in another way."""
        typed = typed.strip()
        path = f"{folder}/{typed}"
        if path in self.paths:
            return path, []
        number = re.fullmatch(r"0*(\d+)\s*(?:\.\s*\w+)?", typed)
        if number is None:
            return (path, []) if typed else (None, [])
        for other in sorted(self.paths):
            place = PurePosixPath(other)
            if str(place.parent) == folder and place.stem.lstrip("0") == number[1]:
                return other, [Finding(CORRECTED, "file_name", typed, place.name)]
        return path, []


def _classes_of(fields: list[str], num_columns: int) -> tuple[str, list[Finding]]:
    """The text of labels in a line. Commas in a line that is not quoted make more columns than there should be."""
    if len(fields) < num_columns:
        return "", [Finding(LEFT_OUT, "columns", ",".join(fields))]
    if len(fields) == num_columns:
        return fields[-1], []
    # the labels begin in the first column that opens with a class and its times; without one, they are the last
    opening = re.compile(r"\s*[A-Za-z]+\s*(\([A-Za-z ]+\)?)?\s*\[\s*[\d.]")
    late = range(num_columns - 1, len(fields))
    first = next((column for column in late if opening.match(fields[column])), len(fields) - 1)
    text = ",".join(fields[first:])
    return text, [Finding(CORRECTED, "columns", ",".join(fields[num_columns - 2 :]), text.strip())]


def _length_of(header: list[str], fields: list[str]) -> float | None:
    column = next((position for position, name in enumerate(header) if name.startswith("length")), None)
    typed = fields[column].strip() if column is not None and column < len(fields) else ""
    return float(typed) if re.fullmatch(r"\d+(\.\d+)?", typed) else None
