"""Trains a model for a given time and not for a number of epochs: what a model reaches by the same clock."""

from __future__ import annotations

import functools
import math
import time
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader
from video_models import ModelArguments, build_model

from modeling_tsvit import TSViTVideoProcessor
from vidreason.clips.data import IGNORED_LABEL, ClipSettings, GuidedClipCollator, GuidedClips
from vidreason.clips.transforms import AugmentationConfig, evaluation_transform, training_transform
from vidreason.errors import ConfigError
from vidreason.manifests.manifest import Manifest, load_manifest
from vidreason.synthetic.actions.config import MIRRORED_PAIRS

WARMUP_SHARE = 0.1
WEIGHT_DECAY = 0.05


@dataclass
class TrainingArguments:
    """The training that all models have in common: that of `recipes/demo_plain.yaml`, by the clock."""

    manifest: str | None = field(default=None, metadata={"help": "Of the synthetic actions; not trained without."})
    video_root: str | None = field(default=None, metadata={"help": "Where the videos lie, if not as it says."})
    seconds: float = field(default=120.0, metadata={"help": "Of training, data included, for each model and seed."})
    seeds: list[int] = field(default_factory=lambda: [0], metadata={"help": "Each model is trained with each."})
    train_batch_size: int = field(default=16, metadata={"help": "Clips of a training step."})
    learning_rate: float = field(default=1e-3, metadata={"help": "At its peak."})
    test_splits: list[str] = field(
        default_factory=lambda: ["test", "test_shifted"], metadata={"help": "Splits that top-1 is measured on."}
    )

    def __post_init__(self):
        if not (math.isfinite(self.seconds) and self.seconds > 0):
            raise ConfigError(f"seconds is {self.seconds}, expected a positive number")
        if not self.seeds:
            raise ConfigError("seeds is empty: name at least one")


def train_for(args: TrainingArguments, name: str, size: ModelArguments, device: torch.device) -> dict[str, Any]:
    """Train and test a model with every seed: {"top1": {split: one for each seed}, "epochs", "data_share"}.

    Raises:
        ManifestError, VideoError: the data cannot be used.
    """
    manifest = load_manifest(args.manifest, args.video_root)
    top1: dict[str, list[float]] = {split: [] for split in args.test_splits}
    epochs, data_s = [], 0.0
    for seed in args.seeds:
        model = build_model(name, size, len(manifest.class_names), seed).to(device)
        train = _clips(manifest, "train", size, seed, augmented=True)
        seconds, num_clips = train_once(model, train, args, seed, device)
        data_s += seconds
        epochs.append(num_clips / len(train))
        for split in args.test_splits:
            top1[split].append(accuracy(model, _clips(manifest, split, size, seed), device))
        shown = ", ".join(f"{split} {values[-1]:.3f}" for split, values in top1.items())
        print(f"{name}, seed {seed}: {epochs[-1]:.1f} epochs, {shown}", flush=True)
    return {"top1": top1, "epochs": epochs, "data_share": data_s / (args.seconds * len(args.seeds))}


def train_once(
    model: torch.nn.Module, clips: GuidedClips, args: TrainingArguments, seed: int, device: torch.device
) -> tuple[float, int]:
    """Train until the time is over. Videos are decoded before it begins, for all models alike.

    Returns:
        Seconds that went to the data, and the number of clips that were trained on.
    """
    clips.fill_cache()
    loader = DataLoader(
        clips,
        args.train_batch_size,
        shuffle=True,
        drop_last=len(clips) >= args.train_batch_size,
        collate_fn=GuidedClipCollator(),
        generator=torch.Generator().manual_seed(seed),
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.learning_rate, weight_decay=WEIGHT_DECAY)
    model.train()
    data_s, num_clips, epoch, batches = 0.0, 0, 0, iter(())
    started = time.perf_counter()
    while (elapsed := time.perf_counter() - started) < args.seconds:
        batch = next(batches, None)
        if batch is None:
            clips.set_epoch(epoch)
            epoch, batches = epoch + 1, iter(loader)
            continue
        data_s += time.perf_counter() - started - elapsed
        for group in optimizer.param_groups:
            group["lr"] = args.learning_rate * learning_rate_factor(elapsed / args.seconds)
        logits = model(pixel_values=batch["pixel_values"].to(device)).logits.float()
        loss = F.cross_entropy(logits, batch["labels"].to(device), ignore_index=IGNORED_LABEL)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        num_clips += len(batch["labels"])
    return data_s, num_clips


def learning_rate_factor(progress: float) -> float:
    """Linear warm-up over the first tenth, then a cosine to zero, by the share of the time that is over."""
    if progress < WARMUP_SHARE:
        return progress / WARMUP_SHARE
    return 0.5 * (1 + math.cos(math.pi * (progress - WARMUP_SHARE) / (1 - WARMUP_SHARE)))


@torch.no_grad()
def accuracy(model: torch.nn.Module, clips: GuidedClips, device: torch.device) -> float:
    """Top-1 as a share of the clips that could be read."""
    model.eval()
    right = total = 0
    for batch in DataLoader(clips, 64, collate_fn=GuidedClipCollator()):
        predicted = model(pixel_values=batch["pixel_values"].to(device)).logits.argmax(dim=-1).cpu()
        readable = batch["labels"] != IGNORED_LABEL
        right += int((predicted == batch["labels"])[readable].sum())
        total += int(readable.sum())
    if not total:
        raise ConfigError(f"split {clips.split} has no clip that could be read")
    return right / total


def _clips(manifest: Manifest, split: str, size: ModelArguments, seed: int, augmented: bool = False) -> GuidedClips:
    """Clips as `recipes/demo_plain.yaml` has them, without guidance."""
    processor = TSViTVideoProcessor(
        size={"height": size.image_size, "width": size.image_size}, num_frames=size.num_frames
    )
    grid = (size.image_size // size.patch_size,) * 2
    mirrored = MIRRORED_PAIRS if set(MIRRORED_PAIRS) <= set(manifest.class_names) else {}
    make = (
        functools.partial(
            training_transform,
            augmentation=AugmentationConfig(0.8, mirror_probability=0.5 if mirrored else 0.0, brightness=0.0),
        )
        if augmented
        else evaluation_transform
    )
    settings = ClipSettings(
        size.num_frames,
        "jittered" if augmented else "uniform",
        decode_max_side_px=round(1.5 * size.image_size),
        cache=augmented,
    )
    return GuidedClips(
        manifest, split, make(processor, grid), settings, mirrored_labels=mirrored if augmented else None, seed=seed
    )
