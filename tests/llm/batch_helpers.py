"""Runs of batch jobs in tests: to their end, or until they are left or killed at a chosen step."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import os
import signal
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from llm_doubles import make_question

from vidreason.llm import batch_jobs
from vidreason.llm.batch import BatchAnswerer
from vidreason.llm.batch_files import RequestFile
from vidreason.llm.batch_service import BatchService
from vidreason.llm.chat import ChatAnswer, Question
from vidreason.llm.client import OpenAIChatClient
from vidreason.llm.cost import Budget, price_of
from vidreason.llm.store import RequestStore
from vidreason.llm.testing.chat_server import ChatServer

PRICE = price_of("gpt-4.1-mini")
STEPS = [
    *((RequestStore, name) for name in ("add_batch_job", "update_batch_job", "settle_attempt", "put_answer")),
    *((BatchService, name) for name in ("upload", "create", "look", "download")),
    (RequestFile, "finish"),
    (batch_jobs, "remove_files"),
]
"""Where runs are killed: just after each call of these, which is to say before the next."""


def good(payload: dict[str, Any]) -> str:
    return f"good {payload['messages'][0]['content']}"


def questions_of(count: int, **changes: Any) -> list[Question]:
    return [make_question(number, **changes) for number in range(count)]


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != "lock")


@contextlib.contextmanager
def jobs_held(server: ChatServer) -> Iterator[None]:
    """Jobs stay at the service while this lasts, however slow the machine is."""
    released = threading.Event()

    async def wait(delay_s: float) -> None:
        while not released.is_set():
            await asyncio.sleep(0.005)

    server.batches._wait = wait
    try:
        yield
    finally:
        released.set()


def answer_in_batches(
    url: str,
    questions: Iterable[Question],
    store: RequestStore,
    folder: Path,
    budget: Budget | None = None,
    **settings,
) -> dict[Any, ChatAnswer]:
    """All answers by key; each key must come once. Files are of ten requests, unless told otherwise."""
    settings = {"max_requests_per_file": 10, "poll_s": 0.01, **settings}

    async def collect() -> dict[Any, ChatAnswer]:
        answers: dict[Any, ChatAnswer] = {}
        async with OpenAIChatClient(url) as client:
            answerer = BatchAnswerer(client, store, PRICE, budget, folder, **settings)
            async for key, answer in answerer.answer_all(questions):
                assert key not in answers, f"{key} was answered twice"
                answers[key] = answer
        return answers

    return asyncio.run(collect())


def leave_when(
    url: str,
    questions: Iterable[Question],
    store: RequestStore,
    folder: Path,
    state: str,
    budget: Budget | None = None,
) -> None:
    """A run that is broken off as soon as a job is in a state."""

    async def ask() -> None:
        async with OpenAIChatClient(url) as client:
            answers = BatchAnswerer(client, store, PRICE, budget, folder, poll_s=0.01).answer_all(questions)
            waiting = asyncio.ensure_future(answers.__anext__())
            while not any(job.state == state for job in store.batch_jobs()):
                await asyncio.sleep(0.002)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            await answers.aclose()

    asyncio.run(ask())


def run_until_killed(url: str, store_path: Path, folder: Path, count: int, kill_at: int, settings: dict) -> None:
    """For a process of its own, which kills itself (SIGKILL) at a step."""
    counter = iter(range(1_000_000))

    def step() -> None:
        if next(counter) == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    for owner, name in STEPS:
        setattr(owner, name, _with_steps(getattr(owner, name), step))
    answer_in_batches(url, questions_of(count), RequestStore(store_path), folder, **settings)


def _with_steps(function, step):
    """The function with a step after it."""
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def stepped(*args, **kwargs):
            result = await function(*args, **kwargs)
            step()
            return result

        return stepped

    @functools.wraps(function)
    def stepped(*args, **kwargs):
        result = function(*args, **kwargs)
        step()
        return result

    return stepped
