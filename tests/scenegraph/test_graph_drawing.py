"""Pictures of graphs: boxes lie on what they are of, names are where they can be read, and nothing is mirrored."""

import dataclasses
import itertools

import numpy as np
import pytest
from fixtures.scene_graphs import FRAMES_PER_SECOND, failed_graph, kitchen_graph
from PIL import Image

from vidreason.audit.graph_picture import MAX_NODES, draw_graph, gather_arrows, lay_out
from vidreason.errors import GraphError
from vidreason.scenegraph import Edge, Node, TrackPoint
from vidreason.scenegraph.drawing import (
    describe_edges,
    draw_moment,
    draw_strip,
    node_colors,
    node_label,
    read_frames,
)
from vidreason.scenegraph.moment import moment_of, telling_times
from vidreason.video import write_video

GRAPH = kitchen_graph()
HEIGHT, WIDTH = 120, 200


def test_what_holds_at_a_moment():
    at_start = moment_of(GRAPH, 0.4)
    assert set(at_start.boxes) == {"person 1", "cup 2"} and [node.node_id for node in at_start.events] == ["take 4"]
    assert [edge.predicate for edge in at_start.edges] == ["holds", "moves right", "left of"]
    assert [edge.predicate for edge in moment_of(GRAPH, 0.8).edges] == ["holds", "moves right"]  # the end is exclusive
    assert not moment_of(GRAPH, 2.4).edges and set(moment_of(GRAPH, 2.44).boxes) == {"person 1"}
    assert set(moment_of(GRAPH, 2.44, tolerance_s=0.1).boxes) == {"person 1", "cup 2"}  # its last box is at 2.36 s
    assert moment_of(GRAPH, 1.0).boxes["cup 2"] == pytest.approx((0.2421875, 0.25, 0.6171875, 0.75))
    assert telling_times(GRAPH, 4) == [0.48, 1.48, 2.48, 3.48]
    events = dataclasses.replace(GRAPH, nodes=GRAPH.nodes[4:], edges=GRAPH.edges[5:])
    assert telling_times(events, 2) == [0.9, 1.9]
    assert telling_times(failed_graph(), 3) == []
    assert describe_edges(GRAPH, (*at_start.edges, at_start.edges[0])) == [
        "person 1 holds cup 2",
        "cup 2 moves right",
        "cup 2 left of table 3",
    ]
    other = dataclasses.replace(GRAPH, nodes=(dataclasses.replace(GRAPH.nodes[0], node_id="7"),), edges=())
    assert node_label(other, "7") == "person (7)"


@pytest.fixture(scope="module")
def moving_square(tmp_path_factory):
    """A video of a green square that goes right in the upper left, and the graph of it."""
    path = tmp_path_factory.mktemp("video") / "square.mp4"
    frames, points = [], []
    for number in range(40):
        frame = np.full((HEIGHT, WIDTH, 3), 255, dtype=np.uint8)
        x0, y0 = 20 + 2 * number, 30
        frame[y0 : y0 + 20, x0 : x0 + 30] = (0, 160, 0)
        frames.append(frame)
        box = (x0 / WIDTH, y0 / HEIGHT, (x0 + 30) / WIDTH, (y0 + 20) / HEIGHT)
        points.append(TrackPoint(number, number / FRAMES_PER_SECOND, box))
    write_video(path, frames, FRAMES_PER_SECOND)
    node = Node("square", "object", "square", track=tuple(points))
    graph = dataclasses.replace(GRAPH, frame_height=HEIGHT, frame_width=WIDTH, nodes=(node,), edges=())
    return path, graph


def test_boxes_lie_on_what_they_are_of(moving_square):
    path, graph = moving_square
    times_s = [0.2, 1.2]
    frames = read_frames(path, times_s)
    for time_s in times_s:
        frame = frames[time_s].astype(int)
        green = (frame[..., 1] > frame[..., 0] + 60) & (frame[..., 1] > frame[..., 2] + 60)
        drawn = draw_moment(frames[time_s], graph, moment_of(graph, time_s))
        outline = (drawn == node_colors(graph)["square"]).all(axis=2)
        rows, columns = np.nonzero(green)
        # below the name, which stands above the box
        framed_rows, framed_columns = np.nonzero(outline[rows.min() :, :])
        assert abs(framed_columns.min() - columns.min()) <= 1 and abs(framed_columns.max() - columns.max()) <= 1
        assert abs(framed_rows.max() + rows.min() - rows.max()) <= 1
        assert outline[: rows.min()].any()  # the name
        assert (frames[time_s] == frame).all()  # and not in the frame itself
    strip = draw_strip(graph, times_s, frames, width_px=WIDTH)
    assert strip.shape[1] == 2 * WIDTH + 10 and strip.shape[0] > HEIGHT
    assert draw_strip(graph, count=3).shape[1] == 3 * 320 + 2 * 10
    with pytest.raises(GraphError, match="graph 'failed' speaks of no time"):
        draw_strip(failed_graph())


