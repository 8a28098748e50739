"""Scene graphs against others whose mistakes are known: shares, statuses, files, and what cannot be judged."""

import csv
import dataclasses
import json
import sys

import pytest
from fixtures.scene_graphs import failed_graph, kitchen_graph

from datasets_scripts import audit_graphs as script
from vidreason.audit.graphs_report import GraphAuditSettings, audit_graphs
from vidreason.errors import ConfigError, GraphError
from vidreason.scenegraph import write_graphs

NUM_VIDEOS = 12


def audit(out, **settings):
    written = audit_graphs(GraphAuditSettings(out=str(out), resamples=100, **settings))
    return json.loads((out / "audit.json").read_text()), written


def scores_of(facts):
    return {(one["part"], one["kind"]): one for one in facts["scores"]}


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    graphs = [kitchen_graph(f"v{number}") for number in range(NUM_VIDEOS)]
    return write_graphs(tmp_path_factory.mktemp("reference"), {"train": [*graphs, failed_graph("unmade")]})


def with_mistakes():
    """Every third graph lacks its cup, one could not be made, one is missing, one goes by another name."""
    for number in range(NUM_VIDEOS - 1):
        graph = kitchen_graph(f"v{number}")
        if number == 1:
            yield dataclasses.replace(failed_graph("v1"), video_id=graph.video_id)
        elif number % 3 == 0:
            gone = "cup 2"
            kept = tuple(edge for edge in graph.edges if gone not in (edge.subject, edge.object))
            nodes = tuple(node for node in graph.nodes if node.node_id != gone)
            yield dataclasses.replace(graph, nodes=nodes, edges=kept)
        else:
            yield dataclasses.replace(graph, graph_id="another name" if number == 2 else graph.graph_id)


def test_mistakes_cost_what_they_are_and_what_is_missing_counts(reference, tmp_path):
    same, _ = audit(tmp_path / "same", graphs=str(reference), reference=str(reference))
    for key, one in scores_of(same).items():
        assert one["precision"]["value"] == one["recall"]["value"] == 1, key
    assert same["time_overlap"]["value"] == 1 and same["unjudged"] == {"refused": 1} and same["videos"] == NUM_VIDEOS

    judged = write_graphs(tmp_path / "judged", {"train": with_mistakes()})
    facts, written = audit(tmp_path / "audit", graphs=str(judged), reference=str(reference), num_examples=3)
    assert facts["statuses"] == {"train": {"missing": 1, "ok": 10, "refused": 1}}
    scores = scores_of(facts)
    # of 12 graphs 2 have nothing and 4 (v0, v3, v6, v9) lack the cup: one of 4 objects and 4 of 6 statements
    assert scores["nodes", "object"]["counts"] == {"shared": 36, "found": 36, "expected": 48}
    assert scores["nodes", ""]["counts"] == {"shared": 56, "found": 56, "expected": 72}
    assert scores["statements", ""]["counts"] == {"shared": 6 * 6 + 4 * 2, "found": 44, "expected": 72}
    assert scores["attributes", ""]["counts"] == {"shared": 12, "found": 12, "expected": 24}
    assert scores["timed statements", "relation"]["recall"]["value"] == 0.5
    recall = scores["nodes", "object"]["recall"]
    assert recall["low"] < recall["value"] == 0.75 < recall["high"] and scores["nodes", ""]["precision"]["value"] == 1
    assert ["object", "cup", 16, 16, 24] in facts["names"] and ["relation", "holds", 6, 6, 12] in facts["predicates"]

    assert [path.name for path in written[:4]] == ["audit.json", "audit.csv", "graphs.csv", "audit.md"]
    assert len(written) == 4 + 3 + 1 and all(path.stat().st_size for path in written)  # two of the worst have no graph
    with (tmp_path / "audit" / "graphs.csv").open() as file:
        rows = {row["graph_id"]: row for row in csv.DictReader(file)}
    assert len(rows) == NUM_VIDEOS and rows["v11"]["status"] == "missing" and rows["v2"]["nodes_shared"] == "6"
    assert rows["v0"]["statements_shared"] == "2" and rows["v0"]["statements_expected"] == "6"
    with (tmp_path / "audit" / "audit.csv").open() as file:
        recalls = {
            (row["part"], row["kind"], row["name"]): row for row in csv.DictReader(file) if row["measure"] == "recall"
        }
    assert (
        float(recalls["nodes", "object", "all"]["value"]) == 0.75 and recalls["nodes", "object", "cup"]["low"] == "n/a"
    )
    report = (tmp_path / "audit" / "audit.md").read_text()
    assert "| nodes | object | 36 | 36 | 48 | 100.0 [100.0, 100.0] | 75.0 [" in report
    assert "Missing: object cup (cup 2); " in report and "![v0 as it is](pictures/" in report
    assert "1 graphs of the reference could not be made themselves" in report


def test_the_command_and_what_it_cannot_judge(reference, tmp_path, monkeypatch, capsys):
    arguments = ["--graphs", str(reference), "--reference", str(reference), "--match", "id", "--num_examples", "0"]
    monkeypatch.setattr(
        sys, "argv", ["audit_graphs.py", *arguments, "--resamples", "100", "--out", str(tmp_path / "a")]
    )
    assert script.main() == 0
    assert "| statements | relation | 12 | 12 | 12 |" in capsys.readouterr().out
    other = write_graphs(tmp_path / "other", {"test": [kitchen_graph("elsewhere", "test")]})
    for settings, error, message in (
        ({"graphs": str(other)}, GraphError, "no graph and no video in common"),
        ({"graphs": str(reference), "splits": ["test"]}, GraphError, "has no split 'test'"),
        ({"graphs": str(reference), "min_overlap": 0.0}, GraphError, "min_overlap is 0.0"),
        ({"graphs": str(reference), "num_examples": -1}, ConfigError, "--num_examples is -1"),
        ({"graphs": str(tmp_path)}, GraphError, "are these scene graphs"),
    ):
        with pytest.raises(error, match=message):
            audit(tmp_path / "b", reference=str(reference), **settings)
