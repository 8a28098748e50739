"""What is wrong with a graph is named, all of it; what is right passes."""

import dataclasses
import math

import pytest
from fixtures.scene_graphs import failed_graph, kitchen_graph, track

from vidreason.errors import GraphError
from vidreason.scenegraph import Edge, Node, TrackPoint, check_graph, find_problems, plain_name
from vidreason.scenegraph.checks import PROBLEMS

GOOD = kitchen_graph()
POINT = TrackPoint(3, 0.12, (0.0, 0.0, 0.5, 0.5))
LIFE = {"start_s": 0.0, "end_s": 4.0}

BROKEN = {
    "bad_header": [
        {"graph_id": ""},
        {"video_id": None},
        {"num_frames": -1},
        {"num_frames": True},
        {"frames_per_second": math.nan},
        {"frame_width": 1.5},
    ],
    "bad_provenance": [
        {"provenance": {"status": "ok"}},
        {"provenance": {"producer": "x", "status": "fine"}},
        {"provenance": {"producer": "x", "status": "ok", "author": "me"}},
        {"provenance": {"producer": "x", "status": "ok", "cost_usd": "much"}},
        {"provenance": {"producer": "x", "status": "ok", "model": 3}},
        {"provenance": None},
    ],
    "status_against_nodes": [{"provenance": {"producer": "x", "status": "failed"}}, {"nodes": (), "edges": ()}],
    "duplicate_node": [{"nodes": (*GOOD.nodes, GOOD.nodes[0])}],
}

BROKEN_NODES = {
    "unknown_kind": [Node("n", "thing", "cup"), Node("n", [], "cup")],
    "bad_name": [
        Node("", "object", "cup"),
        Node("n", "object", "Cup"),
        Node("n", "object", "open_box"),
        Node("n", "object", " cup"),
        Node("n", "object", ""),
        Node("n", "object", None),
        Node("n", "object", "cup", (("Color", "red"),)),
        Node("n", "object", "cup", (("color", ""),)),
        Node("n", "object", "cup", is_static="yes"),
    ],
    "object_with_interval": [Node("n", "object", "cup", **LIFE)],
    "event_without_interval": [Node("n", "event", "take")],
    "bad_interval": [
        Node("n", "event", "take", start_s=1.0),
        Node("n", "event", "take", start_s=2.0, end_s=1.0),
        Node("n", "event", "take", start_s=1.0, end_s=1.0),
        Node("n", "event", "take", start_s=0.0, end_s=math.inf),
    ],
    "time_outside_video": [
        Node("n", "event", "take", start_s=3.0, end_s=4.04),
        Node("n", "event", "take", start_s=-0.5, end_s=1.0),
        Node("n", "object", "cup", track=(dataclasses.replace(POINT, timestamp_s=4.1),)),
        Node("n", "object", "cup", track=(dataclasses.replace(POINT, timestamp_s=math.nan),)),
    ],
    "frame_outside_video": [
        Node("n", "object", "cup", track=(dataclasses.replace(POINT, frame_index=100),)),
        Node("n", "object", "cup", track=(dataclasses.replace(POINT, frame_index=-1),)),
        Node("n", "object", "cup", track=(dataclasses.replace(POINT, frame_index=1.5),)),
    ],
    "track_out_of_order": [Node("n", "object", "cup", track=(POINT, POINT))],
    "bad_box": [
        Node("n", "object", "cup", track=(dataclasses.replace(POINT, box=(0.5, 0.0, 0.2, 1.0)),)),
        Node("n", "object", "cup", track=(dataclasses.replace(POINT, box=(0.1, 0.2, math.nan, 1.0)),)),
        Node("n", "object", "cup", track=(dataclasses.replace(POINT, box=(0.1, 0.2, 0.3)),)),
        Node("n", "object", "cup", track=(dataclasses.replace(POINT, box=("a", "b", "c", "d")),)),
    ],
    "box_outside_frame": [
        Node("n", "object", "cup", track=(dataclasses.replace(POINT, box=(-0.1, 0.0, 0.2, 1.0)),)),
        Node("n", "object", "cup", track=(dataclasses.replace(POINT, box=(10, 20, 200, 100)),)),
    ],
    "bad_provenance": [Node("n", "object", "cup", provenance={"author": "me"})],
}

