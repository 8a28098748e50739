"""What a search acts on: classes of objects in, the accuracy of a model that was trained with their maps out.

The paper's environment (section 3.1.2) is detection, training and evaluation together. Here it is a protocol, so that
the search knows neither torch nor videos. One rule keeps test labels out of the search: `proxy` sees training and
validation alone, and only `final`, which is called when the classes are settled, reads a test split.
"""

from __future__ import annotations

import importlib
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import ConfigError


@dataclass(frozen=True)
class Outcome:
    """What one training brought, measured on the validation split.

    Args:
        accuracy: Share of the validation videos that are classified rightly, the reward; NaN where there is none.
        class_accuracy: The same for each action class, by its name.
        seconds: Time in seconds of all of it: detection, training and evaluation.
        gpu_seconds: Time in seconds on an accelerator; 0 where there was none.
        detections_made: Pairs of frame and class that a detector was run for.
        detections_reused: Pairs of frame and class that were there from earlier runs.
        initial_weights_sha256: Hash of the weights before training that do not depend on the classes, which is all but
            the adapter. Every training of one seed begins from the same ones, so it is the same for all sets.
    """

    accuracy: float
    class_accuracy: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    gpu_seconds: float = 0.0
    detections_made: int = 0
    detections_reused: int = 0
    initial_weights_sha256: str = ""


@dataclass(frozen=True)
class FinalOutcome:
    """What the training in full brought.

    Args:
        validation: The outcome on the validation split, as of a proxy.
        test_accuracy: Accuracy on each test split, by its name, such as "test" and "test_shifted".
        test_class_accuracy: The same for each action class: {split: {class: accuracy}}.
        model_path: Folder of the trained model, or empty where it is not kept.
    """

    validation: Outcome
    test_accuracy: Mapping[str, float]
    test_class_accuracy: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    model_path: str = ""


class Environment(ABC):
    """Trains and evaluates with the maps of some classes of objects.

    Args:
        class_names: Names of the actions that are to be told apart.
        vocabulary: Class texts of a closed detector; None where it takes any.
        description: A sentence or two for the agent about the videos and the actions.
        detector: Name of the detector, for the agent.
    """

    class_names: list[str]
    vocabulary: tuple[str, ...] | None = None
    description: str = ""
    detector: str = ""

    @property
    @abstractmethod
    def key(self) -> dict[str, Any]:
        """All that decides on the outcomes besides classes and seed: data, detector, settings of training, as JSON.

        A search goes on only in an environment of the same key.
        """

    @abstractmethod
    def proxy(self, class_texts: tuple[str, ...], seed: int, trial: int, max_seconds: float | None = None) -> Outcome:
        """Train for one epoch from the same initial weights as ever, and evaluate on the validation split.

        A process may be killed in it, and the call is then made again.

        Args:
            class_texts: Classes of objects, in the order of their maps; none trains the plain model.
            seed: Seed of all that is random in it.
            trial: Number of the trial, from 1; for names of folders.
            max_seconds: Time in seconds after which it stops, with a `ComputeExceeded`; it is given where compute
                is capped.

        Raises:
            TrainingError: This training came to nothing, for instance because its loss was not finite. It is told to
                the agent, and the search goes on.
            DetectionError: The detector came to nothing with these classes; likewise.
        """

    @abstractmethod
    def final(self, class_texts: tuple[str, ...], seed: int) -> FinalOutcome:
        """Train in full, and evaluate on the validation split and the test splits.

        Args:
            class_texts: Classes of objects, in the order of their maps; none trains the plain model.
            seed: Seed of all that is random in it.
        """

    def check_text(self, class_text: str) -> None:
        """Refuse a class text that the detector cannot take.

        Args:
            class_text: A class text in its one spelling.

        Raises:
            DetectionError: It is too long for the detector's own text limit, for instance. It is refused, not cut.
        """
        # most have no limit below that of `detection.check_class_text`; a vocabulary is the search's to check
        del class_text

    def estimate_s(self, class_texts: tuple[str, ...]) -> float | None:
        """About how many seconds a proxy training will take; None where nothing is known.

        Args:
            class_texts: Classes of objects that it is to be made with.
        """
        del class_texts
        return None


_ADDRESSES = {"training": "vidreason.a2o.environment_recipe:training_environment"}
"""Name -> "module:function". An address and not a function: torch is loaded when an environment is made."""


def register_environment(name: str, address: str) -> None:
    """Make a kind of environment known by a name.

    Args:
        name: Name, as a recipe has it.
        address: Where its class is, or a function that makes it, "package.module:ClassName". Its settings are the
            arguments that it is made with, `folder` among them: the folder of what it makes.

    Raises:
        ConfigError: The name is taken by another one, or the address is none.
    """
    if address.count(":") != 1 or not all(address.split(":")):
        raise ConfigError(f"environment {name!r}: {address!r} is no address, expected 'package.module:ClassName'")
    if _ADDRESSES.get(name, address) != address:
        raise ConfigError(f"environment {name!r} is {_ADDRESSES[name]} already")
    _ADDRESSES[name] = address


def make_environment(name: str, settings: Mapping[str, Any], folder: str | os.PathLike) -> Environment:
    """An environment by the name of its kind.

    Args:
        name: A name that is registered; "training" trains with `vidreason.training`.
        settings: Its own settings.
        folder: Folder of what it makes, where its settings name no other.

    Raises:
        ConfigError: There is no such environment, or it has no such setting.
    """
    if name not in _ADDRESSES:
        raise ConfigError(f"environment is {name!r}, expected one of {', '.join(sorted(_ADDRESSES))}")
    module, _, kind = _ADDRESSES[name].partition(":")
    try:
        made = getattr(importlib.import_module(module), kind)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"environment {name!r} cannot be loaded from {_ADDRESSES[name]}: {error}") from error
    try:
        return made(**{"folder": folder, **settings})
    except TypeError as error:  # an argument that it does not have
        raise ConfigError(f"environment {name!r} cannot be made with {sorted(settings)}: {error}") from error
