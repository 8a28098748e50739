"""The online answerer and the OpenAI client against a whole server with faults: ledger, bill, pace and keys."""

import json
import logging

import pytest
from llm_doubles import Crowd, answer_all, check_good, in_a_hurry

from vidreason.errors import BudgetExceeded, InvalidAnswer, LLMError
from vidreason.llm.chat import FAILED, INVALID, OK, REFUSED, TRUNCATED, ChatRequest, Question, Usage
from vidreason.llm.client import OpenAIChatClient
from vidreason.llm.cost import Budget, ModelPrice, cost_usd, price_of
from vidreason.llm.online import OnlineAnswerer
from vidreason.llm.store import TRANSPORT, RequestStore
from vidreason.llm.testing.chat_faults import REQUEST_FAULTS, Faults
from vidreason.llm.testing.chat_server import ChatServer

PRICE = price_of("gpt-4.1-mini")
KEY = "zx81-ThisIsTheKeyOfTheTest-42"
SCHEMA = {"type": "object", "properties": {"key_r": {"type": "array"}}, "required": ["key_r"]}
WORDS = "Which cells of the picture matter for the action in the video? Answer with a list of rows and columns. " * 4


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


def give(payload: dict) -> str:
    return json.dumps({"key_r": [[1, 2]], "to": payload["messages"][0]["content"][:20]})


def check(text: str) -> None:
    try:
        cells = json.loads(text)["key_r"]
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidAnswer(f"not the JSON that was asked for: {error}") from error
    if any(not 0 <= value < 4 for cell in cells for value in cell):
        raise InvalidAnswer("cells out of range")


def make_questions(count: int, **changes) -> list[Question]:
    changes = {"max_completion_tokens": 60, "schema": SCHEMA, **changes}
    return [
        Question(
            number, ChatRequest("gpt-4.1-mini", [{"role": "user", "content": f"{number}: {WORDS}"}], **changes), check
        )
        for number in range(count)
    ]


def make_answerer(server: ChatServer, store: RequestStore, **settings) -> OnlineAnswerer:
    timeout_s = settings.pop("timeout_s", 10.0)
    settings = {"price": PRICE, **in_a_hurry(settings, backoff_base_s=0.005)}
    return OnlineAnswerer(OpenAIChatClient(server.url, timeout_s=timeout_s), store, **settings)


def test_all_faults_together(store):
    faults = Faults(
        **dict.fromkeys(("rate_limited", "rate_limited_bare", "server_error", "dropped", "malformed_body"), 0.05),
        **dict.fromkeys(("malformed", "truncated", "refused", "filtered", "wrong_grid", "empty"), 0.05),
        retry_after_s=0.02,
    )
    questions = make_questions(150)
    with ChatServer(give, faults, latency_s=0.005) as server:
        answers = answer_all(make_answerer(server, store, max_in_flight=16), questions)
        log = list(server.log)
    assert sorted(answers) == list(range(150))
    assert {answer.status for answer in answers.values()} >= {OK, INVALID, TRUNCATED, REFUSED}
    totals = store.totals()
    assert totals.attempts == len(log) and totals.outcomes[TRANSPORT] == sum(e.outcome in REQUEST_FAULTS for e in log)
    assert totals.prompt_tokens == sum(entry.prompt_tokens for entry in log)
    assert totals.completion_tokens == sum(entry.completion_tokens for entry in log)
    assert totals.cost_usd == pytest.approx(bill_of(log, PRICE))
    for question in questions:  # attempt by attempt
        entries = [entry for entry in log if entry.payload_hash == question.request.request_hash]
        attempts = store.attempts_of(question.request.request_hash)
        assert len(attempts) == len(entries) == answers[question.key].attempts <= 4
        for attempt, entry in zip(attempts, entries, strict=True):
            assert attempt.outcome == EXPECTED.get(entry.outcome, TRANSPORT)
            assert attempt.usage == Usage(entry.prompt_tokens, entry.completion_tokens)
        assert sum(attempt.outcome == INVALID for attempt in attempts) <= 2
        assert all(
            attempt.outcome in (TRANSPORT, INVALID) for attempt in attempts[:-1]
        )  # the others are never retried


EXPECTED = {
    **{"ok": OK, "slow": OK, "malformed": INVALID, "wrong_grid": INVALID, "empty": INVALID},
    **{"truncated": TRUNCATED, "refused": REFUSED, "filtered": REFUSED},
}


def bill_of(log: list, price: ModelPrice) -> float:
    return sum(cost_usd(price, Usage(entry.prompt_tokens, entry.completion_tokens)) for entry in log)


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_the_server_never_bills_more_than_the_cap(store, share):
    """Under faults and 32 at a time, by the server's own bill."""
    questions = make_questions(400)
    faults = Faults(dropped=0.03, server_error=0.05, malformed=0.1, truncated=0.05)
    whole = 400 * cost_usd(PRICE, Usage(200, 20))
    with ChatServer(give, faults, latency_s=0.01) as server:
        answerer = make_answerer(server, store, budget=Budget(share * whole))
        with pytest.raises(BudgetExceeded):
            answer_all(answerer, questions)
        bill = bill_of(server.log, PRICE)
    totals = store.totals()
    assert totals.cost_usd == pytest.approx(bill)
    assert 0.7 * share * whole < totals.spent_usd <= share * whole  # and most of it was put to use
    assert totals.attempts == len(server.log)


