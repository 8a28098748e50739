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
from .client import Redactor
from .retry import RETRY, AttemptFailed, backoff_s, failure_of, shorten

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
_NOT_JSON = (json.JSONDecodeError, UnicodeDecodeError)

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
                return _object(await self._connect().files.create(file=(path.name, file), purpose="batch")).id

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
            return _object(
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
        async for batch in self._connect().batches.list(limit=_PAGE):  # newest first
            if batch.created_at < created_after - _MAX_CLOCK_DIFFERENCE_S:
                return None
            if batch.input_file_id == input_file_id and batch.status != "failed":
                return batch
        return None

    async def look(self, job_id: str) -> Batch:
        """How a job is doing."""

        async def retrieve() -> Batch:
            return _object(await self._connect().batches.retrieve(job_id))

        return await self._call(f"looking at batch job {job_id}", retrieve)

    async def download(self, file_id: str, path: Path) -> None:
        """Fetch a file. It has its name here when it is whole."""
        # a file that is there counts as whole: its requests without an answer would be settled as lost
        partial = path.with_name(f"{path.name}.partial")

        async def fetch() -> None:
            with disk_errors(partial):
                # truncated at each try: what a broken connection left is not gone on with
                file = partial.open("wb")
            with file:
                # streamed: results of 50,000 requests need not fit into memory
                async with self._connect().files.with_streaming_response.content(file_id) as response:
                    async for chunk in response.iter_bytes():
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
                return await call()
            except (openai.OpenAIError, asyncio.TimeoutError, ConnectionError, *_NOT_JSON) as error:
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


def _object(answer: Any) -> Any:
    """What a service answered with; the openai package hands on as text what says that it is no JSON."""
    if isinstance(answer, str):
        raise json.JSONDecodeError("a page and not JSON", shorten(answer, 100), 0)
    return answer


def problem_of(batch: Any, redactor: Redactor) -> tuple[str, str]:
    """The code and the words for what a service found wrong with a job.

    Args:
        batch: Job as the openai package gives it.
        redactor: Takes keys out of the words.
    """
    errors = list(getattr(batch.errors, "data", None) or [])
    if not errors:
        return "", f"the job is {batch.status}"
    words = "; ".join(f"{error.code}: {error.message}" for error in errors[:3])
    return str(errors[0].code or ""), shorten(redactor.redact(words))


def num_finished(batch: Any) -> int | None:
    """How many requests of a job the service says it has answered or failed to; None where it does not say."""
    counts = batch.request_counts
    return None if counts is None else counts.completed + counts.failed
