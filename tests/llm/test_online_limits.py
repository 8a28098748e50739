"""Answering online within limits: requests in flight, memory, rates, silence, money."""

import asyncio
import gc
import re
import threading
import time
import weakref

import pytest
from llm_doubles import (
    LOST,
    PRICE,
    SERVER_ERROR,
    Crowd,
    FakeClient,
    answer_all,
    make_answerer,
    make_question,
    make_request,
)

from vidreason.errors import BudgetExceeded, LLMError
from vidreason.llm.chat import OK, Usage
from vidreason.llm.client import RawCompletion
from vidreason.llm.cost import Budget, ModelPrice, cost_usd, estimate_tokens
from vidreason.llm.online import OnlineAnswerer, RetryLimits
from vidreason.llm.retry import AttemptFailed, failure_of_status
from vidreason.llm.store import ABORTED, TRANSPORT

DEAR = ModelPrice(input_usd=1000.0, cached_input_usd=1000.0, output_usd=10_000.0)


# concurrency and memory


@pytest.mark.parametrize("max_in_flight", [1, 7, 32])
def test_concurrency_is_reached_and_never_exceeded(store, max_in_flight):
    crowd = Crowd(max_in_flight)
    answerer = make_answerer(lambda *_: crowd.reply("good"), store, max_in_flight=max_in_flight)
    answer_all(answerer, map(make_question, range(5 * max_in_flight)))
    assert answerer.client.max_in_flight == max_in_flight


@pytest.mark.parametrize("slow", ["consumer", "server"])
def test_questions_are_drawn_no_further_ahead_than_there_is_room(store, slow):
    answerer = make_answerer(lambda *_: "good", store, latency_s=0.01 if slow == "server" else 0.0, max_in_flight=4)
    drawn = yielded = most = 0
    alive = weakref.WeakSet()

    def draw():
        nonlocal drawn
        for number in range(300):
            drawn += 1
            question = make_question(number)
            alive.add(question.request)
            yield question

    async def run():
        nonlocal yielded, most
        async for _ in answerer.answer_all(draw()):
            yielded += 1
            most = max(most, drawn - yielded)
            if slow == "consumer" and yielded % 10 == 0:
                await asyncio.sleep(0.02)
            if yielded == 200:
                gc.collect()
                assert len(alive) <= 4 * 4 + 2  # what is answered is let go

    asyncio.run(run())
    assert yielded == 300 and 4 <= most <= 4 * 4


def test_questions_are_drawn_in_another_thread(store):
    """An iterable that takes its time, as decoding does, does not hold up those that are in flight."""
    threads, answered = set(), threading.Event()

    def draw():
        for number in range(6):
            threads.add(threading.current_thread())
            # goes on only when the loop has answered the question before
            assert not number or answered.wait(60)
            answered.clear()
            yield make_question(number)

    async def run():
        async for _ in make_answerer(lambda *_: "good", store).answer_all(draw()):
            answered.set()

    asyncio.run(run())
    assert len(threads) == 1 and threading.main_thread() not in threads


# rate limits and silence


@pytest.mark.parametrize("retry_after_s", [0.3, None])
def test_all_hold_back_when_one_is_told_to(store, retry_after_s):
    """A rate limit is the account's: nobody asks while anyone waits."""
    told = None
    early = []

    def reply(number, attempt):
        nonlocal told
        if number == 10 and attempt == 0:
            told = time.monotonic()
            headers = {} if retry_after_s is None else {"retry-after": str(retry_after_s)}
            return failure_of_status(429, "slow down", headers=headers, redact=str)
        return "good"

    class Client(FakeClient):
        async def complete_once(self, request):
            if told is not None and time.monotonic() < told + 0.29:
                early.append(request)
            return await super().complete_once(request)

    # without Retry-After the wait is the jittered backoff: at least the number in flight is halved
    answerer = OnlineAnswerer(
        Client(reply, 0.002), store, PRICE, max_in_flight=4, limits=RetryLimits(backoff_base_s=0.001)
    )
    answers = answer_all(answerer, map(make_question, range(60)))
    assert all(answer.status == OK for answer in answers.values()) and told is not None
    assert bool(early) == (retry_after_s is None)


def test_fewer_at_a_time_after_a_rate_limit(store):
    """A server that bears 4 at a time gets little more than that, and nothing fails although 16 are allowed."""
    client = None

    def reply(number, attempt):
        if client.in_flight > 4:
            return failure_of_status(429, "too many", headers={"retry-after-ms": "20"}, redact=str)
        return "good"

    answerer = make_answerer(reply, store, latency_s=0.004, max_in_flight=16, max_attempts=8)
    client = answerer.client
    answers = answer_all(answerer, map(make_question, range(150)))
    assert {answer.status for answer in answers.values()} == {OK}
    assert store.totals().outcomes[TRANSPORT] < 100


def unreachable() -> AttemptFailed:
    return AttemptFailed("no connection (ConnectionRefusedError)", reached_server=False)


def test_a_server_that_is_gone_ends_the_run(store, monkeypatch):
    monkeypatch.setattr("vidreason.llm.online._FIRST_SILENCE_S", 0.01)
    answerer = make_answerer(lambda *_: unreachable(), store, max_in_flight=8, max_silences=3)
    with pytest.raises(LLMError, match="cannot be reached, 3 times in a row"):
        answer_all(answerer, map(make_question, range(50)))
    sent = len(answerer.client.asked)
    assert sent <= 8 + 2  # a crowd that set out together counts once, then one goes ahead at a time
    assert store.totals().outcomes == {ABORTED: sent} and store.totals().spent_usd == 0.0
    back = make_answerer(lambda number, attempt: SERVER_ERROR if attempt < 3 else "good", store)
    answers = answer_all(back, map(make_question, range(50)))
    assert {answer.status for answer in answers.values()} == {OK}  # none of the four attempts was used up


