"""Guidance, the contract between who says where the evidence is and who learns from it.

`schema` is the table, `geometry` where its cells lie, `table` the whole of it on disk, `join` how it meets frames.
"""

from ..provenance import FRAME_KEY, STATUSES
from .geometry import GridMap, boxes_to_cells, grid_cells, overlap_areas, pad_or_truncate, points_to_cells
from .join import DEFAULT_TOLERANCE_S, MISSING, Coverage, FrameGuidance, GuidanceIndex
from .schema import FEATURES, FULL_FRAME, OBJECT_FEATURES, SCHEMA_VERSION, check_row, guidance_row
from .table import load_guidance, write_guidance

__all__ = [
    "DEFAULT_TOLERANCE_S",
    "FEATURES",
    "FRAME_KEY",
    "FULL_FRAME",
    "MISSING",
    "OBJECT_FEATURES",
    "SCHEMA_VERSION",
    "STATUSES",
    "Coverage",
    "FrameGuidance",
    "GridMap",
    "GuidanceIndex",
    "boxes_to_cells",
    "check_row",
    "grid_cells",
    "guidance_row",
    "load_guidance",
    "overlap_areas",
    "pad_or_truncate",
    "points_to_cells",
    "write_guidance",
]
