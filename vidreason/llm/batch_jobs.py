"""Batch jobs between the ledger and the service: written down, started, watched, fetched, settled.

A job goes through the states below, each written down before the next step is taken.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import LLMError
from .batch_files import (
    Outcome,
    RequestFile,
    errors_path,
    find_offsets,
    output_path,
    read_body,
    read_outcomes,
    remove_files,
    remove_strays,
)
from .batch_service import FINAL_STATUSES, BatchService, num_finished, problem_of
from .chat import Usage
from .cost import Budget
from .retry import AttemptFailed
from .store import ABORTED, BATCH, BATCH_JOB_OVER, BatchJob, RequestStore

logger = logging.getLogger(__name__)

WRITTEN, UPLOADED, CREATED = "written", "uploaded", "created"
"""`written`: the file is on this machine and its requests in the ledger. `uploaded`: the service has the file.
`created`: the job's id is known."""

DOWNLOADED, DOWNLOADED_IN_PART = "downloaded", "downloaded in part"
"""The answers are on this machine, where they wait for their questions; in part, where the service says that it has
answered more than it gave."""

# OpenAI's code for a queue with as many tokens waiting as the account may have
_NO_ROOM = "token_limit_exceeded"
_NO_CREDIT = ("billing_hard_limit_reached", "insufficient_quota", "billing_not_active")


@dataclass(eq=False)
class OpenJob:
    """A job that is not over.

    Args:
        record: What the store knows of it.
        path: File of its requests.
        attempts: For each request that is not settled, the number of its attempt in the ledger and the money reserved
            for it in USD.
        resumed: Whether an earlier run began it, so that its reservations are in the budget as spent.
        offsets: Where each request's line begins in the file, in bytes; None until it is wanted.
        outcomes: What came back by request hash; None until it has.
        num_again: Number of requests that are to be asked again and are still to be copied from its file.
    """

    record: BatchJob
    path: Path
    attempts: dict[str, tuple[int, float]]
    resumed: bool = False
    offsets: dict[str, int] | None = None
    outcomes: dict[str, Outcome] | None = None
    num_again: int = 0

    @property
    def is_over(self) -> bool:
        """Whether all its requests are settled."""
        return self.record.state == BATCH_JOB_OVER

    @property
    def may_be_paid_for(self) -> bool:
        """Whether the service has been told to work on it."""
        return self.record.state not in (WRITTEN, UPLOADED)

    def outcome(self, request_hash: str) -> Outcome:
        """What came back for a request."""
        lost = AttemptFailed(
            "the batch job brought neither an answer nor an error",
            maybe_billed=self.record.state == DOWNLOADED_IN_PART,
        )
        return (self.outcomes or {}).get(request_hash, lost)

    def body(self, request_hash: str) -> dict[str, Any]:
        """The body of a request, from the file."""
        if self.offsets is None:
            self.offsets = find_offsets(self.path)
        return read_body(self.path, self.offsets[request_hash])


@dataclass(frozen=True)
class Reservation:
    """What was set aside for a request that is about to be written down."""

    usd: float
    prompt_tokens: int


