"""Action Genome (Ji et al. 2020): what a person looks at, touches and has around in key frames of Charades' videos.

    object_bbox_and_relationship.pkl    "VIDEO.mp4/000001.png" -> [object, ...], each with
        class, visible                  and only where it is visible:
        bbox                            (x, y, width, height) in pixels
        attention_relationship, spatial_relationship, contacting_relationship       lists of names, or null
        metadata                        {"set": "train" or "test", ...}
    person_bbox.pkl                     "VIDEO.mp4/000001.png" -> bbox, an array (persons, 4) of corners x0, y0, x1,
                                        y1 in pixels by a detector, and bbox_size, the frame's (width, height)
    frame_list.txt                      all names of frames

The pickles are read as plain data, and nothing in them is run (`vidreason.plain_pickle`). Rules beside those of
`keyframes`:

- **Objects are x, y, width, height, persons are corners.**
- **Attention and contact are read from the person to the object, spatial relations from the object to the person**:
  "person holding bottle", "bottle in front of person", as the evaluations of this data set have it (STTran).
- Of several persons in a frame the first box, the detector's surest, is the one who acts.
- "unsure" and "other relationship" say nothing, and are dropped.
- Frame rates are not in the files.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import GraphError
from ...plain_pickle import StoredArray, read_plain_pickle
from ..graph import SceneGraph
from .keyframes import MAX_GAP_S, PERSON, GraphHead, KeyFrame, Statement, frame_index, keyframe_graph
from .reading import (
    ROUNDING_PX,
    ReadingReport,
    Unusable,
    finished,
    one_part,
    read_box,
    read_lines,
    read_list,
    read_mapping,
    read_name,
    short,
)
from .videos import KnownVideos, VideoFacts

SOURCE = "action_genome@1.0"
OBJECTS_FILE, PERSONS_FILE, FRAMES_FILE = "object_bbox_and_relationship.pkl", "person_bbox.pkl", "frame_list.txt"

MAX_INSTRUCTIONS = 150_000_000
"""Of the pickle of objects: a million entries of about 45 instructions each, and as many again to be safe."""

RELATION_LISTS = ("attention_relationship", "spatial_relationship", "contacting_relationship")
SAY_NOTHING = frozenset({"unsure", "other relationship"})
_SPLITS = {"train": "train", "test": "test"}

MAX_OBJECTS = 5_000_000
"""Most objects of all frames: a pickle can name one list many times, so that a small file is a long work."""

MAX_IN_FRAME = 1000
"""Most objects or persons of one frame, of 36 classes."""


@dataclass(frozen=True)
class ActionGenomeFiles:
    """The content of the files.

    Args:
        root: Folder of the files, for messages.
        frames: Name of each video -> the names of its frames, in the order of the file.
        objects: Name of each frame -> its objects.
        persons: Name of each frame -> its persons.
    """

    root: Path
    frames: Mapping[str, list[str]]
    objects: Mapping[str, Any]
    persons: Mapping[str, Any]


def open_action_genome(folder: str | os.PathLike, report: ReadingReport) -> ActionGenomeFiles:
    """Read the files of a release. The whole of them is in memory.

    Args:
        folder: Folder of the pickles; the list of frames may be missing, and so may the persons, who then have no box.
        report: Where entries that are of no frame are noted, and frames that are in the list alone.

    Raises:
        GraphError: A file cannot be read, would run code, or is none of Action Genome's.
    """
    root = Path(folder)
    objects = _read(root / OBJECTS_FILE)
    persons = _read(root / PERSONS_FILE) if (root / PERSONS_FILE).exists() else {}
    total = sum(len(entries) for entries in objects.values() if isinstance(entries, list))
    if total > MAX_OBJECTS:
        raise GraphError(f"{root / OBJECTS_FILE}: {total:,} objects, expected at most {MAX_OBJECTS:,}")
    frames: dict[str, list[str]] = defaultdict(list)
    for name in objects:
        video, slash, _ = name.rpartition("/") if isinstance(name, str) else ("", "", "")
        if slash and video and name.isprintable():
            frames[video.removesuffix(".mp4")].append(name)
        else:
            report.note("graphs", "entry_of_no_frame", f"{root / OBJECTS_FILE}: {short(name)}")
    if not frames:
        raise GraphError(f"{root / OBJECTS_FILE}: no frame of any video, such as '00607.mp4/000027.png'")
    for name in read_lines(root / FRAMES_FILE):
        if name not in objects:
            report.note("graphs", "frame_in_the_list_alone", f"{root / FRAMES_FILE}: {short(name)}")
    return ActionGenomeFiles(root, dict(frames), objects, persons)


def _read(path: Path) -> Mapping[Any, Any]:
    content = read_plain_pickle(path, GraphError, MAX_INSTRUCTIONS)
    if not isinstance(content, Mapping):
        raise GraphError(f"{path}: {type(content).__name__}, expected frame: objects")
    return content


def split_of_videos(files: ActionGenomeFiles, split: str, known: KnownVideos | None = None) -> dict[str, list[str]]:
    """The videos of each split, by name.

    Args:
        files: The files.
        split: Split of videos of which nothing says it.
        known: Videos whose split is known, which goes before the file's own `train` and `test`.
    """
    videos: dict[str, list[str]] = defaultdict(list)
    for video, frames in files.frames.items():
        own = _own_split(files, frames) or split
        videos[known.split_of(video, own) if known else own].append(video)
    return dict(videos)


def _own_split(files: ActionGenomeFiles, frames: list[str]) -> str:
    """What most objects of a video say."""
    said: Counter[str] = Counter()
    for name in frames:
        objects = files.objects[name]
        for entry in objects if isinstance(objects, list) else []:
            metadata = entry.get("metadata") if isinstance(entry, Mapping) else None
            found = metadata.get("set") if isinstance(metadata, Mapping) else None
            if isinstance(found, str) and found in _SPLITS:
                said[_SPLITS[found]] += 1
    return min(said, key=lambda name: (-said[name], name)) if said else ""


def read_action_genome(
    files: ActionGenomeFiles,
    videos: list[str],
    split: str,
    report: ReadingReport,
    known: KnownVideos,
    only_known: bool = False,
    max_gap_s: float = MAX_GAP_S,
) -> Iterator[SceneGraph]:
    """The graphs of videos, one for each.

    Args:
        files: The files.
        videos: Names of the videos.
        split: Split of the graphs.
        report: Counts, which grow while the graphs are taken.
        known: Frame rates of the videos; a video without one cannot be used.
        only_known: Whether videos that are not in the manifest are dropped.
        max_gap_s: Longest time in seconds between key frames over which a statement holds on.
    """
    for video in videos:
        report.seen["graphs"] += 1
        part = ReadingReport()
        try:
            facts = _facts(files, video, known, only_known)
            graph = _graph(files, video, facts, split, part, max_gap_s)
        except Unusable as problem:
            report.drop("graphs", problem.reason, f"{files.root / OBJECTS_FILE}: {video}: {problem.detail}")
            continue
        report.kept["graphs"] += 1
        report.merge(part)
        yield graph


def _facts(files: ActionGenomeFiles, video: str, known: KnownVideos, only_known: bool) -> VideoFacts:
    """What is known of a video; its size, where nothing else says it, is that of the persons' boxes."""
    found = known.find(video)
    if found is None and only_known:
        raise Unusable("unknown_video", "it is not among the videos")
    if found is None or not found.frames_per_second:
        raise Unusable("no_frame_rate", "its frame rate is not known")
    sizes = {_frame_size(files.persons[name]) for name in files.frames[video] if name in files.persons} - {None}
    if len(sizes) > 1:
        raise Unusable("other_shape", f"its frames have several sizes: {sorted(map(str, sizes))[:3]}")
    width, height = next(iter(sizes), None) or (found.frame_width, found.frame_height)
    rate, frames = found.frames_per_second, found.num_frames
    return VideoFacts(found.video_id, found.split, rate, height, width, frames)


