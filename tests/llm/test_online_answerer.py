"""Answering online: what is tried again and what is not, over one run and several, and what the ledger says."""

import random

import pytest
from llm_doubles import (
    LOST,
    PRICE,
    RATE_LIMITED,
    REJECTED,
    SERVER_ERROR,
    USAGE,
    answer_all,
    make_answerer,
    make_question,
)

from vidreason.llm.chat import FAILED, INVALID, OK, REFUSED, TRUNCATED, Usage
from vidreason.llm.client import RawCompletion
from vidreason.llm.cost import FREE, cost_usd
from vidreason.llm.store import ABORTED, ONLINE, TRANSPORT

COST = cost_usd(PRICE, USAGE)


def outcomes(store, question) -> list[str]:
    return [attempt.outcome for attempt in store.attempts_of(question.request.request_hash)]


# what is tried again

CUT = RawCompletion("good but", "length", usage=USAGE)
REFUSAL = RawCompletion("", "stop", "I will not", USAGE)


@pytest.mark.parametrize(
    ("replies", "status", "text", "ledger"),
    [
        (["good"], OK, "good", [OK]),
        ([SERVER_ERROR, "good"], OK, "good", [TRANSPORT, OK]),
        ([RATE_LIMITED, LOST, SERVER_ERROR, "good"], OK, "good", [TRANSPORT] * 3 + [OK]),
        ([SERVER_ERROR] * 4, FAILED, "HTTP 500: oh", [TRANSPORT] * 4),
        ([RATE_LIMITED] * 4, FAILED, "HTTP 429: slow", [TRANSPORT] * 4),
        ([LOST, LOST, LOST, SERVER_ERROR], FAILED, "HTTP 500: oh", [TRANSPORT] * 4),
        ([REJECTED], FAILED, "HTTP 400: no", [TRANSPORT]),
        ([SERVER_ERROR, REJECTED], FAILED, "HTTP 400: no", [TRANSPORT] * 2),
        (["bad", "good"], OK, "good", [INVALID, OK]),
        (["bad", "worse"], INVALID, "worse", [INVALID] * 2),
        (["bad", SERVER_ERROR, "worse"], INVALID, "worse", [INVALID, TRANSPORT, INVALID]),
        ([SERVER_ERROR, SERVER_ERROR, SERVER_ERROR, "bad"], INVALID, "bad", [TRANSPORT] * 3 + [INVALID]),
        ([CUT], TRUNCATED, "good but", [TRUNCATED]),
        ([REFUSAL], REFUSED, "I will not", [REFUSED]),
        (["bad", CUT], TRUNCATED, "good but", [INVALID, TRUNCATED]),
        ([SERVER_ERROR, REFUSAL], REFUSED, "I will not", [TRANSPORT, REFUSED]),
    ],
)
def test_what_is_tried_again(store, replies, status, text, ledger):
    question = make_question(0)
    answerer = make_answerer(lambda number, attempt: replies[attempt], store)
    answer = answer_all(answerer, [question])[0]
    assert outcomes(store, question) == ledger and len(answerer.client.asked) == len(replies)
    billed = sum(word != TRANSPORT for word in ledger)
    assert (answer.status, answer.text, answer.attempts) == (status, text, len(ledger))
    assert answer.usage == Usage(100 * billed, 10 * billed) and answer.cost_usd == pytest.approx(billed * COST)
    assert answer.detail == ("not good: " + text if status == INVALID else answer.detail)
    assert answer == store.answer(question.request.request_hash)
    totals = store.totals()
    assert (totals.requests, totals.attempts, totals.cost_usd) == (1, len(ledger), pytest.approx(billed * COST))
    lost = sum(reply is LOST for reply in replies)
    reserved = store.attempts_of(question.request.request_hash)[0].reserved_usd
    assert reserved > 0 and totals.unsettled_usd == pytest.approx(lost * reserved)  # may have been billed


@pytest.mark.parametrize(
    ("before", "replies", "status", "sent"),
    [
        ([], [SERVER_ERROR] * 3 + ["good"], OK, 4),
        ([TRANSPORT], [SERVER_ERROR] * 3, FAILED, 3),
        ([TRANSPORT, TRANSPORT], [SERVER_ERROR, "good"], OK, 2),
        ([INVALID], ["bad"], INVALID, 1),
        ([INVALID], ["good"], OK, 1),
        ([TRANSPORT] * 4, ["good"], OK, 1),  # whatever was before: a run tries at least once
        ([ABORTED] * 9, [SERVER_ERROR] * 4, FAILED, 4),  # says nothing about the request
        ([""] * 9, [SERVER_ERROR] * 4, FAILED, 4),  # so does what a kill left open
    ],
)
def test_attempts_of_earlier_runs_count(store, before, replies, status, sent):
    question = make_question(0)
    for outcome in before:
        attempt_id = store.begin_attempt(question.request.request_hash, "gpt-4.1-mini", ONLINE, 1.0)
        if outcome:
            store.settle_attempt(attempt_id, outcome, Usage(), 0.0)
    answerer = make_answerer(lambda number, attempt: replies[attempt], store)
    assert answer_all(answerer, [question])[0].status == status
    assert len(answerer.client.asked) == sent
    assert len(outcomes(store, question)) == len(before) + sent


