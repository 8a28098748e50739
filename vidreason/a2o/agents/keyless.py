"""Agents without a language model: word embeddings, chance, one change at a time, and fixed sets.

They have the budget of the others, and show what of a gain is the language model's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...detection.class_text import check_class_texts
from ...errors import ConfigError, DetectionError
from ...reporting.seeds import derive_seed
from ...sentence_embedding import Embed, minilm
from ..agent import Agent, Answer, State, Task

KEYPOINT_NAMES = (
    *("nose", "left eye", "right eye", "left ear", "right ear", "left shoulder", "right shoulder", "left elbow"),
    *("right elbow", "left wrist", "right wrist", "left hip", "right hip", "left knee", "right knee", "left ankle"),
    "right ankle",
)
"""The 17 keypoints of COCO, in its order."""

_EXPLORATION = 0.15
"""Weight of a word's not having been tried, in the unit of cosine similarity. Words that suit an action have
similarities of 0.3 to 0.6 to its name, others about 0.1: a word that was never tried wins over one that is a little
better by its name alone."""
_REWARD_WEIGHT = 4.0
"""Cosine similarity that a share of accuracy is worth: 5 points that a word brought outweigh 0.2 of similarity."""
_KERNEL_WIDTH = 0.35  # of similarity: words that mean about the same share what was learned about one of them
_MAX_DRAWS = 200


class _ListAgent(Agent):
    """What agents share that take classes from a list of candidates.

    Args:
        candidates: Class texts to choose from; by default the vocabulary of the detector.
    """

    def __init__(self, candidates: Sequence[str] | None = None):
        try:
            self.given = None if candidates is None else check_class_texts(candidates)
        except DetectionError as error:
            raise ConfigError(f"candidates of agent {self.name}: {error}") from error

    @property
    def key(self) -> dict[str, Any]:
        """Name and candidates."""
        return {"name": self.name, "candidates": None if self.given is None else list(self.given)}

    def check(self, task: Task) -> None:
        """There must be something to choose from."""
        if self.given is None and task.vocabulary is None:
            raise ConfigError(
                f"agent {self.name} needs candidates: a detector that takes any text has no vocabulary to choose from"
            )
        if not self.candidates(task):
            raise ConfigError(f"agent {self.name}: none of its candidates is in the detector's vocabulary")

    def candidates(self, task: Task) -> list[str]:
        """Class texts to choose from, in order."""
        if self.given is None:
            return list(task.vocabulary or ())
        return [text for text in self.given if task.vocabulary is None or text in task.vocabulary]


def _random(agent: Agent, state: State) -> np.random.Generator:
    return np.random.default_rng(derive_seed(state.task.seed, agent.name, state.number))


def _seen(state: State) -> set[frozenset[str]]:
    return {frozenset(entry.class_texts) for entry in state.history if entry.class_texts}


def _answer(class_texts: Sequence[str]) -> Answer:
    return Answer("\n".join(class_texts))


class RandomAgent(_ListAgent):
    """A new set of the largest size in every trial, by chance."""

    name = "random"

    def propose(self, state: State) -> Answer:
        """Draw a set that was not drawn before."""
        candidates, generator, seen = self.candidates(state.task), _random(self, state), _seen(state)
        size = min(state.task.max_classes, len(candidates))
        drawn: list[str] = []
        for _ in range(_MAX_DRAWS):  # of few candidates all sets may have been drawn: then one is proposed again
            drawn = [candidates[i] for i in generator.choice(len(candidates), size, replace=False)]
            if frozenset(drawn) not in seen:
                break
        return _answer(drawn)


class CoordinateAgent(_ListAgent):
    """One class more or less than the best set so far: a search along the coordinates, without a language model."""

    name = "coordinate"

    def propose(self, state: State) -> Answer:
        """The next neighbour of the best set that was not tried; a random set of half the size to begin with."""
        candidates, generator, seen = self.candidates(state.task), _random(self, state), _seen(state)
        if state.best is None:
            size = min(max(1, state.task.max_classes // 2), len(candidates))
            return _answer([candidates[i] for i in generator.choice(len(candidates), size, replace=False)])
        base = list(state.best.class_texts)
        steps = [[*base, text] for text in candidates if text not in base and len(base) < state.task.max_classes]
        steps += [[other for other in base if other != text] for text in base if len(base) > 1]
        new = [step for step in steps if frozenset(step) not in seen]
        return _answer(new[generator.integers(len(new))] if new else base)


class NearestAgent(_ListAgent):
    """The words nearest to the actions' names by sentence embedding, and from then on by what the history says.

    A word's value is its similarity to the actions' names, those that are recognised badly counting more; plus what
    the trials with it brought above the mean, words of like meaning counted in (a kernel regression); plus a bonus for
    words that were tried seldom (an upper confidence bound). Each trial changes the best set by a quarter.

    Args:
        candidates: Class texts to choose from; by default the vocabulary of the detector.
        embed: Function of the embeddings; by default MiniLM's.
    """

    name = "nearest"

    def __init__(self, candidates: Sequence[str] | None = None, embed: Embed | None = None):
        super().__init__(candidates)
        if embed is not None and not callable(embed):  # settings of a recipe are no functions
            raise ConfigError(f"embed of agent {self.name} is {embed!r}, expected a function")
        self._embed = embed or minilm()

    def propose(self, state: State) -> Answer:
        """The best words that make a set which was not tried."""
        words = self.candidates(state.task)
        similarities = self._embed(words) @ self._embed(list(state.task.class_names)).T  # (words, actions)
        limit = min(state.task.max_classes, len(words))
        best = state.best
        if best is None:
            # after a first answer that failed, the words after those that it had
            tried = {text for entry in state.history for text in entry.class_texts}
            picked = _round_robin(words, similarities, limit, tried if len(tried) < len(words) else set())
            return _answer(picked)
        values = self._values(state, words, similarities)
        return _answer(self._changed(state, words, values, limit, list(best.class_texts)))

    def _values(self, state: State, words: list[str], similarities: np.ndarray) -> np.ndarray:
        """Values of the words, (words,)."""
        best = state.best
        accuracies = best.class_accuracy if best else {}
        wrong = np.array([1.0 - accuracies.get(name, 0.0) for name in state.task.class_names])
        needed = wrong / wrong.sum() if wrong.sum() > 0 else np.full(len(wrong), 1.0 / len(wrong))
        scored = [entry for entry in state.history if entry.accuracy is not None and entry.class_texts]
        mean = float(np.mean([entry.accuracy for entry in scored]))
        vectors = self._embed(words)
        kernel = np.exp(-(((1.0 - vectors @ vectors.T) / _KERNEL_WIDTH) ** 2))  # (words, words), 1 on the diagonal
        brought, weight = np.zeros(len(words)), np.zeros(len(words))
        for entry in scored:
            # the nearest of the trial's words stands for it: a set with "ball" says a lot of "sports ball"
            near = kernel[:, [words.index(text) for text in entry.class_texts if text in words]].max(
                axis=1, initial=0.0
            )
            brought += near * ((entry.accuracy or 0.0) - mean)
            weight += near
        # one trial more in the denominator: a single lucky trial does not decide
        learned = brought / (weight + 1.0)
        bonus = np.sqrt(math.log(len(scored) + 1) / (weight + 1.0))
        return similarities @ needed + _REWARD_WEIGHT * learned + _EXPLORATION * bonus

    def _changed(self, state: State, words: list[str], values: np.ndarray, limit: int, base: list[str]) -> list[str]:
        """The best set with its weakest words exchanged for the strongest others."""
        value = dict(zip(words, values.tolist(), strict=True))
        strongest = sorted(words, key=lambda word: -value[word])
        seen, generator = _seen(state), _random(self, state)
        num_changed = max(1, limit // 4)
        kept = sorted((text for text in base if text in value), key=lambda text: -value[text])
        kept = kept[: max(0, limit - num_changed)]
        others = [word for word in strongest if word not in base] or [word for word in words if word not in kept]
        picked = (kept + others)[:limit]
        for number in range(_MAX_DRAWS):
            if frozenset(picked) not in seen or not others:
                break
            # the same again, with chance in the choice among the strongest twice as many; and where all of those have
            # been tried, with one word of the best set less
            kept = kept[: max(0, limit - num_changed - number // 10)]
            num_new = limit - len(kept)
            pool = others[: max(2 * num_new, num_new + 4)]
            drawn = generator.choice(len(pool), min(num_new, len(pool)), replace=False)
            picked = kept + [pool[i] for i in sorted(drawn)]
        return picked


def _round_robin(words: list[str], similarities: np.ndarray, limit: int, left_out: set[str]) -> list[str]:
    """The nearest word of each action, then the second nearest, and so on."""
    orders = [[words[i] for i in np.argsort(-column, kind="stable")] for column in similarities.T]
    picked: dict[str, None] = {}
    for rank in range(len(words)):
        for order in orders:
            if len(picked) < limit and order[rank] not in left_out:
                picked[order[rank]] = None
    return list(picked)


class NoMapsAgent(Agent):
    """The plain model: no objects, in one trial."""

    name = "none"

    def num_trials(self, task: Task) -> int:
        """One: there is nothing to choose."""
        return 1

    def propose(self, state: State) -> Answer:
        """No maps."""
        return Answer("", without_maps=True)


class SkeletonAgent(Agent):
    """All keypoints of a skeleton as the paper's PC3D++ has them, in one trial; the detector must know keypoints."""

    name = "skeleton"

    def check(self, task: Task) -> None:
        """The detector must know keypoints."""
        if task.vocabulary is not None and not set(KEYPOINT_NAMES) & set(task.vocabulary):
            raise ConfigError(f"agent skeleton: detector {task.detector!r} knows no keypoints such as 'left elbow'")

    def num_trials(self, task: Task) -> int:
        """One: there is nothing to choose."""
        return 1

    def propose(self, state: State) -> Answer:
        """The keypoints that the detector knows, all of them: C_max is a limit for those who choose."""
        known = state.task.vocabulary
        return _answer([name for name in KEYPOINT_NAMES if known is None or name in known])
