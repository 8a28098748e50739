"""What a card is told of the guidance of a run."""

import dataclasses

import pytest

from vidreason.annotation import NoiseModel, truth_guidance
from vidreason.annotation.job import AnnotationRun, write_run
from vidreason.guidance import GuidanceIndex, load_guidance, write_guidance
from vidreason.rs.data import guidance_facts

NOISE = NoiseModel(missed_frames=0.5, extra_cells=0.125, seed=3)


@pytest.fixture
def table(tmp_path):
    """A table of ground truth with mistakes: its folder and rows."""
    key = {"video_id": "a", "source": "tests@1", "split": "train", "frame_height": 64, "frame_width": 64}
    hand = {"name": "hand", "center": [], "box": [0.3, 0.3, 0.45, 0.45], "relevant": True}
    rows = [{**key, "frame_index": frame, "timestamp_s": frame / 10, "objects": [hand]} for frame in range(8)]
    folder = tmp_path / "truth"
    write_guidance(folder, {"train": truth_guidance(rows, noise=NOISE)})
    return str(folder), load_guidance(folder)["train"]


def test_mistakes_are_those_that_the_run_wrote_down(table):
    folder, rows = table
    exact = dataclasses.replace(NOISE, missed_frames=1 / 3)  # more digits than a text for people has
    write_run(folder, AnnotationRun(annotator="truth", settings=dataclasses.asdict(exact)))
    facts = guidance_facts(rows, "truth", GuidanceIndex(rows), folder)
    assert facts.noise == dataclasses.asdict(exact)
    assert facts.source == "truth"
    assert facts.coverage["videos with guidance"] == 1
    assert sum(facts.coverage.values()) == 8 + 1


@pytest.mark.parametrize("settings", [None, {}, {"missed_frames": 0.1}])
def test_a_table_of_an_earlier_version_has_them_in_its_provenance(table, settings):
    folder, rows = table
    if settings is not None:
        write_run(folder, AnnotationRun(annotator="truth", settings=settings))
    assert guidance_facts(rows, "truth", GuidanceIndex(rows), folder).noise == dataclasses.asdict(NOISE)
    assert guidance_facts(rows, "truth", GuidanceIndex(rows)).noise == dataclasses.asdict(NOISE)
