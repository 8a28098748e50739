"""One training run from arguments to a saved model with its card. `train.py` and the demo both call `run_training`."""

from __future__ import annotations

import functools
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, set_seed
from transformers.trainer_utils import get_last_checkpoint

from ..backbones.models import build_model, build_processor
from ..errors import ConfigError
from ..publishing.cards import write_model_card
from ..reporting.device import describe_device
from ..rs.config import RSConfig
from ..rs.segmentation.evaluation import CLIP_LOSS, SEGMENT_METRICS
from ..rs.segmentation.run_data import build_windows, open_frame_labels
from ..rs.segmentation.trainer import SegmentationTrainer
from ..rs.trainer import RSTrainer
from ..segmentation.frame_labels import class_weights
from ..video.cache import SharedVideos
from .arguments import DataArguments, ModelArguments, read_mapping
from .run_data import RunData, build_data, open_videos
from .run_facts import training_facts

REPORTED_METRICS = {
    "classification": ("top1", "top5", "loss", "attention_in_region", "pointing_accuracy"),
    "segmentation": (
        *("mof", "edit", "f1_10", "f1_25", "f1_50", "top1", "top5", "loss", "oversegmentation"),
        *("loss_temporal", "loss_smoothing", "attention_in_region", "pointing_accuracy"),
    ),
}
"""What is reported of each task, the main metric first."""


@dataclass(frozen=True)
class RunResult:
    """What a run leaves behind in memory.

    Args:
        metrics: {split: {top1, top5, loss, attention_in_region, pointing_accuracy}}; the loss is the clip loss, and a
            value that was not measured is None.
        log_history: of the Trainer.
        train_seconds: wall time of the training alone.
        device: it ran on.
        skipped: {split: {video_id: reason}} of videos that could not be read, as far as the main process saw them.
    """

    metrics: dict[str, dict[str, float | None]]
    log_history: list[dict[str, Any]]
    train_seconds: float
    device: str
    skipped: dict[str, dict[str, str]]


def run_training(
    model_args: ModelArguments,
    data_args: DataArguments,
    args: RSConfig,
    callbacks: Sequence[TrainerCallback] = (),
    video_cache: SharedVideos | None = None,
) -> RunResult:
    """Train, evaluate on the test splits, and save the model, its processor and its card to `output_dir`.

    Args:
        model_args: which model.
        data_args: which videos and guidance.
        args: of the training.
        callbacks: told of its progress.
        video_cache: Decoded videos that runs share; what this one decodes joins it. None keeps nothing.

    Raises:
        VidreasonError: with the reason, for anything that the arguments, data or training get wrong.
    """
    set_seed(args.seed)
    trainer, data = prepare(model_args, data_args, args, callbacks, video_cache)
    model = trainer.model
    started = time.perf_counter()
    trainer.train(resume_from_checkpoint=_checkpoint(args))
    train_seconds = time.perf_counter() - started
    reported = _reported_metrics(data_args, args)
    metrics = {
        split: _report(trainer.evaluate(clips, metric_key_prefix=split), split, reported)
        for split, clips in data.tests.items()
    }
    result = RunResult(
        metrics=metrics,
        log_history=trainer.state.log_history,
        train_seconds=train_seconds,
        device=describe_device(args.device),
        skipped={clips.split: clips.unreadable for clips in (data.train, *data.tests.values()) if clips.unreadable},
    )
    trainer.save_model()
    trainer.save_state()
    if trainer.is_world_process_zero():
        facts = training_facts(model, data, model_args, data_args, args, metrics, result.train_seconds, result.device)
        write_model_card(args.output_dir, facts)
    trainer.accelerator.wait_for_everyone()
    return result


def prepare(
    model_args: ModelArguments,
    data_args: DataArguments,
    args: RSConfig,
    callbacks: Sequence[TrainerCallback] = (),
    video_cache: SharedVideos | None = None,
) -> tuple[RSTrainer, RunData]:
    """The trainer of a run, with its model and processor, and the data sets.

    Raises:
        VidreasonError: see `run_training`.
    """
    manifest = open_videos(data_args)
    overrides = read_mapping(model_args.model_config, "model_config")
    chosen = (model_args.model_name_or_path, model_args.model_type, overrides, model_args.replace_head)
    layers = args.supervised_layer_indices
    if data_args.task == "segmentation":
        labels = open_frame_labels(data_args, manifest)
        model = build_model(labels.label_names, *chosen, supervised_layers=layers, task=data_args.task)
        model.config.frames_per_second = data_args.fps
        model.config.score_averaging_s = args.score_averaging_s or None
        processor = build_processor(model.config, model_args.model_name_or_path)
        data = build_windows(data_args, args, labels, model, processor, video_cache)
        weights = class_weights(data.train.videos, len(labels.label_names), args.class_weighting)
        make_trainer = functools.partial(SegmentationTrainer, class_weights=weights)
    else:
        model = build_model(manifest.class_names, *chosen, supervised_layers=layers)
        processor = build_processor(model.config, model_args.model_name_or_path)
        data = build_data(data_args, args, manifest, model, processor, video_cache)
        make_trainer = RSTrainer
    trainer = make_trainer(
        model=model,
        args=args,
        train_dataset=data.train,
        eval_dataset=data.validation,
        processing_class=processor,
        callbacks=list(callbacks),
    )
    return trainer, data


def _checkpoint(args: RSConfig) -> str | None:
    """The checkpoint to go on from: a path, or the last one in `output_dir` for "true".

    Raises:
        ConfigError: there is none.
    """
    wanted = args.resume_from_checkpoint
    if not wanted:
        return None
    if str(wanted).lower() == "true":
        last = get_last_checkpoint(args.output_dir) if Path(args.output_dir).is_dir() else None
        if last is None:
            raise ConfigError(f"resume_from_checkpoint is set but {args.output_dir} holds no checkpoint")
        return last
    if not Path(wanted).is_dir():
        raise ConfigError(f"resume_from_checkpoint names {wanted}, which is not a folder")
    return wanted


def _reported_metrics(data_args: DataArguments, args: RSConfig) -> tuple[str, ...]:
    """Names of what is reported; where a run averages scores or looks twice, with what was without it."""
    names = REPORTED_METRICS[data_args.task]
    if data_args.task == "segmentation" and args.score_averaging_s > 0:
        names += tuple(f"{name}_unaveraged" for name in SEGMENT_METRICS)
    if data_args.task == "classification" and args.second_look:
        names += ("top1_one_look", "top5_one_look", "loss_one_look")
    return names


def _report(metrics: dict[str, float], split: str, names: Sequence[str]) -> dict[str, float | None]:
    """The metrics under the names of reports, where the loss is the clip loss: cross-entropy without other terms."""
    named = {name: metrics.get(f"{split}_{name}") for name in names}
    if "loss_one_look" in named:
        named["loss_one_look"] = metrics.get(f"{split}_loss_classification_one_look")
    return {**named, "loss": metrics.get(f"{split}_{CLIP_LOSS}", metrics.get(f"{split}_loss_classification"))}
