"""A client of chat completions: the protocol, and one implementation over `openai.AsyncOpenAI`.

Any server that speaks OpenAI's chat completions will do: OpenAI, vLLM, Ollama, `transformers serve`. What a server
does not take of a request is left out from then on, so a schema is used where it can be, else tolerant parsing.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
import os
import re
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from ..errors import InvalidAnswer, LLMError
from .chat import INVALID, OK, REFUSED, TRUNCATED, ChatRequest, Usage
from .redact import MIN_SECRET_LENGTH, hide, redact, register_key_variable, secret_values
from .retry import AttemptFailed, failure_of, failure_of_status, shorten, words_of

if TYPE_CHECKING:
    from openai import AsyncOpenAI

logger = logging.getLogger(__name__)

NO_KEY = "none"
"""Sent to servers that want no key, because the openai package insists on one."""

_CONNECT_TIMEOUT_S = 10.0

_LIMIT, _OLDER_LIMIT = "max_completion_tokens", "max_tokens"
_OPTIONAL = ("response_format", "temperature", "seed")
_MAX_FORMS = 2 + len(_OPTIONAL) + 1  # a server that objects to one field at a time has seen them all
_NOT_JSON = (json.JSONDecodeError, UnicodeDecodeError)
_REFUSING_CODES = {"content_filter", "content_policy_violation"}
_WORDS_FOR = {"response_format": ("response_format", "json_schema", "guided", "grammar", "structured outputs?")}


@dataclass(frozen=True)
class RawCompletion:
    """What one attempt brought back.

    Args:
        text: of the answer, empty where there is none.
        finish_reason: "stop", "length", "content_filter", ...
        refusal: the model's words where it would not answer, else empty.
        usage: as billed; None where the server does not say.
        model: as the server names it.
    """

    text: str
    finish_reason: str = "stop"
    refusal: str = ""
    usage: Usage | None = None
    model: str = ""


class ChatClient(Protocol):
    """Asks a server once."""

    async def complete_once(self, request: ChatRequest) -> RawCompletion:
        """Send a request and wait for the answer.

        Raises:
            AttemptFailed: no answer arrived; it says what to do about that.
        """
        ...


def read_completion(body: Any) -> RawCompletion:
    """A chat completion as a server, or a line of a batch's output, gives it.

    Raises:
        AttemptFailed: the body is none.
    """
    if isinstance(body, Mapping) and isinstance(body.get("error"), Mapping):  # some gateways send errors as successes
        error = body["error"]
        status_code = error.get("code") if isinstance(error.get("code"), int) and error["code"] >= 400 else 500
        raise failure_of_status(status_code, str(error.get("message", error)), str(error.get("type", "")))
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


def judge(completion: RawCompletion, check: Callable[[str], object]) -> tuple[str, str, str]:
    """The status, text and detail of an answer.

    A truncated answer is not checked: what is missing of it could be what matters. Exceptions of `check` other than
    `InvalidAnswer` are bugs of the caller's and pass through.
    """
    if completion.refusal or completion.finish_reason == "content_filter":
        return REFUSED, completion.refusal or completion.text, f"finish_reason {completion.finish_reason}"
    if completion.finish_reason == "length":
        return TRUNCATED, completion.text, "cut at max_completion_tokens"
    try:
        check(completion.text)
    except InvalidAnswer as error:
        return INVALID, completion.text, shorten(str(error))
    return OK, completion.text, ""


class OpenAIChatClient:
    """Chat completions of any OpenAI-compatible server. Each call sends its request once; retries are the caller's.

    Only requests whose form a server rejects are sent again at once, with less in them: nothing is billed for those.

    Args:
        base_url: of the server, such as "http://localhost:8000/v1"; by default `OPENAI_BASE_URL`, else OpenAI's.
        timeout_s: in which an answer must be complete.
        api_key_env: the variable of the environment that holds the key. It is read when a connection is made and kept
            nowhere here. Servers other than OpenAI's need none.
        api_key: the key itself, for a service whose users bring their own; no variable is read then. It lives as long
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
        register_key_variable(api_key_env)
        self._left_out: dict[str, set[str]] = {}  # per model: names that its server does not take
        self._loop: asyncio.AbstractEventLoop | None = None
        self._openai: AsyncOpenAI | None = self._connect()  # now, so that a missing key is found out at once

    def __repr__(self) -> str:
        return f"OpenAIChatClient(base_url={self.base_url!r}, api_key_env={self.api_key_env!r})"

    @property
    def openai(self) -> AsyncOpenAI:
        """The client underneath, for files and batches. Connections belong to an event loop; a new loop gets new
        ones."""
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

        for _ in range(_MAX_FORMS):
            body = self.adapt(request.payload)
            try:
                answer = await asyncio.wait_for(self._post(body), self.timeout_s)
            except (openai.OpenAIError, asyncio.TimeoutError, OSError, *_NOT_JSON) as error:
                if getattr(error, "code", None) in _REFUSING_CODES:
                    refusal = shorten(redact(words_of(error)))
                    return self._without_key(RawCompletion("", "content_filter", refusal=refusal, usage=Usage()))
                failure = failure_of(error)
                if not self.learn(body, getattr(error, "status_code", None), _objection(error)):
                    break
            else:
                return self._without_key(read_completion(answer))
        failure.args = tuple(hide(text, self._secrets()) for text in failure.args)
        raise failure  # out here, so that no error that knows the request's headers hangs on it as a context

    async def _post(self, body: dict[str, Any]) -> Any:
        # `chat.completions.create` is the same with 0.6 ms more of checking and typing per call
        return await self.openai.post(
            "/chat/completions", cast_to=object, body=body, options={"security": {"bearer_auth": True}}
        )

    def _without_key(self, completion: RawCompletion) -> RawCompletion:
        """What a server sends is stored and published, and some echo what they were sent."""
        values = self._secrets()
        texts = {name: hide(getattr(completion, name), values) for name in ("text", "refusal", "model")}
        return dataclasses.replace(completion, **texts)

    def _secrets(self) -> list[str]:
        given = [self._api_key] if self._api_key and len(self._api_key) >= MIN_SECRET_LENGTH else []
        return given + secret_values([self.api_key_env])

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
            body: as it was sent.
            status_code: of the rejection.
            objection: what the server says of the request.

        Returns:
            Whether the request is worth sending without them.
        """
        if status_code not in (400, 422):
            return False
        text = objection.lower()
        found = {
            name
            for name in (*_OPTIONAL, _LIMIT, _OLDER_LIMIT)
            if name in body and any(re.search(rf"\b{word}\b", text) for word in _WORDS_FOR.get(name, (name,)))
        }
        if {_LIMIT, _OLDER_LIMIT} <= found:  # "use the one in place of the other", or "not both": the older one goes
            found.discard(_LIMIT)
        known = self._left_out.setdefault(body["model"], set())
        if found - known:
            logger.warning(
                "%s does not take %s of requests to %s and gets them without from now on: %s",
                *(
                    self.base_url or "OpenAI",
                    ", ".join(sorted(found)),
                    body["model"],
                    shorten(hide(redact(objection), self._secrets()), 200),
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
        raise LLMError(f"base_url must be like http://localhost:8000/v1, got {redact(base_url)!r}")
    if parts.username or parts.password or parts.query:
        raise LLMError(
            f"base_url must hold no user, password or query (server {parts.hostname}); keys go into the environment"
        )
    return base_url


def _read_key(api_key_env: str, needed: bool) -> str:
    key = os.environ.get(api_key_env, "").strip()
    if not key:
        if needed:
            raise LLMError(f"OpenAI wants a key: set the environment variable {api_key_env}")
        return NO_KEY
    return _check_key(key, f"the key in {api_key_env}")


def _check_key(key: str, name: str) -> str:
    if not key:
        raise LLMError(f"{name} is empty")
    if not (key.isascii() and key.isprintable()):
        raise LLMError(f"{name} has characters that an HTTP header cannot hold")
    return key
