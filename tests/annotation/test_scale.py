"""Annotation in parts gives the table of one machine, and a part that died is done again alone."""

import inspect
import json

import pytest
from datatrove import executor

from vidreason.annotation.job import Shard, read_run
from vidreason.annotation.motion import MotionArguments
from vidreason.annotation.producers import find_producer
from vidreason.annotation.scale import ScaleArguments, annotate_in_parts, interleave, merge_ranks, rank_folder
from vidreason.annotation.truth import TruthArguments
from vidreason.errors import ConfigError, GuidanceError
from vidreason.guidance import load_guidance


def rows_of(*video_ids: str) -> list[dict]:
    return [{"video_id": video_id, "frame": frame} for video_id in video_ids for frame in range(2)]


def test_rows_are_interleaved_by_video():
    ranks = [rows_of("a", "d", "g"), rows_of("b", "e"), rows_of("c", "f")]
    merged = list(interleave([iter(rows) for rows in ranks]))
    assert merged == rows_of(*"abcdefg")
    assert list(interleave([iter([]), iter([])])) == []


@pytest.mark.parametrize("tasks", [3, 13])
def test_parts_give_the_table_of_one_machine(serve, make_job, run_job, tasks):
    server = serve()
    expected = run_job(make_job(server, out="one"))
    job = make_job(server, out="parts")
    for rank in range(tasks):  # more ranks than the 12 videos too
        job.run(rank_folder(job, rank, tasks), Shard(rank, tasks), progress=False)
    merge_ranks(job, tasks)
    assert load_guidance(job.args.out)["train"].to_list() == expected
    facts = read_run(job.args.out)
    assert (facts.totals["videos"], facts.totals["requests"]) == (12, 48)
    assert facts.totals["cost_usd"] == pytest.approx(sum(row["cost_usd"] for row in expected))


def test_motion_in_parts_gives_the_table_of_one_machine(make_job, run_job):
    expected = run_job(make_job(None, out="one", producer=MotionArguments()))
    job = make_job(None, out="parts", producer=MotionArguments())
    for rank in range(5):
        job.run(rank_folder(job, rank, 5), Shard(rank, 5), progress=False)
    merge_ranks(job, 5)
    assert load_guidance(job.args.out)["train"].to_list() == expected


@pytest.mark.slow
def test_datatrove_runs_the_parts_and_only_those_that_are_not_done(serve, make_job, run_job, monkeypatch):
    server = serve()
    expected = run_job(make_job(server, out="one"))
    job = make_job(server, out="parts")
    asked = len(server.log)

    run = type(job).run

    def die_in_rank_1(self, out=None, shard=None, progress=True):
        if shard.index == 1:
            raise RuntimeError("the machine is gone")
        return run(self, out, shard, progress)

    settings = ScaleArguments(tasks=3, workers=1)
    with monkeypatch.context() as patched:
        patched.setattr(type(job), "run", die_in_rank_1)
        with pytest.raises(RuntimeError, match="the machine is gone"):
            annotate_in_parts(job, settings)
    with pytest.raises(GuidanceError, match="ranks 00001-of-00003, 00002-of-00003 have not finished"):
        merge_ranks(job, 3)
    assert len(server.log) - asked == 16
    annotate_in_parts(job, settings)  # rank 0 is not done again
    assert len(server.log) - asked == 48
    assert load_guidance(job.args.out)["train"].to_list() == expected
    annotate_in_parts(job, settings)
    assert len(server.log) - asked == 48


def test_parts_run_in_processes_of_their_own(serve, make_job, run_job):
    server = serve()
    expected = run_job(make_job(server, out="one"))
    job = make_job(server, out="parts")
    annotate_in_parts(job, ScaleArguments(tasks=2, workers=2))
    assert load_guidance(job.args.out)["train"].to_list() == expected


def test_the_cap_is_shared_out(serve, make_job):
    server = serve(latency_s=0.01)
    job = make_job(server, llm={"max_cost_usd": 0.004, "write_partial": True})
    for rank in range(2):
        job.run(rank_folder(job, rank, 2), Shard(rank, 2), progress=False)
    merge_ranks(job, 2)
    totals = read_run(job.args.out).totals
    assert 0 < totals["cost_usd"] <= 0.004
    assert "stopped" in read_run(job.args.out).settings


@pytest.fixture
def executors(monkeypatch):
    """What is asked of datatrove's executors, in order; nothing is started."""
    made = []

    def stand_in(name):
        class Executor:
            def __init__(self, **options):
                inspect.signature(real[name].__init__).bind(self, **options)  # only what it knows
                self.options = options
                made.append(options)

            def run(self):
                made.append(name)

        return Executor

    real = {name: getattr(executor, name) for name in ("SlurmPipelineExecutor", "RayPipelineExecutor")}
    for name in real:
        monkeypatch.setattr(executor, name, stand_in(name))
    return made


def test_slurm_gets_one_array_and_a_merge_after_it(make_job, executors):
    settings = ScaleArguments(tasks=8, workers=4, executor="slurm", slurm_partition="cpu", slurm_time="01:00:00")
    annotate_in_parts(make_job(None), settings)
    ranks, merge, run = executors
    assert run == "SlurmPipelineExecutor" and (ranks["tasks"], ranks["workers"], merge["tasks"]) == (8, 4, 1)
    assert merge["depends"].options is ranks and merge["skip_completed"] is False
    assert (ranks["partition"], ranks["time"]) == ("cpu", "01:00:00")
    assert "sk-" not in json.dumps(executors, default=str)


def test_ray_gets_its_tasks_and_a_merge_after_them(make_job, executors):
    annotate_in_parts(make_job(None), ScaleArguments(tasks=8, executor="ray", cpus_per_task=2))
    ranks, merge, run = executors
    assert run == "RayPipelineExecutor" and (ranks["tasks"], ranks["cpus_per_task"], merge["tasks"]) == (8, 2, 1)
    assert merge["depends"].options is ranks


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"tasks": 0}, "--tasks is 0"), ({"tasks": 2, "executor": "slurm"}, "wants --slurm_partition")],
)
def test_settings_that_do_not_go_together(make_job, settings, message):
    with pytest.raises(ConfigError, match=message):
        annotate_in_parts(make_job(None), ScaleArguments(**settings))


def test_an_annotator_that_there_is_not_is_named():
    with pytest.raises(ConfigError, match="annotator is 'oracle', expected one of"):
        find_producer("oracle")


def test_ground_truth_is_not_made_in_parts(make_job):
    job = make_job(None, producer=TruthArguments())
    with pytest.raises(ConfigError, match="--truth is not set"):
        job.run(shard=Shard(0, 2))
