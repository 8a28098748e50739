"""Batch runs that are left or killed at any step, and taken up again: nothing is lost, nothing is paid for twice."""

import asyncio
import contextlib
import logging
import multiprocessing
import random
import signal
import sys

import pytest
from batch_helpers import (
    PRICE,
    answer_in_batches,
    files_in,
    good,
    jobs_held,
    leave_when,
    questions_of,
    run_until_killed,
)
from llm_doubles import make_question

from vidreason.errors import LLMError
from vidreason.llm.batch import BatchAnswerer
from vidreason.llm.client import OpenAIChatClient
from vidreason.llm.store import RequestStore
from vidreason.llm.testing.chat_faults import BatchFaults, Faults
from vidreason.llm.testing.chat_server import ChatServer


@pytest.fixture
def run(store, tmp_path):
    def run(server, questions, **settings):
        return answer_in_batches(server.url, questions, store, tmp_path / "batches", **settings)

    return run


# left


def test_a_job_that_nobody_asks_for_any_more_is_left_alone_until_someone_does(run, store, tmp_path):
    with ChatServer(good) as server:
        with jobs_held(server):
            leave_when(server.url, questions_of(4), store, tmp_path / "batches", "created")
        other = run(server, [make_question(number) for number in (10, 11)])
        assert sorted(other) == [10, 11] and len(store.batch_jobs(open_only=True)) == 1
        some = run(server, questions_of(2))
        assert sorted(some) == [0, 1]
        (job,) = store.batch_jobs(open_only=True)
        assert job.state == "downloaded"
        assert sorted(run(server, questions_of(4))) == [0, 1, 2, 3]
    assert len(server.batches.jobs) == 2 and server.outcomes == {"ok": 6}
    assert store.batch_jobs(open_only=True) == [] and files_in(tmp_path / "batches") == []


def test_a_job_that_was_never_sent_is_dropped_when_nobody_asks_for_it(run, store, tmp_path, monkeypatch):
    async def never(self, path):
        await asyncio.Event().wait()

    with ChatServer(good) as server:
        with monkeypatch.context() as patched:
            patched.setattr("vidreason.llm.batch_service.BatchService.upload", never)
            leave_when(server.url, questions_of(4), store, tmp_path / "batches", "written")
        assert store.totals().unsettled_usd > 0
        assert len(run(server, [make_question(10)])) == 1
    assert store.totals().unsettled_usd == 0 and server.outcomes == {"ok": 1}
    assert store.batch_jobs(open_only=True) == [] and files_in(tmp_path / "batches") == []


def test_one_folder_is_for_one_run(run, store, tmp_path):
    async def both(server):
        settings = {"poll_s": 0.01}
        async with OpenAIChatClient(server.url) as client:
            first, second = (
                BatchAnswerer(client, store, PRICE, None, tmp_path / "batches", **settings) for _ in range(2)
            )
            async with contextlib.aclosing(first.answer_all(questions_of(2))) as answers:
                await answers.__anext__()
                with pytest.raises(LLMError, match="another run is at work"):
                    await second.answer_all(questions_of(2)).__anext__()
                return [await answers.__anext__()]

    with ChatServer(good) as server:
        assert len(asyncio.run(both(server))) == 1


def test_jobs_whose_files_are_elsewhere_are_named(run, store, tmp_path, caplog):
    with ChatServer(good) as server:
        with jobs_held(server):
            leave_when(server.url, questions_of(2), store, tmp_path / "elsewhere", "created")
        with caplog.at_level(logging.WARNING):
            run(server, [make_question(10)])
    assert "1 batch jobs" in caplog.text and "left alone" in caplog.text
    assert (tmp_path / "elsewhere").exists() and len(store.batch_jobs(open_only=True)) == 1


# killed

FAULTS = {
    "all goes well": {},
    "answers are spoilt": {"faults": Faults(malformed=0.3, truncated=0.1, refused=0.1, seed=1)},
    # not those of jobs, which happen to other requests when files are filled in another order
    "lines fail": {"batch_faults": BatchFaults(error_lines=0.2, missing_lines=0.2, duplicated_lines=0.2, seed=2)},
}


class KilledRuns:
    """Runs over one server and one store, in processes that kill themselves."""

    def __init__(self, folder, count, faults, **settings):
        self.folder, self.count, self.settings = folder, count, {"max_requests_per_file": 4, **settings}
        self.server = ChatServer(good, batch_latency_s=0.01, **faults)
        # a server that forks is quick, and safe since it has no threads
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["openai", "openai.resources", "vidreason.llm.batch", "aiohttp"])

    def run_and_kill(self, kill_at) -> bool:
        """Run until a step. Returns whether the run came to its end before."""
        arguments = (self.server.url, self.folder / "s.sqlite", self.folder / "batches", self.count, kill_at)
        process = self._context.Process(target=run_until_killed, args=(*arguments, self.settings))
        process.start()
        process.join(60)
        assert process.exitcode in (0, -signal.SIGKILL), process.exitcode
        return process.exitcode == 0

    def finish(self) -> tuple:
        """Run to the end. Returns all that must not depend on kills."""
        with RequestStore(self.folder / "s.sqlite") as store:
            questions = questions_of(self.count)
            answers = answer_in_batches(self.server.url, questions, store, self.folder / "batches", **self.settings)
            totals = store.totals()
            assert store.batch_jobs(open_only=True) == [] and files_in(self.folder / "batches") == []
            assert "" not in totals.outcomes
        return answers, totals, self.server.outcomes, len(self.server.batches.jobs)


@pytest.fixture
def uninterrupted(tmp_path):
    """What a run gives that is left alone."""

    def uninterrupted(count, faults):
        runs = KilledRuns(tmp_path / "uninterrupted", count, faults)
        with runs.server:
            return runs.finish()

    return uninterrupted


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_a_kill_between_any_two_steps_changes_nothing(tmp_path, uninterrupted):
    expected = uninterrupted(6, {})
    for kill_at in range(1000):
        runs = KilledRuns(tmp_path / f"{kill_at}", 6, {})
        with runs.server:
            at_the_end = runs.run_and_kill(kill_at)
            assert runs.finish() == expected, f"killed at step {kill_at}"
        if at_the_end:
            break
    assert 25 < kill_at < 1000


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
@pytest.mark.parametrize("faults", [name for name in FAULTS if FAULTS[name]])
def test_runs_that_are_killed_again_and_again_give_the_same_table(tmp_path, uninterrupted, faults):
    rng = random.Random(faults)
    expected = uninterrupted(12, FAULTS[faults])
    for number in range(3):
        runs = KilledRuns(tmp_path / f"{number}", 12, FAULTS[faults])
        with runs.server:
            kills = 0
            while not runs.run_and_kill(rng.randrange(60)):
                kills += 1
            answers, totals, outcomes, _ = runs.finish()
        assert kills > 0
        assert (answers, totals, outcomes) == expected[:3]
