"""Bodies of servers, read within bounds: each ends as a status, whatever it holds."""

import gzip
import hashlib
import json

import pytest
from llm_doubles import RawServer, Reply, answer_all, completion_body, in_a_hurry, make_question

from vidreason.errors import InvalidAnswer
from vidreason.llm.batch_files import output_path, read_outcomes
from vidreason.llm.chat import FAILED, INVALID, OK, REFUSED, TRUNCATED, Usage
from vidreason.llm.client import OpenAIChatClient, judge
from vidreason.llm.completions import (
    MAX_BODY_BYTES,
    MAX_TOKENS,
    RawCompletion,
    Redactor,
    parse_body,
    parse_json_body,
    read_completion,
    read_usage,
)
from vidreason.llm.cost import Budget, ModelPrice
from vidreason.llm.json_text import MAX_CHARACTERS
from vidreason.llm.online import OnlineAnswerer
from vidreason.llm.retry import RETRY, STOP, AttemptFailed, NoJson

PRICE = ModelPrice(1.0, 1.0, 4.0)
GOOD = json.dumps(completion_body()).encode()


def body_with(**changes) -> bytes:
    return json.dumps({**completion_body(), **changes}).encode()


def usage_of(text: str) -> bytes:
    """A body whose prompt tokens are a text that need not be JSON's own."""
    return body_with(usage={"prompt_tokens": "?", "completion_tokens": 1}).replace(b'"?"', text.encode())


NESTED = b'{"choices": ' + b"[" * 200_000 + b"]" * 200_000 + b"}"
VERY_LONG = json.dumps(completion_body("x" * 10_000_000)).encode()
LONG_TEXT = json.dumps(completion_body("good " * 400_000)).encode()
HOSTILE = {
    "nested": (Reply(NESTED), FAILED, "nested deeper"),
    "nested error": (Reply(NESTED, 500), FAILED, "HTTP 500"),
    "nested within Python's own bounds": (Reply(b'{"choices": ' + b"[" * 300 + b"]" * 300 + b"}"), FAILED, "nested"),
    "infinite usage": (Reply(usage_of("1e999")), OK, "good"),
    "usage that is no number": (Reply(usage_of("NaN")), OK, "good"),
    "usage of a quadrillion": (Reply(usage_of("1000000000000000")), OK, "good"),
    "usage of 5000 digits": (Reply(usage_of("9" * 5000)), FAILED, "not JSON"),
    "negative usage": (Reply(usage_of("-1000000")), OK, "good"),
    "usage that is a list": (Reply(body_with(usage=[1])), OK, "good"),
    "a text of two million characters": (Reply(LONG_TEXT), INVALID, "[cut: 2000000 characters, sha256"),
    "a text of ten million characters": (Reply(VERY_LONG), FAILED, "longer than"),
    "the same, packed into ten kilobytes": (
        Reply(gzip.compress(VERY_LONG), headers={"Content-Encoding": "gzip"}),
        *(FAILED, "longer than"),
    ),
    "an error of ten million characters": (Reply(VERY_LONG, 400), FAILED, "longer than"),
    "a model's name of 100,000 characters": (Reply(body_with(model="m\n" * 50_000)), OK, "good"),
    "a model's name that is none": (Reply(body_with(model={"a": 1})), OK, "good"),
    "an error without words": (Reply({"error": {"message": {"a": [1]}, "code": [2]}}, 400), FAILED, "HTTP 400"),
}


def test_every_body_ends_as_a_status_and_fits_into_a_table(store):
    """All of them through one run with a cap: none ends it, none lowers what is spent, none is stored whole."""
    cases = list(HOSTILE.values())
    questions = [make_question(number) for number in range(len(cases))]

    def reply(body: dict, number: int) -> Reply:
        return cases[int(body["messages"][0]["content"].split()[1])][0]

    budget, settings = Budget(1.0), {"max_in_flight": 4, "max_attempts": 2, "max_invalid_attempts": 1}
    with RawServer(reply) as server:
        client = OpenAIChatClient(server.url)
        answers = answer_all(OnlineAnswerer(client, store, PRICE, budget, **in_a_hurry(settings)), questions)
    for (name, (_, status, words)), question in zip(HOSTILE.items(), questions, strict=True):
        answer = answers[question.key]
        assert (answer.status, words in answer.text) == (status, True), (name, answer.text[:300])
        assert len(answer.text) <= MAX_CHARACTERS and len(answer.detail) < 1000 and len(answer.model) <= 300, name
        numbers = (*vars(answer.usage).values(), answer.cost_usd)
        assert all(0 <= number < 2**31 for number in numbers), name
        assert answer.model.isprintable()
    assert budget.spent_usd == pytest.approx(store.totals().spent_usd) and 0 < budget.spent_usd < 1.0
    # where nobody knows what was billed, what was set aside counts as spent
    attempts = store.attempts_of(questions[list(HOSTILE).index("negative usage")].request.request_hash)
    assert [attempt.cost_usd for attempt in attempts] == [None]
    cut = answers[list(HOSTILE).index("a text of two million characters")]
    assert hashlib.sha256(b"good " * 400_000).hexdigest() in cut.text and len(cut.text) < 11_000


