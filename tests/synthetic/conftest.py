"""Data sets of the small worlds, each built once."""

import functools
from collections.abc import Callable
from pathlib import Path

import pytest
from small_worlds import SmallWorld


@pytest.fixture(scope="session")
def folder_of(tmp_path_factory) -> Callable[[SmallWorld], Path]:
    """Gives the folder of a small world, built with seed 3. Tests leave it as it is."""

    @functools.cache
    def build(world: SmallWorld) -> Path:
        path = tmp_path_factory.mktemp("world") / "built"
        world.build(path, world.config, world.sizes, seed=3, num_proc=2)
        return path

    return build
