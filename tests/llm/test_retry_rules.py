"""What errors mean, how long to wait, and what is taken out of their texts."""

import asyncio
import datetime
import email.utils
import functools
import itertools
import json
import random
import statistics
import time

import pytest

from vidreason.llm import retry
from vidreason.llm.completions import REDACTED, Redactor, hide
from vidreason.llm.retry import (
    FAIL,
    MAX_RETRY_AFTER_S,
    RETRY,
    STOP,
    backoff_s,
    retry_after_s,
    shorten,
)

redact = Redactor().redact
failure_of = functools.partial(retry.failure_of, redact=redact)
failure_of_status = functools.partial(retry.failure_of_status, redact=redact)


@pytest.mark.parametrize(
    ("status", "code", "verdict"),
    [
        (400, None, FAIL),
        (405, None, FAIL),
        (413, None, FAIL),
        (422, None, FAIL),
        (431, None, FAIL),
        (401, "invalid_api_key", STOP),
        (402, None, STOP),
        (403, None, STOP),
        (404, "model_not_found", STOP),
        (429, "insufficient_quota", STOP),
        (400, "billing_hard_limit_reached", STOP),
        (429, "rate_limit_exceeded", RETRY),
        (429, None, RETRY),
        (408, None, RETRY),
        (409, None, RETRY),
        (500, None, RETRY),
        (502, None, RETRY),
        (503, None, RETRY),
        (529, None, RETRY),
    ],
)
def test_verdicts(status, code, verdict):
    failure = failure_of_status(status, "words", code)
    assert failure.verdict == verdict and failure.reached_server
    assert failure.rate_limited == (status == 429 and verdict == RETRY)
    assert str(failure) == f"HTTP {status}: words"


@pytest.mark.parametrize(
    ("status", "maybe_billed"), [(500, False), (503, False), (429, False), (504, True), (408, True)]
)
def test_a_gateway_that_gave_up_may_have_been_billed(status, maybe_billed):
    assert failure_of_status(status, "").maybe_billed is maybe_billed


def http_date(in_seconds: float) -> str:
    return email.utils.formatdate(time.time() + in_seconds, usegmt=True)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.25"}, 0.25),
        ({"retry-after-ms": "250"}, 0.25),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "9"}, 9.0),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
        ({"retry-after": "Wed, 99 Oct 2015 07:28:00 GMT"}, None),
    ],
)
def test_retry_after(headers, seconds):
    assert retry_after_s(headers) == seconds


@pytest.mark.parametrize("zone", ["GMT", "-0000", "+0000"])
def test_retry_after_as_a_date(zone):
    date = http_date(90).replace("GMT", zone)
    assert 88 <= retry_after_s({"retry-after": date}) <= 90


def test_retry_after_in_another_zone():
    then = datetime.datetime.now(datetime.timezone(datetime.timedelta(hours=5))) + datetime.timedelta(seconds=60)
    assert 58 <= retry_after_s({"retry-after": email.utils.format_datetime(then)}) <= 60


def test_a_server_that_wants_hours_ends_the_run():
    assert failure_of_status(429, "", headers={"retry-after": str(MAX_RETRY_AFTER_S)}).verdict == RETRY
    late = failure_of_status(429, "daily limit", headers={"retry-after": "7200"})
    assert late.verdict == STOP and "7200 s" in str(late) and "daily limit" in str(late)


def test_backoff_grows_and_is_jittered(monkeypatch):
    monkeypatch.setattr(random, "uniform", random.Random(0).uniform)
    for failures, bound in [(1, 0.5), (2, 1.0), (3, 2.0), (7, 30.0), (10_000, 30.0)]:
        waits = [backoff_s(failures) for _ in range(500)]
        assert all(0.0 <= wait <= bound for wait in waits)
        assert statistics.mean(waits) == pytest.approx(bound / 2, rel=0.15)
        assert max(waits) > 0.9 * bound and min(waits) < 0.1 * bound
    assert backoff_s(3, base_s=0.0) == 0.0


# errors of the libraries below: only their names and attributes count


def chain(*errors: BaseException) -> BaseException:
    for outer, inner in itertools.pairwise(errors):
        outer.__cause__ = inner
    return errors[0]


def named(name: str, module: str = "httpx", message: str = "words") -> Exception:
    return type(name, (Exception,), {"__module__": module})(message)


