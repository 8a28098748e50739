"""Windows of long videos: fixed numbers of frames at a fixed rate, with a label for each frame and their guidance."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..clips.data import (
    IGNORED_LABEL,
    ClipEntry,
    ClipReader,
    Clips,
    ClipSettings,
    Extras,
    GuidedClipCollator,
)
from ..clips.transforms import ClipTransform
from ..errors import ConfigError
from ..guidance import GuidanceIndex
from ..video import DecodedFrames, decode_frames
from ..video.cache import SharedVideos, decode_at_rate
from .frame_labels import FrameLabels, LabelledVideo


def window_starts(num_frames: int, window: int, stride: int) -> list[int]:
    """First frames of the windows that cover a video. The last one ends with the video, or is all of a shorter one.

    Args:
        num_frames: Number of sampled frames of the video.
        window: Number of frames of a window.
        stride: Number of frames from one window to the next.

    Raises:
        ConfigError: The stride is below 1, or leaves gaps.
    """
    if not 1 <= stride <= window:
        raise ConfigError(f"windows of {window} frames are {stride} frames apart, expected 1 to {window}")
    last = max(0, num_frames - window)
    return [*range(0, last, stride), last]


class WindowReader(ClipReader[LabelledVideo]):
    """Reads windows of the videos of one split.

    Args:
        labels: Labels of the frames.
        split: Split whose videos are read.
        settings: Length of a window, and size and limits of the frames.
        stride: Number of frames from one window to the next.
        is_training: Whether windows start at random, anew in every epoch.
        seed: Seed of the starts.
        video_cache: Decoded videos that several data sets share.

    Raises:
        ManifestError: The split has no labels.
        ConfigError: The stride does not fit the windows.
    """

    def __init__(
        self,
        labels: FrameLabels,
        split: str,
        settings: ClipSettings,
        stride: int,
        is_training: bool,
        seed: int,
        video_cache: SharedVideos | None,
    ):
        self.class_names = labels.label_names
        self.labels, self.settings, self.stride = labels, settings, stride
        self.is_training, self.seed = is_training, seed
        self.video_cache = video_cache
        self.videos: list[LabelledVideo] = labels.videos(split)
        self.windows: list[tuple[int, int]] = []
        """(video, first frame) of each; in training the frames that share the window's random start."""
        for video, labelled in enumerate(self.videos):
            starts = window_starts(len(labelled.times_s), settings.num_frames, stride)
            self.windows += [(video, start) for start in starts]

    def __len__(self) -> int:
        return len(self.windows)

    def entry(self, index: int, epoch: int) -> ClipEntry[LabelledVideo]:
        """A window with the label of each of its frames, and its `video` and `start`."""
        video, start = self._place(index, epoch)
        labelled = self.videos[video]
        stop = min(start + self.settings.num_frames, len(labelled.times_s))
        return ClipEntry(
            number=index,
            video=video,
            video_id=labelled.video_id,
            label=labelled.labels[start:stop].tolist(),
            row=labelled,
            picked=range(start, stop),
            # the times of the rate and not those of the frames: labels and guidance then belong to the same instants
            guidance_times_s=labelled.times_s[start:stop],
            place={"video": video, "start": start},
        )

    def _place(self, index: int, epoch: int) -> tuple[int, int]:
        """Video and first frame of a window, which in training is drawn for every epoch."""
        video, start = self.windows[index]
        last = max(0, len(self.videos[video].times_s) - self.settings.num_frames)
        if not self.is_training or last == 0:
            return video, start
        # 1: another stream of random numbers than the clip's own, which is of (seed, epoch, index)
        draw = np.random.default_rng([self.seed, epoch, index, 1]).random()
        return video, min(last, max(0, math.floor(start + (draw - 0.5) * self.stride + 0.5)))

    def num_frames(self, entry: ClipEntry[LabelledVideo], wanted: int) -> int:
        """The sampled frames of the window's video."""
        return len(entry.row.times_s)

    def read(self, entry: ClipEntry[LabelledVideo], picked: Sequence[int]) -> DecodedFrames:
        """Sampled frames of a video by position, decoded from its file."""
        return decode_frames(
            self._path(entry),
            timestamps_s=[entry.row.times_s[position] for position in picked],
            max_side_px=self.settings.decode_max_side_px,
            max_pixels=self.settings.max_pixels,
            stand_ins=True,  # as the labeller reads it
        )

    def read_whole(self, entry: ClipEntry[LabelledVideo]) -> DecodedFrames:
        """All sampled frames of a video."""
        settings, rate = self.settings, self.labels.fps
        return decode_at_rate(
            self._path(entry),
            entry.row.times_s,
            rate,
            settings.decode_max_side_px,
            settings.max_pixels,
            self.video_cache,
        )

    @property
    def num_videos(self) -> int:
        """Number of videos, each of which is kept for all of its windows."""
        return len(self.videos)

    def entry_of_video(self, video: int) -> ClipEntry[LabelledVideo]:
        """A window of a video, by the video's number."""
        labelled = self.videos[video]
        return ClipEntry(0, video, labelled.video_id, labelled.labels.tolist(), labelled)

    def _path(self, entry: ClipEntry[LabelledVideo]) -> Path:
        return self.labels.manifest.video_path(entry.row.row)


