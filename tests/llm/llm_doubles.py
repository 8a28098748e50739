"""Stand-ins for servers and clients, whose every reply a test can choose."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields
from typing import Any

from aiohttp import web

from vidreason.errors import InvalidAnswer
from vidreason.llm.chat import ChatAnswer, ChatRequest, Question, Usage
from vidreason.llm.client import RawCompletion
from vidreason.llm.cost import price_of
from vidreason.llm.online import OnlineAnswerer, RetryLimits
from vidreason.llm.retry import FAIL, AttemptFailed
from vidreason.llm.store import RequestStore

USAGE = Usage(prompt_tokens=100, completion_tokens=10)
PRICE = price_of("gpt-4.1-mini")

SERVER_ERROR = AttemptFailed("HTTP 500: oh")
RATE_LIMITED = AttemptFailed("HTTP 429: slow", retry_after_s=0.01, rate_limited=True)
LOST = AttemptFailed("no answer in time", maybe_billed=True)
REJECTED = AttemptFailed("HTTP 400: no", FAIL)


def check_good(text: str) -> None:
    """The check of most questions here: answers begin with "good"."""
    if not text.startswith("good"):
        raise InvalidAnswer(f"not good: {text}")


def make_request(number: int, **changes: Any) -> ChatRequest:
    changes = {"max_completion_tokens": 10, **changes}
    return ChatRequest("gpt-4.1-mini", [{"role": "user", "content": f"question {number}"}], **changes)


def make_question(number: int, check: Callable[[str], object] = check_good, **changes: Any) -> Question:
    return Question(number, make_request(number, **changes), check)


def number_of(request: ChatRequest) -> int:
    return int(request.messages[0]["content"].split()[1])


class FakeClient:
    """A `ChatClient` without a server.

    Args:
        reply: is given the number of the question and of the attempt at it, from 0, and gives a completion, its text,
            or an exception.
        latency_s: of each reply.
    """

    def __init__(self, reply: Callable[[int, int], RawCompletion | str | BaseException], latency_s: float = 0.0):
        self.reply = reply
        self.latency_s = latency_s
        self.asked: list[int] = []
        self.in_flight = 0
        self.max_in_flight = 0
        self._attempts: collections.Counter = collections.Counter()

    async def complete_once(self, request: ChatRequest) -> RawCompletion:
        number = number_of(request)
        attempt = self._attempts[number]
        self._attempts[number] += 1
        self.asked.append(number)
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        try:
            await asyncio.sleep(self.latency_s)
            reply = self.reply(number, attempt)
            if asyncio.iscoroutine(reply):
                reply = await reply
        finally:
            self.in_flight -= 1
        if isinstance(reply, BaseException):
            raise reply
        return RawCompletion(reply, usage=USAGE, model=request.model) if isinstance(reply, str) else reply


class Crowd:
    """Holds replies back until so many requests are on their way at once, so that a count hangs on no clock.

    Args:
        size: Number of requests that all wait for one another; later ones wait for nobody.
    """

    def __init__(self, size: int):
        self.size, self._here, self._full = size, 0, asyncio.Event()

    async def wait(self) -> None:
        """Wait until the crowd is here. A crowd that never comes fails the test, after a minute."""
        self._here += 1
        if self._here >= self.size:
            self._full.set()
        await asyncio.wait_for(self._full.wait(), 60)

    async def reply(self, reply: RawCompletion | str) -> RawCompletion | str:
        """A reply for a `FakeClient` that comes when the crowd is here."""
        await self.wait()
        return reply


def make_answerer(reply: Callable, store: RequestStore, latency_s: float = 0.0, price=PRICE, **settings: Any):
    """An answerer over a `FakeClient`, in a hurry."""
    return OnlineAnswerer(FakeClient(reply, latency_s), store, price, **in_a_hurry(settings))


def in_a_hurry(settings: dict[str, Any], backoff_base_s: float = 0.001) -> dict[str, Any]:
    """Settings of an answerer from those of its own and of its limits, with short waits."""
    names = {entry.name for entry in fields(RetryLimits)}
    limits = {name: value for name, value in settings.items() if name in names}
    others = {name: value for name, value in settings.items() if name not in names}
    return {"limits": RetryLimits(**{"backoff_base_s": backoff_base_s, **limits}), **others}


def answer_all(answerer: OnlineAnswerer, questions: Iterable[Question]) -> dict[Any, ChatAnswer]:
    """All answers by key; each key must come once. A client with connections is closed in their loop."""

    async def collect() -> dict[Any, ChatAnswer]:
        answers: dict[Any, ChatAnswer] = {}
        async with contextlib.AsyncExitStack() as stack:
            if hasattr(answerer.client, "close"):
                stack.push_async_callback(answerer.client.close)
            async for key, answer in answerer.answer_all(questions):
                assert key not in answers, f"{key} was answered twice"
                answers[key] = answer
        return answers

    return asyncio.run(collect())


def completion_body(text: str | None = "good", **message: Any) -> dict[str, Any]:
    """The body of an answer as OpenAI's server would send it."""
    return {
        "object": "chat.completion",
        "model": "gpt-4.1-mini-2025-04-14",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": text, **message}, "finish_reason": "stop"}
        ],
        "usage": {
            "prompt_tokens": 100,
            "completion_tokens": 10,
            "total_tokens": 110,
            "prompt_tokens_details": {"cached_tokens": 40},
        },
    }


@dataclass
class Reply:
    """What `RawServer` sends. A body of bytes goes out as it is; None breaks the connection."""

    body: Any = field(default_factory=completion_body)
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    delay_s: float = 0.0


class RawServer:
    """A server of chat completions in a thread of its own, in the manner of a context.

    Args:
        reply: is given the body of a request and the number of requests before it.
    """

    def __init__(self, reply: Callable[[dict[str, Any], int], Reply]):
        self.reply = reply
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.url = ""

    async def _handle(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.bodies.append(body)
        self.headers.append(dict(request.headers))
        reply = self.reply(body, len(self.bodies) - 1)
        await asyncio.sleep(reply.delay_s)
        if reply.body is None:
            request.transport.close()
            return web.Response()
        if isinstance(reply.body, bytes):
            headers = {"Content-Type": "application/json", **reply.headers}
            return web.Response(body=reply.body, status=reply.status, headers=headers)
        return web.json_response(reply.body, status=reply.status, headers=reply.headers)

    def __enter__(self) -> RawServer:
        started = threading.Event()

        def run() -> None:
            self._loop = asyncio.new_event_loop()
            asyncio.set_event_loop(self._loop)
            self._loop.run_until_complete(self._start())
            started.set()
            self._loop.run_forever()
            self._loop.run_until_complete(self._runner.cleanup())
            self._loop.close()

        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()
        assert started.wait(10)
        return self

    async def _start(self) -> None:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self._handle)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/v1"

    def __exit__(self, *_) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
