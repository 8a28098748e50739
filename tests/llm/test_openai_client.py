"""The client against a server that says what it is told to: forms of requests, errors, and where keys do not go."""

import asyncio
import contextlib
import gc
import json
import logging
import pickle
import socket
import traceback
import warnings

import openai
import pytest
from llm_doubles import RawServer, Reply, completion_body, make_request

from vidreason.errors import InvalidAnswer, LLMError
from vidreason.llm.chat import INVALID, OK, REFUSED, TRUNCATED, Usage
from vidreason.llm.client import NO_KEY, OpenAIChatClient, is_openai, judge
from vidreason.llm.completions import REDACTED, RawCompletion, read_completion
from vidreason.llm.retry import FAIL, RETRY, STOP, AttemptFailed

KEY = "zx81-ThisIsTheKeyOfTheTest-42"
SCHEMA = {"type": "object", "properties": {}, "required": [], "additionalProperties": False}


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)


def complete(url: str, *requests, **settings) -> list[RawCompletion]:
    async def run():
        async with OpenAIChatClient(url, **settings) as client:
            return [await client.complete_once(request) for request in requests]

    return asyncio.run(run())


def fail(url: str, **settings) -> AttemptFailed:
    with pytest.raises(AttemptFailed) as caught:
        complete(url, make_request(0), **settings)
    return caught.value


def error_body(message: str, code: str | None = None, param: str | None = None) -> dict:
    return {"error": {"message": message, "type": "invalid_request_error", "param": param, "code": code}}


# what goes out and comes back


def test_a_request_and_its_answer():
    with RawServer(lambda body, number: Reply(completion_body("good täxt"))) as server:
        request = make_request(7, seed=3, schema=SCHEMA)
        (completion,) = complete(server.url, request)
    usage = Usage(prompt_tokens=100, completion_tokens=10, cached_prompt_tokens=40)
    assert completion == RawCompletion("good täxt", "stop", "", usage, "gpt-4.1-mini-2025-04-14")
    limit = request.max_completion_tokens
    assert server.bodies == [{**json.loads(json.dumps(request.payload)), "max_tokens": limit, "stream": False}]
    assert server.headers[0]["Authorization"] == f"Bearer {KEY}"


def test_the_length_of_answers_is_limited_under_the_name_that_a_server_heeds():
    payload = make_request(7).payload
    limit = payload["max_completion_tokens"]
    openai, other = OpenAIChatClient("https://api.openai.com/v1"), OpenAIChatClient("http://localhost:1/v1")
    assert openai.adapt(payload) == payload  # which takes one of the two
    assert other.adapt(payload) == {**payload, "max_tokens": limit}
    assert other.adapt(other.adapt(payload)) == other.adapt(payload)
    # a relay to OpenAI: "not both", or "use the one in place of the other"
    assert other.learn(other.adapt(payload), 400, "max_tokens and max_completion_tokens cannot both be set")
    assert other.adapt(payload) == payload
    older = OpenAIChatClient("http://localhost:2/v1")
    assert older.learn(older.adapt(payload), 422, "max_completion_tokens: extra fields not permitted")
    expected = {name: value for name, value in payload.items() if name != "max_completion_tokens"}
    assert older.adapt(payload) == {**expected, "max_tokens": limit}


def test_fields_that_one_server_knows_are_a_part_of_the_request():
    """They go into the key, and are not dropped where the server does not know them: someone asked for them."""
    plain, request = make_request(7), make_request(7, extra_body={"enable_thinking": False})
    assert make_request(7, extra_body={}).request_hash == plain.request_hash != request.request_hash
    with RawServer(strict_about("enable_thinking")) as server, pytest.raises(AttemptFailed, match="enable_thinking"):
        complete(server.url, request)
    assert [body["enable_thinking"] for body in server.bodies] == [False]
    for name in ("model", "max_tokens", "stream", "n"):
        with pytest.raises(ValueError, match=name):
            make_request(7, extra_body={name: 2})


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (completion_body(None), ("", "stop", "")),
        (completion_body(None, refusal="I will not"), ("", "stop", "I will not")),
        (completion_body([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]), ("ab", "stop", "")),
        ({**completion_body(), "choices": [{"message": {"content": "x"}, "finish_reason": None}]}, ("x", "stop", "")),
    ],
)
def test_forms_of_answers(body, expected):
    completion = read_completion(body, redact=str)
    assert (completion.text, completion.finish_reason, completion.refusal) == expected


