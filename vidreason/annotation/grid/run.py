"""A run over a model from its settings to its table: opened, asked, shown on a progress bar, written, resumed."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections import Counter
from collections.abc import Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from ...errors import ConfigError, LLMError
from ...llm.batch import BatchAnswerer
from ...llm.chat import ANSWER_STATUSES, DEFAULT_MODEL, OK, Answerer, ChatAnswer
from ...llm.client import OpenAIChatClient
from ...llm.cost import Budget, ModelPrice, price_of
from ...llm.online import OnlineAnswerer, RetryLimits
from ...llm.store import RequestStore
from ...manifests.manifest import Manifest
from ..frame_journal import FrameJournal
from ..frame_selection import FramePolicy, find_policy
from ..labels import LabelSource
from ..shard import Shard
from .annotator import LLMAnnotator
from .prompts import load_prompt
from .requests import LLMSettings

logger = logging.getLogger(__name__)


@dataclass
class LLMArguments:
    """--annotator llm: which model is asked about which frames, how, and for how much money."""

    model: str = field(default=DEFAULT_MODEL, metadata={"help": "Name of the model at the server."})
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
    dataset_name: str = field(default="", metadata={"help": "Name of the data set in the prompt."})
    label_in_prompt: bool = field(
        default=True, metadata={"help": "Tell the model the action; such guidance is for training only."}
    )
    max_side_px: int | None = field(default=None, metadata={"help": "Scale pictures down to this longer side."})
    jpeg_quality: int = field(default=90, metadata={"help": "Of the pictures that are sent, 1 to 95."})
    image_detail: str = field(default="auto", metadata={"help": "auto, low or high."})
    max_completion_tokens: int = field(default=300, metadata={"help": "At which an answer is cut."})
    temperature: float | None = field(default=0.0, metadata={"help": "Of the model's sampling."})
    samples_per_frame: int = field(default=1, metadata={"help": "Answers that are merged into one map."})
    structured: bool = field(default=True, metadata={"help": "Ask for answers by JSON schema where the server can."})
    max_in_flight: int = field(default=32, metadata={"help": "Requests at the same time."})
    timeout_s: float = field(default=120.0, metadata={"help": "After which a request counts as lost."})
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
    batch_poll_s: float = field(default=60.0, metadata={"help": "Between two looks at batch jobs."})
    retry: list[str] = field(
        default_factory=list, metadata={"help": "Ask again where an earlier run ended so, such as failed invalid."}
    )
    write_partial: bool = field(
        default=False, metadata={"help": "Write the table also when the money ends; frames not asked are failed rows."}
    )
    dry_run: bool = field(default=False, metadata={"help": "Print videos, frames, tokens and dollars; send nothing."})

    def settings(self, grid: tuple[int, int]) -> LLMSettings:
        """What is asked about each frame."""
        names = ("model", "dataset_name", "label_in_prompt", "max_side_px", "jpeg_quality", "image_detail")
        names += ("max_completion_tokens", "temperature", "samples_per_frame", "structured")
        return LLMSettings(grid=grid, **{name: getattr(self, name) for name in names})

    def frame_policy(self, frames_per_second: float | None) -> FramePolicy:
        """Which frames: the named policy with what was set otherwise."""
        return find_policy(self.policy).changed(self.video_share, self.frames_per_video, frames_per_second)

    def price(self) -> ModelPrice:
        """Of the model's tokens."""
        if not self.price_usd:
            return price_of(self.model, self.base_url or os.environ.get("OPENAI_BASE_URL"))
        if len(self.price_usd) != 2 or min(self.price_usd) < 0:
            raise ConfigError(
                f"--price_usd takes dollars per million prompt and completion tokens, got {self.price_usd}"
            )
        prompt_usd, completion_usd = self.price_usd
        return ModelPrice(prompt_usd, prompt_usd, completion_usd)