def test_names_do_not_hide_one_another_and_stay_in_the_frame():
    at_border = [(0.0, 0.0, 0.9, 0.9), (0.0, 0.0, 0.8, 0.8), (0.7, 0.0, 1.0, 0.02), (0.95, 0.9, 1.0, 1.0)]
    nodes = tuple(
        Node(f"a long name {number}", "object", "thing", track=(TrackPoint(0, 0.0, box),))
        for number, box in enumerate(at_border)
    )
    graph = dataclasses.replace(GRAPH, nodes=nodes, edges=())
    frame = np.full((300, 400, 3), 255, dtype=np.uint8)
    drawn = draw_moment(frame, graph, moment_of(graph, 0.0))
    for color in node_colors(graph).values():
        # each name's background is there, as large as a line of text
        assert (drawn == color).all(axis=2).sum() > 60 * 12
    tiny = (drawn[: round(0.02 * 300), 300:] == node_colors(graph)["a long name 2"]).all(axis=2)
    assert tiny[:, 10:].any()  # a flat box at the border is not hidden by its name

    def drawn_with(*boxes, height=180):
        nodes = tuple(
            Node(f"a long name {number}", "object", "thing", track=(TrackPoint(0, 0.0, box),))
            for number, box in enumerate(boxes)
        )
        graph = dataclasses.replace(GRAPH, nodes=nodes, edges=())
        drawn = draw_moment(np.full((height, 320, 3), 255, dtype=np.uint8), graph, moment_of(graph, 0.0))
        return [(drawn == node_colors(graph)[node.node_id]).all(axis=2) for node in nodes]

    # more boxes at one place than lines fit below one another: no name is under another
    for ground in drawn_with(*[(0.05 + 0.02 * n, 0.5 + 0.01 * n, 0.9, 0.98) for n in range(9)]):
        assert ground.sum() > 100 * 10
    # a name does not lie on a small box that stands above its own
    above, _ = drawn_with((0.4, 0.40, 0.45, 0.47), (0.4, 0.48, 0.45, 0.6))
    assert above[72:84, 128:143].sum() > 40


def test_a_picture_of_a_graph(tmp_path, monkeypatch):
    arrows = {(a.subject, a.object, a.kind): a.lines for a in gather_arrows(GRAPH)}
    assert arrows["person 1", "cup 2", "relation"] == ("holds (0.4–2.4 s)",)  # noqa: RUF001
    assert arrows["person 1", "take 4", "event"] == ("agent of",)
    both = dataclasses.replace(
        GRAPH,
        edges=(
            Edge("spatial", "cup 2", "left of", "table 3", 0.0, 1.0),
            Edge("spatial", "table 3", "right of", "cup 2", 0.0, 1.0),
            *(Edge("relation", "person 1", "touches", "cup 2", n, n + 0.5) for n in range(3)),
            *(Edge("relation", "person 1", f"verb {n}", "table 3") for n in range(6)),
        ),
    )
    arrows = {(a.subject, a.object): a.lines for a in gather_arrows(both)}
    assert arrows == {
        ("cup 2", "table 3"): ("left of (0.0–1.0 s)",),  # noqa: RUF001
        ("person 1", "cup 2"): ("touches (3 times in 0.0–2.5 s)",),  # noqa: RUF001
        ("person 1", "table 3"): ("verb 0", "verb 1", "verb 2", "and 3 more"),
    }
    places = lay_out(GRAPH.nodes, gather_arrows(GRAPH))
    assert places["take 4"][1] == places["put down 5"][1] < min(places[n.node_id][1] for n in GRAPH.nodes[:4])
    assert places["take 4"][0] < places["put down 5"][0]
    events = tuple(
        Node(f"{n}", "event", "putting down a bottle somewhere", start_s=1.0 * n, end_s=n + 0.01) for n in range(16)
    )
    figures = []
    with monkeypatch.context() as patch:
        patch.setattr("vidreason.audit.graph_picture.save_figure", lambda figure, path: figures.append(figure))
        for count in (4, 8, 16):
            draw_graph(dataclasses.replace(GRAPH, nodes=events[:count], edges=()), tmp_path / "events.png")
    for figure in figures:
        texts = [text for text in figure.axes[0].texts if "bottle" in text.get_text()]
        places = [text.get_window_extent() for text in texts]
        assert not any(one.overlaps(other) for one, other in itertools.combinations(places, 2)), len(texts)
        assert texts[3].get_text().endswith("3.0 s") and len(texts) in (4, 8, 16)
    first = draw_graph(GRAPH, tmp_path / "a" / "graph.png")
    assert first.read_bytes() == draw_graph(GRAPH, tmp_path / "again.png").read_bytes()
    picture = np.asarray(Image.open(first).convert("RGB"))
    for color in list(node_colors(GRAPH).values())[: len(GRAPH.nodes)]:
        assert (abs(picture.astype(int) - color).max(axis=2) < 8).sum() > 100, color
    many = tuple(Node(f"n{number}", "object", "thing") for number in range(MAX_NODES + 30))
    edges = tuple(Edge("relation", f"n{n}", "near", f"n{n + 1}") for n in range(20, 40))
    crowd = dataclasses.replace(GRAPH, nodes=many, edges=edges)
    assert draw_graph(crowd, tmp_path / "crowd.png").stat().st_size > 10_000
    assert draw_graph(failed_graph(), tmp_path / "failed.svg").is_file()
