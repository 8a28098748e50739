"""The command that builds graphs, from each of its sources on small files, and what it says of broken ones."""

import json
import pickle
import sys
from pathlib import Path

import pytest
from fixtures.layout_trees import put

from datasets_scripts.build import BUILDERS
from datasets_scripts.build_graphs import SOURCES, BuildGraphsArguments, find_videos, main
from vidreason.scenegraph import load_graphs


@pytest.fixture
def run(monkeypatch, capsys):
    def call(*words: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["build_graphs.py", *map(str, words)])
        status = main()
        printed = capsys.readouterr()
        return status, printed.out + printed.err

    return call


def vidor_file(name: str) -> str:
    boxes = [[{"tid": 0, "bbox": {"xmin": 1, "ymin": 1, "xmax": 5, "ymax": 5}}]] * 3
    return json.dumps(
        {
            **{"video_id": name, "frame_count": 3, "fps": 25, "width": 10, "height": 10},
            "subject/objects": [{"tid": 0, "category": "dog"}, {"tid": 1, "category": "toy"}],
            "trajectories": boxes,
            "relation_instances": [
                {"subject_tid": 0, "object_tid": 1, "predicate": "bite", "begin_fid": 0, "end_fid": 2}
            ],
        }
    )


def counts(folder: Path) -> dict[str, list[str]]:
    tables = load_graphs(folder)
    return {split: [graph.graph_id for graph in tables[split]] for split in tables.splits}


def test_vidor(run, tmp_path):
    """A broken file of many is counted and named; where all are broken, nothing is written and the reason is told."""
    root = tmp_path / "annotation"
    for path in ("training/0000/1.json", "training/0001/2.json", "validation/0000/3.json"):
        put(root / path, vidor_file(Path(path).stem))
    put(root / "training/0001/4.json", "{")
    status, printed = run("--source", "vidor", "--annotations", root, "--out", tmp_path / "out")
    assert status == 0 and "1 graphs, unreadable" in printed and "4.json" in printed
    assert counts(tmp_path / "out") == {"train": ["1", "2"], "validation": ["3"]}
    report = json.loads((tmp_path / "out" / "reading.json").read_text())
    assert report["graphs"]["seen"] == 4 and report["graphs"]["kept"] == 3
    assert report["graphs"]["dropped"] == {"unreadable": 1} and report["boxes"]["kept"] == 9
    for path in root.rglob("*.json"):
        path.write_text("[]")
    status, printed = run("--source", "vidor", "--annotations", root, "--out", tmp_path / "none")
    assert status == 1 and "4 malformed" in printed and "no scene graphs" in printed


def test_star_and_action_genome(run, tmp_path):
    frame = {"rel_pairs": [["o000", "o001"]], "rel_labels": ["r000"], "actions": ["a000"]}
    item = {"question_id": "Interaction_T1_1", "video_id": "AAAAA", "situations": {"000001": frame, "000003": frame}}
    put(tmp_path / "star" / "STAR_val.json", json.dumps([item])[:-1] + ", ]")
    put(tmp_path / "star" / "object_classes.txt", "o000 person\no001 cup\n")
    put(tmp_path / "star" / "relationship_classes.txt", "r000 holding\n")
    put(tmp_path / "star" / "action_classes.txt", "a000 drink\n")
    facts = put(tmp_path / "facts.json", json.dumps({"AAAAA.mp4": 10}))
    words = ["--source", "star", "--annotations", tmp_path / "star", "--video_facts", facts, "--out", tmp_path / "out"]
    status, printed = run(*words)
    assert status == 1 and "STAR_val.json: no JSON: a comma before a closing bracket" in printed
    status, printed = run(*words, "--allow_trailing_commas", "--by_video")
    assert status == 0, printed
    assert counts(tmp_path / "out") == {"validation": ["AAAAA"]}
    (graph,) = load_graphs(tmp_path / "out")["validation"]
    assert [node.name for node in graph.nodes] == ["person", "cup", "drink"]
    entry = {"class": "cup", "visible": True, "bbox": (1, 1, 5, 5), "metadata": {"set": "test"}}
    entry["contacting_relationship"] = ["holding"]
    put(tmp_path / "ag" / "object_bbox_and_relationship.pkl", pickle.dumps({"AAAAA.mp4/000002.png": [entry]}))
    words = ["--source", "action_genome", "--annotations", tmp_path / "ag", "--out", tmp_path / "ag_out"]
    status, printed = run(*words)
    assert status == 1 and "no frame rate" in printed and "no scene graphs" in printed
    status, printed = run(*words, "--video_facts", facts)
    assert status == 0 and "no frame size" in printed
    assert counts(tmp_path / "ag_out") == {"test": ["AAAAA"]}


def test_a_world_and_its_detections(run, tmp_path, detected_world):
    """Both are graphs of the same videos; those that a manifest lacks are dropped where that is asked for."""
    folder = detected_world.manifest
    status, printed = run("--source", "synthetic", "--annotations", folder, "--out", tmp_path / "true")
    assert status == 0, printed
    true = counts(tmp_path / "true")
    assert {split: len(graphs) for split, graphs in true.items()} == {"train": 24, "validation": 12, "test": 12}
    words = ["--source", "detections", "--annotations", detected_world.detections, "--manifest", folder]
    status, printed = run(*words, "--only_manifest", "--out", tmp_path / "found")
    assert status == 0 and "48" in printed, printed
    assert {split: sorted(graphs) for split, graphs in counts(tmp_path / "found").items()} == {
        split: sorted(graphs) for split, graphs in true.items()
    }


def test_facts_of_a_video_do_not_put_it_in_the_manifest(tmp_path, detected_world):
    facts = put(tmp_path / "facts.json", json.dumps({"AAAAA.mp4": 10}))
    args = BuildGraphsArguments("x", "y", "star", manifest=str(detected_world.manifest), video_facts=str(facts))
    assert find_videos(args).find("AAAAA").frames_per_second == 10
    args.only_manifest = True
    known = find_videos(args)
    assert known.find("AAAAA") is None and known.is_manifest
    assert "graphs" in BUILDERS


def test_wrong_flags(run, tmp_path):
    for words, said in (
        (["--source", "coco", "--annotations", "x", "--out", "y"], "coco"),
        (["--source", "vidor", "--annotations", tmp_path / "none", "--out", tmp_path / "y"], "no such file"),
        (
            ["--source", "vidor", "--annotations", "x", "--out", "y", "--only_manifest"],
            "only_manifest needs a manifest",
        ),
        (["--source", "synthetic", "--annotations", tmp_path, "--out", tmp_path / "y"], "truth"),
        (["--source", "action_genome", "--annotations", tmp_path, "--out", tmp_path / "y"], "cannot be read"),
    ):
        status, printed = run(*words)
        assert status in (1, 2) and said in printed and "Traceback" not in printed
    assert not (tmp_path / "y").exists()
    assert list(SOURCES) == ["vidor", "star", "action_genome", "synthetic", "detections"]
