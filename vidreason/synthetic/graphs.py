"""The synthetic worlds as scene graphs: their truth of every frame, joined over time.

Objects have the box of every frame that they are in, and a color and a size where the world knows them. What the truth
says frame by frame is an edge over the frames that follow each other; an action is an event, with an edge from all
that take part: the hand `does` it, what is handled `undergoes` it, a container `receives` it. Where things are to each
other follows from their boxes, by the rules of `vidreason.scenegraph.geometry`.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import Dataset

from ..errors import GraphError
from ..files import read_folder
from ..scenegraph.geometry import INVERSES, spatial_predicates
from ..scenegraph.graph import Edge, Node, SceneGraph, TrackPoint
from .truth import ACTOR, HAND
from .world_folder import TRUTH_FOLDER

PAUSES = ("idle", "background")
"""Segments in which nothing is done: the pauses of the worlds."""

TAKES_PART = {"hand": "does", "handled": "undergoes", "container": "receives"}
"""Role in the truth -> predicate of the edge from the object to the event."""

_MOVED_ROLES = ("actor", "hand", "handled")
_NUMBER = re.compile(r" \d+$")
_BATCH_ROWS = 2048


def world_graphs(world_folder: str | os.PathLike, splits: Sequence[str] | None = None) -> dict[str, WorldGraphs]:
    """The scene graphs of a world, by split; each can be iterated over again and again, a graph in memory at a time.

    Args:
        world_folder: Folder of any of the worlds, as their builders write it.
        splits: Splits to give; all by default.

    Raises:
        GraphError: There is no world, or it lacks a split that was asked for.
    """
    folder = Path(world_folder) / TRUTH_FOLDER
    if not folder.is_dir():
        raise GraphError(f"{world_folder} holds no folder {TRUTH_FOLDER!r}; is it the folder of a world?")
    truth = read_folder(folder)
    missing = sorted(set(splits or ()) - set(truth))
    if missing:
        raise GraphError(f"{world_folder} has no splits {missing}; there are {sorted(truth)}")
    return {split: WorldGraphs(truth[split]) for split in (splits if splits is not None else truth)}


@dataclass(frozen=True, eq=False)
class WorldGraphs:
    """The graphs of one split.

    Args:
        truth: Ground truth of the split, the frames of a video in a row.
    """

    truth: Dataset

    def __len__(self) -> int:
        return len(self.truth.unique("video_id"))

    def __iter__(self) -> Iterator[SceneGraph]:
        batches = self.truth.data.table.to_batches(max_chunksize=_BATCH_ROWS)
        rows = (row for batch in batches for row in batch.to_pylist())
        for _, frames in itertools.groupby(rows, key=lambda row: row["video_id"]):
            yield graph_of_frames(list(frames))


def graph_of_frames(frames: Sequence[dict[str, Any]]) -> SceneGraph:
    """The graph of one video.

    Args:
        frames: Its rows of the world's ground truth, by rising time.
    """
    first, last = frames[0], frames[-1]
    # the worlds' frames are evenly spaced, so a frame holds until the next one would begin
    rate = last["frame_index"] / last["timestamp_s"] if last["timestamp_s"] else 1.0
    clock = _Clock([frame["timestamp_s"] for frame in frames], round(rate, 6))
    events = _events(frames, clock)
    nodes = (*_objects(frames), *(node for node, _ in events))
    relations = _relation_edges(frames, clock)
    return SceneGraph(
        graph_id=first["video_id"],
        video_id=first["video_id"],
        source=first["source"],
        split=first["split"],
        num_frames=len(frames),
        frames_per_second=clock.frames_per_second,
        frame_height=first["frame_height"],
        frame_width=first["frame_width"],
        nodes=nodes,
        edges=(*relations, *_event_edges(events, frames), *_temporal_edges(events), *_spatial_edges(frames, clock)),
        provenance={"producer": "truth", "model": first["source"], "status": "ok"},
    )


@dataclass(frozen=True)
class _Clock:
    """Times of the frames, and the end of the last."""

    times_s: list[float]
    frames_per_second: float

    def interval(self, first: int, last: int) -> tuple[float, float]:
        """From one frame up to the end of another, by their places in the video."""
        end = last + 1
        return self.times_s[first], self.times_s[end] if end < len(self.times_s) else end / self.frames_per_second


def _objects(frames: Sequence[dict[str, Any]]) -> list[Node]:
    """A node for each name, in the order in which they come into view."""
    entries: dict[str, list[tuple[dict[str, Any], dict[str, Any]]]] = {}
    for frame in frames:
        for entry in frame["objects"]:
            entries.setdefault(entry["name"], []).append((frame, entry))
    return [_object_node(name, found) for name, found in entries.items()]


def _object_node(name: str, found: Sequence[tuple[dict[str, Any], dict[str, Any]]]) -> Node:
    entry = found[0][1]
    attributes = tuple((kind, entry[kind]) for kind in ("color", "size") if entry.get(kind))
    track = tuple(TrackPoint(frame["frame_index"], frame["timestamp_s"], tuple(e["box"])) for frame, e in found)
    moved = any(e["role"] in _MOVED_ROLES for _, e in found)
    # "ball 2" is a name of its own, so that the truth can tell it from another ball; both are balls
    return Node(name, "object", _NUMBER.sub("", name), attributes, not moved, track)


def _events(frames: Sequence[dict[str, Any]], clock: _Clock) -> list[tuple[Node, range]]:
    """A node for each action, with the places of its frames. Two alike in a row are told apart by `event`."""
    events: list[tuple[Node, range]] = []
    keys = [(frame["segment"], frame.get("event", 0)) for frame in frames]
    for first, last in _runs(keys):
        segment = keys[first][0]
        if segment in PAUSES:
            continue
        start, end = clock.interval(first, last)
        name = segment.replace("_", " ")
        events.append((Node(f"event {len(events)}", "event", name, start_s=start, end_s=end), range(first, last + 1)))
    return events


def _runs(keys: Sequence[Any]) -> Iterator[tuple[int, int]]:
    """First and last place of each run of equal keys."""
    place = 0
    for _, run in itertools.groupby(keys):
        length = sum(1 for _ in run)
        yield place, place + length - 1
        place += length


def _event_edges(events: Iterable[tuple[Node, range]], frames: Sequence[dict[str, Any]]) -> Iterator[Edge]:
    for event, places in events:
        roles = {entry["name"]: entry["role"] for place in places for entry in frames[place]["objects"]}
        for name, role in roles.items():
            if role in TAKES_PART:
                yield Edge("event", name, TAKES_PART[role], event.node_id, event.start_s, event.end_s)


def _temporal_edges(events: Sequence[tuple[Node, range]]) -> Iterator[Edge]:
    """From each event to the next alone: that "before" goes on over several follows."""
    for (first, _), (second, _) in itertools.pairwise(events):
        yield Edge("temporal", first.node_id, "before", second.node_id)


def _relation_edges(frames: Sequence[dict[str, Any]], clock: _Clock) -> list[Edge]:
    holding = [
        [(relation["subject"], relation["predicate"], relation["object"]) for relation in frame["relations"]]
        for frame in frames
    ]
    return _edges_over_time("relation", holding, frames, clock)


def _spatial_edges(frames: Sequence[dict[str, Any]], clock: _Clock) -> list[Edge]:
    """Where things are to each other. The actor and the hand are left out: they are at all sides of all things."""
    aspect_ratio = frames[0]["frame_width"] / frames[0]["frame_height"]
    holding = []
    for frame in frames:
        things = [(e["name"], tuple(e["box"])) for e in frame["objects"] if e["name"] not in (ACTOR, HAND)]
        found: list[tuple[str, str, str]] = []
        for (name, box), (other, other_box) in itertools.combinations(things, 2):
            for predicate in spatial_predicates(box, other_box, aspect_ratio):
                found += [(name, predicate, other), (other, INVERSES[predicate], name)]
        holding.append(found)
    return _edges_over_time("spatial", holding, frames, clock)


def _edges_over_time(
    kind: str, holding: Sequence[Sequence[tuple[str, str, str]]], frames: Sequence[dict[str, Any]], clock: _Clock
) -> list[Edge]:
    """An edge for each time that a triple holds in frames that follow each other, by rising start."""
    open_since: dict[tuple[str, str, str], int] = {}
    found: list[tuple[int, int, tuple[str, str, str]]] = []
    for place, triples in enumerate([*holding, ()]):
        present = dict.fromkeys(triples)
        for triple in [triple for triple in open_since if triple not in present]:
            found.append((open_since.pop(triple), place - 1, triple))
        for triple in present:
            open_since.setdefault(triple, place)
    edges = []
    for first, last, (subject, predicate, other) in sorted(found):
        start, end = clock.interval(first, last)
        indices = tuple(frames[place]["frame_index"] for place in range(first, last + 1))
        edges.append(Edge(kind, subject, predicate, other, start, end, indices))
    return edges
