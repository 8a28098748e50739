"""Scene graphs on disk: what is written is read back, by `datasets` too, and nothing half or mixed is taken."""

import dataclasses
import pickle
import shutil

import datasets
import pyarrow.parquet as pq
import pytest
from fixtures.scene_graphs import failed_graph, kitchen_graph

from vidreason import files
from vidreason.errors import GraphError
from vidreason.scenegraph import GraphTables, load_graphs, write_graphs
from vidreason.scenegraph import table as graph_table


def many(count, split="train"):
    """Graphs of different numbers of nodes and edges, some without any."""
    for number in range(count):
        graph = kitchen_graph(f"g{number}", split)
        if number % 5 == 3:
            yield failed_graph(f"g{number}", split)
        elif number % 5 == 4:
            yield dataclasses.replace(graph, nodes=graph.nodes[:2], edges=graph.edges[:2] * number)
        else:
            yield dataclasses.replace(graph, edges=graph.edges[: number % 7])


@pytest.fixture(params=[0, 2**30], ids=["mapped", "in memory"])
def in_memory_bytes(request, monkeypatch, tmp_path):
    monkeypatch.setattr(files.read_folder, "__defaults__", (request.param,))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    return request.param


def test_graphs_are_read_as_they_were_written(tmp_path, in_memory_bytes, monkeypatch):
    monkeypatch.setattr(graph_table, "_BATCH_ROWS", 16)
    monkeypatch.setattr(graph_table, "_HEADERS_AT_ONCE", 7)
    whole = {"train": list(many(23)), "test": [kitchen_graph("only", "test")]}
    folder = write_graphs(tmp_path / "graphs", {split: iter(graphs) for split, graphs in whole.items()}, license="mit")
    assert pq.ParquetFile(folder / "nodes/data/train-00000-of-00001.parquet").num_row_groups > 3
    tables = load_graphs(folder)
    assert set(tables.splits) == set(tables) == {"train", "test"} and len(tables["train"]) == 23
    for split, graphs in whole.items():
        assert list(tables[split]) == graphs
        assert [tables[split][number] for number in range(len(graphs))] == graphs
        assert [tables[split].get(graph.graph_id) for graph in graphs] == graphs
        assert tables[split].graph_ids == [graph.graph_id for graph in graphs]
    assert tables["train"][-1] == whole["train"][-1]
    assert "g22" in tables["train"] and "g22" not in tables["test"] and "valid" not in tables
    sent = pickle.dumps(tables["train"])
    assert list(pickle.loads(sent)) == whole["train"]
    assert tables["train"].nodes.cache_files if not in_memory_bytes else not tables["train"].nodes.cache_files
    with pytest.raises(GraphError, match="there is no graph 'nobody' among 23"):
        tables["train"].get("nobody")
    with pytest.raises(IndexError):
        tables["train"][23]
    with pytest.raises(GraphError, match=r"no split 'valid'; there are \['t"):
        tables["valid"]


def test_the_card_opens_each_table_and_tells_two_folders_apart(tmp_path):
    for name, count in (("a", 6), ("b", 7)):
        write_graphs(tmp_path / name / "graphs", {"train": many(count)}, "Some graphs", "Of a kitchen.")
    for name, count in (("a", 6), ("b", 7), ("a", 6)):
        folder, cache = str(tmp_path / name / "graphs"), str(tmp_path / "cache")
        rows = {part: datasets.load_dataset(folder, part, split="train", cache_dir=cache) for part in files_of()}
        assert len(rows["graphs"]) == count
        assert datasets.load_dataset(folder, cache_dir=cache)["train"].column_names == rows["graphs"].column_names
        assert sum(rows["graphs"]["num_nodes"]) == len(rows["nodes"])
        assert sum(rows["graphs"]["num_edges"]) == len(rows["edges"])
        assert rows["nodes"][1]["track"][0]["box"] == [0.125, 0.25, 0.5, 0.75]
        assert rows["nodes"].features == graph_table.FEATURES["nodes"]
    card = (tmp_path / "b" / "graphs" / "README.md").read_text()
    assert card.count("Content SHA-256") == 3 and "Of a kitchen." in card
    # of 7 graphs one failed and one has but two nodes, both objects, and eight edges of the first two kinds
    assert "| train | 22 | 10 | 12 | 955 | 8 | 7 | 2 | 2 | 2 | 1 |" in card


def files_of():
    return graph_table.CONFIGURATIONS


