"""The runner: what is made, by whom, what happens when a run fails or everything is killed. Training is made up."""

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fixtures.fake_runs import read_trace
from fixtures.small_studies import STUDY, as_version_0_1_0, change_record

from vidreason.errors import ConfigError
from vidreason.study.attempts import RunnerSettings, claim
from vidreason.study.records import RECORDS_FILE, read_records, read_results
from vidreason.study.runner import run_study, summary
from vidreason.study.workers import worker_environment


def with_learning_rate(value: str) -> dict:
    """A study in which runs with the guidance `wrong` come to grief."""
    both = {**STUDY["axes"]["supervision"]["both"]}
    supervision = {**STUDY["axes"]["supervision"], "both": both, "bad": {**both, "learning_rate": value}}
    blocks = [*STUDY["blocks"], {"supervision": "bad", "guidance": "noisy", "seeds": [1]}]
    return {"axes": {**STUDY["axes"], "supervision": supervision}, "blocks": blocks}


def test_runs_are_made_once_and_then_are_there(make_study, make_settings):
    study, settings = make_study(), make_settings()
    first = run_study(study, settings)
    assert len(first.made) == 15
    assert (first.there, first.failed) == ([], {})
    before = (settings.out / RECORDS_FILE).read_bytes()
    second = run_study(study, settings)
    assert (len(second.there), second.made) == (15, [])
    assert (settings.out / RECORDS_FILE).read_bytes() == before
    assert len(read_trace(settings.work)) == 15
    assert len(read_results(study, settings.out)) == 15


def test_only_some_runs_are_made_where_that_is_asked(make_study, make_settings):
    outcome = run_study(make_study(), make_settings(only=("none-unused", "wrong-100-seed2")))
    assert len(outcome.made) == 7
    assert outcome.made[-1] == "both-wrong-100-seed2"  # seed by seed
    with pytest.raises(ConfigError, match="--only speed fits no run"):
        run_study(make_study(), make_settings(only=("speed",)))


def test_what_a_run_prints_is_in_its_log(make_study, make_settings, capsys):
    settings = make_settings(only=("none-unused-50-seed0",))
    run_study(make_study(), settings)
    log = settings.work / "small" / "none-unused-50-seed0" / "log.txt"
    assert log.read_text() == "training none-unused-50-seed0\n"
    assert capsys.readouterr().out.startswith("[1/1] none-unused-50-seed0: test top1 0.250")


@pytest.mark.parametrize(("wish", "reason"), [("fail", "ConfigError: learning_rate"), ("break", "ZeroDivisionError")])
def test_a_run_that_fails_is_told_and_stops_no_other(make_study, make_settings, wish, reason):
    settings = make_settings()
    outcome = run_study(make_study(**with_learning_rate(wish)), settings)
    assert len(outcome.made) == 15
    assert list(outcome.failed) == ["bad-noisy-100-seed1"]
    assert f"FAILED bad-noisy-100-seed1: {reason}" in summary(outcome)
    assert "bad-noisy-100-seed1" not in [stored.name for stored in read_records(settings.out)]
    assert "Traceback" in (settings.work / "small" / "bad-noisy-100-seed1" / "log.txt").read_text()


def test_workers_share_the_runs(make_study, make_settings):
    settings = make_settings(num_workers=2)
    study = make_study({"learning_rate": "slow"})
    outcome = run_study(study, settings)
    assert len(outcome.made) == 15
    trace = read_trace(settings.work)
    assert sorted(name for name, _ in trace) == sorted(run.name for run in study.runs())
    processes = {process for _, process in trace}
    assert len(processes) == 2
    assert os.getpid() not in processes
    first_seeds = [name[-1] for _, name in sorted({process: name for name, process in trace[::-1]}.items())]
    assert set(first_seeds) == {"0", "1"}  # each worker has the data of a seed of its own


def test_a_worker_that_dies_is_replaced_and_its_run_told(make_study, make_settings):
    settings = make_settings(num_workers=2)
    outcome = run_study(make_study(**with_learning_rate("die")), settings)
    assert len(outcome.made) == 15
    assert outcome.failed == {"bad-noisy-100-seed1": "its process ended with exit code 7"}


