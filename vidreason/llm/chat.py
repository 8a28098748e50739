"""What is asked of a language model and what comes back, whichever way it travels.

A `ChatRequest` is one chat completion, a `ChatAnswer` its outcome, and an `Answerer` turns a stream of `Question`s
into a stream of answers: one request at a time (`vidreason.llm.online`) or as batch jobs (`vidreason.llm.batch`). Both
draw their questions through a `QuestionSource`.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import logging
import threading
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any, Protocol

from jinja2 import StrictUndefined, Template, TemplateError
from jinja2.sandbox import SandboxedEnvironment

from ..errors import ConfigError, LLMError

logger = logging.getLogger(__name__)

DEFAULT_MODEL = "gpt-4.1-mini"

OK, REFUSED, TRUNCATED, INVALID, FAILED = "ok", "refused", "truncated", "invalid", "failed"
ANSWER_STATUSES = (OK, REFUSED, TRUNCATED, INVALID, FAILED)
"""`ok`: usable. `refused`: the model would not answer. `truncated`: cut at the token limit. `invalid`: answered, but
not with what was asked for. `failed`: no answer arrived. Only the last two are tried again."""

_CLOSING_TIMEOUT_S = 10.0  # a video that is being decoded is given this long; the thread is a daemon and ends anyway


# the last ones make a server say more than one answer of a limited length, or say it in pieces
_OWN_FIELDS = frozenset(
    (
        *("model", "messages", "temperature", "seed", "response_format"),
        *("max_completion_tokens", "max_tokens", "n", "best_of", "stream"),
    )
)


@dataclass(frozen=True, eq=False)
class ChatRequest:
    """One chat completion.

    Args:
        model: Name of the model at its server.
        messages: Messages in the wire format of chat completions; pictures as `image_part` makes them.
        max_completion_tokens: Number of tokens at which an answer is cut.
        temperature: Sampling temperature; None leaves it to the server.
        seed: Sampling seed that is sent along. Requests that differ only here are different samples of one question.
        schema: JSON schema of the answer, or None for free text.
        schema_name: Name of the schema, of letters, digits, `_` and `-`.
        image_sizes: (height, width) of the pictures in `messages`, in pixels, which estimates of tokens need.
        extra_body: Fields of the body that one server alone knows, such as `chat_template_kwargs`. They are a part of
            the request's hash.

    Raises:
        ValueError: `extra_body` has a field that is said by another setting, or that makes answers longer or more.
    """

    model: str
    messages: list[dict[str, Any]]
    max_completion_tokens: int = 300
    # the same question should bring the same answer, as far as the server can
    temperature: float | None = 0.0
    seed: int | None = None
    schema: Mapping[str, Any] | None = None
    schema_name: str = "answer"
    image_sizes: tuple[tuple[int, int], ...] = ()
    extra_body: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        taken = sorted(_OWN_FIELDS & self.extra_body.keys())
        if taken:
            raise ValueError(
                f"extra_body must not hold {', '.join(taken)}: other settings say it, or money hangs on it"
            )

    @cached_property
    def payload(self) -> dict[str, Any]:
        """The body of the request as the OpenAI API defines it. A server that knows less gets less of it."""
        # max_completion_tokens, not max_tokens: OpenAI's reasoning models reject the older name
        body: dict[str, Any] = {
            "model": self.model,
            "messages": self.messages,
            "max_completion_tokens": self.max_completion_tokens,
        }
        # None is left out, not sent as null: some servers take null for a value that they cannot use
        optional = {"temperature": self.temperature, "seed": self.seed}
        body |= {name: value for name, value in optional.items() if value is not None}
        if self.schema is not None:
            schema = {"name": self.schema_name, "strict": True, "schema": dict(self.schema)}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        return body | dict(self.extra_body)

    @cached_property
    def request_hash(self) -> str:
        """SHA-256 of the whole payload, pictures included, as 64 hexadecimal digits: the key of the cache."""
        # sorted keys and fixed separators: the hash must not depend on the order in which a body was put together,
        # since it is what finds answers that were paid for in earlier versions
        text = json.dumps(self.payload, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()


def image_part(jpeg: bytes, detail: str = "auto") -> dict[str, Any]:
    """A JPEG picture as part of a message's content.

    Args:
        jpeg: The file's bytes.
        detail: Resolution at which OpenAI's models look at it: "auto", "low" or "high".
    """
    url = "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii")
    return {"type": "image_url", "image_url": {"url": url, "detail": detail}}


@dataclass(frozen=True)
class Usage:
    """Tokens as the server billed them. `cached_prompt_tokens` are a part of `prompt_tokens`."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_prompt_tokens: int = 0


@dataclass(frozen=True)
class ChatAnswer:
    """The outcome of a request, after all its attempts.

    Args:
        request_hash: Hash of the request that it answers.
        status: One of `ANSWER_STATUSES`.
        text: What the model said; a refusal's text; what went wrong where nothing arrived. It never holds a key.
        detail: Why an answer is invalid, or empty.
        model: Name of the model as the server gives it, else as it was asked for.
        usage: Tokens of all attempts together.
        cost_usd: Cost of all attempts together, in USD.
        attempts: Number of attempts.
        reading: What the question's check returned for the text, so that no one has to parse it again. The store does
            not keep it: it is None for an answer of an earlier run, and where the status is not `ok`.
    """

    request_hash: str
    status: str
    text: str
    detail: str = ""
    model: str = ""
    usage: Usage = field(default_factory=Usage)
    cost_usd: float = 0.0
    attempts: int = 1
    # not compared: the answer from the store and the one that came in are the same answer
    reading: object = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, eq=False)
