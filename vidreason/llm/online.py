"""Answers questions by asking a server, many at a time, through the cache, the ledger and the budget.

From the outside in: `OnlineAnswerer` turns a stream of questions into a stream of answers; a `_Run` is one such
stream, with its tasks; an `Asker` asks one question, attempt by attempt; a `Pace` says when a request may go out.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import logging
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

from ..errors import BudgetExceeded, LLMError
from .chat import FAILED, INVALID, ChatAnswer, ChatRequest, Question, QuestionSource, Usage
from .client import LONG_CHARACTERS, ChatClient, Judgement, judge
from .completions import RawCompletion
from .cost import Budget, CostCeiling, ModelPrice, TokenEstimate, cost_usd, estimate_tokens
from .retry import FAIL, STOP, AttemptFailed, backoff_s
from .store import ABORTED, ONLINE, TRANSPORT, RequestStore

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

_FIRST_SILENCE_S, _MAX_SILENCE_S = 0.5, 8.0  # a local server that is restarted is back within seconds


@dataclass(frozen=True)
class RetryLimits:
    """How often things are tried. Attempts and invalid answers are those of one request over all runs.

    Args:
        max_attempts: Attempts at one request.
        max_invalid_attempts: Attempts at one request that may end with an invalid answer.
        max_silences: Tries in a row, of any requests, at which there is no connection.
        backoff_base_s: Upper bound in seconds of the wait after the first failure, see `retry.backoff_s`.
        max_backoff_s: Upper bound in seconds of any wait.
    """

    # three waits of at most 0.5, 1 and 2 s lie between them, unless the server names a wait of its own
    max_attempts: int = 4
    # every one is billed, and at temperature 0 a model mostly repeats itself
    max_invalid_attempts: int = 2
    # about 0.5, 1, 2, 4 and 8 s lie between the six, without the time that each takes to fail
    max_silences: int = 6
    backoff_base_s: float = 0.5
    max_backoff_s: float = 30.0

    def __post_init__(self) -> None:
        if min(self.max_attempts, self.max_invalid_attempts, self.max_silences) < 1:
            raise ValueError("max_attempts, max_invalid_attempts and max_silences must be at least 1")


def run_to_end(coroutine: Coroutine[Any, Any, Result]) -> Result:
    """What a coroutine returns, also in a notebook, whose own event loop is running already."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    with ThreadPoolExecutor(1) as pool:  # a loop cannot be run within another, but in another thread it can
        return pool.submit(asyncio.run, coroutine).result()


class OnlineAnswerer:
    """An `Answerer` that sends each request on its own and waits for it.

    What is asked again, counted over all runs with the same store:

    - after a transport error (HTTP 408, 409, 425, 429 and from 500 on, a time-out, a broken connection), until the
      request has had `max_attempts`; then its answer is `failed`;
    - after an invalid answer, until it has had `max_invalid_attempts` of those, or `max_attempts` in all;
    - never after a truncated or refused answer, nor where the server rejects the request, which is `failed` at once.

    A server that cannot be reached makes all requests wait instead, and `max_silences` times in a row end the run. So
    do a wrong key, an unknown model and an empty account.

    Args:
        client: Client of one server, whose rate limit all requests share.
        store: Cache and ledger.
        price: Price of the model; `cost.FREE` for servers that cost nothing.
        budget: Money that may be spent; None sets no limit. What the store says was spent before must be in it
            already.
        max_in_flight: Requests that are on their way at a time. At most four times as many questions have been drawn
            and not yet yielded: ready, being answered, answered.
        limits: How often things are tried. Each run makes at least one attempt at every request without an answer.
    """

    def __init__(
        self,
        client: ChatClient,
        store: RequestStore,
        price: ModelPrice,
        budget: Budget | None = None,
        max_in_flight: int = 32,
        limits: RetryLimits | None = None,
    ):
        if max_in_flight < 1:
            raise ValueError(f"max_in_flight must be at least 1, got {max_in_flight}")
        self.client = client
        self.store = store
        self.budget = budget or Budget()
        self.ceiling = CostCeiling(price)
        self.max_in_flight = max_in_flight
        self.limits = limits or RetryLimits()

    async def answer_all(self, questions: Iterable[Question]) -> AsyncGenerator[tuple[Any, ChatAnswer], None]:
        """Yield (key, answer) pairs as answers arrive; see `vidreason.llm.chat.Answerer`.

        A caller that leaves the loop early should close the generator (`contextlib.aclosing`): what is in flight is
        then given up, and counts as spent.

        Args:
            questions: Any number of questions.
        """
        run = _Run(self, questions)
        try:
            # each answer was stored before it came here, so a caller that is killed now pays for none of them twice
            while (pair := await run.results.get()) is not None:
                yield pair
        finally:
            await run.close()
        # only now: answers that were in flight when it happened have been yielded first
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
        # bounded: a caller that is slow to take answers slows the asking down in place of filling the memory
        self.results: asyncio.Queue[tuple[Any, ChatAnswer] | None] = asyncio.Queue(maxsize=width)
        self._store = answerer.store
        self._asker = Asker(
            *(answerer.client, answerer.store, answerer.ceiling, answerer.budget, Pace(width), answerer.limits),
            uninterrupted=self._uninterrupted,
        )
        # width ready here, twice width in the tasks, width in `results`: four times max_in_flight in all
        self._source = QuestionSource(questions, max_ahead=width)
        self._asked: dict[str, asyncio.Event] = {}  # requests that a task is at
        self._busy: set[asyncio.Task[Any] | None] = set()  # tasks that must not be cancelled when the run ends
        self._tasks = [asyncio.create_task(self._work()) for _ in range(2 * width)]
        # a task of its own: the end of all others must reach the caller, who waits for results and not for tasks
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
        await self.results.put(None)

    async def _work(self) -> None:
        try:
            while not self._asker.ended:
                question = await self._source.draw()
                if question is None or (answer := await self._answer(question)) is None:
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
            # a task with a request on its way is left alone: the answer is being paid for
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
                    # after a failure too, or equal requests would wait for ever
                    self._asked.pop(request_hash).set()
            # equal requests are sent once: this one looks into the store again when the first has its answer
            await self._asked[request_hash].wait()
        return answer


