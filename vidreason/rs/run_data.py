"""The data sets of a run: clips of every split it uses, joined to their guidance."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from dataclasses import dataclass

from datasets import Dataset, DatasetDict
from tqdm.auto import tqdm

from ..errors import ConfigError
from ..guidance import GuidanceIndex, load_guidance
from ..video.manifest import Manifest
from .arguments import DataArguments
from .config import RSConfig
from .data import ClipSettings, GuidedClips
from .transforms import AugmentationConfig, evaluation_transform, input_size, training_transform

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunData:
    """The data sets of a run: training, validation (or None), and tests by split; and the training guidance's rows."""

    manifest: Manifest
    guidance_rows: Dataset | None
    train: GuidedClips
    validation: GuidedClips | None
    tests: dict[str, GuidedClips]


def build_data(data_args: DataArguments, args: RSConfig, manifest: Manifest, model, processor) -> RunData:
    """Open the guidance and build the data set of every split that the run uses.

    Raises:
        ManifestError, GuidanceError, ConfigError: what is asked for is not there or does not fit.
    """
    if args.eval_strategy != "no" and not data_args.validation_split:
        raise ConfigError(f"eval_strategy is {args.eval_strategy.value!r} but validation_split is not set")
    if args.spatial_weight > 0 and data_args.guidance is None:
        raise ConfigError("spatial_weight is above 0 but no guidance is given: name a table, or set the weight to 0")
    token_grid = model.token_grid(*input_size(processor))
    load = functools.cache(load_guidance)  # a table is read once, however many of its splits are used
    resampling = data_args.guidance_resampling
    augmentation = AugmentationConfig(
        data_args.crop_scale_min, data_args.crop_ratio_max, data_args.mirror_probability, data_args.brightness
    )
    num_frames = model.config.num_frames
    train = GuidedClips(
        manifest,
        data_args.train_split,
        training_transform(processor, token_grid, augmentation, resampling),
        _clip_settings(data_args, num_frames, data_args.sampling),
        open_guidance(data_args.guidance, data_args.train_split, manifest, data_args, load),
        data_args.mirrored_labels,
        seed=args.seed,
    )

    def evaluation_set(split: str) -> GuidedClips:
        table = data_args.evaluation_guidance or data_args.guidance
        index = open_guidance(table, split, manifest, data_args, load, required=False)
        transform = evaluation_transform(processor, token_grid, resampling)
        return GuidedClips(manifest, split, transform, _clip_settings(data_args, num_frames, "uniform"), index)

    validation = evaluation_set(data_args.validation_split) if data_args.validation_split else None
    tests = {split: evaluation_set(split) for split in data_args.test_splits}
    rows = None if data_args.guidance is None else load(data_args.guidance)[data_args.train_split]
    data = RunData(manifest, rows, train, validation, tests)
    if data_args.cache_videos:
        for clips in filter(None, (data.train, data.validation, *data.tests.values())):
            clips.fill_cache(functools.partial(tqdm, disable=args.disable_tqdm))
    return data


def _clip_settings(data_args: DataArguments, num_frames: int, sampling: str) -> ClipSettings:
    return ClipSettings(num_frames, sampling, data_args.decode_max_side_px, data_args.cache_videos)


def open_guidance(
    name: str | None,
    split: str,
    manifest: Manifest,
    data_args: DataArguments,
    load: Callable[[str], DatasetDict] = load_guidance,
    required: bool = True,
) -> GuidanceIndex | None:
    """The guidance of one split, with what of it meets the manifest reported.

    Args:
        name: of the table; None gives None.
        split: of the table and the manifest alike.
        manifest: whose videos are to be guided.
        data_args: for the tolerance in time.
        load: gives a table by its name.
        required: whether a table without this split is an error, or None is given for it.

    Raises:
        ConfigError: the split is missing though required, or none of its videos is in the manifest.
    """
    if name is None:
        return None
    table = load(name)
    if split not in table:
        if required:
            raise ConfigError(f"guidance {name} has no split {split!r}; it has {sorted(table)}")
        logger.info("guidance %s has no split %r: attention is not compared with guidance there", name, split)
        return None
    index = GuidanceIndex(table[split], data_args.guidance_tolerance_s)
    coverage = index.coverage(manifest.split(split)["video_id"])
    if coverage.videos_with_guidance == 0:
        raise ConfigError(
            f"guidance {name}, split {split!r}, fits none of the manifest's videos: {coverage.describe()}"
        )
    log = logger.warning if coverage.unknown_videos else logger.info
    log("guidance %s, split %r: %s", name, split, coverage.describe())
    return index