@pytest.mark.parametrize("usage", [None, {}])
def test_servers_that_bill_nothing(usage):
    assert read_completion({**completion_body(), "usage": usage}, redact=str).usage is None


@pytest.mark.parametrize(
    "body", [None, "text", [], {}, {"choices": []}, {"choices": [{}]}, {"choices": [{"message": 1}]}]
)
def test_bodies_that_are_no_completion(body):
    with pytest.raises(AttemptFailed, match="no chat completion") as caught:
        read_completion(body, redact=str)
    assert caught.value.verdict == RETRY and caught.value.maybe_billed


def test_errors_that_come_as_successes():
    with pytest.raises(AttemptFailed, match="HTTP 402: no credit") as caught:
        read_completion({"error": {"message": "no credit", "code": 402}}, redact=str)
    assert caught.value.verdict == STOP
    with pytest.raises(AttemptFailed, match="HTTP 500: overloaded"):
        read_completion({"error": {"message": "overloaded", "code": "busy"}}, redact=str)


def check_json(text: str) -> str:
    if text != "{}":
        raise InvalidAnswer("no JSON")
    return "read"


@pytest.mark.parametrize(
    ("completion", "expected"),
    [
        (RawCompletion("{}"), (OK, "{}", "")),
        (RawCompletion("?"), (INVALID, "?", "no JSON")),
        (RawCompletion(""), (INVALID, "", "no JSON")),
        (RawCompletion("{}", "length"), (TRUNCATED, "{}", "cut at max_completion_tokens")),
        (RawCompletion("", "stop", "I will not"), (REFUSED, "I will not", "finish_reason stop")),
        (RawCompletion("so", "content_filter"), (REFUSED, "so", "finish_reason content_filter")),
    ],
)
def test_judging(completion, expected):
    status, text, detail, reading = judge(completion, check_json)
    assert (status, text, detail) == expected
    assert reading == ("read" if status == OK else None)


def test_bugs_of_a_check_are_not_judged():
    with pytest.raises(ZeroDivisionError):
        judge(RawCompletion("{}"), lambda text: 1 / 0)


# servers that know less


def strict_about(*fields: str, how: str = "openai", status: int = 400):
    """A server that objects to the first of these fields that it meets, in the words of different servers."""

    def reply(body: dict, number: int) -> Reply:
        found = [name for name in fields if name in body]
        if not found:
            return Reply()
        if how == "fastapi":
            detail = [{"type": "extra_forbidden", "loc": ["body", found[0]], "msg": "Extra inputs", "input": body}]
            return Reply({"detail": detail}, status)
        if how == "transformers":
            return Reply({"detail": f"Unexpected fields in the request: {set(found)}"}, status)
        if how == "plain":
            return Reply({"error": f"unknown field: {found[0]}"}, status)
        message = f"Unsupported parameter: '{found[0]}' is not supported with this model."
        return Reply(error_body(message, "unsupported_parameter", found[0]), status)

    return reply


@pytest.mark.parametrize("how", ["openai", "fastapi", "transformers", "plain"])
@pytest.mark.parametrize("status", [400, 422])
def test_what_a_server_does_not_take_is_left_out_and_remembered(how, status, caplog):
    fields = ("response_format", "seed", "max_completion_tokens", "temperature")
    request = make_request(0, seed=1, schema=SCHEMA)
    with RawServer(strict_about(*fields, how=how, status=status)) as server:
        completions = complete(server.url, request, request)
    assert [completion.text for completion in completions] == ["good", "good"]
    assert len(server.bodies) == (3 if how == "transformers" else 6)  # that one names all fields at once
    for body in server.bodies[-2:]:
        assert set(body) == {"model", "messages", "max_tokens", "stream"} and body["max_tokens"] == 10
    assert all(field in caplog.text for field in fields)
    assert caplog.text.count("does not take") == (1 if how == "transformers" else 4)