@dataclass
class _Try:
    """An attempt that is under way, and how the earlier ones at its request ended."""

    request: ChatRequest
    estimate: TokenEstimate
    outcomes: collections.Counter = field(default_factory=collections.Counter)
    attempt_id: int = 0
    reserved_usd: float = 0.0
    began: float = 0.0

    @property
    def number(self) -> int:
        return sum(self.outcomes.values())


class Asker:
    """Asks questions until they have an answer. Its `ask` is called by many tasks of one event loop.

    Args:
        client: Client that sends each request once.
        store: Cache and ledger.
        ceiling: The most that a request can cost; it learns from the bills.
        budget: Money that may be spent.
        pace: When requests may go out.
        limits: How often a request is tried.
        uninterrupted: Context around what must not be cancelled just because the run ends.
    """

    def __init__(
        self,
        client: ChatClient,
        store: RequestStore,
        ceiling: CostCeiling,
        budget: Budget,
        pace: Pace,
        limits: RetryLimits,
        uninterrupted: Callable[[], contextlib.AbstractContextManager] = contextlib.nullcontext,
    ):
        self.client = client
        self.store = store
        self.ceiling = ceiling
        self.budget = budget
        self.pace = pace
        self.limits = limits
        self.ended = False  # set from outside: begin nothing new
        self._uninterrupted = uninterrupted
        self._num_open = 0
        self._settled = asyncio.Event()

    async def ask(self, question: Question) -> ChatAnswer | None:
        """Try until there is an answer, or no more tries. None where the run has ended before.

        Args:
            question: Question that the store has no answer to.

        Raises:
            LLMError: no request will go well; BudgetExceeded among them.
        """
        request = question.request
        # attempts of earlier runs count, or a run that is killed and started again would try for ever
        attempts = self.store.attempts_of(request.request_hash)
        outcomes = collections.Counter(attempt.outcome for attempt in attempts if attempt.counts)
        current = _Try(request, estimate_tokens(request), outcomes)
        while not self.ended:
            result = await self._attempt(question, current)
            if isinstance(result, ChatAnswer):
                return result
            await asyncio.sleep(result)
        return None

    async def _attempt(self, question: Question, current: _Try) -> ChatAnswer | float:
        """Try once. Returns the answer, or for how many seconds this request must wait before it is tried again."""
        # the turn before the money: what waits for its turn must not hold a reservation that others could use
        async with self.pace.turn() as current.began:
            # before it is sent, so that all requests in flight count against the cap at the most that they can cost
            current.reserved_usd = await self._reserve(current.estimate)
            with self._uninterrupted(), self._opened(current):
                try:
                    completion = await self.client.complete_once(current.request)
                except AttemptFailed as error:
                    # under another name, since Python unbinds `error` at the end of the clause
                    failure = error
                except BaseException:  # cancelled, or a bug in the client: what it cost is not known
                    self._settle(current, ABORTED, Usage(), None)
                    raise
                else:
                    return self._take(completion, await self._judge(completion, question, current), current)
                return self._react(failure, current)

    async def _reserve(self, estimate: TokenEstimate) -> float:
        """Set money aside. Where only what is in flight leaves too little, wait: most of that comes back.

        Under a limit, the first request goes alone. Should the server bill more than the published rules say, it is
        one request that can cost more than was set aside for it, and not as many as may be in flight.
        """
        while True:
            usd = self.ceiling.cost_usd(estimate)  # anew each time: bills that came in may have raised it
            if self.ceiling.is_proven or self.budget.max_cost_usd is None or not self._num_open:
                try:
                    return self.budget.reserve(usd)
                except BudgetExceeded:
                    if not self._num_open:
                        raise
            # clear and wait with no await in between, so that no settlement is missed
            self._settled.clear()
            await self._settled.wait()

    @contextlib.contextmanager
    def _opened(self, current: _Try) -> Iterator[None]:
        """The time between an attempt's first and last line in the ledger."""
        request, estimate = current.request, current.estimate
        self._num_open += 1
        try:
            # in the ledger before it is sent: what a kill leaves open counts as spent in the next run
            current.attempt_id = self.store.begin_attempt(
                request.request_hash, request.model, ONLINE, current.reserved_usd, estimate.prompt_tokens
            )
            yield
        finally:
            self._num_open -= 1
            self._settled.set()

    def _settle(self, current: _Try, outcome: str, usage: Usage, cost: float | None, model: str = "") -> None:
        self.store.settle_attempt(current.attempt_id, outcome, usage, cost, model)
        self.budget.settle(current.reserved_usd, cost)
        # an aborted attempt says nothing of the request, see `store.Attempt.counts`
        current.outcomes[outcome] += outcome != ABORTED

    async def _judge(self, completion: RawCompletion, question: Question, current: _Try) -> Judgement:
        """Check an answer; a long one in a thread, where what is out of shape in it holds up nobody else."""
        # whatever the answer is worth: the pace is about the server alone
        self.pace.went_well()
        try:
            if len(completion.text) > LONG_CHARACTERS:
                return await asyncio.to_thread(judge, completion, question.check)
            return judge(completion, question.check)
        except BaseException:  # a bug in the check, or cancelled: the answer was paid for all the same
            usage, cost, model = self._bill(completion, current)
            self._settle(current, ABORTED, usage, cost, model)
            raise

    def _bill(self, completion: RawCompletion, current: _Try) -> tuple[Usage, float | None, str]:
        """Tokens, their cost in USD, and the model of a completion."""
        usage = completion.usage or Usage()
        # a server that bills no usage leaves the cost unknown: the reservation then counts as spent
        cost = None if completion.usage is None else cost_usd(self.ceiling.price, usage)
        return usage, cost, completion.model or current.request.model

    def _take(self, completion: RawCompletion, judgement: Judgement, current: _Try) -> ChatAnswer | float:
        """Settle an attempt that brought something."""
        (usage, cost, model), (status, text, detail, reading) = self._bill(completion, current), judgement
        if completion.usage is not None:
            self.ceiling.learn(current.estimate, usage)
        # one transaction: a kill between the two would leave an attempt that is settled and has no answer
        with self.store.transaction():
            self._settle(current, status, usage, cost, model)
            if status == INVALID and not self._is_last(current):
                return 0.0
            return self.store.conclude(current.request.request_hash, status, text, detail, model, reading)

    def _react(self, failure: AttemptFailed, current: _Try) -> ChatAnswer | float:
        """Settle an attempt that brought nothing."""
        # None: nobody knows whether it was billed, so the reservation counts as spent
        cost = None if failure.maybe_billed else 0.0
        if failure.verdict == STOP or not failure.reached_server:
            # a wrong key or a server that is down says nothing of the request, so it is not one of its attempts
            self._settle(current, ABORTED, Usage(), cost)
            if failure.verdict == STOP:
                raise LLMError(f"the run cannot go on: {failure}")
            if self.pace.found_nobody(current.began) >= self.limits.max_silences:
                raise LLMError(f"the server cannot be reached, {self.limits.max_silences} times in a row: {failure}")
            return 0.0
        with self.store.transaction():
            self._settle(current, TRANSPORT, Usage(), cost)
            # after the settlement, since the wait grows with the number of failures, this one included
            wait_s = self._wait_after(failure, current)
            if failure.verdict != FAIL and not self._is_last(current):
                return wait_s
            request = current.request
            return self.store.conclude(request.request_hash, FAILED, str(failure), model=request.model)

    def _wait_after(self, failure: AttemptFailed, current: _Try) -> float:
        """Seconds that this request waits; where the server wants less of everything, the pace waits instead."""
        failures = current.outcomes[TRANSPORT]
        wait_s = backoff_s(failures, self.limits.backoff_base_s, self.limits.max_backoff_s)
        if failure.rate_limited or failure.retry_after_s is not None:
            # the account's limit, not this request's: all wait, and this one need not wait beside that
            self.pace.slow_down(current.began, wait_s if failure.retry_after_s is None else failure.retry_after_s)
            return 0.0
        self.pace.was_reached()
        return wait_s

    def _is_last(self, current: _Try) -> bool:
        limits = self.limits
        return current.number >= limits.max_attempts or current.outcomes[INVALID] >= limits.max_invalid_attempts


