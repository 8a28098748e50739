"""A procedural world of long videos: a hand puts circuit boards together, one action after another.

Fourteen actions and pauses, in an order that a stochastic grammar gives; full ground truth of every frame; and a
nuisance, a sign that is tied to the running action with a stated strength per split.
"""

from .build import assembly_truth_features, build_synthetic_assembly
from .config import (
    ACTIVITY,
    ASSEMBLY_ACTIONS,
    BACKGROUND,
    DEFAULT_SPLIT_SIZES,
    SIGN_STRENGTHS,
    SOURCE,
    SPLITS,
    AssemblyConfig,
)
from .grammar import GRAMMAR, START, draw_unit
from .render import AssemblyFrame, render_assembly
from .signs import SIGNS
from .timeline import PAUSES, AssemblySegment, draw_sequence

__all__ = [
    "ACTIVITY",
    "ASSEMBLY_ACTIONS",
    "BACKGROUND",
    "DEFAULT_SPLIT_SIZES",
    "GRAMMAR",
    "PAUSES",
    "SIGNS",
    "SIGN_STRENGTHS",
    "SOURCE",
    "SPLITS",
    "START",
    "AssemblyConfig",
    "AssemblyFrame",
    "AssemblySegment",
    "assembly_truth_features",
    "build_synthetic_assembly",
    "draw_sequence",
    "draw_unit",
    "render_assembly",
]