@dataclass(frozen=True)
class LLMRun:
    """An open run.

    Args:
        annotator: makes questions and rows.
        store: of answers and money.
        price: of the model.
        args: as given.
        folder: of the run's state.
    """

    annotator: LLMAnnotator
    store: RequestStore
    price: ModelPrice
    args: LLMArguments
    folder: Path

    def ask(self, show_progress: bool = True, max_cost_usd: float | None = None) -> Counter:
        """Ask all that has no answer yet, and return how many requests ended with which status.

        Args:
            show_progress: on a bar with rate, money and time left.
            max_cost_usd: another hard stop than the arguments', such as a shard's part of it.

        Raises:
            LLMError: the run cannot go on.
            BudgetExceeded: the money does not suffice. What was answered is kept in both cases.
        """
        if self.args.retry:
            logger.info("%d answers are asked for again", self.store.forget(self.args.retry))
        cap = self.args.max_cost_usd if max_cost_usd is None else max_cost_usd
        budget = Budget(cap, self.store.totals().spent_usd)
        return _run_to_end(self._ask(budget, show_progress))

    async def _ask(self, budget: Budget, show_progress: bool) -> Counter:
        statuses: Counter = Counter()
        bar = _Bar(self.annotator.num_requests, budget, show_progress)
        with contextlib.closing(bar):
            client = OpenAIChatClient(self.args.base_url, timeout_s=self.args.timeout_s)
            questions = self.annotator.questions(bar.found_answered)
            async with client, contextlib.aclosing(self._answerer(client, budget).answer_all(questions)) as answers:
                async for _, answer in answers:
                    statuses[answer.status] += 1
                    bar.answered(answer.cost_usd)
                    self._check_use(statuses, answer)
        return statuses

    def _check_use(self, statuses: Counter, answer: ChatAnswer) -> None:
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


@contextlib.contextmanager
def open_llm_run(
    manifest: Manifest,
    splits: Sequence[str],
    grid: tuple[int, int],
    folder: Path,
    args: LLMArguments,
    seed: int = 0,
    frames_per_second: float | None = None,
    labels: LabelSource | None = None,
    shard: Shard | None = None,
) -> Iterator[LLMRun]:
    """Open a run and what an earlier one left of it.

    Args:
        manifest: of the videos.
        splits: to annotate.
        grid: (rows, columns).
        folder: of the run's state: answers, ledger, journal, batch files. No key is ever in it.
        args: what is asked.
        seed: of the choice of videos.
        frames_per_second: of the policy, if not its own.
        labels: where the action's name in the prompt comes from.
        shard: the part of the videos that is this run's.

    Raises:
        ConfigError: a setting cannot be used.
        LLMError: the model's price is not known, or the state is not readable.
    """
    unknown = set(args.retry) - set(ANSWER_STATUSES)
    if unknown:
        raise ConfigError(f"--retry takes any of {ANSWER_STATUSES}, got {sorted(unknown)}")
    prompt, settings, price = load_prompt(args.prompt), args.settings(grid), args.price()
    policy = args.frame_policy(frames_per_second)
    with RequestStore(folder / "requests.sqlite") as store, FrameJournal(folder / "frames.sqlite") as journal:
        annotator = LLMAnnotator(manifest, splits, prompt, policy, settings, store, journal, seed, labels, shard)
        yield LLMRun(annotator, store, price, args, folder)


def _run_to_end(coroutine: Coroutine[Any, Any, Counter]) -> Counter:
    """What a coroutine returns, also in a notebook, whose own event loop is running already."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()


class _Bar:
    """Requests done of all, with the rate, the time left, and the money spent and still to be spent."""

    def __init__(self, total: int, budget: Budget, shown: bool):
        self.budget, self.done, self.spent_usd = budget, 0, 0.0
        self.bar = tqdm(total=total, unit=" answers", disable=not shown, smoothing=0.1)
        self.before = 0

    def found_answered(self, count: int) -> None:
        """Requests that an earlier run had answered take no time: they leave the total instead."""
        self.before += count
        self.bar.total = max(self.bar.n, self.bar.total - count)
        self.bar.update(0)  # shown at most ten times a second

    def answered(self, cost_usd: float) -> None:
        self.done += 1
        self.spent_usd += cost_usd
        left_usd = self.spent_usd / self.done * max(0, self.bar.total - self.bar.n - 1)
        cap = "" if self.budget.max_cost_usd is None else f" of {self.budget.max_cost_usd:g}"
        before = f", {self.before} known" if self.before else ""
        self.bar.set_postfix_str(f"${self.budget.spent_usd:.4f}{cap}, ${left_usd:.4f} to go{before}", refresh=False)
        self.bar.update()

    def close(self) -> None:
        self.bar.close()
