"""Tracks of boxes by overlap, gaps and crossings, and spatial edges of what a detector found."""

import numpy as np
import pytest
from datasets import Dataset

from vidreason.annotation.detection_graphs import TrackSettings, detection_graphs, graph_of_rows
from vidreason.detection import Found, detection_row, load_detections
from vidreason.detection.schema import FEATURES
from vidreason.errors import ConfigError, DetectionError
from vidreason.files import read_folder
from vidreason.scenegraph import check_graph
from vidreason.scenegraph.readers import KnownVideos, ReadingReport, VideoFacts


class Known:
    """What a row needs to know of a detector."""

    threshold, max_side_px, name, model, revision = 0.1, None, "by hand", "", "1"


def row(text, frame, boxes, scores=None, video="v", status=None, rate=10.0, **more):
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    scores = np.asarray([0.9] * len(boxes) if scores is None else scores, np.float32)
    key = {"video_id": video, "source": "mine", "split": "train", "frame_index": frame, "timestamp_s": frame / rate}
    key |= {"frame_height": 90, "frame_width": 160}
    found = Found(boxes, scores, None, status or ("ok" if len(boxes) else "empty"), more.pop("reason", ""))
    return {**detection_row(key, text, found, Known()), **more}


def at(x, y=0.4, side=0.1):
    return (x, y, x + side, y + side)


def graph_of(rows, **settings):
    report = ReadingReport()
    graph = graph_of_rows(rows, report, TrackSettings(**settings))
    report.check()
    check_graph(graph)
    return graph, report


def test_two_that_pass_each_other_keep_their_tracks():
    """The detector gives the surer first, and which is surer changes: order says nothing about who is who."""
    rows = []
    for frame in range(10):
        left, right = at(0.1 + 0.03 * frame, 0.30), at(0.37 - 0.03 * frame, 0.42)
        rows.append(row("cup", frame, [left, right] if frame % 2 else [right, left]))
    graph, report = graph_of(rows[::-1])  # in whatever order rows stand
    assert [(node.node_id, node.name, len(node.track)) for node in graph.nodes] == [
        ("0_cup", "cup", 10),
        ("1_cup", "cup", 10),
    ]
    for node in graph.nodes:
        steps = np.diff([point.box[0] for point in node.track])
        assert (steps > 0).all() or (steps < 0).all()
    assert report.kept == {"boxes": 20, "objects": 2} and not report.dropped
    by_start = {node.node_id: node.track[0].box[0] for node in graph.nodes}
    rightward = min(by_start, key=by_start.get)
    leftward = max(by_start, key=by_start.get)
    said = {(e.subject, e.predicate, e.object): e.frame_indices for e in graph.edges}
    assert said[rightward, "left of", leftward] == (0, 1, 2, 3)
    assert said[leftward, "left of", rightward] == (6, 7, 8, 9) == said[rightward, "right of", leftward]
    assert {e.kind for e in graph.edges} == {"spatial"}
    assert (graph.frames_per_second, graph.num_frames) == (0.0, 0)
    assert graph.provenance == {"producer": "detector", "model": "by hand", "revision": "1", "status": "ok"}


def test_the_best_sum_is_taken_and_not_the_best_pair():
    """A track that could go on with either of two boxes leaves the other track the only one that it has."""
    first = [row("cup", 0, [(0.0, 0.0, 0.2, 0.2), (0.08, 0.0, 0.28, 0.2)])]
    # the first box of frame 1 overlaps both tracks, the first one more; the second box can go on the first one alone
    second = [row("cup", 1, [(0.03, 0.0, 0.23, 0.2), (0.0, 0.09, 0.2, 0.29)])]
    graph, _ = graph_of(first + second)
    ends = {tuple(round(side, 2) for side in node.track[0].box): node.track[1].box[1] for node in graph.nodes}
    assert ends[0.0, 0.0, 0.2, 0.2] == pytest.approx(0.09) and ends[0.08, 0.0, 0.28, 0.2] == 0.0


def test_gaps_end_tracks_and_short_tracks_are_no_nodes():
    seen = [0, 1, 2, 6, 7, 30, 31, 60]
    rows = [row("cup", frame, [at(0.5)] if frame in seen else []) for frame in range(61)]
    graph, report = graph_of(rows, max_gap_s=0.5)
    assert [[point.frame_index for point in node.track] for node in graph.nodes] == [[0, 1, 2, 6, 7], [30, 31]]
    assert report.dropped == {("objects", "short_track"): 1, ("boxes", "short_track"): 1}
    graph, _ = graph_of(rows, max_gap_s=10.0)
    assert len(graph.nodes) == 1
    graph, _ = graph_of(rows, max_gap_s=0.5, min_frames=1)
    assert [len(node.track) for node in graph.nodes] == [5, 2, 1]
    # a jump is another thing, and so is another class at the same place
    graph, _ = graph_of([row("cup", 0, [at(0.1)]), row("cup", 1, [at(0.8)]), row("mug", 1, [at(0.1)])], min_frames=1)
    assert [node.node_id for node in graph.nodes] == ["0_cup", "1_cup", "2_mug"]


