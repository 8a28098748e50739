"""Scene graphs of the three worlds, and questions about them, against the truth that they were made from."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from fixtures.small_worlds import ACTIONS_WORLD, ASSEMBLY_WORLD, TABLETOP_WORLD

from vidreason.errors import ConfigError, GraphError
from vidreason.files import read_folder
from vidreason.scenegraph.programs import count_steps, execute, read_program
from vidreason.synthetic import TRUTH_FOLDER
from vidreason.synthetic.graphs import world_graphs
from vidreason.synthetic.question_templates import TEMPLATES
from vidreason.synthetic.questions import QuestionSettings, blind_prior, world_descriptions, world_questions
from vidreason.videoqa.tables import load_questions, write_questions

WORLDS = {"actions": ACTIONS_WORLD, "assembly": ASSEMBLY_WORLD, "tabletop": TABLETOP_WORLD}


@pytest.fixture(scope="module")
def graphs(folder_of):
    return {name: {s: list(g) for s, g in world_graphs(folder_of(world)).items()} for name, world in WORLDS.items()}


@pytest.fixture(scope="module")
def made(graphs):
    settings = QuestionSettings(choice_share=0.5, proposals_per_type=20)
    return {name: world_questions(found["train"], settings) for name, found in graphs.items()}


@pytest.mark.parametrize("name", WORLDS)
def test_a_graph_says_of_each_frame_what_the_truth_says(name, graphs, folder_of):
    frames = {}
    for row in read_folder(folder_of(WORLDS[name]) / TRUTH_FOLDER)["train"]:
        frames.setdefault(row["video_id"], []).append(row)
    assert [graph.video_id for graph in graphs[name]["train"]] == list(frames)
    for graph in graphs[name]["train"][:3]:
        rows = frames[graph.video_id]
        assert graph.num_frames == len(rows)
        tracks = {n.node_id: {point.frame_index: point for point in n.track} for n in graph.nodes}
        events = [node for node in graph.nodes if node.kind == "event"]
        for row in rows:
            index, time_s = row["frame_index"], row["timestamp_s"]
            assert {n for n, track in tracks.items() if index in track} == {o["name"] for o in row["objects"]}
            for entry in row["objects"]:
                assert tracks[entry["name"]][index].box == tuple(entry["box"])
                assert tracks[entry["name"]][index].timestamp_s == time_s
            holding = {
                (edge.subject, edge.predicate, edge.object)
                for edge in graph.edges
                if edge.kind == "relation" and edge.start_s <= time_s < edge.end_s
            }
            assert holding == {(r["subject"], r["predicate"], r["object"]) for r in row["relations"]}
            now = [event.name for event in events if event.start_s <= time_s < event.end_s]
            segment = row["segment"].replace("_", " ")
            assert now == ([] if segment in ("idle", "background") else [segment])
        for event in events:
            doers = [e.subject for e in graph.edges if e.object == event.node_id and e.predicate == "does"]
            assert doers == ["hand"] or name == "assembly"


def test_the_tabletop_graph_has_colors_sizes_and_both_directions(graphs):
    """T27: what is left of another has it at its right, in the same interval."""
    for graph in graphs["tabletop"]["train"]:
        for node in graph.nodes:
            kinds = [kind for kind, _ in node.attributes]
            assert kinds == (
                []
                if node.kind == "event" or node.name in ("person", "hand")
                else ["color"]
                if node.name == "box"
                else ["color", "size"]
            )
        spatial = {(e.subject, e.predicate, e.object, e.start_s, e.end_s) for e in graph.edges if e.kind == "spatial"}
        assert spatial
        for subject, predicate, other, start, end in spatial:
            if predicate == "left of":
                assert (other, "right of", subject, start, end) in spatial
                points = {p.timestamp_s: p.box for p in graph.node(other).track}
                at = next(p for p in graph.node(subject).track if p.timestamp_s == start)
                assert at.box[0] < points[start][0]


def test_what_is_no_world_is_named(tmp_path, folder_of):
    with pytest.raises(GraphError, match="truth"):
        world_graphs(tmp_path)
    with pytest.raises(GraphError, match="nowhere"):
        world_graphs(folder_of(TABLETOP_WORLD), ["nowhere"])


@pytest.mark.parametrize("name", WORLDS)
def test_every_answer_is_what_its_program_gives(name, made, graphs, tmp_path):
    """T25: executing the stored program gives the stored answer, and exactly one option is right."""
    by_id = {graph.graph_id: graph for graph in graphs[name]["train"]}
    rows = made[name].rows
    assert len(rows) == made[name].counts["asked"] > 0
    for row in rows:
        graph, program = by_id[row["graph_id"]], read_program(row["program"])
        assert execute(graph, program).answer_text == row["answer"]
        assert row["num_steps"] == count_steps(program)
        assert row["rationale"].endswith(f"so the answer is {row['answer']}.")
        assert row["evidence_spans"] and row["question_type"] in TEMPLATES
        if row["answer_format"] == "choice":
            assert row["options"].count(row["answer"]) == 1 and row["options"][row["answer_index"]] == row["answer"]
            assert len(set(row["options"])) == 4
        for entry in row["evidence_boxes"]:
            point = next(p for p in graph.node(entry["node_id"]).track if p.frame_index == entry["frame_index"])
            assert tuple(entry["box"]) == point.box
            assert any(s["start_s"] <= entry["timestamp_s"] < s["end_s"] for s in row["evidence_spans"])
    folder = write_questions(tmp_path, {"train": rows}, "Questions")
    assert load_questions(folder)["train"].to_list() == rows


def test_questions_are_of_many_steps_and_no_answer_is_the_common_one(made):
    rows = made["tabletop"].rows
    assert {1, 2, 3, 4} <= {row["num_steps"] for row in rows}
    assert {row["answer_format"] for row in rows} == {"choice", "open", "yes_no"}
    counts = made["tabletop"].counts
    assert counts["nothing"] > 0 and counts["several"] > 0 and counts["balance"] > 0
    for kind in ("is_there", "is_beside", "is_before"):
        answers = Counter(row["answer"] for row in rows if row["question_type"] == kind)
        assert abs(answers["yes"] - answers["no"]) <= 1
    prior = blind_prior(rows, rows)
    assert sum(total for _, total in prior.values()) == len(rows)


def test_nothing_is_asked_that_has_no_one_answer(graphs):
    """T24: by counting in the graph itself, and not by executing."""
    for graph in graphs["tabletop"]["train"]:
        shaken = [
            e.subject
            for event in graph.nodes
            if event.name == "shake"
            for e in graph.edges
            if e.object == event.node_id and e.predicate == "undergoes"
        ]
        asked = {
            row["question"]: row["answer"]
            for row in world_questions([graph], QuestionSettings(questions_per_video=500, proposals_per_type=500)).rows
        }
        text = "what color is the thing that the hand shakes?"
        one = len(shaken) == 1
        assert (text in asked) <= one
        if text in asked:
            assert asked[text] == dict(graph.node(shaken[0]).attributes)["color"]
        kinds = Counter(node.name for node in graph.nodes if dict(node.attributes).get("color"))
        for kind, number in kinds.items():
            if number > 1:
                assert f"what color is the {kind}?" not in asked


def test_the_same_seed_gives_the_same_bytes_whatever_the_hash_seed(folder_of, tmp_path):
    """T28."""
    root = Path(__file__).parents[2]
    found = []
    for hash_seed in ("1", "2"):
        out = tmp_path / hash_seed
        command = [sys.executable, "-m", "datasets_scripts.build", "world-questions", "--out", str(out)]
        command += [
            "--world",
            str(folder_of(TABLETOP_WORLD)),
            "--choice_share",
            "0.3",
            "--graphs",
            str(out / "graphs"),
        ]
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(root)}
        subprocess.run(command, check=True, cwd=root, env=environment, capture_output=True)
        found.append({path.relative_to(out): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()})
    assert found[0] == found[1] and len(found[0]) > 5
    counts = json.loads(found[0][Path("counts.json")])
    assert set(counts) == {"train", "test"}


def test_descriptions_say_what_is_there_and_what_is_done(graphs, tmp_path):
    rows = list(world_descriptions(graphs["tabletop"]["train"]))
    write_questions(tmp_path, {"train": rows})
    for graph, things, actions in zip(graphs["tabletop"]["train"], rows[::2], rows[1::2], strict=True):
        colors = [dict(node.attributes).get("color") for node in graph.nodes]
        said = [word.removesuffix(",") for word in things["answer"].split()]
        assert Counter(filter(None, colors)) == Counter(word for word in said if word in colors)
        assert actions["answer"].count("the hand") == sum(node.kind == "event" for node in graph.nodes)
    assert "something " not in next(world_descriptions(graphs["assembly"]["train"]))["answer"]
    only = world_questions(graphs["tabletop"]["train"], QuestionSettings(types=["color_of"]))
    assert {row["question_type"] for row in only.rows} == {"color_of"}


def test_a_blind_guess_knows_what_the_other_split_answered():
    def row(question, answer, kind="color_of"):
        return {"question": question, "answer": answer, "question_type": kind, "num_steps": 1}

    known = [row("a?", "red"), row("a?", "red"), row("a?", "blue"), row("b?", "blue"), row("b?", "blue")]
    asked = [row("a?", "red"), row("a?", "blue"), row("c?", "blue"), row("d?", "yes", "unknown")]
    assert blind_prior(asked, known) == {("color_of", 1): (2, 3), ("unknown", 1): (0, 1)}


@pytest.mark.parametrize(
    "setting", [{"questions_per_video": 0}, {"proposals_per_type": 0}, {"choice_share": 1.5}, {"types": ["why"]}]
)
def test_settings_that_ask_nothing_are_named(setting):
    with pytest.raises(ConfigError, match=next(iter(setting))):
        QuestionSettings(**setting)