@pytest.mark.parametrize(
    ("words", "status"),
    [
        ("json_schema is not supported", 400),
        ("This model does not support structured outputs", 422),
        ("The provided JSON schema contains features not supported by xgrammar.", 400),
        ("outlines: cannot turn the pattern into a regular expression", 400),
        ("guided decoding requires a backend", 400),
        ("Failed to initialize samplers: failed to parse grammar", 500),
        ("'response_format.type' must be 'text' or 'json_object'", 400),
    ],
)
@pytest.mark.parametrize("takes_json_object", [True, False])
def test_schemas_fall_back_to_json_and_then_to_words(words, status, takes_json_object):
    """The words of vLLM and its libraries, llama.cpp and LM Studio; what does not fit is left out, and remembered."""
    taken = ({"type": "json_object"}, None) if takes_json_object else (None,)

    def reply(body: dict, number: int) -> Reply:
        return Reply() if body.get("response_format") in taken else Reply(error_body(words), status)

    request = make_request(0, schema=SCHEMA, seed=1)
    with RawServer(reply) as server:
        completions = complete(server.url, request, request)
    assert [completion.text for completion in completions] == ["good", "good"]
    kinds = [body.get("response_format", {}).get("type") for body in server.bodies]
    assert kinds == ["json_schema", "json_object", *([] if takes_json_object else [None]), kinds[-1]]
    assert all(body["seed"] == 1 for body in server.bodies)


def test_a_server_that_knows_no_format_is_not_offered_another():
    wholly = error_body("Unsupported parameter: 'response_format' is not supported with this model.")
    with RawServer(lambda body, number: Reply(wholly, 400) if "response_format" in body else Reply()) as server:
        complete(server.url, make_request(0, schema=SCHEMA))
    assert ["response_format" in body for body in server.bodies] == [True, False]


@pytest.mark.parametrize(
    "words",
    [
        "'max_tokens' or 'max_completion_tokens' is too large: 300. This model's maximum context length is 2048 "
        "tokens and your request has 1792 input tokens. (parameter=max_tokens, value=300)",
        "max_tokens must be at least 1, got -7584. (parameter=max_tokens, value=-7584)",
        "temperature must be greater than 0",
        "Invalid 'temperature': decimal above maximum value. Expected a value <= 2, but got 3 instead.",
        "Invalid value for 'seed': expected an integer",
        "This model does not support max_tokens greater than 4096",
        "temperature 3 is not supported, it must be between 0 and 2",
        "[{'type': 'less_than_equal', 'loc': ('body', 'seed'), 'msg': 'Input should be less than 10'}]",
    ],
)
def test_a_refused_value_fails_its_request_alone(words):
    """What a server says of a value shows that it knows the field, so that later requests keep it."""
    request = make_request(0, seed=1)

    async def run(url: str) -> list:
        async with OpenAIChatClient(url) as client:
            outcomes = await asyncio.gather(client.complete_once(request), return_exceptions=True)
            return [*outcomes, await client.complete_once(request)]

    with RawServer(lambda body, number: Reply() if number else Reply(error_body(words, param="seed"), 400)) as server:
        failure, completion = asyncio.run(run(server.url))
    assert failure.verdict == FAIL and str(failure) == f"HTTP 400: {words}" and completion.text == "good"
    assert len(server.bodies) == 2 and server.bodies[0] == server.bodies[1]


@pytest.mark.parametrize("older", [False, True])
def test_an_answer_is_never_asked_for_without_a_limit(older):
    """Of its two names a server may know either one; where it knows neither, requests fail and nothing is spent."""
    known = "max_tokens" if older else "max_completion_tokens"
    names = {"max_tokens", "max_completion_tokens"}
    for unknown in (names - {known}, names):
        with RawServer(strict_about(*sorted(unknown))) as server:
            if unknown == names:
                assert fail(server.url).verdict == FAIL
            else:
                complete(server.url, make_request(0))
        assert all(names & body.keys() for body in server.bodies)


def test_a_default_that_alone_may_be_sent_is_no_setting():
    words = "Unsupported value: 'temperature' does not support 0.0 with this model. Only the default (1) is supported."
    reply = lambda body, number: Reply(error_body(words), 400) if "temperature" in body else Reply()  # noqa: E731
    with RawServer(reply) as server:
        complete(server.url, make_request(0), make_request(1))
    assert ["temperature" in body for body in server.bodies] == [True, False, False]


def test_models_of_one_server_are_told_apart():
    def reply(body: dict, number: int) -> Reply:
        return strict_about("temperature")(body, number) if body["model"] == "o4-mini" else Reply()

    async def run(url: str) -> list[str]:
        async with OpenAIChatClient(url) as client:
            for model in ("o4-mini", "gpt-4.1-mini", "o4-mini"):
                await client.complete_once(type(make_request(0))(model, make_request(0).messages))
            return sorted(client.adapt({"model": "o4-mini", "messages": [], "temperature": 0.0}))

    with RawServer(reply) as server:
        assert asyncio.run(run(server.url)) == ["messages", "model"]
    assert ["temperature" in body for body in server.bodies] == [True, False, True, False]