class Pace:
    """Lets requests to one server through: a bounded number, fewer and later when it says that it is too much.

    A rate limit is one of the account, not of a request, so what a server says to one request holds for all. Belongs
    to one event loop.

    Args:
        max_in_flight: Requests that are on their way at any time, at most. A server that wants fewer gets half of
            them, and one more again whenever as many as are allowed have gone well: multiplicative decrease and
            additive increase, as TCP has it.
    """

    def __init__(self, max_in_flight: int):
        if max_in_flight < 1:
            raise ValueError(f"max_in_flight must be at least 1, got {max_in_flight}")
        self.max_in_flight = max_in_flight
        # not whole: it grows by a fraction with each answer, see `went_well`
        self._limit = float(max_in_flight)
        self.in_flight = 0
        self.silences = 0
        # times of `time.monotonic`: a wall clock that is set back would hold all requests for as long
        self._hold_until = 0.0
        self._last_cut = 0.0
        self._waiting: collections.deque[asyncio.Future] = collections.deque()

    @property
    def limit(self) -> int:
        """How many may be on their way now."""
        return int(self._limit)

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[float]:
        """Wait for a turn, in the order of asking, and take it.

        Yields:
            The time at which it began (`time.monotonic`, in seconds), for the methods below.
        """
        await self._enter()
        try:
            yield time.monotonic()
        finally:
            self._leave()

    async def _enter(self) -> None:
        while True:
            await self._take_place()
            try:
                # a loop, because others may lengthen the hold during the sleep
                while (hold_s := self._hold_until - time.monotonic()) > 0:
                    await asyncio.sleep(hold_s)
            except asyncio.CancelledError:
                self._leave()
                raise
            if self.in_flight <= self.limit:
                return
            self._leave()  # the limit was lowered meanwhile

    async def _take_place(self) -> None:
        # not past those that wait: turns are given in the order of asking
        if self.in_flight < self.limit and not self._waiting:
            self.in_flight += 1
            return
        place = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            await place  # `_wake` has counted it already
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():  # cancelled just after it was given its turn
                self._leave()
            raise

    def _leave(self) -> None:
        self.in_flight -= 1
        self._wake()

    def _wake(self) -> None:
        while self.in_flight < self.limit and self._waiting:
            place = self._waiting.popleft()
            # a waiter that was cancelled leaves its place in the queue
            if not place.done():
                self.in_flight += 1
                # counted above and not by the waiter: before that runs, another could take the same place
                place.set_result(None)

    def went_well(self) -> None:
        """A request was answered."""
        self.silences = 0
        if self._limit < self.max_in_flight:
            # as many answers as are allowed at a time add one request
            self._limit = min(self._limit + 1.0 / self._limit, self.max_in_flight)
            self._wake()

    def was_reached(self) -> None:
        """The server spoke, though what it said was no answer."""
        self.silences = 0

    def slow_down(self, began: float, wait_s: float) -> None:
        """The server wants fewer requests.

        The first of a crowd that set out together halves the number, each other one of them takes one off, so that a
        crowd that was far too large does not run into the limit again and again.

        Args:
            began: Time at which the request set out, as `turn` gave it.
            wait_s: Seconds in which nothing is sent.
        """
        self.silences = 0
        self._hold(wait_s)
        if began < self._last_cut:
            self._limit = max(1.0, self._limit - 1.0)
        else:
            self._limit = max(1.0, self._limit / 2.0)
            self._last_cut = time.monotonic()
            logger.info("the server wants fewer requests: %d at a time, in %.1f s", self.limit, wait_s)

    def found_nobody(self, began: float) -> int:
        """No connection could be made. All requests wait, longer each time, and then one goes ahead.

        Args:
            began: Time at which the request set out, as `turn` gave it.

        Returns:
            How many times in a row there was nobody. A crowd that set out together counts once.
        """
        if began >= self._last_cut:
            self.silences += 1
            # jitter of a quarter, so that processes that share a server do not all come back at once
            wait_s = min(_MAX_SILENCE_S, _FIRST_SILENCE_S * 2.0 ** (self.silences - 1)) * random.uniform(0.75, 1.25)
            self._limit = 1.0  # one request finds out whether the server is back; a crowd would time out together
            self._last_cut = time.monotonic()
            self._hold(wait_s)
            logger.warning("no connection to the server, trying again in %.1f s", wait_s)
        return self.silences

    def _hold(self, wait_s: float) -> None:
        # never shortened: of several waits the one that ends last counts
        self._hold_until = max(self._hold_until, time.monotonic() + wait_s)
