"""The files of batch jobs on this machine: requests that go out, and answers that come back, as lines of JSON."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import uuid
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Literal

import filelock

from ..errors import LLMError
from .completions import (
    MAX_BODY_BYTES,
    RawCompletion,
    Redactor,
    code_of,
    parse_json_body,
    read_completion,
    refusal_of,
    words_of_error,
)
from .retry import AttemptFailed, failure_of_status, shorten

logger = logging.getLogger(__name__)

ENDPOINT: Literal["/v1/chat/completions"] = "/v1/chat/completions"

_PREFIX, _SUFFIX, _PARTIAL = "requests-", ".jsonl", ".partial"
_OUTPUTS = (".output", ".errors")
_LOCK = "lock"
_MAX_ID_CHARACTERS = 200  # a request's hash has 64

Outcome = RawCompletion | AttemptFailed
"""What a line of a job brought: an answer, or why there is none."""


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Errors of the disk, such as one that is full, end the run with a message that names the place."""
    try:
        yield
    except OSError as error:
        raise LLMError(f"{path}: cannot be used for batch files: {error}") from error


class RequestFile:
    """Requests, one to a line, in the form that batch services take. It has its name when it is whole.

    Args:
        folder: Folder that it is written to.
        max_requests: Requests in a file, at most.
        max_bytes: Bytes of a file, at most.
    """

    def __init__(self, folder: Path, max_requests: int, max_bytes: int):
        # random: the name is the job's key in the store, which keeps the names of jobs that are over
        self.path = folder / f"{_PREFIX}{uuid.uuid4().hex[:16]}{_SUFFIX}"
        self.max_requests, self.max_bytes = max_requests, max_bytes
        self.offsets: dict[str, int] = {}
        self._size = 0
        with disk_errors(folder):
            self._file = open(self._partial_path, "xb")  # noqa: SIM115 - it stays open over many calls

    @property
    def _partial_path(self) -> Path:
        return self.path.with_suffix(_PARTIAL)

    def __len__(self) -> int:
        return len(self.offsets)

    def has_room(self, line: bytes) -> bool:
        """Whether a line fits."""
        return len(self) < self.max_requests and self._size + len(line) <= self.max_bytes

    def add(self, request_hash: str, line: bytes) -> None:
        """Write a line, as `line_of` makes it."""
        self.offsets[request_hash] = self._size
        with disk_errors(self.path):
            self._file.write(line)
        self._size += len(line)

    def finish(self) -> None:
        """Give the file its name."""
        with disk_errors(self.path):
            self._file.flush()
            # a job that is paid for must not lose its file to a crash: the ids of its lines are in no other place
            os.fsync(self._file.fileno())
            self._file.close()
            # atomic: a file that has its own name is whole
            os.replace(self._partial_path, self.path)

    def discard(self) -> None:
        """Take the file away, whole or not."""
        with contextlib.suppress(OSError):  # what could not be written is of no use here
            self._file.close()
        self._partial_path.unlink(missing_ok=True)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other runs out of a folder of batch files, so that no two of them send the same job.

    The lock goes away with the process.

    Raises:
        LLMError: another run is at work there, or the folder cannot be made.
    """
    # an operating system's lock and not a file that says so: it cannot be left behind by a kill
    lock = filelock.FileLock(folder / _LOCK)
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            # no waiting, since the other run may take a day
            lock.acquire(blocking=False)
        except filelock.Timeout as error:
            raise LLMError(f"{folder}: another run is at work on the batch jobs of this folder") from error
    try:
        yield
    finally:
        lock.release()


def line_of(request_hash: str, body: Mapping[str, Any]) -> bytes:
    """A request as a line of a batch file. Its hash says which it is when its answer comes back."""
    line = {"custom_id": request_hash, "method": "POST", "url": ENDPOINT, "body": body}
    # JSON escapes line breaks inside texts, so a request is always one line
    return json.dumps(line, separators=(",", ":")).encode() + b"\n"


def read_body(path: Path, offset: int) -> dict[str, Any]:
    """The body of the request at an offset of a file."""
    with path.open("rb") as file:
        file.seek(offset)
        return json.loads(file.readline())["body"]


def find_offsets(path: Path) -> dict[str, int]:
    """Where the line of each request begins.

    Raises:
        LLMError: the file cannot be read.
    """
    offsets, offset = {}, 0
    try:
        with path.open("rb") as file:
            for line in file:
                offsets[json.loads(line)["custom_id"]] = offset
                # in bytes, as `seek` wants it; the file is not decoded for this
                offset += len(line)
    except (OSError, ValueError, KeyError) as error:
        raise LLMError(f"{path}: the requests of a batch job cannot be read: {error}") from error
    return offsets


def output_path(path: Path) -> Path:
    """Where the answers to a file of requests are kept until they are in the store."""
    return path.with_suffix(_OUTPUTS[0])


def errors_path(path: Path) -> Path:
    """Where the errors of a file of requests are kept until they are in the store."""
    return path.with_suffix(_OUTPUTS[1])


def remove_files(path: Path) -> None:
    """Take away a file of requests, and its answers."""
    for file in (path, output_path(path), errors_path(path)):
        file.unlink(missing_ok=True)


def remove_strays(folder: Path, names: Iterable[str]) -> None:
    """Take away what runs that were killed left behind, apart from the files of the jobs of these names."""
    stems = {Path(name).stem for name in names}
    for path in folder.glob(f"{_PREFIX}*"):
        if path.stem not in stems and path.suffix in (_SUFFIX, _PARTIAL, *_OUTPUTS):
            path.unlink(missing_ok=True)


# answers


def read_outcomes(path: Path, redactor: Redactor) -> dict[str, Outcome]:
    """What came back for a file of requests, by request hash.

    Of several lines for one request the first answer counts, or the first error if there is no answer. Lines that
    cannot be read, or are longer than an answer can be, are left out, with a warning.

    Args:
        path: File of requests; its answers lie beside it.
        redactor: Takes secrets out of texts of the service.
    """
    outcomes: dict[str, Outcome] = {}
    # once a file: each call goes through the whole environment
    secrets = redactor.secrets()
    for file in (output_path(path), errors_path(path)):
        for request_hash, outcome in _read_lines(file, redactor):
            # services have given a line for one request in both files, and twice in one
            if isinstance(outcome, RawCompletion) and not isinstance(outcomes.get(request_hash), RawCompletion):
                outcomes[request_hash] = outcome.without(secrets)
            else:
                outcomes.setdefault(request_hash, outcome)
    return outcomes


def _read_lines(path: Path, redactor: Redactor) -> Iterator[tuple[str, Outcome]]:
    if not path.is_file():
        return
    unreadable = 0
    with path.open("rb") as file:
        for text in _bounded_lines(file):
            try:
                line = parse_json_body(text)
                custom_id, outcome = line["custom_id"], _outcome_of(line, redactor)
            except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError):
                # an empty line is no loss
                unreadable += bool(text.strip())
                continue
            # not in the `try`: an error of the caller's would be taken for one of the line's
            yield str(custom_id)[:_MAX_ID_CHARACTERS], outcome
    if unreadable:
        logger.warning("%s: %d lines are not what a batch service answers with", path, unreadable)


def _bounded_lines(file: BinaryIO) -> Iterator[bytes]:
    """The lines of a file; of one that is longer than any answer the beginning, which is no line of JSON."""
    while text := file.readline(MAX_BODY_BYTES):
        yield text
        while len(text) == MAX_BODY_BYTES and not text.endswith(b"\n"):
            text = file.readline(MAX_BODY_BYTES)


def _outcome_of(line: Mapping[str, Any], redactor: Redactor) -> Outcome:
    response = line.get("response")
    if not response:
        error = line.get("error") or {}
        error = error if isinstance(error, Mapping) else {"message": error}
        words = words_of_error(error) if error else "no answer"
        # redacted before it is cut: a service may quote the key that it was given
        return AttemptFailed(shorten(redactor.redact(f"{error.get('code') or 'batch error'}: {words}")))
    status_code, body = int(response.get("status_code") or 200), response.get("body")
    if status_code >= 400:
        error = (body.get("error") if isinstance(body, Mapping) else None) or body
        code = code_of(error)
        refused = refusal_of(words_of_error(error), code, redact=redactor.redact)
        if refused is not None:  # a filter's verdict on the prompt is an answer, as it is online
            return refused
        kind = error.get("type") if isinstance(error, Mapping) else None
        word = next((word for word in (code, kind) if isinstance(word, str)), None)
        return failure_of_status(status_code, words_of_error(error), word, redact=redactor.redact)
    try:
        return read_completion(body, redact=redactor.redact)
    except AttemptFailed as error:
        return error
