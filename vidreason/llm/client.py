"""A client of chat completions: the protocol, and one implementation over `openai.AsyncOpenAI`.

Any server that speaks OpenAI's chat completions will do: OpenAI, vLLM, Ollama, `transformers serve`. A field that a
server does not know is left out from then on, so a schema is used where it can be, else tolerant parsing; a value that
it refuses fails the one request that holds it (`vidreason.llm.objections`).
"""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import urllib.parse
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast

from ..errors import InvalidAnswer, LLMError
from .chat import INVALID, OK, REFUSED, TRUNCATED, ChatRequest
from .completions import (
    MAX_BODY_BYTES,
    RawCompletion,
    Redactor,
    parse_body,
    read_completion,
    refusal_of,
)
from .json_text import MAX_CHARACTERS
from .objections import FORMAT, LIMIT, MAX_FORMS, OLDER_LIMIT, SCHEMA, fields_to_leave_out, objection_of
from .retry import BodyTooLong, NoJson, failure_of, shorten, words_of

if TYPE_CHECKING:
    from openai import AsyncAPIResponse, AsyncOpenAI

logger = logging.getLogger(__name__)

NO_KEY = "none"
"""Sent to servers that want no key, because the openai package insists on one."""

# below the time for an answer, so that a server that is down shows soon
_CONNECT_TIMEOUT_S = 10.0

LONG_CHARACTERS = 4000
"""Longer answers are judged in a thread: most have some hundred characters, and one of 50,000 that is out of shape can
take a second."""

# longer bodies are read in a thread: the loop has other requests to look after
_LONG_BODY_BYTES = 2**18


class ChatClient(Protocol):
    """Asks a server once."""

    async def complete_once(self, request: ChatRequest) -> RawCompletion:
        """Send a request and wait for the answer.

        Raises:
            AttemptFailed: no answer arrived; it says what to do about that.
        """
        ...


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
    place = f" (the answer was in the field {completion.source!r})" if completion.source else ""
    # before the length: a refusal that is cut is still a refusal
    if completion.is_refused:
        return Judgement(REFUSED, completion.refusal or completion.text, f"finish_reason {completion.finish_reason}")
    if completion.is_cut:
        return Judgement(TRUNCATED, completion.text, f"cut at max_completion_tokens{place}")
    if completion.num_characters:
        long = f"the answer has {completion.num_characters} characters, more than {MAX_CHARACTERS}"
        return Judgement(INVALID, completion.text, long + place)
    try:
        return Judgement(OK, completion.text, reading=check(completion.text))
    except InvalidAnswer as error:
        return Judgement(INVALID, completion.text, shorten(str(error)) + place)


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
            http_client=_bounded_http_client()(),
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
        for _ in range(MAX_FORMS):
            body = self._online(self.adapt(request.payload))
            try:
                # the client's own timeout bounds each read alone, so a server that trickles would never run into it
                answer = await asyncio.wait_for(self._post(body), self.timeout_s)
            except (openai.OpenAIError, asyncio.TimeoutError, OSError, BodyTooLong, NoJson) as error:
                status_code, code = getattr(error, "status_code", None), getattr(error, "code", None)
                # a filter's verdict on the prompt is an answer, whatever the status
                refused = refusal_of(words_of(error), code, redact=redact) if status_code else None
                if refused is not None:
                    return refused.without(self.redactor.own_secrets())
                failure = failure_of(error, redact=redact)
                if not self.learn(body, status_code, objection_of(error)):
                    break
            else:
                # own secrets alone: an answer is data, and the patterns for errors could alter innocent words
                return read_completion(answer, redact=redact).without(self.redactor.own_secrets())
        raise failure  # out here, so that no error that knows the request's headers hangs on it as a context

    async def _post(self, body: dict[str, Any]) -> Any:
        # `chat.completions.create` is the same with 0.6 ms more of checking and typing per call; the raw response,
        # since the package's own reading of it goes by the content type, and knows no bound of depth
        answer = await self.openai.post(
            "/chat/completions",
            cast_to=object,
            body=body,
            options={"security": {"bearer_auth": True}, "headers": {"X-Stainless-Raw-Response": "stream"}},
        )
        response = cast("AsyncAPIResponse[object]", answer)  # what the header asks for, whatever `cast_to` says
        try:
            content = await response.read()
        finally:
            await response.close()
        return await asyncio.to_thread(parse_body, content) if len(content) > _LONG_BODY_BYTES else parse_body(content)

    def _online(self, body: dict[str, Any]) -> dict[str, Any]:
        """A body as it goes out on its own; lines of batches have no choice of how they are answered."""
        # some servers send their answers in pieces unless they are told not to
        is_known = "stream" not in self._left_out.get(body["model"], ())
        return {**body, "stream": False} if is_known else body

    def adapt(self, payload: Mapping[str, Any]) -> dict[str, Any]:
        """A body with what the server is known not to take left out.

        Servers other than OpenAI's get the limit of the answer's length under its older name too: some of them know
        only that one, and take the new one without heeding it, so that an answer would go on for as long as it likes.
        One of the two is always sent.
        """
        left_out = self._left_out.get(payload["model"], set())
        body = {name: value for name, value in payload.items() if name not in left_out}
        if SCHEMA in left_out and FORMAT in body:
            body[FORMAT] = {"type": "json_object"}
        limit = payload.get(LIMIT, payload.get(OLDER_LIMIT))
        wants_older = not is_openai(self.base_url) or LIMIT in left_out
        if limit is not None and wants_older and OLDER_LIMIT not in left_out:
            body[OLDER_LIMIT] = limit
        return body

    def learn(self, body: Mapping[str, Any], status_code: int | None, objection: str) -> bool:
        """Find the fields of a rejected request that the server does not know, and leave them out from now on.

        Args:
            body: Body of the request as it was sent.
            status_code: HTTP status of the rejection.
            objection: What the server says of the request.

        Returns:
            Whether the request is worth sending without them. It is not where a value is refused.
        """
        found = fields_to_leave_out(body, status_code, objection)
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


@functools.cache
def _bounded_http_client() -> type:
    """The openai package's HTTP client, with a bound on the bodies that it reads. A class, made once.

    It is made here and not written down: the versions 2 and 3 of the package stand on different HTTP libraries.
    """
    import openai

    class BoundedHttpClient(openai.DefaultAsyncHttpxClient):
        async def send(self, request: Any, *, stream: bool = False, **options: Any) -> Any:
            response = await super().send(request, stream=True, **options)
            # files are streamed on to the disk, and have a bound of their own there
            if stream and response.status_code < 400 and "/files/" in request.url.path:
                return response
            content = bytearray()
            try:
                async for chunk in response.aiter_bytes():
                    content += chunk
                    if len(content) > MAX_BODY_BYTES:
                        raise BodyTooLong(f"the body is longer than {MAX_BODY_BYTES} bytes")
            finally:
                await response.aclose()
            # a response like it, whose body is here; it is decoded already, and its length is that of the wire
            headers = [
                (name, value)
                for name, value in response.headers.multi_items()
                if name.lower() not in ("content-encoding", "content-length", "transfer-encoding")
            ]
            return type(response)(
                response.status_code, headers=headers, content=bytes(content), request=response.request
            )

    return BoundedHttpClient


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