def test_many_questions_with_many_faults(store):
    """Every question gets exactly one answer, and the ledger has exactly what was sent."""
    generator = random.Random(0)
    fates = {
        number: generator.choices(["good", "bad", SERVER_ERROR, RATE_LIMITED, CUT, REFUSAL, REJECTED], k=4)
        for number in range(200)
    }
    answerer = make_answerer(lambda number, attempt: fates[number][attempt], store, max_in_flight=16)
    answers = answer_all(answerer, map(make_question, range(200)))
    assert sorted(answers) == list(range(200))
    totals = store.totals()
    assert totals.attempts == len(answerer.client.asked) == sum(answer.attempts for answer in answers.values())
    assert totals.requests == 200 and "" not in totals.outcomes and ABORTED not in totals.outcomes
    assert totals.cost_usd == pytest.approx(sum(answer.cost_usd for answer in answers.values()))
    assert {answer.status for answer in answers.values()} == {OK, INVALID, FAILED, TRUNCATED, REFUSED}
    assert answerer.client.max_in_flight <= 16


def test_what_is_in_the_store_is_not_sent(store):
    answer_all(make_answerer(lambda number, attempt: "good", store), map(make_question, range(5)))
    again = make_answerer(lambda number, attempt: "good again", store)
    answers = answer_all(again, map(make_question, range(8)))
    assert again.client.asked == [5, 6, 7]
    assert [answers[number].text for number in range(8)] == ["good"] * 5 + ["good again"] * 3


def test_failures_in_the_store_stand_until_they_are_forgotten(store):
    answer_all(make_answerer(lambda number, attempt: SERVER_ERROR, store), [make_question(0)])
    again = make_answerer(lambda number, attempt: "good", store)
    assert answer_all(again, [make_question(0)])[0].status == FAILED and not again.client.asked
    assert store.forget([FAILED]) == 1
    answer = answer_all(again, [make_question(0)])[0]
    assert answer.status == OK and len(again.client.asked) == 1
    assert answer.attempts == 5  # of the ledger, in which nothing is forgotten


def test_equal_requests_are_sent_once(store):
    questions = [make_question(number % 3) for number in range(60)]
    questions = [type(question)(key, question.request, question.check) for key, question in enumerate(questions)]
    answerer = make_answerer(lambda number, attempt: f"good {number}", store, latency_s=0.02)
    answers = answer_all(answerer, questions)
    assert sorted(answerer.client.asked) == [0, 1, 2]
    assert [answers[key].text for key in range(60)] == [f"good {key % 3}" for key in range(60)]


def test_samples_of_one_question_differ_by_seed(store):
    questions = [make_question(0, seed=seed) for seed in range(3)]
    answerer = make_answerer(lambda number, attempt: f"good {attempt}", store)
    answer_all(answerer, [type(q)(key, q.request, q.check) for key, q in enumerate(questions)])
    assert len(answerer.client.asked) == 3


def test_no_questions(store):
    assert answer_all(make_answerer(lambda number, attempt: "good", store), []) == {}


def test_servers_that_do_not_say_what_they_bill(store):
    answer = answer_all(make_answerer(lambda *_: RawCompletion("good", usage=None), store), [make_question(0)])[0]
    assert answer.cost_usd == 0.0 and answer.usage == Usage() and answer.model == "gpt-4.1-mini"
    assert store.totals().unsettled_usd > 0.0  # counts as spent at what was reserved


def test_servers_that_cost_nothing(store):
    answer_all(make_answerer(lambda *_: LOST, store, price=FREE), [make_question(0)])
    assert store.totals().spent_usd == 0.0


@pytest.mark.parametrize("name", ["max_in_flight", "max_attempts", "max_invalid_attempts", "max_silences"])
def test_limits_that_make_no_sense(store, name):
    with pytest.raises(ValueError, match=name):
        make_answerer(lambda *_: "good", store, **{name: 0})
