"""The data sets of a run of temporal action segmentation: windows of every split it uses, joined to their guidance."""

from __future__ import annotations

import functools

from ...clips.data import ClipSettings
from ...clips.transforms import evaluation_transform, input_size, training_transform
from ...errors import ConfigError
from ...guidance import load_guidance
from ...manifests.manifest import Manifest
from ...manifests.segments import load_segments
from ...segmentation.frame_labels import FrameLabels
from ...segmentation.windows import VideoWindows
from ...training.arguments import DataArguments
from ...training.run_data import (
    RunData,
    augmentation_of,
    check_guidance,
    fill_caches,
    open_guidance,
    rows_and_name,
    zoom_of,
)
from ...video.cache import SharedVideos
from ..config import RSConfig
from ..evidence import draw_view


def open_frame_labels(data_args: DataArguments, manifest: Manifest) -> FrameLabels:
    """The labels of the frames, from the table of segments in the manifest's folder.

    Raises:
        ManifestError, ConfigError: there is no such table, or a setting does not fit it.
    """
    return FrameLabels(
        manifest,
        load_segments(data_args.manifest),
        data_args.fps,
        data_args.unlabelled_as,
        data_args.background_labels,
    )


def build_windows(
    data_args: DataArguments,
    args: RSConfig,
    labels: FrameLabels,
    model,
    processor,
    video_cache: SharedVideos | None = None,
) -> RunData:
    """Open the guidance and build the windows of every split that the run uses.

    Args:
        data_args: which data.
        args: of the training.
        labels: of the frames.
        model: whose `num_frames` is the length of a window.
        processor: of its input.
        video_cache: Decoded videos that data sets and runs share.

    Raises:
        ManifestError, GuidanceError, ConfigError: what is asked for is not there or does not fit.
    """
    if args.eval_strategy != "no" and not data_args.validation_split:
        raise ConfigError(f"eval_strategy is {args.eval_strategy.value!r} but validation_split is not set")
    load = functools.cache(load_guidance)
    guidance = open_guidance(data_args.guidance, data_args.train_split, labels.manifest, data_args, load)
    check_guidance(args, data_args, guidance)
    token_grid = model.token_grid(*input_size(processor))
    resampling = data_args.guidance_resampling
    window = model.config.num_frames
    settings = ClipSettings(window, decode_max_side_px=data_args.decode_max_side_px, cache=data_args.cache_videos)
    stride = max(1, round(data_args.window_stride * window))

    def evaluation_set(split: str) -> VideoWindows:
        table = data_args.evaluation_guidance or data_args.guidance
        found = open_guidance(table, split, labels.manifest, data_args, load, required=False)
        return VideoWindows(
            labels,
            split,
            evaluation_transform(processor, token_grid, resampling),
            settings,
            stride,
            found,
            video_cache=video_cache,
        )

    train = VideoWindows(
        labels,
        data_args.train_split,
        training_transform(processor, token_grid, augmentation_of(data_args), resampling, zoom_of(data_args)),
        settings,
        stride,
        guidance,
        is_training=True,
        mirrored_labels=data_args.mirrored_labels,
        seed=args.seed,
        extras=draw_view,
        video_cache=video_cache,
    )
    validation = evaluation_set(data_args.validation_split) if data_args.validation_split else None
    tests = {split: evaluation_set(split) for split in data_args.test_splits}
    rows, name = rows_and_name(data_args, guidance, load)
    data = RunData(labels.manifest, rows, name, train, validation, tests, labels.label_names)
    fill_caches(data, data_args, args)
    return data
