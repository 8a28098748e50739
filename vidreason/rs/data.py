"""From a manifest and a guidance table to the batches that a supervised model trains on."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from ..errors import ConfigError, GuidanceError, VideoError
from ..guidance import MISSING, GuidanceIndex
from ..video import DecodedFrames, decode_frames, jittered_indices, uniform_indices
from ..video.manifest import Manifest
from .transforms import ClipTransform

logger = logging.getLogger(__name__)

IGNORED_LABEL = -100
"""The label of a clip that could not be read: it counts in no loss and no metric, and is reported as skipped."""

SAMPLING_POLICIES = ("uniform", "jittered")


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


class GuidedClips(Dataset):
    """Clips of one split of a manifest, with guidance over the model's tokens where a table has it.

    Randomness of a clip comes from (seed, epoch, index) alone, so that it is the same in any worker, in any order and
    after resuming. A video that cannot be read becomes a clip with the label `IGNORED_LABEL` and is named once in the
    log: it is counted, and ends nothing.

    Args:
        manifest: of the videos.
        split: which of its splits.
        transform: of frames and guidance.
        settings: how frames are taken.
        guidance: where the evidence is; None trains and evaluates without.
        mirrored_labels: label name -> label name under a horizontal flip, for actions that have a direction.
        seed: of frame jitter and augmentation.

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
    ):
        self.rows: list[dict[str, Any]] = manifest.split(split).to_list()
        self.manifest = manifest
        self.split = split
        self.transform = transform
        self.settings = settings
        self.guidance = guidance
        self.seed = seed
        self.mirrored_labels = _mirrored_label_ids(manifest.class_names, mirrored_labels or {})
        self.unreadable: dict[str, str] = {}  # video_id -> reason, as far as this process has seen
        self._cache: dict[int, DecodedFrames] = {}
        # shared memory, so that workers that outlive an epoch see the next one
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    def __len__(self) -> int:
        return len(self.rows)

    def set_epoch(self, epoch: int) -> None:
        """Called by the data loader before each epoch; moves on all random choices."""
        self._epoch.fill_(epoch)

    @property
    def token_grid(self) -> tuple[int, int]:
        """(rows, columns) of the tokens that guidance is given for."""
        return self.transform.token_grid

    @property
    def num_tokens(self) -> int:
        """Tokens of one frame."""
        return self.token_grid[0] * self.token_grid[1]

    def __getitem__(self, index: int) -> dict[str, Any]:
        """pixel_values (frames, channels, height, width), labels, guidance (frames, tokens) and guidance_status."""
        row = self.rows[index]
        # one stream of random numbers per clip and epoch, for numpy's and torch's choices alike
        clip_seed = np.random.SeedSequence([self.seed, int(self._epoch), index])
        try:
            decoded = self.frames(index, np.random.default_rng(clip_seed))
        except VideoError as error:
            return self._unreadable_clip(row, error)
        if self.guidance is None:
            maps, statuses = [None] * len(decoded.frames), [MISSING] * len(decoded.frames)
        else:
            found = self.guidance.lookup(row["video_id"], decoded.timestamps_s)
            maps, statuses = found.maps, found.statuses
        with torch.random.fork_rng(devices=[]):
            # not torch.manual_seed, which would queue a call for every accelerator at every clip
            torch.default_generator.manual_seed(int(clip_seed.generate_state(1, np.uint64)[0] >> 1))
            clip = self.transform(decoded.frames, maps)
        label = row["label"]
        return {
            "pixel_values": clip.pixel_values,
            "labels": self.mirrored_labels.get(label, label) if clip.mirrored else label,
            "guidance": clip.guidance,
            "guidance_status": statuses,
        }

    def frames(self, index: int, rng: np.random.Generator | None = None) -> DecodedFrames:
        """The sampled frames of a clip, before any transform: (frames, height, width, 3), uint8.

        Args:
            index: of the clip.
            rng: for the jitter; uniform sampling without.

        Raises:
            VideoError: the video cannot be read.
        """
        row = self.rows[index]
        path = self.manifest.video_path(row)
        if self.settings.cache:
            if index not in self._cache:
                self._cache[index] = self._decode(path, None)
            whole = self._cache[index]
            picked = self._sample(len(whole.frames), rng)
            return DecodedFrames(
                whole.frames[picked],
                [whole.frame_indices[i] for i in picked],
                [whole.timestamps_s[i] for i in picked],
            )
        return self._decode(path, self._sample(row["num_frames"], rng))

    def _decode(self, path, indices: list[int] | None) -> DecodedFrames:
        settings = self.settings
        return decode_frames(path, indices, max_side_px=settings.decode_max_side_px, max_pixels=settings.max_pixels)

    def _sample(self, num_frames: int, rng: np.random.Generator | None) -> list[int]:
        if self.settings.sampling == "jittered" and rng is not None:
            return jittered_indices(num_frames, self.settings.num_frames, rng)
        return uniform_indices(num_frames, self.settings.num_frames)

    def fill_cache(self, progress: Callable[..., Any] | None = None) -> None:
        """Decode all videos now, so that the first epoch is no slower than the others.

        Args:
            progress: wraps the iterable, as `tqdm.tqdm` does.
        """

        def decode(index: int) -> VideoError | None:
            try:
                self.frames(index)
            except VideoError as error:
                return error
            return None

        # threads, since decoding spends its time outside Python's lock
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            errors = pool.map(decode, range(len(self)))
            if progress is not None:
                errors = progress(errors, desc=f"decode {self.split}", total=len(self))
            for row, error in zip(self.rows, errors, strict=True):
                if error is not None:
                    self._report_unreadable(row, error)

    def _unreadable_clip(self, row: dict[str, Any], error: VideoError) -> dict[str, Any]:
        self._report_unreadable(row, error)
        height, width = self.transform.output_size
        return {
            "pixel_values": torch.zeros(1, 3, height, width),
            "labels": IGNORED_LABEL,
            "guidance": torch.zeros(1, self.num_tokens),
            "guidance_status": [MISSING],
        }

    def _report_unreadable(self, row: dict[str, Any], error: VideoError) -> None:
        if row["video_id"] not in self.unreadable:
            self.unreadable[row["video_id"]] = str(error)
            logger.warning("skipped, split %s: %s", self.split, error)


