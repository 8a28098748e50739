"""Scene graphs, the contract between who says who does what to whom in a video and who asks about it.

`graph` is a graph in memory.
"""

from .graph import EDGE_KINDS, NODE_KINDS, Edge, Node, SceneGraph, TrackPoint

__all__ = ["EDGE_KINDS", "NODE_KINDS", "Edge", "Node", "SceneGraph", "TrackPoint"]
