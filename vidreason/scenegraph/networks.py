"""Scene graphs as networks of networkx, for whoever walks, searches or draws them, and as its node-link JSON.

A node's key is its `node_id`, an edge's key is its place among the graph's edges, so that a network that was changed
becomes a graph again in the same order, and what was not changed is the same.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

import networkx as nx

from ..errors import GraphError
from ..plain_json import parse_plain_json
from .checks import check_graph
from .graph import Edge, Node, SceneGraph, TrackPoint

_GRAPH_FIELDS = tuple(entry.name for entry in dataclasses.fields(SceneGraph) if entry.name not in ("nodes", "edges"))
_NODE_FIELDS = tuple(entry.name for entry in dataclasses.fields(Node) if entry.name != "node_id")
_EDGE_FIELDS = tuple(entry.name for entry in dataclasses.fields(Edge) if entry.name not in ("subject", "object"))


def to_networkx(graph: SceneGraph, both_ways: Mapping[str, str] | None = None) -> nx.MultiDiGraph:
    """A graph as a network.

    Args:
        graph: The graph.
        both_ways: Predicates that can be said from either end, as `vidreason.scenegraph.directions.TURNED` has them:
            each such edge is there from both ends then, and the one that the graph does not have is marked
            `implied=True`. By default edges go from subject to object alone.

    Returns:
        A network whose own attributes are the fields of the graph, whose nodes have the fields of `Node`, and whose
        edges go from subject to object and have the other fields of `Edge`.
    """
    network = nx.MultiDiGraph(**{name: getattr(graph, name) for name in _GRAPH_FIELDS})
    for node in graph.nodes:
        network.add_node(node.node_id, **{name: getattr(node, name) for name in _NODE_FIELDS})
    for number, edge in enumerate(graph.edges):
        fields = {name: getattr(edge, name) for name in _EDGE_FIELDS}
        network.add_edge(edge.subject, edge.object, key=number, **fields)
        for predicate in _other_ends(edge.predicate, both_ways or {}):
            # the same key: from object to subject it is another edge, and both stand for one statement
            implied = {**fields, "predicate": predicate, "implied": True}
            if edge.subject != edge.object:
                network.add_edge(edge.object, edge.subject, key=number, **implied)
    return network


def _other_ends(predicate: str, turned: Mapping[str, str]) -> list[str]:
    """What holds from object to subject, in the words of the table: none, or the first word that it has."""
    if predicate in turned:
        return [turned[predicate]]
    return [name for name, other in turned.items() if other == predicate][:1]


def from_networkx(network: nx.MultiDiGraph) -> SceneGraph:
    """The graph of a network as `to_networkx` makes them. Implied edges are left out.

    Args:
        network: The network; its values may be as JSON has them.

    Raises:
        GraphError: It has not the attributes of a graph, or what it says breaks the contract.
    """
    if not isinstance(network.graph, dict):  # of JSON, anything
        raise GraphError("a network without attributes of its own is no scene graph")
    where = f"network {network.graph.get('graph_id', '?')!r}"
    fields = _fields(where, network.graph, _GRAPH_FIELDS)
    nodes = [_node(where, name, attributes) for name, attributes in network.nodes(data=True)]
    numbered = [
        (key, _edge(where, subject, target, attributes))
        for subject, target, key, attributes in network.edges(keys=True, data=True)
        if not attributes.get("implied")
    ]
    # edges that were added by hand have keys of networkx's own, which count from 0 for each pair of nodes
    if len({key for key, _ in numbered}) == len(numbered) and all(isinstance(key, int) for key, _ in numbered):
        numbered.sort(key=lambda entry: entry[0])
    graph = SceneGraph(**fields, nodes=tuple(nodes), edges=tuple(edge for _, edge in numbered))
    check_graph(graph)
    return graph


def _fields(where: str, attributes: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    missing = [name for name in names if name not in attributes]
    if missing:
        raise GraphError(f"{where}: {', '.join(missing)} missing")
    unknown = sorted(set(attributes) - set(names) - {"implied"}, key=str)
    if unknown:
        raise GraphError(f"{where}: {unknown[0]!r} is no field of it")
    return {name: attributes[name] for name in names}


def _node(where: str, name: Any, attributes: Mapping[str, Any]) -> Node:
    where = f"{where}, node {name!r}"
    if not attributes:  # networkx makes a node of every name that an edge has
        raise GraphError(f"{where}: nothing is said of it; is an edge's end misspelled?")
    fields = _fields(where, attributes, _NODE_FIELDS)
    try:
        fields["attributes"] = tuple((type_, value) for type_, value in fields["attributes"])
        fields["track"] = tuple(_track_point(point) for point in fields["track"])
    except (TypeError, ValueError) as error:
        raise GraphError(f"{where}: its attributes or its track cannot be read ({error})") from error
    return Node(name, **fields)


def _track_point(point: Any) -> TrackPoint:
    if isinstance(point, TrackPoint):
        return point
    frame_index, timestamp_s, box = point
    x0, y0, x1, y1 = box
    return TrackPoint(frame_index, timestamp_s, (x0, y0, x1, y1))


def _edge(where: str, subject: Any, target: Any, attributes: Mapping[str, Any]) -> Edge:
    where = f"{where}, edge from {subject!r} to {target!r}"
    fields = _fields(where, attributes, _EDGE_FIELDS)
    if not isinstance(fields["frame_indices"], list | tuple):
        raise GraphError(f"{where}: frame_indices is {fields['frame_indices']!r}, expected a list")
    fields["frame_indices"] = tuple(fields["frame_indices"])
    return Edge(subject=subject, object=target, **fields)


# JSON


def node_link_json(graph: SceneGraph) -> str:
    """A graph as JSON in networkx's node-link form, with its edges under "edges".

    Args:
        graph: The graph.
    """
    # said in full: before networkx 3.6 the key was "links" where nothing was said, and readers differ still
    data = nx.node_link_data(to_networkx(graph), edges="edges")
    for node in data["nodes"]:
        node["track"] = [[point.frame_index, point.timestamp_s, point.box] for point in node["track"]]
    return json.dumps(data, ensure_ascii=False, allow_nan=False, default=dict)


def graph_from_node_link(text: str) -> SceneGraph:
    """The graph of a text as `node_link_json` makes it.

    Args:
        text: JSON in networkx's node-link form.

    Raises:
        GraphError: It is no such JSON, names a node twice, has an edge to a node that it lacks, or what it says
            breaks the contract.
    """
    try:
        data = parse_plain_json(text)
    except (ValueError, RecursionError) as error:
        raise GraphError(f"a scene graph in JSON cannot be read: {error}") from error
    names = _listed_names(data)
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:  # networkx would make one node of them
        raise GraphError(f"a scene graph in JSON has the node {twice[0]!r} twice")
    try:
        network = nx.node_link_graph(data, directed=True, multigraph=True, edges="edges")
    except (KeyError, TypeError, ValueError, AttributeError, nx.NetworkXError) as error:
        raise GraphError(f"a scene graph in JSON is not in networkx's node-link form: {error!r}") from error
    return from_networkx(network)


def _listed_names(data: Any) -> list[str]:
    if not isinstance(data, dict) or not isinstance(data.get("nodes"), list):
        raise GraphError("a scene graph in JSON must be an object with a list of nodes")
    if not isinstance(data.get("edges"), list):
        hint = '; "links" is their key of old: rename it' if "links" in data else ""
        raise GraphError(f"a scene graph in JSON must have a list of edges{hint}")
    if data.get("directed") is not True or data.get("multigraph") is not True:
        raise GraphError("a scene graph in JSON must be directed and a multigraph, and say so")
    names = [node["id"] for node in data["nodes"] if isinstance(node, dict) and isinstance(node.get("id"), str)]
    if len(names) < len(data["nodes"]):
        raise GraphError("a scene graph in JSON has a node whose id is no text")
    return names
