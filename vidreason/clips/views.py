"""Several readings of one clip: at other times, and of other parts of the frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import Dataset

from ..errors import ConfigError
from ..guidance.geometry import Rectangle
from .data import Clips


@dataclass(frozen=True)
class ClipView:
    """One reading of a clip.

    Args:
        number: Which of the readings in time it is, from 0.
        count: How many there are; with 1, frames are those of uniform sampling.
        crop: Which square along the longer side of the frame is shown, from 0 (left or top) to 1; None shows all.
    """

    number: int = 0
    count: int = 1
    crop: float | None = None

    def rectangle(self, height: int, width: int) -> Rectangle | None:
        """The part (x0, y0, x1, y1) in [0, 1] of frames of a size in pixels that is shown; None for all.

        A square of the shorter side, as crops of evaluation are: where a model takes squares, nothing is squeezed.
        """
        if self.crop is None:
            return None
        side = min(height, width)
        x0, y0 = self.crop * (1 - side / width), self.crop * (1 - side / height)
        return x0, y0, x0 + side / width, y0 + side / height


def clip_views(num_clips: int, num_crops: int) -> list[ClipView]:
    """All views of `num_clips` readings in time by `num_crops` crops.

    Readings in time take turns at k times as many uniform frames; crops lie evenly from one end of the longer side to
    the other.
    """
    crops: list[float | None] = [None] if num_crops == 1 else [i / (num_crops - 1) for i in range(num_crops)]
    return [ClipView(number, num_clips, crop) for number in range(num_clips) for crop in crops]


class ViewedClips(Dataset):
    """The clips of a data set, each read in one view.

    Args:
        clips: Clips that are read by index.
        view: How they are read.
    """

    def __init__(self, clips: Clips, view: ClipView):
        self.clips, self.view, self.split = clips, view, clips.split

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> dict[str, Any]:
        view = self.view
        return self.clips.read_view(index, view.number, view.count, view.rectangle)


def check_views(clips: Any) -> Clips:
    """The clips, once it is known that they can be read several times.

    Raises:
        ConfigError: They come as a stream, or are no clips.
    """
    if isinstance(clips, torch.utils.data.IterableDataset) or not isinstance(clips, Clips):
        raise ConfigError(
            f"evaluation_clips and evaluation_crops read clips several times, by index, which {type(clips).__name__} "
            "does not give: leave streaming off"
        )
    return clips


__all__ = ["ClipView", "ViewedClips", "check_views", "clip_views"]