def test_a_run_that_another_process_makes_is_left_to_it(make_study, make_settings):
    study, settings = make_study(), make_settings(only=("none-unused-50",))
    with claim(study.runs()[1], settings) as claimed:
        outcome = run_study(study, settings)
    assert claimed
    assert outcome.made == ["none-unused-50-seed0", "none-unused-50-seed2"]
    assert outcome.taken == ["none-unused-50-seed1"]
    assert "1 runs were being made by another command: none-unused-50-seed1" in summary(outcome)


SCRIPT = """
import sys
from pathlib import Path
from fixtures.fake_runs import fake_run
from vidreason.study.attempts import RunnerSettings
from vidreason.study.runner import run_study
from vidreason.study.study_file import load_study

if __name__ == "__main__":
    study, out, work, workers = sys.argv[1:]
    run_study(load_study(study), RunnerSettings(Path(out), Path(work), num_workers=int(workers), execute=fake_run))
"""


def start(study, settings: RunnerSettings, workers: int) -> subprocess.Popen:
    script = settings.work / "script.py"
    script.parent.mkdir(parents=True, exist_ok=True)
    script.write_text(SCRIPT)
    paths = [str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, str(script), str(study.path), str(settings.out), str(settings.work), str(workers)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, start_new_session=True)


def test_two_commands_at_once_make_no_run_twice(make_study, make_settings):
    study, settings = make_study({"learning_rate": "slow"}), make_settings()
    commands = [start(study, settings, workers=1) for _ in range(2)]
    assert [command.wait(timeout=120) for command in commands] == [0, 0]
    trace = read_trace(settings.work)
    assert sorted(name for name, _ in trace) == sorted(run.name for run in study.runs())
    assert len({process for _, process in trace}) == 2


def test_a_study_that_is_killed_goes_on_where_it_was(make_study, make_settings):
    study, settings = make_study({"learning_rate": "slow"}), make_settings()
    command = start(study, settings, workers=2)
    deadline = time.monotonic() + 60
    while len(read_records(settings.out)) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(command.pid, signal.SIGKILL)
    command.wait()
    before = {stored.name: stored.record for stored in read_records(settings.out)}
    assert 2 <= len(before) < 15
    outcome = run_study(study, settings)
    assert (len(outcome.there), len(outcome.made)) == (len(before), 15 - len(before))
    after = read_results(study, settings.out)
    assert len(after) == 15
    assert {name: after[name] for name in before} == before


def test_results_that_are_not_usable_stop_everything_before_it_starts(make_study, make_settings):
    study, settings = make_study(), make_settings()
    run_study(study, make_settings(only=("none",)))
    path = settings.out / RECORDS_FILE
    whole = path.read_bytes()
    path.write_bytes(whole + b"{")
    started = len(read_trace(settings.work))
    with pytest.raises(ConfigError, match="line 7 is broken"):
        run_study(study, settings)
    path.write_bytes(whole)
    change_record(settings.out, study.runs()[0].name, study="other")
    with pytest.raises(ConfigError, match="is of the study 'other'"):
        run_study(study, settings)
    assert len(read_trace(settings.work)) == started


def test_a_study_of_version_0_1_0_goes_on(make_study, make_settings):
    study, settings = make_study(), make_settings()
    run_study(study, make_settings(only=("none",)))
    as_version_0_1_0(settings.out)
    outcome = run_study(study, settings)
    assert (len(outcome.there), len(outcome.made)) == (6, 9)
    assert len(read_results(study, settings.out)) == 15


@pytest.mark.parametrize("name", ["num_workers", "num_threads"])
def test_numbers_that_make_no_sense_are_named(make_study, make_settings, name):
    with pytest.raises(ConfigError, match=f"{name} is 0"):
        run_study(make_study(), make_settings(**{name: 0}))