def _frame_size(person: Any) -> tuple[int, int] | None:
    """Width and height that the boxes of persons were found in."""
    size = person.get("bbox_size") if isinstance(person, Mapping) else None
    try:
        size = _numbers(size, 2)
    except Unusable:
        return None
    if not isinstance(size, tuple | list) or len(size) != 2:
        return None
    whole = all(isinstance(side, int) and not isinstance(side, bool) and 0 < side < 2**31 for side in size)
    return (size[0], size[1]) if whole else None


def _graph(
    files: ActionGenomeFiles, video: str, facts: VideoFacts, split: str, report: ReadingReport, max_gap_s: float
) -> SceneGraph:
    frames: dict[int, KeyFrame] = {}
    for name in files.frames[video]:
        index = frame_index(name.rpartition("/")[2])
        if facts.num_frames and index >= facts.num_frames:
            raise Unusable("beyond_the_video", f"frame {name} of a video of {facts.num_frames} frames")
        if index in frames:
            raise Unusable("id_twice", f"frame {name} stands twice")
        where = f"{files.root / OBJECTS_FILE}: {name}"
        frame = frames[index] = KeyFrame(classes=[PERSON])
        if name in files.persons:
            _add_persons(frame, files.persons[name], facts, report, f"{files.root / PERSONS_FILE}: {name}")
        objects = read_list(files.objects[name], f"frame {name}")
        if len(objects) > MAX_IN_FRAME:
            raise Unusable("malformed", f"frame {name} has {len(objects)} objects, expected at most {MAX_IN_FRAME}")
        for number, entry in enumerate(objects):
            _add_object(frame, entry, facts, report, f"{where}[{number}]")
    graph = keyframe_graph(GraphHead(facts.video_id, SOURCE, split, "action_genome", facts), frames, max_gap_s)
    report.add_named_objects(graph)
    return finished(graph, str(files.root))


