"""Files and batch jobs of the server: uploads, jobs that run through the API's states, and their faults."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from aiohttp import BodyPartReader, web

from .chat_faults import BatchFaults
from .chat_wire import RequestError, abort, count_prompt_tokens

ENDPOINT = "/v1/chat/completions"
FINAL_STATES = ("completed", "failed", "expired", "cancelled")

_LINES_PER_TURN = 16  # between two looks at other requests
_OVER_HALFWAY = ("expired", "cancelled", "partial")

LineReader = Callable[[Any], tuple[str, int, Callable[[], dict[str, Any]]]]


@dataclass(frozen=True)
class BatchLimits:
    """What the service takes. The defaults are those of OpenAI's.

    Args:
        max_requests: Requests in a file, at most.
        max_bytes: Bytes of a file, at most.
        max_enqueued_tokens: Prompt tokens in all jobs that are not over, at most; None sets no limit.
    """

    max_requests: int = 50_000
    max_bytes: int = 200_000_000
    max_enqueued_tokens: int | None = None


@dataclass
class Job:
    """A batch job.

    Args:
        number: Number of the job, counted from 1.
        body: What the API tells of it.
        fault: One of `JOB_FAULTS`, or None.
        enqueued_tokens: Prompt tokens of its lines, where they are limited.
        cancelling: Whether its owner has asked to end it.
    """

    number: int
    body: dict[str, Any]
    fault: str | None = None
    enqueued_tokens: int = 0
    cancelling: bool = False

    def enter(self, state: str) -> None:
        """Go on to a state, with its time."""
        self.body["status"] = state
        self.body[f"{state}_at"] = int(time.time())

    @property
    def is_over(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.body["status"] in FINAL_STATES


@dataclass
class _Result:
    """Lines of the two files that a job leaves behind."""

    output: list[dict[str, Any]] = field(default_factory=list)
    errors: list[dict[str, Any]] = field(default_factory=list)
    num_completed: int = 0  # lost lines are among them


class BatchService:
    """Files and batch jobs, all in memory.

    Args:
        read_line: Function that is given the body of a line and returns its hash, the number of the attempt, and a
            function that gives the body of the completion. Both functions may raise `RequestError`.
        faults: What goes wrong with jobs and lines.
        limits: Limits of files and jobs.
        latency_s: Seconds from the creation of a job to its end.
    """

    def __init__(self, read_line: LineReader, faults: BatchFaults, limits: BatchLimits, latency_s: float = 0.0):
        self.read_line, self.faults, self.limits, self.latency_s = read_line, faults, limits, latency_s
        self.files: dict[str, dict[str, Any]] = {}
        self.contents: dict[str, bytes] = {}
        self.jobs: dict[str, Job] = {}
        self._numbers = itertools.count(1)
        self._tasks: set[asyncio.Task] = set()

    def routes(self) -> list[web.RouteDef]:
        """For the application of the server."""
        return [
            web.post("/v1/files", self._upload),
            web.get("/v1/files", self._list_files),
            web.get("/v1/files/{id}", self._show_file),
            web.delete("/v1/files/{id}", self._delete_file),
            web.get("/v1/files/{id}/content", self._download),
            web.post("/v1/batches", self._create),
            web.get("/v1/batches", self._list_jobs),
            web.get("/v1/batches/{id}", self._show_job),
            web.post("/v1/batches/{id}/cancel", self._cancel),
        ]

    async def close(self) -> None:
        """Leave all jobs as they are."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # files

    async def _upload(self, request: web.Request) -> web.Response:
        purpose, name, content = "", "", None
        async for part in await request.multipart():
            if not isinstance(part, BodyPartReader):  # a part that holds parts: no client sends any
                continue
            if part.name == "purpose":
                purpose = await part.text()
            elif part.name == "file":
                name, content = part.filename or "", await self._read_file(part)
        if content is None or not purpose:
            raise RequestError(400, "a file and its purpose are required")
        return web.json_response(self._keep(name, content, purpose))

    async def _read_file(self, part: BodyPartReader) -> bytes:
        content = bytearray()
        while chunk := await part.read_chunk(2**16):
            content += chunk
            if len(content) > self.limits.max_bytes:
                raise RequestError(400, "File is too large.")
        return bytes(content)

    def _keep(self, name: str, content: bytes, purpose: str) -> dict[str, Any]:
        file_id = f"file-{next(self._numbers):06d}"
        self.contents[file_id] = content
        self.files[file_id] = {
            "id": file_id,
            "object": "file",
            "bytes": len(content),
            "created_at": int(time.time()),
            "filename": name,
            "purpose": purpose,
            "status": "processed",
        }
        return self.files[file_id]

    async def _list_files(self, request: web.Request) -> web.Response:
        purpose = request.query.get("purpose")
        return _page(request, [file for file in self.files.values() if purpose in (None, file["purpose"])])

    async def _show_file(self, request: web.Request) -> web.Response:
        return web.json_response(self._find(self.files, request))

    async def _delete_file(self, request: web.Request) -> web.Response:
        file_id = self._find(self.files, request)["id"]
        del self.files[file_id], self.contents[file_id]
        return web.json_response({"id": file_id, "object": "file", "deleted": True})

    async def _download(self, request: web.Request) -> web.Response:
        return web.Response(body=self._find(self.contents, request), content_type="application/octet-stream")

    @staticmethod
    def _find(entries: dict[str, Any], request: web.Request) -> Any:
        if request.match_info["id"] not in entries:
            raise RequestError(404, f"No such object: {request.match_info['id']}")
        return entries[request.match_info["id"]]

    # jobs

    async def _create(self, request: web.Request) -> web.Response:
        wanted = await request.json()
        if wanted.get("endpoint") != ENDPOINT or wanted.get("completion_window") != "24h":
            raise RequestError(400, f"expected the endpoint {ENDPOINT} and the completion window 24h")
        if wanted.get("input_file_id") not in self.files:
            raise RequestError(400, f"No such file: {wanted.get('input_file_id')}")
        body = {
            "id": f"batch_{next(self._numbers):06d}",
            "object": "batch",
            "endpoint": ENDPOINT,
            "errors": None,
            "input_file_id": wanted["input_file_id"],
            "completion_window": "24h",
            "output_file_id": None,
            "error_file_id": None,
            "created_at": int(time.time()),
            "request_counts": {"total": 0, "completed": 0, "failed": 0},
            "metadata": wanted.get("metadata"),
        }
        number = len(self.jobs) + 1
        job = Job(number, body, self.faults.of_job(number))
        job.enter("validating")
        self.jobs[body["id"]] = job
        task = asyncio.ensure_future(self._work_off(job))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if job.fault == "lost_creation":
            abort(request)
        return web.json_response(body)

    async def _list_jobs(self, request: web.Request) -> web.Response:
        return _page(request, [job.body for job in self.jobs.values()])

    async def _show_job(self, request: web.Request) -> web.Response:
        return web.json_response(self._find(self.jobs, request).body)

    async def _cancel(self, request: web.Request) -> web.Response:
        job = self._find(self.jobs, request)
        if job.is_over:
            raise RequestError(409, f"Cannot cancel a batch with status '{job.body['status']}'.")
        job.cancelling = True
        job.enter("cancelling")
        return web.json_response(job.body)

    async def _work_off(self, job: Job) -> None:
        """The life of a job."""
        fault = job.fault
        lines, problems = self._validate(job)
        if fault == "failed_validation":
            problems = [_problem("invalid_json_line", "This line is not parseable as valid JSON.", 1)]
        if problems:
            job.body["errors"] = {"object": "list", "data": problems}
            return job.enter("failed")
        job.body["request_counts"]["total"] = len(lines)
        await self._wait(self.latency_s / 2)
        if not job.cancelling:
            job.enter("in_progress")
        result = await self._answer_lines(job, lines, fault)
        await self._wait(self.latency_s / 2)
        self._leave_files(job, result)
        if job.cancelling:
            return job.enter("cancelled")
        if fault in ("expired", "cancelled"):
            return job.enter(fault)
        job.enter("finalizing")
        await asyncio.sleep(0)
        return job.enter("completed")

    async def _wait(self, delay_s: float) -> None:
        """Let a part of a job's time go by. Tests that hold a job at the service wait for something else here."""
        await asyncio.sleep(delay_s)

    def _validate(self, job: Job) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """The lines of a job's file, and what is wrong with them."""
        texts = self.contents[job.body["input_file_id"]].decode("utf-8", "replace").splitlines()
        if not texts:
            return [], [_problem("empty_file", "The input file is empty.")]
        if len(texts) > self.limits.max_requests:
            return [], [_problem("too_many_tasks", f"The file has more than {self.limits.max_requests} requests.")]
        lines, problems = [], []
        seen: set[str] = set()
        for number, text in enumerate(texts, 1):
            problem = _problem_of_line(text, seen)
            if problem is None:
                lines.append(json.loads(text))
            else:
                problems.append(_problem(*problem, number))
        if not problems and len({line["body"].get("model") for line in lines}) > 1:
            problems = [_problem("mismatched_model", "All requests of a batch must be for one model.")]
        return lines, problems or list(self._enqueue(job, lines))

    def _enqueue(self, job: Job, lines: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """The problem of a job for which there is no room in the queue."""
        limit = self.limits.max_enqueued_tokens
        if limit is None:
            return
        tokens = sum(count_prompt_tokens(line["body"]) for line in lines)
        if tokens + sum(other.enqueued_tokens for other in self.jobs.values() if not other.is_over) > limit:
            yield _problem("token_limit_exceeded", f"Enqueued token limit reached. Limit: {limit} enqueued tokens.")
        else:
            job.enqueued_tokens = tokens

    async def _answer_lines(self, job: Job, lines: list[dict[str, Any]], fault: str | None) -> _Result:
        result, counts = _Result(), job.body["request_counts"]
        answered = lines[: len(lines) // 2] if fault in _OVER_HALFWAY else lines
        for position, line in enumerate(answered):
            if position % _LINES_PER_TURN == 0:
                await asyncio.sleep(0)
            if job.cancelling:
                break
            self._answer_line(line, result)
            counts["completed"], counts["failed"] = result.num_completed, len(result.errors)
        for line in lines[len(answered) :]:
            if fault == "expired":
                result.errors.append(
                    _line(line, error=_problem("batch_expired", "This request could not be executed."))
                )
            elif fault == "partial":
                result.errors.append(_line(line, RequestError(500, "The server had an error")))
        counts["failed"] = len(result.errors)
        return result

    def _answer_line(self, line: dict[str, Any], result: _Result) -> None:
        try:
            payload_hash, attempt, complete = self.read_line(line["body"])
            fault = self.faults.of_line(payload_hash, attempt)
            if fault == "error_lines":
                raise RequestError(500, "The server had an error while processing your request")
            answered = _line(line, complete())
            copies = {"missing_lines": 0, "duplicated_lines": 2}.get(fault or "", 1)
            result.output += [answered] * copies
            result.num_completed += 1
        except RequestError as error:
            result.errors.append(_line(line, error))

    def _leave_files(self, job: Job, result: _Result) -> None:
        """Write the files of a job. The order of lines is not that of the requests, as the API warns."""
        for key, lines in (("output_file_id", result.output), ("error_file_id", result.errors)):
            if lines:
                content = "".join(json.dumps(line) + "\n" for line in reversed(lines)).encode()
                name = f"{job.body['id']}_{key.split('_')[0]}.jsonl"
                job.body[key] = self._keep(name, content, "batch_output")["id"]


def _page(request: web.Request, entries: list[dict[str, Any]]) -> web.Response:
    """A part of a list, newest first, as `limit` and `after` of the query say."""
    entries = entries[::-1]
    limit, after = int(request.query.get("limit", 20)), request.query.get("after")
    start = next((place for place, entry in enumerate(entries, 1) if entry["id"] == after), 0)
    page = entries[start : start + limit]
    ends = {"first_id": page[0]["id"], "last_id": page[-1]["id"]} if page else {"first_id": None, "last_id": None}
    more = start + limit < len(entries)
    return web.json_response({"object": "list", "data": page, "has_more": more, **ends})


def _problem(code: str, message: str, line: int | None = None) -> dict[str, Any]:
    return {"code": code, "message": message, "param": None, "line": line}


def _problem_of_line(text: str, seen: set[str]) -> tuple[str, str] | None:
    """The code and the words for what is wrong with a line of an input file; `seen` gathers the custom ids."""
    try:
        line = json.loads(text)
    except ValueError:
        return "invalid_json_line", "This line is not parseable as valid JSON."
    if not isinstance(line, dict) or not isinstance(line.get("body"), dict) or not line.get("custom_id"):
        return "missing_required_parameter", "A line needs a custom_id and a body."
    if line.get("method") != "POST" or line.get("url") != ENDPOINT:
        return "mismatched_endpoint", f"Every line must be a POST to {ENDPOINT}."
    if line["custom_id"] in seen:
        return "duplicate_custom_id", f"The custom_id {line['custom_id']} is used twice."
    seen.add(line["custom_id"])
    return None


def _line(
    request: dict[str, Any],
    answer: dict[str, Any] | RequestError | None = None,
    error: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """A line of an output or error file."""
    response = None
    if answer is not None:
        status, body = (answer.status, answer.body) if isinstance(answer, RequestError) else (200, answer)
        response = {"status_code": status, "request_id": "", "body": body}
    return {"id": "batch_req", "custom_id": request["custom_id"], "response": response, "error": error}
