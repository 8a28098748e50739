"""Evidence views: training clips that are shown with their evidence kept and the rest replaced, blanked or dropped.

And evidence zoom: training clips that are cropped to where their guidance is.

Aligning attention leaves a shortcut alive that early layers have already carried into the guided tokens. An evidence
view removes it from what the model is given: the label stays, what guidance marks stays, and everything else comes
from another clip ("swap"), is blank ("blank"), or is not read at all ("drop"). This goes beyond the paper. Replacing
backgrounds at random is how the reliance of image models on them is measured and lowered (Xiao et al., "Noise or
Signal", ICLR 2021); here guidance says what background is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from ..errors import ConfigError
from ..guidance import GridMap
from ..guidance.geometry import Rectangle, evidence_rectangle, widened

CERTAIN_SHARE = 0.5
"""A token with at least this share of its frame's largest weight is evidence for certain."""

MAX_MARGIN = 0.25
"""Largest random margin on each side, as a share of the rectangle's side. Margins are random so that crops of one clip
differ between epochs, and some surroundings stay."""


@dataclass(frozen=True)
class EvidenceViews:
    """How training clips are shown.

    Args:
        swap: Share of the clips whose unguided pixels are taken from another clip of the batch.
        blank: Share of the clips whose unguided pixels are blank (0, the mean after normalisation).
        drop: Share of the clips whose unguided tokens are not read; the model must take a `token_mask`.
        reach: Sampled frames before and after a frame whose evidence is taken for that frame's as well.

    Raises:
        ConfigError: The shares are no probabilities, or add up to more than 1.
    """

    swap: float = 0.0
    blank: float = 0.0
    drop: float = 0.0
    reach: int = 1

    def __post_init__(self) -> None:
        for name in ("swap", "blank", "drop"):
            share = getattr(self, name)
            if not (math.isfinite(share) and 0 <= share <= 1):
                raise ConfigError(f"evidence_{name} is {share}, expected a share in [0, 1]")
        if self.swap + self.blank + self.drop > 1 + 1e-9:  # three shares of 1/3 may add up to a little more than 1
            raise ConfigError(
                f"evidence_swap, evidence_blank and evidence_drop add up to {self.swap + self.blank + self.drop:g}; "
                "they are shares of the training clips, so at most to 1"
            )
        if self.reach < 0:
            raise ConfigError(f"evidence_reach is {self.reach}, expected zero or more frames")

    @property
    def any(self) -> bool:
        """Whether any clip is shown differently."""
        return self.swap + self.blank + self.drop > 0

    def show(self, batch: dict[str, Any], token_grid: tuple[int, int]) -> dict[str, Any]:
        """The batch as the model is to see it.

        Which view a clip gets follows from its own random number, so it is the same in any batch; the clip that
        another is swapped with is the next of the batch. In a batch of one there is none, and the clip is blanked.

        Args:
            batch: The batch: pixel_values (batch, frames, channels, height, width), frame_mask (batch, frames),
                guidance (batch, frames, tokens), guidance_mask (batch, frames), and view_draw (batch,) in [0, 1); it
                may have object_maps (batch, frames, classes, height, width).
            token_grid: Rows and columns of the tokens.

        Returns:
            The same batch with other pixel_values and, where it has any, object_maps of what is now seen; and with a
            token_mask (batch, frames, tokens), bool, where tokens are dropped.
        """
        draw = batch["view_draw"]
        # a second number from the digits behind those that choose the view: a clip has to bring one alone
        evidence = evidence_tokens(batch["guidance"], batch["guidance_mask"], self.reach, (draw * 1009).frac())
        has_evidence = batch["guidance_mask"].any(dim=1)
        swapped = has_evidence & (draw < self.swap)
        blanked = has_evidence & (draw >= self.swap) & (draw < self.swap + self.blank)
        dropped = has_evidence & (draw >= self.swap + self.blank) & (draw < self.swap + self.blank + self.drop)
        shown = dict(batch)
        if self.swap + self.blank > 0:
            # maps of objects say what is in the pixels, and so go where these go: a blank has no objects
            for name in ("pixel_values", "object_maps"):
                if name in batch:
                    is_evidence = token_pixels(evidence, token_grid, batch[name].shape[-2:])
                    shown[name] = self._replaced(batch[name], is_evidence, swapped, blanked)
        if self.drop > 0:
            shown["token_mask"] = evidence | ~dropped[:, None, None]
        return shown

    def _replaced(
        self, values: torch.Tensor, is_evidence: torch.Tensor, swapped: torch.Tensor, blanked: torch.Tensor
    ) -> torch.Tensor:
        """Values of a batch with what is no evidence exchanged.

        Args:
            values: (batch, frames, channels, height, width): pixels, or maps of objects.
            is_evidence: (batch, frames, 1, height, width), bool.
            swapped: (batch,), bool: clips that are given the surroundings of the next one.
            blanked: (batch,), bool: clips that are given none.
        """
        replacement = torch.zeros_like(values)
        if self.swap > 0 and len(values) > 1:  # a clip alone has no other, and is blank around its evidence
            # never the other clip's evidence, which would be that of another label
            others = values.roll(-1, dims=0) * ~is_evidence.roll(-1, dims=0)
            replacement = torch.where(_per_clip(swapped), others, replacement)
        return torch.where(is_evidence | ~_per_clip(swapped | blanked), values, replacement)


