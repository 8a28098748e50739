"""Answers questions by asking a server, many at a time, through the cache, the ledger and the budget."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any

from .asking import Asker, RetryLimits
from .budget import Budget, CostCeiling
from .chat import ChatAnswer, Question
from .client import ChatClient
from .drawing import QuestionSource
from .pace import Pace
from .pricing import ModelPrice
from .store import RequestStore

_END = object()


class OnlineAnswerer:
    """An `Answerer` that sends each request on its own and waits for it.

    What is asked again, counted over all runs with the same store:

    - after a transport error (HTTP 408, 409, 425, 429 and from 500 on, a time-out, a broken connection), until the
      request has had `max_attempts`; then its answer is `failed`;
    - after an invalid answer, until it has had `max_invalid_attempts` of those, or `max_attempts` in all;
    - never after a truncated or refused answer, nor where the server rejects the request, which is `failed` at once.

    A server that nobody answers at makes all requests wait instead, and `max_silences` times in a row end the run. So
    do a wrong key, an unknown model and an empty account.

    Args:
        client: whom to ask. An answerer is for one server, whose rate limit all its requests share.
        store: cache and ledger.
        price: of the model; `pricing.FREE` for servers that cost nothing.
        budget: None sets no limit. What the store says was spent before must be in it already.
        max_in_flight: requests on their way at a time.
        max_attempts: of one request. Each run makes at least one for every request that it finds without an answer.
        max_invalid_attempts: of one request.
        max_silences: tries in a row, of whichever requests, at which there is no connection.
        backoff_base_s, max_backoff_s: bounds of the waits between attempts, see `retry.backoff_s`.
    """

    def __init__(
        self,
        client: ChatClient,
        store: RequestStore,
        price: ModelPrice,
        budget: Budget | None = None,
        max_in_flight: int = 32,
        max_attempts: int = 4,
        max_invalid_attempts: int = 2,
        max_silences: int = 6,
        backoff_base_s: float = 0.5,
        max_backoff_s: float = 30.0,
    ):
        if max_in_flight < 1:
            raise ValueError(f"max_in_flight must be at least 1, got {max_in_flight}")
        self.client = client
        self.store = store
        self.budget = budget or Budget()
        self.ceiling = CostCeiling(price)
        self.max_in_flight = max_in_flight
        self.limits = RetryLimits(max_attempts, max_invalid_attempts, max_silences, backoff_base_s, max_backoff_s)

    @property
    def max_drawn_ahead(self) -> int:
        """So many questions, at most, have been drawn and not yet yielded: ready, being answered, answered."""
        return 4 * self.max_in_flight

    async def answer_all(self, questions: Iterable[Question]) -> AsyncIterator[tuple[Any, ChatAnswer]]:
        """Yield (key, answer) pairs as answers arrive; see `vidreason.llm.chat.Answerer`.

        Whoever leaves the loop early should close the generator (`contextlib.aclosing`): what is in flight is then
        given up, and counts as spent.
        """
        run = _Run(self, questions)
        try:
            while (pair := await run.results.get()) is not _END:
                yield pair
        finally:
            await run.close()
        if run.error is not None:
            raise run.error


class _Run:
    """One call of `answer_all`: the tasks that answer, and how they end together.

    There are twice as many tasks as requests may be in flight, so that those that wait between two attempts, or for an
    equal request, keep nobody else from being asked.
    """

    def __init__(self, answerer: OnlineAnswerer, questions: Iterable[Question]):
        width = answerer.max_in_flight
        self.error: Exception | None = None
        self.results: asyncio.Queue = asyncio.Queue(maxsize=width)
        self._store = answerer.store
        self._asker = Asker(
            *(answerer.client, answerer.store, answerer.ceiling, answerer.budget, Pace(width), answerer.limits),
            uninterrupted=self._uninterrupted,
        )
        self._source = QuestionSource(questions, max_ahead=width)
        self._asked: dict[str, asyncio.Event] = {}  # requests that a task is at
        self._busy: set[asyncio.Task] = set()
        self._tasks = [asyncio.create_task(self._work()) for _ in range(2 * width)]
        self._watch = asyncio.create_task(self._watch_tasks())

    async def close(self) -> None:
        """Cancel what is still at work and wait for it."""
        self._asker.ended = True  # up to Python 3.11, `wait_for` can swallow a cancellation
        tasks = [*self._tasks, self._watch]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._source.close()

    async def _watch_tasks(self) -> None:
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.results.put(_END)

    async def _work(self) -> None:
        try:
            while not self._asker.ended:
                question = await self._source.draw()
                answer = None if question is None else await self._answer(question)
                if answer is None:
                    return
                with self._uninterrupted():
                    await self.results.put((question.key, answer))
        except Exception as error:
            self._end(error)

    def _end(self, error: Exception) -> None:
        """End the run: what is in flight is waited for and handed on, and nothing new is begun."""
        self.error = self.error or error
        self._asker.ended = True
        for task in self._tasks:
            if task not in self._busy and task is not asyncio.current_task():
                task.cancel()

    @contextlib.contextmanager
    def _uninterrupted(self) -> Iterator[None]:
        """Inside, the task is not cancelled when the run ends; only when the caller closes it."""
        task = asyncio.current_task()
        self._busy.add(task)
        try:
            yield
        finally:
            self._busy.discard(task)

    async def _answer(self, question: Question) -> ChatAnswer | None:
        """The answer that the store has, else one that is asked for. None where the run has ended before."""
        request_hash = question.request.request_hash
        while (answer := self._store.answer(request_hash)) is None:
            if request_hash not in self._asked:
                self._asked[request_hash] = asyncio.Event()
                try:
                    return await self._asker.ask(question)
                finally:
                    self._asked.pop(request_hash).set()
            await self._asked[request_hash].wait()
        return answer
