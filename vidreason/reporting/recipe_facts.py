"""How a model was trained, as a record: a training run fills it, and a card reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class RecipeFacts:
    """How a model was trained; what is None is not known.

    Args:
        num_epochs: Passes over the training data.
        batch_size: Clips per optimizer step, over all devices and accumulated micro-batches.
        learning_rate: The peak learning rate.
        seed: Seed of all random choices.
        device: Name of the device it ran on.
        train_seconds: Wall time of the training alone, in seconds.
        library_versions: Package -> version.
    """

    num_epochs: float | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    seed: int | None = None
    device: str | None = None
    train_seconds: float | None = None
    library_versions: Mapping[str, str] = field(default_factory=dict)
