"""A picture of a scene graph: its nodes, and an arrow for all of one kind that is said of two of them.

Objects stand in a circle, events below them from left to right, by time. Colours of nodes are those of
`vidreason.scenegraph.drawing`, so that a picture of the graph and frames of its video go together.
"""

from __future__ import annotations

import os
import textwrap
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import networkx as nx
import numpy as np

from ..reporting.plots import new_figure, save_figure
from ..scenegraph.directions import TURNED, one_way
from ..scenegraph.drawing import node_colors, node_label
from ..scenegraph.graph import EDGE_KINDS, Edge, Node, SceneGraph
from ..scenegraph.overlap import merge_intervals

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.text import Text

MAX_NODES = 24
"""Nodes that a picture can hold; of more, those with the most edges are drawn, and the title says so."""

_MAX_LINES = 4  # of what is said at one arrow
KIND_COLORS = dict(zip(EDGE_KINDS, ("#0072B2", "#D55E00", "#000000", "#AA3377", "#00795A", "#8A5A00"), strict=True))
"""Kind of an edge -> colour of its arrow and text: Okabe and Ito's, those too pale for small text made darker."""

_MAX_CHARACTERS = 20  # of a line of a node's name
_IN_ROW = 4  # nodes side by side at one height; more stand at several

_IN_CIRCLE = (
    9  # up to so many nodes stand in a circle, where all arrows have room; more show their structure by springs
)
_BENDS = (0.18, 0.36, 0.09, 0.54)
"""Bends of an arrow as shares of its length, the first choice first. All to one side: two of opposite directions stay
apart."""

_LOOP = -1.6  # bend of an arrow from a node to itself
_PLACES = (0.5, 0.42, 0.58, 0.34, 0.66, 0.27, 0.73)  # along an arrow, where its text may stand


@dataclass(frozen=True)
class Arrow:
    """What is said from one node to another by edges of one kind.

    Args:
        subject: `node_id` where it begins.
        object: `node_id` where it ends.
        kind: Kind of its edges.
        lines: Predicates, each with the times that it holds.
    """

    subject: str
    object: str
    kind: str
    lines: tuple[str, ...]


def draw_graph(graph: SceneGraph, path: str | os.PathLike, title: str = "") -> Path:
    """Draw a graph into a file, and return its path.

    Args:
        graph: The graph.
        path: File of the picture; its suffix gives the format.
        title: Text above it; by default what the graph is of.
    """
    nodes = _chosen(graph)
    arrows = gather_arrows(graph, {node.node_id for node in nodes})
    width_in = min(15.0, 8.0 + 0.25 * max(len(arrows), len(nodes)))
    figure, axes = new_figure(width_in, 0.72 * width_in, 1, 1)
    axis = axes[0, 0]
    axis.set_axis_off()
    axis.set(xlim=(-0.14, 1.14), ylim=(-0.16, 1.12))
    left_out = len(graph.nodes) - len(nodes)
    rest = f" ({left_out} nodes with fewer edges are left out)" if left_out else ""
    status = "" if graph.provenance.get("status") == "ok" else f": {graph.provenance.get('status')}"
    axis.set_title((title or f"{graph.graph_id} of {graph.source}{status}") + rest, fontsize=11, loc="left")
    if nodes:
        places = lay_out(nodes, arrows)
        texts = _draw_nodes(axis, graph, nodes, places)
        figure.canvas.draw()  # extents of texts are known from here on
        _draw_arrows(axis, arrows, texts, places)
        _add_legend(axis, arrows)
    return save_figure(figure, path)


def gather_arrows(graph: SceneGraph, among: Iterable[str] | None = None) -> list[Arrow]:
    """All of one kind that is said from one node to another as one arrow, for each pair and direction.

    What can be said from either end is said from one ("left of" and not "right of" as well).

    Args:
        graph: The graph.
        among: Nodes that arrows are drawn between; all by default.
    """
    wanted = {node.node_id for node in graph.nodes} if among is None else set(among)
    said: dict[tuple[str, str, str], dict[str, list[Edge]]] = defaultdict(lambda: defaultdict(list))
    for edge in (one_way(edge, TURNED) for edge in graph.edges):
        if edge.subject in wanted and edge.object in wanted:
            said[edge.subject, edge.object, edge.kind][edge.predicate].append(edge)
    arrows = []
    for (subject, target, kind), by_predicate in said.items():
        lines = [_sentence(predicate, edges) for predicate, edges in by_predicate.items()]
        if len(lines) > _MAX_LINES:
            lines = [*lines[: _MAX_LINES - 1], f"and {len(lines) - _MAX_LINES + 1} more"]
        arrows.append(Arrow(subject, target, kind, tuple(lines)))
    return arrows


