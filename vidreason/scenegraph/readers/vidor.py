"""VidOR (Shang et al. 2019): objects with a box in every frame, and relations between them in intervals.

    <training or validation>/<group>/<video>.json
        video_id, video_path, frame_count, fps, width, height
        subject/objects      [{tid, category}, ...]
        trajectories         a list with one list for each frame: [{tid, bbox: {xmin, ymin, xmax, ymax}, generated}]
        relation_instances   [{subject_tid, object_tid, predicate, begin_fid, end_fid}, ...]

Rules of frames and boxes, each tested on the two files in the shared data:

- Frame numbers count from 0, so that frame N is decode index N; its time is N / fps.
- **`end_fid` is exclusive**: the relation holds in the frames begin_fid <= N < end_fid. The release's own tools
  disagree (VidVRD-helper: `dataset/dataset.py` takes it as exclusive, `visualize.py` as inclusive); the files decide:
  one ends at `frame_count`, and both objects have a box in every frame of [begin_fid, end_fid) of all relations, but
  often not at `end_fid`.
- **The right and bottom borders are inclusive**: `evaluation/common.py` there counts xmax - xmin + 1 columns, and the
  largest xmax is width - 1. So a box ends at xmax + 1.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ...errors import GraphError
from ...plain_json import read_plain_json
from ..graph import Edge, Node, SceneGraph, TrackPoint
from ..schema import plain_name
from .reading import (
    ReadingReport,
    Unusable,
    finished,
    one_part,
    read_box,
    read_list,
    read_mapping,
    read_name,
    read_whole,
    short,
)
from .videos import KnownVideos, VideoFacts, check_same_video, read_rate

SOURCE = "vidor@1.0"

MAX_BYTES = 128 * 2**20
"""Largest file: a box takes about 130 bytes, and a video of three minutes with ten objects 7 MB."""

SPLIT_FOLDERS: Mapping[str, str] = MappingProxyType({"training": "train", "validation": "validation"})
"""Folder of the release -> name of the split."""

_SPATIAL = ("above", "away", "behind", "beneath", "in front of", "inside", "next to", "towards")
_SOCIAL = (
    *("caress", "feed", "hold hand of", "hug", "kiss", "lick", "pat", "point to"),
    *("shake hand with", "shout at", "speak to", "wave hand to"),
)
_ACTIONS = (
    *("bite", "carry", "chase", "clean", "close", "cut", "drive", "get off", "get on", "grab", "hit", "hold", "kick"),
    *("knock", "lean on", "lift", "open", "play(instrument)", "press", "pull", "push", "release", "ride", "smell"),
    *("squeeze", "throw", "touch", "use", "watch", "wave"),
)

RELATION_KINDS: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(_ACTIONS, "action"),
        **dict.fromkeys(_SOCIAL, "social"),
        **dict.fromkeys(_SPATIAL, "spatial"),
    }
)
"""VidOR's 50 predicates -> what kind they are. The release tells 8 spatial ones from 42 actions; `social` are those of
its actions that one does to another being, which is our own division."""

_CLASS_NAMES = """
adult aircraft antelope baby baby_seat baby_walker backpack ball/sports_ball bat bear bench bicycle bird bottle bread
bus/truck cake camel camera car cat cattle/cow cellphone chair chicken child crab crocodile cup dish dog duck
electric_fan elephant faucet fish frisbee fruits guitar hamster/rat handbag horse kangaroo laptop leopard lion
microwave motorcycle oven panda penguin piano pig rabbit racket refrigerator scooter screen/monitor sheep/goat sink
skateboard ski snake snowboard sofa squirrel stingray stool stop_sign suitcase surfboard table tiger toilet toy
traffic_light train turtle vegetables watercraft
"""
OBJECT_CLASSES = frozenset(map(plain_name, _CLASS_NAMES.split()))
"""VidOR's 80 classes of objects. Others are kept and noted, since the file says what they are."""

_PARTS = ("video_id", "frame_count", "fps", "width", "height", "subject/objects", "trajectories", "relation_instances")


