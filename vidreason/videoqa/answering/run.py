"""From a table of questions to a table of predictions: resumed where it was broken off, with a row for every question.

The folder of the run is the table. Beside it lie `run.json`, what was asked of whom and how it ended, and `state`, the
journal and, where a server was asked, the store of its answers. A finished run sends nothing again.
"""

from __future__ import annotations

import contextlib
import json
import logging
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from ...annotation.frames import FirstUses
from ...errors import BudgetExceeded, ConfigError, LLMError, QuestionError, VideoError
from ...files import write_whole
from ...provenance import STATUSES
from ..tables import write_predictions
from .asking import FAILED, Asking, Outcome, Prepared, VideoAnswerer, why_not_asked
from .journal import PredictionJournal

logger = logging.getLogger(__name__)

STATE_FOLDER, RUN_FILE = "state", "run.json"
NOT_ASKED = "not asked"

_USEFUL = ("ok", "empty", "truncated")


class AnsweringRun:
    """A run into a folder, open.

    Args:
        folder: Folder of the table of predictions.
        asking: Questions of the run.
        answerer: Who answers.
        journal: What was answered of it before.
        max_useless: Stop when so many questions came back and none has an answer; 0 never stops for that.

    Raises:
        ConfigError: The folder holds another run.
    """

    def __init__(
        self,
        folder: Path,
        asking: Asking,
        answerer: VideoAnswerer,
        journal: PredictionJournal,
        max_useless: int = 50,
    ):
        self.folder, self.asking, self.answerer, self.journal = folder, asking, answerer, journal
        self.max_useless = max_useless
        self.new: Counter[str] = Counter()  # what came of this run's questions, by status
        self.known = 0
        self._check_folder()

    def _check_folder(self) -> None:
        path = self.folder / RUN_FILE
        if not path.is_file():
            return
        try:
            earlier = json.loads(path.read_text(encoding="utf-8"))
            pairs = {name: earlier[name] for name in ("model", "condition")}
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{path}: no record of a run ({type(error).__name__}: {error})") from error
        for name, value in self._names().items():
            if pairs[name] != value:
                raise ConfigError(f"{self.folder}: it holds answers of {name} {pairs[name]!r}; take another --out")

    def _names(self) -> dict[str, str]:
        """What tells a folder's run from others."""
        return {"model": self.answerer.model, "condition": self.asking.settings.condition}

    def _write_record(self, record: Mapping[str, Any]) -> None:
        write_whole(self.folder / RUN_FILE, json.dumps(record, indent=2, ensure_ascii=False) + "\n")

    def open_questions(self) -> Iterator[tuple[dict[str, Any], str]]:
        """The questions without an answer, those about one video together, each with its fingerprint."""
        for question in self.asking.by_video():
            fingerprint = self.asking.fingerprint(question)
            if self.journal.row(question, fingerprint) is None:
                yield question, fingerprint

    def ask(self, retry: Iterable[str] = (), show_progress: bool = True) -> None:
        """Ask all that has no answer.

        Args:
            retry: Statuses whose questions are asked again.
            show_progress: Whether to show a bar.

        Raises:
            LLMError: The run cannot go on, `BudgetExceeded` among them. What was answered is kept.
        """
        unknown = sorted(set(retry) - set(STATUSES))
        if unknown:
            raise ConfigError(f"--retry takes any of {', '.join(STATUSES)}, got {unknown}")
        # before the first answer: another run must not go on with this one's journal if it is broken off
        self._write_record({**self._names(), "unfinished": True})
        self.answerer.forget(retry)
        if forgotten := self.journal.forget(retry):
            logger.info("%d questions are asked again", forgotten)
        with tqdm(total=len(self.asking), unit=" questions", disable=not show_progress, smoothing=0.1) as bar:

            def keep(asked: Prepared, outcome: Outcome) -> None:
                self._keep(asked.question, asked.fingerprint, outcome, asked.num_frames)
                counts = ", ".join(f"{count} {status}" for status, count in self.new.items())
                bar.set_postfix_str(counts, refresh=False)
                bar.update()
                self._check_use(outcome)

            self.answerer.answer_all(self._prepared(bar), keep)

    def _prepared(self, bar: tqdm) -> Iterator[Prepared]:
        """Questions that are to be asked; those that cannot be asked are kept as rows."""
        for question in self.asking.by_video():
            fingerprint = self.asking.fingerprint(question)
            if self.journal.row(question, fingerprint) is not None:
                self.known += 1
                bar.total = len(self.asking) - self.known  # what is known takes no time
                continue
            ready = self._prepare(question, fingerprint)
            if ready is None:
                bar.update()
            else:
                yield ready

    def _prepare(self, question: dict[str, Any], fingerprint: str) -> Prepared | None:
        """A question to be asked; one that cannot be is a row that says why."""
        try:
            return self.asking.prepare(question, fingerprint)
        except (VideoError, QuestionError) as error:
            manifest = self.asking.videos.manifest
            reason = why_not_asked(error, manifest.video_root if manifest else None)
        logger.warning("question %s of %s: %s", question["question_id"], question["source"], reason)
        outcome = Outcome(FAILED, f"{NOT_ASKED}: {reason}", model=self.answerer.model, was_asked=False)
        self._keep(question, fingerprint, outcome, 0)
        return None

    def _keep(self, question: Mapping[str, Any], fingerprint: str, outcome: Outcome, num_frames: int) -> None:
        row = self.asking.row_of(question, self.answerer.producer, outcome, num_frames)
        self.journal.put(row, fingerprint)
        self.new[row["status"]] += 1

    def _check_use(self, outcome: Outcome) -> None:
        """A model that cannot answer should be found out before it was asked thousands of questions."""
        asked = self.new.total()
        if not self.max_useless or asked < self.max_useless or any(self.new[status] for status in _USEFUL):
            return
        counts = ", ".join(f"{count} {status}" for status, count in self.new.most_common())
        raise LLMError(
            f"none of the first {asked} questions has an answer ({counts}); of the last one: {outcome.text[:200]!r}; "
            "--retry asks these again, --max_useless 0 goes on regardless"
        )

    def rows(self, split: str) -> Iterator[dict[str, Any]]:
        """The rows of a split in the order of its questions; one that was not asked has the status `failed`.

        A request that several questions share was paid for once: the first of them states its tokens and its cost.
        """
        with contextlib.closing(FirstUses()) as uses:
            for question in self.asking.in_order(split):
                row = self.journal.row(question, self.asking.fingerprint(question))
                if row is None:
                    outcome = Outcome(FAILED, NOT_ASKED, model=self.answerer.model, was_asked=False)
                    row = self.asking.row_of(question, self.answerer.producer, outcome, 0)
                elif self.answerer.shares_requests and not uses.first(row["request_hash"]) and row["request_hash"]:
                    row |= {"prompt_tokens": 0, "completion_tokens": 0, "cost_usd": 0.0}
                yield row

    def write(self, seconds: float, stopped: str = "", totals: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Write the table and the record of the run, and return the record.

        Args:
            seconds: Seconds that this run took.
            stopped: Why it was stopped before its end, or empty.
            totals: What else is known of it, such as the money that was spent.
        """
        statuses: Counter[str] = Counter()

        def counted(split: str) -> Iterator[dict[str, Any]]:
            for row in self.rows(split):
                statuses[row["status"]] += 1
                yield row

        settings = {**self.asking.settings.facts(), **self.answerer.facts()}
        shown = ", ".join(f"{name} {value}" for name, value in settings.items())
        write_predictions(
            self.folder,
            {split: counted(split) for split in self.asking.rows},
            title=f"Answers of {Path(self.answerer.model).name} ({self.asking.settings.condition})",
            description=f"Asked with: {shown}." + (f" Stopped before its end: {stopped}." if stopped else ""),
        )
        record = {
            **self._names(),
            "settings": settings,
            "questions": {split: len(rows) for split, rows in self.asking.rows.items()},
            "statuses": dict(statuses),
            "known_before": self.known,
            "asked_now": dict(self.new),
            "seconds": round(seconds, 3),
            **({"stopped": stopped} if stopped else {}),
            **(totals or {}),
        }
        self._write_record(record)
        return record


def answer_questions(
    run: AnsweringRun,
    retry: Iterable[str] = (),
    write_partial: bool = False,
    show_progress: bool = True,
) -> dict[str, Any]:
    """Ask all that has no answer and write the table.

    Args:
        run: The open run.
        retry: Statuses whose questions are asked again.
        write_partial: Whether the table is written also when the money ends; questions that were not asked are failed
            rows then.
        show_progress: Whether to show a bar.

    Returns:
        The record of the run, as `run.json` has it.

    Raises:
        LLMError: The run cannot go on. What was answered is kept.
        BudgetExceeded: The money does not suffice, unless `write_partial`.
    """
    start_s, stopped = time.perf_counter(), ""
    try:
        run.ask(retry, show_progress)
    except BudgetExceeded as error:
        if not write_partial:
            raise
        stopped = str(error)
        logger.warning("%s; the table is written without the questions that were not asked", error)
    return run.write(time.perf_counter() - start_s, stopped, _money(run.answerer))


def _money(answerer: VideoAnswerer) -> dict[str, Any]:
    budget = getattr(answerer, "budget", None)
    return {} if budget is None else {"spent_usd": budget.spent_usd}
