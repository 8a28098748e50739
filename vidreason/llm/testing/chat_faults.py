"""Whatever can go wrong between a client and a language model, on purpose and repeatably.

Each fault is a field: the probability that a request, a line of a batch, or a batch job meets it. Faults are drawn
from the seed, the payload and the number of the attempt, so that they are the same in any order of requests.
"""

from __future__ import annotations

import json
import random
import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

REQUEST_FAULTS = (
    "rate_limited",
    "rate_limited_bare",
    "out_of_credit",
    "server_error",
    "dropped",
    "malformed_body",
    "slow",
)
"""Faults of a request on its way. All but `slow` keep the answer back, and nothing is billed."""

CONTENT_FAULTS = ("malformed", "truncated", "refused", "filtered", "wrong_grid", "empty")
"""Faults of what the model says, also in batches. Such answers are billed like any other."""

LINE_FAULTS = ("error_lines", "missing_lines", "duplicated_lines")
JOB_FAULTS = ("failed_validation", "expired", "cancelled", "partial", "lost_creation")

_NUMBER_IN_LIST = re.compile(r"(?<=[\[,\s])\d+(?=\s*[,\]])")
_OUT_OF_RANGE = 1000


@dataclass(frozen=True)
class Completion:
    """What the model says, before it is wrapped for the wire."""

    text: str | None
    finish_reason: str = "stop"
    refusal: str | None = None


@dataclass
class Faults:
    """What goes wrong for single requests, and how often.

    Args:
        rate_limited: Probability of status 429 that says when to come back, in the way of `retry_after_form`.
        rate_limited_bare: Probability of status 429 without that.
        out_of_credit: Probability of status 429 with the code `insufficient_quota`, after which no retry helps.
        server_error: Probability of status 500.
        dropped: Probability that the connection breaks without an answer.
        malformed_body: Probability of status 200 with a body that is no JSON.
        slow: Probability of `slow_s` on top of the latency.
        malformed: Probability that the answer stops in the middle, as if it were whole.
        truncated: Probability that the answer is cut at the token limit.
        refused: Probability that the model says why it will not answer.
        filtered: Probability that a content filter withholds the answer.
        wrong_grid: Probability that cells and centres are far out of range.
        empty: Probability of an answer without any text.
        seed: Seed of the draws.
        script: Names of faults, or None for no fault, for the first requests in their order of arrival.
        by_attempt: Whether a second attempt may fare otherwise with `CONTENT_FAULTS`. A model at temperature zero
            says the same again.
        slow_s: Seconds that a slow answer takes longer.
        retry_after_s: Seconds that a client is told to wait.
        retry_after_form: "seconds", "date" (whole seconds, as HTTP has it) or "milliseconds" (OpenAI's own header).
    """

    rate_limited: float = 0.0
    rate_limited_bare: float = 0.0
    out_of_credit: float = 0.0
    server_error: float = 0.0
    dropped: float = 0.0
    malformed_body: float = 0.0
    slow: float = 0.0
    malformed: float = 0.0
    truncated: float = 0.0
    refused: float = 0.0
    filtered: float = 0.0
    wrong_grid: float = 0.0
    empty: float = 0.0
    seed: int = 0
    script: Sequence[str | None] = ()
    by_attempt: bool = True
    slow_s: float = 1.0
    retry_after_s: float = 0.1
    retry_after_form: str = "seconds"

    def __post_init__(self):
        self._script = _Script(self.script, (*REQUEST_FAULTS, *CONTENT_FAULTS))
        _check_probabilities(self, (*REQUEST_FAULTS, *CONTENT_FAULTS))
        if self.retry_after_form not in ("seconds", "date", "milliseconds"):
            raise ValueError(f"retry_after_form must be seconds, date or milliseconds, got {self.retry_after_form!r}")

    def of_request(self, payload_hash: str, attempt: int) -> str | None:
        """The fault of a request, or None. `attempt` counts from 1."""
        if not self._script.is_over:
            return self._script.next()
        on_the_way = _draw(self, REQUEST_FAULTS, f"{self.seed} request {payload_hash} {attempt}")
        return on_the_way or self.of_content(payload_hash, attempt)

    def of_content(self, payload_hash: str, attempt: int) -> str | None:
        """The fault of what the model says in a batch, or None."""
        number = attempt if self.by_attempt else 1
        return _draw(self, CONTENT_FAULTS, f"{self.seed} content {payload_hash} {number}")


