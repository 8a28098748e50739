"""The data sets of a run: clips of every split it uses, joined to their guidance."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from datasets import Dataset, DatasetDict
from tqdm.auto import tqdm

from ..clips.data import ClipSettings, GuidedClips
from ..clips.packed import Guidance, PackedClips, PackedStream
from ..clips.packed_store import PackedGuidance, PackedStore, open_packed
from ..clips.transforms import AugmentationConfig, ClipTransform, evaluation_transform, input_size, training_transform
from ..errors import ConfigError
from ..guidance import GuidanceIndex, load_guidance
from ..manifests.manifest import Manifest, load_manifest
from ..rs.config import RSConfig
from ..rs.evidence import draw_view
from ..rs.evidence_zoom import EvidenceZoom
from ..video.cache import SharedVideos
from .arguments import DataArguments

logger = logging.getLogger(__name__)


Videos = Manifest | PackedStore
Clips = GuidedClips | PackedClips | PackedStream


@dataclass(frozen=True)
class RunData:
    """The data sets of a run: training, validation (or None), and tests by split; and the training guidance.

    Args:
        manifest: of the videos, or the store of packed clips: both have `class_names` and `source`.
        guidance_rows: of the training guidance, or None.
        guidance_name: of its table, or None.
        train: clips to train on.
        validation: clips to evaluate on while training.
        tests: clips to evaluate on afterwards.
        class_names: in the order of the label ids.
    """

    manifest: Videos
    guidance_rows: Dataset | None
    guidance_name: str | None
    train: Clips
    validation: Clips | None
    tests: dict[str, Clips]
    class_names: list[str]


def open_videos(data_args: DataArguments) -> Videos:
    """The manifest or the store that a run reads its clips from.

    Raises:
        ManifestError, ConfigError: there is none of that name, or it holds something else.
    """
    if data_args.packed_clips:
        return open_packed(data_args.packed_clips)
    return load_manifest(data_args.manifest, data_args.video_root)


def build_data(
    data_args: DataArguments,
    args: RSConfig,
    manifest: Videos,
    model,
    processor,
    video_cache: SharedVideos | None = None,
) -> RunData:
    """Open the guidance and build the data set of every split that the run uses.

    Raises:
        ManifestError, GuidanceError, ConfigError: what is asked for is not there or does not fit.
    """
    if args.eval_strategy != "no" and not data_args.validation_split:
        raise ConfigError(f"eval_strategy is {args.eval_strategy.value!r} but validation_split is not set")
    load = functools.cache(load_guidance)  # a table is read once, however many of its splits are used
    guidance = open_guidance(data_args.guidance, data_args.train_split, manifest, data_args, load)
    check_guidance(args, data_args, guidance)
    token_grid = model.token_grid(*input_size(processor))
    resampling = data_args.guidance_resampling
    make = _ClipMaker(data_args, args, manifest, model.config.num_frames, video_cache)
    transform = training_transform(processor, token_grid, augmentation_of(data_args), resampling, zoom_of(data_args))
    train = make.training(data_args.train_split, transform, guidance)

    def evaluation_set(split: str) -> Clips:
        table = data_args.evaluation_guidance or data_args.guidance
        found = open_guidance(table, split, manifest, data_args, load, required=False)
        return make.evaluation(split, evaluation_transform(processor, token_grid, resampling), found)

    validation = evaluation_set(data_args.validation_split) if data_args.validation_split else None
    tests = {split: evaluation_set(split) for split in data_args.test_splits}
    rows, name = rows_and_name(data_args, guidance, load)
    data = RunData(manifest, rows, name, train, validation, tests, manifest.class_names)
    fill_caches(data, data_args, args)
    return data


def fill_caches(data: RunData, data_args: DataArguments, args: RSConfig) -> None:
    """Decode all videos now, where they are to be kept in memory."""
    if data_args.cache_videos:
        for clips in filter(None, (data.train, data.validation, *data.tests.values())):
            clips.fill_cache(functools.partial(tqdm, disable=args.disable_tqdm))


def augmentation_of(data_args: DataArguments) -> AugmentationConfig:
    """How training clips are changed."""
    return AugmentationConfig(
        data_args.crop_scale_min,
        data_args.crop_ratio_max,
        data_args.mirror_probability,
        data_args.brightness,
    )


def zoom_of(data_args: DataArguments) -> EvidenceZoom | None:
    """How training clips are cropped to their evidence; None where they are not."""
    zoom = EvidenceZoom(data_args.evidence_zoom)
    return zoom if zoom.share > 0 else None


def check_guidance(args: RSConfig, data_args: DataArguments, guidance: Guidance | None) -> None:
    """Raises ConfigError where training needs guidance that is not given."""
    if (args.needs_guidance or data_args.evidence_zoom > 0) and guidance is None:
        raise ConfigError(
            "spatial_weight or an evidence view is above 0 but no guidance is given: name a table, or set them to 0"
        )


def rows_and_name(data_args: DataArguments, guidance, load) -> tuple[Dataset | None, str | None]:
    """The rows of the training guidance, and what its table is called."""
    if isinstance(guidance, PackedGuidance):
        return guidance.rows, guidance.table
    if guidance is None:
        return None, None
    return load(data_args.guidance)[data_args.train_split], Path(data_args.guidance).name


class _ClipMaker:
    """Makes the data sets of a run: from videos or packed clips, by index or streamed."""

    def __init__(
        self,
        data_args: DataArguments,
        args: RSConfig,
        videos: Videos,
        num_frames: int,
        video_cache: SharedVideos | None,
    ):
        self.video_cache = video_cache
        self.data_args, self.args, self.videos, self.num_frames = data_args, args, videos, num_frames
        if isinstance(videos, PackedStore) and data_args.decode_max_side_px is not None:
            logger.warning("decode_max_side_px has no effect: packed clips have the size that they were packed in")
        if data_args.streaming and args.world_size > 1 and args.accelerator_config.dispatch_batches is None:
            # or the main process would decode the clips of all others
            args.accelerator_config.dispatch_batches = False

    def training(self, split: str, transform: ClipTransform, guidance: Guidance) -> Clips:
        order = {"shuffle_buffer": self.data_args.shuffle_buffer, "block_size": self._step(self.args.train_batch_size)}
        options = {"mirrored_labels": self.data_args.mirrored_labels, "seed": self.args.seed, "extras": draw_view}
        return self._make(split, transform, self.data_args.sampling, guidance, order, **options)

    def evaluation(self, split: str, transform: ClipTransform, guidance: Guidance) -> Clips:
        order = {"block_size": self._step(self.args.eval_batch_size)}
        return self._make(split, transform, "uniform", guidance, order)

    def _make(self, split: str, transform: ClipTransform, sampling: str, guidance, order: dict, **options) -> Clips:
        data_args = self.data_args
        settings = ClipSettings(self.num_frames, sampling, data_args.decode_max_side_px, data_args.cache_videos)
        arguments = (self.videos, split, transform, settings, guidance)
        if isinstance(self.videos, Manifest):
            return GuidedClips(*arguments, **options, video_cache=self.video_cache)
        return (
            PackedStream(*arguments, **options, **order) if data_args.streaming else PackedClips(*arguments, **options)
        )

    def _step(self, batch_size: int) -> int:
        """Clips of one step over all processes."""
        return batch_size * self.args.world_size


def open_guidance(
    name: str | None,
    split: str,
    manifest: Videos,
    data_args: DataArguments,
    load: Callable[[str], DatasetDict] = load_guidance,
    required: bool = True,
) -> Guidance:
    """The guidance of one split, with what of it meets the manifest reported.

    Args:
        name: of the table; None gives what packed clips carry, or None.
        split: of the table and the manifest alike.
        manifest: whose videos are to be guided, or the packed clips.
        data_args: for the tolerance in time.
        load: gives a table by its name.
        required: whether a table without this split is an error, or None is given for it.

    Raises:
        ConfigError: the split is missing though required, or none of its videos is in the manifest.
    """
    if name is None:
        return manifest.guidance(split) if isinstance(manifest, PackedStore) else None
    table = load(name)
    if split not in table:
        if required:
            raise ConfigError(f"guidance {name} has no split {split!r}; it has {sorted(table)}")
        logger.info("guidance %s has no split %r: attention is not compared with guidance there", name, split)
        return None
    index = GuidanceIndex(table[split], data_args.guidance_tolerance_s)
    packed = isinstance(manifest, PackedStore)
    coverage = index.coverage(manifest.video_ids(split) if packed else manifest.split(split)["video_id"])
    if coverage.videos_with_guidance == 0:
        raise ConfigError(
            f"guidance {name}, split {split!r}, fits none of the manifest's videos: {coverage.describe()}"
        )
    log = logger.warning if coverage.unknown_videos else logger.info
    log("guidance %s, split %r: %s", name, split, coverage.describe())
    return index
