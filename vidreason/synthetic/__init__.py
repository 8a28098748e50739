"""A procedural world of hands and things: labelled clips with full ground truth, deterministic from a seed.

Twelve actions, four pairs of which are told apart by the order of their frames alone; and two nuisances, a background
and a co-occurring object, that are tied to the label with a stated strength per split.
"""

from .actions.build import build_synthetic_actions, truth_features
from .actions.config import (
    ACTIONS,
    BACKGROUND_STRENGTHS,
    COOCCURRING_STRENGTHS,
    DEFAULT_SPLIT_SIZES,
    MIRRORED_PAIRS,
    REVERSED_PAIRS,
    SOURCE,
    WorldConfig,
)
from .actions.nuisance import Nuisance, draw_nuisance
from .actions.render import Clip, ClipTruth, Segment, render_clip, render_masks
from .backgrounds import BACKGROUNDS
from .seeds import SPLITS, clip_seed
from .stickers import COOCCURRING_OBJECTS
from .truth import FrameTruth
from .world_folder import TRUTH_FOLDER

__all__ = [
    "ACTIONS",
    "BACKGROUNDS",
    "BACKGROUND_STRENGTHS",
    "COOCCURRING_OBJECTS",
    "COOCCURRING_STRENGTHS",
    "DEFAULT_SPLIT_SIZES",
    "MIRRORED_PAIRS",
    "REVERSED_PAIRS",
    "SOURCE",
    "SPLITS",
    "TRUTH_FOLDER",
    "Clip",
    "ClipTruth",
    "FrameTruth",
    "Nuisance",
    "Segment",
    "WorldConfig",
    "build_synthetic_actions",
    "clip_seed",
    "draw_nuisance",
    "render_clip",
    "render_masks",
    "truth_features",
]
