"""STAR (Wu et al. 2021): situations, which are the relations, boxes and actions of a question's key frames.

    STAR_train.json, STAR_val.json, STAR_test.json      a list of questions, each with
        question_id, video_id, start, end
        situations     frame name -> rel_pairs   [[class, class], ...]
                                     rel_labels  [relation, ...], one for each pair, read from the first to the second
                                     bbox        [[x0, y0, x1, y1] or null, ...] in pixels
                                     bbox_labels [class, ...], one for each box
                                     actions     [action, ...]
    object_classes.txt, relationship_classes.txt, action_classes.txt, action_mapping.txt        the names of all ids

A file may also hold one such question, or map ids to questions, with names in place of the ids (`teaser_questions`).

Rules beside those of `keyframes`:

- **Boxes are corners, x0, y0, x1, y1**, although STAR's objects come from Action Genome, which has x, y, w, h: STAR's
  drawing tool takes them so, and in the published item 9 of 19 boxes would leave the frame as x, y, w, h.
- Directions are STAR's own: it writes every relation from the person to the object, also those that Action Genome
  says of the object ("bottle in front of person").
- A graph is a question's, since the same frame has other actions in other questions; `by_video` joins them.
- Frame rate and size are not in the file. Without a rate a question cannot be used; without a size its boxes cannot.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...errors import GraphError
from ...plain_json import read_plain_json
from ..graph import SceneGraph
from ..schema import plain_name
from .keyframes import MAX_GAP_S, GraphHead, KeyFrame, Statement, frame_index, keyframe_graph
from .reading import (
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

SOURCE = "star@1.0"

SPLIT_FILES = {"STAR_train.json": "train", "STAR_val.json": "validation", "STAR_test.json": "test"}
"""File of the release -> name of the split."""

CLASS_FILES = {"o": "object_classes.txt", "r": "relationship_classes.txt", "a": "action_classes.txt"}
MAPPING_FILE = "action_mapping.txt"

_ID = re.compile(r"[ora]\d{3}")
_LINE = re.compile(r"([ora]\d{3})\s+(\S.*)")
_NOTHING = "None"  # object of actions that have none


@dataclass(frozen=True)
class StarClasses:
    """What STAR's ids stand for.

    Args:
        names: Id of an object class, relation or action -> its name.
        object_of: Id of an action -> id of the class that it is done to.
    """

    names: Mapping[str, str] = field(default_factory=dict)
    object_of: Mapping[str, str] = field(default_factory=dict)

    def name(self, label: Any, what: str) -> str:
        """The name of an id; a label that is no id is a name already.

        Raises:
            Unusable: There is no such id, or it is no text.
        """
        if isinstance(label, str) and _ID.fullmatch(label):
            if label not in self.names:
                raise Unusable("unknown_class", f"{what} {label!r} is in none of STAR's lists")
            return self.names[label]
        return read_name(label, what)


def read_star_classes(folder: str | os.PathLike) -> StarClasses:
    """The lists of classes of a release.

    Args:
        folder: Folder of the four files. Those that are not there name nothing.

    Raises:
        GraphError: A line is none of such a list, or an id stands twice.
    """
    names: dict[str, str] = {}
    for file_name in CLASS_FILES.values():
        path = Path(folder) / file_name
        for line in read_lines(path):
            match = _LINE.fullmatch(line)
            if not match or match[1] in names:
                raise GraphError(f"{path}: {line[:80]!r} is no <id> <name>, or has the id of another line")
            names[match[1]] = plain_name(match[2])
    mapping = {}
    path = Path(folder) / MAPPING_FILE
    for line in read_lines(path):
        parts = line.split()
        if len(parts) != 3:
            raise GraphError(f"{path}: {line[:80]!r} is no <action> <verb> <object>")
        mapping[parts[0]] = parts[2]
    return StarClasses(names, {action: of for action, of in mapping.items() if of in names and of != _NOTHING})


@dataclass(frozen=True)
class StarSettings:
    """How STAR's situations are read.

    Args:
        classes: What its ids stand for.
        known: Frame rates and sizes of the videos.
        only_known: Whether questions on videos that are not in the manifest are dropped.
        by_video: Whether the situations of all questions on a video make one graph, with the id of the video.
        allow_trailing_commas: Whether a comma before a closing bracket is read over.
        max_gap_s: Longest time in seconds between key frames over which a statement holds on.
    """

    classes: StarClasses = field(default_factory=StarClasses)
    known: KnownVideos = field(default_factory=KnownVideos)
    only_known: bool = False
    by_video: bool = False
    allow_trailing_commas: bool = False
    max_gap_s: float = MAX_GAP_S


def star_files(root: str | os.PathLike, split: str = "train") -> dict[str, Path]:
    """The file of each split of a release.

    Args:
        root: A file, or the folder with any of `SPLIT_FILES`.
        split: Split of a file with another name.

    Raises:
        GraphError: There is no such file or folder, or none of its files.
    """
    root = Path(root)
    if root.is_file():
        return {SPLIT_FILES.get(root.name, split): root}
    found = {name: root / file for file, name in SPLIT_FILES.items() if (root / file).is_file()}
    if not found:
        raise GraphError(f"{root}: no such file, or no folder with any of {', '.join(SPLIT_FILES)}")
    return found


def read_star(
    path: str | os.PathLike, split: str, report: ReadingReport, settings: StarSettings | None = None
) -> Iterator[SceneGraph]:
    """The graphs of a file, one for each question, or one for each video.

    The file is in memory as a whole. What cannot be used of it is counted.

    Args:
        path: The file.
        split: Split of the graphs; a manifest's own goes before it.
        report: Counts, which grow while the graphs are taken. A graph that is joined of several questions is counted
            as so many.
        settings: Class names and the videos.

    Raises:
        GraphError: The file cannot be read, or holds no questions.
    """
    settings = settings or StarSettings()
    content = read_plain_json(path, GraphError, allow_trailing_commas=settings.allow_trailing_commas)
    questions = _questions(content, path)
    report.seen["graphs"] += len(questions)
    groups = _grouped(questions, settings, report, str(path))
    seen: set[str] = set()
    for name, items in groups:
        part = ReadingReport()
        try:
            graph = _graph(name, items, split, settings, part, str(path))
            if graph is not None and graph.graph_id in seen:
                raise Unusable("id_twice", f"{path}: {graph.graph_id}")
        except Unusable as problem:
            report.drop("graphs", problem.reason, problem.detail, len(items))
            continue
        report.merge(part)
        if graph is not None:
            seen.add(graph.graph_id)
            yield graph


def _questions(content: Any, path: str | os.PathLike) -> list[Any]:
    if isinstance(content, Mapping):
        content = [content] if "situations" in content else list(content.values())
    items = content if isinstance(content, list) else []
    if not any(isinstance(item, Mapping) and "situations" in item for item in items):
        raise GraphError(f"{path}: none of STAR's files: no question with 'situations'")
    return items


def _grouped(
    questions: list[Any], settings: StarSettings, report: ReadingReport, where: str
) -> Iterable[tuple[str, list[Mapping[str, Any]]]]:
    """Questions by the graph that they are part of; what is no question at all is counted here."""
    key = "video_id" if settings.by_video else "question_id"
    groups: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    singles: list[tuple[str, list[Mapping[str, Any]]]] = []
    for number, item in enumerate(questions):
        try:
            item = read_mapping(item, f"question {number}", ("question_id", "video_id", "situations"))
            name = item[key]
            if not isinstance(name, str) or not name or len(name) > 200 or not name.isprintable():
                raise Unusable("malformed", f"{key} of question {number} is {short(name)}")
        except Unusable as problem:
            report.drop("graphs", problem.reason, f"{where}: {problem.detail}")
            continue
        if settings.by_video:
            groups[name].append(item)
        else:
            singles.append((name, [item]))
    return groups.items() if settings.by_video else singles


def _graph(
    name: str,
    items: list[Mapping[str, Any]],
    split: str,
    settings: StarSettings,
    report: ReadingReport,
    path: str,
) -> SceneGraph | None:
    """The graph of some questions on one video; None where none of them can be used, as the report then says."""
    frames: dict[int, KeyFrame] = {}
    facts: VideoFacts | None = None
    for item in items:
        part = ReadingReport()
        with one_part(report, "graphs", path):
            with _in_question(item):
                facts = _facts(item["video_id"], settings)
                found = _frames(item["situations"], facts, settings.classes, part, f"{path}: {item['question_id']}")
            report.merge(part)
            for index, frame in found.items():
                frames.setdefault(index, KeyFrame()).add(frame)
    if facts is None or not report.kept["graphs"]:
        return None
    graph_id = facts.video_id if settings.by_video else name
    head = GraphHead(graph_id, SOURCE, facts.split or split, "star", facts)
    graph = keyframe_graph(head, frames, settings.max_gap_s)
    report.add_named_objects(graph)
    return finished(graph, path)


@contextmanager
def _in_question(item: Mapping[str, Any]) -> Iterator[None]:
    """Around what is done with a question: complaints name it."""
    try:
        yield
    except Unusable as problem:
        raise Unusable(problem.reason, f"{str(item['question_id'])[:80]}: {problem.detail}") from problem


def _frames(
    situations: Any, facts: VideoFacts, classes: StarClasses, report: ReadingReport, where: str
) -> dict[int, KeyFrame]:
    """Decode index -> what is said of that frame.

    Raises:
        Unusable: A situation is no such thing, or of a frame that the video does not have.
    """
    frames: dict[int, KeyFrame] = {}
    for name, situation in read_mapping(situations, "situations").items():
        index = frame_index(name)
        if facts.num_frames and index >= facts.num_frames:
            raise Unusable("beyond_the_video", f"frame {name} of a video of {facts.num_frames} frames")
        if index in frames:
            raise Unusable("id_twice", f"frame {name} stands twice")
        frames[index] = _key_frame(situation, name, classes, facts, report, f"{where}: frame {name}")
    return frames


def _facts(name: Any, settings: StarSettings) -> VideoFacts:
    if not isinstance(name, str) or not name:
        raise Unusable("malformed", f"video_id is {short(name)}")
    found = settings.known.find(name)
    if found is None and settings.only_known:
        raise Unusable("unknown_video", f"{name[:80]!r} is not among the videos")
    if found is None or not found.frames_per_second:
        raise Unusable("no_frame_rate", f"the frame rate of {name[:80]!r} is not known")
    return found


def _key_frame(
    situation: Any, name: str, classes: StarClasses, facts: VideoFacts, report: ReadingReport, where: str
) -> KeyFrame:
    """What a situation says of its frame; a relation, box or action that cannot be used is counted.

    Raises:
        Unusable: The situation as a whole cannot be: nobody can say which label is which thing's.
    """
    situation = read_mapping(situation, f"frame {name}", ("rel_pairs", "rel_labels"))
    pairs, labels = (read_list(situation[key], f"{key} of frame {name}") for key in ("rel_pairs", "rel_labels"))
    boxes, named = (read_list(situation.get(key) or [], f"{key} of frame {name}") for key in ("bbox", "bbox_labels"))
    actions = read_list(situation.get("actions") or [], f"actions of frame {name}")
    for parts, of, what in ((pairs, labels, "relations"), (boxes, named, "boxes")):
        if len(parts) != len(of) and (parts or what == "relations"):
            raise Unusable("counts_differ", f"frame {name} has {len(parts)} {what} with {len(of)} labels")
    frame = KeyFrame()
    report.seen.update(relations=len(pairs), boxes=len(boxes), actions=len(actions))
    for pair, label in zip(pairs, labels, strict=True):
        with one_part(report, "relations", where):
            frame.statements.append(_statement(pair, label, classes))
    for numbers, label in zip(boxes, named if boxes else [], strict=True):
        with one_part(report, "boxes", where):
            _add_box(frame, numbers, classes.name(label, "class"), facts, report, where)
    for label in actions:
        with one_part(report, "actions", where):
            done_to = classes.object_of.get(label) if isinstance(label, str) else None
            frame.actions[classes.name(label, "action")] = (classes.names[done_to],) if done_to else ()
    return frame


def _statement(pair: Any, label: Any, classes: StarClasses) -> Statement:
    ends = read_list(pair, "a pair")
    if len(ends) != 2:
        raise Unusable("malformed", f"a pair of {len(ends)}")
    subject, other = (classes.name(end, "class") for end in ends)
    if subject == other:
        raise Unusable("with_itself", f"{subject!r} and itself")
    return Statement(subject, classes.name(label, "relation"), other)


def _add_box(frame: KeyFrame, numbers: Any, name: str, facts: VideoFacts, report: ReadingReport, where: str) -> None:
    frame.classes.append(name)
    if numbers is None:
        raise Unusable("no_box", f"of {name!r}")
    if not facts.frame_height or not facts.frame_width:
        raise Unusable("no_frame_size", f"the size of {facts.video_id!r} is not known")
    box = read_box(numbers, facts.frame_height, facts.frame_width, report, where)
    if name in frame.boxes and frame.boxes[name] != box:
        raise Unusable("class_twice", f"{name!r} has another box in this frame")
    frame.boxes[name] = box