def test_lines_of_batches_are_read_within_the_same_bounds(tmp_path, caplog):
    path = tmp_path / "requests-1.jsonl"
    lines = [
        b'{"custom_id": "nested", "response": ' + b"[" * 200_000 + b"]" * 200_000 + b"}",
        b'{"custom_id": "long", "response": "' + b"x" * (2 * MAX_BODY_BYTES) + b'"}',
        b'{"custom_id": "status", "response": {"status_code": 1e999}}',
        b'{"custom_id": "usage", "response": {"status_code": 200, "body": ' + usage_of("1e999") + b"}}",
        b'{"custom_id": "text", "response": {"status_code": 200, "body": ' + LONG_TEXT + b"}}",
        b'{"custom_id": "words", "error": "no words"}',
        b'{"custom_id": "filtered", "response": {"status_code": 400, "body": {"error": {"code": "content_filter"}}}}',
        b'{"custom_id": "good", "response": {"status_code": 200, "body": ' + GOOD + b"}}",
    ]
    output_path(path).write_bytes(b"\n".join(lines))
    outcomes = read_outcomes(path, Redactor())
    assert outcomes.keys() == {"usage", "text", "words", "filtered", "good"} and "3 lines" in caplog.text
    assert outcomes["usage"].usage is None and len(outcomes["text"].text) < 11_000
    assert "no words" in str(outcomes["words"]) and outcomes["filtered"].is_refused
    assert outcomes["good"].text == "good"


