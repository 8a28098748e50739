"""Which producers there are. A new one is a file of its own with a `Producer` in it, and one more name here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from ..errors import ConfigError
from .grid.run import LLMArguments
from .job import AnnotationArguments, Producer
from .motion import MotionArguments
from .object_evidence import DetectorArguments
from .truth import TruthArguments

_TYPES: tuple[type[Producer[AnnotationArguments]], ...] = (
    LLMArguments,
    MotionArguments,
    TruthArguments,
    DetectorArguments,
)

PRODUCERS: Mapping[str, type[Producer]] = MappingProxyType({producer.name: producer for producer in _TYPES})
"""Producers by name."""


@dataclass
class ProducerChoice:
    """Which of the producers annotates."""

    annotator: str = field(default="motion", metadata={"help": "Who annotates.", "choices": list(PRODUCERS)})


def find_producer(name: str) -> type[Producer]:
    """One of `PRODUCERS`.

    Raises:
        ConfigError: there is none of this name.
    """
    if name not in PRODUCERS:
        raise ConfigError(f"annotator is {name!r}, expected one of {tuple(PRODUCERS)}")
    return PRODUCERS[name]