class VideoWindows(Clips[LabelledVideo]):
    """Windows of the videos of one split.

    Training windows start anew in every epoch: each video gives as many as cover it at the given stride, and each of
    them starts at random within its share of the video. Those of evaluation lie fixed and overlap, so that a frame is
    seen with what comes before and after it.

    A video that is shorter than a window is one window by itself, padded in the batch.

    Args:
        labels: Labels of the frames.
        split: Split whose videos are read.
        transform: Turns frames and guidance into what the model takes.
        settings: How frames are taken; `num_frames` is the length of a window, and `sampling` is not used.
        stride: Number of frames from one window to the next.
        guidance: Where the evidence is; None for none.
        is_training: Whether windows start at random.
        mirrored_labels: Label name -> label name under a horizontal flip.
        seed: Seed of the starts and of augmentation.
        extras: Draws further numbers of a window; see `Clips`.
        video_cache: Decoded videos that several data sets share, as `decode_at_rate` keeps them; None for none.

    Raises:
        ManifestError: The split has no labels.
        ConfigError: The stride does not fit the windows, or a mirrored label is unknown.
    """

    def __init__(
        self,
        labels: FrameLabels,
        split: str,
        transform: ClipTransform,
        settings: ClipSettings,
        stride: int,
        guidance: GuidanceIndex | None = None,
        is_training: bool = False,
        mirrored_labels: Mapping[str, str] | None = None,
        seed: int = 0,
        extras: Extras | None = None,
        video_cache: SharedVideos | None = None,
    ):
        reader = WindowReader(labels, split, settings, stride, is_training, seed, video_cache)
        super().__init__(reader, split, transform, settings, guidance, mirrored_labels, seed, extras)
        self.labels, self.videos, self.windows = labels, reader.videos, reader.windows


class WindowCollator(GuidedClipCollator):
    """As `GuidedClipCollator`, with labels (batch, frames), -100 for padding, and `video` and `start` (batch,)."""

    def __call__(self, clips: list[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """The batch of some windows."""
        batch = super().__call__(clips)
        return {**batch, **{name: torch.tensor([clip[name] for clip in clips]) for name in ("video", "start")}}

    def collate_labels(self, clips: list[Mapping[str, Any]]) -> torch.Tensor:
        """The labels of the frames of windows: int64 (batch, frames), -100 behind the end of a shorter one."""
        labels = [torch.tensor(clip["labels"]) for clip in clips]
        return torch.nn.utils.rnn.pad_sequence(labels, batch_first=True, padding_value=IGNORED_LABEL)
