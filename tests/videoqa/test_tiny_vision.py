"""The first lessons of a tiny Video-LLM's vision tower: what lies in which cell, and that it is learned."""

import json

import numpy as np
import pytest
import torch
from transformers import AutoModelForImageTextToText

from vidreason.errors import ConfigError
from vidreason.scenegraph.graph import Edge, Node, SceneGraph, TrackPoint
from vidreason.scenegraph.table import write_graphs
from vidreason.synthetic.graphs import world_graphs
from vidreason.synthetic.tabletop import build_synthetic_tabletop
from vidreason.videoqa.__main__ import main
from vidreason.videoqa.frames import ShownFrames
from vidreason.videoqa.tiny_model import TinyVideoLLMSettings, make_tiny_video_llm, save_tiny_video_llm
from vidreason.videoqa.tiny_vision import VisionLessons, cell_labels, teach_vision

SMALL = TinyVideoLLMSettings(side_px=32, vision_width=32, vision_layers=2, width=32, layers=2, heads=2)


def thing(name, color, boxes):
    track = tuple(TrackPoint(number, 0.5 * number, box) for number, box in enumerate(boxes))
    return Node(f"{color} {name}", "object", name, attributes=(("color", color),), track=track)


def graph_of(*nodes, edges=()):
    return SceneGraph("g", "v", "drawn@1", "train", 4, 2.0, 32, 32, nodes, edges)


def test_a_cell_has_what_lies_in_it_and_what_is_done_with_it():
    ball = thing("ball", "red", [(0.05, 0.05, 0.2, 0.2), (0.55, 0.05, 0.7, 0.2)])
    book = thing("book", "blue", [(0.3, 0.6, 0.95, 0.9)] * 2)
    tap = Node("event 0", "event", "tap", start_s=0.5, end_s=1.0)
    graph = graph_of(ball, book, tap, edges=(Edge("event", "red ball", "undergoes", "event 0"),))
    first, second = cell_labels(graph, [0.0, 0.5], 2, 2)
    red, blue = {"ball", "red", "red ball"}, {"book", "blue", "blue book"}
    # rows from above: the ball is at the upper left, then at the upper right while it is tapped; the book reaches over
    # both lower cells, with three tenths of it in the left one
    assert first == [red, set(), blue, blue]
    assert second == [set(), red | {"tap"}, blue, blue]
    # of a thing that is smaller than any share, the cell with most of it
    tiny = thing("pin", "black", [(0.499, 0.1, 0.9, 0.101)])
    assert cell_labels(graph_of(tiny), [0.0], 2, 2) == [[set(), {"pin", "black", "black pin"}, set(), set()]]


def drawn_clips(count, seed):
    """Squares of two colors in one cell of four each, in frames that do not move."""
    draw = np.random.default_rng(seed)
    for _ in range(count):
        places = draw.permutation(4)[:2]
        frames, nodes = np.full((4, 32, 32, 3), 90, np.uint8), []
        for place, (color, channel) in zip(places, (("red", 0), ("blue", 2)), strict=True):
            y, x = divmod(int(place), 2)
            frames[:, 16 * y + 3 : 16 * y + 13, 16 * x + 3 : 16 * x + 13] = 0
            frames[:, 16 * y + 3 : 16 * y + 13, 16 * x + 3 : 16 * x + 13, channel] = 220
            box = ((16 * x + 3) / 32, (16 * y + 3) / 32, (16 * x + 13) / 32, (16 * y + 13) / 32)
            nodes.append(thing("square", color, [box] * 4))
        yield ShownFrames(frames, (0.0, 0.5, 1.0, 1.5), (0, 1, 2, 3), 0.0, 2.0, 2.0), graph_of(*nodes)


def test_a_tower_learns_what_lies_where_and_the_rest_of_the_model_stays():
    model, processor = make_tiny_video_llm(["what"], SMALL)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    clips = list(drawn_clips(64, 0))
    state = torch.get_rng_state()
    history = teach_vision(model, processor, clips, VisionLessons(epochs=12, batch_size=8, learning_rate=5e-3))
    assert torch.equal(torch.get_rng_state(), state)
    assert [row["epoch"] for row in history] == list(range(1, 13))
    # a square in every cell would be right half of the time, a mirrored or transposed cell by chance
    assert history[0]["f1"] < 0.8 and history[-1]["f1"] > 0.97 and history[-1]["loss"] < 0.25 * history[0]["loss"]
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed and all(name.startswith("model.visual.") for name in changed)
    again, _ = make_tiny_video_llm(["what"], SMALL)
    teach_vision(again, processor, clips, VisionLessons(epochs=12, batch_size=8, learning_rate=5e-3))
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
    with pytest.raises(ConfigError, match="no label is true of 20 cells"):
        teach_vision(model, processor, clips[:4])
    with pytest.raises(ConfigError, match="positive numbers"):
        VisionLessons(epochs=0)


def test_a_command_teaches_a_saved_model_by_a_table_of_graphs(tmp_path, capsys):
    world, graphs, out = tmp_path / "world", tmp_path / "graphs", tmp_path / "out"
    build_synthetic_tabletop(world, split_sizes={"train": 2}, num_proc=1)
    write_graphs(graphs, world_graphs(world))
    save_tiny_video_llm(tmp_path / "model", ["what"], SMALL)
    flags = [
        "teach_vision",
        "--graphs",
        graphs,
        "--manifest",
        world,
        "--max_side_px",
        32,
        "--epochs",
        2,
        "--least_count",
        4,
    ]
    assert main(list(map(str, [*flags, "--model", tmp_path / "model", "--out", out]))) == 0
    assert "after 2 epochs F1" in capsys.readouterr().out
    lessons = json.loads((out / "vision_lessons.json").read_text())
    assert lessons["split"] == "train" and len(lessons["epochs"]) == 2
    AutoModelForImageTextToText.from_pretrained(out)
    for changes, message in (
        (["--split", "none"], "no split 'none'"),
        (["--model", world], "cannot be loaded"),
        (["--model", out], "own folder"),
    ):
        assert main(list(map(str, [*flags, "--model", tmp_path / "model", "--out", out, *changes]))) != 0
        assert message in capsys.readouterr().err