@pytest.mark.parametrize(
    ("usage", "read"),
    [
        (None, None),
        ({}, None),
        ("many", None),
        ({"total_tokens": 3}, None),
        ({"prompt_tokens": 3, "completion_tokens": 2.0}, Usage(3, 2)),
        ({"prompt_tokens": 3, "completion_tokens": None}, Usage(3, 0)),
        ({"prompt_tokens": MAX_TOKENS, "completion_tokens": 0}, Usage(MAX_TOKENS, 0)),
        ({"prompt_tokens": MAX_TOKENS + 1, "completion_tokens": 0}, None),
        ({"prompt_tokens": 3, "completion_tokens": -1}, None),
        ({"prompt_tokens": 3, "completion_tokens": 2.5}, None),
        ({"prompt_tokens": True, "completion_tokens": 1}, None),
        ({"prompt_tokens": 3, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 9}}, Usage(3, 1, 3)),
        ({"prompt_tokens": 3, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": -9}}, None),
        ({"prompt_tokens": 3, "completion_tokens": 1, "prompt_tokens_details": "none"}, Usage(3, 1, 0)),
    ],
)
def test_only_usage_that_can_be_is_believed(usage, read):
    assert read_usage(usage) == read


# where the answer lies


def completion_of(content, finish_reason: str = "stop", **message) -> RawCompletion:
    body = completion_body(content, **message)
    body["choices"][0]["finish_reason"] = finish_reason
    return read_completion(body, redact=str)


def check_word(text: str) -> str:
    if "yes" not in text:
        raise InvalidAnswer("no yes")
    return "read"


@pytest.mark.parametrize("name", ["reasoning", "reasoning_content"])
def test_an_answer_among_the_thoughts_is_read_where_it_ended_by_itself(name):
    """Ollama and vLLM put all of it there where the model never says that it has thought enough."""
    status, text, detail, reading = judge(completion_of("", **{name: "Hm. yes"}), check_word)
    assert (status, text, detail, reading) == (OK, "Hm. yes", "", "read")
    status, text, detail, _ = judge(completion_of("", **{name: "Hm."}), check_word)
    assert (status, text) == (INVALID, "Hm.") and detail == f"no yes (the answer was in the field {name!r})"
    status, text, detail, _ = judge(completion_of(None, "length", **{name: "Hm. yes"}), check_word)
    assert (status, text) == (TRUNCATED, "Hm. yes") and name in detail
    assert completion_of("no", **{name: "yes"}).text == "no"  # content goes first


@pytest.mark.parametrize(
    ("content", "message", "text"),
    [
        (["a", {"type": "text", "text": "b"}], {}, "ab"),
        ([{"type": "thinking", "thinking": [{"text": "no"}]}, {"type": "text", "text": "yes"}], {}, "yes"),
        ([{"type": "text", "text": ["no text"]}], {}, ""),
        (None, {"tool_calls": [{"function": {"name": "answer", "arguments": '{"a": 1}'}}]}, '{"a": 1}'),
        (None, {"tool_calls": [{"function": {"name": "answer", "arguments": {"a": 1}}}]}, '{"a": 1}'),
        (None, {"tool_calls": []}, ""),
    ],
)
def test_answers_in_parts_and_in_calls(content, message, text):
    assert completion_of(content, **message).text == text


@pytest.mark.parametrize("reason", ["SAFETY", "content_filter", "RECITATION", "prohibited_content"])
def test_filters_have_many_names(reason):
    assert judge(completion_of("so", reason), check_word).status == REFUSED
    assert judge(completion_of("so", "MAX_TOKENS"), check_word).status == TRUNCATED


# successes that are none


@pytest.mark.parametrize("text", ['{"key_r": [[1, 1]', "yes"])
def test_an_answer_that_its_provider_broke_off_is_no_answer(text):
    body = completion_body(text)
    body["choices"][0] |= {"finish_reason": "error", "error": {"code": 502, "message": "Provider disconnected"}}
    with pytest.raises(AttemptFailed, match="HTTP 502: Provider disconnected") as caught:
        read_completion(body, redact=str)
    assert caught.value.verdict == RETRY and caught.value.maybe_billed
    del body["choices"][0]["error"]
    with pytest.raises(AttemptFailed, match="ended in an error"):
        read_completion(body, redact=str)


@pytest.mark.parametrize(
    "error",
    [
        {"code": 403, "message": "flagged: violence"},
        {"code": 502, "message": "flagged: violence (content_filter)"},
        {"code": "content_filter", "message": "flagged: violence"},
    ],
)
def test_an_answer_that_its_provider_filtered_is_a_refusal(error):
    body = completion_body("half of")
    body["choices"][0] |= {"finish_reason": "error", "error": error}
    completion = read_completion(body, redact=str)
    status, text, _, _ = judge(completion, check_word)
    assert status == REFUSED and "flagged: violence" in text and completion.usage == Usage(100, 10, 40)


@pytest.mark.parametrize(
    ("error", "verdict", "rate_limited"),
    [
        ({"message": "Incorrect key", "type": "invalid_request_error", "code": "invalid_api_key"}, STOP, False),
        ({"message": "slow", "type": "rate_limit_error", "code": "429"}, RETRY, True),
        ({"message": "slow", "type": "rate_limit_error"}, RETRY, True),
        ({"message": "empty", "code": "insufficient_quota"}, STOP, False),
        ("Unexpected endpoint or method. (POST /chat/completions)", RETRY, False),
    ],
)
def test_errors_in_successes_mean_what_they_say(error, verdict, rate_limited):
    with pytest.raises(AttemptFailed) as caught:
        read_completion({"error": error}, redact=str)
    assert (caught.value.verdict, caught.value.rate_limited) == (verdict, rate_limited)
    assert (error if isinstance(error, str) else error["message"]) in str(caught.value)


def test_a_filter_behind_a_proxy_is_asked_once(store):
    """A proxy gives the filter's error a status of its own, with the error in its words."""
    words = "Error code: 400 - {'error': {'message': 'filtered', 'code': 'content_filter'}}"
    with RawServer(lambda body, number: Reply({"error": {"message": words}}, 500)) as server:
        answer = answer_all(OnlineAnswerer(OpenAIChatClient(server.url), store, PRICE), [make_question(0)])[0]
    assert (answer.status, answer.attempts, len(server.bodies)) == (REFUSED, 1, 1) and answer.text == words


# events


def events_of(*chunks, end: str = "data: [DONE]\n\n", line: str = "\n") -> bytes:
    return ("".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + end).replace("\n", line).encode()


def chunk(finish_reason=None, **delta) -> dict:
    return {"model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}]}


@pytest.mark.parametrize("line", ["\n", "\r\n"])
def test_a_stream_of_events_is_read_all_the_same(store, line):
    """It comes from servers that stream unless they are told not to, and do not heed that they are."""
    last = {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 2}}
    pieces = (chunk(role="assistant", content="go"), chunk(content="od", reasoning="hm"), chunk("stop"), last)
    body = b": keep-alive\n\n" + events_of(*pieces, line=line)
    with RawServer(lambda *_: Reply(body, headers={"Content-Type": "text/event-stream"})) as server:
        answer = answer_all(OnlineAnswerer(OpenAIChatClient(server.url), store, PRICE), [make_question(0)])[0]
    assert (answer.status, answer.text, answer.usage, answer.model) == (OK, "good", Usage(7, 2), "m")
    assert [sent["stream"] for sent in server.bodies] == [False]


def test_streams_that_are_no_answer():
    assert read_completion(parse_body(events_of(completion_body("whole"))), redact=str).text == "whole"
    with pytest.raises(AttemptFailed, match="HTTP 500: busy"):
        read_completion(parse_body(events_of(chunk(content="go"), {"error": {"message": "busy"}})), redact=str)
    for stream in (events_of(chunk(content="go")), events_of(chunk(content="go"), end=""), b"data: [DONE]\n\n"):
        with pytest.raises(NoJson, match="breaks off"):
            parse_body(stream)
    for stream in (events_of("chunk", 3), b"data: {half\n\n"):
        with pytest.raises((NoJson, AttemptFailed)):
            read_completion(parse_body(stream), redact=str)


def test_depth_is_bounded_and_width_is_not():
    assert parse_json_body("[" * 60 + "]" * 60)
    assert len(parse_json_body(json.dumps([[]] * 100_000))) == 100_000
    for text in ("[" * 65 + "]" * 65, '{"a":' * 100_000 + "1" + "}" * 100_000):
        with pytest.raises(NoJson, match="nested deeper"):
            parse_json_body(text)
