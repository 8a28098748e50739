"""How far a model looks where guidance says, frame by frame, by the rules of the evaluation (`vidreason.rs`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from vidreason.guidance import GridMap
from vidreason.rs.evaluation import guided_region
from vidreason.rs.losses import frame_divergence


@dataclass(frozen=True)
class FrameAgreement:
    """One picture. All are None where it has no guidance.

    Args:
        mass: Share of the attention inside the guided region, 0 to 1.
        divergence: KL(guidance || attention), in nats.
        hit: Whether the token attended to most lies in the region.
    """

    mass: float | None = None
    divergence: float | None = None
    hit: bool | None = None


@dataclass(frozen=True)
class AgreementSummary:
    """Means over the pictures that have guidance; None where none has.

    Args:
        guided: Number of pictures with guidance.
        mass: Mean share of the attention inside the guided region, 0 to 1.
        divergence: Mean KL(guidance || attention), in nats.
        hits: Share of pictures whose most attended token lies in the guided region, 0 to 1.
    """

    guided: int
    mass: float | None
    divergence: float | None
    hits: float | None


def frame_agreement(attention: Sequence[GridMap], guidance: Sequence[GridMap | None]) -> list[FrameAgreement]:
    """Compare attention and guidance of the same pictures.

    Guidance is cut to what the model sees of the frame and laid over its tokens by exact area overlap. A picture whose
    guidance lies outside of that has none.
    """
    return [_compare(seen, said) for seen, said in zip(attention, guidance, strict=True)]


def _compare(attention: GridMap, guidance: GridMap | None) -> FrameAgreement:
    if guidance is None:
        return FrameAgreement()
    laid = np.asarray(guidance.resample(attention.grid, attention.rectangle).weights, dtype=np.float64)
    if laid.sum() <= 0:
        return FrameAgreement()
    p, q = torch.as_tensor(attention.weights), torch.as_tensor(laid / laid.sum(), dtype=torch.float32)
    region = guided_region(q)
    return FrameAgreement(
        mass=float(p[region].sum()), divergence=float(frame_divergence(p, q)), hit=bool(region[p.argmax()])
    )


def summarize(frames: Sequence[FrameAgreement]) -> AgreementSummary:
    """Means over the pictures that have guidance."""
    guided = [frame for frame in frames if frame.mass is not None]
    if not guided:
        return AgreementSummary(0, None, None, None)
    return AgreementSummary(
        guided=len(guided),
        mass=float(np.mean([frame.mass for frame in guided])),
        divergence=float(np.mean([frame.divergence for frame in guided])),
        hits=float(np.mean([frame.hit for frame in guided])),
    )
