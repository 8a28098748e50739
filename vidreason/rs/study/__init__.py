"""What reasoning supervision brings to studies: settings, metrics, guidance and training.

This floor does not know `vidreason.study`, which takes `RSStudies` as one of its systems. Nothing here loads torch
before a run is trained.
"""

from .system import RSStudies

__all__ = ["RSStudies"]