@pytest.mark.parametrize("message", ["Invalid image.", "the label 'planting seeds' is too long"])
def test_other_objections_fail_the_request(message):
    with RawServer(lambda body, number: Reply(error_body(message), 400)) as server:
        failure = fail(server.url)
    assert failure.verdict == FAIL and str(failure) == f"HTTP 400: {message}" and len(server.bodies) == 1


def test_an_endless_objection_fails_the_request():
    reply = Reply(error_body("temperature, seed, stream, max_tokens and json_schema are not supported"), 400)
    with RawServer(lambda body, number: reply) as server:
        failure = fail(server.url)
    assert failure.verdict == FAIL and len(server.bodies) == 2
    # whatever it says, the length of an answer stays bounded
    assert server.bodies[-1].keys() == {"model", "messages", "max_completion_tokens"}


def test_filtered_prompts_are_refusals():
    reply = Reply(error_body("The prompt was filtered", "content_filter"), 400)
    with RawServer(lambda body, number: reply) as server:
        (completion,) = complete(server.url, make_request(0))
    assert judge(completion, check_json)[:2] == (REFUSED, "The prompt was filtered")
    assert completion.usage == Usage()


# errors


@pytest.mark.parametrize(
    ("reply", "verdict", "maybe_billed", "words"),
    [
        (Reply(error_body("slow down"), 429, {"Retry-After": "3"}), RETRY, False, "HTTP 429: slow down"),
        (Reply(error_body("no money", "insufficient_quota"), 429), STOP, False, "HTTP 429: no money"),
        (Reply(b"<html>bad gateway</html>", 502, {"Content-Type": "text/html"}), RETRY, True, "bad gateway"),
        (Reply({"detail": "no such model"}, 404), STOP, False, "HTTP 404: no such model"),
        (Reply(b"{half of an ans", 200), RETRY, True, "not JSON"),
        (Reply(b"\xff\xfe\x00", 200), RETRY, True, "not JSON"),
        (Reply(b"<html>hello</html>", 200, {"Content-Type": "text/html"}), RETRY, True, "begins '<html>hello"),
        (Reply(None), RETRY, True, "the connection broke"),
        (Reply(delay_s=5.0), RETRY, True, "no answer in time"),
    ],
)
def test_errors_have_verdicts(reply, verdict, maybe_billed, words):
    with RawServer(lambda body, number: reply) as server:
        failure = fail(server.url, timeout_s=0.3 if reply.delay_s else 10.0)
    assert (failure.verdict, failure.maybe_billed) == (verdict, maybe_billed) and words in str(failure)
    assert len(server.bodies) == 1  # the openai package tries nothing again behind our back
    assert failure.retry_after_s == (3.0 if "Retry-After" in reply.headers else None)


