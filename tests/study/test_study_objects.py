"""Object guidance of the assembly world, as a study makes it, against the world's truth."""

import numpy as np
import pytest

from vidreason.errors import ConfigError
from vidreason.files import read_folder
from vidreason.guidance import load_guidance
from vidreason.study.plugins import DataPlaces, GuidanceSource
from vidreason.study.study_file import load_study
from vidreason.study.worlds import ObjectsKind
from vidreason.synthetic.assembly import AssemblyConfig, build_synthetic_assembly

CONFIG = AssemblyConfig(
    min_duration_s=4, max_duration_s=12, min_action_s=1, max_action_s=2, min_pause_s=1, max_pause_s=1.5
)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("assembly") / "world"
    build_synthetic_assembly(folder, CONFIG, {"train": 2, "test": 1}, seed=2)
    return folder


def test_cells_are_those_of_the_centres_of_relevant_objects(world, tmp_path):
    source = GuidanceSource(producer="objects", frames_per_second=2.0)
    ObjectsKind().write(tmp_path / "guidance", DataPlaces(world, world), "train", source, seed=0)
    table = load_guidance(tmp_path / "guidance")
    assert list(table) == ["train"]
    truth = {(row["video_id"], row["frame_index"]): row["objects"] for row in read_folder(world / "truth")["train"]}
    rows = table["train"].to_list()
    assert len(rows) > 12
    assert {row["frame_index"] % 5 for row in rows} == {0}  # 2 of the world's 10 frames a second
    statuses = set()
    for row in rows:
        objects = [entry for entry in truth[row["video_id"], row["frame_index"]] if entry["relevant"]]
        # centres are whole pixels of a picture of 160 x 120, whose cells are 40 x 30 pixels
        pixels = [(min(int(x * 160), 159), min(int(y * 120), 119)) for x, y in (entry["center"] for entry in objects)]
        expected = {y // 30 * 4 + x // 40 for x, y in pixels}
        assert set(np.flatnonzero(row["weights"]).tolist()) == expected
        statuses.add((row["status"], bool(expected)))
    assert statuses == {("ok", True), ("empty", False)}


def test_objects_are_there_for_the_assembly_world_alone(tmp_path):
    from fixtures.small_studies import STUDY, write_study

    axes = {**STUDY["axes"], "guidance": {"unused": {}, "noisy": {"producer": "objects"}}}
    blocks = [{"supervision": "none", "guidance": "unused"}, {"supervision": "both", "guidance": "noisy"}]
    path = write_study(tmp_path, {"axes": axes, "blocks": blocks})
    with pytest.raises(ConfigError, match="guidance from objects is there for the assembly world"):
        load_study(path)
