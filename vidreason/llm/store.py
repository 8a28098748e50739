"""Everything a run over a language model must not forget, in one SQLite file: answers, the ledger, batch jobs.

A process may be killed at any moment (`kill -9`): each call is one short transaction in WAL mode, and a row of the
ledger is written *before* its request is sent. What a killed run left open counts as spent at what was reserved,
because nobody can know whether the server billed it. Loss of power can cost the newest transactions, never the file:
commits are not flushed to the disk one by one (`synchronous = NORMAL`).

No key is ever given to a store; texts of errors are redacted before they come here (`completions.Redactor`).
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import LLMError
from ..files import database_errors
from .chat import ANSWER_STATUSES, ChatAnswer, Usage

ONLINE, BATCH = "online", "batch"
"""Channels: the ways that an attempt can travel."""

TRANSPORT, ABORTED = "transport", "aborted"
"""Outcomes of attempts that brought no answer. `transport`: an error, which counts against the request's number of
attempts. `aborted`: the run ended around it (a wrong key, Ctrl-C), which says nothing about the request."""

OUTCOMES = (*ANSWER_STATUSES, TRANSPORT, ABORTED)

_FORMAT = 1  # kept in SQLite's own `user_version`, so that another version's file is recognised before it is read
_TABLES = """
CREATE TABLE IF NOT EXISTS answers (
    request_hash TEXT PRIMARY KEY, status TEXT NOT NULL, text TEXT NOT NULL, detail TEXT NOT NULL, model TEXT NOT NULL,
    prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL, cached_prompt_tokens INTEGER NOT NULL,
    cost_usd REAL NOT NULL, attempts INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS attempts (
    attempt_id INTEGER PRIMARY KEY, request_hash TEXT NOT NULL, model TEXT NOT NULL, channel TEXT NOT NULL,
    reserved_usd REAL NOT NULL, estimated_prompt_tokens INTEGER NOT NULL, started_at REAL NOT NULL,
    outcome TEXT NOT NULL DEFAULT '', prompt_tokens INTEGER NOT NULL DEFAULT 0,
    completion_tokens INTEGER NOT NULL DEFAULT 0, cached_prompt_tokens INTEGER NOT NULL DEFAULT 0,
    cost_usd REAL, settled_at REAL, forgotten INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS attempts_by_request ON attempts (request_hash);
CREATE TABLE IF NOT EXISTS batch_jobs (
    path TEXT PRIMARY KEY, job_id TEXT NOT NULL, input_file_id TEXT NOT NULL, request_hashes TEXT NOT NULL,
    state TEXT NOT NULL, reserved_usd REAL NOT NULL, created_at REAL NOT NULL
);
"""

BATCH_JOB_OVER = "over"
"""State of a batch job that wants no more work: every request of it has been settled. Any other state is open."""


@dataclass(frozen=True)
class Attempt:
    """A row of the ledger: one request on its way, or back.

    Args:
        attempt_id: Number of the attempt in the ledger.
        request_hash: Hash of the request.
        model: Name of the model as it was asked for, or as the server gave it.
        channel: `ONLINE` or `BATCH`.
        reserved_usd: The most that it could cost, in USD.
        outcome: One of `OUTCOMES`, or empty while it is open: in flight, or left behind by a run that was killed.
        usage: Tokens as billed.
        cost_usd: Cost in USD. None where it is not known, which is while it is open and where the connection broke
            after the request had been sent. It then counts as spent at `reserved_usd`.
        started_at: Unix time in seconds at which it was about to be sent.
        settled_at: Unix time in seconds at which its outcome was known; None while it is open.
    """

    attempt_id: int
    request_hash: str
    model: str
    channel: str
    reserved_usd: float
    outcome: str
    usage: Usage
    cost_usd: float | None
    started_at: float
    settled_at: float | None

    @property
    def is_open(self) -> bool:
        """Whether its outcome is not known yet."""
        return not self.outcome

    @property
    def counts(self) -> bool:
        """Whether it is one of the bounded number of attempts that a request has."""
        # what a kill or an abort cut short does not count, or a run that is killed often would end with another table
        # than one that is left alone
        return self.outcome in (*ANSWER_STATUSES, TRANSPORT)


@dataclass(frozen=True)
class LedgerTotals:
    """Sums over all attempts of a store.

    Args:
        requests: Number of different requests.
        attempts: Number of attempts of any outcome.
        prompt_tokens: Prompt tokens as billed.
        cached_prompt_tokens: The part of `prompt_tokens` that the server had from earlier prompts.
        completion_tokens: Completion tokens as billed.
        cost_usd: Cost in USD of the attempts whose cost is known.
        unsettled_usd: Sum in USD that is reserved for the attempts whose cost is not known. It counts as spent.
        outcomes: Number of attempts by outcome; "" are the open ones.
        estimated_prompt_tokens: Estimate for the attempts that were billed, to compare with `prompt_tokens`.
    """

    requests: int = 0
    attempts: int = 0
    prompt_tokens: int = 0
    cached_prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float = 0.0
    unsettled_usd: float = 0.0
    outcomes: dict[str, int] = field(default_factory=dict)
    estimated_prompt_tokens: int = 0

    @property
    def spent_usd(self) -> float:
        """What a budget must take as gone."""
        return self.cost_usd + self.unsettled_usd


@dataclass
class BatchJob:
    """A file of requests that is, or is to be, worked off by a batch service. One file, one job.

    Args:
        job_id: Id of the job at the service; empty until it is known.
        input_file_id: Id of the uploaded file; empty until it is known.
        path: Name of the file of requests on this machine: the key of the row.
        request_hashes: Hashes of the requests in its lines, in order. They never change.
        state: The caller's own word; `BATCH_JOB_OVER` closes it.
        reserved_usd: The most that it could cost, in USD.
        created_at: Unix time in seconds at which it was written down.
    """

    job_id: str
    input_file_id: str
    path: str
    request_hashes: list[str]
    state: str
    reserved_usd: float = 0.0
    created_at: float = field(default_factory=time.time)


class RequestStore:
    """One SQLite file of answers, ledger and batch jobs.

    Any thread may call it; other processes may too, where the file system has the locks and the shared memory for
    that: most network file systems have not, so give each process a file of its own there.

    Args:
        path: Path of the file; it and its folder are made where they are missing.

    Raises:
        LLMError: the file is no store, or cannot be opened.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        # SQLite's locks are between connections, and all threads share one; re-entrant, since transactions nest
        self._lock = threading.RLock()
        # inner transactions join the outermost: SQLite has no BEGIN within BEGIN
        self._depth = 0
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # autocommit: transactions are opened by `transaction` alone. 60 s: another process may be writing
            self._connection = sqlite3.connect(self.path, timeout=60, isolation_level=None, check_same_thread=False)
            self._prepare()
        except (OSError, sqlite3.Error) as error:
            raise LLMError(f"{self.path}: cannot be used as a store of requests: {error}") from error

    def _prepare(self) -> None:
        version = self._connection.execute("PRAGMA user_version").fetchone()[0]
        # 0 is a file that was just made; one of another format is left as it is
        if version not in (0, _FORMAT):
            raise LLMError(f"{self.path}: a store of format {version}, this version reads format {_FORMAT}")
        # WAL: readers go on while one writes. NORMAL: no flush to the disk for each of thousands of answers
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")
        # IMMEDIATE: of two processes that open a new file, one waits until the other has made the tables
        self._connection.executescript(f"BEGIN IMMEDIATE; {_TABLES} PRAGMA user_version = {_FORMAT}; COMMIT;")

    def __repr__(self) -> str:
        return f"RequestStore({str(self.path)!r})"

    def __enter__(self) -> RequestStore:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        """Close the file. The store cannot be used after that."""
        with self._lock:
            self._connection.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All that is called inside goes in together or, after an exception, not at all. It nests.

        Other threads wait meanwhile: keep it short, and never await inside.
        """
        with self._lock, database_errors(self.path, LLMError):
            if self._depth == 0:
                # IMMEDIATE takes the write lock now: a lock taken at the first write can fail after half the work
                self._connection.execute("BEGIN IMMEDIATE")
            self._depth += 1
            try:
                yield
                if self._depth == 1:
                    self._connection.execute("COMMIT")
            # KeyboardInterrupt too: half a transaction would stay open on the connection that all threads share
            except BaseException:
                # SQLite may have rolled back itself, as on a full disk; a second ROLLBACK would hide that error
                if self._depth == 1 and self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
            finally:
                self._depth -= 1

    def _write(self, statement: str, values: Iterable = ()) -> sqlite3.Cursor:
        with self.transaction():
            return self._connection.execute(statement, tuple(values))

    def _read(self, query: str, values: Iterable = ()) -> list[tuple]:
        # fetched whole under the lock: a cursor that is still open would see what another thread writes
        with self._lock, database_errors(self.path, LLMError):
            return self._connection.execute(query, tuple(values)).fetchall()

    # answers

    def answer(self, request_hash: str) -> ChatAnswer | None:
        """The answer to a request, or None."""
        query = """SELECT status, text, detail, model, prompt_tokens, completion_tokens, cached_prompt_tokens,
            cost_usd, attempts FROM answers WHERE request_hash = ?"""
        for status, text, detail, model, prompt, completion, cached, cost_usd, attempts in self._read(
            query, [request_hash]
        ):
            usage = Usage(prompt, completion, cached)
            return ChatAnswer(request_hash, status, text, detail, model, usage, cost_usd, attempts)
        return None

    def put_answer(self, answer: ChatAnswer) -> None:
        """Keep an answer as it is; one that is there is replaced."""
        usage = answer.usage
        self._write(
            "INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                *(answer.request_hash, answer.status, _storable(answer.text), _storable(answer.detail), answer.model),
                *(usage.prompt_tokens, usage.completion_tokens, usage.cached_prompt_tokens),
                *(answer.cost_usd, answer.attempts),
            ],
        )

    def conclude(
        self,
        request_hash: str,
        status: str,
        text: str,
        detail: str = "",
        model: str = "",
        reading: object = None,
    ) -> ChatAnswer:
        """Keep an answer whose usage, cost and number of attempts are summed from the ledger, and give it back.

        The cost is what is known to have been billed. Attempts that a kill cut short have a part in the totals only,
        so that the answer is the same as that of a run that was left alone.

        Args:
            request_hash: Hash of the request that it answers.
            status: One of `ANSWER_STATUSES`.
            text: What the model said, or what went wrong.
            detail: Why an answer is invalid, or empty.
            model: Name of the model.
            reading: What the question's check read in the text. It is given back with the answer, and not kept.
        """
        # without open and aborted attempts, which depend on the moment of a kill; the table must not
        query = """SELECT COALESCE(SUM(prompt_tokens), 0), COALESCE(SUM(completion_tokens), 0),
            COALESCE(SUM(cached_prompt_tokens), 0), COALESCE(SUM(cost_usd), 0.0), COUNT(*)
            FROM attempts WHERE request_hash = ? AND outcome NOT IN ('', ?)"""
        # read and written in one transaction, so that an attempt that is settled in between is in no sum by half
        with self.transaction():
            prompt, completion, cached, cost_usd, attempts = self._read(query, [request_hash, ABORTED])[0]
            usage = Usage(prompt, completion, cached)
            answer = ChatAnswer(request_hash, status, text, detail, model, usage, cost_usd, attempts, reading)
            self.put_answer(answer)
        return answer

    def forget(self, statuses: Iterable[str]) -> int:
        """Drop the answers of some statuses, so that their requests are asked again with all attempts before them.

        What was paid stays in the ledger. Returns the number of answers dropped.
        """
        statuses = list(statuses)
        # attempts are marked and not deleted: they are what a budget takes as spent
        among = f"IN ({', '.join('?' * len(statuses))})"
        with self.transaction():
            hashes = f"SELECT request_hash FROM answers WHERE status {among}"
            self._write(f"UPDATE attempts SET forgotten = 1 WHERE request_hash IN ({hashes})", statuses)
            return self._write(f"DELETE FROM answers WHERE status {among}", statuses).rowcount

    # ledger

    def begin_attempt(
        self, request_hash: str, model: str, channel: str, reserved_usd: float, estimated_prompt_tokens: int = 0
    ) -> int:
        """Write down that a request is about to be sent. Returns the number of the attempt.

        Args:
            request_hash: Hash of the request.
            model: Name of the model that is asked.
            channel: `ONLINE` or `BATCH`.
            reserved_usd: The most that it can cost, in USD.
            estimated_prompt_tokens: Tokens of its prompt as they are expected.
        """
        statement = """INSERT INTO attempts
            (request_hash, model, channel, reserved_usd, estimated_prompt_tokens, started_at)
            VALUES (?, ?, ?, ?, ?, ?)"""
        values = [request_hash, model, channel, reserved_usd, estimated_prompt_tokens, time.time()]
        attempt_id = self._write(statement, values).lastrowid
        assert attempt_id is not None  # None only where no row was inserted
        return attempt_id

    def settle_attempt(
        self, attempt_id: int, outcome: str, usage: Usage, cost_usd: float | None, model: str = ""
    ) -> None:
        """Write down what became of an attempt. To keep its answer with it, call both inside `transaction`.

        Args:
            attempt_id: Number of the attempt, as `begin_attempt` gave it.
            outcome: One of `OUTCOMES`.
            usage: Tokens as billed.
            cost_usd: Cost in USD. None where it is not known: it counts as spent at what was reserved.
            model: Name of the model as the server gives it; empty keeps the one that was asked for.
        """
        # an empty outcome would make the attempt look open
        if outcome not in OUTCOMES:
            raise ValueError(f"outcome must be one of {OUTCOMES}, got {outcome!r}")
        statement = """UPDATE attempts SET outcome = ?, prompt_tokens = ?, completion_tokens = ?,
            cached_prompt_tokens = ?, cost_usd = ?, settled_at = ?, model = COALESCE(NULLIF(?, ''), model)
            WHERE attempt_id = ?"""
        tokens = (usage.prompt_tokens, usage.completion_tokens, usage.cached_prompt_tokens)
        self._write(statement, [outcome, *tokens, cost_usd, time.time(), model, attempt_id])

    def attempts_of(self, request_hash: str) -> list[Attempt]:
        """The attempts at a request since its answer was last forgotten, oldest first."""
        # without forgotten ones: a request that is asked again begins its count anew
        query = """SELECT attempt_id, request_hash, model, channel, reserved_usd, outcome, prompt_tokens,
            completion_tokens, cached_prompt_tokens, cost_usd, started_at, settled_at
            FROM attempts WHERE request_hash = ? AND NOT forgotten ORDER BY attempt_id"""
        return [_attempt_of(*row) for row in self._read(query, [request_hash])]

    def totals(self) -> LedgerTotals:
        """Sums over the whole ledger."""
        # with aborted and forgotten attempts: their money is spent all the same
        sums = """SELECT COUNT(DISTINCT request_hash), COUNT(*), COALESCE(SUM(prompt_tokens), 0),
            COALESCE(SUM(cached_prompt_tokens), 0), COALESCE(SUM(completion_tokens), 0), COALESCE(SUM(cost_usd), 0.0),
            COALESCE(SUM(CASE WHEN cost_usd IS NULL THEN reserved_usd ELSE 0.0 END), 0.0) FROM attempts"""
        # of attempts that were billed alone, so that both sums are over the same attempts
        estimated = "SELECT COALESCE(SUM(estimated_prompt_tokens), 0) FROM attempts WHERE prompt_tokens > 0"
        with self.transaction():
            # three queries in one transaction see one state of the file
            outcomes = dict(self._read("SELECT outcome, COUNT(*) FROM attempts GROUP BY outcome"))
            requests, attempts, prompt, cached, completion, cost_usd, unsettled_usd = self._read(sums)[0]
            return LedgerTotals(
                requests=requests,
                attempts=attempts,
                prompt_tokens=prompt,
                cached_prompt_tokens=cached,
                completion_tokens=completion,
                cost_usd=cost_usd,
                unsettled_usd=unsettled_usd,
                outcomes=outcomes,
                estimated_prompt_tokens=self._read(estimated)[0][0],
            )

    # batch jobs

    def add_batch_job(self, job: BatchJob) -> None:
        """Write down a job.

        Raises:
            LLMError: there is a job for this path already.
        """
        # never replaced: a job's id is all that leads to answers that are paid for
        statement = "INSERT OR IGNORE INTO batch_jobs VALUES (?, ?, ?, ?, ?, ?, ?)"
        values = [job.path, job.job_id, job.input_file_id, json.dumps(job.request_hashes), job.state]
        if not self._write(statement, [*values, job.reserved_usd, job.created_at]).rowcount:
            raise LLMError(f"{self.path}: there is a batch job for {job.path} already")

    def update_batch_job(self, job: BatchJob) -> None:
        """Write down what has changed of the job of this path: anything but its request hashes.

        Raises:
            LLMError: there is no job for this path.
        """
        statement = "UPDATE batch_jobs SET job_id = ?, input_file_id = ?, state = ?, reserved_usd = ? WHERE path = ?"
        values = [job.job_id, job.input_file_id, job.state, job.reserved_usd, job.path]
        if not self._write(statement, values).rowcount:
            raise LLMError(f"{self.path}: there is no batch job for {job.path}")

    def batch_jobs(self, open_only: bool = False) -> list[BatchJob]:
        """The jobs, oldest first; only those that are not over, if asked."""
        query = """SELECT job_id, input_file_id, path, request_hashes, state, reserved_usd, created_at
            FROM batch_jobs WHERE state != ? ORDER BY created_at, path"""
        # no state is empty, so "" leaves out none
        rows = self._read(query, [BATCH_JOB_OVER if open_only else ""])
        return [
            BatchJob(job_id, file_id, path, json.loads(hashes), state, reserved_usd, created_at)
            for job_id, file_id, path, hashes, state, reserved_usd, created_at in rows
        ]


def _attempt_of(
    attempt_id: int,
    request_hash: str,
    model: str,
    channel: str,
    reserved_usd: float,
    outcome: str,
    prompt_tokens: int,
    completion_tokens: int,
    cached_prompt_tokens: int,
    cost_usd: float | None,
    started_at: float,
    settled_at: float | None,
) -> Attempt:
    """An attempt from the columns of its row, in their order in `attempts_of`."""
    usage = Usage(prompt_tokens, completion_tokens, cached_prompt_tokens)
    attempt = (attempt_id, request_hash, model, channel, reserved_usd, outcome)
    return Attempt(*attempt, usage, cost_usd, started_at, settled_at)


def _storable(text: str) -> str:
    """SQLite takes no lone surrogates, which a JSON answer can hold."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
