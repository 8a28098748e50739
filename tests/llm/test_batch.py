"""Batch jobs from end to end against the local service, whatever it does to jobs and lines."""

import asyncio
import contextlib

import pytest
from batch_helpers import PRICE, answer_in_batches, files_in, good, jobs_held, leave_when, questions_of
from llm_doubles import RawServer, Reply, make_question

from vidreason.errors import BudgetExceeded, LLMError
from vidreason.llm.batch import BatchAnswerer
from vidreason.llm.batch_files import line_of
from vidreason.llm.chat import FAILED, INVALID, OK, REFUSED, TRUNCATED, Question
from vidreason.llm.client import OpenAIChatClient
from vidreason.llm.cost import Budget, cost_usd
from vidreason.llm.store import RequestStore
from vidreason.llm.testing.chat_batches import BatchLimits
from vidreason.llm.testing.chat_faults import BatchFaults, Faults
from vidreason.llm.testing.chat_server import ChatServer


@pytest.fixture
def run(store, tmp_path):
    """Answers questions by batches of at most ten requests, unless told otherwise."""

    def run(server, questions, budget=None, **settings):
        return answer_in_batches(server.url, questions, store, tmp_path / "batches", budget, **settings)

    return run


# the normal course


def test_every_question_is_answered_once_at_half_the_price(run, store, tmp_path):
    with ChatServer(good) as server:
        answers = run(server, questions_of(25))
    assert {key: (answer.status, answer.text) for key, answer in answers.items()} == {
        number: (OK, f"good question {number}") for number in range(25)
    }
    assert len(server.batches.jobs) == 3 and server.outcomes == {"ok": 25}
    totals = store.totals()
    assert (totals.prompt_tokens, totals.completion_tokens) == server.billed_tokens
    for answer in answers.values():
        assert answer.cost_usd == pytest.approx(cost_usd(PRICE, answer.usage) / 2) and answer.attempts == 1
    assert totals.cost_usd == pytest.approx(sum(answer.cost_usd for answer in answers.values()))
    assert totals.unsettled_usd == 0 and totals.outcomes == {OK: 25}
    assert store.batch_jobs(open_only=True) == [] and files_in(tmp_path / "batches") == []


def test_what_is_known_is_not_asked_and_equal_requests_are_sent_once(run):
    questions = questions_of(5)
    twins = [Question(f"twin {q.key}", q.request, q.check) for q in questions]
    with ChatServer(good) as server:
        first = run(server, questions[:2])
        answers = run(server, [*questions, *twins])
        again = run(server, [*questions, *twins])
    assert len(answers) == 10 and answers == again and answers | first == answers
    assert server.outcomes == {"ok": 5} and len(server.batches.jobs) == 2
    assert all(answers[f"twin {number}"] == answers[number] for number in range(5))


def test_no_questions_make_no_jobs(run):
    with ChatServer(good) as server:
        assert run(server, []) == {}
    assert not server.batches.jobs and not server.batches.files


