"""A part of a run over many videos."""

from dataclasses import dataclass

from ..errors import ConfigError


@dataclass(frozen=True)
class Shard:
    """Every `count`-th of the chosen videos, from the `index`-th on: the part of one of several machines."""

    index: int = 0
    count: int = 1

    def __post_init__(self):
        if not 0 <= self.index < self.count:
            raise ConfigError(f"shard {self.index} of {self.count}: the index must be from 0 to {self.count - 1}")