def draw_view() -> dict[str, float]:
    """The random number in [0, 1) that chooses a clip's evidence view: the `extras` of training clips."""
    return {"view_draw": torch.rand(()).item()}


def evidence_tokens(
    guidance: torch.Tensor, guidance_mask: torch.Tensor, reach: int = 1, threshold: torch.Tensor | None = None
) -> torch.Tensor:
    """The tokens of each frame that count as evidence, with the guidance's own uncertainty respected.

    A frame has its own guidance and that of its neighbours, so that a cell that is missed or misplaced in one frame is
    there all the same; a frame whose neighbourhood has none takes it from the nearest guided frames, because a single
    frame that is left whole would show all that the others hide. A token with a small weight beside its frame's
    largest is evidence in some views and not in others.

    Args:
        guidance: (batch, frames, tokens), non-negative.
        guidance_mask: (batch, frames), bool.
        reach: Sampled frames before and after a frame whose evidence is taken for that frame's as well.
        threshold: (batch,) in [0, 1): how sure a token has to be, 1 being one with `CERTAIN_SHARE` of its frame's
            largest weight; None or 0 counts every token with any weight.

    Returns:
        (batch, frames, tokens) bool. All True for a clip without any guidance.
    """
    weights = guidance * guidance_mask.unsqueeze(-1)
    sureness = weights / weights.amax(dim=-1, keepdim=True).clamp_min(torch.finfo(weights.dtype).tiny) / CERTAIN_SHARE
    sureness = _over_time(sureness, reach)
    tokens = sureness > (0.0 if threshold is None else threshold.view(-1, 1, 1).to(sureness.dtype))
    tokens = torch.where(tokens.any(dim=-1, keepdim=True), tokens, _of_nearest_frames(tokens))
    return tokens | ~tokens.any(dim=-1, keepdim=True)


def _over_time(values: torch.Tensor, reach: int) -> torch.Tensor:
    """The largest value within `reach` frames: (batch, frames, tokens) -> (batch, frames, tokens)."""
    if reach == 0:
        return values
    return F.max_pool1d(values.transpose(1, 2), 2 * reach + 1, stride=1, padding=reach).transpose(1, 2)


def _of_nearest_frames(tokens: torch.Tensor) -> torch.Tensor:
    """For each frame the tokens of the nearest frames that have any, on both sides where they are equally near.

    Args:
        tokens: (batch, frames, tokens), bool.

    Returns:
        (batch, frames, tokens), bool.
    """
    frames = torch.arange(tokens.shape[1], device=tokens.device)
    distance = (frames[:, None] - frames[None, :]).abs().expand(len(tokens), -1, -1)
    has_any = tokens.any(dim=-1)
    # farther than any frame can be, so that a frame without tokens is never the nearest
    distance = distance.masked_fill(~has_any[:, None, :], tokens.shape[1] + 1)
    is_nearest = (distance == distance.amin(dim=-1, keepdim=True)) & has_any[:, None, :]
    return torch.matmul(is_nearest.to(torch.float32), tokens.to(torch.float32)) > 0


def token_pixels(tokens: torch.Tensor, token_grid: tuple[int, int], size: tuple[int, int]) -> torch.Tensor:
    """The pixels that tokens cover.

    Args:
        tokens: (batch, frames, tokens) bool.
        token_grid: Rows and columns of the tokens.
        size: Height and width in pixels.

    Returns:
        (batch, frames, 1, height, width) bool.
    """
    grid = tokens.flatten(0, 1).unflatten(-1, token_grid).unsqueeze(1)  # (batch * frames, 1, rows, columns)
    pixels = F.interpolate(grid.to(torch.float32), size=tuple(size), mode="nearest") > 0.5
    return pixels.unflatten(0, tokens.shape[:2])


def _per_clip(flags: torch.Tensor) -> torch.Tensor:
    """Flags that broadcast over the pixels of a clip: (batch,) -> (batch, 1, 1, 1, 1)."""
    return flags.view(-1, 1, 1, 1, 1)


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
