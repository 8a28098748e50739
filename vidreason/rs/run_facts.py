"""What the model card says of a run."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import torch
import transformers

from modeling_tsvit import TSViTForVideoClassification

from ..cards import GuidanceFacts, RecipeFacts, SupervisionFacts, TrainingFacts
from .annotators import NoiseModel
from .arguments import DataArguments, ModelArguments
from .config import RSConfig
from .run_data import RunData


def training_facts(
    model: TSViTForVideoClassification,
    data: RunData,
    model_args: ModelArguments,
    data_args: DataArguments,
    args: RSConfig,
    metrics: dict[str, dict[str, float | None]],
    train_seconds: float,
    device: str,
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
            device=device,
            train_seconds=round(train_seconds, 1),
            library_versions={"torch": torch.__version__, "transformers": transformers.__version__},
        ),
        metrics=metrics,
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
