"""Scene graphs, the contract between who says who does what to whom in a video and who asks about it.

`graph` is a graph in memory, `schema` its rows in three tables, `table` a folder of them, and `checks` says what is
wrong with one.
"""

from .checks import Problem, check_graph, find_problems
from .graph import EDGE_KINDS, NODE_KINDS, Edge, Node, SceneGraph, TrackPoint
from .schema import SCHEMA_VERSION, plain_name
from .table import GraphTable, GraphTables, load_graphs, write_graphs

__all__ = [
    "EDGE_KINDS",
    "NODE_KINDS",
    "SCHEMA_VERSION",
    "Edge",
    "GraphTable",
    "GraphTables",
    "Node",
    "Problem",
    "SceneGraph",
    "TrackPoint",
    "check_graph",
    "find_problems",
    "load_graphs",
    "plain_name",
    "write_graphs",
]
