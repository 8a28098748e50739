"""The server keeps to the API, as seen by OpenAI's own client, and makes exactly the mistakes it is told to make."""

import io
import json
import os
import subprocess
import sys
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest
from llm_doubles import Crowd
from PIL import Image

from vidreason.llm.chat import ChatRequest, image_part
from vidreason.llm.testing.chat_faults import CONTENT_FAULTS, BatchFaults, Faults, spoil
from vidreason.llm.testing.chat_server import ChatServer

ANSWER = '{"key_r": [[0, 1], [2, 3]]}'


def echo(payload):
    """An answer that tells requests apart."""
    return json.dumps({"key_r": [[0, 1]], "asked": payload["messages"][-1]["content"]})


def client_of(server, key="any"):
    return openai.OpenAI(base_url=server.url, api_key=key, max_retries=0, timeout=20)


def ask(client, text="hello", **options):
    return client.chat.completions.create(
        model="gpt-4.1-mini", messages=[{"role": "user", "content": text}], **options
    )


# chat completions


def test_a_completion_is_billed_and_logged():
    file = io.BytesIO()
    Image.new("RGB", (320, 240)).save(file, "JPEG")
    content = [{"type": "text", "text": "x" * 400}, image_part(file.getvalue())]
    request = ChatRequest("gpt-4.1-mini", [{"role": "user", "content": content}], seed=1, schema={"type": "object"})
    with ChatServer(lambda payload: ANSWER) as server:
        answer = client_of(server).chat.completions.create(**request.payload)
    assert answer.choices[0].message.content == ANSWER and answer.choices[0].finish_reason == "stop"
    assert answer.model == "gpt-4.1-mini"
    schema = len(json.dumps(request.payload["response_format"]))
    # 80 patches of 32 x 32 pixels at 1.62 tokens, text at 4 bytes a token, 4 for the message
    assert answer.usage.prompt_tokens == 130 + 100 + 4 + -(-schema // 4)
    assert answer.usage.completion_tokens == 7
    (entry,) = server.log
    assert (entry.payload_hash, entry.attempt) == (request.request_hash, 1)
    assert (entry.channel, entry.outcome) == ("online", "ok")
    assert server.billed_tokens == (answer.usage.prompt_tokens, 7)


def test_answers_take_the_latency_and_come_side_by_side():
    """No answer leaves before all eight requests are here, and each was to wait for what was left of the latency."""
    crowd, delays_s = Crowd(8), []

    class Crowded(ChatServer):
        async def _wait(self, delay_s):
            delays_s.append(delay_s)
            await crowd.wait()

    with Crowded(echo, latency_s=1e6) as server, client_of(server) as client, ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda number: ask(client, str(number)), range(8)))
    assert [json.loads(a.choices[0].message.content)["asked"] for a in answers] == [str(n) for n in range(8)]
    assert len(delays_s) == 8 and all(1e6 - 600 < delay_s <= 1e6 for delay_s in delays_s)
    assert server.max_concurrent == 8 and server.outcomes == {"ok": 8}


def test_an_answer_is_cut_at_its_limit_of_tokens():
    with ChatServer(lambda payload: "x" * 100) as server:
        answer = ask(client_of(server), max_completion_tokens=5)
    assert answer.choices[0].finish_reason == "length" and answer.choices[0].message.content == "x" * 20
    assert answer.usage.completion_tokens == 5


def test_keys_models_and_fields_are_checked():
    with ChatServer(
        lambda payload: ANSWER, api_key="right-key", models=["gpt-4.1-mini"], unsupported=["seed"]
    ) as server:
        with pytest.raises(openai.AuthenticationError, match="wrong-key"):
            ask(client_of(server, "wrong-key"))
        client = client_of(server, "right-key")
        assert [model.id for model in client.models.list()] == ["gpt-4.1-mini"]
        with pytest.raises(openai.NotFoundError, match="does not exist"):
            client.chat.completions.create(model="other", messages=[{"role": "user", "content": "hello"}])
        with pytest.raises(openai.BadRequestError, match="'seed'"):
            ask(client, seed=3)
        assert ask(client).choices[0].message.content == ANSWER
    assert server.outcomes == {"404": 1, "400": 1, "ok": 1}


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b"{}",
        b'{"model": "m"}',
        b'{"model": "m", "messages": [{"role": "user", "content": [{"type": "x"}]}]}',
    ],
)
def test_bodies_that_are_no_request_are_bad_requests(body):
    with ChatServer(lambda payload: ANSWER) as server:
        request = urllib.request.Request(f"{server.url}/chat/completions", data=body)
        with pytest.raises(urllib.error.HTTPError) as raised:
            urllib.request.urlopen(request, timeout=10)
    assert raised.value.code == 400 and json.load(raised.value)["error"]["message"]