def test_answers_that_drip_end_in_time():
    """A read time-out alone starts anew with every byte."""

    dripping = None

    async def drip(reader, writer):
        nonlocal dripping
        dripping = asyncio.current_task()
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n")
        with contextlib.closing(writer):
            while True:
                writer.write(b" ")
                await asyncio.sleep(0.05)

    async def run() -> AttemptFailed:
        server = await asyncio.start_server(drip, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(AttemptFailed) as caught:
            async with OpenAIChatClient(f"http://127.0.0.1:{port}/v1", timeout_s=0.4) as client:
                await client.complete_once(make_request(0))
        server.close()
        dripping.cancel()
        await asyncio.gather(dripping, return_exceptions=True)
        return caught.value

    failure = asyncio.run(run())
    assert "no answer in time" in str(failure) and failure.maybe_billed


def test_nobody_at_the_address():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    failure = fail(f"http://127.0.0.1:{port}/v1")
    assert failure.verdict == RETRY and not failure.reached_server and not failure.maybe_billed


def test_one_client_in_several_loops():
    client = None
    with RawServer(lambda body, number: Reply()) as server:
        for _ in range(3):

            async def run():
                nonlocal client
                client = client or OpenAIChatClient(server.url)
                return await client.complete_once(make_request(0))

            assert asyncio.run(run()).text == "good"
    client = None
    with warnings.catch_warnings():  # the connections of loops that are over can no longer be closed
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def test_the_client_underneath():
    async def run():
        async with OpenAIChatClient("http://localhost:1/v1") as client:
            assert isinstance(client.openai, openai.AsyncOpenAI) and client.openai is client.openai
            assert client.openai.max_retries == 0
            first = client.openai
            await client.close()
            assert client.openai is not first  # usable again

    asyncio.run(run())


# addresses and keys


@pytest.mark.parametrize("base_url", [None, "https://api.openai.com/v1", "https://us.api.openai.com/v1"])
def test_openai_wants_a_key(monkeypatch, base_url):
    monkeypatch.setenv("OPENAI_API_KEY", " \n")
    with pytest.raises(LLMError, match="set the environment variable OPENAI_API_KEY"):
        OpenAIChatClient(base_url)
    assert is_openai(base_url)


def test_other_servers_get_along_without(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    with RawServer(lambda body, number: Reply()) as server:
        complete(server.url, make_request(0))
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        assert complete(None, make_request(0))[0].text == "good"
    assert [headers["Authorization"] for headers in server.headers] == [f"Bearer {NO_KEY}"] * 2


def test_keys_come_from_the_variable_that_was_named(monkeypatch):
    monkeypatch.setenv("VIDREASON_TEST_WAY_IN", f"{KEY}-other\n")
    monkeypatch.setenv("OPENAI_ADMIN_KEY", "the-key-of-the-administrator")
    with RawServer(lambda body, number: Reply()) as server:
        complete(server.url, make_request(0), api_key_env="VIDREASON_TEST_WAY_IN")
    assert server.headers[0]["Authorization"] == f"Bearer {KEY}-other"
    assert "administrator" not in str(server.headers)


def test_keys_that_no_header_can_hold(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "schlüssel-schlüssel")
    with pytest.raises(LLMError, match="OPENAI_API_KEY has characters") as caught:
        OpenAIChatClient()
    assert "schlüssel" not in str(caught.value)


@pytest.mark.parametrize(
    "base_url",
    ["localhost:8000", "ftp://host/v1", "http://", "http://[::1", "http://host:x/v1", f"http://me:{KEY}@host/v1",
     f"http://host/v1?api-key={KEY}"],
)  # fmt: skip
def test_addresses_that_are_not_taken(base_url):
    with pytest.raises(LLMError, match="base_url must") as caught:
        OpenAIChatClient(base_url)
    assert KEY not in str(caught.value)


def echo(body: dict, number: int) -> Reply:
    """A server that tells everything it knows, as some do in errors."""
    told = f"Incorrect API key provided: {KEY}. headers: Authorization: Bearer {KEY}"
    replies = [
        Reply(error_body(told), 401),
        Reply(error_body(f"temperature is not supported for {KEY}", param="temperature"), 400),
        Reply(error_body(told), 500),
        Reply({"told": told}, 200),
        Reply(told.encode(), 503, {"Content-Type": "text/plain"}),
        Reply(completion_body(f"good {KEY}", refusal=f"no {KEY}")),
    ]
    return replies[number % len(replies)]


def test_keys_reach_nothing(caplog):
    """Not logs, at whatever level, nor errors with all that hangs on them, nor answers, nor representations."""
    texts = []

    async def run(url: str) -> None:
        client = OpenAIChatClient(url)
        texts.extend([repr(client), str(client), str(vars(client))])
        for number in range(6):
            try:
                texts.append(repr(await client.complete_once(make_request(number))))
            except AttemptFailed as error:
                assert error.__context__ is None and error.__cause__ is None
                lines = traceback.TracebackException.from_exception(error, capture_locals=False).format()
                texts.extend([str(error), repr(error), str(error.args), str(vars(error)), "".join(lines)])
                texts.append(repr(pickle.dumps(error)))
        await client.close()

    with caplog.at_level(logging.DEBUG), RawServer(echo) as server:
        asyncio.run(run(server.url))
    texts.extend([caplog.text, *(repr(vars(record)) for record in caplog.records)])
    assert len(server.bodies) == 7 and KEY in str(server.headers)  # the server did get it
    assert not any(KEY in text for text in texts)
    assert sum(REDACTED in text for text in texts) >= 5 and f"good {REDACTED}" in str(texts)
