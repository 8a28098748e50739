"""What an agent is: the task and the history of a search in, an answer out.

An agent keeps nothing between two calls. All that it may go by is in the `State`, so that a search that was killed is
taken up by showing it the same state again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .proposal import OK


@dataclass(frozen=True)
class Task:
    """What stays the same in all trials of a search: the paper's task description c.

    Args:
        class_names: Names of the actions.
        description: A sentence or two about the videos; may be empty.
        detector: Name of the detector; may be empty.
        vocabulary: Class texts of a closed detector; None where it takes any.
        max_classes: Largest number of classes of a set, the paper's C_max.
        num_trials: Number of trials, the paper's T.
        seed: Seed of the search, so that its repetitions are others.
        max_history_tokens: Most tokens that the history takes in a prompt.
    """

    class_names: tuple[str, ...]
    description: str = ""
    detector: str = ""
    vocabulary: tuple[str, ...] | None = None
    max_classes: int = 8
    num_trials: int = 5
    seed: int = 0
    max_history_tokens: int = 4000


@dataclass(frozen=True)
class Entry:
    """What an agent may know of a trial. There is no test accuracy in it, and no way to one.

    Args:
        number: Number of the trial, from 1.
        class_texts: The set that it proposed; empty where there was none.
        status: One of `proposal.STATUSES`.
        reason: Why the status is not `ok`.
        dropped: (entry, reason) of what its set lacks of the answer.
        accuracy: Accuracy on the validation split; None where there is none.
        class_accuracy: The same for each action.
    """

    number: int
    class_texts: tuple[str, ...] = ()
    status: str = OK
    reason: str = ""
    dropped: tuple[tuple[str, str], ...] = ()
    accuracy: float | None = None
    class_accuracy: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class State:
    """What an agent goes by.

    Args:
        task: What stays the same.
        history: The trials before this one, in order.
        noise_std: Standard deviation of the accuracy between trainings of one set with different seeds; None where it
            was not measured.
    """

    task: Task
    history: tuple[Entry, ...] = ()
    noise_std: float | None = None

    @property
    def number(self) -> int:
        """Number of the trial that is to be proposed, from 1."""
        return len(self.history) + 1

    @property
    def best(self) -> Entry | None:
        """The trial with the highest accuracy, the earliest of equal ones; None where no trial has one."""
        scored = [entry for entry in self.history if entry.accuracy is not None]
        return max(scored, key=lambda entry: entry.accuracy or 0.0, default=None)  # max keeps the first of equal ones


@dataclass(frozen=True)
class Answer:
    """What an agent said, with where it comes from.

    Args:
        text: The answer, word for word.
        status: `ok` for an answer that is to be read, else `refused`, `over_long` or `failed`.
        detail: Why the status is not `ok`.
        without_maps: Whether the agent asks for no maps at all; there is nothing to read then.
        prompt_id: Id of the prompt; empty where no model was asked, as the next ones.
        prompt_sha256: Hash of the prompt's file.
        request_hash: Key of the request in the store of answers.
        model: Name of the model.
        prompt_tokens: Tokens of the prompt, of all requests that the answer took.
        completion_tokens: Tokens of the answer.
        cost_usd: Cost in USD.
    """

    text: str
    status: str = OK
    detail: str = ""
    without_maps: bool = False
    prompt_id: str = ""
    prompt_sha256: str = ""
    request_hash: str = ""
    model: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float = 0.0


class Agent(ABC):
    """Proposes classes of objects. `name` is its name in tables and recipes."""

    name: str

    @property
    def key(self) -> dict[str, Any]:
        """All settings that decide on what it proposes, as JSON: a search goes on only with the same agent."""
        return {"name": self.name}

    def check(self, task: Task) -> None:
        """Refuse a task that the agent cannot work at, before anything is trained.

        Args:
            task: What will be asked of it.

        Raises:
            ConfigError: It needs something that the task does not have, such as a vocabulary.
        """
        del task

    def num_trials(self, task: Task) -> int:
        """Number of trials that it makes; an agent with one answer has one."""
        return task.num_trials

    @abstractmethod
    def propose(self, state: State) -> Answer:
        """The next proposal, one concept a line.

        Args:
            state: Task and history.

        Raises:
            LLMError: A language model cannot be asked, and the search cannot go on.
        """

    def explain(self, state: State, chosen: tuple[str, ...]) -> Answer | None:
        """Why the chosen set works, in the agent's own words; None where it has none.

        Args:
            state: Task and the whole history.
            chosen: The set that the search ended with.
        """
        del state, chosen
        return None
