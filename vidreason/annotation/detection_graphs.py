"""Scene graphs from detections: boxes of one class are joined to tracks, and tracks say where things are to another.

A class's boxes in a frame are matched to its tracks so that the intersection over union with each track's last box is
largest in sum (the assignment of SORT, Bewley et al. 2016, without its motion model: tables hold a few frames a
second, for which a Kalman filter has nothing to go by). A track may be out of sight for a while; then it ends. Tracks
of different classes never compete, since a row of detections does not depend on other classes either. Where tracks are
to one another follows from their boxes alone (`vidreason.scenegraph.geometry`). What one thing does with another,
detections do not say.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
from scipy.optimize import linear_sum_assignment

from ..detection.detector import UNKNOWN_CLASS
from ..detection.schema import check_row
from ..errors import ConfigError, DetectionError
from ..scenegraph import Node, SceneGraph, TrackPoint, plain_name
from ..scenegraph.geometry import intersections_over_unions
from ..scenegraph.intervals import spatial_edges
from ..scenegraph.readers import KnownVideos, ReadingReport, Unusable, VideoFacts
from ..scenegraph.readers.reading import finished

MAX_INSTANCES = 100
"""Most boxes of a class in a frame that are tracked, best first, as COCO counts them."""

ORDINARY_FRAME_S = 0.04
"""How long a frame lasts where a video has only one in the table: that of 25 frames per second."""

_WITHOUT_MASKS = {"masks": [], "mask_height": 0, "mask_width": 0}


@dataclass(frozen=True)
class TrackSettings:
    """How boxes become tracks, and tracks edges.

    Args:
        min_score: Least score of a box that is looked at, in [0, 1].
        min_overlap: Least intersection over union, in (0, 1], of a box with the last of its track: 0.3 as in SORT.
        max_gap_s: Longest time in seconds for which a track may be out of sight, and a relation goes on unseen.
        min_frames: Fewest frames of a track that becomes a node, and in a row of a relation that becomes an edge:
            what is there for a single frame is mostly a mistake of the detector.

    Raises:
        ConfigError: A setting is out of its range.
    """

    min_score: float = 0.0
    min_overlap: float = 0.3
    max_gap_s: float = 1.0
    min_frames: int = 2

    def __post_init__(self) -> None:
        if not 0 <= self.min_score <= 1 or not 0 < self.min_overlap <= 1:
            raise ConfigError(
                f"min_score is {self.min_score} and min_overlap {self.min_overlap}, expected numbers up to 1, the "
                "second more than 0"
            )
        if not self.max_gap_s > 0 or self.min_frames < 1:
            raise ConfigError(
                f"max_gap_s is {self.max_gap_s} and min_frames {self.min_frames}, expected more than 0 and at least 1"
            )


@dataclass
class _Track:
    """The boxes of one thing, by rising time."""

    points: list[TrackPoint] = field(default_factory=list)


def detection_graphs(
    rows: datasets.Dataset,
    report: ReadingReport,
    settings: TrackSettings | None = None,
    known: KnownVideos | None = None,
    only_known: bool = False,
) -> Iterator[SceneGraph]:
    """A graph for each video of a table of detections, a video in memory at a time.

    A video in which nothing was found is an empty graph, and one in which nothing could be looked for a graph whose
    status says so.

    Args:
        rows: A split of a table of detections.
        report: Counts of videos and boxes, which grow while the graphs are taken.
        settings: How boxes become tracks.
        known: Videos of a manifest, for the number of their frames.
        only_known: Whether videos that are not in the manifest are dropped.
    """
    settings = settings or TrackSettings()
    columns = [name for name in rows.column_names if name not in _WITHOUT_MASKS]
    table = rows.with_format(None).select_columns(columns)
    for video_id, places in _rows_of_videos(rows):
        report.seen["graphs"] += 1
        part = ReadingReport()
        try:
            facts = known.find(video_id) if known else None
            if facts is None and only_known:
                raise Unusable("unknown_video", f"{video_id!r} is not among the videos")
            graph = graph_of_rows([table[place] for place in places.tolist()], part, settings, facts)
        except (Unusable, DetectionError) as problem:
            reason = problem.reason if isinstance(problem, Unusable) else "breaks_the_contract"
            report.drop("graphs", reason, problem.detail if isinstance(problem, Unusable) else str(problem))
            continue
        report.kept["graphs"] += 1
        report.merge(part)
        yield graph


def _rows_of_videos(rows: datasets.Dataset) -> Iterator[tuple[str, np.ndarray]]:
    """Each video with the places of its rows, in the order in which videos come first."""
    column = rows.with_format("arrow").select_columns(["video_id"])[:]["video_id"].cast(pa.string())
    encoded = column.combine_chunks().dictionary_encode()
    codes = np.asarray(encoded.indices.fill_null(-1))
    order = np.argsort(codes, kind="stable")
    starts = np.flatnonzero(np.diff(codes[order], prepend=-2))
    names = encoded.dictionary.to_pylist()
    for places in np.split(order, starts[1:]):
        code = int(codes[places[0]]) if len(places) else -1
        if code >= 0:
            yield names[code], places


def graph_of_rows(
    rows: Sequence[Mapping[str, Any]],
    report: ReadingReport,
    settings: TrackSettings | None = None,
    facts: VideoFacts | None = None,
) -> SceneGraph:
    """The graph of one video.

    Args:
        rows: Its rows of a table of detections, in any order; masks are not looked at.
        report: Counts of boxes and objects.
        settings: How boxes become tracks.
        facts: What is known of the video; its split goes before that of the rows.

    Raises:
        DetectionError: A row breaks the contract of detections.
        Unusable: The graph would break its own.
    """
    settings = settings or TrackSettings()
    for row in rows:
        check_row({**row, **_WITHOUT_MASKS})
    first = rows[0]
    times = sorted({row["timestamp_s"] for row in rows})
    frame_s = float(np.median(np.diff(times))) if len(times) > 1 else ORDINARY_FRAME_S
    nodes = _nodes(_tracks(rows, report, settings), report, settings, first["video_id"])
    aspect_ratio = first["frame_width"] / first["frame_height"]
    # where frames lie farther apart than the gap, neighbours still say what holds between them
    max_gap_s = max(settings.max_gap_s, 1.5 * frame_s)
    edges = spatial_edges(nodes, frame_s, max_gap_s, aspect_ratio, settings.min_frames)
    graph = SceneGraph(
        graph_id=first["video_id"],
        video_id=first["video_id"],
        source=first["source"] or "detections",
        split=(facts.split if facts else "") or first["split"],
        num_frames=0,  # the last interval ends a step after the last frame of the table, perhaps beyond the video
        frames_per_second=0.0,  # times are those of the table, which are the file's own
        frame_height=first["frame_height"],
        frame_width=first["frame_width"],
        nodes=tuple(nodes),
        edges=tuple(edges),
        provenance=_provenance(rows, bool(nodes)),
    )
    return finished(graph, first["video_id"])


def _provenance(rows: Sequence[Mapping[str, Any]], has_nodes: bool) -> dict[str, Any]:
    """Who detected, and what came of it: looked for and not found is another thing than not looked for."""
    statuses = Counter(row["status"] for row in rows)
    looked = statuses["ok"] + statuses["empty"]
    status = "ok" if has_nodes else "empty" if looked else "failed"
    made = {
        "producer": "detector",
        "model": ", ".join(sorted({row["model"] for row in rows} - {""})),
        "revision": ", ".join(sorted({row["revision"] for row in rows} - {""})),
        "status": status,
    }
    if status == "failed":
        reasons = sorted({row["raw_response"] or row["status"] for row in rows})
        made["raw_response"] = "; ".join(reasons)[:1000]
        if set(statuses) == {UNKNOWN_CLASS}:
            made["raw_response"] = "the detector knows none of the classes"
    return made


def _tracks(
    rows: Sequence[Mapping[str, Any]], report: ReadingReport, settings: TrackSettings
) -> list[tuple[str, _Track]]:
    """All tracks with their class, those of a class together."""
    by_class: dict[str, dict[int, Mapping[str, Any]]] = {}
    for row in sorted(rows, key=lambda row: (row["class_text"], row["frame_index"])):
        report.seen["boxes"] += len(row["boxes"])
        frames = by_class.setdefault(row["class_text"], {})
        where = f"{row['video_id']}: {row['class_text']!r} in frame {row['frame_index']}"
        if row["frame_index"] in frames:
            report.drop("boxes", "id_twice", where, len(row["boxes"]))
        else:
            frames[row["frame_index"]] = row
    return [
        (name, track) for name, frames in by_class.items() for track in _track_class(frames, report, settings, name)
    ]


def _track_class(
    frames: Mapping[int, Mapping[str, Any]], report: ReadingReport, settings: TrackSettings, name: str
) -> list[_Track]:
    """The tracks of one class, in the order in which they begin."""
    tracks: list[_Track] = []
    for index, row in frames.items():
        where = f"{row['video_id']}: {name!r} in frame {index}"
        boxes = _boxes(row, report, settings, where)
        time_s = float(row["timestamp_s"])
        in_sight = [track for track in tracks if 0 < time_s - track.points[-1].timestamp_s <= settings.max_gap_s]
        matched = _match([track.points[-1].box for track in in_sight], boxes, settings.min_overlap)
        for number, box in enumerate(boxes):
            track = in_sight[matched[number]] if number in matched else _Track()
            if not track.points:
                tracks.append(track)
            track.points.append(TrackPoint(index, time_s, box))
    return tracks


def _boxes(
    row: Mapping[str, Any], report: ReadingReport, settings: TrackSettings, where: str
) -> list[tuple[float, float, float, float]]:
    """The boxes of a row that count, best first, cut at the border that float32 may be just beyond."""
    boxes = np.clip(np.asarray(row["boxes"], np.float64).reshape(-1, 4), 0.0, 1.0)
    good = int(np.sum(np.asarray(row["scores"]) >= settings.min_score))  # scores fall
    for reason, count in (("low_score", len(boxes) - good), ("too_many", max(0, good - MAX_INSTANCES))):
        if count:
            report.drop("boxes", reason, where, count)
    return [(x0, y0, x1, y1) for x0, y0, x1, y1 in boxes[: min(good, MAX_INSTANCES)].tolist()]


def _match(
    last: Sequence[tuple[float, float, float, float]],
    boxes: Sequence[tuple[float, float, float, float]],
    min_overlap: float,
) -> dict[int, int]:
    """Number of a box -> number of the track that it goes on."""
    if not last or not boxes:
        return {}
    overlaps = intersections_over_unions(np.asarray(boxes), np.asarray(last))
    # pairs that may not be are worth nothing, so that no good pair is given up for one of them
    worth = np.where(overlaps >= min_overlap, overlaps, 0.0)
    of_boxes, of_tracks = linear_sum_assignment(worth, maximize=True)
    pairs = zip(of_boxes.tolist(), of_tracks.tolist(), strict=True)
    return {box: track for box, track in pairs if worth[box, track] > 0}


def _nodes(
    tracks: Sequence[tuple[str, _Track]], report: ReadingReport, settings: TrackSettings, video_id: str
) -> list[Node]:
    """Nodes of the tracks that are long enough, numbered as they come into view: "0_person"."""
    report.seen["objects"] += len(tracks)
    kept = []
    for name, track in tracks:
        if len(track.points) < settings.min_frames:
            report.drop("objects", "short_track", f"{video_id}: {name!r} at {track.points[0].timestamp_s:g} s")
            report.drop("boxes", "short_track", f"{video_id}: {name!r}", len(track.points))
            continue
        report.kept["objects"] += 1
        report.kept["boxes"] += len(track.points)
        kept.append((track.points[0].timestamp_s, plain_name(name), track))
    kept.sort(key=lambda entry: entry[:2])  # stable: of a class, as they were found
    return [
        Node(f"{number}_{name.replace(' ', '_')}", "object", name, track=tuple(track.points))
        for number, (_, name, track) in enumerate(kept)
    ]