def _sentence(predicate: str, edges: Sequence[Edge]) -> str:
    intervals = [(e.start_s, e.end_s) for e in edges if e.start_s is not None and e.end_s is not None]
    merged = merge_intervals(intervals)
    if not merged:
        return predicate
    if len(merged) > 2:
        return f"{predicate} ({len(merged)} times in {_span(merged[0][0], merged[-1][1])} s)"
    return f"{predicate} (" + ", ".join(_span(start, end) for start, end in merged) + " s)"


def _span(start_s: float, end_s: float) -> str:
    """An interval in seconds, as one number where it is of one key frame and both ends would read the same."""
    start, end = f"{start_s:.1f}", f"{end_s:.1f}"
    return start if start == end else f"{start}–{end}"  # noqa: RUF001


def _chosen(graph: SceneGraph) -> list[Node]:
    if len(graph.nodes) <= MAX_NODES:
        return list(graph.nodes)
    degrees = Counter(name for edge in graph.edges for name in (edge.subject, edge.object))
    kept = sorted(graph.nodes, key=lambda node: -degrees[node.node_id])[:MAX_NODES]
    names = {node.node_id for node in kept}
    return [node for node in graph.nodes if node.node_id in names]


# Layout


def lay_out(nodes: Sequence[Node], arrows: Sequence[Arrow]) -> dict[str, np.ndarray]:
    """Where nodes stand: `node_id` -> (x, y) in [0, 1], y up.

    Objects stand in the middle, those that nothing is said of in a row at the top, events in one at the bottom.
    """
    joined = {name for arrow in arrows for name in (arrow.subject, arrow.object)}
    alone = [node.node_id for node in nodes if node.kind != "event" and node.node_id not in joined]
    objects = [node.node_id for node in nodes if node.kind != "event" and node.node_id in joined]
    events = sorted((node for node in nodes if node.kind == "event"), key=lambda node: node.start_s or 0.0)
    low, high = (0.42 if events else 0.0), (0.8 if alone else 1.0)
    places = {name: np.asarray([x, low + (high - low) * y]) for name, (x, y) in _in_middle(objects, arrows).items()}
    places |= _in_row(alone, 1.0, -0.07)
    places |= _in_row([node.node_id for node in events], -0.03, 0.13)
    return places


