"""Answers questions by batch jobs, for part of the price and within a day, through cache, ledger and budget.

Every step of a job is written down before the next one is taken (`vidreason.llm.batch_jobs`), so that a run may be
killed between any two of them and the next one goes on where it was: nothing is lost, and nothing is paid for twice.
"""

from __future__ import annotations

import asyncio
import collections
import os
from collections.abc import AsyncGenerator, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import BudgetExceeded, LLMError
from .batch_files import RequestFile, line_of, locked
from .batch_jobs import JobKeeper, OpenJob, Reservation
from .batch_service import BatchService
from .chat import FAILED, INVALID, ChatAnswer, Question, QuestionSource, Usage
from .client import LONG_CHARACTERS, Judgement, OpenAIChatClient, judge
from .completions import RawCompletion
from .cost import Budget, CostCeiling, ModelPrice, TokenEstimate, cost_usd, estimate_tokens
from .retry import FAIL, STOP, AttemptFailed
from .store import ABORTED, TRANSPORT, RequestStore

_LINES_PER_TRANSACTION = 200  # a transaction per line is slow, one per file of 50,000 lines would hold up the loop
# questions hold their pictures and answers only text, so fewer of the former may lie in memory
_DRAWN_AHEAD, _YIELDED_BEHIND = 64, 1024


class BatchAnswerer:
    """An `Answerer` that gathers requests in files, one batch job each.

    A request that brought no answer, or an invalid one, goes into a later file, until it has had `max_rounds` attempts
    over all runs with the same store (each run makes at least one); truncated and refused answers are final. A job
    that the service fails as a whole has cost nothing, and is started again from the same file.

    Questions are drawn while there is room: at most `max_open_jobs` files are on their way, and what is remembered of
    a request meanwhile is its key and its check, but not its pictures.

    Args:
        client: Client of the service.
        store: Cache, ledger and jobs.
        price: Price of the model, with its discount for batches.
        budget: Money that may be spent; None sets no limit. What the store says was spent before must be in it
            already.
        folder: Folder of the files of requests and answers; they are removed when all of it is in the store. One
            folder is for one run at a time.
        max_requests_per_file: Requests in a file, at most; OpenAI's limit is 50,000.
        max_bytes_per_file: Bytes of a file, at most; OpenAI's limit is 200 MB, and the default is a little less.
        max_open_jobs: Jobs that are at the service at a time.
        completion_window: Time within which the service promises to answer, in its own words.
        poll_s: Seconds between two looks at a job.
        max_rounds: Attempts at one request.
        max_failed_jobs: Jobs that fail in a row, with which the run ends.
    """

    def __init__(
        self,
        client: OpenAIChatClient,
        store: RequestStore,
        price: ModelPrice,
        budget: Budget | None,
        folder: str | os.PathLike,
        max_requests_per_file: int = 50_000,
        max_bytes_per_file: int = 190_000_000,
        max_open_jobs: int = 8,
        completion_window: str = "24h",
        poll_s: float = 60.0,
        max_rounds: int = 3,
        max_failed_jobs: int = 3,
    ):
        if min(max_requests_per_file, max_bytes_per_file, max_open_jobs, max_rounds, max_failed_jobs) < 1:
            raise ValueError("limits of files, jobs and rounds must be at least 1")
        self.client, self.store, self.budget = client, store, budget or Budget()
        self.ceiling = CostCeiling(price, batch=True)
        self.folder = Path(folder)
        self.max_requests_per_file, self.max_bytes_per_file = max_requests_per_file, max_bytes_per_file
        self.max_open_jobs, self.poll_s = max_open_jobs, poll_s
        self.max_rounds, self.max_failed_jobs = max_rounds, max_failed_jobs
        self.service = BatchService(lambda: client.openai, client.redactor, completion_window)

    async def answer_all(self, questions: Iterable[Question]) -> AsyncGenerator[tuple[Any, ChatAnswer], None]:
        """Yield (key, answer) pairs as jobs end; see `vidreason.llm.chat.Answerer`.

        A caller that leaves early leaves the jobs to the service, and finds their answers when asking the same
        questions again.

        Args:
            questions: Any number of questions.
        """
        run = _Run(self, questions)
        try:
            while (pair := await run.results.get()) is not None:
                run.room.release()  # on being taken out: the caller may hold the loop for as long as it likes
                yield pair
        finally:
            await run.close()
        if run.error is not None:
            raise run.error


