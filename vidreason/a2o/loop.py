"""The search: an agent proposes classes, a model is trained with their maps, and its accuracy comes back to the agent.

Algorithm 1 of the paper, with what it leaves open settled as follows. A proposal that cannot be used is a trial with a
status, and the agent is told. The set that comes first is trained with several seeds, which measures the noise of the
reward; the agent is told of it, and `choice` counts with it. A search can be killed at any moment: what was asked lies
in the store of requests, what was trained in the store of trials, and the same call goes on from there.
"""

from __future__ import annotations

import json
import logging
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from ..errors import ComputeExceeded, ConfigError, DetectionError, LLMError, TrainingError, VideoError
from ..files import held_lock, write_whole
from ..reporting.seeds import derive_seed
from .agent import Agent, Answer, State, Task
from .choice import candidates, noise_std, settle
from .environment import Environment, FinalOutcome, Outcome
from .proposal import OK, STATUSES, Proposal, parse_proposal
from .trials import FULL, PROXY, Trial, TrialStore, trial_rows, trials_table, write_trials

logger = logging.getLogger(__name__)

STORE_NAME, TABLE_NAME, PAGE_NAME, FACTS_NAME = "trials.sqlite", "trials", "search.md", "search.json"
LOCK_NAME = "search.lock"

_Brought = TypeVar("_Brought", Outcome, FinalOutcome)


