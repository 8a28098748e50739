"""One question to one server, attempt by attempt: what is reserved, written down, settled and tried again."""

from __future__ import annotations

import asyncio
import collections
import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from ..errors import BudgetExceeded, LLMError
from .budget import Budget, CostCeiling
from .chat import FAILED, INVALID, ChatAnswer, ChatRequest, Question, Usage
from .client import ChatClient, RawCompletion, judge
from .pace import Pace
from .pricing import cost_usd
from .retry import FAIL, STOP, AttemptFailed, backoff_s
from .store import ABORTED, ONLINE, TRANSPORT, RequestStore
from .tokens import TokenEstimate, estimate_tokens


@dataclass(frozen=True)
class RetryLimits:
    """How often things are tried. Attempts and invalid answers are those of one request over all runs."""

    max_attempts: int = 4
    max_invalid_attempts: int = 2
    max_silences: int = 6
    backoff_base_s: float = 0.5
    max_backoff_s: float = 30.0

    def __post_init__(self):
        if min(self.max_attempts, self.max_invalid_attempts, self.max_silences) < 1:
            raise ValueError("max_attempts, max_invalid_attempts and max_silences must be at least 1")


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
        client: whom to ask.
        store: cache and ledger.
        ceiling: the most that a request can cost; it learns from the bills.
        budget: what may be spent.
        pace: when requests may go out.
        limits: how often.
        uninterrupted: a context around what must not be cancelled just because the run ends.
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

        Raises:
            LLMError: no request will go well; BudgetExceeded among them.
        """
        request = question.request
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
        async with self.pace.turn() as current.began:
            current.reserved_usd = await self._reserve(current.estimate)
            with self._uninterrupted(), self._opened(current):
                try:
                    completion = await self.client.complete_once(current.request)
                except AttemptFailed as error:
                    failure = error
                except BaseException:  # cancelled, or a bug in the client: nobody knows what it cost
                    self._settle(current, ABORTED, Usage(), None)
                    raise
                else:
                    return self._take(completion, question, current)
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
            self._settled.clear()
            await self._settled.wait()

    @contextlib.contextmanager
    def _opened(self, current: _Try) -> Iterator[None]:
        """The time between an attempt's first and last line in the ledger."""
        request, estimate = current.request, current.estimate
        self._num_open += 1
        try:
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
        current.outcomes[outcome] += outcome != ABORTED

    def _take(self, completion: RawCompletion, question: Question, current: _Try) -> ChatAnswer | float:
        """Settle an attempt that brought something."""
        self.pace.went_well()
        usage, model = completion.usage or Usage(), completion.model or current.request.model
        cost = None if completion.usage is None else cost_usd(self.ceiling.price, usage)
        try:
            status, text, detail = judge(completion, question.check)
        except Exception:
            self._settle(current, ABORTED, usage, cost, model)
            raise
        if completion.usage is not None:
            self.ceiling.learn(current.estimate, usage)
        with self.store.transaction():
            self._settle(current, status, usage, cost, model)
            if status == INVALID and not self._is_last(current):
                return 0.0
            return self.store.conclude(current.request.request_hash, status, text, detail, model)

    def _react(self, failure: AttemptFailed, current: _Try) -> ChatAnswer | float:
        """Settle an attempt that brought nothing."""
        cost = None if failure.maybe_billed else 0.0
        if failure.verdict == STOP or not failure.reached_server:
            self._settle(current, ABORTED, Usage(), cost)
            if failure.verdict == STOP:
                raise LLMError(f"the run cannot go on: {failure}")
            if self.pace.found_nobody(current.began) >= self.limits.max_silences:
                raise LLMError(f"the server cannot be reached, {self.limits.max_silences} times in a row: {failure}")
            return 0.0
        with self.store.transaction():
            self._settle(current, TRANSPORT, Usage(), cost)
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
            self.pace.slow_down(current.began, wait_s if failure.retry_after_s is None else failure.retry_after_s)
            return 0.0
        self.pace.was_reached()
        return wait_s

    def _is_last(self, current: _Try) -> bool:
        limits = self.limits
        return current.number >= limits.max_attempts or current.outcomes[INVALID] >= limits.max_invalid_attempts