def test_each_worker_sees_one_gpu(make_settings):
    settings = make_settings(num_workers=3, num_threads=2)

    def gpus(num_gpus: int, **environment: str) -> list[str | None]:
        environments = [worker_environment(number, settings, num_gpus, environment) for number in range(3)]
        assert {environment["OMP_NUM_THREADS"] for environment in environments} == {"2"}
        return [environment.get("CUDA_VISIBLE_DEVICES") for environment in environments]

    assert gpus(0) == [None, None, None]
    assert gpus(2) == ["0", "1", "0"]
    assert gpus(2, CUDA_VISIBLE_DEVICES="4,6") == ["4", "6", "4"]


def other_study(make_study):
    """A study of another name and other axes, some of whose settings are those of the small one."""
    axes = {
        "choice": {"plain": STUDY["axes"]["supervision"]["none"], "weak": {"spatial_weight": 0.5}},
        "guidance": STUDY["axes"]["guidance"],
    }
    blocks = [{"choice": "plain", "guidance": "unused"}, {"choice": "weak", "guidance": "noisy"}]
    baseline = {"choice": "plain", "guidance": "unused"}
    return make_study(name="other", axes=axes, defaults=None, blocks=blocks, baseline=baseline)


@pytest.mark.parametrize("old", [False, True])
def test_runs_that_another_study_has_made_are_taken_over(make_study, make_settings, tmp_path, old):
    first, second = (
        make_settings(out=tmp_path / "results" / "small"),
        make_settings(out=tmp_path / "results" / "other"),
    )
    small = make_study()
    run_study(small, first)
    if old:
        as_version_0_1_0(first.out)
    other = other_study(make_study)
    second = dataclasses.replace(second, reuse=(tmp_path / "results",))
    outcome = run_study(other, second)
    assert outcome.reused == [f"plain-unused-seed{seed}" for seed in (0, 1, 2)]
    assert outcome.made == [f"weak-noisy-seed{seed}" for seed in (0, 1, 2)]
    assert "3 runs were made by another study: plain-unused-seed0" in summary(outcome)
    assert len(read_trace(second.work)) == 15 + 3
    records = read_results(other, second.out)
    original = read_results(small, first.out)["none-unused-100-seed2"]
    reused = records["plain-unused-seed2"]
    assert reused["metrics"] == original["metrics"]
    assert reused["reused_from"] == {"study": "small", "run": "none-unused-100-seed2"}
    assert "reused_from" not in records["weak-noisy-seed2"]
    third = dataclasses.replace(second, out=tmp_path / "third", reuse=(second.out,))
    assert run_study(other, third).made == []  # all six; and who made a run first stays known
    assert read_results(other, third.out)["plain-unused-seed2"]["reused_from"] == reused["reused_from"]


def test_runs_of_leaving_one_group_out_beside_a_study_are_no_runs_to_reuse(make_study, make_settings, tmp_path):
    run_study(make_study(), make_settings(out=tmp_path / "results" / "small"))
    groups = tmp_path / "results" / "people"
    (groups / "runs").mkdir(parents=True)
    (groups / "study.yaml").write_text("kind: leave_one_group_out\ntitle: People\n")
    (groups / "runs" / "plain-ana-seed0.json").write_text('{"recipe": "plain", "group": "ana", "seed": 0}')
    second = make_settings(out=tmp_path / "results" / "other", reuse=(tmp_path / "results",))
    assert len(run_study(other_study(make_study), second).reused) == 3
    (groups / "study.yaml").unlink()
    with pytest.raises(ConfigError, match=r"plain-ana-seed0\.json is no record"):
        run_study(other_study(make_study), dataclasses.replace(second, out=tmp_path / "third"))


def test_results_to_reuse_that_are_not_there_or_changed_are_named(make_study, make_settings, tmp_path):
    first = make_settings(out=tmp_path / "small", only=("none-unused-100-seed0",))
    run_study(make_study(), first)
    path = first.out / RECORDS_FILE
    path.write_text(path.read_text().replace('"learning_rate": 0.001', '"learning_rate": 0.002'))
    second = make_settings(out=tmp_path / "other")
    for folder, message in ((tmp_path / "none", "no folder of results to reuse"), (tmp_path / "small", "by hand")):
        with pytest.raises(ConfigError, match=message):
            run_study(other_study(make_study), dataclasses.replace(second, reuse=(folder,)))
    assert len(read_trace(second.work)) == 1
