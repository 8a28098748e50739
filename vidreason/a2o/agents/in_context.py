"""Agents over a language model: the paper's, and three baselines that differ in what they are shown.

- `InContextAgent`: task and history, the paper's method.
- `StaticAgent`: the task alone, as often as there are trials (Static prompts).
- `PoolAgent`: the model names what may be relevant, then puts combinations together, without a reward (Prompt pool).
- `ForeignHistoryAgent`: the history of a search on other data comes first (OOD-history).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ...errors import ConfigError
from ...reporting.seeds import derive_seed
from ..agent import Agent, Answer, Entry, State, Task
from ..history import render_history
from ..proposal import OK, parse_proposal
from .language_model import LanguageModel, load_prompt

_POOL_FACTOR = 4
"""The pool holds as many objects as this many sets would."""


def _values(task: Task) -> dict[str, Any]:
    return {
        "class_names": task.class_names,
        "description": task.description,
        "detector": task.detector,
        "vocabulary": task.vocabulary,
        "max_classes": task.max_classes,
        "num_trials": task.num_trials,
    }


class InContextAgent(Agent):
    """The paper's agent: what was tried and what it brought is in the prompt, and nothing else is learned.

    Args:
        model: The language model.
        name: Name in tables; by default that of the kind.
    """

    name = "in_context"

    def __init__(self, model: LanguageModel, name: str = ""):
        self.name = name or self.name
        self.model = model
        self.prompt = load_prompt(model.search_prompt)

    @property
    def key(self) -> dict[str, Any]:
        """Name and model."""
        return {"name": self.name, **self.model.key}

    def propose(self, state: State) -> Answer:
        """Ask with the history up to here."""
        noise = None if state.noise_std is None else f"{100 * state.noise_std:.1f}"
        values = {**_values(state.task), "history": self._history(state), "noise_points": noise}
        return self._ask(values, state)

    def _history(self, state: State) -> str:
        return render_history(state)

    def _ask(self, values: Mapping[str, Any], state: State) -> Answer:
        # another seed for every trial: without a history to tell them apart, equal requests have one answer
        seed = derive_seed(state.task.seed, self.name, state.number)
        return self.model.ask(self.prompt, values, seed, state.task.max_classes, state.task.vocabulary)

    def explain(self, state: State, chosen: tuple[str, ...]) -> Answer | None:
        """A summary of why the set works, asked for afterwards as in the paper's section 4.5.1."""
        history = render_history(state)
        values = {"class_names": state.task.class_names, "history": history, "chosen": chosen}
        return self.model.ask(load_prompt("reasons"), values, derive_seed(state.task.seed, self.name, "reasons"))


class StaticAgent(InContextAgent):
    """Every proposal is made from the task alone, with another seed: the model is never told what came of one."""

    name = "static"

    def propose(self, state: State) -> Answer:
        """Ask without a history."""
        return self._ask({**_values(state.task), "history": "", "noise_points": None}, state)


class ForeignHistoryAgent(InContextAgent):
    """A search with the history of another search in front, on data of other actions.

    Args:
        model: The language model.
        name: Name in tables; empty takes that of the kind.
        entries: Trials of the other search.
        source: What its data set is called.
    """

    name = "ood_history"

    def __init__(self, model: LanguageModel, name: str, entries: Sequence[Entry], source: str):
        super().__init__(model, name)
        if not entries:
            raise ConfigError("ood_history needs the trials of another search, and there are none")
        self.entries, self.source = tuple(entries), source

    @property
    def key(self) -> dict[str, Any]:
        """Name, model and the foreign trials."""
        trials = [[entry.number, list(entry.class_texts), entry.accuracy] for entry in self.entries]
        return {**super().key, "source": self.source, "trials": trials}

    def _history(self, state: State) -> str:
        # each history has half of the room, so that a long foreign one does not push the search's own out
        task = replace(state.task, max_history_tokens=max(1, state.task.max_history_tokens // 2))
        foreign = render_history(State(task, self.entries), heading=f"Iteration on {self.source}")
        own = render_history(replace(state, task=task))
        intro = f"These iterations were made on other data ({self.source}), with other actions:"
        return "\n\n".join(filter(None, [intro, foreign, own and "And these on the actions above:", own]))


class PoolAgent(InContextAgent):
    """A pool of objects first, then combinations of them: a wider search without a reward to guide it.

    The paper's model gives all combinations at once; here each is asked for on its own, with those before it, so that
    the answer has the one form that is read, and a small model can give it.
    """

    name = "pool"

    def propose(self, state: State) -> Answer:
        """Ask for the pool, which the store answers from the second trial on, and then for a combination."""
        task = state.task
        values = {**_values(task), "num_objects": _POOL_FACTOR * task.max_classes, "history": ""}
        seed = derive_seed(task.seed, self.name)
        listed = self.model.ask(
            load_prompt("pool_enumerate"), values, seed, _POOL_FACTOR * task.max_classes, task.vocabulary
        )
        if listed.status != OK:
            return listed
        read = parse_proposal(listed.text, _POOL_FACTOR * task.max_classes, (), task.vocabulary)
        if read.status != OK:
            return listed  # which is read again as a proposal, and has the status that it deserves
        earlier = [entry.class_texts for entry in state.history if entry.class_texts]
        values |= {"pool": read.class_texts, "combinations": earlier, "number": state.number}
        seed = derive_seed(task.seed, self.name, state.number)
        answer = self.model.ask(load_prompt("pool_combine"), values, seed, task.max_classes, read.class_texts)
        if state.number > 1:
            return answer
        # the pool is paid for once, with the first trial
        return replace(
            answer,
            prompt_tokens=answer.prompt_tokens + listed.prompt_tokens,
            completion_tokens=answer.completion_tokens + listed.completion_tokens,
            cost_usd=answer.cost_usd + listed.cost_usd,
        )
