"""A procedural world of long videos: a hand puts circuit boards together, one action after another.

Fourteen actions and pauses, in an order that a stochastic grammar gives; full ground truth of every frame; and a
nuisance, a sign that is tied to the running action with a stated strength per split.
"""

from ..seeds import SPLITS
from .build import assembly_truth_features, build_synthetic_assembly
from .config import (
    ACTIVITY,
    ASSEMBLY_ACTIONS,
    BACKGROUND,
    DEFAULT_SPLIT_SIZES,
    SIGN_STRENGTHS,
    SOURCE,
    AssemblyConfig,
)
from .render import AssemblyFrame, render_assembly
from .signs import SIGNS
from .timeline import GRAMMAR, PAUSES, START, AssemblySegment, draw_sequence, draw_unit

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
