"""A key that is given, and not read from the environment: it pays, and shows up nowhere else."""

import asyncio

import pytest
from llm_doubles import RawServer, Reply, completion_body, make_request

from vidreason.errors import LLMError
from vidreason.llm.client import OpenAIChatClient
from vidreason.llm.completions import REDACTED
from vidreason.llm.retry import AttemptFailed

GIVEN, OWN = "visitor-ThisKeyIsGiven-42", "operator-ThisKeyIsInTheEnvironment-1"


@pytest.fixture(autouse=True)
def operator_key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", OWN)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)


def complete(url, key):
    async def run():
        async with OpenAIChatClient(url, api_key=key) as client:
            assert GIVEN not in repr(client)
            return await client.complete_once(make_request(0))

    return asyncio.run(run())


def test_the_given_key_is_sent_and_the_environment_is_not_asked():
    with RawServer(lambda body, number: Reply(completion_body("hello"))) as server:
        assert complete(server.url, f" {GIVEN}\n").text == "hello"
    assert server.headers[0]["Authorization"] == f"Bearer {GIVEN}"


def test_it_is_taken_out_of_answers():
    with RawServer(lambda body, number: Reply(completion_body(f"your key is {GIVEN}"))) as server:
        assert complete(server.url, GIVEN).text == f"your key is {REDACTED}"


def test_it_is_taken_out_of_errors():
    body = {"error": {"message": f"wrong key {GIVEN}", "type": "invalid_request_error"}}
    with RawServer(lambda _, number: Reply(body, 401)) as server, pytest.raises(AttemptFailed) as caught:
        complete(server.url, GIVEN)
    assert "wrong key" in str(caught.value) and GIVEN not in str(caught.value) and GIVEN not in repr(caught.value)


def test_it_is_taken_out_of_refusals():
    body = {"error": {"message": f"not for {GIVEN}", "code": "content_filter"}}
    with RawServer(lambda _, number: Reply(body, 400)) as server:
        assert complete(server.url, GIVEN).refusal == f"not for {REDACTED}"


@pytest.mark.parametrize(("key", "words"), [("", "is empty"), ("  ", "is empty"), ("kéy-of-nobody", "HTTP header")])
def test_what_is_no_key_is_named_without_it(key, words):
    with pytest.raises(LLMError, match=words) as caught:
        OpenAIChatClient("http://127.0.0.1:1/v1", api_key=key)
    assert not key.strip() or key not in str(caught.value)
