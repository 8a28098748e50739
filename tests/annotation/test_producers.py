"""Producers are found by name, know their own settings, and are all that a job needs."""

import contextlib
import dataclasses
from typing import ClassVar

import pytest
from transformers import HfArgumentParser

from vidreason.annotation.job import Annotation, AnnotationArguments, AnnotationRun, Producer, read_run
from vidreason.annotation.producers import PRODUCERS, ProducerChoice, find_producer
from vidreason.annotation.scale import ScaleArguments, _fingerprint
from vidreason.annotation.truth import NoiseModel, TruthArguments
from vidreason.errors import ConfigError
from vidreason.guidance import guidance_row, load_guidance


def test_producers_have_names_and_flags_of_their_own():
    assert list(PRODUCERS) == ["llm", "motion", "truth", "detector"]
    assert all(find_producer(name).name == name for name in PRODUCERS)
    types = (ProducerChoice, AnnotationArguments, ScaleArguments, *PRODUCERS.values())
    flags = [entry.name for one in types for entry in dataclasses.fields(one)]
    assert len(flags) == len(set(flags))
    parsed = HfArgumentParser(types).parse_args_into_dataclasses(["--manifest", "a", "--out", "b", "--model", "m"])
    assert [type(one) for one in parsed] == list(types) and parsed[3].model == "m"


@dataclasses.dataclass(frozen=True)
class Corner(Producer):
    """Marks one corner of the first frame of every video."""

    name: ClassVar[str] = "corner"
    cell: int = 0

    @contextlib.contextmanager
    def annotate(self, task):
        notes = {}

        def rows(split):
            manifest = task.load_manifest()
            for row in manifest.split(split).select(range(task.shard.index, 12, task.shard.count)):
                key = {"video_id": row["video_id"], "source": manifest.source, "split": split, "frame_index": 0}
                key |= {"timestamp_s": 0.0, "frame_height": row["height"], "frame_width": row["width"]}
                notes["videos seen"] = notes.get("videos seen", 0) + 1
                weights = [float(cell == self.cell) for cell in range(16)]
                yield guidance_row(key, weights, task.args.grid_size, producer=self.name)

        yield Annotation({split: rows(split) for split in task.args.splits}, AnnotationRun(model="corner-1"), notes)


def test_a_job_runs_a_producer_that_it_does_not_know(make_job, run_job):
    job = make_job(None, producer=Corner(cell=3))
    rows = run_job(job)
    assert len(rows) == 12 and all(row["weights"][3] == 1 and row["producer"] == "corner" for row in rows)
    facts = read_run(job.args.out)
    assert (facts.annotator, facts.model, facts.grid, facts.splits) == ("corner", "corner-1", (4, 4), ("train",))
    assert facts.totals == {"note: videos seen": 12} and facts.started_at <= facts.finished_at


def test_the_parts_of_a_run_hang_together_by_what_the_table_says(make_job):
    job = make_job(None)
    for llm in ({"max_in_flight": 1}, {"max_cost_usd": 2.0}, {"batch": True}):
        assert _fingerprint(make_job(None, llm=llm), 2) == _fingerprint(job, 2)
    others = [make_job(None, llm={"model": "other"}), make_job(None, producer=Corner()), make_job(None, seed=1)]
    assert len({_fingerprint(one, 2) for one in (job, *others)} | {_fingerprint(job, 3)}) == 5


def test_the_mistakes_in_a_table_of_truth_are_facts_of_its_run(make_job, run_job, small_world):
    producer = TruthArguments(truth=str(small_world / "truth"), missed_frames=0.25, wrong_cells=0.5)
    job = make_job(None, producer=producer, seed=7)
    run_job(job)
    noise = NoiseModel(**read_run(job.args.out).settings)
    assert noise == NoiseModel(missed_frames=0.25, wrong_cells=0.5, seed=7)
    # and a table of 0.1.0, which has no such facts, says them in the text of its rows
    assert NoiseModel.from_description(load_guidance(job.args.out)["train"]["model"][0]) == noise


@pytest.mark.parametrize("text", ["frame-difference,lag_s=0.12", "missed=many", "missed=0.1,mood=1", ""])
def test_another_text_describes_no_mistakes(text):
    with pytest.raises(ConfigError, match="does not describe a noise model"):
        NoiseModel.from_description(text)
