"""Agents: what proposes the classes of objects. A new one is a class of its own with a function in `AGENTS`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ...errors import ConfigError
from ...files import read_folder
from ...llm.store import RequestStore
from ..agent import Agent, Answer, Entry, State, Task
from .in_context import ForeignHistoryAgent, InContextAgent, PoolAgent, StaticAgent
from .keyless import CoordinateAgent, NearestAgent, NoMapsAgent, RandomAgent, SkeletonAgent
from .language_model import LanguageModel, local_model, openai_model

Settings = Mapping[str, Any]

LANGUAGE_MODELS: dict[str, Callable[..., LanguageModel]] = {"openai": openai_model, "smollm2": local_model}
"""Kinds of language models. "smollm2" takes the folder of any other small model as its `model`, too."""


def _asking(kind: type[InContextAgent], default: str) -> Callable[[Settings, RequestStore], Agent]:
    def make(settings: Settings, store: RequestStore) -> Agent:
        own = dict(settings)
        model = own.pop("language_model", default)
        # in tables, static prompts of a small model are another agent than those of a large one
        name = model if kind is InContextAgent else f"{kind.name} ({model})"
        return kind(_language_model(model, own, store), name)

    return make


def _language_model(name: str, settings: Settings, store: RequestStore) -> LanguageModel:
    if name not in LANGUAGE_MODELS:
        raise ConfigError(f"language_model is {name!r}, expected one of {', '.join(LANGUAGE_MODELS)}")
    return LANGUAGE_MODELS[name](store, **settings)


def _ood_history(settings: Settings, store: RequestStore) -> Agent:
    own = dict(settings)
    name, folder, source = own.pop("language_model", "openai"), own.pop("history", None), own.pop("source", None)
    if folder is None:
        raise ConfigError("agent ood_history needs history: the folder of another search's table of trials")
    source, entries = source or Path(folder).resolve().parent.name, foreign_entries(folder)
    agent_name = f"{ForeignHistoryAgent.name} ({name})"
    return ForeignHistoryAgent(_language_model(name, own, store), agent_name, entries, source)


def foreign_entries(folder: str) -> list[Entry]:
    """The trials of a table, as an agent may see them."""
    if not Path(folder).is_dir():
        raise ConfigError(f"history {folder} is no folder")
    rows = [row for split in read_folder(folder).values() for row in split]
    try:
        return [
            Entry(
                row["trial"],
                tuple(row["class_texts"]),
                row["status"],
                row["reason"],
                # of the first seed, as in the history of a search itself, and not the mean over seeds
                accuracy=row["proxy_accuracies"][0] if row["status"] == "ok" else None,
                class_accuracy={entry["name"]: entry["accuracy"] for entry in row["class_accuracy"]},
            )
            for row in rows
        ]
    except KeyError as error:
        raise ConfigError(f"history {folder} is no table of trials: it lacks the column {error}") from error


AGENTS: dict[str, Callable[[Settings, RequestStore], Agent]] = {
    "openai": _asking(InContextAgent, "openai"),
    "smollm2": _asking(InContextAgent, "smollm2"),
    "static": _asking(StaticAgent, "openai"),
    "pool": _asking(PoolAgent, "openai"),
    "ood_history": _ood_history,
    "nearest": lambda settings, store: NearestAgent(**settings),
    "random": lambda settings, store: RandomAgent(**settings),
    "coordinate": lambda settings, store: CoordinateAgent(**settings),
    "none": lambda settings, store: NoMapsAgent(**settings),
    "skeleton": lambda settings, store: SkeletonAgent(**settings),
}
"""What makes an agent of its settings and the store of requests, by the agent's name."""


def make_agent(name: str, settings: Settings, store: RequestStore) -> Agent:
    """An agent by its name.

    Args:
        name: One of `AGENTS`.
        settings: Its own settings, such as `model`.
        store: Cache and ledger of what it asks.

    Raises:
        ConfigError: There is no such agent, it has no such setting, or what it needs is not installed.
        LLMError: Its server cannot be asked.
    """
    if name not in AGENTS:
        raise ConfigError(f"agent is {name!r}, expected one of {', '.join(AGENTS)}")
    try:
        return AGENTS[name](settings, store)
    except TypeError as error:  # an argument that it does not have
        raise ConfigError(f"agent {name} cannot be made with {sorted(settings)}: {error}") from error


__all__ = ["AGENTS", "LANGUAGE_MODELS", "Agent", "Answer", "Entry", "State", "Task", "make_agent"]
