"""The store: answers, the ledger and batch jobs survive whatever happens to the process."""

import dataclasses
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time

import pytest

from vidreason.errors import LLMError
from vidreason.llm.chat import FAILED, INVALID, OK, REFUSED, TRUNCATED, ChatAnswer, Usage
from vidreason.llm.store import ABORTED, BATCH, BATCH_JOB_OVER, ONLINE, TRANSPORT, BatchJob, RequestStore


@pytest.fixture
def store(tmp_path):
    with RequestStore(tmp_path / "deep" / "store.sqlite") as opened:
        yield opened


def test_answers_come_back_as_they_were_put(store):
    answers = [
        ChatAnswer("a" * 64, OK, "text", "", "gpt-4.1-mini", Usage(300, 20, 128), 0.125, 2),
        ChatAnswer("b" * 64, INVALID, "täxt \n\x00 \U0001f600", "no JSON", "m", Usage(), 0.0, 3),
    ]
    for answer in answers:
        store.put_answer(answer)
    assert [store.answer(answer.request_hash) for answer in answers] == answers
    assert store.answer("c" * 64) is None
    replaced = dataclasses.replace(answers[0], text="other")
    store.put_answer(replaced)
    assert store.answer("a" * 64) == replaced


def test_text_that_no_database_takes_is_kept_readable(store):
    store.put_answer(ChatAnswer("a", OK, "lone \ud800 surrogate"))
    assert store.answer("a").text == "lone \\ud800 surrogate"


def test_ledger_counts_every_attempt(store):
    first = store.begin_attempt("a", "m", ONLINE, 0.5, estimated_prompt_tokens=90)
    second = store.begin_attempt("a", "m", ONLINE, 0.5, estimated_prompt_tokens=90)
    third = store.begin_attempt("b", "m", BATCH, 0.25, estimated_prompt_tokens=80)
    store.begin_attempt("c", "m", ONLINE, 0.125)
    store.settle_attempt(first, TRANSPORT, Usage(), 0.0)
    store.settle_attempt(second, OK, Usage(100, 10, 40), 0.01, "m-2025-04-14")
    store.settle_attempt(third, TRANSPORT, Usage(), None)
    totals = store.totals()
    assert (totals.requests, totals.attempts) == (3, 4)
    assert (totals.prompt_tokens, totals.completion_tokens, totals.cached_prompt_tokens) == (100, 10, 40)
    assert totals.outcomes == {TRANSPORT: 2, OK: 1, "": 1}
    assert totals.cost_usd == pytest.approx(0.01)
    assert totals.unsettled_usd == pytest.approx(0.25 + 0.125)  # the connection that broke, and the open one
    assert totals.spent_usd == pytest.approx(0.385)
    assert totals.estimated_prompt_tokens == 90  # of the one that was billed
    attempts = store.attempts_of("a")
    assert [attempt.outcome for attempt in attempts] == [TRANSPORT, OK]
    assert attempts[1].usage == Usage(100, 10, 40) and attempts[1].model == "m-2025-04-14"
    assert attempts[1].settled_at >= attempts[1].started_at
    assert store.attempts_of("c")[0].is_open and not store.attempts_of("c")[0].counts


def test_an_outcome_has_to_be_a_known_word(store):
    with pytest.raises(ValueError, match="outcome"):
        store.settle_attempt(store.begin_attempt("a", "m", ONLINE, 0.0), "fine", Usage(), 0.0)


def test_conclusion_sums_the_known_attempts(store):
    for outcome, cost in [(TRANSPORT, 0.0), (INVALID, 0.25), (ABORTED, None), (OK, 0.5)]:
        usage = Usage(100, 10) if cost else Usage()
        store.settle_attempt(store.begin_attempt("a", "m", ONLINE, 1.0), outcome, usage, cost)
    store.begin_attempt("a", "m", ONLINE, 1.0)  # a kill left it open
    answer = store.conclude("a", OK, "text", model="m")
    assert answer == ChatAnswer("a", OK, "text", "", "m", Usage(200, 20), 0.75, attempts=3)
    assert store.answer("a") == answer
    assert store.totals().unsettled_usd == 2.0


def test_what_is_forgotten_is_asked_with_all_attempts_before_it(store):
    for name, status in [("a", OK), ("b", INVALID), ("c", FAILED), ("d", REFUSED), ("e", TRUNCATED)]:
        store.settle_attempt(store.begin_attempt(name, "m", ONLINE, 0.0), status, Usage(1, 1), 0.5)
        store.conclude(name, status, "text")
    assert store.forget([]) == 0
    assert store.forget([INVALID, FAILED]) == 2
    assert [store.answer(name) is None for name in "abcde"] == [False, True, True, False, False]
    assert store.attempts_of("b") == [] and len(store.attempts_of("a")) == 1
    assert store.totals().attempts == 5 and store.totals().cost_usd == 2.5
    store.settle_attempt(store.begin_attempt("b", "m", ONLINE, 0.0), OK, Usage(1, 1), 0.5)
    assert store.conclude("b", OK, "text").cost_usd == 1.0  # what was paid for it before counts


