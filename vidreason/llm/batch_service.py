"""The calls of a batch service (upload, create, look, download), each tried again while it may yet go well."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import LLMError
from .batch_files import ENDPOINT, disk_errors
from .completions import Redactor
from .retry import RETRY, AttemptFailed, BodyTooLong, NoJson, backoff_s, failure_of, shorten

if TYPE_CHECKING:
    from openai import AsyncOpenAI
    from openai.types import Batch

logger = logging.getLogger(__name__)

# expired and cancelled jobs may have results too, of the requests done until then
FINAL_STATUSES = ("completed", "failed", "expired", "cancelled")

_MAX_CLOCK_DIFFERENCE_S = 24 * 3600.0  # of this machine and the service; a wrong time zone is within it
_MAX_BACKOFF_S = 60.0  # jobs take hours, so a minute of patience with a server that restarts costs nothing
# jobs; the most that OpenAI lists at once
_PAGE = 100
_MAX_JOBS = 10_000  # looked through for one of ours: a service may list without end
# of a call in all, since a service that sends a byte now and then runs into no time-out of a read
_MAX_CALL_S = 3600.0
# of a file of answers, in bytes for each of its requests, and in all
_MAX_BYTES_PER_REQUEST, _MAX_FILE_BYTES = 2**20, 4 * 2**30
_MAX_ID_CHARACTERS = 500
_UNREADABLE = (json.JSONDecodeError, UnicodeDecodeError, BodyTooLong, NoJson, RecursionError)

Result = TypeVar("Result")


class BatchService:
    """Files and batch jobs of an OpenAI-compatible server.

    Args:
        connect: Function that gives the client of the openai package for the running event loop.
        redactor: Takes keys out of the service's words.
        completion_window: Time within which the service promises to answer, in its own words.
        max_tries: Tries of a call that fails for reasons that pass, such as a broken connection.
        backoff_base_s: Upper bound in seconds of the first wait, see `vidreason.llm.retry.backoff_s`.
    """

    def __init__(
        self,
        connect: Callable[[], AsyncOpenAI],
        redactor: Redactor,
        completion_window: str = "24h",
        # at most about three minutes of waiting in all, where the service names no wait
        max_tries: int = 10,
        backoff_base_s: float = 0.5,
    ):
        self._connect = connect
        self.redactor = redactor
        self.completion_window = completion_window
        self.max_tries = max_tries
        self.backoff_base_s = backoff_base_s

    async def upload(self, path: Path) -> str:
        """Send a file of requests. Returns its id at the service."""

        async def send() -> str:
            # opened anew at each try, which sends the file from its start
            with path.open("rb") as file:
                file_object = await self._connect().files.create(file=(path.name, file), purpose="batch")
                return _id(getattr(file_object, "id", None), file_object)

        return await self._call(f"uploading {path.name}", send)

    async def create(self, input_file_id: str, name: str, created_after: float, may_exist: bool) -> Batch:
        """Start the job of an uploaded file, once: a job that an earlier call started unknown to us is found instead.

        Args:
            input_file_id: Id of the file at the service; a file has one job at most.
            name: Name of the file, which people see in the service's list of jobs.
            created_after: Unix time in seconds before which the job cannot have been made.
            may_exist: Whether there may have been an earlier call.
        """

        async def start() -> Batch:
            nonlocal may_exist
            found = await self._find(input_file_id, created_after) if may_exist else None
            may_exist = True  # the call below can go well although we do not hear of it
            if found is not None:
                return found
            return _job(
                await self._connect().batches.create(
                    input_file_id=input_file_id,
                    endpoint=ENDPOINT,
                    # the package knows OpenAI's one window; other services have others
                    completion_window=self.completion_window,  # type: ignore[arg-type]
                    metadata={"made_by": "vidreason", "file": name},
                )
            )

        return await self._call(f"starting the batch job of {name}", start)

    async def _find(self, input_file_id: str, created_after: float) -> Batch | None:
        """The job of an uploaded file. One that failed has answered nothing, and stands in nobody's way."""
        number = 0
        async for batch in self._connect().batches.list(limit=_PAGE):  # newest first
            number += 1
            created_at = batch.created_at if isinstance(batch.created_at, int | float) else created_after
            if created_at < created_after - _MAX_CLOCK_DIFFERENCE_S or number > _MAX_JOBS:
                return None
            if batch.input_file_id == input_file_id and batch.status != "failed":
                return _job(batch)
        return None

    async def look(self, job_id: str) -> Batch:
        """How a job is doing."""

        async def retrieve() -> Batch:
            return _job(await self._connect().batches.retrieve(job_id))

        return await self._call(f"looking at batch job {job_id}", retrieve)

    async def download(self, file_id: str, path: Path, num_requests: int) -> None:
        """Fetch a file. It has its name here when it is whole.

        Args:
            file_id: Id of the file at the service.
            path: Where it goes.
            num_requests: Number of requests that it answers, by which its size is bounded.

        Raises:
            LLMError: it cannot be fetched, or is longer than answers to so many requests can be.
        """
        max_bytes = min(_MAX_FILE_BYTES, _MAX_BYTES_PER_REQUEST * (num_requests + 1))
        # a file that is there counts as whole: its requests without an answer would be settled as lost
        partial = path.with_name(f"{path.name}.partial")

        async def fetch() -> None:
            with disk_errors(partial):
                # truncated at each try: what a broken connection left is not gone on with
                file = partial.open("wb")
            with file:
                size = 0
                # streamed: results of 50,000 requests need not fit into memory
                async with self._connect().files.with_streaming_response.content(file_id) as response:
                    async for chunk in response.iter_bytes():
                        size += len(chunk)
                        if size > max_bytes:
                            raise BodyTooLong(f"the file is longer than {max_bytes} bytes")
                        with disk_errors(partial):
                            file.write(chunk)
            os.replace(partial, path)

        await self._call(f"downloading {file_id}", fetch)

    async def _call(self, what: str, call: Callable[[], Awaitable[Result]]) -> Result:
        """Make a call until it goes well.

        Raises:
            LLMError: it never will, or not within `max_tries`.
        """
        import openai

        for number in range(1, self.max_tries + 1):
            try:
                return await _within(call(), _MAX_CALL_S)
            except (openai.OpenAIError, asyncio.TimeoutError, ConnectionError, *_UNREADABLE) as error:
                failure = failure_of(error, redact=self.redactor.redact)
            if failure.verdict != RETRY or number == self.max_tries:
                break
            await asyncio.sleep(self._wait_s(failure, number, what))
        raise LLMError(f"{what}: {failure}")  # out here, so that the error knows no request with its headers

    def _wait_s(self, failure: AttemptFailed, number: int, what: str) -> float:
        wait_s = failure.retry_after_s
        if wait_s is None:
            wait_s = backoff_s(number, self.backoff_base_s, _MAX_BACKOFF_S)
        logger.warning("%s: %s; trying again in %.1f s", what, failure, wait_s)
        return wait_s


