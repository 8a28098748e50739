"""What the model card says of a run."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import torch
import transformers
from transformers import PreTrainedModel

from ..annotation import NoiseModel
from ..backbones.describe import describe_supervision
from ..publishing.cards import GuidanceFacts, RecipeFacts, SupervisionFacts, TrainingFacts
from ..rs.config import RSConfig
from .arguments import DataArguments, ModelArguments
from .run_data import RunData


def training_facts(
    model: PreTrainedModel,
    data: RunData,
    model_args: ModelArguments,
    data_args: DataArguments,
    args: RSConfig,
    metrics: dict[str, dict[str, float | None]],
    train_seconds: float,
    device: str,
) -> TrainingFacts:
    """What the model card says of a run."""
    about = describe_supervision(model)
    sizes = {
        clips.split: len(clips.videos) if data_args.task == "segmentation" else len(clips)
        for clips in (data.train, data.validation, *data.tests.values())
        if clips
    }
    supervision = SupervisionFacts(
        args.spatial_weight,
        args.temporal_weight,
        args.temperature,
        about.supervised_layers,
        args.weight_warmup_ratio,
        args.evidence_swap,
        args.evidence_blank,
        args.evidence_drop,
        data_args.evidence_zoom,
    )
    is_zoomed = data_args.evidence_zoom > 0
    return TrainingFacts(
        model_name=Path(args.output_dir).name,
        architecture=about.architecture,
        supervised_query=about.supervised_query,
        gives_attention=about.gives_attention,
        class_names=tuple(data.class_names),
        task=data_args.task,
        frames_per_second=data_args.fps if data_args.task == "segmentation" else None,
        score_averaging_s=(args.score_averaging_s or None) if data_args.task == "segmentation" else None,
        dataset_sources=(data.manifest.source,),
        split_sizes=sizes,
        guidance=guidance_facts(data) if args.needs_guidance or is_zoomed else None,
        supervision=supervision if args.is_supervised or is_zoomed else None,
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


def guidance_facts(data: RunData) -> GuidanceFacts:
    """Where the guidance of a run came from and how far it reaches."""
    rows = data.guidance_rows
    producers = sorted(set(zip(rows["producer"], rows["model"], strict=True)))
    statuses = list(rows["status"])
    coverage = {f"frames with status {status}": statuses.count(status) for status in sorted(set(statuses))}
    coverage["videos with guidance"] = len(data.train.guidance.video_ids)
    return GuidanceFacts(
        producer=", ".join(f"{name} ({model})" if model else name for name, model in producers),
        source=data.guidance_name,
        coverage=coverage,
        noise=asdict(NoiseModel.from_description(producers[0][1])) if producers[0][0] == "truth" else {},
    )
