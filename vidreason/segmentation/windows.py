"""Windows of long videos: fixed numbers of frames at a fixed rate, with a label for each frame and their guidance."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from ..clips.data import (
    IGNORED_LABEL,
    CachedClips,
    ClipSettings,
    Extras,
    GuidedClipCollator,
    no_guidance,
    pick_frames,
)
from ..clips.transforms import ClipTransform
from ..errors import ConfigError
from ..guidance import FrameGuidance, GuidanceIndex
from ..video import DecodedFrames, decode_frames
from ..video.cache import SharedVideos, decode_at_rate
from .frame_labels import FrameLabels, LabelledVideo


def window_starts(num_frames: int, window: int, stride: int) -> list[int]:
    """First frames of the windows that cover a video. The last one ends with the video, or is all of a shorter one.

    Raises:
        ConfigError: the stride leaves gaps, or is none.
    """
    if not 1 <= stride <= window:
        raise ConfigError(f"windows of {window} frames are {stride} frames apart, expected 1 to {window}")
    last = max(0, num_frames - window)
    return [*range(0, last, stride), last]


class VideoWindows(CachedClips):
    """Windows of the videos of one split.

    Training windows start anew in every epoch: each video gives as many as cover it at the given stride, and each of
    them starts at random within its share of the video. Those of evaluation lie fixed and overlap, so that a frame is
    seen with what comes before and after it.

    A video that is shorter than a window is one window by itself, padded in the batch.

    Args:
        labels: of the frames.
        split: whose windows these are.
        transform: of frames and guidance.
        settings: `num_frames` is the length of a window; `sampling` is not used.
        stride: frames from one window to the next.
        guidance: where the evidence is; None for none.
        is_training: whether windows start at random.
        mirrored_labels: label name -> label name under a horizontal flip.
        seed: of the starts and of augmentation.
        extras: See `ClipSource`.
        video_cache: See `GuidedClips`.

    Raises:
        ManifestError, ConfigError: the split, the stride or a mirrored label is not usable.
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
        super().__init__(labels.label_names, split, transform, settings, mirrored_labels, seed, extras)
        self.video_cache = video_cache
        self.labels = labels
        self.videos: list[LabelledVideo] = labels.videos(split)
        self.guidance = guidance
        self.is_training = is_training
        self.windows: list[tuple[int, int]] = []
        """(video, first frame) of each; in training the frames that share the window's random start."""
        for video, labelled in enumerate(self.videos):
            starts = window_starts(len(labelled.times_s), settings.num_frames, stride)
            self.windows += [(video, start) for start in starts]
        self.stride = stride

    def __len__(self) -> int:
        return len(self.windows)

    def video_id(self, index: int) -> str:
        return self.videos[self.windows[index][0]].video_id

    def __getitem__(self, index: int) -> dict[str, Any]:
        """pixel_values (frames, channels, height, width), labels (frames), guidance (frames, tokens),
        guidance_status, and which window it is: `video` and `start`."""
        video, start = self._place(index)
        labelled = self.videos[video]
        stop = min(start + self.settings.num_frames, len(labelled.times_s))

        def read(rng: np.random.Generator) -> tuple[np.ndarray, FrameGuidance]:
            decoded = self._window(video, start, stop)
            if self.guidance is None:
                return decoded.frames, no_guidance(len(decoded))
            return decoded.frames, self.guidance.lookup(labelled.video_id, labelled.times_s[start:stop])

        clip = self.make_clip(index, labelled.video_id, labelled.labels[start:stop].tolist(), read)
        return {**clip, "video": video, "start": start}

    def _place(self, index: int) -> tuple[int, int]:
        """Video and first frame of a window, which in training is drawn for every epoch."""
        video, start = self.windows[index]
        last = max(0, len(self.videos[video].times_s) - self.settings.num_frames)
        if not self.is_training or last == 0:
            return video, start
        draw = np.random.default_rng([self.seed, int(self._epoch), index, 1]).random()
        return video, min(last, max(0, math.floor(start + (draw - 0.5) * self.stride + 0.5)))

    def _window(self, video: int, start: int, stop: int) -> DecodedFrames:
        """The frames [start, stop) of a video's sampled ones.

        Raises:
            VideoError: they cannot be read.
        """
        if self.settings.cache:
            return pick_frames(self.kept(video), list(range(start, stop)))
        labelled, settings = self.videos[video], self.settings
        return decode_frames(
            self.labels.manifest.video_path(labelled.row),
            timestamps_s=labelled.times_s[start:stop],
            max_side_px=settings.decode_max_side_px,
            max_pixels=settings.max_pixels,
        )

    def decode_whole(self, video: int) -> DecodedFrames:
        """All sampled frames of a video; here `video` counts videos and not windows."""
        labelled, settings = self.videos[video], self.settings
        path = self.labels.manifest.video_path(labelled.row)
        return decode_at_rate(
            path, labelled.times_s, self.labels.fps, settings.decode_max_side_px, settings.max_pixels, self.video_cache
        )

    def cache_keys(self) -> Sequence[int]:
        """Videos are what is kept, each for all of its windows."""
        return range(len(self.videos))

    def cache_name(self, key: int) -> str:
        return self.videos[key].video_id


class WindowCollator(GuidedClipCollator):
    """As `GuidedClipCollator`, with labels (batch, frames), -100 for padding, and `video` and `start` (batch,)."""

    def __call__(self, clips: list[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        batch = super().__call__(clips)
        return {**batch, **{name: torch.tensor([clip[name] for clip in clips]) for name in ("video", "start")}}

    def collate_labels(self, clips: list[Mapping[str, Any]]) -> torch.Tensor:
        labels = [torch.tensor(clip["labels"]) for clip in clips]
        return torch.nn.utils.rnn.pad_sequence(labels, batch_first=True, padding_value=IGNORED_LABEL)