def test_scores_and_statuses():
    rows = [row("cup", frame, [at(0.1), at(0.5)], [0.9, 0.2]) for frame in range(3)]
    graph, report = graph_of(rows, min_score=0.5)
    assert len(graph.nodes) == 1 and report.dropped == {("boxes", "low_score"): 3}
    crowd = [row("cup", frame, [at(0.008 * n, side=0.005) for n in range(110)]) for frame in range(2)]
    graph, report = graph_of(crowd)
    assert len(graph.nodes) == 100 and report.dropped == {("boxes", "too_many"): 20}
    graph, report = graph_of([row("cup", 0, []), row("mug", 0, [], status="failed", reason="broken")])
    assert (graph.nodes, graph.provenance["status"]) == ((), "empty")
    graph, _ = graph_of([row("cup", 0, [], status="failed", reason="cannot be decoded")])
    assert (graph.provenance["status"], graph.provenance["raw_response"]) == ("failed", "cannot be decoded")
    graph, _ = graph_of([row("cup", 0, [], status="unknown_class")])
    assert graph.provenance["status"] == "failed" and "knows none" in graph.provenance["raw_response"]
    twice = [row("cup", 0, [at(0.1)]), row("cup", 0, [at(0.5)]), row("cup", 1, [at(0.1)])]
    graph, report = graph_of(twice)
    assert len(graph.nodes) == 1 and report.dropped == {("boxes", "id_twice"): 1}
    with pytest.raises(DetectionError, match="v frame 0"):
        graph_of([{**row("cup", 0, [at(0.1)]), "boxes": [[0.5, 0.5, 0.1, 0.1]]}])
    for wrong in ({"min_score": 2}, {"min_overlap": 0}, {"max_gap_s": 0}, {"min_frames": 0}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            TrackSettings(**wrong)


def test_a_table_video_by_video():
    """Rows of a video need not stand together; one video that breaks the contract does not end the others."""
    rows = [row("cup", frame, [at(0.1)], video=video) for frame in range(3) for video in ("b", "a", "bad", "empty")]
    for one in rows:
        if one["video_id"] == "bad":
            one["timestamp_s"] = float("nan")
        if one["video_id"] == "empty":
            one |= {"boxes": [], "scores": [], "status": "empty"}
    table = Dataset.from_list(rows, features=FEATURES)
    report = ReadingReport()
    graphs = {graph.video_id: graph for graph in detection_graphs(table, report)}
    report.check()
    assert list(graphs) == ["b", "a", "empty"] and graphs["empty"].provenance["status"] == "empty"
    assert report.dropped == {("graphs", "breaks_the_contract"): 1}
    assert "bad frame 0" in report.examples["graphs", "breaks_the_contract"]
    known = KnownVideos([VideoFacts("a", "test")], is_manifest=True)
    report = ReadingReport()
    (graph,) = detection_graphs(table, report, known=known, only_known=True)
    assert graph.split == "test" and report.dropped["graphs", "unknown_video"] == 3


def test_detections_of_a_world_find_its_things(detected_world):
    """With the detector that knows the truth, a thing of a class has the track that the truth has for it."""
    table = load_detections(detected_world.detections)["test"]
    truth = read_folder(detected_world.truth)["test"]
    report = ReadingReport()
    graphs = list(detection_graphs(table, report, TrackSettings(min_overlap=0.01, min_frames=1)))
    report.check()
    assert len(graphs) == 12 and report.kept["boxes"] == report.seen["boxes"]
    hands = {}
    for frame in truth:
        for entry in frame["objects"]:
            if entry["name"] == "hand":
                hands.setdefault(frame["video_id"], []).append(entry["box"])
    for graph in graphs:
        check_graph(graph)
        found = [node for node in graph.nodes if node.name == "hand"]
        assert sum(len(node.track) for node in found) == len(hands[graph.video_id])
        if len(found) == 1:
            np.testing.assert_allclose([point.box for point in found[0].track], hands[graph.video_id], atol=0.02)
    assert sum(sum(node.name == "hand" for node in graph.nodes) == 1 for graph in graphs) >= 10
