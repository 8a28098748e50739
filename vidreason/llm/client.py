"""A client of chat completions: the protocol, and one implementation over `openai.AsyncOpenAI`.

It also keeps keys out of everything that is stored or shown: a `Redactor` takes them out of texts that others wrote.

Any server that speaks OpenAI's chat completions will do: OpenAI, vLLM, Ollama, `transformers serve`. What a server
does not take of a request is left out from then on, so a schema is used where it can be, else tolerant parsing.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import urllib.parse
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from ..errors import InvalidAnswer, LLMError
from .chat import INVALID, OK, REFUSED, TRUNCATED, ChatRequest, Usage
from .retry import AttemptFailed, failure_of, failure_of_status, shorten, words_of

if TYPE_CHECKING:
    from openai import AsyncOpenAI

logger = logging.getLogger(__name__)

NO_KEY = "none"
"""Sent to servers that want no key, because the openai package insists on one."""

REDACTED = "[redacted]"

MIN_SECRET_LENGTH = 8
"""Shorter values are placeholders such as "EMPTY", which would blacken innocent words."""

# OPENAI_API_KEY, HF_TOKEN, AWS_SECRET_ACCESS_KEY: a server's message may quote any key that a proxy was given
_TELLING_NAME = re.compile(r"(?:KEY|TOKEN|SECRET|PASSWORD)$", re.IGNORECASE)
_SHAPES = re.compile(
    r"""
    (?P<lead> \b(?:Bearer|Basic)\s+ | \bapi[-_ ]?key["'\s]*[:=]["'\s]* | ://(?=[^/\s]*@) )  # stands before a secret
      [^\s"',;@]+
    | \b(?:sk|pk|rk|hf|gsk|xai|sess)[-_][A-Za-z0-9_*.\-]{8,}                              # how services form keys
    """,
    re.VERBOSE | re.IGNORECASE,
)

# below the time for an answer, so that a server that is down shows soon
_CONNECT_TIMEOUT_S = 10.0

# one limit, two names: OpenAI's reasoning models reject the older, some servers know no other
_LIMIT, _OLDER_LIMIT = "max_completion_tokens", "max_tokens"
_OPTIONAL = ("response_format", "temperature", "seed")
_MAX_FORMS = 2 + len(_OPTIONAL) + 1  # a server that objects to one field at a time has seen them all
_NOT_JSON = (json.JSONDecodeError, UnicodeDecodeError)
_REFUSING_CODES = {"content_filter", "content_policy_violation"}
# servers name the schema by the feature that it turns on: vLLM "guided", llama.cpp "grammar"
_WORDS_FOR = {"response_format": ("response_format", "json_schema", "guided", "grammar", "structured outputs?")}


@dataclass(frozen=True)
class Redactor:
    """Takes keys out of texts that other programs wrote, before they reach a log, an error or the store.

    Values of environment variables are read anew each time, and kept nowhere.

    Args:
        key_variables: Environment variables that hold a key although their names may not tell.
        given_key: A key that is in no variable, or empty.
    """

    key_variables: tuple[str, ...] = ()
    given_key: str = field(default="", repr=False)

    def own_secrets(self) -> list[str]:
        """The given key and the values of `key_variables`, longest first."""
        return _by_length([self.given_key, *(os.environ.get(name, "").strip() for name in self.key_variables)])

    def secrets(self) -> list[str]:
        """All secrets of this process, longest first: its own, and variables that are named like a secret."""
        named = [value.strip() for name, value in os.environ.items() if _TELLING_NAME.search(name)]
        return _by_length([*self.own_secrets(), *named])

    def redact(self, text: str) -> str:
        """A text of an error or a server without any secret of this process and without what is shaped like a key."""
        # shapes as well as values: a server may quote a key of a relay's, which is in no variable here
        return _SHAPES.sub(lambda match: (match["lead"] or "") + REDACTED, hide(text, self.secrets()))


def _by_length(values: list[str]) -> list[str]:
    # longest first: a key that begins with another must not leave its end behind
    return sorted({value for value in values if len(value) >= MIN_SECRET_LENGTH}, key=len, reverse=True)


def hide(text: str, values: Iterable[str]) -> str:
    """A text without these values, and otherwise as it was."""
    for value in values:
        if value in text:
            text = text.replace(value, REDACTED)
    return text


@dataclass(frozen=True)
class RawCompletion:
    """What one attempt brought back.

    Args:
        text: Text of the answer, empty where there is none.
        finish_reason: Why the answer ends: "stop", "length", "content_filter", ...
        refusal: The model's words where it would not answer, else empty.
        usage: Tokens as billed; None where the server does not say.
        model: Name of the model as the server gives it.
    """

    text: str
    finish_reason: str = "stop"
    refusal: str = ""
    usage: Usage | None = None
    model: str = ""

    def without(self, secrets: list[str]) -> RawCompletion:
        """This completion without secrets: it is stored and published, and some servers echo what they were sent."""
        return replace(
            self,
            text=hide(self.text, secrets),
            refusal=hide(self.refusal, secrets),
            model=hide(self.model, secrets),
        )


class ChatClient(Protocol):
    """Asks a server once."""

    async def complete_once(self, request: ChatRequest) -> RawCompletion:
        """Send a request and wait for the answer.

        Raises:
            AttemptFailed: no answer arrived; it says what to do about that.
        """
        ...


def read_completion(body: Any, *, redact: Callable[[str], str]) -> RawCompletion:
    """A chat completion as a server, or a line of a batch's output, gives it.

    Args:
        body: JSON value of the response.
        redact: Function that takes keys out of the texts of errors, such as `Redactor.redact`.

    Raises:
        AttemptFailed: the body is none.
    """
    if isinstance(body, Mapping) and isinstance(body.get("error"), Mapping):  # some gateways send errors as successes
        error = body["error"]
        # a code that is a word gives no HTTP status; 500 is retried
        status_code = error.get("code") if isinstance(error.get("code"), int) and error["code"] >= 400 else 500
        message = str(error.get("message", error))
        raise failure_of_status(status_code, message, str(error.get("type", "")), redact=redact)
    try:
        choice = body["choices"][0]
        message = choice["message"]
        content = message.get("content") or ""
        if not isinstance(content, str):  # parts
            content = "".join(part.get("text") or "" for part in content)
        return RawCompletion(
            text=content,
            finish_reason=str(choice.get("finish_reason") or "stop"),
            refusal=str(message.get("refusal") or ""),
            usage=_read_usage(body.get("usage")),
            model=str(body.get("model") or ""),
        )
    except (TypeError, KeyError, IndexError, AttributeError, ValueError):
        text = shorten(redact(str(body)), 200)
    # raised out here, so that the error carries no context with the whole body in it
    raise AttemptFailed(f"the server's answer is no chat completion: {text}", maybe_billed=True)


def _read_usage(usage: Mapping[str, Any] | None) -> Usage | None:
    if not usage:
        return None
    details = usage.get("prompt_tokens_details") or {}
    return Usage(
        prompt_tokens=int(usage.get("prompt_tokens") or 0),
        completion_tokens=int(usage.get("completion_tokens") or 0),
        cached_prompt_tokens=int(details.get("cached_tokens") or 0),
    )


class Judgement(NamedTuple):
    """What a completion is worth: an answer's status, text and detail, and what the check read in the text."""

    status: str
    text: str
    detail: str = ""
    reading: object = None


def judge(completion: RawCompletion, check: Callable[[str], object]) -> Judgement:
    """Check an answer, once.

    A truncated answer is not checked: what is missing of it could be what matters. Exceptions of `check` other than
    `InvalidAnswer` are bugs of the caller's and pass through.

    Args:
        completion: What an attempt brought back.
        check: Function of `Question.check`.
    """
    # before the length: a refusal that is cut is still a refusal
    if completion.refusal or completion.finish_reason == "content_filter":
        return Judgement(REFUSED, completion.refusal or completion.text, f"finish_reason {completion.finish_reason}")
    if completion.finish_reason == "length":
        return Judgement(TRUNCATED, completion.text, "cut at max_completion_tokens")
    try:
        return Judgement(OK, completion.text, reading=check(completion.text))
    except InvalidAnswer as error:
        return Judgement(INVALID, completion.text, shorten(str(error)))


class OpenAIChatClient:
    """Chat completions of any OpenAI-compatible server. Each call sends its request once; retries are the caller's.

    Only requests whose form a server rejects are sent again at once, with less in them: nothing is billed for those.

    Args:
        base_url: Address of the server, such as "http://localhost:8000/v1"; by default `OPENAI_BASE_URL`, else
            OpenAI's.
        timeout_s: Seconds in which an answer must be complete.
        api_key_env: Environment variable that holds the key. It is read when a connection is made and kept nowhere
            here. Servers other than OpenAI's need none.
        api_key: The key itself, for a service whose users bring their own; no variable is read then. It lives as long
            as this object does, and is in no message, answer or log of it.

    Raises:
        LLMError: the openai package is missing, the address is not usable, or OpenAI is asked without a key.
    """

    def __init__(
        self,
        base_url: str | None = None,
        timeout_s: float = 120.0,
        api_key_env: str = "OPENAI_API_KEY",
        api_key: str | None = None,
    ) -> None:
        self.base_url = _check_url(base_url or os.environ.get("OPENAI_BASE_URL") or None)
        self.timeout_s = timeout_s
        self.api_key_env = api_key_env
        self._api_key = None if api_key is None else _check_key(api_key.strip(), "the given key")
        self.redactor = Redactor((api_key_env,), self._api_key or "")
        self._left_out: dict[str, set[str]] = {}  # per model: names that its server does not take
        self._loop: asyncio.AbstractEventLoop | None = None
        self._openai: AsyncOpenAI | None = self._connect()  # now, so that a missing key is found out at once

    def __repr__(self) -> str:
        return f"OpenAIChatClient(base_url={self.base_url!r}, api_key_env={self.api_key_env!r})"

    @property
    def openai(self) -> AsyncOpenAI:
        """The client underneath, for files and batches."""
        # connections belong to the event loop that opened them; a new loop, as in a notebook, gets new ones
        loop = asyncio.get_running_loop()
        if self._openai is None or self._loop not in (None, loop):
            self._openai = self._connect()
        self._loop = loop
        return self._openai

    async def close(self) -> None:
        """Close the connections. A later call opens new ones."""
        client, self._openai = self.openai, None
        await client.close()

    async def __aenter__(self) -> OpenAIChatClient:
        return self

    async def __aexit__(self, *_) -> None:
        await self.close()

    def _connect(self) -> AsyncOpenAI:
        try:
            import openai
        except ImportError as error:
            raise LLMError('the openai package is missing: pip install "vidreason[llm]"') from error
        return openai.AsyncOpenAI(
            base_url=self.base_url,
            api_key=self._api_key or _read_key(self.api_key_env, needed=is_openai(self.base_url)),
            timeout=openai.Timeout(self.timeout_s, connect=min(_CONNECT_TIMEOUT_S, self.timeout_s)),
            max_retries=0,  # every attempt is counted in the ledger, so none may be made behind its back
        )

    async def complete_once(self, request: ChatRequest) -> RawCompletion:
        """Send a request and wait for the answer.

        Raises:
            AttemptFailed: no answer arrived; it says what to do about that.
        """
        import openai

        redact = self.redactor.redact
        # bounded, for servers whose objections never end
        for _ in range(_MAX_FORMS):
            body = self.adapt(request.payload)
            try:
                # the client's own timeout bounds each read alone, so a server that trickles would never run into it
                answer = await asyncio.wait_for(self._post(body), self.timeout_s)
            except (openai.OpenAIError, asyncio.TimeoutError, OSError, *_NOT_JSON) as error:
                # a filter's verdict on the prompt is an answer: the next try would meet the same filter
                if getattr(error, "code", None) in _REFUSING_CODES:
                    refusal = shorten(redact(words_of(error)))
                    refused = RawCompletion("", "content_filter", refusal=refusal, usage=Usage())
                    return refused.without(self.redactor.own_secrets())
                failure = failure_of(error, redact=redact)
                if not self.learn(body, getattr(error, "status_code", None), _objection(error)):
                    break
            else:
                # own secrets alone: an answer is data, and the patterns for errors could alter innocent words
                return read_completion(answer, redact=redact).without(self.redactor.own_secrets())
        raise failure  # out here, so that no error that knows the request's headers hangs on it as a context

    async def _post(self, body: dict[str, Any]) -> Any:
        # `chat.completions.create` is the same with 0.6 ms more of checking and typing per call
        return await self.openai.post(
            "/chat/completions", cast_to=object, body=body, options={"security": {"bearer_auth": True}}
        )

    def adapt(self, payload: Mapping[str, Any]) -> dict[str, Any]:
        """A body with what the server is known not to take left out.

        Servers other than OpenAI's get the limit of the answer's length under its older name too: some of them know
        only that one, and take the new one without heeding it, so that an answer would go on for as long as it likes.
        """
        left_out = self._left_out.get(payload["model"], set())
        body = {name: value for name, value in payload.items() if name not in left_out}
        limit = payload.get(_LIMIT, payload.get(_OLDER_LIMIT))
        wants_older = not is_openai(self.base_url) or _LIMIT in left_out
        if limit is not None and wants_older and _OLDER_LIMIT not in left_out:
            body[_OLDER_LIMIT] = limit
        return body

    def learn(self, body: Mapping[str, Any], status_code: int | None, objection: str) -> bool:
        """Find the fields of a rejected request that the server objects to, and leave them out from now on.

        Args:
            body: Body of the request as it was sent.
            status_code: HTTP status of the rejection; only 400 and 422 are about the form of a request.
            objection: What the server says of the request.

        Returns:
            Whether the request is worth sending without them.
        """
        if status_code not in (400, 422):  # 422 is what FastAPI, and so vLLM and transformers, call a bad body
            return False
        text = objection.lower()
        found = {
            name
            for name in (*_OPTIONAL, _LIMIT, _OLDER_LIMIT)
            if name in body and any(re.search(rf"\b{word}\b", text) for word in _WORDS_FOR.get(name, (name,)))
        }
        if {_LIMIT, _OLDER_LIMIT} <= found:  # "use the one in place of the other", or "not both": the older one goes
            found.discard(_LIMIT)
        # per model, since a relay hands each to another server
        known = self._left_out.setdefault(body["model"], set())
        if found - known:
            logger.warning(
                "%s does not take %s of requests to %s and gets them without from now on: %s",
                *(
                    self.base_url or "OpenAI",
                    ", ".join(sorted(found)),
                    body["model"],
                    shorten(self.redactor.redact(objection), 200),
                ),
            )
        known |= found
        return bool(found)


def _objection(error: Exception) -> str:
    """What a server says of the form of a request, without the request that it may quote."""
    body = getattr(error, "body", None)
    detail = body.get("detail") if isinstance(body, Mapping) else None
    if isinstance(detail, list):  # FastAPI: places and messages, with the whole input beside them
        return " ".join(f"{item.get('loc')} {item.get('msg')}" for item in detail if isinstance(item, Mapping))
    return f"{getattr(error, 'param', None) or ''} {words_of(error)[:1000]}".strip()


def is_openai(base_url: str | None) -> bool:
    """Whether an address is OpenAI's own."""
    # subdomains are regions, such as eu.api.openai.com
    host = urllib.parse.urlsplit(base_url or "https://api.openai.com").hostname or ""
    return host == "api.openai.com" or host.endswith(".api.openai.com")


def _check_url(base_url: str | None) -> str | None:
    if base_url is None:
        return None
    try:
        parts = urllib.parse.urlsplit(base_url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # brackets that do not match, a port that is no number
        usable = False
    if not usable:
        raise LLMError(f"base_url must be like http://localhost:8000/v1, got {Redactor().redact(base_url)!r}")
    # the address is logged and shown, so nothing secret may be in it
    if parts.username or parts.password or parts.query:
        raise LLMError(
            f"base_url must hold no user, password or query (server {parts.hostname}); keys go into the environment"
        )
    return base_url


def _read_key(api_key_env: str, needed: bool) -> str:
    # the line break at the end of a key that was read from a file is no part of it
    key = os.environ.get(api_key_env, "").strip()
    if not key:
        if needed:
            raise LLMError(f"OpenAI wants a key: set the environment variable {api_key_env}")
        return NO_KEY
    return _check_key(key, f"the key in {api_key_env}")


def _check_key(key: str, name: str) -> str:
    if not key:
        raise LLMError(f"{name} is empty")
    # found here: the HTTP library's error about the header would carry the key
    if not (key.isascii() and key.isprintable()):
        raise LLMError(f"{name} has characters that an HTTP header cannot hold")
    return key
