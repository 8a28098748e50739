"""Programs on a graph that is written by hand, so that every answer is known without them."""

import json

import pytest

from vidreason.errors import GraphError, UnanswerableProgram
from vidreason.scenegraph.graph import Edge, Node, SceneGraph, TrackPoint
from vidreason.scenegraph.programs import OPERATIONS, count_steps, execute, program_text, read_program

BOX = (0.1, 0.1, 0.2, 0.2)


def _thing(node_id, name, color):
    track = tuple(TrackPoint(i, float(i), BOX) for i in range(10))
    return Node(node_id, "object", name, (("color", color),), track=track)


def _event(node_id, name, start_s, end_s):
    return Node(node_id, "event", name, start_s=start_s, end_s=end_s)


GRAPH = SceneGraph(
    "g",
    "g",
    "hand@1",
    "test",
    10,
    1.0,
    100,
    100,
    nodes=(
        Node("person", "object", "person"),
        _thing("ball", "ball", "red"),
        _thing("ball 2", "ball", "blue"),
        _thing("mug", "mug", "red"),
        _event("e0", "tap", 0.0, 2.0),
        _event("e1", "shake", 3.0, 5.0),
        _event("e2", "tap", 6.0, 9.0),
        _event("e3", "nod", None, None),
    ),
    edges=(
        Edge("event", "mug", "undergoes", "e0", 0.0, 2.0),
        Edge("event", "ball", "undergoes", "e1", 3.0, 5.0),
        Edge("event", "ball 2", "undergoes", "e2", 6.0, 9.0),
        Edge("spatial", "ball", "left of", "mug", 0.0, 4.0),
        Edge("spatial", "mug", "left of", "ball", 5.0, 10.0),
        Edge("relation", "person", "holds", "mug", 1.0, 8.0),
        Edge("relation", "person", "likes", "mug"),
    ),
)

OBJECTS, EVENTS = {"op": "objects"}, {"op": "events"}


def _name(name):
    return {"op": "filter", "inputs": [0], "name": name}


def _color(place, value):
    return {"op": "filter", "inputs": [place], "attribute": "color", "value": value}


@pytest.mark.parametrize(
    ("program", "answer", "steps"),
    [
        ([OBJECTS, _name("mug"), {"op": "query", "inputs": [1], "attribute": "color"}], "red", 1),
        ([OBJECTS, _color(0, "blue"), {"op": "query", "inputs": [1]}], "ball", 1),
        ([OBJECTS, _name("ball"), {"op": "count", "inputs": [1]}], "2", 1),
        ([OBJECTS, {"op": "filter", "inputs": [0], "attribute": "color"}, {"op": "count", "inputs": [1]}], "3", 1),
        ([OBJECTS, _name("cat"), {"op": "exist", "inputs": [1]}], "no", 1),
        ([OBJECTS, _name("cat"), {"op": "count", "inputs": [1]}], "0", 1),
        (
            [
                EVENTS,
                _name("tap"),
                {"op": "first", "inputs": [1]},
                {"op": "next", "inputs": [2]},
                {"op": "query", "inputs": [3]},
            ],
            "shake",
            3,
        ),
        ([EVENTS, _name("shake"), {"op": "before", "inputs": [1]}, {"op": "count", "inputs": [2]}], "1", 2),
        ([EVENTS, _name("shake"), {"op": "after", "inputs": [1]}, {"op": "count", "inputs": [2]}], "1", 2),
        (
            [
                EVENTS,
                _name("tap"),
                {"op": "last", "inputs": [1]},
                {"op": "relate", "inputs": [2], "predicate": "undergoes", "find": "subject"},
                {"op": "query", "inputs": [3], "attribute": "color"},
            ],
            "blue",
            3,
        ),
        (
            [
                EVENTS,
                _name("shake"),
                _name("tap"),
                {"op": "last", "inputs": [2]},
                {"op": "precedes", "inputs": [1, 3]},
            ],
            "yes",
            2,
        ),
        (
            [
                EVENTS,
                _name("shake"),
                _name("tap"),
                {"op": "last", "inputs": [2]},
                {"op": "precedes", "inputs": [3, 1]},
            ],
            "no",
            2,
        ),
        (
            [
                OBJECTS,
                _name("ball"),
                _color(1, "blue"),
                _name("mug"),
                {"op": "either", "inputs": [2, 3]},
                _color(4, "red"),
                {"op": "both", "inputs": [4, 5]},
                {"op": "query", "inputs": [6]},
            ],
            "mug",
            1,
        ),
        ([OBJECTS, EVENTS, {"op": "more", "inputs": [0, 1]}], "no", 1),
        (
            [
                OBJECTS,
                _name("mug"),
                {"op": "query", "inputs": [1], "attribute": "color"},
                _name("ball"),
                _color(3, "red"),
                {"op": "query", "inputs": [4], "attribute": "color"},
                {"op": "same", "inputs": [2, 5]},
            ],
            "yes",
            3,
        ),
    ],
)
def test_a_program_gives_the_answer_that_the_graph_has(program, answer, steps):
    assert execute(GRAPH, program).answer_text == answer
    assert count_steps(program) == steps
    assert read_program(program_text(program)) == program and program_text(program) == program_text(
        json.loads(json.dumps(program))
    )


