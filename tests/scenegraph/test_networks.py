"""Graphs as networks and as node-link JSON."""

import dataclasses
import json
import random

import networkx as nx
import pytest
from fixtures.scene_graphs import failed_graph, kitchen_graph

from vidreason.errors import GraphError
from vidreason.scenegraph import Edge
from vidreason.scenegraph.directions import TURNED, one_way
from vidreason.scenegraph.networks import from_networkx, graph_from_node_link, node_link_json, to_networkx


def test_a_graph_becomes_a_network_and_back():
    """T27: direction, parallel edges, ids, and node-link JSON read back, by networkx itself too."""
    graph = kitchen_graph()
    # statements of one pair twice, in both directions, and in an order that networkx would not keep by itself
    edges = (*graph.edges, graph.edges[0], Edge("relation", "cup 2", "touches", "person 1"), graph.edges[1])
    graph = dataclasses.replace(graph, edges=edges)
    network = to_networkx(graph)
    assert isinstance(network, nx.MultiDiGraph) and network.graph["video_id"] == "video kitchen"
    assert list(network) == [node.node_id for node in graph.nodes]
    assert network.nodes["cup 2"]["attributes"] == (("color", "red"), ("size", "small"))
    assert [network.edges[key]["predicate"] for key in network.edges if key[:2] == ("person 1", "cup 2")] == [
        "holds",
        "holds",
    ]
    assert {data["predicate"] for data in network["cup 2"]["person 1"].values()} == {"touches"}
    for made in (graph, failed_graph()):
        assert from_networkx(to_networkx(made)) == made
        text = node_link_json(made)
        assert "edges" in json.loads(text) and "links" not in json.loads(text)
        assert graph_from_node_link(text) == made
        assert graph_from_node_link(json.dumps(json.loads(text), indent=1)) == made
    read = nx.node_link_graph(json.loads(node_link_json(graph)), edges="edges")
    assert set(read.edges) == set(network.edges) and read.nodes["take 4"]["end_s"] == 1.2


def test_statements_from_either_end():
    """T27: a relation that holds both ways, one with another end, and one with neither."""
    edges = {
        predicate: Edge("relation", "b", predicate, "a", 1.0, 2.0)
        for predicate in ("near", "held by", "holds", "right of", "left of", "pushes")
    }
    said = {name: (one.subject, one.predicate, one.object) for name, edge in edges.items() if (one := one_way(edge))}
    assert said == {
        "near": ("a", "near", "b"),
        "held by": ("a", "holds", "b"),
        "holds": ("b", "holds", "a"),
        "right of": ("a", "left of", "b"),
        "left of": ("b", "left of", "a"),
        "pushes": ("b", "pushes", "a"),
    }
    for edge in edges.values():
        assert one_way(one_way(edge)) == one_way(edge) and one_way(edge).start_s == 1.0
    # a predicate that others are turned into is not turned itself, or comparing would go round in circles
    assert all(other not in TURNED or TURNED[other] == other for other in TURNED.values())

    graph = kitchen_graph()
    network = to_networkx(graph, TURNED)
    ends = {
        (subject, data["predicate"], target) for subject, target, data in network.edges(data=True) if "implied" in data
    }
    assert ends == {
        ("cup 2", "held by", "person 1"),
        ("cup 2 later", "same as", "cup 2"),
        ("table 3", "right of", "cup 2"),
        ("put down 5", "after", "take 4"),
    }
    assert from_networkx(network) == graph
    assert nx.shortest_path(network, "table 3", "person 1") == ["table 3", "cup 2", "person 1"]


def test_a_network_that_was_changed_by_hand():
    network = to_networkx(kitchen_graph())
    network.remove_node("table 3")
    network.add_edge(
        "cup 2", "person 1", **{**vars(Edge("relation", "", "touches", "")), "start_s": 1.0, "end_s": 2.0}
    )
    with pytest.raises(GraphError, match="'object' is no field of it"):
        from_networkx(network)
    attributes = network["cup 2"]["person 1"][0]
    del attributes["subject"], attributes["object"]
    graph = from_networkx(network)
    assert len(graph.nodes) == 5 and Edge("relation", "cup 2", "touches", "person 1", 1.0, 2.0) in graph.edges
    network.add_edge("cup 2", "persson 1", **attributes)
    with pytest.raises(GraphError, match="node 'persson 1': nothing is said of it; is an edge's end misspelled"):
        from_networkx(network)


def test_json_that_is_no_graph_is_named():
    text = node_link_json(kitchen_graph())
    data = json.loads(text)

    def changed(**changes):
        return json.dumps({**data, **changes})

    for broken, message in (
        (text[:-5], "cannot be read: no JSON"),
        ("[" * 100_000, "cannot be read"),
        ("[]", "an object with a list of nodes"),
        (changed(links=data["edges"], edges=None), '"links" is their key of old'),
        (changed(directed=False), "must be directed and a multigraph"),
        (changed(nodes=data["nodes"] + data["nodes"][:1]), "has the node 'person 1' twice"),
        (changed(nodes=data["nodes"][1:]), "node 'person 1': nothing is said of it"),
        (changed(nodes=[{**node, "id": 3} for node in data["nodes"]]), "a node whose id is no text"),
        (changed(graph=[]), "without attributes of its own"),
        (changed(graph={}), "graph_id, video_id, .* missing"),
        (changed(edges=[{**data["edges"][0], "author": 1}]), "'author' is no field of it"),
    ):
        with pytest.raises(GraphError, match=message):
            graph_from_node_link(broken)


def test_no_json_ends_in_another_error():
    """Values of JSON at random places of a graph: read as the contract has it, or a `GraphError`."""
    data = json.loads(node_link_json(kitchen_graph()))
    values = [None, True, -1, 1e300, "", "x", [], {}, [[]], [1, 2, 3], {"a": 1}, "person 1"]
    rng = random.Random(0)
    refused = 0
    for _ in range(600):
        changed = json.loads(json.dumps(data))
        place = changed
        for _ in range(rng.randrange(1, 7)):
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            key = rng.choice(keys)
            if not isinstance(place[key], dict | list) or not place[key]:
                break
            parent, place = place, place[key]
        else:
            place, key = parent, key
        place[key] = rng.choice(values)
        try:
            graph_from_node_link(json.dumps(changed))
        except GraphError:
            refused += 1
    assert refused > 300
