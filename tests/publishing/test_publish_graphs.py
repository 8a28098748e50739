"""Scene graphs are published like other tables: checked, cut into shards, with a card whose code runs as it stands."""

import dataclasses
import os
import re
import subprocess
import sys

import datasets
import numpy as np
import pytest
import yaml
from fixtures.scene_graphs import FRAMES_PER_SECOND, failed_graph, kitchen_graph
from PIL import Image

from vidreason.errors import GraphError, GuidanceError
from vidreason.files import content_hash, split_files
from vidreason.manifests.manifest import load_manifest, manifest_row, write_manifest
from vidreason.publishing.guidance_folder import PublishSettings, publish_folder
from vidreason.scenegraph import load_graphs, write_graphs
from vidreason.video import probe_video, write_video

PARTS = ("graphs", "nodes", "edges")


def graphs():
    for number in range(6):
        yield kitchen_graph(f"g{number}", video_id=f"kitchen/v{number}")
    yield dataclasses.replace(failed_graph(), video_id="kitchen/failed")


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    tests = [kitchen_graph("t", "test", video_id="kitchen/t")]
    return write_graphs(tmp_path_factory.mktemp("table") / "graphs", {"train": graphs(), "test": tests})


def test_the_folder_its_card_and_the_code_on_it(table, tmp_path):
    (tmp_path / "org").mkdir()
    settings = PublishSettings(
        repo_id="org/name", license="mit", title="Kitchens", max_rows_per_file=5, num_examples=3, raw_responses=False
    )
    published = publish_folder(table, tmp_path / "org" / "name", settings)
    assert published.num_rows == 8 and published.message == "8 rows of scene graphs"
    folder = published.folder
    assert {name.split("/")[0] for name in published.files} == {"README.md", "example.png", *PARTS}
    assert len(split_files(folder / "edges", "train")) > 1
    _, front, body = (folder / "README.md").read_text().split("---\n", 2)
    card = yaml.safe_load(front)
    assert [config["config_name"] for config in card["configs"]] == list(PARTS) and card["license"] == "mit"
    for config in card["configs"]:
        splits = [entry["split"] for entry in config["data_files"]]
        assert set(splits) == {"train", "test"}
        files = [path for split in splits for path in split_files(folder / config["config_name"], split)]
        assert config["description"] == f"Content SHA-256: {content_hash(files)}"
    for line in (
        "# Kitchens",
        "| train | 7 | 7 | 6 | 0 | 1 | 0 | 0 | 0 |",
        "| nodes: object | 28 |",
        "| boxes of tracks | 1127 |",
        "| edges: spatial | 7 |",
        "| predicate | relation | holds | 7 |",
        "A scene graph, and 3 frames",
        "`raw_response` (left out here)",
    ):
        assert line in body, line
    # all but what the model said word for word
    told = load_graphs(folder)["train"]
    assert [graph.graph_id for graph in told] == [graph.graph_id for graph in graphs()]
    assert told[0] == next(graphs()) and told.get("failed").provenance == {
        "producer": "llm",
        "status": "refused",
        "model": "tiny",
        "cost_usd": 0.25,
    }
    code = re.search(r"```python\n(.*?)```", body, re.DOTALL)[1]
    environment = {**os.environ, "HF_DATASETS_CACHE": str(tmp_path / "cache")}
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[0] == "kitchen/v0 6 6" and len(run.stdout.splitlines()) == 7
    rows = datasets.load_dataset(str(folder), "nodes", cache_dir=str(tmp_path / "cache"))
    assert {split: len(part) for split, part in rows.items()} == {"train": 36, "test": 6}
    # and once more over it, with other files of tables than before
    again = publish_folder(table, folder, dataclasses.replace(settings, overwrite=True, max_rows_per_file=500))
    assert len(split_files(folder / "edges", "train")) == 1 and len(again.files) == 2 + 3 * 2


def test_the_example_shows_pixels_where_they_may_be_shown(table, tmp_path):
    videos = tmp_path / "videos"
    path = videos / "kitchen" / "t.mp4"
    path.parent.mkdir(parents=True)
    write_video(path, np.full((100, 48, 64, 3), (250, 40, 40), dtype=np.uint8), FRAMES_PER_SECOND)
    rows = {"test": [manifest_row("kitchen/t.mp4", "kitchen", probe_video(path))]}
    write_manifest(tmp_path / "manifest", rows, ["kitchen"], "toy@1", videos)

    def red(**settings):
        out = tmp_path / f"out_{len(settings)}"
        publish_folder(table, out, PublishSettings(**settings), manifest=load_manifest(tmp_path / "manifest"))
        picture = np.asarray(Image.open(out / "example.png").convert("RGB")).astype(int)
        return ((picture[..., 0] > 200) & (picture[..., 1] < 90) & (picture[..., 2] < 90)).sum(), out

    with_pixels, out = red(with_pixels=True)
    assert with_pixels > 20_000 and "it is not the licence of the scene graphs" in (out / "README.md").read_text()
    assert red()[0] < 2000


def test_what_must_not_be_published(table, tmp_path):
    good = kitchen_graph()
    edge = dataclasses.replace(good.edges[0], provenance={"raw_response": "see /home/me/videos/a.mp4"})
    node = dataclasses.replace(good.nodes[2], attributes=(("note", "hf_" + "a1" * 15),))
    for number, (graph, message) in enumerate(
        (
            (dataclasses.replace(good, edges=(edge,)), "graph 'kitchen': raw_response holds a path of this machine"),
            (dataclasses.replace(good, nodes=(*good.nodes[:2], node, *good.nodes[3:])), "an attribute holds a key"),
            (dataclasses.replace(good, video_id="../secret"), "video_id is not a path relative"),
        )
    ):
        folder = write_graphs(tmp_path / f"{number}", {"train": [graph]})
        with pytest.raises(GraphError, match=message):
            publish_folder(folder, tmp_path / "out", PublishSettings(num_examples=0))
        assert not (tmp_path / "out").exists()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    with pytest.raises(GuidanceError, match=r"holds other files, such as notes\.txt"):
        publish_folder(table, tmp_path / "other", PublishSettings(overwrite=True))
