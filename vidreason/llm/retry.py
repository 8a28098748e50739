"""What an attempt that brought no answer means: ask again, give this request up, or end the run."""

from __future__ import annotations

import datetime
import email.utils
import math
import random
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ..errors import VidreasonError

RETRY, FAIL, STOP = "retry", "fail", "stop"
"""Verdicts. `retry`: it may go well next time. `fail`: this request never will. `stop`: no request will."""

MAX_RETRY_AFTER_S = 600.0
"""A server that wants to be left alone for longer than this ends the run, which can be taken up again later."""

# what is redacted and searched of a server's words, which may be as long as a body
_READ_CHARACTERS = 20_000
# a request's last failure is stored as its answer, and a server may quote the whole request, picture included
MAX_MESSAGE_CHARACTERS = 500

# these pass: request time-out, conflict (the openai package takes it for a lock's time-out), too early, rate limit
_RETRIED_STATUSES = {408, 409, 425, 429}  # and all from 500
_STOPPING_STATUSES = {401, 402, 403, 404}  # key, credit, permission, model: the next request would fare no better
# an empty account answers 429, too, like a busy server; only the code tells them apart
_STOPPING_CODES = {"insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "account_deactivated"}
# a gateway stopped waiting for a model that may have answered (and billed) after that
_STATUSES_OF_GATEWAYS_THAT_GAVE_UP = {408, 502, 504, 524}

# errors of httpx and aiohttp that are raised before a byte of the request has left
_NEVER_SENT = {"ConnectError", "PoolTimeout", "ProxyError", "UnsupportedProtocol", "ClientConnectorError", "gaierror"}


class AttemptFailed(VidreasonError):
    """One attempt at one request brought no answer. It passes between a client and an answerer and goes no further.

    Args:
        message: What happened, without any key.
        verdict: `RETRY`, `FAIL` or `STOP`.
        retry_after_s: Seconds that the server asks to be left alone, or None.
        rate_limited: Whether the server wants fewer requests from everybody of this account.
        reached_server: False where nothing was sent, because the connection was refused, for example.
        maybe_billed: Whether the request was sent and what became of it is not known.
    """

    def __init__(
        self,
        message: str,
        verdict: str = RETRY,
        retry_after_s: float | None = None,
        rate_limited: bool = False,
        reached_server: bool = True,
        maybe_billed: bool = False,
    ):
        super().__init__(message)
        self.verdict = verdict
        self.retry_after_s = retry_after_s
        self.rate_limited = rate_limited
        self.reached_server = reached_server
        self.maybe_billed = maybe_billed


class BodyTooLong(ValueError):
    """A server sends more than anybody will read."""


class NoJson(ValueError):
    """A body that is not JSON, or that is nested deeper than anything that is asked for."""


def failure_of_status(
    status_code: int,
    message: str,
    code: str | None = None,
    headers: Mapping[str, str] | None = None,
    *,
    redact: Callable[[str], str],
) -> AttemptFailed:
    """What an HTTP status means.

    Args:
        status_code: HTTP status, 400 or above.
        message: Words of the server.
        code: Word in `error.code` or `error.type`, which tells an empty account from a busy one.
        headers: Headers of the response, with names in lower case or in a mapping that ignores case.
        redact: Function that takes keys out of the server's words, such as `Redactor.redact`.
    """
    # redacted before it is cut: half a key would not be recognised any more
    text = shorten(f"HTTP {status_code}: {redact(message[:_READ_CHARACTERS])}")
    wait_s = retry_after_s(headers or {})
    # before the statuses that are retried: an empty account would be asked again for nothing
    if status_code in _STOPPING_STATUSES or code in _STOPPING_CODES:
        return AttemptFailed(text, STOP)
    # a daily limit, for instance: the process should end rather than sleep until tomorrow
    if wait_s is not None and wait_s > MAX_RETRY_AFTER_S:
        return AttemptFailed(f"the server asks to be left alone for {wait_s:.0f} s ({text})", STOP)
    if status_code in _RETRIED_STATUSES or status_code >= 500:
        return AttemptFailed(
            text,
            RETRY,
            retry_after_s=wait_s,
            # an overloaded server (503) slows other requests only where it sends Retry-After
            rate_limited=status_code == 429,
            maybe_billed=status_code in _STATUSES_OF_GATEWAYS_THAT_GAVE_UP,
        )
    # any other 4xx is about this request, and would be the answer to the same bytes again
    return AttemptFailed(text, FAIL)


def failure_of(error: BaseException, *, redact: Callable[[str], str]) -> AttemptFailed:
    """What an exception of the openai package, or of what it stands on, means.

    It goes by the attributes that the versions 2 and 3 share, since their HTTP libraries differ.

    Args:
        error: Exception as it was caught.
        redact: Function that takes keys out of texts, such as `Redactor.redact`.
    """
    status_code = getattr(error, "status_code", None)
    if isinstance(status_code, int) and status_code >= 400:
        code = getattr(error, "code", None) or getattr(error, "type", None)
        code = code if isinstance(code, str) else None  # some put the status there, and the next one a list
        headers = getattr(getattr(error, "response", None), "headers", None)
        return failure_of_status(status_code, words_of(error), code, headers, redact=redact)
    if isinstance(error, NoJson):
        return AttemptFailed(f"the answer is not JSON ({shorten(redact(str(error)))})", maybe_billed=True)
    # the innermost cause says what happened; the openai package wraps it in an error of few words
    causes = list(_causes(error))
    names = [type(cause).__name__ for cause in causes]
    # what the system said, where it said something: below it may lie what a library tried first, such as whether an
    # event loop is running
    said = next((cause for cause in reversed(causes) if isinstance(cause, OSError) and str(cause)), causes[-1])
    text = _words(said, redact) if str(said) else shorten(redact(f"{names[-1]}: {error}"))
    if _never_sent(causes):
        return AttemptFailed(f"no connection ({text})", reached_server=False)
    if isinstance(causes[-1], BodyTooLong):  # the next answer would be as long, and be billed again
        return AttemptFailed(f"the server's answer is not read to its end ({text})", FAIL, maybe_billed=True)
    if isinstance(causes[-1], ValueError | RecursionError):  # an answer came, so it was billed
        return AttemptFailed(f"the answer is not JSON ({text})", maybe_billed=True)
    what = "no answer in time" if any("Timeout" in name for name in names) else "the connection broke"
    # the request may have arrived, and its answer have been computed and billed
    return AttemptFailed(f"{what} ({text})", maybe_billed=True)


def _words(error: BaseException, redact: Callable[[str], str]) -> str:
    return shorten(redact(f"{type(error).__name__}: {error}"[:_READ_CHARACTERS]))


def words_of(error: BaseException) -> str:
    """What a server said with an error, without the number of its status."""
    body = getattr(error, "body", None)
    if isinstance(body, list) and len(body) == 1:  # Gemini's way of saying it
        body = body[0]
    if isinstance(body, Mapping):
        body = body["error"] if isinstance(body.get("error"), Mapping) else body
        body = body.get("message") or body.get("detail") or body
    try:
        return str(body or getattr(error, "message", "") or error)
    except RecursionError:  # nested as deep as Python's parser goes
        return f"an error of type {type(error).__name__}, nested deeply"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _never_sent(causes: list[BaseException]) -> bool:
    names = {type(cause).__name__ for cause in causes}
    if "ConnectTimeout" in names:  # what aiohttp's disconnections are called too, after the request was sent
        return not any(type(cause).__module__.startswith("aiohttp") for cause in causes) or bool(names & _NEVER_SENT)
    return bool(names & _NEVER_SENT) or any(isinstance(cause, ConnectionRefusedError) for cause in causes)


def retry_after_s(headers: Mapping[str, Any]) -> float | None:
    """Seconds that a response asks to wait: `retry-after-ms`, or `Retry-After` in seconds or as an HTTP date.

    A date in the past is 0; what cannot be read is None.
    """
    # the finer unit first, for servers that send both
    for name, divisor in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(name, "")) / divisor
        except ValueError:
            continue
        # an infinite wait passes: it is above MAX_RETRY_AFTER_S and ends the run
        if not math.isnan(seconds):
            return max(0.0, seconds)
    try:
        date = email.utils.parsedate_to_datetime(headers.get("retry-after", ""))
    except (TypeError, ValueError, OverflowError):  # a year of 20 digits
        return None
    if date.tzinfo is None:  # "-0000", which HTTP does not use
        date = date.replace(tzinfo=datetime.timezone.utc)
    # the wall clock, since the header names a date: clocks that differ shift the wait by as much
    return max(0.0, date.timestamp() - time.time())


def backoff_s(failures: int, base_s: float = 0.5, max_s: float = 30.0) -> float:
    """Seconds to wait after a number of failures in a row.

    Exponential with full jitter, so that many clients that failed together do not come back together (M. Brooker,
    "Exponential Backoff And Jitter", AWS Architecture Blog, 2015).

    Args:
        failures: Number of failures in a row, from 1.
        base_s: Upper bound in seconds after the first failure; it doubles with each further one.
        max_s: Upper bound in seconds after any number of failures.
    """
    # the exponent is capped, since 2.0 ** 1024 overflows
    return random.uniform(0.0, min(max_s, base_s * 2.0 ** min(failures - 1, 30)))


def shorten(text: str, max_characters: int = MAX_MESSAGE_CHARACTERS) -> str:
    """A text on one line, cut where it is long: servers like to send the whole request back."""
    text = " ".join(text.split())
    return text if len(text) <= max_characters else text[: max_characters - 3] + "..."
