"""How runs end before their questions do: errors, bugs, those who leave early, interrupts."""

import asyncio
import contextlib
import threading

import pytest
from llm_doubles import PRICE, USAGE, answer_all, make_answerer, make_question, make_request

from vidreason.errors import BudgetExceeded, LLMError, VideoError
from vidreason.llm.chat import OK
from vidreason.llm.cost import cost_usd
from vidreason.llm.retry import STOP, failure_of_status
from vidreason.llm.store import ABORTED

COST = cost_usd(PRICE, USAGE)


@pytest.mark.parametrize("status", [401, 403, 404])
def test_errors_that_end_the_run(store, status):
    def reply(number, attempt):
        return failure_of_status(status, "words", redact=str) if number == 20 else "good"

    answerer = make_answerer(reply, store, latency_s=0.002, max_in_flight=4)
    with pytest.raises(LLMError, match=f"the run cannot go on: HTTP {status}: words") as caught:
        answer_all(answerer, map(make_question, range(1000)))
    assert not isinstance(caught.value, BudgetExceeded) and caught.value.__context__ is None
    totals = store.totals()
    assert totals.outcomes == {OK: len(answerer.client.asked) - 1, ABORTED: 1}  # what was in flight has been kept
    assert store.answer(make_request(20).request_hash) is None and len(answerer.client.asked) < 100
    resumed = make_answerer(lambda *_: "good", store)
    answer_all(resumed, map(make_question, range(30)))
    assert 20 in resumed.client.asked and len(resumed.client.asked) + totals.outcomes[OK] == 30


def test_an_empty_account_ends_the_run(store):
    empty = failure_of_status(429, "You exceeded your current quota", "insufficient_quota", redact=str)
    with pytest.raises(LLMError, match="exceeded your current quota"):
        answer_all(make_answerer(lambda *_: empty, store), [make_question(0)])
    assert empty.verdict == STOP


class Bug(Exception):
    pass


def test_a_bug_in_a_check_propagates(store):
    def check(text):
        raise Bug("in the check")

    questions = (make_question(number, check if number == 10 else lambda text: None) for number in range(500))
    answerer = make_answerer(lambda *_: "good", store, latency_s=0.002, max_in_flight=4)
    with pytest.raises(Bug, match="in the check"):
        answer_all(answerer, questions)
    totals = store.totals()
    assert totals.outcomes == {OK: len(answerer.client.asked) - 1, ABORTED: 1}
    assert totals.cost_usd == pytest.approx(COST * totals.attempts) and totals.unsettled_usd == 0  # it was billed


def test_a_bug_in_a_client_propagates(store):
    with pytest.raises(Bug):
        answer_all(make_answerer(lambda *_: Bug(), store), map(make_question, range(9)))
    totals = store.totals()
    assert set(totals.outcomes) == {ABORTED} and totals.unsettled_usd > 0


def test_errors_of_the_iterable_propagate(store):
    def draw():
        yield from map(make_question, range(20))
        raise VideoError("a.mp4", "missing")

    answerer = make_answerer(lambda *_: "good", store, latency_s=0.002, max_in_flight=4)
    with pytest.raises(VideoError, match=r"a\.mp4"):
        answer_all(answerer, draw())
    assert store.totals().outcomes == {OK: len(answerer.client.asked)}


def test_an_iterable_that_wants_to_exit_is_not_taken_for_its_end(store):
    def draw():
        yield make_question(0)
        raise SystemExit

    with pytest.raises(LLMError, match=r"no longer be drawn: SystemExit"):
        answer_all(make_answerer(lambda *_: "good", store), draw())


def test_leaving_early_closes_everything(store):
    closed = threading.Event()

    def draw():
        try:
            yield from map(make_question, range(10_000))
        finally:
            closed.set()

    answerer = make_answerer(lambda *_: "good", store, latency_s=0.005, max_in_flight=4)

    async def run():
        count = 0
        async with contextlib.aclosing(answerer.answer_all(draw())) as pairs:
            async for _ in pairs:
                count += 1
                if count == 10:
                    break
        assert len(asyncio.all_tasks()) == 1
        return count

    assert asyncio.run(run()) == 10 and closed.is_set()
    totals = store.totals()
    assert set(totals.outcomes) <= {OK, ABORTED} and totals.attempts == len(answerer.client.asked)
    assert answerer.budget.in_flight_usd == pytest.approx(0.0, abs=1e-12)
    assert answerer.budget.spent_usd == pytest.approx(totals.spent_usd)


def test_an_interrupt_leaves_the_store_consistent(store):
    """As Ctrl-C does it: the main task is cancelled while requests are in flight."""
    answerer = make_answerer(lambda number, _: "good" if number < 8 else asyncio.sleep(60), store, max_in_flight=4)
    answers = {}

    async def consume():
        async for key, answer in answerer.answer_all(map(make_question, range(1000))):
            answers[key] = answer

    async def run():
        task = asyncio.create_task(consume())
        while len(answers) < 8 or answerer.client.in_flight < 4:
            await asyncio.sleep(0.005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(run())
    totals = store.totals()
    assert totals.outcomes == {OK: 8, ABORTED: 4} and sorted(answers) == list(range(8))
    assert (
        totals.unsettled_usd == pytest.approx(answerer.budget.spent_usd - totals.cost_usd) and totals.unsettled_usd > 0
    )
    assert [store.answer(make_request(number).request_hash) for number in range(9)] == [
        *map(answers.get, range(8)),
        None,
    ]