def test_files_keep_to_the_limits_of_count_and_size(run, store):
    adapt = OpenAIChatClient("http://localhost:1/v1").adapt
    size = max(len(line_of(q.request.request_hash, adapt(q.request.payload))) for q in questions_of(20))
    with ChatServer(good, batch_limits=BatchLimits(max_requests=7, max_bytes=4 * size)) as server:
        run(server, questions_of(20), max_requests_per_file=7, max_bytes_per_file=4 * size)
        files = [file for file in server.batches.files.values() if file["purpose"] == "batch"]
        assert [job.body["status"] for job in server.batches.jobs.values()] == ["completed"] * 5
        with pytest.raises(LLMError, match=r"a request has \d+ bytes"):
            run(server, [make_question(100, max_completion_tokens=20)], max_bytes_per_file=size // 2)
    assert max(file["bytes"] for file in files) <= 4 * size
    assert store.totals().requests == 20


def test_each_model_has_files_of_its_own(run):
    other = [Question(("nano", q.key), make_nano(q.request), q.check) for q in questions_of(4)]
    both = [question for pair in zip(questions_of(4), other, strict=True) for question in pair]
    with ChatServer(good) as server:
        answers = run(server, both)
    assert {answer.status for answer in answers.values()} == {OK} and len(answers) == 8
    assert [job.body["status"] for job in server.batches.jobs.values()] == ["completed"] * 2
    assert answers["nano", 0].model == "gpt-4.1-nano" and answers[0].model == "gpt-4.1-mini"


def make_nano(request):
    return type(request)("gpt-4.1-nano", request.messages, request.max_completion_tokens)


def test_questions_are_drawn_while_there_is_room(store, tmp_path):
    drawn = 0

    def draw():
        nonlocal drawn
        for question in questions_of(1000):
            drawn += 1
            yield question

    async def ask(server):
        settings = {"max_requests_per_file": 5, "max_open_jobs": 2, "poll_s": 0.01}
        async with OpenAIChatClient(server.url) as client:
            answerer = BatchAnswerer(client, store, PRICE, None, tmp_path / "batches", **settings)
            async with contextlib.aclosing(answerer.answer_all(draw())) as answers:
                async for _ in answers:
                    return

    with ChatServer(good, batch_latency_s=0.2) as server:
        asyncio.run(ask(server))
    assert drawn < 200 and len(server.batches.jobs) <= 5


# what the service does


def test_faults_of_lines_and_answers_end_as_statuses(run, store):
    faults = Faults(malformed=0.1, truncated=0.1, refused=0.1, filtered=0.05, empty=0.1)
    lines = BatchFaults(error_lines=0.1, missing_lines=0.1, duplicated_lines=0.1)
    with ChatServer(good, faults=faults, batch_faults=lines) as server:
        answers = run(server, questions_of(200), max_requests_per_file=40)
    assert len(answers) == 200
    statuses = [answer.status for answer in answers.values()]
    assert set(statuses) == {OK, REFUSED, TRUNCATED, INVALID, FAILED} and statuses.count(OK) > 120
    assert max(answer.attempts for answer in answers.values()) == 3
    for answer in answers.values():
        assert answer.attempts == 3 or answer.status not in (INVALID, FAILED)
        assert answer.text.startswith("good") == (answer.status in (OK, TRUNCATED))
    totals, (prompt_tokens, completion_tokens) = store.totals(), server.billed_tokens
    assert (
        totals.attempts
        == sum(answer.attempts for answer in answers.values())
        == len(server.log) + sum(job.body["request_counts"]["failed"] for job in server.batches.jobs.values())
    )
    # what was lost on the way back was billed, and counts at what it could have cost at most
    assert totals.prompt_tokens < prompt_tokens and totals.completion_tokens < completion_tokens
    billed_usd = (prompt_tokens * PRICE.input_usd + completion_tokens * PRICE.output_usd) / 2e6
    assert totals.cost_usd < billed_usd < totals.spent_usd


@pytest.mark.parametrize("fault", ["expired", "cancelled", "partial"])
def test_jobs_that_end_half_way_are_carried_on(run, store, tmp_path, fault):
    with ChatServer(good, batch_faults=BatchFaults(script=[fault])) as server:
        answers = run(server, questions_of(10))
    assert [answers[number].status for number in range(10)] == [OK] * 10
    assert sorted(answer.attempts for answer in answers.values()) == [1] * 5 + [2] * 5
    # the lines that brought no answer were not billed, and the ledger knows it
    assert server.outcomes == {"ok": 10} and store.totals().unsettled_usd == 0
    assert store.totals().outcomes == {OK: 10, "transport": 5}
    assert files_in(tmp_path / "batches") == []


def test_jobs_that_bring_nothing_are_given_up_in_the_end(run, store):
    with ChatServer(good, batch_faults=BatchFaults(error_lines=1.0)) as server:
        answers = run(server, questions_of(3), max_rounds=2)
    assert [(a.status, a.attempts, a.cost_usd) for a in answers.values()] == [(FAILED, 2, 0.0)] * 3
    assert "HTTP 500" in answers[0].text and answers[0].model == "gpt-4.1-mini"
    assert len(server.batches.jobs) == 2 and store.totals().spent_usd == 0


def test_a_job_that_fails_as_a_whole_is_started_again_from_its_file(run, store):
    with ChatServer(good, batch_faults=BatchFaults(script=["failed_validation", "failed_validation"])) as server:
        answers = run(server, questions_of(10))
    assert [answer.status for answer in answers.values()] == [OK] * 10
    assert {answer.attempts for answer in answers.values()} == {1} and store.totals().attempts == 10
    uploads = [file for file in server.batches.files.values() if file["purpose"] == "batch"]
    assert len(server.batches.jobs) == 3 and len(uploads) == 1


def test_a_job_whose_creation_was_not_heard_of_is_found_and_not_made_again(run, store):
    with ChatServer(good, batch_faults=BatchFaults(script=["lost_creation", None])) as server:
        answers = run(server, questions_of(15))
    assert {answer.status for answer in answers.values()} == {OK} and server.outcomes == {"ok": 15}
    assert len(server.batches.jobs) == 2 and store.totals().attempts == 15


def test_jobs_that_fail_one_after_the_other_end_the_run_and_cost_nothing(run, store, tmp_path):
    with ChatServer(good, batch_faults=BatchFaults(failed_validation=1.0)) as server:
        with pytest.raises(LLMError, match="3 in a row: invalid_json_line"):
            run(server, questions_of(10))
        assert len(server.batches.jobs) == 3
    assert (
        store.totals().spent_usd == 0
        and store.batch_jobs(open_only=True) == []
        and files_in(tmp_path / "batches") == []
    )
    with ChatServer(good) as server:  # another day
        assert {answer.status for answer in run(server, questions_of(10)).values()} == {OK}


def test_a_queue_without_room_is_waited_for(run, store):
    limits = BatchLimits(max_enqueued_tokens=120)  # of one file at a time
    with ChatServer(good, batch_limits=limits, batch_latency_s=0.05) as server:
        answers = run(server, questions_of(40))
    assert {answer.status for answer in answers.values()} == {OK} and server.outcomes == {"ok": 40}
    assert sum(job.body["status"] == "failed" for job in server.batches.jobs.values()) > 0
    assert store.totals().attempts == 40


def test_a_file_that_no_queue_takes_says_what_helps(run):
    limits = BatchLimits(max_enqueued_tokens=20)
    with ChatServer(good, batch_limits=limits) as server, pytest.raises(LLMError, match="max_requests_per_file"):
        run(server, questions_of(10))


def test_a_request_that_is_wrong_fails_at_once(run, store):
    def answer(payload):
        if payload["messages"][0]["content"] == "question 1":
            raise ValueError("no such picture")
        return "good"

    with ChatServer(answer) as server:
        answers = run(server, questions_of(3))
    assert [answers[number].status for number in range(3)] == [OK, FAILED, OK]
    assert answers[1].attempts == 1 and "no such picture" in answers[1].text
    assert len(server.batches.jobs) == 1


def test_a_model_that_does_not_exist_ends_the_run(run, store):
    with ChatServer(good, models=["other"]) as server, pytest.raises(LLMError, match="does not exist"):
        run(server, questions_of(3))
    assert store.totals().spent_usd == 0 and store.batch_jobs(open_only=True) == []


def test_a_wrong_key_ends_the_run_and_is_told_to_nobody(run, store, monkeypatch, caplog):
    key = "sk-proj-thisIsTheKeyOfTheTest"
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with ChatServer(good, api_key="another") as server, pytest.raises(LLMError) as raised:
        run(server, questions_of(3))
    assert "401" in str(raised.value) and key not in str(raised.value) + caplog.text
    assert raised.value.__cause__ is None and raised.value.__context__ is None


def test_a_server_without_batches_ends_the_run(run):
    with RawServer(lambda body, number: Reply()) as server, pytest.raises(LLMError, match=r"uploading .*404"):
        run(server, questions_of(1))


def test_what_a_service_echoes_is_kept_without_keys(run, monkeypatch):
    key = "zx81-aKeyThatNoRuleKnowsTheShapeOf"
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with ChatServer(lambda payload: f"good {key}") as server:
        answers = run(server, questions_of(1))
    assert answers[0].text == "good [redacted]"


# money


def test_the_budget_holds_and_counts_what_is_in_flight(run, store, tmp_path):
    with ChatServer(good, batch_latency_s=0.02) as server:
        with RequestStore(tmp_path / "other.sqlite") as other:
            each_usd = answer_in_batches(server.url, questions_of(1), other, tmp_path / "other")[0].cost_usd
        budget = Budget(20.5 * each_usd)
        with pytest.raises(BudgetExceeded):
            run(server, questions_of(100), budget)
        totals = store.totals()
        # a reservation is higher than the bill, so some rounds of it are needed to spend what there is
        assert 15 * each_usd < totals.spent_usd <= budget.max_cost_usd and len(server.batches.jobs) > 1
        assert budget.spent_usd == pytest.approx(totals.spent_usd) and budget.in_flight_usd == pytest.approx(0)
        assert totals.requests == server.outcomes["ok"] - 1
        rest = run(server, questions_of(100), Budget(100.0, totals.spent_usd))
    assert len(rest) == 100 and server.outcomes == {"ok": 101}


def test_what_was_left_at_the_service_stays_in_the_budget_until_it_is_settled(run, store, tmp_path):
    with ChatServer(good) as server:
        budget = Budget(1.0)
        with jobs_held(server):
            leave_when(server.url, questions_of(5), store, tmp_path / "batches", "created", budget)
        left_usd = store.totals().unsettled_usd
        assert left_usd > 0 and budget.spent_usd == pytest.approx(left_usd)
        budget = Budget(1.0, store.totals().spent_usd)
        assert len(run(server, questions_of(5), budget)) == 5
    assert len(server.batches.jobs) == 1 and server.outcomes == {"ok": 5}
    assert store.totals().unsettled_usd == 0
    assert budget.spent_usd == pytest.approx(store.totals().cost_usd) and 0 < budget.spent_usd < left_usd


# checks


def test_an_invalid_answer_is_asked_again_a_bounded_number_of_times(run, store):
    asked = []

    def answer(payload):
        asked.append(payload["messages"][0]["content"])
        return "good" if asked.count(asked[-1]) > int(asked[-1].split()[1]) else "bad"

    with ChatServer(answer) as server:
        answers = run(server, questions_of(5), max_rounds=3)
    assert [(answers[n].status, answers[n].attempts) for n in range(5)] == [
        *((OK, 1), (OK, 2), (OK, 3)),
        *((INVALID, 3), (INVALID, 3)),
    ]
    assert answers[4].detail == "not good: bad" and len(server.batches.jobs) == 3
    assert answers[4].usage.completion_tokens == 3 and store.totals().outcomes == {OK: 3, INVALID: 9}


def test_a_check_that_breaks_ends_the_run_and_its_paid_answers_wait(run, store):
    def broken(text):
        raise ZeroDivisionError

    with ChatServer(good) as server:
        with pytest.raises(ZeroDivisionError):
            run(server, questions_of(3, check=broken))
        answers = run(server, questions_of(3))
    assert {answer.status for answer in answers.values()} == {OK}
    assert len(server.batches.jobs) == 1 and server.outcomes == {"ok": 3} and store.totals().unsettled_usd == 0


def test_questions_that_cannot_be_drawn_end_the_run(run):
    def draw():
        yield from questions_of(3)
        raise OSError("the disk is gone")

    with ChatServer(good) as server, pytest.raises(OSError, match="the disk is gone"):
        run(server, draw())


@pytest.mark.parametrize("setting", ["max_requests_per_file", "max_open_jobs", "max_rounds", "max_failed_jobs"])
def test_limits_must_allow_something(store, tmp_path, setting):
    with pytest.raises(ValueError, match="at least 1"):
        BatchAnswerer(OpenAIChatClient("http://127.0.0.1:9/v1"), store, PRICE, None, tmp_path, **{setting: 0})


@pytest.mark.parametrize("field", ["temperature", "seed", "max_completion_tokens", "response_format"])
def test_lines_that_are_rejected_for_a_field_are_sent_again_without_it(run, store, field):
    changes = {"temperature": 0.0, "seed": 1, "schema": {"type": "object"}}
    with ChatServer(good, unsupported={field}) as server:
        answers = run(server, questions_of(25, **changes))
    assert {answer.status for answer in answers.values()} == {OK}
    assert server.outcomes[OK] == 25 and server.outcomes["400"] <= 25
    assert (store.totals().prompt_tokens, store.totals().completion_tokens) == server.billed_tokens
    assert store.totals().unsettled_usd == 0