@dataclass(eq=False)
class _Pending:
    """What is remembered of a request until its answer is here."""

    check: Callable[[str], object]
    keys: list[Any]
    model: str
    estimate: TokenEstimate


@dataclass(eq=False)
class _Draft:
    """A file that is being written, for one model, since a service takes no others beside it."""

    file: RequestFile
    reservations: dict[str, Reservation]


class _Run:
    """One call of `answer_all`: a task that fills files, and one for each job that fetches its answers."""

    def __init__(self, answerer: BatchAnswerer, questions: Iterable[Question]):
        self.settings, self.store, self.budget = answerer, answerer.store, answerer.budget
        self.error: Exception | None = None
        self.results: asyncio.Queue[tuple[Any, ChatAnswer] | None] = asyncio.Queue()
        self.room = asyncio.Semaphore(_YIELDED_BEHIND)  # for results that are not yielded yet
        self._leaving = False
        self._pending: dict[str, _Pending] = {}
        self._again: collections.deque[tuple[str, OpenJob]] = collections.deque()
        self._drafts: dict[str, _Draft] = {}
        self._holders: dict[str, OpenJob] = {}  # requests in the jobs of earlier runs
        self._unsent: set[OpenJob] = set()  # jobs of earlier runs that the service does not know, as far as we know
        self._jobs: dict[OpenJob, asyncio.Task[None]] = {}
        self._keeper = JobKeeper(
            *(answerer.store, answerer.budget, answerer.service, answerer.folder),
            *(answerer.poll_s, answerer.max_failed_jobs),
        )
        self._source = QuestionSource(questions, max_ahead=_DRAWN_AHEAD)
        self._main = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Stop, and leave what is at the service to a later run."""
        self._interrupt()
        await asyncio.gather(self._main, return_exceptions=True)

    def _interrupt(self) -> None:
        if not self._leaving:
            self._main.cancel()

    async def _run(self) -> None:
        try:
            with locked(self.settings.folder):
                try:
                    await self._feed()
                finally:
                    self._leaving = True
                    await self._leave()
        except asyncio.CancelledError:
            if self.error is None:
                raise
        except Exception as error:
            self.error = self.error or error
        finally:
            self._leaving = True
            await self._source.close()
            self.results.put_nowait(None)

    async def _leave(self) -> None:
        for task in self._jobs.values():
            task.cancel()
        open_jobs = list(self._jobs)
        await asyncio.gather(*self._jobs.values(), return_exceptions=True)
        self._keeper.leave(open_jobs)
        for draft in self._drafts.values():
            draft.file.discard()
            for reservation in draft.reservations.values():
                # never sent, so nothing of it is spent
                self.budget.settle(reservation.usd, 0.0)

    # files

    async def _feed(self) -> None:
        """Draw all questions, and ask again what has to be, until everything is answered."""
        # jobs of earlier runs first, so that no question of theirs is put into a second file and paid for twice
        for job in self._keeper.resume():
            self._holders |= dict.fromkeys(job.attempts, job)
            if job.may_be_paid_for:
                self._begin(job)
            else:
                self._unsent.add(job)
        while (question := await self._source.draw()) is not None:
            await self._ask_again()
            await self._take_in(question)
        while True:  # what comes back invalid goes into further files, until nothing is left
            await self._ask_again()
            await self._send_drafts()
            self._give_up_unasked()
            if not self._jobs and not self._again:
                return
            await self._wait_for_change()

    async def _take_in(self, question: Question) -> None:
        """Find out what a question needs: nothing, an answer that is on its way, or to be asked."""
        request, request_hash = question.request, question.request.request_hash
        if request_hash in self._pending:
            self._pending[request_hash].keys.append(question.key)
            return
        answer = self.store.answer(request_hash)
        if answer is not None:
            await self._yield(question.key, answer)
            return
        # from here on the request is let go: its pictures, kept for 50,000 of them, would fill the memory
        estimate = estimate_tokens(request)
        self._pending[request_hash] = _Pending(question.check, [question.key], request.model, estimate)
        job = self._holders.get(request_hash)
        if job is None or request_hash not in job.attempts:
            await self._write(request_hash, self.settings.client.adapt(request.payload), estimate)
        elif job in self._unsent:
            self._unsent.remove(job)
            self._begin(job)
        elif job.outcomes is not None:
            await self._take(job, [request_hash])

    async def _ask_again(self) -> None:
        while self._again:
            request_hash, job = self._again.popleft()
            # adapted anew: what the service has objected to meanwhile is left out this time
            body = self.settings.client.adapt(job.body(request_hash))
            await self._write(request_hash, body, self._pending[request_hash].estimate)
            job.num_again -= 1
            self._keeper.close(job)

    async def _write(self, request_hash: str, body: dict[str, Any], estimate: TokenEstimate) -> None:
        """Add a request to a file, and send the file where it is full."""
        settings, model, line = self.settings, body["model"], line_of(request_hash, body)
        if len(line) > settings.max_bytes_per_file:
            raise LLMError(f"a request has {len(line)} bytes, and a batch file may have {settings.max_bytes_per_file}")
        # as each line is written: a file of 50,000 must fit under the cap before it is sent
        usd = await self._reserve(settings.ceiling.cost_usd(estimate))
        if model in self._drafts and not self._drafts[model].file.has_room(line):
            await self._send(model)
        if model not in self._drafts:
            file = RequestFile(settings.folder, settings.max_requests_per_file, settings.max_bytes_per_file)
            self._drafts[model] = _Draft(file, {})
        draft = self._drafts[model]
        draft.file.add(request_hash, line)
        draft.reservations[request_hash] = Reservation(usd, estimate.prompt_tokens)

    async def _reserve(self, usd: float) -> float:
        """Set money aside. Where only what is on its way leaves too little, wait: most of that comes back."""
        while True:
            try:
                return self.budget.reserve(usd)
            except BudgetExceeded:
                if not self._drafts and not self._jobs:
                    raise
            # money held by a draft can come back only when the draft has been sent and answered
            if self._drafts:
                await self._send_drafts()
            else:
                await self._wait_for_change()

    async def _send_drafts(self) -> None:
        for model in list(self._drafts):
            await self._send(model)

    async def _send(self, model: str) -> None:
        """Make a job of a file, when there is room for one more."""
        while len(self._jobs) >= self.settings.max_open_jobs:
            await self._wait_for_change()
        draft = self._drafts.pop(model)
        self._begin(self._keeper.write_down(draft.file, model, draft.reservations))

    async def _wait_for_change(self) -> None:
        # callers look at the state with no await before this, so that no change is missed
        self._keeper.changed.clear()
        await self._keeper.changed.wait()

    # jobs

    def _begin(self, job: OpenJob) -> None:
        task = self._jobs[job] = asyncio.create_task(self._tend(job))
        task.add_done_callback(lambda _: self._ended(job))  # a task that is cancelled early never runs

    def _ended(self, job: OpenJob) -> None:
        del self._jobs[job]
        self._keeper.changed.set()

    async def _tend(self, job: OpenJob) -> None:
        """Fetch the answers of a job, and take those whose questions are here."""
        try:
            await self._keeper.fetch(job)
            asked = [name for name in job.attempts if name in self._pending or self.store.answer(name) is not None]
            await self._take(job, asked)
        except Exception as error:
            self.error = self.error or error
            self._interrupt()

    def _give_up_unasked(self) -> None:
        """Leave jobs of earlier runs none of whose requests this run wants, and drop those that were never sent."""
        while self._unsent:
            self._keeper.drop(self._unsent.pop())
        for job, task in self._jobs.items():
            is_waiting = job.resumed and job.outcomes is None
            if is_waiting and not any(request_hash in self._pending for request_hash in job.attempts):
                task.cancel()

    async def _take(self, job: OpenJob, request_hashes: list[str]) -> None:
        """Judge what came back for some requests of a job, and hand the answers on.

        Raises:
            LLMError: no request will go well.
        """
        stops: list[AttemptFailed] = []
        for start in range(0, len(request_hashes), _LINES_PER_TRANSACTION):
            chunk = request_hashes[start : start + _LINES_PER_TRANSACTION]
            judgements = await self._judge_long(job, chunk)
            with self.store.transaction():
                answers = {
                    name: self._settle(job, name, judgements.get(name), stops)
                    for name in chunk
                    if name in job.attempts
                }
            again = [name for name, answer in answers.items() if answer is None and name in self._pending]
            self._again.extend((name, job) for name in again)
            job.num_again += len(again)
            for request_hash, answer in answers.items():
                await self._hand_on(request_hash, answer)
            await asyncio.sleep(0)  # files are large, and other jobs want to be looked at in between
        self._keeper.close(job)
        if stops:
            raise LLMError(f"the run cannot go on: {stops[0]}")

    async def _hand_on(self, request_hash: str, answer: ChatAnswer | None) -> None:
        if answer is not None:
            for key in self._pending.pop(request_hash).keys:
                await self._yield(key, answer)

    async def _yield(self, key: Any, answer: ChatAnswer) -> None:
        await self.room.acquire()
        self.results.put_nowait((key, answer))

    async def _judge_long(self, job: OpenJob, request_hashes: list[str]) -> dict[str, Judgement]:
        """Check the long answers among what came back, in a thread, since they may take their time."""
        checks = {
            name: (outcome, pending.check)
            for name in request_hashes
            if isinstance(outcome := job.outcome(name), RawCompletion) and len(outcome.text) > LONG_CHARACTERS
            # a request that has been answered in another way meanwhile is settled, and its answer stays as it is
            if (pending := self._pending.get(name)) is not None
        }

        def judge_all() -> dict[str, Judgement]:
            return {name: judge(outcome, check) for name, (outcome, check) in checks.items()}

        return await asyncio.to_thread(judge_all) if checks else {}

    def _settle(
        self, job: OpenJob, request_hash: str, judgement: Judgement | None, stops: list[AttemptFailed]
    ) -> ChatAnswer | None:
        """Write down what became of a request. Returns its answer, or None where it is to be asked again."""
        outcome = job.outcome(request_hash)
        if isinstance(outcome, RawCompletion):
            return self._settle_completion(job, request_hash, outcome, judgement)
        cost = None if outcome.maybe_billed else 0.0
        if outcome.verdict == STOP:  # raised when the whole file has been settled: its other answers are paid for
            stops.append(outcome)
        self._keeper.settle(job, request_hash, ABORTED if outcome.verdict == STOP else TRANSPORT, Usage(), cost)
        if request_hash not in self._pending or outcome.verdict == STOP:
            return None
        # a field that the service objects to can be left out of the next file
        can_succeed = outcome.verdict != FAIL or self.settings.client.learn(job.body(request_hash), 400, str(outcome))
        if can_succeed and not self._is_last(request_hash):
            return None
        return self.store.conclude(request_hash, FAILED, str(outcome), model=self._pending[request_hash].model)

    def _settle_completion(
        self, job: OpenJob, request_hash: str, completion: RawCompletion, judgement: Judgement | None
    ) -> ChatAnswer | None:
        pending, usage = self._pending.get(request_hash), completion.usage or Usage()
        if judgement is None:
            judgement = judge(completion, pending.check if pending else lambda _: None)
        status, text, detail, reading = judgement
        # without usage nobody knows what was billed, and the reservation counts as spent
        cost = None if completion.usage is None else cost_usd(self.settings.ceiling.price, usage, batch=True)
        self._keeper.settle(job, request_hash, status, usage, cost, completion.model)
        if pending is None:
            return None
        if completion.usage is not None:
            self.settings.ceiling.learn(pending.estimate, usage)
        if status == INVALID and not self._is_last(request_hash):
            return None
        return self.store.conclude(request_hash, status, text, detail, completion.model, reading)

    def _is_last(self, request_hash: str) -> bool:
        attempts = self.store.attempts_of(request_hash)
        return sum(attempt.counts for attempt in attempts) >= self.settings.max_rounds
