"""Runs that are killed (SIGKILL) at random moments and resumed: nothing is lost, nothing answered is asked again."""

import collections
import os
import random
import signal
import subprocess
import sys
import time

import pytest
from llm_doubles import RawServer, Reply, answer_all, completion_body, make_question

from vidreason.llm.client import OpenAIChatClient
from vidreason.llm.cost import price_of
from vidreason.llm.online import OnlineAnswerer, RetryLimits
from vidreason.llm.store import RequestStore

NUM_QUESTIONS = 60
MAX_IN_FLIGHT = 6
KEY = "zx81-ThisIsTheKeyOfTheTest-42"

RUN = f"""
import sys
sys.path.insert(0, sys.argv[3])
from llm_doubles import answer_all, make_question
from vidreason.llm.client import OpenAIChatClient
from vidreason.llm.online import OnlineAnswerer, RetryLimits
from vidreason.llm.cost import price_of
from vidreason.llm.store import RequestStore

store = RequestStore(sys.argv[1])
limits = RetryLimits(backoff_base_s=0.001)
client, price = OpenAIChatClient(sys.argv[2]), price_of("gpt-4.1-mini")
answerer = OnlineAnswerer(client, store, price, max_in_flight={MAX_IN_FLIGHT}, limits=limits)
answer_all(answerer, map(make_question, range({NUM_QUESTIONS})))
print("finished")
"""


class FaultyServer(RawServer):
    """Some questions are answered well at once, others after errors or not at all. What becomes of a request depends
    on its number and on how many of its attempts came to an end, so that a kill changes nothing."""

    def __init__(self, delay_s: float):
        super().__init__(self.answer)
        self.delay_s = delay_s
        self.received: collections.Counter = collections.Counter()
        self.store: RequestStore | None = None

    def answer(self, body: dict, number: int) -> Reply:
        question = make_question(int(body["messages"][0]["content"].split()[1]))
        self.received[question.key] += 1
        attempts = self.store.attempts_of(question.request.request_hash)
        earlier = sum(attempt.counts for attempt in attempts)
        delay_s = self.delay_s * (0.5 + question.key % 7 / 7)
        kind = question.key % 6
        if kind == 1 and earlier < 1:
            return Reply({"error": {"message": "oh"}}, 500, delay_s=delay_s)
        if kind == 2 and earlier < 2:
            return Reply({"error": {"message": "slow"}}, 429, {"retry-after-ms": "5"}, delay_s)
        if kind == 3:
            return Reply({"error": {"message": "oh"}}, 503, delay_s=delay_s)
        if kind == 4 and (earlier < 1 or question.key % 4 == 0):
            return Reply(completion_body(f"bad {question.key}"), delay_s=delay_s)
        return Reply(completion_body(f"good {question.key}"), delay_s=delay_s)


def finish(path, server: FaultyServer) -> dict:
    """A run in this process, to its end."""
    with RequestStore(path) as store:
        server.store = store
        client = OpenAIChatClient(server.url)
        answerer = OnlineAnswerer(
            client, store, price_of("gpt-4.1-mini"), max_in_flight=6, limits=RetryLimits(backoff_base_s=0.001)
        )
        return answer_all(answerer, map(make_question, range(NUM_QUESTIONS)))


def run_and_kill(path, server: FaultyServer, repository, after_s: float) -> bool:
    """Start a run, and kill it a while after its first request has arrived. Returns whether it had finished before."""
    received = sum(server.received.values())
    arguments = [sys.executable, "-c", RUN, str(path), server.url, str(repository / "tests" / "llm")]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, cwd=repository) as process:
        deadline = time.monotonic() + 60
        while sum(server.received.values()) == received and process.poll() is None:
            assert time.monotonic() < deadline, "the run sends nothing"
            time.sleep(0.005)
        time.sleep(after_s)
        os.kill(process.pid, signal.SIGKILL)
        return "finished" in process.stdout.read()


@pytest.mark.parametrize("seed", [0, 1])
def test_kills_change_nothing(tmp_path, repository, monkeypatch, seed):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    generator = random.Random(seed)
    with FaultyServer(delay_s=0.0) as server:
        expected = finish(tmp_path / "whole.sqlite", server)
    assert {answer.status for answer in expected.values()} == {"ok", "failed", "invalid"}

    path = tmp_path / "killed.sqlite"
    kills = 0
    with FaultyServer(delay_s=0.08) as server, RequestStore(path) as watcher:
        server.store = watcher
        for _ in range(2):
            answered = {key for key in expected if watcher.answer(make_question(key).request.request_hash)}
            before = dict(server.received)
            kills += not run_and_kill(path, server, repository, generator.uniform(0.02, 0.6))
            assert not any(server.received[key] > before.get(key, 0) for key in answered)
        still_open = watcher.totals().outcomes.get("", 0)
        server.delay_s = 0.0
        answers = finish(path, server)
        totals = watcher.totals()
        assert kills and answers == expected  # text, status, tokens, cost and number of attempts
        assert 0 < still_open <= kills * MAX_IN_FLIGHT and totals.outcomes[""] == still_open
        open_attempts = [a for key in expected for a in watcher.attempts_of(make_question(key).request.request_hash)]
        open_attempts = [attempt for attempt in open_attempts if attempt.is_open]
        assert totals.unsettled_usd == pytest.approx(sum(attempt.reserved_usd for attempt in open_attempts))
        assert totals.unsettled_usd > 0  # nobody knows whether these were billed
        assert totals.attempts == still_open + sum(answer.attempts for answer in expected.values())
        # each row of the ledger was written before its request was sent, so none was sent without one
        for key in expected:
            rows = watcher.attempts_of(make_question(key).request.request_hash)
            ended = sum(not attempt.is_open for attempt in rows)
            assert ended <= server.received[key] <= len(rows)
    for file in tmp_path.iterdir():
        assert KEY.encode() not in file.read_bytes()


def test_a_finished_run_sends_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with FaultyServer(delay_s=0.0) as server:
        first = finish(tmp_path / "store.sqlite", server)
        received = sum(server.received.values())
        assert finish(tmp_path / "store.sqlite", server) == first
        assert sum(server.received.values()) == received
