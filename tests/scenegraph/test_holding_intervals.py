"""Statements about frames become half-open intervals; tracks become spatial edges, both ways round."""

import pytest

from vidreason.scenegraph import Node, TrackPoint
from vidreason.scenegraph.intervals import holding_intervals, spatial_edges


def test_intervals_are_half_open_and_broken_by_frames_and_gaps():
    times_s = [0.0, 0.1, 0.2, 0.3, 2.0, 2.1]
    held = holding_intervals(times_s, [0, 1, 3, 4, 5], frame_s=0.1, max_gap_s=1.0)
    assert [holding.positions for holding in held] == [(0, 1), (3,), (4, 5)]
    assert [(holding.start_s, holding.end_s) for holding in held] == [
        (0.0, pytest.approx(0.2)),  # up to the frame at 0.2 s, in which it does not hold
        (0.3, pytest.approx(0.4)),  # the next frame is too far to say what was in between
        (2.0, pytest.approx(2.2)),
    ]
    (whole,) = holding_intervals(times_s, range(6), frame_s=0.1, max_gap_s=1.7)
    assert (whole.start_s, whole.end_s) == (0.0, pytest.approx(2.2))
    assert holding_intervals(times_s, [], 0.1, 1.0) == []


def moving(node_id, boxes, first=0):
    track = tuple(TrackPoint(first + n, (first + n) / 10, box) for n, box in enumerate(boxes) if box)
    return Node(node_id, "object", node_id.rstrip("0123456789"), track=track)


def test_spatial_edges_of_a_thing_that_passes_another():
    """T27: each relation in both directions, at its own time."""
    still = moving("box0", [(0.4, 0.4, 0.6, 0.6)] * 10)
    passing = moving("ball0", [(x / 10, 0.45, x / 10 + 0.1, 0.55) for x in range(10)])
    edges = spatial_edges([still, passing], frame_s=0.1, max_gap_s=0.15)
    said = {(edge.subject, edge.predicate, edge.object): edge for edge in edges}
    assert len(said) == len(edges)
    assert {edge.kind for edge in edges} == {"spatial"}
    left = said["ball0", "left of", "box0"]
    assert left.frame_indices == (0, 1, 2, 3) and (left.start_s, left.end_s) == (0.0, pytest.approx(0.4))
    assert said["box0", "right of", "ball0"].frame_indices == left.frame_indices
    assert said["ball0", "inside", "box0"].frame_indices == (4, 5) == said["box0", "contains", "ball0"].frame_indices
    assert said["ball0", "right of", "box0"].frame_indices == (6, 7, 8, 9)
    assert said["box0", "near", "ball0"].frame_indices == (2, 3, 4, 5, 6, 7)
    assert said["ball0", "near", "box0"].frame_indices == (2, 3, 4, 5, 6, 7)


def test_short_relations_gaps_and_things_without_a_track():
    box, ball = (0.4, 0.4, 0.6, 0.6), (0.1, 0.4, 0.2, 0.6)
    hidden = [ball, ball, None, None, None, ball]
    edges = spatial_edges([moving("box0", [box] * 6), moving("ball0", hidden), Node("n", "object", "n")], 0.1, 0.2)
    spans = [edge.frame_indices for edge in edges if edge.predicate == "left of"]
    assert spans == [(0, 1), (5,)]
    edges = spatial_edges([moving("box0", [box] * 6), moving("ball0", hidden)], 0.1, 0.2, min_frames=2)
    assert {edge.frame_indices for edge in edges} == {(0, 1)}
    edges = spatial_edges([moving("box0", [box] * 6), moving("ball0", hidden)], 0.1, 0.4)
    assert {edge.frame_indices for edge in edges} == {(0, 1, 5)}
    # no frame in which both are seen
    assert spatial_edges([moving("box0", [box] * 3), moving("ball0", [ball] * 3, first=3)], 0.1, 1.0) == []
