"""Something-Something v2 (Goyal et al. 2017): people act out templates with objects of their own.

    20bn-something-something-v2/<id>.webm      220,847 videos side by side
    labels/labels.json                         {"Holding something next to something": "<id from 0>", ...}
    labels/train.json, validation.json         [{"id", "label" (the filled-in sentence), "template", "placeholders"}]
    labels/test.json                           [{"id"}]
    labels/test-answers.csv                    optional lines of "<id>;<class name>"

Older copies have `something-something-v2-` in front of the names of the JSON files.
"""

from __future__ import annotations

import csv
import json
import os
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from ...errors import ManifestError
from ...video.probe import VIDEO_SUFFIXES
from ..captions import write_captions
from ..manifest import video_id_of
from ..splits import SplitAssignment
from ..video_folder import FolderReport, TreeVideo, VideoTree
from .known import KnownLayout, LayoutArguments, LayoutProblems, build_layout, find_root, scan_flat_videos

NUM_CLASSES = 174
SPLITS = ("train", "validation", "test")

_PREFIXES = ("", "something-something-v2-")
_DESCRIPTION = (
    "Something-Something v2 (Goyal et al., 2017). The class is the template without its brackets, with the ids of "
    "labels.json; the filled-in sentences are in `captions.jsonl`."
)


class Entry(NamedTuple):
    """One video of the lists. Test videos have a class only."""

    video_id: str
    class_name: str
    caption: str = ""
    template: str = ""
    placeholders: tuple[str, ...] = ()


@dataclass(frozen=True)
class SomethingSomething:
    """A checked copy of Something-Something v2: the videos, and split -> what its list says of them."""

    layout: KnownLayout
    entries: dict[str, list[Entry]] = field(repr=False)


@dataclass(frozen=True)
class _Lists:
    """Split -> entries, and the ids of test videos whose class is not known."""

    entries: dict[str, list[Entry]]
    unlabelled: list[str]


def read_something_something_v2(
    root: str | os.PathLike,
    labels: str | os.PathLike | None = None,
    splits: Sequence[str] = SPLITS,
    allow_incomplete: bool = False,
    suffixes: Sequence[str] = VIDEO_SUFFIXES,
) -> SomethingSomething:
    """Check a copy of Something-Something v2 against its JSON. No video is opened.

    Test videos are left out where `test-answers.csv` is not there: without a class they fit no manifest.

    Args:
        root: Folder of videos, or the one that holds `20bn-something-something-v2`.
        labels: Folder of the JSON files; by default `labels` in the root or beside the folder of videos, or the root
            itself.
        splits: Any of train, validation and test; the lists of others need not be there.
        allow_incomplete: Whether to build from the videos that are there where others are missing.
        suffixes: Suffixes of video files; see `scan_video_tree`.

    Raises:
        ManifestError: naming what is missing, misplaced or contradictory.
    """
    if not splits or not set(splits) <= set(SPLITS):
        raise ManifestError(f"Something-Something has the splits {', '.join(SPLITS)}, got {list(splits)}")
    given, root = Path(root), find_root(root, "20bn-something-something-v2")
    folder = _find_labels(given, labels)
    problems = LayoutProblems(root, allow_incomplete)
    class_names = _read_class_names(_find_file(folder, "labels.json"), problems)
    lists = _read_lists(folder, splits, set(class_names), problems)
    layout = _match(root, class_names, lists, problems, suffixes)
    return SomethingSomething(layout, lists.entries)


def build_something_something_v2(data: SomethingSomething, args: LayoutArguments) -> dict[str, FolderReport]:
    """Read the videos, write the manifest, and beside it `captions.jsonl`. As `build_layout`."""
    reports = build_layout(data.layout, args)
    for folder, report in reports.items():
        write_captions(folder, _captions(data.entries, report))
    return reports


def _captions(entries: Mapping[str, Sequence[Entry]], report: FolderReport) -> Iterator[dict[str, Any]]:
    """Captions of the videos that are in the manifest."""
    for split, rows in report.manifest.splits.items():
        kept = set(rows["video_id"])
        for entry in entries[split]:
            if entry.video_id in kept and entry.caption:
                yield {**entry._asdict(), "split": split}