def _in_row(names: Sequence[str], height: float, step: float) -> dict[str, np.ndarray]:
    """Side by side, from a number on at two or three heights, so that neighbours' names do not meet."""
    count, heights = max(len(names), 1), min(3, -(-len(names) // _IN_ROW))
    return {name: np.asarray([(n + 0.5) / count, height + step * (n % heights)]) for n, name in enumerate(names)}


def _in_middle(names: Sequence[str], arrows: Sequence[Arrow]) -> dict[str, np.ndarray]:
    if len(names) < 3:
        return {name: np.asarray([(number + 0.5) / len(names), 0.5]) for number, name in enumerate(names)}
    network = nx.Graph()
    network.add_nodes_from(names)
    network.add_edges_from((a.subject, a.object) for a in arrows if a.subject in network and a.object in network)
    # in a circle every arrow has room and no three nodes are in a line; along the arrows, so that few of them cross.
    # Springs draw a chain of nodes as one line, whose names hide its arrows
    order = list(nx.dfs_preorder_nodes(network, names[0]))
    order += [name for name in nx.dfs_preorder_nodes(network) if name not in order]
    places = nx.circular_layout(order)
    points = np.asarray([places[name] for name in names])
    low, extent = points.min(axis=0), np.ptp(points, axis=0)
    scaled = (points - low) / np.where(extent > 1e-6, extent, 1.0)
    return dict(zip(names, scaled, strict=True))


# Drawing


def _draw_nodes(
    axis: Axes, graph: SceneGraph, nodes: Sequence[Node], places: Mapping[str, np.ndarray]
) -> dict[str, Text]:
    colors = node_colors(graph)
    texts = {}
    for node in nodes:
        # a name on one line would be wider than its share of a row
        lines = textwrap.wrap(node_label(graph, node.node_id), _MAX_CHARACTERS, break_on_hyphens=False)
        lines += [f"{type_}: {value}" for type_, value in node.attributes[:3]]
        if node.start_s is not None and node.end_s is not None:
            lines.append(f"{_span(node.start_s, node.end_s)} s")
        shape = {"boxstyle": "square,pad=0.35" if node.kind == "event" else "round,pad=0.4"}
        color = tuple(channel / 255 for channel in colors[node.node_id])
        box = {**shape, "facecolor": "white", "edgecolor": color, "linewidth": 2.2}
        x, y = places[node.node_id]
        texts[node.node_id] = axis.text(
            x, y, "\n".join(lines), ha="center", va="center", fontsize=9, bbox=box, zorder=3
        )
    return texts


def _draw_arrows(
    axis: Axes, arrows: Sequence[Arrow], nodes: Mapping[str, Text], places: Mapping[str, np.ndarray]
) -> None:
    from matplotlib.patches import FancyArrowPatch

    boxes = {name: _extent(text) for name, text in nodes.items()}
    taken = list(boxes.values())
    bent: dict[tuple[str, str], list[float]] = defaultdict(list)
    for arrow in arrows:
        color = KIND_COLORS[arrow.kind]
        start, end = places[arrow.subject], places[arrow.object]
        between: dict[str, Any] = {"patchA": None, "patchB": None}
        if arrow.subject == arrow.object:
            start, end, bend = start + np.asarray([-0.03, 0.03]), end + np.asarray([0.03, 0.03]), _LOOP
        else:
            others = [box for name, box in boxes.items() if name not in (arrow.subject, arrow.object)]
            bend = _choose_bend(axis, start, end, others, bent[arrow.subject, arrow.object])
            between = {"patchA": nodes[arrow.subject].get_bbox_patch(), "patchB": nodes[arrow.object].get_bbox_patch()}
        bent[arrow.subject, arrow.object].append(bend)
        style: dict[str, Any] = {"connectionstyle": f"arc3,rad={bend}", "arrowstyle": "-|>", "mutation_scale": 13}
        axis.add_patch(
            FancyArrowPatch(
                tuple(start),
                tuple(end),
                **style,
                **between,
                shrinkA=2,
                shrinkB=2,
                color=color,
                linewidth=1.2,
                zorder=1,
            )
        )
        taken.append(_write_lines(axis, arrow, color, _curve(axis, start, end, bend), taken))


def _choose_bend(
    axis: Axes, start: np.ndarray, end: np.ndarray, others: Sequence[Any], used: Sequence[float]
) -> float:
    """The first bend that no arrow of the pair has and that goes behind no other node, or behind few."""

    def hidden(bend: float) -> int:
        curve = _curve(axis, start, end, bend)
        points = axis.transData.transform([curve(share) for share in np.linspace(0.05, 0.95, 19)])
        return sum(box.contains(x, y) for box in others for x, y in points)

    free = [bend for bend in _BENDS if bend not in used] or list(_BENDS)
    return min(free, key=hidden)


def _curve(axis: Axes, start: np.ndarray, end: np.ndarray, bend: float) -> Any:
    """The points of an arrow, as matplotlib's `arc3` bends it: a share of the way -> (x, y) in the axis."""
    a, b = axis.transData.transform(np.asarray([start, end]))
    middle, (across, up) = (a + b) / 2, b - a
    control = middle + bend * np.asarray([up, -across])
    back = axis.transData.inverted()
    return lambda t: back.transform((1 - t) ** 2 * a + 2 * t * (1 - t) * control + t**2 * b)


def _write_lines(axis: Axes, arrow: Arrow, color: str, curve: Any, taken: Sequence[Any]) -> Any:
    """Write what an arrow says where it hides least of what stands there already; the place that it takes."""
    box = {"boxstyle": "round,pad=0.12", "facecolor": "white", "edgecolor": "none", "alpha": 0.85}
    x, y = curve(0.5)
    style: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 7.5, "color": color, "bbox": box, "zorder": 2}
    text = axis.text(x, y, "\n".join(arrow.lines), **style)
    best, least = curve(_PLACES[0]), float("inf")
    for share in _PLACES:
        text.set_position(curve(share))
        place = _extent(text)
        hidden = sum(_shared_area(place, other) for other in taken)
        if hidden < least:
            best, least = curve(share), hidden
    text.set_position(best)
    return _extent(text)


def _extent(text: Text) -> Any:
    """Where a text is in pixels, with the frame around it."""
    return text.get_window_extent().padded(0.4 * float(text.get_fontsize()))


def _shared_area(a: Any, b: Any) -> float:
    across, down = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
    return max(across, 0.0) * max(down, 0.0)


def _add_legend(axis: Axes, arrows: Sequence[Arrow]) -> None:
    from matplotlib.lines import Line2D

    kinds = [kind for kind in EDGE_KINDS if any(arrow.kind == kind for arrow in arrows)]
    if len(kinds) > 1:
        lines = [Line2D([], [], color=KIND_COLORS[kind], label=kind) for kind in kinds]
        axis.legend(handles=lines, loc="lower right", fontsize=8, frameon=False, ncols=len(kinds))