@dataclass(frozen=True)
class SearchSettings:
    """How a search goes.

    Args:
        num_trials: Number of proposals, the paper's T.
        max_classes: Largest number of classes of a set, the paper's C_max.
        seed: Seed of the search; its repetitions have others.
        noise_seeds: Number of seeds that the first set is trained with, and those that are close at the end; 1
            measures no noise.
        max_history_tokens: Most tokens of the history in a prompt.
        max_search_s: Time in seconds that all proxy trainings together may take, what is running counted in; None sets
            no limit. The training in full is not among them.
        trial_estimate_s: Time in seconds that a proxy training takes, before one has shown it.

    Raises:
        ConfigError: A number is out of range.
    """

    num_trials: int = field(default=5, metadata={"help": "Number of proposals."})
    max_classes: int = field(default=8, metadata={"help": "Largest number of classes of a set."})
    seed: int = field(default=0, metadata={"help": "Seed of the search; its repetitions have others."})
    noise_seeds: int = field(
        default=3, metadata={"help": "Seeds of the first set and of close ones; 1 measures no noise."}
    )
    max_history_tokens: int = field(default=4000, metadata={"help": "Most tokens of the history in a prompt."})
    max_search_s: float | None = field(
        default=None, metadata={"help": "Hard stop in seconds of all proxy trainings, the next one counted in."}
    )
    trial_estimate_s: float | None = field(
        default=None, metadata={"help": "Seconds of a proxy training, before one has shown it."}
    )

    def __post_init__(self) -> None:
        for name in ("num_trials", "max_classes", "noise_seeds", "max_history_tokens"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}, expected at least 1")
        for name in ("max_search_s", "trial_estimate_s"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < math.inf:  # not "< 0", which lets NaN pass
                raise ConfigError(f"{name} is {value}, expected a number of seconds")

    @property
    def proxy_seeds(self) -> list[int]:
        """Seeds of proxy trainings; every set is trained with the first, so that all begin with the same weights."""
        return [derive_seed(self.seed, "proxy", number) for number in range(self.noise_seeds)]

    @property
    def key(self) -> dict[str, Any]:
        """What of them decides on results; the limits only decide whether there are any."""
        left_out = {"max_search_s", "trial_estimate_s"}
        return {entry.name: getattr(self, entry.name) for entry in fields(self) if entry.name not in left_out}


@dataclass(frozen=True)
class SearchResult:
    """What a search found.

    Args:
        class_texts: The chosen set.
        chosen: Number of its trial.
        trials: All trials, in order.
        noise_std: Standard deviation of the reward between seeds; None where it was not measured.
        final: What the training in full brought.
        reasons: Why the set works, in the agent's words; empty where it has none.
        agent: Name of the agent.
    """

    class_texts: tuple[str, ...]
    chosen: int
    trials: tuple[Trial, ...]
    noise_std: float | None
    final: FinalOutcome
    reasons: str
    agent: str

    def rows(self) -> list[dict[str, Any]]:
        """The trials as rows of `trials.FEATURES`."""
        return trial_rows(self.trials, self.agent, self.chosen, self.final)

    def facts(self) -> dict[str, Any]:
        """What came out, as JSON."""
        return {
            "agent": self.agent,
            "class_texts": list(self.class_texts),
            "chosen": self.chosen,
            "noise_std": self.noise_std,
            "proxy_accuracy": self.trials[self.chosen - 1].mean_accuracy(),
            "validation_accuracy": self.final.validation.accuracy,
            "test_accuracy": dict(self.final.test_accuracy),
            "model_path": self.final.model_path,
            "reasons": self.reasons,
        }


def search(
    environment: Environment, agent: Agent, folder: str | os.PathLike, settings: SearchSettings | None = None
) -> SearchResult:
    """Search for a set of classes, and train in full with it.

    Args:
        environment: What trains and evaluates.
        agent: What proposes.
        folder: Folder of the search: its store, and at the end its table of trials and its page. A search that was
            broken off there goes on.
        settings: How the search goes.

    Raises:
        ConfigError: The folder holds a search of other settings, or one that is going on in another process; or the
            agent cannot work at this task.
        LLMError: A language model cannot be asked; BudgetExceeded among them. The same call goes on later.
        ComputeExceeded: The next training could take more time than is left; likewise, with a higher limit.
        TrainingError: No trial brought a reward, or trainings of one seed began from different weights.
    """
    # two of them would pay for every proposal twice, and each would write the other's trials
    busy = f"another process is searching in {folder}: wait for its end, or name another folder"
    with held_lock(Path(folder) / LOCK_NAME, busy), TrialStore(Path(folder) / STORE_NAME) as store:
        return _Search(environment, agent, store, settings or SearchSettings()).run()


class _Search:
    """One call of `search`."""

    def __init__(self, environment: Environment, agent: Agent, store: TrialStore, settings: SearchSettings):
        self.environment, self.agent, self.store, self.settings = environment, agent, store, settings
        vocabulary = environment.vocabulary
        self.task = Task(
            class_names=tuple(environment.class_names),
            description=environment.description,
            detector=environment.detector,
            vocabulary=None if vocabulary is None else tuple(vocabulary),
            max_classes=settings.max_classes,
            num_trials=settings.num_trials,
            seed=settings.seed,
            max_history_tokens=settings.max_history_tokens,
        )

    def run(self) -> SearchResult:
        self.agent.check(self.task)
        self._check_estimate()
        self.store.settle_key(
            {"environment": self.environment.key, "agent": self.agent.key, "settings": self.settings.key}
        )
        self._check_weights()  # of an earlier process, which ended when they differed: nothing more is trained
        for number in range(1, self.agent.num_trials(self.task) + 1):
            self._trial(number)
        # before what may fail, so that the table is there in any case
        self._write_table(trial_rows(self.store.trials(), self.agent.name))
        chosen = self._choose()
        final = self.store.final(chosen.number)
        if final is None:
            seed = derive_seed(self.settings.seed, "final")
            final = self._train(
                FULL, chosen.number, seed, 0.0, lambda: self.environment.final(chosen.class_texts, seed)
            )
        result = self._result(chosen, final)
        self._write_table(result.rows())
        write_whole(self.store.path.parent / PAGE_NAME, search_page(result))
        write_whole(self.store.path.parent / FACTS_NAME, json.dumps(result.facts(), indent=2) + "\n")
        return result

    def _write_table(self, rows: list[dict[str, Any]]) -> None:
        write_trials(self.store.path.parent / TABLE_NAME, rows)

    def _check_estimate(self) -> None:
        """Without an estimate the first training could take any time, as a request of unknown price any money."""
        if self.settings.max_search_s is not None and self._estimate_s(()) is None:
            raise ConfigError("max_search_s needs an estimate of one training: give trial_estimate_s")

    def _state(self) -> State:
        trials = self.store.trials()
        return State(self.task, tuple(trial.entry() for trial in trials), noise_std(trials))

    # a trial

    def _trial(self, number: int) -> None:
        """One trial, or what an earlier process left of it to be done."""
        trials = self.store.trials()
        if len(trials) < number:
            answer, proposal = self._propose(trials)
            self.store.add(number, answer, proposal)
            trials = self.store.trials()
        trial = trials[number - 1]
        if trial.proposal.status != OK:
            logger.info("trial %d: %s (%s)", number, trial.status, trial.reason)
            return
        # the first set that brings a reward shows how much of it is chance
        is_first = not any(earlier.status == OK for earlier in trials[: number - 1])
        self._train_proxies(trial, self.settings.proxy_seeds if is_first else self.settings.proxy_seeds[:1])
        trial = self.store.trials()[number - 1]
        logger.info(
            "trial %d: %s, %s: %.4f", number, trial.status, ", ".join(trial.class_texts) or "no maps", trial.reward
        )

    def _propose(self, trials: list[Trial]) -> tuple[Answer, Proposal]:
        answer = self.agent.propose(self._state())
        earlier = {frozenset(trial.class_texts) for trial in trials if trial.class_texts}
        if answer.without_maps:
            return answer, Proposal(OK)
        if answer.status != OK:
            return answer, Proposal(answer.status, reason=answer.detail or answer.status)
        # an agent of one answer, such as all keypoints of a skeleton, is not cut: its set is what it stands for
        limit = self.task.max_classes if self.agent.num_trials(self.task) > 1 else len(answer.text.splitlines()) or 1
        return answer, parse_proposal(answer.text, limit, earlier, self.task.vocabulary, self.environment.check_text)

    def _train_proxies(self, trial: Trial, seeds: list[int]) -> None:
        done = {training.seed for training in trial.trainings}
        for seed in seeds:
            if seed not in done:
                self._train_proxy(trial, seed)
            # a set that fails with the first seed has no reward, whatever the others bring
            first = self.store.trials()[trial.number - 1].trainings[0]
            if not math.isfinite(first.accuracy):
                return

    def _train_proxy(self, trial: Trial, seed: int) -> None:
        left_s, reserved_s = self._reserve(trial)
        limit = {} if left_s is None else {"max_seconds": left_s}
        self._train(
            *(PROXY, trial.number, seed, reserved_s),
            lambda: self.environment.proxy(trial.class_texts, seed, trial.number, **limit),
        )
        self._check_weights()

    def _train(self, kind: str, trial: int, seed: int, reserved_s: float, train: Callable[[], _Brought]) -> _Brought:
        """Train between two lines in the store; None where a proxy training came to nothing."""
        training_id = self.store.begin(kind, trial, seed, reserved_s)
        began = time.monotonic()
        try:
            brought = train()
        except ComputeExceeded:
            self.store.cut(training_id, time.monotonic() - began)
            raise
        except (TrainingError, DetectionError, VideoError) as error:
            if kind == FULL:
                raise
            # the agent is told, and the next trial may fare better
            self.store.end(training_id, None, time.monotonic() - began, f"{error}")
            return None  # type: ignore[return-value]  # of proxies alone
        self.store.end(training_id, brought, time.monotonic() - began)
        return brought

    def _check_weights(self) -> None:
        """Sets are compared by their rewards, so that they must begin from the same weights."""
        first: dict[int, str] = {}
        for trial in self.store.trials():
            for training in trial.trainings:
                found = training.outcome.initial_weights_sha256 if training.outcome else ""
                if found and first.setdefault(training.seed, found) != found:
                    raise TrainingError(
                        f"trial {trial.number} with seed {training.seed} began from other weights than an earlier "
                        f"training: rewards cannot be compared"
                    )

    # time

    def _estimate_s(self, class_texts: tuple[str, ...]) -> float | None:
        known = (self.store.longest_s(), self.environment.estimate_s(class_texts), self.settings.trial_estimate_s)
        measured, estimated, given = known
        if measured is not None or estimated is not None:
            return max(seconds for seconds in (measured, estimated) if seconds is not None)
        return given

    def _reserve(self, trial: Trial) -> tuple[float | None, float]:
        """Time in seconds that is left, None for any, and the time that is set aside for the next training.

        Raises:
            ComputeExceeded: So much is not left.
        """
        estimate_s = self._estimate_s(trial.class_texts) or 0.0
        limit_s = self.settings.max_search_s
        if limit_s is None:
            return None, estimate_s
        left_s = limit_s - self.store.spent_s()
        if estimate_s > left_s:
            raise ComputeExceeded(
                f"trial {trial.number} could take {estimate_s:.1f} s, and of max_search_s {limit_s:.1f} s are "
                f"{max(0.0, left_s):.1f} s left"
            )
        return left_s, estimate_s

    # the end

    def _choose(self) -> Trial:
        trials = self.store.trials()
        noise = noise_std(trials)
        near = candidates(trials, noise)
        if len(near) > 1:
            for trial in near:
                self._train_proxies(trial, self.settings.proxy_seeds)
            numbers = [trial.number for trial in near]
            near = [trial for trial in self.store.trials() if trial.number in numbers]
        chosen = settle(near)
        if chosen is None:
            counts = {status: sum(trial.status == status for trial in trials) for status in STATUSES}
            shown = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
            raise TrainingError(f"no trial brought a reward ({shown}); the last one: {trials[-1].reason}")
        return chosen

    def _result(self, chosen: Trial, final: FinalOutcome) -> SearchResult:
        reasons = self.store.fact("reasons")
        if reasons is None:
            # afterwards, as the paper does: an answer with reasons in it would be no plain list
            try:
                answer = self.agent.explain(self._state(), chosen.class_texts)
            except LLMError as error:
                # what was searched and trained is worth more than its explanation, which the next call asks for again
                logger.warning("the agent could not be asked for its reasons: %s", error)
                reasons = ""
            else:
                reasons = "" if answer is None else answer.text  # reasons that are cut are reasons
                self.store.set_fact("reasons", reasons)
        trials = tuple(self.store.trials())
        noise = noise_std(trials)
        return SearchResult(chosen.class_texts, chosen.number, trials, noise, final, reasons, self.agent.name)


def search_page(result: SearchResult) -> str:
    """A search on one Markdown page."""
    rows = result.rows()
    noise = "was not measured" if result.noise_std is None else f"is {100 * result.noise_std:.2f} points"
    shown = ", ".join(result.class_texts) or "no maps"
    tests = ", ".join(f"{split} {accuracy:.2%}" for split, accuracy in result.final.test_accuracy.items())
    lines = [
        f"# A search by `{result.agent}`",
        f"Chosen: **{shown}** (trial {result.chosen} of {len(result.trials)}).",
        f"Trained in full: validation {result.final.validation.accuracy:.2%}, {tests or 'no test split'}.",
        f"The noise of the proxy reward (standard deviation between seeds of one set) {noise}.",
        trials_table(rows),
    ]
    if result.reasons:
        lines += ["## The agent's reasons", "\n".join(f"> {line}" for line in result.reasons.splitlines())]
    return "\n\n".join(lines) + "\n"


__all__ = ["SearchResult", "SearchSettings", "search", "search_page"]