def _find_labels(root: Path, labels: str | os.PathLike | None) -> Path:
    if labels is not None:
        if not Path(labels).is_dir():
            raise ManifestError(f"{labels}: no such folder of Something-Something's JSON files")
        return Path(labels)
    places = [root / "labels", root.parent / "labels", root]
    found = [place for place in places if any((place / f"{prefix}labels.json").is_file() for prefix in _PREFIXES)]
    if not found:
        raise ManifestError(f"{root}: no labels/labels.json in it or beside it; give the folder of the JSON files")
    return found[0]


def _find_file(folder: Path, name: str) -> Path:
    places = [folder / f"{prefix}{name}" for prefix in _PREFIXES]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise ManifestError(f"{folder}: neither {' nor '.join(place.name for place in places)} is in it")
    return found


def _read_json(file: Path, kind: type) -> Any:
    try:
        value = json.loads(file.read_text(encoding="utf-8-sig"))
    except json.JSONDecodeError as error:
        raise ManifestError(
            f"{file}: broken JSON in line {error.lineno}, column {error.colno} ({error.msg})"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ManifestError(f"{file}: cannot be read ({error})") from error
    if not isinstance(value, kind):
        names: dict[type, str] = {dict: "an object", list: "a list"}
        raise ManifestError(f"{file}: holds {names.get(type(value), type(value).__name__)}, expected {names[kind]}")
    return value


def _read_class_names(file: Path, problems: LayoutProblems) -> list[str]:
    """Class names in the order of their ids."""
    id_of = _read_json(file, dict)
    strange = [name for name, label in id_of.items() if not str(label).isdecimal()]
    if strange:
        raise ManifestError(f"{file}: the id of {strange[0]!r} is {id_of[strange[0]]!r}, expected a number")
    name_of = {int(label): name for name, label in id_of.items()}
    missing = [label for label in range(len(id_of)) if label not in name_of]
    if missing or not id_of:
        raise ManifestError(f"{file}: the ids do not count from 0 without a gap; missing: {missing[:5]}")
    if len(id_of) != NUM_CLASSES:
        problems.add_missing(f"{file.name} has {len(id_of)} classes, Something-Something v2 has {NUM_CLASSES}")
    return [name_of[label] for label in range(len(id_of))]


def _read_lists(folder: Path, splits: Sequence[str], known: set[str], problems: LayoutProblems) -> _Lists:
    entries: dict[str, list[Entry]] = {}
    unlabelled: list[str] = []
    for split in (split for split in SPLITS if split in splits):
        file = _find_file(folder, f"{split}.json")
        if split == "test":
            answers = _read_answers(folder / "test-answers.csv", known, problems)
            entries[split], unlabelled = _read_test(file, answers, problems)
        else:
            entries[split] = _read_entries(file, known, problems)
    # the answers were published years after the lists, so older copies lack them
    if list(entries) == ["test"] and not entries["test"]:
        raise ManifestError(f"{folder}: the test split alone needs test-answers.csv, for the classes of its videos")
    counts = Counter(entry.video_id for of in entries.values() for entry in of) + Counter(unlabelled)
    repeated = [video_id for video_id, count in counts.items() if count > 1]
    problems.add(f"{len(repeated)} ids are in the lists twice", repeated)
    return _Lists({split: of for split, of in entries.items() if of or split != "test"}, unlabelled)


def _read_entries(file: Path, known: set[str], problems: LayoutProblems) -> list[Entry]:
    entries, malformed, unknown = [], [], []
    for row in _read_json(file, list):
        try:
            # ids are numbers in some copies; a template is shared by a thousand rows, so its text is kept once
            video_id, caption, template = str(row["id"]), str(row["label"]), sys.intern(row["template"])
            placeholders = tuple(map(str, row["placeholders"]))
        except (KeyError, TypeError):
            malformed.append(json.dumps(row, ensure_ascii=False)[:100])
            continue
        name = class_name_of(template)
        if name in known:
            entries.append(Entry(video_id, sys.intern(name), caption, template, placeholders))
        else:
            unknown.append(f"{video_id} {name}")
    problems.add(f"{file.name} has {len(malformed)} entries without id, label, template and placeholders", malformed)
    problems.add(f"{file.name} has {len(unknown)} templates that labels.json lacks", unknown)
    return entries


def class_name_of(template: str) -> str:
    """The class of a template: `Putting [number of] [something] onto [something]` without the brackets."""
    return template.replace("[", "").replace("]", "")


def _read_test(
    file: Path, answers: Mapping[str, str] | None, problems: LayoutProblems
) -> tuple[list[Entry], list[str]]:
    """The entries of test videos whose class is known, and the ids of the others."""
    rows = _read_json(file, list)
    malformed = [json.dumps(row)[:100] for row in rows if not isinstance(row, dict) or "id" not in row]
    problems.add(f"{file.name} has {len(malformed)} entries without id", malformed)
    ids = [str(row["id"]) for row in rows if isinstance(row, dict) and "id" in row]
    if answers is None:
        return [], ids
    unknown = sorted(set(answers) - set(ids))
    problems.add(f"test-answers.csv has {len(unknown)} ids that {file.name} lacks", unknown)
    unanswered = [video_id for video_id in ids if video_id not in answers]
    problems.add_missing(f"test-answers.csv lacks {len(unanswered)} ids of {file.name}", unanswered)
    return [Entry(video_id, answers[video_id]) for video_id in ids if video_id in answers], unanswered


def _read_answers(file: Path, known: set[str], problems: LayoutProblems) -> dict[str, str] | None:
    """Id -> class of test videos; None where there is no such file."""
    if not file.is_file():
        return None
    answers: dict[str, str] = {}
    malformed, unknown = [], []
    with file.open(encoding="utf-8-sig", newline="") as lines:
        for row in csv.reader(lines, delimiter=";", quoting=csv.QUOTE_NONE):
            if len(row) != 2:
                malformed.append(";".join(row))
            elif row[1] not in known:
                unknown.append(" ".join(row))
            else:
                answers[row[0]] = sys.intern(row[1])
    problems.add(f"{file.name} has {len(malformed)} lines that are not <id>;<class name>", malformed)
    problems.add(f"{file.name} has {len(unknown)} classes that labels.json lacks", unknown)
    return answers


def _match(
    root: Path, class_names: list[str], lists: _Lists, problems: LayoutProblems, suffixes: Sequence[str]
) -> KnownLayout:
    """Videos and lists; the videos of test ids without a class are among the skipped."""
    found = scan_flat_videos(root, (".webm", *suffixes), "<id>.webm")
    path_of = {video_id_of(path): path for path in found.paths}
    split_of: dict[str, str] = {}
    class_of: dict[str, str] = {}
    unknown: dict[str, list[str]] = {}
    for split, entries in lists.entries.items():
        absent = [entry.video_id for entry in entries if entry.video_id not in path_of]
        problems.add_missing(f"{len(absent)} of {len(entries)} videos of {split} are not there", absent)
        unknown |= {split: absent} if absent else {}
        for entry in entries:
            if entry.video_id in path_of:
                split_of[path_of[entry.video_id]] = split
                class_of[path_of[entry.video_id]] = entry.class_name
    empty = sorted(set(class_names) - set(class_of.values()))
    problems.add_missing(f"{len(empty)} of {len(class_names)} classes have no video", empty)
    problems.check()
    unlabelled = [path_of[video_id] for video_id in lists.unlabelled if video_id in path_of]
    skipped = [{"path": path, "reason": "no_label", "detail": "a test video without an answer"} for path in unlabelled]
    left = set(path_of.values()) - set(split_of) - set(unlabelled)
    tree = VideoTree(
        root, [TreeVideo(path, name) for path, name in class_of.items()], found.skipped + skipped, found.ignored
    )
    assignment = SplitAssignment(split_of, sorted(left), unknown)
    return KnownLayout(
        "something-something-v2", tree, class_names, {"": assignment}, {}, _DESCRIPTION, problems.allow_incomplete
    )
