"""One training run from arguments to a saved model with its card. `train.py` and the demo both call `run_training`."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from datasets import Dataset, DatasetDict
from tqdm.auto import tqdm
from transformers import AutoVideoProcessor, TrainerCallback, set_seed
from transformers.trainer_utils import get_last_checkpoint

from modeling_tsvit import TSViTConfig, TSViTForVideoClassification, TSViTVideoProcessor

from ..cards import GuidanceFacts, RecipeFacts, SupervisionFacts, TrainingFacts, write_model_card
from ..errors import ConfigError
from ..guidance import GuidanceIndex, load_guidance
from ..video.manifest import Manifest, load_manifest
from .annotators import NoiseModel
from .arguments import DataArguments, ModelArguments, read_mapping
from .config import RSConfig
from .data import ClipSettings, GuidedClips
from .trainer import RSTrainer
from .transforms import AugmentationConfig, evaluation_transform, input_size, training_transform

logger = logging.getLogger(__name__)

REPORTED_METRICS = ("top1", "top5", "loss", "attention_in_region", "pointing_accuracy")


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


def build_processor(model_args: ModelArguments, config: TSViTConfig) -> TSViTVideoProcessor:
    """The video processor of a checkpoint, or one that fits a new model's input."""
    if model_args.model_name_or_path:
        try:
            return AutoVideoProcessor.from_pretrained(model_args.model_name_or_path)
        except (ValueError, OSError) as error:
            raise ConfigError(f"{model_args.model_name_or_path} has no video processor: {error}") from error
    height, width = config.image_size if isinstance(config.image_size, (tuple, list)) else (config.image_size,) * 2
    return TSViTVideoProcessor(size={"height": height, "width": width}, num_frames=config.num_frames)


def build_model(model_args: ModelArguments, class_names: list[str], args: RSConfig) -> TSViTForVideoClassification:
    """A model for these classes, from a checkpoint or with random weights.

    Raises:
        ConfigError: the configuration is not valid, or the checkpoint cannot be loaded.
    """
    overrides = read_mapping(model_args.model_config, "model_config")
    if args.supervised_layer_indices is not None:
        overrides["supervised_layers"] = args.supervised_layer_indices
    overrides["id2label"] = dict(enumerate(class_names))
    overrides["label2id"] = {name: index for index, name in enumerate(class_names)}
    try:
        if not model_args.model_name_or_path:
            unknown = sorted(set(overrides) - set(TSViTConfig().to_dict()) - {"id2label", "label2id"})
            if unknown:
                raise ConfigError(f"model_config: TSViTConfig has no {unknown}")
            return TSViTForVideoClassification(TSViTConfig(**overrides))
        return _load_checkpoint(model_args.model_name_or_path, overrides)
    except (ValueError, OSError) as error:
        origin = f" from {model_args.model_name_or_path}" if model_args.model_name_or_path else ""
        raise ConfigError(f"cannot build the model{origin}: {error}") from error


def _load_checkpoint(name: str, overrides: dict[str, Any]) -> TSViTForVideoClassification:
    """Load weights and say which of the model's were not in the checkpoint."""
    model, report = TSViTForVideoClassification.from_pretrained(
        name, **overrides, ignore_mismatched_sizes=True, output_loading_info=True
    )
    unfilled = sorted(report["missing_keys"]) + sorted(str(key) for key in report["mismatched_keys"])
    if unfilled:
        logger.warning("%s did not fill %d weights, which start random: %s", name, len(unfilled), ", ".join(unfilled))
    return model


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