def test_pictures_must_be_pictures():
    with ChatServer(lambda payload: ANSWER) as server:
        for url in ("https://example.com/a.jpg", "data:image/jpeg;base64,!", "data:image/jpeg;base64,AAAA"):
            with pytest.raises(openai.BadRequestError):
                ask(client_of(server), [{"type": "image_url", "image_url": {"url": url}}])


def test_an_answer_that_raises_value_error_is_a_bad_request():
    def answer(payload):
        raise ValueError("the picture shows no frame of this world")

    with ChatServer(answer) as server, pytest.raises(openai.BadRequestError, match="no frame of this world"):
        ask(client_of(server))


# faults


@pytest.mark.parametrize(
    ("fault", "error", "code"),
    [
        ("rate_limited", openai.RateLimitError, "rate_limit_exceeded"),
        ("rate_limited_bare", openai.RateLimitError, "rate_limit_exceeded"),
        ("out_of_credit", openai.RateLimitError, "insufficient_quota"),
        ("server_error", openai.InternalServerError, None),
        ("dropped", openai.APIConnectionError, None),
    ],
)
def test_faults_on_the_way(fault, error, code):
    with ChatServer(lambda payload: ANSWER, faults=Faults(script=[fault, None])) as server:
        client = client_of(server)
        with pytest.raises(error) as raised:
            ask(client)
        assert ask(client).choices[0].message.content == ANSWER
    assert raised.value.code == code
    if fault.startswith("rate"):
        assert ("retry-after" in raised.value.response.headers) == (fault == "rate_limited")
    assert [(entry.outcome, entry.attempt) for entry in server.log] == [(fault, 1), ("ok", 2)]
    assert server.log[0].prompt_tokens == 0 < server.log[1].prompt_tokens


@pytest.mark.parametrize(
    ("form", "name"), [("seconds", "Retry-After"), ("date", "Retry-After"), ("milliseconds", "retry-after-ms")]
)
def test_waits_are_told_in_three_forms(form, name):
    faults = Faults(rate_limited=1.0, retry_after_s=1.5, retry_after_form=form)
    with ChatServer(lambda payload: ANSWER, faults=faults) as server, pytest.raises(openai.RateLimitError) as raised:
        ask(client_of(server))
    value = raised.value.response.headers[name]
    if form == "date":
        assert value.endswith(" GMT")
    else:
        assert float(value) == {"seconds": 1.5, "milliseconds": 1500}[form]


def test_a_malformed_body_is_no_json():
    faults = Faults(malformed_body=1.0)
    with ChatServer(lambda payload: ANSWER, faults=faults) as server, pytest.raises(json.JSONDecodeError):
        ask(client_of(server))


def test_a_slow_answer_is_late_and_good():
    with ChatServer(lambda payload: ANSWER, faults=Faults(script=["slow"], slow_s=0.5)) as server:
        start_s = time.monotonic()
        assert ask(client_of(server)).choices[0].message.content == ANSWER
        assert time.monotonic() - start_s >= 0.5


@pytest.mark.parametrize(
    ("fault", "content", "finish_reason"),
    [
        ("malformed", ANSWER[:13], "stop"),
        ("truncated", ANSWER[:13], "length"),
        ("refused", None, "stop"),
        ("filtered", "", "content_filter"),
        ("empty", "", "stop"),
        ("wrong_grid", '{"key_r": [[1000, 1001], [1002, 1003]]}', "stop"),
    ],
)
def test_faults_of_what_the_model_says(fault, content, finish_reason):
    with ChatServer(lambda payload: ANSWER, faults=Faults(**{fault: 1.0})) as server:
        answer = ask(client_of(server))
    assert answer.choices[0].message.content == content
    assert answer.choices[0].finish_reason == finish_reason
    assert bool(answer.choices[0].message.refusal) == (fault == "refused")
    assert answer.usage.prompt_tokens > 0 and server.outcomes == {fault: 1}