@dataclass
class BatchFaults:
    """What goes wrong in batches. Their answers have the `CONTENT_FAULTS` of `Faults` as well.

    Args:
        error_lines: Probability that a line is answered with status 500, in the error file.
        missing_lines: Probability that a line is answered and billed, and then in neither file.
        duplicated_lines: Probability that a line is in the output file twice.
        failed_validation: Probability that a job ends as `failed` before any line is answered.
        expired: Probability that a job ends as `expired` with half of its lines answered; the others are errors
            `batch_expired`.
        cancelled: Probability that a job ends as `cancelled`, by someone else, with half of its lines answered, and no
            word of the rest.
        partial: Probability that a job ends as `completed`, but half of its lines are errors.
        lost_creation: Probability that a job is created and goes well, but the connection breaks before its owner
            hears of it.
        seed: Seed of the draws.
        script: Names of faults of jobs, or None for no fault, for the first jobs in their order of creation.
    """

    error_lines: float = 0.0
    missing_lines: float = 0.0
    duplicated_lines: float = 0.0
    failed_validation: float = 0.0
    expired: float = 0.0
    cancelled: float = 0.0
    partial: float = 0.0
    lost_creation: float = 0.0
    seed: int = 0
    script: Sequence[str | None] = ()

    def __post_init__(self):
        self._script = _Script(self.script, JOB_FAULTS)
        _check_probabilities(self, LINE_FAULTS)
        _check_probabilities(self, JOB_FAULTS)

    def of_line(self, payload_hash: str, attempt: int) -> str | None:
        """The fault of a line, or None. `attempt` counts from 1."""
        return _draw(self, LINE_FAULTS, f"{self.seed} line {payload_hash} {attempt}")

    def of_job(self, number: int) -> str | None:
        """The fault of the job that was created as the `number`th, or None."""
        return _draw(self, JOB_FAULTS, f"{self.seed} job {number}") if self._script.is_over else self._script.next()


class _Script:
    """Faults in a fixed order, one for each request or job."""

    def __init__(self, names: Sequence[str | None], known: Sequence[str]):
        unknown = [name for name in names if name is not None and name not in known]
        if unknown:
            raise ValueError(f"a script of faults names {unknown}, expected some of {tuple(known)}")
        self._names, self._position, self._lock = list(names), 0, threading.Lock()

    @property
    def is_over(self) -> bool:
        """Whether all faults have had their turn."""
        return self._position >= len(self._names)

    def next(self) -> str | None:
        """The next fault, or None for no fault."""
        with self._lock:
            self._position += 1
            return self._names[self._position - 1]


def _check_probabilities(faults: Faults | BatchFaults, names: Sequence[str]) -> None:
    """Raise ValueError where the probabilities of faults that exclude one another are none."""
    known = {entry.name for entry in fields(faults)}
    values = {name: getattr(faults, name) for name in names if name in known}
    if min(values.values()) < 0 or sum(values.values()) > 1 + 1e-9:
        raise ValueError(f"probabilities of faults must be at least 0 and sum to at most 1, got {values}")


def _draw(faults: Faults | BatchFaults, names: Sequence[str], seed: str) -> str | None:
    """One of some faults by their probabilities, or None; the same for the same seed."""
    drawn = random.Random(seed).random()
    for name in names:
        drawn -= getattr(faults, name)
        if drawn < 0:
            return name
    return None


def spoil(text: str, fault: str | None) -> Completion:
    """What is left of an answer's text after one of `CONTENT_FAULTS`; other faults leave it whole."""
    whole = Completion(text)
    if fault == "malformed":
        return replace(whole, text=text[: len(text) // 2])
    if fault == "truncated":
        return replace(whole, text=text[: len(text) // 2], finish_reason="length")
    if fault == "refused":
        return Completion(None, refusal="I'm sorry, I can't help with that.")
    if fault == "filtered":
        return Completion("", finish_reason="content_filter")
    if fault == "empty":
        return Completion("")
    return replace(whole, text=_out_of_range(text)) if fault == "wrong_grid" else whole


def _out_of_range(text: str) -> str:
    """The text with every number in a list far larger; where there is none, an answer with one such cell."""
    moved, count = _NUMBER_IN_LIST.subn(lambda number: str(int(number[0]) + _OUT_OF_RANGE), text)
    return moved if count else json.dumps({"key_r": [[_OUT_OF_RANGE, _OUT_OF_RANGE]]})
