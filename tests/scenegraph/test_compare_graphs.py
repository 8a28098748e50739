"""A graph against another: what is shared, missing and too much, of nodes, attributes and statements."""

import dataclasses

import pytest
from fixtures.scene_graphs import failed_graph, kitchen_graph, track

from vidreason.errors import GraphError
from vidreason.scenegraph import Edge, Node, TrackPoint
from vidreason.scenegraph.compare import Agreement, Matching, compare_graphs, match_nodes, total
from vidreason.scenegraph.overlap import interval_overlap, merge_intervals

TRUTH = kitchen_graph()
BY_ID = Matching(nodes_by="id")


def scene(nodes, edges=(), **changes):
    return dataclasses.replace(TRUTH, nodes=tuple(nodes), edges=tuple(edges), **changes)


def renamed(graph, prefix):
    """The same graph with other ids, its nodes and edges in another order."""
    names = {node.node_id: f"{prefix}{number}" for number, node in enumerate(reversed(graph.nodes))}
    nodes = [dataclasses.replace(node, node_id=names[node.node_id]) for node in graph.nodes]
    edges = [dataclasses.replace(e, subject=names[e.subject], object=names[e.object]) for e in graph.edges]
    return dataclasses.replace(graph, nodes=tuple(nodes[::-1]), edges=tuple(edges[::-1])), names


@pytest.mark.parametrize("matching", [BY_ID, Matching()], ids=["by id", "by place"])
def test_a_graph_agrees_with_itself(matching):
    found = compare_graphs(TRUTH, TRUTH, matching)
    assert found.pairs == tuple((node.node_id, node.node_id) for node in TRUTH.nodes)
    assert found.nodes == {"object": Agreement(4, 4, 4), "event": Agreement(2, 2, 2)}
    assert found.attributes == Agreement(2, 2, 2)
    assert found.triples == dict.fromkeys((edge.kind for edge in TRUTH.edges), Agreement(1, 1, 1))
    assert found.timed == dict.fromkeys(("relation", "motion", "spatial"), Agreement(1, 1, 1))
    assert found.overlaps == (1.0, 1.0, 1.0) and not found.missing and not found.extra
    assert total(found.triples.values()).precision == total(found.triples.values()).recall == 1


def test_nodes_with_other_names_and_another_order_are_found_by_place():
    other, names = renamed(TRUTH, "n")
    found = compare_graphs(other, TRUTH)
    assert dict(found.pairs) == {new: old for old, new in names.items()}
    assert not found.missing and not found.extra and found.overlaps == (1.0, 1.0, 1.0)
    lost = compare_graphs(other, TRUTH, BY_ID)
    assert lost.pairs == () and total(lost.nodes.values()) == Agreement(0, 6, 6)
    assert total(lost.triples.values()) == Agreement(0, 6, 6) and len(lost.missing) == 6 + 6
    # an unmatched node that is called as another one of the reference does not take its statements
    swapped = dataclasses.replace(
        TRUTH, nodes=tuple(dataclasses.replace(n, name=f"other {n.name}") for n in TRUTH.nodes)
    )
    assert total(compare_graphs(swapped, TRUTH, BY_ID).triples.values()) == Agreement(0, 6, 6)