def vidor_files(root: str | os.PathLike, split: str = "train") -> dict[str, list[Path]]:
    """The annotation files of a release, or of a part of it.

    Args:
        root: A file, or a folder that is searched with those in it.
        split: Split of files that lie in no folder `training` or `validation`.

    Returns:
        The files of each split, by name.

    Raises:
        GraphError: There is no such file or folder, or no JSON in it.
    """
    root = Path(root)
    if root.is_file():
        return {split: [root]}
    found: dict[str, list[Path]] = defaultdict(list)
    for path in sorted(root.rglob("*.json")):
        folders = [part for part in path.relative_to(root.parent).parts[:-1] if part in SPLIT_FOLDERS]
        found[SPLIT_FOLDERS[folders[0]] if folders else split].append(path)
    if not found:
        raise GraphError(f"{root}: no such file, or no folder with VidOR's annotations (<video>.json)")
    return dict(found)


def read_vidor(
    files: list[Path], split: str, report: ReadingReport, known: KnownVideos | None = None, only_known: bool = False
) -> Iterator[SceneGraph]:
    """The graphs of many files, one at a time in memory. A file that cannot be used is counted in the report.

    Args:
        files: The files.
        split: Split of the graphs; a manifest's own goes before it.
        report: Counts, which grow while the graphs are taken.
        known: What is known of the videos; annotations that were made on others are dropped.
        only_known: Whether graphs of videos that are not known are dropped too.
    """
    for file in files:
        report.seen["graphs"] += 1
        part = ReadingReport()
        try:
            graph = read_vidor_file(file, split, part, known, only_known)
        except Unusable as problem:
            report.drop("graphs", problem.reason, problem.detail)
            continue
        report.kept["graphs"] += 1
        report.merge(part)
        yield graph


def read_vidor_file(
    path: str | os.PathLike,
    split: str,
    report: ReadingReport,
    known: KnownVideos | None = None,
    only_known: bool = False,
) -> SceneGraph:
    """The graph of one annotation file.

    Args:
        path: The file.
        split: Split of the graph where the video's own is not known.
        report: Counts of objects, boxes and relations.
        known: What is known of the videos.
        only_known: Whether a video that is not known cannot be used.

    Raises:
        Unusable: The file is none of VidOR's, or was made on another video; with its name.
    """
    try:
        content = read_plain_json(path, GraphError, MAX_BYTES)
    except GraphError as error:
        raise Unusable("unreadable", str(error)) from error
    try:
        facts = _video_facts(read_mapping(content, "the file", _PARTS), known, only_known)
        graph = _graph(content, facts, facts.split or split, report, str(path))
    except Unusable as problem:
        raise Unusable(problem.reason, f"{path}: {problem.detail}") from problem
    return finished(graph, str(path))


def _video_facts(content: Mapping[str, Any], known: KnownVideos | None, only_known: bool) -> VideoFacts:
    """What the file says of its video, under the id that the manifest has for it."""
    name = content["video_id"]
    if not isinstance(name, str) or not name or not name.isprintable():
        raise Unusable("malformed", f"video_id is {short(name)}")
    sizes = {
        "frame_height": read_whole(content["height"], "height", 1),
        "frame_width": read_whole(content["width"], "width", 1),
        "num_frames": read_whole(content["frame_count"], "frame_count", 1),
    }
    own = VideoFacts(name, "", read_rate(content["fps"]), **sizes)
    at_hand = known.find(name) if known else None
    if at_hand is None:
        if only_known:
            raise Unusable("unknown_video", f"{name!r} is not among the videos")
        return own
    check_same_video(own, at_hand)
    return VideoFacts(at_hand.video_id, at_hand.split, own.frames_per_second, **sizes)


def _graph(content: Mapping[str, Any], facts: VideoFacts, split: str, report: ReadingReport, where: str) -> SceneGraph:
    names = _object_names(read_list(content["subject/objects"], "subject/objects"), report, where)
    tracks = _tracks(read_list(content["trajectories"], "trajectories"), set(names), facts, report, where)
    # as CoTasks writes them (Table 11): "0_adult"
    node_ids = {tid: f"{tid}_{name.replace(' ', '_')}" for tid, name in names.items()}
    nodes = tuple(Node(node_ids[tid], "object", name, track=tuple(tracks[tid])) for tid, name in names.items())
    edges = []
    relations = read_list(content["relation_instances"], "relation_instances")
    report.seen["relations"] += len(relations)
    for number, relation in enumerate(relations):
        with one_part(report, "relations", f"{where}: relation_instances[{number}]"):
            edge = _edge(relation, node_ids, facts)
            edges.append(edge)
            if edge.predicate not in RELATION_KINDS:
                report.note("relations", "predicate_outside_the_vocabulary", f"{where}: {edge.predicate!r}")
    provenance = {"producer": "annotation", "model": "vidor", "status": "ok" if nodes else "empty"}
    return SceneGraph(
        graph_id=facts.video_id,
        video_id=facts.video_id,
        source=SOURCE,
        split=split,
        num_frames=facts.num_frames,
        frames_per_second=facts.frames_per_second,
        frame_height=facts.frame_height,
        frame_width=facts.frame_width,
        nodes=nodes,
        edges=tuple(edges),
        provenance=provenance,
    )