class Question:
    """A request with what the asker needs to recognise and to check its answer.

    Args:
        key: The asker's own name for the question; it comes back with the answer.
        request: What to ask.
        check: Function that is given the text of an answer and returns what it read in it, or raises `InvalidAnswer`
            where the answer cannot be used.
    """

    key: Any
    request: ChatRequest
    check: Callable[[str], object]


class Answerer(Protocol):
    """Turns questions into answers. Every question gets exactly one answer, in whatever order they arrive."""

    def answer_all(self, questions: Iterable[Question]) -> AsyncGenerator[tuple[Any, ChatAnswer], None]:
        """Yield (key, answer) pairs.

        Questions are drawn one by one from a thread of their own, as there is room, so an iterable that decodes video
        neither blocks the loop nor fills the memory. A request that the store holds an answer for is not sent, and
        equal requests are sent once.

        Args:
            questions: Any number of questions.

        Raises:
            LLMError: the run cannot go on; every answer that had arrived is in the store.
            BudgetExceeded: the next request could cost more than is left; what was in flight has been waited for.
        """
        ...


class QuestionSource:
    """Draws questions in a thread of its own, ahead of those who answer them, a bounded number.

    An iterable of questions may decode video, which would hold up the event loop. Must be made in the event loop that
    draws.

    Args:
        questions: Iterable that is drawn from within the thread, and closed there where it is a generator.
        max_ahead: Number of questions that may lie ready.
    """

    def __init__(self, questions: Iterable[Question], max_ahead: int):
        self._questions = questions
        self._loop = asyncio.get_running_loop()
        # unbounded, since only a coroutine could wait for room in it; the semaphore bounds what the thread puts in
        self._ready: asyncio.Queue[Question | Exception | None] = asyncio.Queue()
        self._room = threading.Semaphore(max_ahead)
        self._closing = False
        # a daemon: a video that never stops decoding must not keep the process alive
        self._thread = threading.Thread(target=self._run, name="vidreason-questions", daemon=True)
        self._thread.start()

    async def draw(self) -> Question | None:
        """The next question, or None when there are no more. Several tasks may draw.

        Raises:
            Exception: what the iterable raised, once; after that there are no more.
        """
        item = await self._ready.get()
        if item is None:
            self._ready.put_nowait(None)  # the next task that asks must find the end, too
            return None
        self._room.release()
        if isinstance(item, Exception):
            raise item
        return item

    async def close(self) -> None:
        """Draw no more and wait for the thread to be done with the question that it is at."""
        self._closing = True
        self._room.release()
        # joined in another thread: a join in the loop would stop the tasks that the thread still hands items to
        await self._loop.run_in_executor(None, self._thread.join, _CLOSING_TIMEOUT_S)

    def _run(self) -> None:
        iterator: Iterator[Question] | None = None
        try:
            iterator = iter(self._questions)
            while True:
                self._room.acquire()
                # after the wait for room: `close` makes room so that this wait ends
                if self._closing:
                    break
                question = next(iterator, None)
                if question is None:
                    break
                _ = question.request.request_hash  # cached here, which spares the loop a pass over each picture
                self._hand_over(question)
        except Exception as error:
            self._hand_over(error)
        except BaseException as error:  # SystemExit and the like would end this thread alone and look like the end
            self._hand_over(LLMError(f"questions can no longer be drawn: {error!r}"))
        finally:
            self._hand_over(None)
            self._close_generator(iterator)

    def _hand_over(self, item: Question | Exception | None) -> None:
        try:
            # an asyncio queue must not be touched from another thread
            self._loop.call_soon_threadsafe(self._ready.put_nowait, item)
        except RuntimeError:  # the loop is closed: nobody is listening any more
            self._closing = True

    @staticmethod
    def _close_generator(iterator: object) -> None:
        # in this thread, which is the one that the generator ran in: its `finally` may close a decoder
        close = getattr(iterator, "close", None)
        if callable(close):
            try:
                close()
            except Exception:
                logger.exception("an iterator of questions could not be closed")


def render_templates(prompt_id: str, templates: tuple[str, str], values: Mapping[str, Any]) -> tuple[str, str]:
    """Two templates with some values filled in, without the blank space around them.

    Args:
        prompt_id: Id of the prompt, for messages.
        templates: Jinja templates, of the system message and of the user's.
        values: What the templates may use, by name.

    Raises:
        ConfigError: A template is no valid one, or uses a name that it is not given.
    """
    try:
        system, user = (_compile(template).render(values).strip() for template in templates)
    except (TemplateError, ArithmeticError, LookupError, TypeError, ValueError) as error:
        raise ConfigError(f"prompt {prompt_id!r}: {error}") from error
    return system, user


@lru_cache(maxsize=64)
def _compile(template: str) -> Template:
    # the sandbox: a prompt file may come from anywhere, and is text, not a program
    # StrictUndefined: a misspelt name is an error, and not a gap in a prompt that is paid for
    return SandboxedEnvironment(undefined=StrictUndefined).from_string(template)