def test_each_mistake_costs_what_it_is():
    person, cup, *others = TRUTH.nodes
    # another colour, no table, a plate that is not there, holds for half of the time, and one statement turned round
    cup = dataclasses.replace(cup, attributes=(("color", "blue"), ("size", "small"), ("material", "clay")))
    nodes = [person, cup, *others[1:], Node("plate 9", "object", "plate")]
    edges = [
        Edge("relation", "person 1", "holds", "cup 2", 0.4, 1.4),
        Edge("relation", "plate 9", "near", "cup 2", 0.0, 1.0),
        Edge("temporal", "put down 5", "before", "take 4"),
        Edge("event", "person 1", "agent of", "take 4"),
    ]
    found = compare_graphs(scene(nodes, edges), TRUTH)
    assert found.nodes == {"object": Agreement(3, 4, 4), "event": Agreement(2, 2, 2)}
    assert found.attributes == Agreement(1, 3, 2)
    assert found.triples == {
        "relation": Agreement(1, 2, 1),
        "motion": Agreement(0, 0, 1),
        "reference": Agreement(0, 0, 1),
        "event": Agreement(1, 1, 1),
        "spatial": Agreement(0, 0, 1),
        "temporal": Agreement(0, 1, 1),
    }
    assert found.overlaps == (pytest.approx(0.5),)
    assert found.timed["relation"] == Agreement(1, 2, 1)
    assert compare_graphs(scene(nodes, edges), TRUTH, Matching(min_overlap=0.6)).timed["relation"] == Agreement(
        0, 2, 1
    )
    assert "object table (table 3)" in found.missing and "cup 2: color red" in found.missing
    assert "take 4 before put down 5 (temporal)" in found.missing
    assert "cup 2: color blue" in found.extra and "cup 2 near plate 9 (unmatched) (relation)" in found.extra
    assert len(found.missing) == 1 + 1 + 4 and len(found.extra) == 1 + 2 + 2


def test_either_end_says_the_same():
    """T27: near(a, b) is near(b, a) and left of turned round is right of, but who holds whom matters."""
    nodes = [Node("a", "object", "cup"), Node("b", "object", "plate")]
    for one, other, is_same in (
        (Edge("spatial", "a", "near", "b"), Edge("spatial", "b", "near", "a"), True),
        (Edge("spatial", "a", "left of", "b"), Edge("spatial", "b", "right of", "a"), True),
        (Edge("spatial", "a", "left of", "b"), Edge("spatial", "b", "left of", "a"), False),
        (Edge("relation", "a", "holds", "b"), Edge("relation", "b", "held by", "a"), True),
        (Edge("relation", "a", "holds", "b"), Edge("relation", "b", "holds", "a"), False),
    ):
        for matching in (BY_ID, Matching()):
            found = compare_graphs(scene(nodes, [one]), scene(nodes, [other]), matching)
            assert total(found.triples.values()).shared == is_same, (one, other)
    # both directions of one statement are one statement
    both = scene(nodes, [Edge("spatial", "a", "left of", "b"), Edge("spatial", "b", "right of", "a")])
    assert compare_graphs(both, scene(nodes, both.edges[:1])).triples["spatial"] == Agreement(1, 1, 1)


def test_of_things_with_one_name_those_are_matched_that_overlap_most():
    """Three cups side by side, in another order and a little off; a fourth that nobody else saw."""
    left, middle, right = ((x, 0.2, x + 0.2, 0.8) for x in (0.1, 0.25, 0.7))
    truth = [
        Node(name, "object", "cup", track=track(0, 9, box))
        for name, box in zip("abc", (left, middle, right), strict=True)
    ]
    off = [
        Node("r", "object", "cup", track=track(0, 9, (0.72, 0.2, 0.92, 0.8))),
        Node("m", "object", "cup", track=track(0, 9, (0.22, 0.2, 0.42, 0.8))),
        Node("far", "object", "cup", track=track(0, 9, (0.5, 0.2, 0.6, 0.3))),
        Node("l", "object", "cup", track=track(0, 9, (0.09, 0.2, 0.29, 0.8))),
    ]
    found = compare_graphs(scene(off), scene(truth))
    assert dict(found.pairs) == {"r": "c", "m": "b", "l": "a"} and found.extra == ("object cup (far)",)
    # 0.03 of 0.2 off: an overlap of 0.17 / 0.23
    strict = compare_graphs(scene(off), scene(truth), Matching(min_overlap=0.75))
    assert dict(strict.pairs) == {"r": "c", "l": "a"}


