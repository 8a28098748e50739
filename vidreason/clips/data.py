"""From a manifest and a guidance table to the batches that a supervised model trains on."""

from __future__ import annotations

import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from ..errors import ConfigError, GuidanceError, VideoError
from ..guidance import MISSING, FrameGuidance, GuidanceIndex
from ..guidance.geometry import Rectangle
from ..manifests.manifest import Manifest
from ..video import DecodedFrames, decode_frames, jittered_indices, uniform_indices
from ..video.cache import SharedVideos, decode_whole_video
from .transforms import ClipTransform

logger = logging.getLogger(__name__)

IGNORED_LABEL = -100
"""The label of a clip that could not be read: it counts in no loss and no metric, and is reported as skipped."""

SAMPLING_POLICIES = ("uniform", "jittered")

Extras = Callable[[], Mapping[str, float]]
"""Draws named numbers of a clip from torch's generator, which the clip has seeded; the collator stacks them."""


@dataclass(frozen=True)
class ClipSettings:
    """How frames are taken from a video.

    Args:
        num_frames: sampled per clip.
        sampling: "uniform" (centres of equal segments), or "jittered" (a random frame of each segment).
        decode_max_side_px: frames are scaled down to this longer side while decoding; None keeps them.
        cache: keep every decoded video in memory. Worth it where the data set is small and epochs are many.
        max_pixels: a larger frame is refused before it is decoded.
    """

    num_frames: int
    sampling: str = "uniform"
    decode_max_side_px: int | None = None
    cache: bool = False
    max_pixels: int | None = None

    def __post_init__(self):
        if self.num_frames < 1:
            raise ConfigError(f"num_frames is {self.num_frames}, expected at least 1")
        if self.sampling not in SAMPLING_POLICIES:
            raise ConfigError(f"sampling is {self.sampling!r}, expected one of {SAMPLING_POLICIES}")


class ClipSource:
    """What all data sets of clips have in common, wherever their frames come from.

    Randomness of a clip comes from (seed, epoch, index) alone, so that it is the same in any worker, in any order and
    after resuming. A video that cannot be read becomes a clip with the label `IGNORED_LABEL` and is named once in the
    log: it is counted, and ends nothing.

    Args:
        class_names: in the order of the label ids.
        split: whose clips these are.
        transform: of frames and guidance.
        settings: how frames are taken.
        mirrored_labels: label name -> label name under a horizontal flip, for actions that have a direction.
        seed: of frame jitter and augmentation.
        extras: Draws further numbers of a clip, in its own random stream, such as which view of it is shown.

    Raises:
        ConfigError: a mirrored label is unknown.
    """

    def __init__(
        self,
        class_names: list[str],
        split: str,
        transform: ClipTransform,
        settings: ClipSettings,
        mirrored_labels: Mapping[str, str] | None = None,
        seed: int = 0,
        extras: Extras | None = None,
    ):
        self.split = split
        self.transform = transform
        self.settings = settings
        self.seed = seed
        self.extras = extras
        self.mirrored_labels = _mirrored_label_ids(class_names, mirrored_labels or {})
        self.unreadable: dict[str, str] = {}  # video_id -> reason, as far as this process has seen
        # shared memory, so that workers that outlive an epoch see the next one
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    def set_epoch(self, epoch: int) -> None:
        """Called by the data loader before each epoch; moves on all random choices."""
        self._epoch.fill_(epoch)

    @property
    def token_grid(self) -> tuple[int, int]:
        """(rows, columns) of the tokens that guidance is given for."""
        return self.transform.token_grid

    @property
    def whole_frame(self) -> bool:
        """Whether clips show all of a frame."""
        return self.transform.whole_frame

    @property
    def num_tokens(self) -> int:
        """Tokens of one frame."""
        return self.token_grid[0] * self.token_grid[1]

    def make_clip(
        self,
        index: int,
        video_id: str,
        label: int | Sequence[int],
        read: Callable[[np.random.Generator], tuple[np.ndarray, FrameGuidance]],
        rectangle: Rectangle | None = None,
    ) -> dict[str, Any]:
        """What the collator takes of one clip.

        Args:
            index: of the clip, from which its randomness comes.
            video_id: for the log.
            label: id of the class, or one for every frame.
            read: gives the sampled frames (frames, height, width, 3), uint8, and their guidance.
            rectangle: (x0, y0, x1, y1) in [0, 1] that the frames are cropped to; None keeps them whole.

        Returns:
            pixel_values (frames, channels, height, width), labels, guidance (frames, tokens), guidance_status, and
            what `extras` draws.
        """
        # one stream of random numbers per clip and epoch, for numpy's and torch's choices alike
        clip_seed = np.random.SeedSequence([self.seed, int(self._epoch), index])
        try:
            frames, found = read(np.random.default_rng(clip_seed))
        except VideoError as error:
            return self._unreadable_clip(video_id, label, error)
        with torch.random.fork_rng(devices=[]):
            # not torch.manual_seed, which would queue a call for every accelerator at every clip
            torch.default_generator.manual_seed(int(clip_seed.generate_state(1, np.uint64)[0] >> 1))
            clip = self.transform(frames, found.maps, rectangle)
            extras = self.extras() if self.extras else {}
        return {
            "pixel_values": clip.pixel_values,
            "labels": self._mirrored(label) if clip.mirrored else label,
            "guidance": clip.guidance,
            "guidance_status": found.statuses,
            **extras,
        }

    def sample(self, num_frames: int, rng: np.random.Generator | None) -> list[int]:
        """Which of so many frames are taken; uniformly where there is no generator for the jitter."""
        if self.settings.sampling == "jittered" and rng is not None:
            return jittered_indices(num_frames, self.settings.num_frames, rng)
        return uniform_indices(num_frames, self.settings.num_frames)

    def _mirrored(self, label: int | Sequence[int]) -> int | list[int]:
        """What a label, or each of several, becomes under a horizontal flip."""
        if isinstance(label, Sequence):
            return [self.mirrored_labels.get(one, one) for one in label]
        return self.mirrored_labels.get(label, label)

    def _unreadable_clip(self, video_id: str, label: int | Sequence[int], error: VideoError) -> dict[str, Any]:
        self.report_unreadable(video_id, error)
        height, width = self.transform.output_size
        per_frame = isinstance(label, Sequence)
        with torch.random.fork_rng(devices=[]):  # the names alone: nothing is drawn for a clip that is not there
            extras = dict.fromkeys(self.extras() if self.extras else {}, 0.0)
        # all of them, not one: some models cannot leave out padded frames
        num_frames = len(label) if per_frame else self.settings.num_frames
        return {
            "pixel_values": torch.zeros(num_frames, 3, height, width),
            "labels": [IGNORED_LABEL] * num_frames if per_frame else IGNORED_LABEL,
            "guidance": torch.zeros(num_frames, self.num_tokens),
            "guidance_status": [MISSING] * num_frames,
            **extras,
        }

    def report_unreadable(self, video_id: str, error: VideoError) -> None:
        """Name a clip in the log, the first time that it cannot be read."""
        if video_id not in self.unreadable:
            self.unreadable[video_id] = str(error)
            logger.warning("skipped, split %s: %s", self.split, error)


