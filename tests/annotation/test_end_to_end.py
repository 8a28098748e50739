"""Videos, a server that makes mistakes, a published folder, and a model that learns from what `load_dataset` gives."""

import numpy as np
import pytest
from datasets import load_dataset

from modeling_tsvit import TSViTConfig, TSViTForVideoClassification, TSViTVideoProcessor
from vidreason.clips.data import ClipSettings, GuidedClipCollator, GuidedClips
from vidreason.clips.transforms import evaluation_transform
from vidreason.guidance import GuidanceIndex
from vidreason.llm.testing.chat_faults import Faults
from vidreason.manifests.manifest import load_manifest
from vidreason.publishing.guidance_folder import PublishSettings, publish_folder
from vidreason.rs.config import RSConfig
from vidreason.rs.trainer import RSTrainer

MODEL = {
    "image_size": 32,
    "num_frames": 4,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_attention_heads": 2,
    "num_spatial_layers": 1,
    "num_temporal_layers": 1,
}


@pytest.mark.slow
def test_a_model_learns_where_to_look_from_a_published_folder(serve, make_job, small_world, tmp_path):
    faults = Faults(server_error=0.1, malformed=0.1, truncated=0.1, refused=0.1, by_attempt=False)
    job = make_job(serve(faults=faults), llm={"policy": "all_frames", "frames_per_video": None})
    job.run(progress=False)
    publish_folder(job.args.out, tmp_path / "published", PublishSettings(title="Small world", license="cc-by-4.0"))
    guidance = load_dataset(str(tmp_path / "published"), split="train", cache_dir=str(tmp_path / "cache"))
    assert len(guidance) == 12 * 12
    assert {"ok", "refused", "truncated", "invalid"} <= set(guidance["status"])

    manifest = load_manifest(small_world)
    names = manifest.class_names
    config = TSViTConfig(**MODEL, id2label=dict(enumerate(names)), label2id={name: i for i, name in enumerate(names)})
    processor = TSViTVideoProcessor(size={"height": 32, "width": 32}, num_frames=4)
    clips = GuidedClips(
        manifest,
        "train",
        evaluation_transform(processor, (4, 4)),
        ClipSettings(num_frames=4, cache=True),
        GuidanceIndex(guidance),
    )
    arguments = RSConfig(
        output_dir=str(tmp_path / "run"),
        spatial_weight=1.0,
        num_train_epochs=30,
        per_device_train_batch_size=12,
        learning_rate=3e-3,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
    )
    trainer = RSTrainer(
        model=TSViTForVideoClassification(config),
        args=arguments,
        train_dataset=clips,
        data_collator=GuidedClipCollator(),
    )
    trainer.train()
    losses = [entry["loss_spatial"] for entry in trainer.state.log_history if "loss_spatial" in entry]
    assert np.mean(losses[-3:]) < 0.5 * np.mean(losses[:3])
