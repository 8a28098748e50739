"""Producers of grid guidance: each turns videos, or what is known of them, into rows of the one guidance table.

`job` runs any of them, whole or (`scale`) in parts; `producers` lists them; `grid` asks a vision-language model,
`motion` compares frames, `truth` takes ground truth, and `object_evidence` what a detector finds. `detections` is the
producer of the table of detections itself.
"""

from .motion import MotionAnnotator
from .truth import NoiseModel, truth_guidance

__all__ = ["MotionAnnotator", "NoiseModel", "truth_guidance"]
