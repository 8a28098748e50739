"""Detections, the contract between who says what is where in a video and who is shown it or learns from it.

`detector` is what detects, `schema` the row, `table` the whole of it on disk, `store` the cache, `index` how rows meet
frames, `score_maps` what a model is shown.
"""

from .class_text import check_class_text, check_class_texts
from .detector import (
    STATUSES,
    UNKNOWN_CLASS,
    Detector,
    Found,
    detector_names,
    find_detector,
    make_detector,
    register_detector,
)
from .index import DEFAULT_TOLERANCE_S, MISSING, DetectionIndex, FrameDetections
from .schema import FEATURES, SCHEMA_VERSION, check_row, detection_row, found_of
from .score_maps import box_map, mask_map, render_maps
from .store import DetectionStore
from .table import load_detections, write_detections
from .videos import DetectionCounts, detect_video

__all__ = [
    "DEFAULT_TOLERANCE_S",
    "FEATURES",
    "MISSING",
    "SCHEMA_VERSION",
    "STATUSES",
    "UNKNOWN_CLASS",
    "DetectionCounts",
    "DetectionIndex",
    "DetectionStore",
    "Detector",
    "Found",
    "FrameDetections",
    "box_map",
    "check_class_text",
    "check_class_texts",
    "check_row",
    "detect_video",
    "detection_row",
    "detector_names",
    "find_detector",
    "found_of",
    "load_detections",
    "make_detector",
    "mask_map",
    "register_detector",
    "render_maps",
    "write_detections",
]
