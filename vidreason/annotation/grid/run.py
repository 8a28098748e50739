"""A run over a model from its settings to its rows: opened, asked, shown on a progress bar, resumed.

`LLMArguments` are the settings of a run, and the producer `llm`; an `LLMRun` is a run that is open, with what an
earlier one left of it.
"""

from __future__ import annotations

import contextlib
import logging
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import ClassVar

from tqdm.auto import tqdm

from ...boxes_in_text import find_family
from ...errors import BudgetExceeded, ConfigError, LLMError
from ...llm.batch import BatchAnswerer
from ...llm.chat import ANSWER_STATUSES, OK, Answerer, ChatAnswer
from ...llm.client import OpenAIChatClient
from ...llm.cost import Budget, ModelPrice, given_or_listed_price, token_rule
from ...llm.online import OnlineAnswerer, RetryLimits, run_to_end
from ...llm.store import RequestStore
from ..frames import FrameJournal, FramePolicy, find_labels, find_policy
from ..job import Annotation, AnnotationRun, AnnotationTask, Producer
from .annotator import PRODUCER, LLMAnnotator, LLMSettings
from .prompts import load_prompt

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LLMArguments(LLMSettings, Producer):
    """--annotator llm: which model is asked about which frames, how, and for how much money."""

    name: ClassVar[str] = PRODUCER
    operation: ClassVar[tuple[str, ...]] = (
        *("max_in_flight", "timeout_s", "max_attempts", "max_cost_usd", "max_useless"),
        *("batch", "batch_poll_s", "dry_run"),
    )

    base_url: str | None = field(
        default=None, metadata={"help": "Server, such as http://localhost:8000/v1; OPENAI_BASE_URL or OpenAI's else."}
    )
    prompt: str = field(
        default="general", metadata={"help": "ucf, ssv2, desktop_assembly, general, or a file of your own."}
    )
    policy: str = field(
        default="ucf",
        metadata={"help": "Frames, as the paper chose them: ucf, ssv2, desktop_assembly; or all_frames."},
    )
    video_share: float | None = field(default=None, metadata={"help": "Share of the videos, if not the policy's."})
    frames_per_video: int | None = field(default=None, metadata={"help": "Uniform frames, if not the policy's."})
    max_in_flight: int = field(default=32, metadata={"help": "Requests at the same time."})
    timeout_s: float = field(default=120.0, metadata={"help": "Seconds after which a request counts as lost."})
    max_attempts: int = field(default=4, metadata={"help": "Attempts at a request that does not get through."})
    max_cost_usd: float | None = field(
        default=None, metadata={"help": "Hard stop for all runs into --out together, counting what is in flight."}
    )
    price_usd: list[float] = field(
        default_factory=list, metadata={"help": "Dollars per million prompt and completion tokens, if not the list's."}
    )
    max_useless: int = field(
        default=50, metadata={"help": "Stop when so many answers came and none could be used; 0 never stops for that."}
    )
    batch: bool = field(default=False, metadata={"help": "Ask by batch jobs: half the price, within a day."})
    batch_poll_s: float = field(default=60.0, metadata={"help": "Seconds between two looks at batch jobs."})
    retry: list[str] = field(
        default_factory=list, metadata={"help": "Ask again where an earlier run ended so, such as failed invalid."}
    )
    write_partial: bool = field(
        default=False, metadata={"help": "Write the table also when the money ends; frames not asked are failed rows."}
    )
    dry_run: bool = field(default=False, metadata={"help": "Print videos, frames, tokens and dollars; send nothing."})

    def __post_init__(self) -> None:
        super().__post_init__()
        # not "< 0", which lets NaN pass, and NaN would never be exceeded
        if self.max_cost_usd is not None and not 0 <= self.max_cost_usd < math.inf:
            raise ConfigError(f"--max_cost_usd is {self.max_cost_usd}, expected a number of dollars from 0 on")

    def frame_policy(self, frames_per_second: float | None) -> FramePolicy:
        """Which frames: the named policy with what was set otherwise."""
        return find_policy(self.policy).changed(self.video_share, self.frames_per_video, frames_per_second)

    def price(self) -> ModelPrice:
        """The price of the model's tokens: as it was given, else as the list has it.

        Raises:
            ConfigError: what was given is no pair of prices; or nothing was given, the list has no price either, and
                OpenAI is asked or money is capped.
        """
        return given_or_listed_price(self.price_usd, self.model, self.base_url, self.max_cost_usd is not None)

    @contextlib.contextmanager
    def open(self, task: AnnotationTask) -> Iterator[LLMRun]:
        """Open a run and what an earlier one left of it, for a plan or for asking.

        Args:
            task: What to annotate. Answers, ledger, journal and batch files are in its folder; no key ever is.

        Raises:
            ConfigError: a setting cannot be used.
            LLMError: the state is not readable, or texts cannot be counted.
        """
        unknown = set(self.retry) - set(ANSWER_STATUSES)
        if unknown:
            raise ConfigError(f"--retry takes any of {ANSWER_STATUSES}, got {sorted(unknown)}")
        args, folder, manifest = task.args, task.folder, task.load_manifest()
        grid, labels = args.grid_size, find_labels(manifest, args.manifest, args.splits, args.labels)
        prompt, price, policy = load_prompt(self.prompt), self.price(), self.frame_policy(args.frames_per_second)
        if prompt.form == "im_o" and self.coordinates == "auto" and find_family(self.model) is None:
            logger.warning(
                "it is not known in which scale %r writes coordinates; they are read as the prompt asks for them, in "
                "pixels of the picture: --coordinates says otherwise",
                self.model,
            )
        # two files: the journal can be made again from the videos, while the store holds what was paid for
        with RequestStore(folder / "requests.sqlite") as store, FrameJournal(folder / "frames.sqlite") as journal:
            annotator = LLMAnnotator(
                *(manifest, args.splits, grid, prompt, policy, self, store, journal),
                *(args.seed, labels, task.shard),
            )
            yield LLMRun(annotator, store, price, self, folder)

    @contextlib.contextmanager
    def annotate(self, task: AnnotationTask) -> Iterator[Annotation]:
        """Ask about all frames that have no answer yet, and give the rows of all."""
        with self.open(task) as run:
            task.announce(run)
            stopped = None
            # parts share no ledger, so each may spend its share of the cap alone
            cap_usd = None if self.max_cost_usd is None else self.max_cost_usd / task.shard.count
            try:
                run.ask(task.progress, cap_usd)
            except BudgetExceeded as error:
                if not self.write_partial:
                    raise
                # the table's facts say so, or a reader could take it for a whole one
                stopped = str(error)
                logger.warning("%s; the table is written without the frames that were not asked about", error)
            rows = {split: run.annotator.rows(split, partial=stopped is not None) for split in task.args.splits}
            yield Annotation(rows, run.facts(stopped), run.annotator.notes, run.annotator.num_kept)