def _add_persons(frame: KeyFrame, person: Any, facts: VideoFacts, report: ReadingReport, where: str) -> None:
    """The first box that can be used is that of the person who acts."""
    try:
        boxes = _person_boxes(person)
    except Unusable as problem:
        report.seen["boxes"] += 1
        report.drop("boxes", problem.reason, f"{where}: {problem.detail}")
        return
    report.seen["boxes"] += len(boxes)
    for numbers in boxes:
        with one_part(report, "boxes", where):
            if PERSON in frame.boxes:
                raise Unusable("another_person", "")
            _check_size(facts)
            frame.boxes[PERSON] = read_box(_numbers(numbers, 4), facts.frame_height, facts.frame_width, report, where)


def _person_boxes(person: Any) -> list[Any]:
    person = read_mapping(person, "the persons", ("bbox",))
    mode = person.get("bbox_mode", "xyxy")
    if mode != "xyxy":
        raise Unusable("malformed", f"boxes of persons are {short(mode)}, expected 'xyxy'")
    boxes = _numbers(person["bbox"], 4 * MAX_IN_FRAME)
    if not isinstance(boxes, list | tuple) or len(boxes) > MAX_IN_FRAME:
        raise Unusable("malformed", f"boxes of persons are {short(boxes)}")
    return list(boxes)


def _numbers(value: Any, max_size: int) -> Any:
    """An array as lists; any other value as it is.

    Raises:
        Unusable: The array has no content, or more numbers than `max_size`.
    """
    if not isinstance(value, StoredArray):
        return value
    try:
        array = value.array
    except ValueError as error:
        raise Unusable("malformed", str(error)) from error
    if array.size > max_size:  # one array can be named many times
        raise Unusable("malformed", f"{array.size} numbers, expected at most {max_size}")
    return array.tolist()


def _add_object(frame: KeyFrame, entry: Any, facts: VideoFacts, report: ReadingReport, where: str) -> None:
    """An object's box and relations. What is not visible has neither, and is said to be so."""
    report.seen["boxes"] += 1
    name = ""
    with one_part(report, "boxes", where):
        entry = read_mapping(entry, "an object", ("class", "visible"))
        name = read_name(entry["class"], "class")
        if not entry["visible"]:
            name = ""
            raise Unusable("not_visible", "")
        frame.classes.append(name)
        if name in frame.boxes:
            raise Unusable("class_twice", f"{name!r} has another box in this frame")
        _check_size(facts)
        numbers = _corners(entry.get("bbox"))
        frame.boxes[name] = read_box(numbers, facts.frame_height, facts.frame_width, report, where)
    if name:
        _add_relations(frame, name, entry, report, where)


def _check_size(facts: VideoFacts) -> None:
    if not facts.frame_height or not facts.frame_width:
        raise Unusable("no_frame_size", f"the size of {facts.video_id!r} is not known")


def _corners(box: Any) -> tuple[float, float, float, float]:
    """(x, y, width, height) as corners."""
    box = _numbers(box, 4)
    if box is None:
        raise Unusable("no_box", "")
    try:
        x, y, width, height = map(float, box)
    except (TypeError, ValueError, OverflowError):
        raise Unusable("malformed", f"box {short(box)}, expected x, y, width, height") from None
    if width < ROUNDING_PX or height < ROUNDING_PX:
        raise Unusable("inverted_or_empty", f"box {x:g}, {y:g} of {width:g} x {height:g}")
    return x, y, x + width, y + height


def _add_relations(frame: KeyFrame, name: str, entry: Mapping[str, Any], report: ReadingReport, where: str) -> None:
    for kind in RELATION_LISTS:
        said = entry.get(kind)
        if said is None:
            continue
        names = said if isinstance(said, list) else [said]
        if len(names) > MAX_IN_FRAME:
            raise Unusable("malformed", f"{name!r} has {len(names)} relations, expected at most {MAX_IN_FRAME}")
        report.seen["relations"] += len(names)
        for predicate in names:
            with one_part(report, "relations", f"{where}: {kind}"):
                predicate = read_name(predicate, "predicate")
                if predicate in SAY_NOTHING:
                    raise Unusable("says_nothing", predicate)
                ends = (name, PERSON) if kind == "spatial_relationship" else (PERSON, name)
                frame.statements.append(Statement(ends[0], predicate, ends[1]))
