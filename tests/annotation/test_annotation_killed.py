"""A run may be killed at any moment: started again, it ends with the table of a run that was left alone."""

import json
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from dataclasses import asdict

import pytest

from vidreason.llm.testing.chat_faults import Faults

IN_FLIGHT = 6

# plain modules alone, so that a start takes a second and not the time of importing torch
PROGRAM = textwrap.dedent(
    """
    import json, sys
    from vidreason.annotation.job import AnnotationArguments, AnnotationJob
    from vidreason.annotation.grid.run import LLMArguments
    settings = json.loads(sys.argv[1])
    job = AnnotationJob(AnnotationArguments(**settings["args"]), LLMArguments(**settings["llm"]))
    print("ready", flush=True)
    job.run(progress=False)
    """
)

# faults depend on the request alone, so that all runs meet the same ones
FAULTS = {"malformed": 0.1, "truncated": 0.1, "refused": 0.05, "by_attempt": False}


def heed_interrupts() -> None:
    """A shell's background job ignores Ctrl-C, and so would every process that its tests start."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def start(job) -> subprocess.Popen:
    settings = json.dumps({"args": asdict(job.args), "llm": asdict(job.producer)})
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, settings], stdout=subprocess.PIPE, text=True, preexec_fn=heed_interrupts
    )
    assert process.stdout.readline() == "ready\n"
    return process


def kill_after(process: subprocess.Popen, server, requests: int, seconds: float) -> None:
    """Kill a process some time after the server has had so many requests of it."""
    wanted = len(server.log) + requests
    while len(server.log) < wanted:
        assert process.poll() is None, "the run ended before it was to be killed"
        time.sleep(0.005)
    time.sleep(seconds)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_killed_runs_end_with_the_table_of_one_that_was_left_alone(serve, make_job, run_job, seed):
    settings = {"max_in_flight": IN_FLIGHT, "frames_per_video": 6}
    expected = run_job(make_job(serve(faults=Faults(**FAULTS)), out="left_alone", llm=settings))
    server = serve(faults=Faults(**FAULTS), latency_s=0.1)
    job = make_job(server, out="killed", llm=settings)
    moments, kills = random.Random(seed), 4
    for _ in range(kills):
        kill_after(start(job), server, moments.randrange(0, 9), moments.uniform(0.0, 0.12))
    rows = run_job(job)
    assert rows == expected
    # nothing was asked more often than its fate demands, but for what was in flight at a kill
    asked = Counter(entry.payload_hash for entry in server.log)
    fate = {row["request_hash"]: 2 if row["status"] == "invalid" else 1 for row in rows}
    assert sum(asked.values()) - sum(fate.values()) <= kills * IN_FLIGHT
    # and the ledger has every attempt: what the server was asked, no less, and what may have been billed
    with job.producer.open(job.task()) as run:
        totals = run.store.totals()
    assert totals.attempts >= len(server.log)
    assert 0 < totals.outcomes.get("", 0) <= kills * IN_FLIGHT
    assert totals.cost_usd == pytest.approx(sum(row["cost_usd"] for row in rows))
    assert totals.unsettled_usd > 0


def test_an_interrupted_run_keeps_what_was_answered(serve, make_job, run_job):
    server = serve(latency_s=0.1)
    job = make_job(server, llm={"max_in_flight": 4, "frames_per_video": 6})
    process = start(job)
    while len(server.log) < 12:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    process.wait(20)
    process.stdout.close()
    assert process.returncode != 0  # it was interrupted, and did not come to its end before
    asked = len(server.log)
    assert 12 <= asked < 72
    rows = run_job(job)
    assert len(rows) == 72 and len(server.log) <= 72 + 4