@dataclass(frozen=True)
class LLMRun:
    """An open run.

    Args:
        annotator: Makes questions and rows.
        store: Store of answers and money.
        price: Price of the model.
        args: Settings as given.
        folder: Folder of the run's state.
    """

    annotator: LLMAnnotator
    store: RequestStore
    price: ModelPrice
    args: LLMArguments
    folder: Path

    def ask(self, show_progress: bool = True, max_cost_usd: float | None = None) -> Counter[str]:
        """Ask all that has no answer yet, and return how many requests ended with which status.

        Args:
            show_progress: Whether to show a bar with rate, money and time left.
            max_cost_usd: Another hard stop in USD than the arguments', such as a shard's part of it.

        Raises:
            LLMError: the run cannot go on.
            BudgetExceeded: the money does not suffice. What was answered is kept in both cases.
        """
        if self.args.retry:
            logger.info("%d answers are asked for again", self.store.forget(self.args.retry))
        cap = self.args.max_cost_usd if max_cost_usd is None else max_cost_usd
        # with what earlier runs spent or left in flight: the cap is on all runs into a folder together
        budget = Budget(cap, self.store.totals().spent_usd)
        return run_to_end(self._ask(budget, show_progress))

    async def _ask(self, budget: Budget, show_progress: bool) -> Counter[str]:
        statuses: Counter[str] = Counter()
        bar = _Bar(self.annotator.num_requests, budget, show_progress)
        with contextlib.closing(bar):
            client = OpenAIChatClient(self.args.base_url, timeout_s=self.args.timeout_s)
            questions = self.annotator.questions(bar.found_answered)
            # closed also when `_check_use` raises, or tasks would go on asking and paying
            async with client, contextlib.aclosing(self._answerer(client, budget).answer_all(questions)) as answers:
                async for _, answer in answers:
                    self.annotator.keep(answer)
                    statuses[answer.status] += 1
                    bar.answered(answer.cost_usd)
                    self._check_use(statuses, answer)
        return statuses

    def _check_use(self, statuses: Counter[str], answer: ChatAnswer) -> None:
        """A model that cannot do the task should be found out before it was paid for thousands of frames."""
        if statuses[OK] or not self.args.max_useless or statuses.total() < self.args.max_useless:
            return
        counts = ", ".join(f"{count} {status}" for status, count in statuses.most_common())
        raise LLMError(
            f"none of the first {statuses.total()} answers can be used ({counts}); of the last one: "
            f"{(answer.detail or answer.text)[:200]!r}; --retry asks these again, --max_useless 0 goes on regardless"
        )

    def _answerer(self, client: OpenAIChatClient, budget: Budget) -> Answerer:
        if self.args.batch:
            return BatchAnswerer(
                client, self.store, self.price, budget, self.folder / "batches", poll_s=self.args.batch_poll_s
            )
        return OnlineAnswerer(
            client,
            self.store,
            self.price,
            budget,
            max_in_flight=self.args.max_in_flight,
            limits=RetryLimits(max_attempts=self.args.max_attempts),
        )

    def facts(self, stopped: str | None = None) -> AnnotationRun:
        """What this producer alone knows of a run.

        Args:
            stopped: Why the run was stopped before its end, or None.
        """
        args, totals = self.args, asdict(self.store.totals())
        outcomes = totals.pop("outcomes")
        return AnnotationRun(
            model=args.model,
            prompt_id=self.annotator.prompt.prompt_id,
            prompt_sha256=self.annotator.prompt.sha256,
            policy=self.annotator.policy.description,
            label_in_prompt=args.label_in_prompt,
            image_settings={name: getattr(args, name) for name in ("max_side_px", "jpeg_quality", "image_detail")},
            settings={
                **{name: getattr(args, name) for name in ("dataset_name", "temperature", "max_completion_tokens")},
                **{name: getattr(args, name) for name in ("samples_per_frame", "structured", "batch")},
                # estimates, and so what a cap holds back, depend on it
                "tokens_counted_by": token_rule(),
                **({"coordinates": args.convention.unit} if self.annotator.prompt.form == "im_o" else {}),
                **({"extra_body": args.extra_body} if args.extra_body else {}),
                **({"stopped": stopped} if stopped else {}),
            },
            totals={
                "videos": sum(len(rows) for rows in self.annotator.videos.values()),
                **totals,
                # open ones were left by a kill, and count as spent
                **{f"attempts: {outcome or 'open'}": count for outcome, count in outcomes.items()},
            },
        )


