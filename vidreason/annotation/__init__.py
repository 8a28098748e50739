"""Producers of grid guidance. Each turns videos, or what is known of them, into rows of the one guidance table."""

from .motion import MotionAnnotator
from .truth import NoiseModel, truth_guidance

__all__ = ["MotionAnnotator", "NoiseModel", "truth_guidance"]