def _left_of_mug(**when):
    return [
        OBJECTS,
        _name("mug"),
        {"op": "relate", "inputs": [1], "predicate": "left of", **when},
        {"op": "exist", "inputs": [2]},
    ]


def test_relations_hold_when_they_hold_and_in_their_direction():
    """T27: "left of" is no symmetric relation, and its time is half open."""
    assert execute(GRAPH, _left_of_mug()).answer_text == "yes"
    assert execute(GRAPH, _left_of_mug(when="start")).answer_text == "yes"
    assert execute(GRAPH, _left_of_mug(when="end")).answer_text == "no"
    assert execute(GRAPH, _left_of_mug(find="object", when="end")).answer_text == "yes"
    assert execute(GRAPH, _left_of_mug(find="object", when="start")).answer_text == "no"
    during = [
        OBJECTS,
        _name("mug"),
        EVENTS,
        {"op": "filter", "inputs": [2], "name": "shake"},
        {"op": "relate", "inputs": [1, 3], "predicate": "left of"},
        {"op": "query", "inputs": [4]},
    ]
    assert execute(GRAPH, during).answer_text == "ball"
    # a relation without a time is one that always holds; the kind tells edges of one predicate apart
    likes = [
        OBJECTS,
        _name("mug"),
        {"op": "relate", "inputs": [1], "predicate": "likes", "when": "end"},
        {"op": "query", "inputs": [2]},
    ]
    assert execute(GRAPH, likes).answer_text == "person"
    likes[2] = {**likes[2], "kind": "spatial"}
    with pytest.raises(UnanswerableProgram):
        execute(GRAPH, likes)


def test_what_a_step_looked_at_is_kept():
    program = [
        EVENTS,
        _name("shake"),
        {"op": "relate", "inputs": [1], "predicate": "undergoes"},
        {"op": "query", "inputs": [2], "attribute": "color"},
    ]
    execution = execute(GRAPH, program)
    assert execution.values[1:] == (("e1",), ("ball",), "red")
    assert set(execution.spans[2]) == {(3.0, 5.0)} and execution.spans[3] == ()


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ([OBJECTS, _name("cat"), {"op": "query", "inputs": [1]}], "nothing"),
        ([OBJECTS, _name("cat"), {"op": "relate", "inputs": [1], "predicate": "left of"}], "nothing"),
        ([OBJECTS, _name("ball"), {"op": "query", "inputs": [1], "attribute": "color"}], "several"),
        ([OBJECTS, _name("ball"), {"op": "relate", "inputs": [1], "predicate": "left of"}], "several"),
        ([OBJECTS, _name("person"), {"op": "query", "inputs": [1], "attribute": "color"}], "nothing"),
        ([EVENTS, _name("nod"), {"op": "next", "inputs": [1]}], "nothing"),
        ([EVENTS, {"op": "first", "inputs": [0]}], "nothing"),
        (
            [
                EVENTS,
                _name("tap"),
                {"op": "last", "inputs": [1]},
                {"op": "next", "inputs": [2]},
                {"op": "query", "inputs": [3]},
            ],
            "nothing",
        ),
    ],
)
def test_a_question_without_one_answer_has_none(program, reason):
    """T24: a filter that finds nothing is not everything, and one of several is not picked."""
    with pytest.raises(UnanswerableProgram) as caught:
        execute(GRAPH, program)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    "program",
    [
        [],
        [OBJECTS] * 65,
        [{"op": "think"}],
        [{"op": ["objects"]}],
        [OBJECTS, {"op": "count", "inputs": [1]}],
        [OBJECTS, {"op": "count", "inputs": [-1]}],
        [OBJECTS, {"op": "count", "inputs": [True]}],
        [OBJECTS, {"op": "count", "inputs": 0}],
        [OBJECTS, {"op": "count"}],
        [OBJECTS, {"op": "filter", "inputs": [0]}],
        [OBJECTS, {"op": "filter", "inputs": [0], "name": 3}],
        [OBJECTS, {"op": "count", "inputs": [0]}, {"op": "count", "inputs": [1]}],
        [OBJECTS, _name("mug"), {"op": "relate", "inputs": [1], "predicate": "left of", "when": "soon"}],
    ],
)
def test_what_is_no_program_is_named(program):
    with pytest.raises(GraphError) as caught:
        execute(GRAPH, program)
    assert not isinstance(caught.value, UnanswerableProgram)


def test_texts_that_are_no_programs_are_named():
    for text in ("", "{", "{}", "[1]", "[" * 100_000):
        with pytest.raises(GraphError):
            read_program(text)
    assert {"filter", "relate", "query", "count", "exist"} <= set(OPERATIONS)