def test_answers_without_cells_get_a_wrong_one():
    assert json.loads(spoil('{"key_r": []}', "wrong_grid").text) == {"key_r": [[1000, 1000]]}
    names = '{"all_os": ["cup 2"], "im_o": [{"name": "cup 2", "location": [12, 34]}]}'
    moved = json.loads(spoil(names, "wrong_grid").text)
    assert moved["im_o"] == [{"name": "cup 2", "location": [1012, 1034]}] and moved["all_os"] == ["cup 2"]


def test_faults_follow_the_seed_the_payload_and_the_attempt():
    rates = {"server_error": 0.1, "slow": 0.05, "truncated": 0.1, "wrong_grid": 0.15}
    lots = [(f"hash{number}", attempt) for number in range(1000) for attempt in (1, 2)]
    drawn = [Faults(**rates, seed=3).of_request(*lot) for lot in lots]
    assert drawn == [Faults(**rates, seed=3).of_request(*lot) for lot in lots]
    assert drawn != [Faults(**rates, seed=4).of_request(*lot) for lot in lots]
    for name, rate in rates.items():
        assert drawn.count(name) / len(lots) == pytest.approx(rate, abs=0.025), name
    assert drawn[::2] != drawn[1::2]
    stubborn = Faults(**rates, seed=3, by_attempt=False)
    first, second = ([stubborn.of_content(f"hash{n}", attempt) for n in range(200)] for attempt in (1, 2))
    assert first == second and set(first) & set(CONTENT_FAULTS)


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: Faults(server_error=0.7, empty=0.7), "at most 1"),
        (lambda: Faults(empty=-0.1), "at least 0"),
        (lambda: Faults(script=["eaten"]), "eaten"),
        (lambda: Faults(retry_after_form="smoke"), "smoke"),
        (lambda: BatchFaults(expired=2.0), "at most 1"),
        (lambda: BatchFaults(script=["slow"]), "slow"),
    ],
)
def test_faults_that_there_cannot_be(make, named):
    with pytest.raises(ValueError, match=named):
        make()


# life


def test_a_server_comes_and_goes():
    server = ChatServer(lambda payload: ANSWER)
    for _ in range(2):  # on the same port the second time
        with server:
            assert ask(client_of(server)).choices[0].message.content == ANSWER
            url = server.url
        with pytest.raises(openai.APIConnectionError):
            ask(client_of(server))
    assert server.url == url and not [t for t in threading.enumerate() if t.name == "chat-server"]
    with server, pytest.raises(OSError, match="in use"):
        ChatServer(lambda payload: ANSWER, port=server.port).start()


def start_process(*options, **environment):
    command = [sys.executable, "-m", "vidreason.llm.testing.chat_server", "--port", "0", *options]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment}
    )


def test_the_server_as_a_process(monkeypatch):
    options = ["--constant", ANSWER, "--faults", '{"script": ["server_error"]}', "--api_key_env", "SERVER_KEY"]
    with start_process(*options, SERVER_KEY="right-key") as process:
        try:
            url = process.stdout.readline().removeprefix("serving ").strip()
            client = openai.OpenAI(base_url=url, api_key="right-key", max_retries=0)
            with pytest.raises(openai.InternalServerError):
                ask(client)
            assert ask(client).choices[0].message.content == ANSWER
            with urllib.request.urlopen(url.replace("/v1", "/stats"), timeout=10) as response:
                stats = json.load(response)
        finally:
            process.terminate()
    assert stats["outcomes"] == {"server_error": 1, "ok": 1} and stats["different_requests"] == 1


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--constant", "x", "--faults", '{"eaten": 1}'], "eaten"),
        (["--constant", "x", "--api_key_env", "NOT_SET_ANYWHERE"], "NOT_SET_ANYWHERE"),
    ],
)
def test_mistakes_end_with_one_line(options, named):
    with start_process(*options) as process:
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 1 and errors.startswith("error: ") and named in errors
    assert len(errors.splitlines()) == 1