@dataclass(eq=False)
class JobKeeper:
    """Takes jobs from state to state.

    Args:
        store: Ledger and jobs.
        budget: Money that may be spent.
        service: Service of the batch jobs.
        folder: Folder of the files.
        poll_s: Seconds between two looks at a job.
        max_failed_jobs: Jobs that fail in a row, after which it gives up.
        at_service: Jobs that the service is at work on.
        changed: Set when a job has ended, so that others can be begun.
    """

    store: RequestStore
    budget: Budget
    service: BatchService
    folder: Path
    poll_s: float
    max_failed_jobs: int
    at_service: set[OpenJob] = field(default_factory=set)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    _num_failed: int = 0

    # the ledger

    def write_down(self, file: RequestFile, model: str, reservations: Mapping[str, Reservation]) -> OpenJob:
        """Make a job of a file that is whole. From here on its requests count as spent, and will be asked.

        Args:
            file: Requests of one model.
            model: Name of the model.
            reservations: What was set aside for each request, by its hash.
        """
        file.finish()  # before the ledger: attempts without a file could never be sent or settled
        reserved_usd = sum(reservation.usd for reservation in reservations.values())
        record = BatchJob("", "", file.path.name, list(reservations), WRITTEN, reserved_usd)
        attempts = {}
        with self.store.transaction():
            # all attempts and their job, or none: attempts alone could never be settled
            for request_hash, money in reservations.items():
                number = self.store.begin_attempt(request_hash, model, BATCH, money.usd, money.prompt_tokens)
                attempts[request_hash] = (number, money.usd)
            self.store.add_batch_job(record)
        return OpenJob(record, file.path, attempts, offsets=file.offsets)

    def resume(self) -> list[OpenJob]:
        """The jobs that earlier runs left open, and that have their files here."""
        records = self.store.batch_jobs(open_only=True)
        here = [record for record in records if (self.folder / record.path).is_file()]
        remove_strays(self.folder, [record.path for record in here])
        if len(here) < len(records):
            logger.warning(
                "%d batch jobs of %s have their files elsewhere and are left alone",
                *(len(records) - len(here), self.store.path),
            )
        jobs: list[OpenJob] = []
        claimed: set[str] = set()
        for record in reversed(here):  # an open attempt is of the newest job with its request
            attempts: dict[str, tuple[int, float]] = {}
            for request_hash in set(record.request_hashes) - claimed:
                attempts |= self._open_attempt(request_hash)
            claimed.update(record.request_hashes)
            job = OpenJob(record, self.folder / record.path, attempts, resumed=True)
            if attempts:
                jobs.append(job)
            else:  # killed when all was settled
                self.close(job)
        return jobs[::-1]

    def _open_attempt(self, request_hash: str) -> dict[str, tuple[int, float]]:
        for attempt in reversed(self.store.attempts_of(request_hash)):
            if attempt.is_open and attempt.channel == BATCH:
                return {request_hash: (attempt.attempt_id, attempt.reserved_usd)}
        return {}

    def settle(
        self, job: OpenJob, request_hash: str, outcome: str, usage: Usage, cost_usd: float | None, model: str = ""
    ) -> None:
        """Write down what became of a request of a job.

        Args:
            job: Job that it was in.
            request_hash: Hash of the request.
            outcome: One of `store.OUTCOMES`.
            usage: Tokens as billed.
            cost_usd: Cost in USD; None where it is not known.
            model: Name of the model as the service gives it.
        """
        number, reserved_usd = job.attempts.pop(request_hash)
        self.store.settle_attempt(number, outcome, usage, cost_usd, model)
        if not job.resumed:
            self.budget.settle(reserved_usd, cost_usd)
        elif cost_usd is not None:  # the reservation was in the budget as spent from the start
            self.budget.settle(0.0, cost_usd - reserved_usd)

    def close(self, job: OpenJob) -> None:
        """End a job whose requests are all settled, and take its files away unless something is still to be copied."""
        if job.attempts:
            return
        if not job.is_over:
            self._enter(job, BATCH_JOB_OVER)
        if not job.num_again:
            remove_files(job.path)

    def drop(self, job: OpenJob) -> None:
        """Forget a job that was written down and never sent. One that was uploaded may have been started: it stays."""
        if job.record.state == WRITTEN:
            self._abort(job)

    def _abort(self, job: OpenJob) -> None:
        """End a job that has cost nothing and has answered nothing."""
        with self.store.transaction():
            for request_hash in list(job.attempts):
                self.settle(job, request_hash, ABORTED, Usage(), 0.0)
            self._enter(job, BATCH_JOB_OVER)
        remove_files(job.path)

    def leave(self, jobs: Iterable[OpenJob]) -> None:
        """Leave jobs to the service and to a later run: what they may cost counts as spent."""
        for job in jobs:
            for _, reserved_usd in job.attempts.values() if not job.resumed else ():
                self.budget.settle(reserved_usd, None)

    def _enter(self, job: OpenJob, state: str) -> None:
        job.record.state = state
        self.store.update_batch_job(job.record)

    # the service

    async def fetch(self, job: OpenJob) -> None:
        """Do what is left to do until the job's outcomes are here.

        Raises:
            LLMError: the service cannot be reached, or fails one job after the other.
        """
        record, may_exist = job.record, job.resumed
        if record.state == WRITTEN:
            # a kill just after this has the file uploaded again, which costs nothing
            record.input_file_id = await self.service.upload(job.path)
            self._enter(job, UPLOADED)
        while record.state in (UPLOADED, CREATED):
            if record.state == UPLOADED:
                # a run that was killed just here may have started the job: it is looked for before it is started
                batch = await self.service.create(record.input_file_id, job.path.name, record.created_at, may_exist)
                record.job_id = batch.id
                self._enter(job, CREATED)
            with self._watched(job):
                batch = await self._wait_for_end(record.job_id)
            # a job with a file of results was worked on and may have been billed: it is not made again
            if batch.status == "failed" and not batch.output_file_id and not batch.error_file_id:
                await self._start_over(job, batch)
                may_exist = False
            else:
                await self._download(job, batch)
        # up to 50,000 lines of JSON would hold up the loop
        job.outcomes = await asyncio.to_thread(read_outcomes, job.path, self.service.redactor)

    @contextlib.contextmanager
    def _watched(self, job: OpenJob):
        self.at_service.add(job)
        try:
            yield
        finally:
            self.at_service.discard(job)

    async def _wait_for_end(self, job_id: str) -> Any:
        seen = None
        while True:
            batch = await self.service.look(job_id)
            done = num_finished(batch)
            if (batch.status, done) != seen:
                logger.info("batch job %s is %s, %s requests done", job_id, batch.status, done)
            seen = (batch.status, done)
            if batch.status in FINAL_STATUSES:
                return batch
            await asyncio.sleep(self.poll_s)

    async def _download(self, job: OpenJob, batch: Any) -> None:
        """Fetch the answers of a job that has ended, in whatever way."""
        num_requests = len(job.record.request_hashes)
        if batch.output_file_id:
            await self.service.download(batch.output_file_id, output_path(job.path), num_requests)
        # the state changes only after both files: a kill in between has them fetched again, for nothing
        if batch.error_file_id:
            await self.service.download(batch.error_file_id, errors_path(job.path), num_requests)
        num_lines = len(await asyncio.to_thread(read_outcomes, job.path, self.service.redactor))
        finished = num_finished(batch)
        in_part = num_lines < len(job.record.request_hashes) and (finished is None or finished > num_lines)
        if batch.status != "completed" or num_lines < len(job.record.request_hashes):
            logger.warning(
                "batch job %s is %s, with %d of %d requests",
                *(batch.id, batch.status, num_lines, len(job.record.request_hashes)),
            )
        self._num_failed = 0
        # in part: an answer that the service counts and does not give may have been billed
        self._enter(job, DOWNLOADED_IN_PART if in_part else DOWNLOADED)

    async def _start_over(self, job: OpenJob, batch: Any) -> None:
        """Have a job that failed as a whole, and so cost nothing, made again from the same file.

        Raises:
            LLMError: too many have failed in a row.
        """
        code, words = problem_of(batch, self.service.redactor)
        # a full queue is no failure while jobs of our own fill it: room comes when one of them ends
        waits = code == _NO_ROOM and bool(self.at_service)
        self._num_failed += not waits
        if code in _NO_CREDIT or self._num_failed >= self.max_failed_jobs:
            self._abort(job)
            advice = "; smaller files may help (max_requests_per_file)" if code == _NO_ROOM else ""
            raise LLMError(f"the batch service fails job {batch.id}, {self._num_failed} in a row: {words}{advice}")
        logger.warning("batch job %s failed and is started again: %s", batch.id, words)
        job.record.job_id = ""
        self._enter(job, UPLOADED)
        if not waits:
            return await asyncio.sleep(self.poll_s)
        self.changed.clear()
        room = asyncio.ensure_future(self.changed.wait())  # it comes when another job ends
        try:  # not `wait_for`, which up to Python 3.11 can swallow a cancellation
            await asyncio.wait({room}, timeout=self.poll_s)
        finally:
            room.cancel()