async def _within(call: Awaitable[Result], timeout_s: float) -> Result:
    """What a call gives, or TimeoutError. Not `wait_for`, which up to Python 3.11 can swallow a cancellation."""
    task = asyncio.ensure_future(call)
    try:
        await asyncio.wait({task}, timeout=timeout_s)
        if not task.done():
            raise asyncio.TimeoutError
        return task.result()
    finally:
        task.cancel()  # nothing, where it is done
        await asyncio.gather(task, return_exceptions=True)


def _id(value: Any, answer: Any) -> str:
    """An id from a service's answer, which the openai package hands on as it is, whatever its type."""
    if not isinstance(value, str) or not 0 < len(value) <= _MAX_ID_CHARACTERS:
        what = "a page and not JSON" if isinstance(answer, str) else "no id in the answer"
        raise NoJson(f"{what}: {str(answer)[:100]!r}")
    return value


def _job(answer: Any) -> Any:
    """A service's answer, if it is a job with an id, a state, and files that have ids.

    Raises:
        NoJson: it is none.
    """
    _id(getattr(answer, "id", None), answer)
    for file_id in (answer.output_file_id, answer.error_file_id):
        if file_id:
            _id(file_id, answer)
    if not isinstance(answer.status, str) or len(answer.status) > _MAX_ID_CHARACTERS:
        raise NoJson(f"a job without a status: {str(answer)[:100]!r}")
    return answer


def problem_of(batch: Any, redactor: Redactor) -> tuple[str, str]:
    """The code and the words for what a service found wrong with a job.

    Args:
        batch: Job as the openai package gives it.
        redactor: Takes keys out of the words.
    """
    data = getattr(batch.errors, "data", None)
    errors = data if isinstance(data, list) else []
    if not errors:
        return "", f"the job is {batch.status}"
    said = [(getattr(error, "code", None), getattr(error, "message", None)) for error in errors[:3]]
    words = "; ".join(f"{str(code)[:100]}: {str(message)[:2000]}" for code, message in said)
    return str(said[0][0] or "")[:100], shorten(redactor.redact(words))


def num_finished(batch: Any) -> int | None:
    """How many requests of a job the service says it has answered or failed to; None where it does not say."""
    counts = batch.request_counts
    completed, failed = getattr(counts, "completed", None), getattr(counts, "failed", None)
    return completed + failed if isinstance(completed, int) and isinstance(failed, int) else None
