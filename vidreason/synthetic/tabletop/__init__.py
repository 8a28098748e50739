"""A procedural world to ask questions about: a hand does one thing after another with colored things on a table.

Two to three actions in a row on three to four things that have a color and a size, with full ground truth of every
frame. It is drawn with what the other two worlds are drawn with, and leaves them as they are.
"""

from ..seeds import SPLITS
from .build import build_synthetic_tabletop, tabletop_truth_features
from .config import (
    ACTIVITY,
    CONTAINER,
    DEFAULT_SPLIT_SIZES,
    KINDS,
    PALETTE,
    SIZES,
    SOURCE,
    TABLETOP_ACTIONS,
    TabletopConfig,
)
from .render import TabletopVideo, render_tabletop
from .story import Event, Story, Thing, draw_story

__all__ = [
    "ACTIVITY",
    "CONTAINER",
    "DEFAULT_SPLIT_SIZES",
    "KINDS",
    "PALETTE",
    "SIZES",
    "SOURCE",
    "SPLITS",
    "TABLETOP_ACTIONS",
    "Event",
    "Story",
    "TabletopConfig",
    "TabletopVideo",
    "Thing",
    "build_synthetic_tabletop",
    "draw_story",
    "render_tabletop",
    "tabletop_truth_features",
]