def test_graphs_without_nodes_or_edges_make_tables_that_open(tmp_path):
    write_graphs(tmp_path / "graphs", {"train": [failed_graph()]})
    assert list(load_graphs(tmp_path / "graphs")["train"]) == [failed_graph()]
    rows = datasets.load_dataset(str(tmp_path / "graphs"), "graphs", cache_dir=str(tmp_path / "cache"))
    assert [row["graph_id"] for row in rows["train"]] == ["failed"]
    assert list(GraphTables({"graphs": rows, "nodes": {}, "edges": {}})["train"]) == [failed_graph()]
    # one split without rows must not keep the others of its configuration from being opened
    both = {"train": [kitchen_graph()], "test": [failed_graph(split="test")]}
    folder = write_graphs(tmp_path / "both" / "graphs", both)
    nodes = datasets.load_dataset(str(folder), "nodes", cache_dir=str(tmp_path / "cache"))
    assert {split: len(table) for split, table in nodes.items()} == {"train": 6}
    assert {split: list(table) for split, table in load_graphs(folder).items()} == both
    with pytest.raises(GraphError, match="there are no scene graphs to write"):
        write_graphs(tmp_path / "none", {"train": []})


def test_what_breaks_the_contract_leaves_the_old_table(tmp_path):
    folder = write_graphs(tmp_path / "graphs", {"train": many(3)})
    before = {path: path.read_bytes() for path in folder.rglob("*.parquet")}
    good = kitchen_graph()
    dangling = dataclasses.replace(good, graph_id="bad", nodes=good.nodes[:1])
    for graphs, message in (
        ([good, good], "graph 'kitchen': given twice"),
        ([kitchen_graph("x", "test")], "its split is 'test' but it was given for 'train'"),
        ([good, dangling], "graph 'bad': edge 0 .*dangling edge .*there is no node 'cup 2'"),
    ):
        with pytest.raises(GraphError, match=message):
            write_graphs(folder, {"train": graphs})
        assert {path: path.read_bytes() for path in folder.rglob("*.par*")} == before


def test_tables_that_do_not_belong_together_are_refused(tmp_path):
    folder = write_graphs(tmp_path / "graphs", {"train": many(6)})
    other = write_graphs(tmp_path / "other", {"train": many(7)})
    # as many rows of nodes, of graphs by other names
    renamed = write_graphs(
        tmp_path / "renamed",
        {"train": [dataclasses.replace(graph, graph_id=f"h{n}") for n, graph in enumerate(many(6))]},
    )

    def swapped(part, source):
        mixed = tmp_path / f"mixed_{part}_{source.name}"
        shutil.copytree(folder, mixed)
        shutil.rmtree(mixed / part)
        if source != folder:
            shutil.copytree(source / part, mixed / part)
        return mixed

    with pytest.raises(GraphError, match=r"num_edges of the graphs add up to .* written anew without the others"):
        load_graphs(swapped("edges", other))
    with pytest.raises(GraphError, match="graph 'g0': rows of 'h0' among its nodes"):
        load_graphs(swapped("nodes", renamed))["train"][0]
    with pytest.raises(GraphError, match="there is no folder nodes/ in it; are these scene graphs"):
        load_graphs(swapped("nodes", folder))
    with pytest.raises(GraphError, match="neither a folder nor can be loaded"):
        load_graphs(tmp_path / "nowhere")
    tests = write_graphs(tmp_path / "tests", {"test": many(2, "test")})
    shutil.rmtree(tests / "edges")
    shutil.copytree(other / "edges", tests / "edges")
    with pytest.raises(GraphError, match="edges has a split 'train' and graphs has none"):
        load_graphs(tests)


def test_rows_of_other_hands_are_checked_when_they_are_read(tmp_path):
    """A table from outside may hold anything: another type of column, nulls, graphs that break the contract."""
    folder = write_graphs(tmp_path / "graphs", {"train": [kitchen_graph()]})
    path = folder / "nodes/data/train-00000-of-00001.parquet"
    rows = datasets.Dataset.from_parquet(str(path), cache_dir=str(tmp_path / "cache"))

    def rewritten(types=None, **columns):
        changed = {**{name: rows[name][:] for name in rows.column_names}, **columns}
        features = datasets.Features({**rows.features, **(types or {})})
        datasets.Dataset.from_dict(changed, features=features).to_parquet(str(path))
        return load_graphs(folder)["train"]

    tracks = rows["track"][:]
    tracks[0] = [{"frame_index": 0, "timestamp_s": None, "box": [0.0, 0.0, 1.0, 1.0]}]
    with pytest.raises(GraphError, match=r"graph 'kitchen': its rows cannot be read .*without frame, time or box"):
        rewritten(track=tracks)[0]
    tracks[0] = [{"frame_index": 0, "timestamp_s": 0.0, "box": [0.0, 0.0, 2.0, 1.0]}]
    with pytest.raises(GraphError, match="node 'person 1': box outside frame"):
        rewritten(track=tracks)[0]
    with pytest.raises(GraphError, match="name is None, expected a text"):
        rewritten(name=[None] * 6)[0]
    with pytest.raises(GraphError, match="attributes of one of its nodes is null"):
        rewritten(attributes=[None] * 6)[0]
    with pytest.raises(GraphError, match=r"column 'start_s' of nodes is .*string.*, expected .*float64"):
        rewritten({"start_s": datasets.Value("string")}, start_s=["soon"] * 6)