class _Bar:
    """Requests done of all, with the rate, the time left, and the money spent and still to be spent."""

    def __init__(self, total: int, budget: Budget, shown: bool):
        self.budget, self.total, self.done, self.spent_usd, self.known = budget, total, 0, 0.0, 0
        # smoothing below tqdm's 0.3: answers come in bursts, which should not make the time left jump
        self.bar = tqdm(total=total, unit=" answers", disable=not shown, smoothing=0.1)

    def found_answered(self, count: int) -> None:
        """Requests that an earlier run had answered take no time: they leave the total instead."""
        self.known += count
        self.total = max(self.done, self.total - count)
        self.bar.total = self.total
        self.bar.update(0)  # shown at most ten times a second

    def answered(self, cost_usd: float) -> None:
        """Count an answer that came in, with its cost in USD."""
        self.done += 1
        self.spent_usd += cost_usd
        # by the mean of this run's answers, since estimates do not know how long answers get
        left_usd = self.spent_usd / self.done * max(0, self.total - self.done)
        cap = "" if self.budget.max_cost_usd is None else f" of {self.budget.max_cost_usd:g}"
        known = f", {self.known} known" if self.known else ""
        self.bar.set_postfix_str(f"${self.budget.spent_usd:.4f}{cap}, ${left_usd:.4f} to go{known}", refresh=False)
        self.bar.update()

    def close(self) -> None:
        """Leave the bar as it is."""
        self.bar.close()
