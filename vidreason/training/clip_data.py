"""The clips of a run: opened from videos or a packed store, joined to their guidance, split by split."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterable
from pathlib import Path

from datasets import Dataset
from tqdm.auto import tqdm
from transformers import TrainingArguments
from transformers.trainer_pt_utils import AcceleratorConfig

from ..clips.data import Clips as AnyClips
from ..clips.data import ClipSettings, Extras, GuidedClips
from ..clips.packed import PackedClips, PackedStream
from ..clips.packed_store import PackedGuidance, PackedStore, open_packed
from ..clips.transforms import ClipTransform
from ..errors import ConfigError
from ..guidance import GuidanceIndex, load_guidance
from ..manifests.manifest import Manifest, load_manifest
from ..video.cache import SharedVideos
from .arguments import ClipArguments
from .object_data import ObjectTables

logger = logging.getLogger(__name__)

Videos = Manifest | PackedStore
Clips = GuidedClips | PackedClips | PackedStream
Guidance = GuidanceIndex | PackedGuidance


def open_videos(data_args: ClipArguments) -> Videos:
    """The manifest or the store that a run reads its clips from.

    Raises:
        ManifestError: There is no such manifest.
        ConfigError: There is no such store.
    """
    if data_args.packed_clips:
        return open_packed(data_args.packed_clips)
    return load_manifest(data_args.manifest, data_args.video_root, data_args.allow_outside_paths)


class GuidanceTables:
    """The guidance of a run's splits; a table is read once, however many of its splits are used.

    Args:
        data_args: Settings that name the tables.
        videos: What is to be guided: videos, or packed clips, which may carry guidance of their own.
    """

    def __init__(self, data_args: ClipArguments, videos: Videos):
        self.data_args, self.videos = data_args, videos
        # a cache per instance: `functools.cache` on a method would keep every instance alive with its tables
        self._load = functools.cache(load_guidance)

    def training(self) -> Guidance | None:
        """The guidance to train with; None for none.

        Raises:
            GuidanceError: The table cannot be read.
            ConfigError: It has no training split, or none of its videos is there.
        """
        return self._open(self.data_args.guidance, self.data_args.train_split, required=True)

    def evaluation(self, split: str) -> Guidance | None:
        """The guidance that attention on a split is compared with; None for none, or where the table lacks the split.

        Raises:
            GuidanceError: The table cannot be read.
            ConfigError: None of its videos is there.
        """
        name = self.data_args.evaluation_guidance or self.data_args.guidance
        return self._open(name, split, required=False)

    def training_rows(self, guidance: Guidance | None) -> tuple[Dataset, str] | None:
        """The rows of the training guidance, and the name of its table; None without guidance.

        Args:
            guidance: What `training` gave.
        """
        if isinstance(guidance, PackedGuidance):
            return guidance.rows, guidance.table
        name = self.data_args.guidance
        return None if name is None else (self._load(name)[self.data_args.train_split], Path(name).name)

    def _open(self, name: str | None, split: str, required: bool) -> Guidance | None:
        """The guidance of a split, with what of it meets the videos reported."""
        if name is None:
            # a store carries the guidance that it was packed with, which a named table replaces
            return self.videos.guidance(split) if isinstance(self.videos, PackedStore) else None
        table = self._load(name)
        if split not in table:
            # training would go on without guidance, and be plain training under another name
            if required:
                raise ConfigError(f"guidance {name} has no split {split!r}; it has {sorted(table)}")
            # evaluation still has accuracy and losses to report
            logger.info("guidance %s has no split %r: attention is not compared with guidance there", name, split)
            return None
        index = GuidanceIndex(table[split], self.data_args.guidance_tolerance_s)
        coverage = index.coverage(
            self.videos.video_ids(split)
            if isinstance(self.videos, PackedStore)
            else self.videos.split(split)["video_id"]
        )
        # ids that are spelled differently match nothing, and no later step would fail: every frame is just unguided
        if coverage.videos_with_guidance == 0:
            raise ConfigError(
                f"guidance {name}, split {split!r}, fits none of the manifest's videos: {coverage.describe()}"
            )
        log = logger.warning if coverage.unknown_videos else logger.info
        log("guidance %s, split %r: %s", name, split, coverage.describe())
        return index


class ClipMaker:
    """Makes the data sets of a run: from videos or packed clips, by index or streamed.

    Args:
        data_args: Settings of the data.
        args: Settings of the training. Where clips are streamed to several processes, each is set to read its own.
        videos: The manifest or the store.
        num_frames: Frames of a clip.
        video_cache: Decoded videos that data sets and runs share; None keeps nothing.
        objects: Detections whose maps are given beside the pixels; None gives none.
    """

    def __init__(
        self,
        data_args: ClipArguments,
        args: TrainingArguments,
        videos: Videos,
        num_frames: int,
        video_cache: SharedVideos | None = None,
        objects: ObjectTables | None = None,
    ):
        self.data_args, self.args, self.videos, self.num_frames = data_args, args, videos, num_frames
        self.video_cache, self.objects = video_cache, objects
        if isinstance(videos, PackedStore) and data_args.decode_max_side_px is not None:
            logger.warning("decode_max_side_px has no effect: packed clips have the size that they were packed in")
        loading = args.accelerator_config
        # clips by index are divided by their sampler: each process decodes its own in any case
        is_spread = data_args.streaming and args.world_size > 1
        if is_spread and isinstance(loading, AcceleratorConfig) and loading.dispatch_batches is None:
            # accelerate's default for streams would have the main process decode the clips of all others
            loading.dispatch_batches = False

    def training(self, transform: ClipTransform, guidance: Guidance | None, extras: Extras | None = None) -> Clips:
        """The training split.

        Args:
            transform: What is done to frames and guidance.
            guidance: Where the evidence is; None for none.
            extras: Draws further numbers of a clip, which the collator stacks; None draws nothing.
        """
        return self._make(self.data_args.train_split, transform, guidance, True, extras)

    def evaluation(self, split: str, transform: ClipTransform, guidance: Guidance | None) -> Clips:
        """A split to evaluate on, whose frames are sampled uniformly.

        Args:
            split: Name of the split.
            transform: What is done to frames and guidance.
            guidance: Where the evidence is; None for none.
        """
        return self._make(split, transform, guidance, False, None)

    def _make(
        self,
        split: str,
        transform: ClipTransform,
        guidance: Guidance | None,
        is_training: bool,
        extras: Extras | None,
    ) -> Clips:
        data_args = self.data_args
        settings = ClipSettings(
            self.num_frames,
            # evaluation has to be repeatable, so its frames are never jittered
            data_args.sampling if is_training else "uniform",
            data_args.decode_max_side_px,
            data_args.cache_videos,
        )
        # a fixed seed and no flips in evaluation: runs with different seeds are measured on the same input
        mirrors, seed = (data_args.label_mirrors, self.args.seed) if is_training else ({}, 0)
        maps = None if self.objects is None else self.objects.maps(split, transform.output_size)
        if isinstance(self.videos, Manifest):
            assert not isinstance(guidance, PackedGuidance)  # which a store alone has
            return GuidedClips(
                self.videos, split, transform, settings, guidance, mirrors, seed, extras, self.video_cache, maps
            )
        if not data_args.streaming:
            return PackedClips(self.videos, split, transform, settings, guidance, mirrors, seed, extras, maps)
        batch_size = self.args.train_batch_size if is_training else self.args.eval_batch_size
        return PackedStream(
            self.videos,
            split,
            transform,
            settings,
            guidance,
            mirrors,
            seed,
            # evaluation gains nothing from mixing, and keeps the order of the store
            shuffle_buffer=data_args.shuffle_buffer if is_training else 0,
            block_size=batch_size * self.args.world_size,  # clips of one step over all processes
            extras=extras,
            objects=maps,
        )


def fill_caches(clips: Iterable[object], progress: bool) -> None:
    """Decode all videos now, so that the first epoch is no slower than the others.

    Args:
        clips: Data sets; those that keep nothing in memory are passed over.
        progress: Whether a progress bar is shown.
    """
    for one in clips:
        if isinstance(one, AnyClips):
            one.fill_cache(functools.partial(tqdm, disable=not progress))