def _mirrored_label_ids(class_names: list[str], pairs: Mapping[str, str]) -> dict[int, int]:
    unknown = sorted({*pairs, *pairs.values()} - set(class_names))
    if unknown:
        raise ConfigError(f"mirrored_labels name {unknown}, which are not among the classes {class_names}")
    return {class_names.index(label): class_names.index(mirror) for label, mirror in pairs.items()}


class GuidedClipCollator:
    """Makes a batch of clips, of unequal length too; turns the statuses of guidance into the mask of the spatial loss.

    Gives pixel_values (batch, frames, channels, height, width), frame_mask (batch, frames), labels (batch,),
    guidance (batch, frames, tokens) and guidance_mask (batch, frames). Shorter clips are padded at the end with zeros.
    """

    def __call__(self, clips: list[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        tokens = {clip["guidance"].shape[-1] for clip in clips}
        if len(tokens) > 1:
            raise GuidanceError(f"clips of one batch have guidance over {sorted(tokens)} tokens")
        lengths = torch.tensor([len(clip["pixel_values"]) for clip in clips])
        frame_mask = torch.arange(int(lengths.max())) < lengths[:, None]
        guidance = _pad_stack([clip["guidance"] for clip in clips])
        is_ok = _pad_stack([torch.tensor([status == "ok" for status in clip["guidance_status"]]) for clip in clips])
        return {
            "pixel_values": _pad_stack([clip["pixel_values"] for clip in clips]),
            "frame_mask": frame_mask,
            "labels": torch.tensor([clip["labels"] for clip in clips]),
            "guidance": guidance,
            # guidance that a crop moved out of the view is ok in the table and all zero here
            "guidance_mask": is_ok & (guidance.sum(dim=-1) > 0),
        }


def _pad_stack(tensors: list[torch.Tensor]) -> torch.Tensor:
    """Stack along a new first dimension; shorter ones are padded with zeros along their first."""
    return torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True)