def test_frames_are_met_by_time_and_those_of_one_graph_alone_do_not_count():
    """A graph of every fifth frame, from other frame numbers and times a little off, against one of every frame."""
    dense = scene([Node("a", "object", "cup", track=track(0, 99, step=0.001))])
    points = dense.nodes[0].track
    sparse_track = tuple(TrackPoint(n, p.timestamp_s + 0.01, p.box) for n, p in enumerate(points[::5]))
    sparse = scene([Node("x", "object", "cup", track=sparse_track)], num_frames=0, frames_per_second=0.0)
    assert compare_graphs(sparse, dense).pairs == (("x", "a"),)
    assert compare_graphs(sparse, dense, Matching(min_overlap=1.0)).pairs == (("x", "a"),)
    # half of the frames that both look at, since another thing of the sparse graph is seen in all of them
    half = scene([Node("x", "object", "cup", track=sparse_track[:10]), Node("y", "object", "box", track=sparse_track)])
    assert compare_graphs(half, dense, Matching(min_overlap=0.5)).pairs == (("x", "a"),)
    assert compare_graphs(half, dense, Matching(min_overlap=0.51)).pairs == ()
    # no frame in common: nothing is known of where they are to each other, and the name decides
    late = tuple(dataclasses.replace(p, timestamp_s=p.timestamp_s + 100) for p in sparse_track)
    assert compare_graphs(scene([Node("x", "object", "cup", track=late)]), dense).pairs == (("x", "a"),)


def test_nodes_without_a_place_are_told_apart_by_what_is_said_of_them():
    nodes = [Node("p1", "object", "person"), Node("p2", "object", "person"), Node("c", "object", "cup")]
    edges = [Edge("relation", "p1", "holds", "c"), Edge("relation", "p2", "watches", "p1")]
    other, names = renamed(scene(nodes, edges), "z")
    assert match_nodes(other, scene(nodes, edges), Matching()) == {new: old for old, new in names.items()}


def test_events_are_matched_by_their_intervals():
    events = [Node(f"e{n}", "event", "take", start_s=2.0 * n, end_s=2.0 * n + 1) for n in range(2)]
    moved = [
        Node("late", "event", "take", start_s=2.25, end_s=3.25),
        Node("none", "event", "take", start_s=1, end_s=2),
    ]
    found = compare_graphs(scene(moved), scene(events))
    assert found.pairs == (("late", "e1"),) and found.nodes["event"] == Agreement(1, 2, 2)


def test_times_of_a_statement_that_holds_twice():
    nodes = [Node("a", "object", "person"), Node("b", "object", "cup")]

    def holding(*intervals):
        return scene(nodes, [Edge("relation", "a", "holds", "b", *one) for one in intervals])

    found = compare_graphs(holding((0.0, 1.0), (2.0, 3.0)), holding((0.0, 1.0), (2.5, 3.5), (3.6, 4.0)))
    assert found.triples["relation"] == Agreement(1, 1, 1)  # one statement, however often
    assert found.timed["relation"] == Agreement(1, 2, 3)  # 0.5 s of 1.5 s is too little
    assert found.overlaps == (pytest.approx(1.5 / 2.9),)
    assert compare_graphs(holding((None, None)), holding((0.0, 1.0))).overlaps == ()
    assert merge_intervals([(2, 3), (0, 1), (1, 1.5), (2.2, 2.4)]) == [(0, 1.5), (2, 3)]
    assert interval_overlap([(0, 2), (1, 3)], [(2, 4)]) == 0.25


def test_a_graph_that_could_not_be_made_has_nothing():
    reference = dataclasses.replace(TRUTH, video_id="failed")
    found = compare_graphs(failed_graph(), reference)
    assert total(found.nodes.values()) == Agreement(0, 0, 6) and total(found.triples.values()) == Agreement(0, 0, 6)
    assert total(found.nodes.values()).precision is None and total(found.nodes.values()).recall == 0
    assert Agreement(0, 3, 0).recall is None
    with pytest.raises(GraphError, match="graphs of two videos cannot be compared"):
        compare_graphs(failed_graph(), TRUTH)
    for wrong in ({"nodes_by": "name"}, {"min_overlap": 0.0}, {"tolerance_s": -1.0}, {"tolerance_s": float("nan")}):
        with pytest.raises(GraphError):
            Matching(**wrong)