class CachedClips(ClipSource, Dataset, ABC):
    """Clips by index, whose frames may be kept in memory once they are decoded."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._cache: dict[int, DecodedFrames] = {}

    @abstractmethod
    def __len__(self) -> int:
        """Number of clips."""

    @abstractmethod
    def video_id(self, index: int) -> str:
        """Of a clip."""

    @abstractmethod
    def decode_whole(self, index: int) -> DecodedFrames:
        """All frames of a clip, or of what else `cache_keys` counts."""

    def kept(self, index: int) -> DecodedFrames:
        """All frames of a clip, from memory but for the first time."""
        if index not in self._cache:
            self._cache[index] = self.decode_whole(index)
        return self._cache[index]

    def fill_cache(self, progress: Callable[..., Any] | None = None) -> None:
        """Decode all clips now, so that the first epoch is no slower than the others.

        Args:
            progress: wraps the iterable, as `tqdm.tqdm` does.
        """

        def decode(key: int) -> VideoError | None:
            try:
                self.kept(key)
            except VideoError as error:
                return error
            return None

        # threads, since decoding spends its time outside Python's lock
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            keys = self.cache_keys()
            errors = pool.map(decode, keys)
            if progress is not None:
                errors = progress(errors, desc=f"decode {self.split}", total=len(keys))
            for key, error in zip(keys, errors, strict=True):
                if error is not None:
                    self.report_unreadable(self.cache_name(key), error)

    def cache_keys(self) -> Sequence[int]:
        """What `kept` is asked for: clips, unless several of them share what is decoded."""
        return range(len(self))

    def cache_name(self, key: int) -> str:
        """The video of a key, for the log."""
        return self.video_id(key)


class GuidedClips(CachedClips):
    """Clips of one split of a manifest, with guidance over the model's tokens where a table has it.

    Args:
        manifest: of the videos.
        split: which of its splits.
        transform: of frames and guidance.
        settings: how frames are taken.
        guidance: where the evidence is; None trains and evaluates without.
        mirrored_labels: label name -> label name under a horizontal flip, for actions that have a direction.
        seed: of frame jitter and augmentation.
        extras: See `ClipSource`.
        video_cache: Decoded videos that several data sets share, by what `decode_whole_video` keeps them; None for none.

    Raises:
        ManifestError: the split is not in the manifest.
        ConfigError: a mirrored label is unknown.
    """

    def __init__(
        self,
        manifest: Manifest,
        split: str,
        transform: ClipTransform,
        settings: ClipSettings,
        guidance: GuidanceIndex | None = None,
        mirrored_labels: Mapping[str, str] | None = None,
        seed: int = 0,
        extras: Extras | None = None,
        video_cache: SharedVideos | None = None,
    ):
        super().__init__(manifest.class_names, split, transform, settings, mirrored_labels, seed, extras)
        self.video_cache = video_cache
        self.rows: list[dict[str, Any]] = manifest.split(split).to_list()
        self.manifest = manifest
        self.guidance = guidance

    def __len__(self) -> int:
        return len(self.rows)

    def video_id(self, index: int) -> str:
        return self.rows[index]["video_id"]

    def __getitem__(self, index: int) -> dict[str, Any]:
        """pixel_values (frames, channels, height, width), labels, guidance (frames, tokens) and guidance_status."""
        return self.read_clip(index)

    def read_clip(self, index: int, rectangle: Rectangle | None = None) -> dict[str, Any]:
        """A clip, cropped to a rectangle (x0, y0, x1, y1) in [0, 1] of its frames where one is given."""
        row = self.rows[index]

        def read(rng: np.random.Generator) -> tuple[np.ndarray, FrameGuidance]:
            decoded = self.frames(index, rng)
            if self.guidance is None:
                return decoded.frames, no_guidance(len(decoded))
            return decoded.frames, self.guidance.lookup(row["video_id"], decoded.timestamps_s)

        return self.make_clip(index, row["video_id"], row["label"], read, rectangle)

    def frames(self, index: int, rng: np.random.Generator | None = None) -> DecodedFrames:
        """The sampled frames of a clip, before any transform: (frames, height, width, 3), uint8.

        Args:
            index: of the clip.
            rng: for the jitter; uniform sampling without.

        Raises:
            VideoError: the video cannot be read.
        """
        row = self.rows[index]
        if self.settings.cache:
            whole = self.kept(index)
            return pick_frames(whole, self.sample(len(whole), rng))
        return self._decode(index, self.sample(row["num_frames"], rng))

    def decode_whole(self, index: int) -> DecodedFrames:
        path, settings = self.manifest.video_path(self.rows[index]), self.settings
        return decode_whole_video(path, settings.decode_max_side_px, settings.max_pixels, self.video_cache)

    def _decode(self, index: int, indices: list[int]) -> DecodedFrames:
        path, settings = self.manifest.video_path(self.rows[index]), self.settings
        return decode_frames(path, indices, max_side_px=settings.decode_max_side_px, max_pixels=settings.max_pixels)


def pick_frames(whole: DecodedFrames, picked: list[int]) -> DecodedFrames:
    """Some of the frames, by position; repeats allowed."""
    return DecodedFrames(
        whole.frames[picked],
        [whole.frame_indices[i] for i in picked],
        [whole.timestamps_s[i] for i in picked],
        whole.clock,
    )


def no_guidance(num_frames: int) -> FrameGuidance:
    """For frames that no table speaks of."""
    return FrameGuidance([None] * num_frames, [MISSING] * num_frames)


def _mirrored_label_ids(class_names: list[str], pairs: Mapping[str, str]) -> dict[int, int]:
    unknown = sorted({*pairs, *pairs.values()} - set(class_names))
    if unknown:
        raise ConfigError(f"mirrored_labels name {unknown}, which are not among the classes {class_names}")
    return {class_names.index(label): class_names.index(mirror) for label, mirror in pairs.items()}


class GuidedClipCollator:
    """Makes a batch of clips, of unequal length too; turns the statuses of guidance into the mask of the spatial loss.

    Gives pixel_values (batch, frames, channels, height, width), frame_mask (batch, frames), labels (batch,),
    guidance (batch, frames, tokens), guidance_mask (batch, frames), and (batch,) of each number that `extras` drew.
    Shorter clips are padded at the end with zeros.
    """

    def __call__(self, clips: list[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        tokens = {clip["guidance"].shape[-1] for clip in clips}
        if len(tokens) > 1:
            raise GuidanceError(f"clips of one batch have guidance over {sorted(tokens)} tokens")
        lengths = torch.tensor([len(clip["pixel_values"]) for clip in clips])
        frame_mask = torch.arange(int(lengths.max())) < lengths[:, None]
        guidance = _pad_stack([clip["guidance"] for clip in clips])
        is_ok = _pad_stack([torch.tensor([status == "ok" for status in clip["guidance_status"]]) for clip in clips])
        batch = {
            "pixel_values": _pad_stack([clip["pixel_values"] for clip in clips]),
            "frame_mask": frame_mask,
            "labels": self.collate_labels(clips),
            "guidance": guidance,
            # guidance that a crop moved out of the view is ok in the table and all zero here
            "guidance_mask": is_ok & (guidance.sum(dim=-1) > 0),
        }
        for name in (name for name, value in clips[0].items() if isinstance(value, float)):
            if all(name in clip for clip in clips):
                batch[name] = torch.tensor([clip[name] for clip in clips], dtype=torch.float32)
        return batch

    def collate_labels(self, clips: list[Mapping[str, Any]]) -> torch.Tensor:
        """The labels of clips: (batch,) int64."""
        return torch.tensor([clip["labels"] for clip in clips])


def _pad_stack(tensors: list[torch.Tensor]) -> torch.Tensor:
    """Stack along a new first dimension; shorter ones are padded with zeros along their first."""
    if all(tensor.shape == tensors[0].shape for tensor in tensors):
        return torch.stack(tensors)  # the same as below, in a third of the time
    return torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True)