REFUSED = ConnectionRefusedError(111, "refused")
RESET = ConnectionResetError(104, "reset")
UNSENT, SENT = (False, False), (True, True)  # (reached the server, may have been billed)


@pytest.mark.parametrize(
    ("errors", "expected", "words"),
    [
        ([named("APIConnectionError"), named("ConnectError"), REFUSED], UNSENT, "refused"),
        ([named("APITimeoutError"), named("ConnectTimeout")], UNSENT, "no connection"),
        ([named("APITimeoutError"), named("PoolTimeout")], UNSENT, "no connection"),
        ([named("APITimeoutError"), named("ReadTimeout")], SENT, "no answer in time"),
        ([named("APIConnectionError"), named("RemoteProtocolError")], SENT, "the connection broke"),
        ([named("APIConnectionError"), named("ReadError"), RESET], SENT, "reset"),
        # the aiohttp transport calls every disconnection a ConnectTimeout
        ([named("E"), named("ConnectTimeout"), named("ServerDisconnectedError", "aiohttp.client")], SENT, "words"),
        ([named("E"), named("ConnectTimeout"), named("ClientConnectorError", "aiohttp.client")], UNSENT, "words"),
        ([asyncio.TimeoutError()], SENT, "no answer in time"),
        ([json.JSONDecodeError("Expecting value", "", 0)], SENT, "not JSON"),
    ],
)
def test_errors_of_connections(errors, expected, words):
    failure = failure_of(chain(*errors))
    assert failure.verdict == RETRY
    assert (failure.reached_server, failure.maybe_billed) == expected
    assert words in str(failure)


def test_long_texts_are_cut():
    assert shorten("a  b\n\tc") == "a b c"
    assert len(shorten("word " * 1000)) == 500 and shorten("word " * 1000).endswith("...")


# redaction

KEY = "zx81-ThisIsTheKeyOfTheTest-42"


@pytest.mark.parametrize(
    "text",
    [
        f"Incorrect API key provided: {KEY}.",
        "Incorrect API key provided: sk-proj-abc***********wxyz. You can find yours at https://example.org",
        "headers: {'Authorization': 'Bearer abcdefgh12345678'}",
        "Authorization: Basic dXNlcjpwYXNz",
        "api_key=abcdefgh12345678 was rejected",
        '{"api-key": "abcdefgh12345678"}',
        "https://user:abcdefgh12345678@example.org/v1",
        "token hf_abcdefgh12345678 has expired",
    ],
)
def test_keys_are_taken_out(monkeypatch, text):
    monkeypatch.setenv("VIDREASON_TEST_KEY", KEY)
    redacted = redact(text)
    assert REDACTED in redacted
    for part in (KEY, "abc***********wxyz", "abcdefgh12345678", "dXNlcjpwYXNz"):
        assert part not in redacted


@pytest.mark.parametrize(
    "text",
    ["the task-specific frame of a disk-shaped thing", "see https://example.org/v1?x=1", "monkey: banana", "a sk-1 b"],
)
def test_innocent_words_stay(text):
    assert redact(text) == text


def test_variables_with_other_names_are_named(monkeypatch):
    monkeypatch.setenv("VIDREASON_TEST_ENTRANCE", KEY)
    assert KEY in redact(f"<{KEY}>")
    assert Redactor(("VIDREASON_TEST_ENTRANCE",)).redact(f"<{KEY}>") == f"<{REDACTED}>"


def test_a_given_key_is_taken_out_and_shown_nowhere():
    redactor = Redactor(given_key=KEY)
    assert redactor.redact(f"<{KEY}>") == f"<{REDACTED}>"
    assert KEY not in repr(redactor)


def test_of_two_keys_the_longer_goes_first(monkeypatch):
    monkeypatch.setenv("VIDREASON_TEST_KEY", f"{KEY}-and-more")
    assert Redactor(given_key=KEY).redact(f"<{KEY}-and-more>") == f"<{REDACTED}>"


def test_placeholders_are_no_secrets(monkeypatch):
    monkeypatch.setenv("VIDREASON_TEST_KEY", "EMPTY")
    assert redact("EMPTY answer") == "EMPTY answer"
    assert Redactor(("VIDREASON_TEST_KEY", "VIDREASON_NOT_SET")).own_secrets() == []


def test_hiding_leaves_the_rest_alone():
    assert hide(f"Bearer {KEY} sk-abcdefghijkl", [KEY]) == f"Bearer {REDACTED} sk-abcdefghijkl"