def run_training(
    model_args: ModelArguments, data_args: DataArguments, args: RSConfig, callbacks: Sequence[TrainerCallback] = ()
) -> RunResult:
    """Train, evaluate on the test splits, and save the model, its processor and its card to `output_dir`.

    Args:
        model_args: which model.
        data_args: which videos and guidance.
        args: of the training.
        callbacks: told of its progress.

    Raises:
        VidreasonError: with the reason, for anything that the arguments, data or training get wrong.
    """
    set_seed(args.seed)
    manifest = load_manifest(data_args.manifest, data_args.video_root)
    model = build_model(model_args, manifest.class_names, args)
    processor = build_processor(model_args, model.config)
    data = build_data(data_args, args, manifest, model, processor)
    trainer = RSTrainer(
        model=model,
        args=args,
        train_dataset=data.train,
        eval_dataset=data.validation,
        processing_class=processor,
        callbacks=list(callbacks),
    )
    started = time.perf_counter()
    trainer.train(resume_from_checkpoint=_checkpoint(args))
    train_seconds = time.perf_counter() - started
    metrics = {
        split: _report(trainer.evaluate(clips, metric_key_prefix=split), split) for split, clips in data.tests.items()
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
        write_model_card(args.output_dir, training_facts(model, data, model_args, data_args, args, result))
    trainer.accelerator.wait_for_everyone()
    return result


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


def _report(metrics: dict[str, float], split: str) -> dict[str, float | None]:
    """The metrics under the names of reports, where the loss is the clip loss: cross-entropy without other terms."""
    named = {name: metrics.get(f"{split}_{name}") for name in REPORTED_METRICS}
    return {**named, "loss": metrics.get(f"{split}_loss_classification")}


def describe_device(device: torch.device) -> str:
    """The device in words, for reports."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} ({torch.get_num_threads()} threads)" if device.type == "cpu" else device.type


def training_facts(
    model: TSViTForVideoClassification,
    data: RunData,
    model_args: ModelArguments,
    data_args: DataArguments,
    args: RSConfig,
    result: RunResult,
) -> TrainingFacts:
    """What the model card says of a run."""
    config = model.config
    sizes = {clips.split: len(clips) for clips in (data.train, data.validation, *data.tests.values()) if clips}
    supervision = SupervisionFacts(
        args.spatial_weight,
        args.temporal_weight,
        args.temperature,
        config.supervised_layers,
        args.weight_warmup_ratio,
    )
    return TrainingFacts(
        model_name=Path(args.output_dir).name,
        architecture=(
            f"TSViT, {config.num_spatial_layers} spatial and {config.num_temporal_layers} temporal layers of width "
            f"{config.hidden_size}, {model.num_parameters() / 1e6:.2f}M parameters, {config.num_frames} frames"
        ),
        class_names=tuple(data.manifest.class_names),
        dataset_sources=(data.manifest.source,),
        split_sizes=sizes,
        guidance=guidance_facts(data_args, data) if args.spatial_weight > 0 else None,
        supervision=supervision if args.is_supervised else None,
        recipe=RecipeFacts(
            num_epochs=args.num_train_epochs,
            batch_size=args.train_batch_size * args.gradient_accumulation_steps * args.world_size,
            learning_rate=args.learning_rate,
            seed=args.seed,
            device=result.device,
            train_seconds=round(result.train_seconds, 1),
            library_versions={"torch": torch.__version__, "transformers": transformers.__version__},
        ),
        metrics=result.metrics,
        base_model=model_args.model_name_or_path,
        license=model_args.license,
    )


def guidance_facts(data_args: DataArguments, data: RunData) -> GuidanceFacts:
    """Where the guidance of a run came from and how far it reaches."""
    rows = data.guidance_rows
    producers = sorted(set(zip(rows["producer"], rows["model"], strict=True)))
    statuses = list(rows["status"])
    coverage = {f"frames with status {status}": statuses.count(status) for status in sorted(set(statuses))}
    coverage["videos with guidance"] = len(data.train.guidance.video_ids)
    return GuidanceFacts(
        producer=", ".join(f"{name} ({model})" if model else name for name, model in producers),
        source=Path(data_args.guidance).name,
        coverage=coverage,
        noise=asdict(NoiseModel.from_description(producers[0][1])) if producers[0][0] == "truth" else {},
    )
