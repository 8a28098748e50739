"""What is asked of a language model and what comes back, whichever way it travels.

A `ChatRequest` is one chat completion, a `ChatAnswer` its outcome, and an `Answerer` turns a stream of `Question`s
into a stream of answers: one request at a time (`vidreason.llm.online`) or as batch jobs (`vidreason.llm.batch`).
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

DEFAULT_MODEL = "gpt-4.1-mini"

OK, REFUSED, TRUNCATED, INVALID, FAILED = "ok", "refused", "truncated", "invalid", "failed"
ANSWER_STATUSES = (OK, REFUSED, TRUNCATED, INVALID, FAILED)
"""`ok`: usable. `refused`: the model would not answer. `truncated`: cut at the token limit. `invalid`: answered, but
not with what was asked for. `failed`: no answer arrived. Only the last two are tried again."""


@dataclass(frozen=True, eq=False)
class ChatRequest:
    """One chat completion.

    Args:
        model: its name at the server.
        messages: in the wire format of chat completions; pictures as `image_part` makes them.
        max_completion_tokens: at which an answer is cut.
        temperature: None leaves it to the server.
        seed: sent along; requests that differ only here are different samples of one question.
        schema: JSON schema of the answer, or None for free text.
        schema_name: its name, of letters, digits, `_` and `-`.
        image_sizes: (height, width) of the pictures in `messages`, in pixels, for estimates only.
    """

    model: str
    messages: list[dict[str, Any]]
    max_completion_tokens: int = 300
    temperature: float | None = 0.0
    seed: int | None = None
    schema: Mapping[str, Any] | None = None
    schema_name: str = "answer"
    image_sizes: tuple[tuple[int, int], ...] = ()

    @cached_property
    def payload(self) -> dict[str, Any]:
        """The body of the request as the OpenAI API defines it. A server that knows less gets less of it."""
        body: dict[str, Any] = {
            "model": self.model,
            "messages": self.messages,
            "max_completion_tokens": self.max_completion_tokens,
        }
        optional = {"temperature": self.temperature, "seed": self.seed}
        body |= {name: value for name, value in optional.items() if value is not None}
        if self.schema is not None:
            schema = {"name": self.schema_name, "strict": True, "schema": dict(self.schema)}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        return body

    @cached_property
    def request_hash(self) -> str:
        """SHA-256 of the whole payload, pictures included, as 64 hexadecimal digits: the key of the cache."""
        text = json.dumps(self.payload, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()


def image_part(jpeg: bytes, detail: str = "auto") -> dict[str, Any]:
    """A JPEG picture as part of a message's content."""
    url = "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii")
    return {"type": "image_url", "image_url": {"url": url, "detail": detail}}


@dataclass(frozen=True)
class Usage:
    """Tokens as the server billed them. `cached_prompt_tokens` are a part of `prompt_tokens`."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_prompt_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.cached_prompt_tokens + other.cached_prompt_tokens,
        )


@dataclass(frozen=True)
class ChatAnswer:
    """The outcome of a request, after all its attempts.

    Args:
        request_hash: of the request.
        status: one of `ANSWER_STATUSES`.
        text: what the model said; a refusal's text; what went wrong where nothing arrived. It never holds a key.
        detail: why an answer is invalid, or empty.
        model: as the server names it, else as it was asked for.
        usage: of all attempts together.
        cost_usd: of all attempts together.
        attempts: how many there were.
    """

    request_hash: str
    status: str
    text: str
    detail: str = ""
    model: str = ""
    usage: Usage = field(default_factory=Usage)
    cost_usd: float = 0.0
    attempts: int = 1


@dataclass(frozen=True, eq=False)
class Question:
    """A request with what the asker needs to recognise and to check its answer.

    Args:
        key: the asker's own; it comes back with the answer.
        request: what to ask.
        check: is given the text of an answer and raises `InvalidAnswer` where it cannot be used.
    """

    key: Any
    request: ChatRequest
    check: Callable[[str], object]


class Answerer(Protocol):
    """Turns questions into answers. Every question gets exactly one answer, in whatever order they arrive."""

    def answer_all(self, questions: Iterable[Question]) -> AsyncIterator[tuple[Any, ChatAnswer]]:
        """Yield (key, answer) pairs.

        Questions are drawn one by one from a thread of their own, as there is room, so an iterable that decodes video
        neither blocks the loop nor fills the memory. A request that the store holds an answer for is not sent, and
        equal requests are sent once.

        Raises:
            LLMError: the run cannot go on; every answer that had arrived is in the store.
            BudgetExceeded: the next request could cost more than is left; what was in flight has been waited for.
        """
        ...
