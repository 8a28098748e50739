"""A closer look at the evidence: training clips cropped to where their guidance is."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ..errors import ConfigError
from ..guidance import GridMap
from ..guidance.geometry import Rectangle, evidence_rectangle, widened

MAX_MARGIN = 0.25
"""Largest random margin on each side, as a share of the rectangle's side. Margins are random so that crops of one clip
differ between epochs, and some surroundings stay."""


def random_margins(rectangle: Rectangle) -> Rectangle:
    """The rectangle with a random margin on each side, inside the frame; drawn from torch's generator."""
    return widened(rectangle, (torch.rand(4) * MAX_MARGIN).tolist())


class EvidenceZoom:
    """Crops a share of the clips to their guidance, with random margins: the `zoom` of a training transform.

    Args:
        share: Share of the clips that are cropped, in [0, 1].

    Raises:
        ConfigError: The share is out of range.
    """

    def __init__(self, share: float):
        if not 0 <= share <= 1:
            raise ConfigError(f"evidence_zoom is {share}, expected a share in [0, 1]")
        self.share = share

    def __call__(self, maps: Sequence[GridMap | None]) -> Rectangle | None:
        """The rectangle (x0, y0, x1, y1) in [0, 1] that a clip is cropped to; None keeps it whole.

        Args:
            maps: The guidance of each frame; None for a frame without.
        """
        # torch's generator, which the clip has seeded: the same crop in any worker and after resuming
        if torch.rand(()) >= self.share:
            return None
        evidence = evidence_rectangle(maps)
        return None if evidence is None else random_margins(evidence)
