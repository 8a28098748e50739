"""Where the randomness of both worlds comes from: one seed for each video, one stream of numbers for each purpose."""

from __future__ import annotations

import numpy as np

from ..errors import ConfigError

SPLITS = ("train", "validation", "test", "test_shifted")
"""The splits of both worlds. A split's position goes into the seeds of its videos: a new one is added at the end."""

Seed = int | np.random.SeedSequence


def clip_seed(world_seed: int, split: str, index: int) -> np.random.SeedSequence:
    """The seed of one video, which depends on nothing but the world's seed, the split and the index in it.

    Raises:
        ConfigError: an unknown split, or a negative number.
    """
    if split not in SPLITS:
        raise ConfigError(f"unknown split {split!r}, expected one of {SPLITS}")
    if world_seed < 0 or index < 0:
        raise ConfigError(f"seed {world_seed} and index {index} must not be negative")
    return np.random.SeedSequence(world_seed, spawn_key=(SPLITS.index(split), index))


def stream(seed: Seed, purpose: int) -> np.random.Generator:
    """Random numbers of a video for one purpose, one of the `*_STREAM` constants of its world.

    Each purpose has a stream of its own, so that one more draw for one of them moves no other.
    """
    if not isinstance(seed, np.random.SeedSequence):
        seed = np.random.SeedSequence(seed)
    # a child by its number and not by `spawn`, which would count up inside the caller's seed
    return np.random.default_rng(np.random.SeedSequence(seed.entropy, spawn_key=(*seed.spawn_key, purpose)))