def _object_names(objects: list[Any], report: ReadingReport, where: str) -> dict[int, str]:
    """Number of each object -> its class, in the order of the file."""
    names: dict[int, str] = {}
    report.seen["objects"] += len(objects)
    for number, entry in enumerate(objects):
        with one_part(report, "objects", f"{where}: subject/objects[{number}]"):
            entry = read_mapping(entry, "an object", ("tid", "category"))
            tid = read_whole(entry["tid"], "tid")
            name = read_name(entry["category"], "category")
            if tid in names:
                raise Unusable("id_twice", f"tid {tid} is {names[tid]!r} and {name!r}")
            names[tid] = name
            if name not in OBJECT_CLASSES:
                report.note("objects", "class_outside_the_vocabulary", f"{where}: {name!r}")
    return names


def _tracks(
    trajectories: list[Any], known: set[int], facts: VideoFacts, report: ReadingReport, where: str
) -> dict[int, list[TrackPoint]]:
    """Number of each object -> where it is, by rising time."""
    tracks: dict[int, list[TrackPoint]] = {tid: [] for tid in known}
    for frame, entries in enumerate(trajectories):
        entries = read_list(entries, f"trajectories[{frame}]")
        report.seen["boxes"] += len(entries)
        for number, entry in enumerate(entries):
            place = f"{where}: trajectories[{frame}][{number}]"
            with one_part(report, "boxes", place):
                _add_box(entry, frame, tracks, facts, report, place)
    return tracks


def _add_box(
    entry: Any, frame: int, tracks: dict[int, list[TrackPoint]], facts: VideoFacts, report: ReadingReport, where: str
) -> None:
    entry = read_mapping(entry, "a box", ("tid", "bbox"))
    tid = read_whole(entry["tid"], "tid")
    if tid not in tracks:
        raise Unusable("unknown_object", f"there is no object {tid}")
    if frame >= facts.num_frames:
        raise Unusable("beyond_the_video", f"frame {frame} of {facts.num_frames}")
    track = tracks[tid]
    if track and track[-1].frame_index == frame:
        raise Unusable("id_twice", f"object {tid} has two boxes")
    sides = read_mapping(entry["bbox"], "bbox", ("xmin", "ymin", "xmax", "ymax"))
    try:
        # the last column and row belong to the box, see above
        numbers = (sides["xmin"], sides["ymin"], sides["xmax"] + 1, sides["ymax"] + 1)
    except TypeError:
        raise Unusable("malformed", f"bbox is {short(sides)}") from None
    box = read_box(numbers, facts.frame_height, facts.frame_width, report, where)
    if entry.get("generated"):
        report.note("boxes", "by_a_tracker", where)
    track.append(TrackPoint(frame, frame / facts.frames_per_second, box))


def _edge(relation: Any, node_ids: Mapping[int, str], facts: VideoFacts) -> Edge:
    relation = read_mapping(relation, "a relation", ("subject_tid", "object_tid", "predicate", "begin_fid", "end_fid"))
    ends = [read_whole(relation[key], key) for key in ("subject_tid", "object_tid")]
    for tid in ends:
        if tid not in node_ids:
            raise Unusable("unknown_object", f"there is no object {tid}")
    predicate = read_name(relation["predicate"], "predicate")
    kind = "spatial" if RELATION_KINDS.get(predicate) == "spatial" else "relation"
    if ends[0] == ends[1]:
        raise Unusable("with_itself", f"object {ends[0]} {predicate} itself")
    begin = read_whole(relation["begin_fid"], "begin_fid", reason="beyond_the_video")
    end = read_whole(relation["end_fid"], "end_fid", reason="beyond_the_video")
    if begin >= end:
        raise Unusable("inverted_or_empty", f"from frame {begin} to {end}, exclusive")
    if end > facts.num_frames:
        raise Unusable("beyond_the_video", f"from frame {begin} to {end} of {facts.num_frames}")
    rate = facts.frames_per_second
    return Edge(kind, node_ids[ends[0]], predicate, node_ids[ends[1]], begin / rate, end / rate)