BROKEN_EDGES = {
    "unknown_kind": [Edge("action", "person 1", "holds", "cup 2"), Edge([], "person 1", "holds", "cup 2")],
    "bad_name": [Edge("relation", "person 1", "Holds", "cup 2"), Edge("relation", "person 1", "", "cup 2")],
    "dangling_edge": [Edge("relation", "person 1", "holds", "cup 7"), Edge("motion", "nobody", "moves", "nobody")],
    "edge_between_wrong_kinds": [
        Edge("event", "take 4", "agent of", "person 1"),
        Edge("temporal", "person 1", "before", "take 4"),
        Edge("spatial", "cup 2", "left of", "cup 2"),
        Edge("spatial", "cup 2", "left of", "take 4"),
        Edge("motion", "take 4", "moves", "take 4"),
        Edge("reference", "cup 2", "same as", "cup 2"),
    ],
    "bad_interval": [Edge("relation", "person 1", "holds", "cup 2", 1.0)],
    "time_outside_video": [Edge("relation", "person 1", "holds", "cup 2", 1.0, 5.0)],
    "frame_outside_video": [
        Edge("relation", "person 1", "holds", "cup 2", frame_indices=(99, 100)),
        Edge("relation", "person 1", "holds", "cup 2", frame_indices=(-1,)),
        Edge("relation", "person 1", "holds", "cup 2", frame_indices=("1",)),
    ],
    "track_out_of_order": [Edge("relation", "person 1", "holds", "cup 2", frame_indices=(3, 3))],
    "bad_provenance": [Edge("relation", "person 1", "holds", "cup 2", provenance=[])],
}


def test_every_problem_is_found_alone_and_by_its_name():
    assert find_problems(GOOD) == [] and find_problems(failed_graph()) == []
    cases = [(name, dataclasses.replace(GOOD, **change)) for name, changes in BROKEN.items() for change in changes]
    cases += [
        (name, dataclasses.replace(GOOD, nodes=(*GOOD.nodes, node)))
        for name, nodes in BROKEN_NODES.items()
        for node in nodes
    ]
    cases += [
        (name, dataclasses.replace(GOOD, edges=(edge, *GOOD.edges)))
        for name, edges in BROKEN_EDGES.items()
        for edge in edges
    ]
    for name, graph in cases:
        if name == "status_against_nodes" and not graph.nodes:
            graph = dataclasses.replace(graph, edges=())
        found = find_problems(graph)
        assert {problem.name for problem in found} == {name}, (name, graph, found)
        with pytest.raises(GraphError, match=name.replace("_", " ")):
            check_graph(graph)
    seen = {name for name, _ in cases}
    assert seen == set(PROBLEMS) - {"unknown_predicate"}


def test_all_problems_are_listed_and_a_flood_is_counted():
    edges = (Edge("relation", "a", "holds", "cup 2"), Edge("spatial", "cup 2", "left of", "take 4", 3.0, 9.0))
    with pytest.raises(GraphError) as caught:
        check_graph(dataclasses.replace(GOOD, edges=edges))
    for part in ("graph 'kitchen'", "edge 0 (a holds cup 2)", "no node 'a'", "from object to event", "of 4 s"):
        assert part in str(caught.value)
    with pytest.raises(GraphError, match=r"; and 980 more problems$") as caught:
        check_graph(dataclasses.replace(GOOD, edges=edges[:1] * 1000))
    assert len(str(caught.value)) < 3000
    crooked = Node("n", "object", "cup", track=track(90, 110))
    (frame, time) = find_problems(dataclasses.replace(GOOD, nodes=(*GOOD.nodes, crooked)))
    assert "frame 100 at 4 s" in frame.detail and "and 10 others" in frame.detail and frame.where == "node 'n'"
    # the frame at 4 s is the first that the video has not, and its time is where the video ends
    assert time.name == "time_outside_video" and "and 9 others" in time.detail


def test_what_is_not_known_of_a_video_is_not_checked():
    late = dataclasses.replace(GOOD.nodes[4], start_s=50.0, end_s=60.0)
    graph = dataclasses.replace(GOOD, nodes=(*GOOD.nodes[:4], late, GOOD.nodes[5]))
    assert [problem.name for problem in find_problems(graph)] == ["time_outside_video"]
    assert not find_problems(dataclasses.replace(graph, num_frames=0))
    assert not find_problems(dataclasses.replace(graph, frames_per_second=0.0))


def test_predicates_that_are_not_known_are_named():
    known = {"holds", "moves right", "same as", "agent of", "before"}
    (problem,) = find_problems(GOOD, known)
    assert problem.name == "unknown_predicate" and str(problem) == (
        "edge 4 (cup 2 left of table 3): unknown predicate ('left of' is none of 5 known ones)"
    )
    assert not find_problems(GOOD, {"spatial": {"left of"}, "relation": {"holds"}})
    with pytest.raises(GraphError, match="'holds' is none of 1 known"):
        check_graph(GOOD, {"relation": ["pushes"]})
    assert plain_name(" In_front__of ") == "in front of" and plain_name("Ball/Sports_ball") == "ball/sports ball"