def test_a_server_that_comes_back_in_time(store, monkeypatch):
    monkeypatch.setattr("vidreason.llm.online._FIRST_SILENCE_S", 0.01)
    calls = []

    def reply(number, attempt):
        calls.append(number)
        return unreachable() if 20 <= len(calls) < 24 or 40 <= len(calls) < 44 else "good"

    answerer = make_answerer(reply, store, max_in_flight=1, max_silences=5)
    answers = answer_all(answerer, map(make_question, range(60)))
    assert {answer.status for answer in answers.values()} == {OK}


# budget


class BillingClient(FakeClient):
    """A server that keeps its own account. Every fifth answer is billed and then lost on the way."""

    bill_usd = 0.0
    crowd = None

    async def complete_once(self, request):
        estimate = estimate_tokens(request)
        number = len(self.asked)
        self.asked.append(number)
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        await asyncio.sleep(0.002)
        if self.crowd is not None and number:  # the first goes alone
            await self.crowd.wait()
        self.in_flight -= 1
        usage = Usage(estimate.prompt_tokens, 1 + number % request.max_completion_tokens)
        self.bill_usd += cost_usd(DEAR, usage)
        if number % 5 == 4:
            raise LOST
        return RawCompletion("good", usage=usage)


@pytest.mark.parametrize("max_cost_usd", [0.05, 0.5, 3.0])
def test_never_more_is_spent_than_the_cap(store, max_cost_usd):
    client, budget = BillingClient(None), Budget(max_cost_usd)
    client.crowd = Crowd(16) if max_cost_usd == 3.0 else None
    answerer = OnlineAnswerer(client, store, DEAR, budget, max_in_flight=16, limits=RetryLimits(backoff_base_s=0.001))
    with pytest.raises(BudgetExceeded, match=re.escape(f"of ${max_cost_usd:.6f}")):
        answer_all(answerer, map(make_question, range(1000)))
    worst = answerer.ceiling.cost_usd(estimate_tokens(make_request(999)))
    assert client.in_flight == 0 and budget.in_flight_usd == pytest.approx(0.0, abs=1e-9)
    totals = store.totals()
    assert client.bill_usd <= totals.spent_usd <= max_cost_usd
    assert totals.spent_usd == pytest.approx(budget.spent_usd) and totals.spent_usd > max_cost_usd - worst
    assert totals.attempts == len(client.asked) and "" not in totals.outcomes
    if max_cost_usd == 3.0:
        assert client.max_in_flight == 16
    # a second run with what is left, which is nothing, sends nothing
    again = OnlineAnswerer(BillingClient(None), store, DEAR, Budget(max_cost_usd, totals.spent_usd))
    with pytest.raises(BudgetExceeded):
        answer_all(again, map(make_question, range(1000)))
    assert not again.client.asked


def test_answers_that_arrived_are_handed_on_before_the_budget_ends_the_run(store):
    budget = Budget(0.5)
    answerer = OnlineAnswerer(BillingClient(None), store, DEAR, budget, max_in_flight=8)
    answers = {}

    async def run():
        async for key, answer in answerer.answer_all(map(make_question, range(1000))):
            answers[key] = answer

    with pytest.raises(BudgetExceeded):
        asyncio.run(run())
    assert len(answers) == store.totals().outcomes[OK]


def test_a_budget_that_is_large_enough_is_never_in_the_way(store):
    """Reservations are the worst case, far above the bills: what is in flight is waited for, not taken as spent."""
    worst = OnlineAnswerer(FakeClient(None), store, DEAR).ceiling.cost_usd(estimate_tokens(make_request(0)))
    budget = Budget(2.5 * worst)  # two in flight at a time, and a bill of a hundredth each
    usage, crowd = Usage(1, 0), Crowd(2)

    def reply(number, attempt):
        completion = RawCompletion("good", usage=usage)
        # the first goes alone, since the money is limited
        return completion if len(answerer.client.asked) == 1 else crowd.reply(completion)

    answerer = make_answerer(reply, store, price=DEAR, budget=budget, max_in_flight=8)
    answers = answer_all(answerer, map(make_question, range(40)))
    assert len(answers) == 40 and answerer.client.max_in_flight == 2
    assert budget.spent_usd == pytest.approx(40 * cost_usd(DEAR, usage))


@pytest.mark.parametrize("max_cost_usd", [3.0, 30.0])
def test_bills_far_above_the_published_rules_do_not_break_the_cap(store, max_cost_usd):
    bill_usd, crowd = 0.0, Crowd(32 if max_cost_usd == 30.0 else 1)

    def reply(number, attempt):
        nonlocal bill_usd
        usage = Usage(500 + number % 20, 20)  # of ten tokens or so, and twice as long an answer as was allowed
        bill_usd += cost_usd(DEAR, usage)
        completion = RawCompletion("good", usage=usage)
        # the first goes alone: it shows what the server bills
        return completion if len(answerer.client.asked) == 1 else crowd.reply(completion)

    budget = Budget(max_cost_usd)
    answerer = make_answerer(reply, store, price=DEAR, budget=budget)
    with pytest.raises(BudgetExceeded):
        answer_all(answerer, map(make_question, range(1000)))
    assert 0.5 * max_cost_usd < bill_usd <= max_cost_usd and bill_usd == pytest.approx(budget.spent_usd)
    assert answerer.client.max_in_flight == (32 if max_cost_usd == 30.0 else answerer.client.max_in_flight)
