"""The nuisances of a clip: a background and a co-occurring object, tied to the label with the strengths of a split."""

from __future__ import annotations

from dataclasses import dataclass

from ...errors import ConfigError
from ..backgrounds import BACKGROUNDS
from ..seeds import Seed, stream
from ..stickers import COOCCURRING_OBJECTS
from .config import ACTIONS, BACKGROUND_STRENGTHS, COOCCURRING_STRENGTHS, check_action

# streams of random numbers, apart from those of `vidreason.synthetic.assembly.timeline`
NUISANCE_STREAM, SCENE_STREAM, LAYOUT_STREAM, CAMERA_STREAM, BACKGROUND_STREAM = range(5)


@dataclass(frozen=True)
class Nuisance:
    """What is in view and takes no part in the action.

    Args:
        background: One of `BACKGROUNDS`.
        cooccurring_object: One of `COOCCURRING_OBJECTS`.
        background_tied: Whether the background was chosen for the label. An untied draw can hit the same one by
            chance.
        cooccurring_object_tied: Whether the co-occurring object was chosen for the label; an untied draw can hit it
            too.

    Raises:
        ConfigError: an unknown name.
    """

    background: str = BACKGROUNDS[0]
    cooccurring_object: str = COOCCURRING_OBJECTS[0]
    background_tied: bool = False
    cooccurring_object_tied: bool = False

    def __post_init__(self):
        for name, known in (("background", BACKGROUNDS), ("cooccurring_object", COOCCURRING_OBJECTS)):
            if getattr(self, name) not in known:
                raise ConfigError(f"unknown {name} {getattr(self, name)!r}, expected one of {known}")


def draw_nuisance(action: str, split: str, seed: Seed) -> Nuisance:
    """Background and co-occurring object of a clip, tied to the label with the strengths of its split."""
    check_action(action)
    rng = stream(seed, NUISANCE_STREAM)
    label = ACTIONS.index(action)
    background_tied = bool(rng.random() < BACKGROUND_STRENGTHS[split])
    object_tied = bool(rng.random() < COOCCURRING_STRENGTHS[split])
    # drawn also where they are tied, so that the strengths change nothing else
    free_background, free_object = rng.integers(len(ACTIONS), size=2)
    return Nuisance(
        BACKGROUNDS[label if background_tied else free_background],
        COOCCURRING_OBJECTS[label if object_tied else free_object],
        background_tied,
        object_tied,
    )