@pytest.mark.parametrize(
    ("form", "wait_s", "at_least_s"), [("seconds", 0.4, 0.4), ("milliseconds", 0.4, 0.4), ("date", 0.2, 0.2)]
)
def test_retry_after_in_all_forms(store, form, wait_s, at_least_s):
    faults = Faults(script=["rate_limited"], retry_after_s=wait_s, retry_after_form=form)
    with ChatServer(give, faults) as server:
        answers = answer_all(make_answerer(server, store, max_in_flight=1), make_questions(2))
        first, *rest = [entry.time_s for entry in server.log]
    assert {answer.status for answer in answers.values()} == {OK} and len(rest) == 2
    assert min(rest) >= first + at_least_s - 0.02  # a date has whole seconds, and is rounded up here
    assert min(rest) <= first + at_least_s + 4.0


def test_concurrency_at_the_server(store):
    crowd = Crowd(12)

    class Crowded(ChatServer):
        async def _wait(self, delay_s):
            await crowd.wait()

    with Crowded(give) as server:
        answer_all(make_answerer(server, store, max_in_flight=12), make_questions(120))
        assert server.max_concurrent == 12


def test_slow_answers_run_into_the_time_out(store):
    faults = Faults(script=["slow"], slow_s=3600.0)
    with ChatServer(give, faults) as server:
        answer = answer_all(make_answerer(server, store, timeout_s=0.3), make_questions(1))[0]
    assert (answer.status, answer.attempts) == (OK, 2)
    assert store.totals().unsettled_usd > 0.0


def test_a_server_that_knows_less(store):
    unsupported = ["response_format", "seed", "temperature", "max_completion_tokens"]
    questions = make_questions(20, seed=1, temperature=0.5)
    with ChatServer(give, unsupported=unsupported) as server:
        answers = answer_all(make_answerer(server, store, max_in_flight=4), questions)
    assert {answer.status for answer in answers.values()} == {OK}
    assert store.totals().attempts == 20  # a form that is rejected is none


def test_estimates_are_near_the_bill(store):
    with ChatServer(give) as server:
        answer_all(make_answerer(server, store), make_questions(5))
    totals = store.totals()
    assert totals.prompt_tokens == pytest.approx(totals.estimated_prompt_tokens, rel=0.25)


@pytest.mark.parametrize(("server_key", "sent"), [(KEY, 10), (KEY + "-another", 4)])
def test_keys_reach_no_file_and_no_text(tmp_path, caplog, server_key, sent):
    """The server names the key that it rejects, and echoes it in its answers."""
    texts = []
    with caplog.at_level(logging.DEBUG), RequestStore(tmp_path / "store.sqlite") as store:
        faults = Faults(server_error=0.2, malformed=0.2)
        with ChatServer(lambda payload: f"good {KEY} Bearer {KEY}", faults, api_key=server_key) as server:
            answerer = make_answerer(server, store, max_in_flight=4)
            questions = [Question(q.key, q.request, check_good) for q in make_questions(10)]
            try:
                texts += map(repr, answer_all(answerer, questions).values())
                assert server_key == KEY
            except LLMError as error:
                assert server_key != KEY and "Incorrect API key provided" in str(error)
                texts += [str(error), repr(error)]
            texts += map(repr, (answerer, answerer.client, store, answerer.budget, store.totals()))
            assert store.totals().requests <= sent
    texts += [caplog.text, *(str(vars(record)) for record in caplog.records)]
    assert not any(KEY in text for text in texts)
    files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert files and not any(KEY.encode() in content or b"zx81" in content for content in files)


def test_an_empty_account(store):
    with ChatServer(give, Faults(script=[None, None, "out_of_credit"])) as server:
        with pytest.raises(LLMError, match="exceeded your current quota"):
            answer_all(make_answerer(server, store, max_in_flight=1), make_questions(10))
        assert len(server.log) == 3 and store.totals().outcomes[OK] == 2
        answers = answer_all(make_answerer(server, store), make_questions(10))
    assert {answer.status for answer in answers.values()} == {OK} and store.totals().attempts == 11


def test_unknown_models_end_the_run(store):
    with (
        ChatServer(give, models=["another"]) as server,
        pytest.raises(LLMError, match=r"HTTP 404: The model `gpt-4\.1-mini` does not exist"),
    ):
        answer_all(make_answerer(server, store), make_questions(3))


def test_requests_that_are_rejected_fail_alone(store):
    def refuse_seven(payload: dict) -> str:
        if payload["messages"][0]["content"].startswith("7:"):
            raise ValueError("the picture is too small")
        return give(payload)

    with ChatServer(refuse_seven) as server:
        answers = answer_all(make_answerer(server, store), make_questions(12))
    failed = [key for key, answer in answers.items() if answer.status == FAILED]
    assert failed == [7] and answers[7].text == "HTTP 400: the picture is too small" and answers[7].attempts == 1