def test_transactions_are_all_or_nothing(store):
    attempt = store.begin_attempt("a", "m", ONLINE, 1.0)
    with pytest.raises(RuntimeError, match="stop"), store.transaction():
        store.settle_attempt(attempt, OK, Usage(1, 1), 0.5)
        with store.transaction():
            store.conclude("a", OK, "text")
        raise RuntimeError("stop")
    assert store.answer("a") is None and store.attempts_of("a")[0].is_open
    with store.transaction():
        store.settle_attempt(attempt, OK, Usage(1, 1), 0.5)
        store.conclude("a", OK, "text")
    assert store.answer("a").cost_usd == 0.5


def test_threads_share_a_store(store):
    def work(name: str) -> None:
        for index in range(50):
            with store.transaction():
                attempt = store.begin_attempt(f"{name}{index}", "m", ONLINE, 1.0)
                store.settle_attempt(attempt, OK, Usage(1, 2), 0.5)
                store.conclude(f"{name}{index}", OK, name)

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    totals = store.totals()
    assert totals.attempts == totals.requests == totals.prompt_tokens == 200
    assert all(store.answer(f"{name}{index}").text == name for name in "abcd" for index in range(50))


def test_two_stores_on_one_file(tmp_path):
    with RequestStore(tmp_path / "s.sqlite") as one, RequestStore(tmp_path / "s.sqlite") as other:
        one.put_answer(ChatAnswer("a", OK, "text"))
        assert other.answer("a").text == "text"
        other.begin_attempt("b", "m", ONLINE, 0.5)
        assert one.totals().unsettled_usd == 0.5


def test_files_that_are_no_store(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("these are notes, and not a few of them\n" * 50)
    with pytest.raises(LLMError, match=r"notes\.txt: cannot be used as a store"):
        RequestStore(path)
    with pytest.raises(LLMError, match="cannot be used"):
        RequestStore(path / "below.sqlite")
    with sqlite3.connect(tmp_path / "newer.sqlite") as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(LLMError, match="format 99"):
        RequestStore(tmp_path / "newer.sqlite")


def test_a_closed_store_says_where_it_was(tmp_path):
    store = RequestStore(tmp_path / "s.sqlite")
    store.close()
    with pytest.raises(LLMError, match=r"s\.sqlite"):
        store.answer("a")
    with pytest.raises(LLMError, match=r"s\.sqlite"):
        store.begin_attempt("a", "m", ONLINE, 0.0)


def test_batch_jobs(store):
    jobs = [BatchJob("", "", f"part-{index}.jsonl", [f"{index}a", f"{index}b"], "planned", 0.5) for index in range(3)]
    for job in jobs:
        store.add_batch_job(job)
    assert store.batch_jobs() == jobs
    with pytest.raises(LLMError, match=r"part-1\.jsonl already"):
        store.add_batch_job(jobs[1])
    changed = dataclasses.replace(jobs[1], job_id="batch_1", input_file_id="file_1", state=BATCH_JOB_OVER)
    store.update_batch_job(changed)
    assert store.batch_jobs() == [jobs[0], changed, jobs[2]]
    assert store.batch_jobs(open_only=True) == [jobs[0], jobs[2]]
    with pytest.raises(LLMError, match=r"no batch job for other\.jsonl"):
        store.update_batch_job(dataclasses.replace(jobs[0], path="other.jsonl"))


WRITER = """
import sys
from vidreason.llm.chat import Usage
from vidreason.llm.store import RequestStore

store = RequestStore(sys.argv[1])
for index in range(10**6):
    attempt = store.begin_attempt(str(index), "m", "online", 1.0)
    print(index, flush=True)
    with store.transaction():
        store.settle_attempt(attempt, "ok", Usage(1, 1), 0.5)
        store.conclude(str(index), "ok", "text")
"""


@pytest.mark.parametrize("seed", range(3))
def test_killed_at_any_moment(tmp_path, repository, seed):
    path = tmp_path / "s.sqlite"
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True, cwd=repository
    ) as writer:
        writer.stdout.readline()
        time.sleep(random.Random(seed).uniform(0.0, 0.1))
        os.kill(writer.pid, signal.SIGKILL)
        written = 1 + len(writer.stdout.readlines())
    with RequestStore(path) as store:
        totals = store.totals()
        settled, still_open = totals.outcomes["ok"], totals.outcomes.get("", 0)
        assert still_open <= 1 and written <= settled + still_open <= written + 1
        answered = [store.answer(str(index)) is not None for index in range(totals.attempts)]
        assert (
            answered == [True] * settled + [False] * still_open
        )  # an attempt is settled with its answer or not at all
        assert totals.spent_usd == 0.5 * settled + 1.0 * still_open
