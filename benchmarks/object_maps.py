"""What maps of objects cost: reading clips with them against without, and training steps with them against without.

python benchmarks/object_maps.py --manifest outputs/demo/data/world --detections outputs/demo/data/detections \
    --classes hand box mug ball --out docs/results/speed/object_maps.json

Clips are read from video files and from decoded videos in memory, where nothing hides the work on maps; maps have the
size of the model's input, or a part of it. A training step is that of a model, and of the same model that is shown
maps.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from common import (
    describe_machine,
    interleave,
    machine,
    markdown_rows,
    paired_ratio,
    per_second,
    pick_device,
    settings_of,
    show_ratio,
    write_report,
)

from vidreason.backbones.models import build_model, build_processor
from vidreason.clips.data import ClipSettings, GuidedClipCollator, GuidedClips
from vidreason.clips.object_maps import ObjectMaps, map_size
from vidreason.clips.transforms import AugmentationConfig, input_size, training_transform
from vidreason.command_line import run_command
from vidreason.detection import DetectionIndex, load_detections
from vidreason.manifests.manifest import load_manifest

PLACES = ("out", "manifest", "detections")
WITHOUT = "without"
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "tsvit": (
        "tsvit",
        {"hidden_size": 96, "num_attention_heads": 4, "intermediate_size": 192, "image_size": 64, "num_frames": 8},
    ),
    # small beside those that are in use, and large enough that its first layer is a small part of it
    "vjepa2_base": (
        "vjepa2",
        {
            "crop_size": 128,
            "frames_per_clip": 8,
            "hidden_size": 384,
            "num_hidden_layers": 12,
            "num_attention_heads": 6,
            "num_pooler_layers": 1,
            "pred_hidden_size": 24,
            "pred_num_attention_heads": 2,
            "pred_num_hidden_layers": 1,
        },
    ),
}
"""Models with a size of their own: (type, fields of the configuration)."""


@dataclass
class ObjectMapArguments:
    """Which clips and detections, and how often."""

    manifest: str = field(metadata={"help": "Folder of the manifest of videos."})
    detections: str = field(metadata={"help": "Table of detections in them."})
    classes: list[str] = field(default_factory=list, metadata={"help": "Classes of objects, a channel each."})
    split: str = field(default="train", metadata={"help": "Split of the manifest."})
    out: str = field(
        default="outputs/benchmarks/object_maps.json", metadata={"help": "JSON to write; Markdown goes beside it."}
    )
    model_types: list[str] = field(
        default_factory=lambda: ["tsvit", "vjepa2_small", "videomae_small", "vjepa2_base"],
        metadata={"help": f"Types and presets of models, or {', '.join(MODELS)}."},
    )
    map_sizes: list[int] = field(
        default_factory=lambda: [64, 16], metadata={"help": "Longer sides in pixels of the maps."}
    )
    decode_max_side_px: int = field(default=128, metadata={"help": "Longer side that frames are decoded at."})
    batch_size: int = field(default=8, metadata={"help": "Clips of a step."})
    num_clips: int = field(default=48, metadata={"help": "Clips of a measurement of reading."})
    repeats: int = field(default=15, metadata={"help": "Rounds that count."})
    threads: int = field(default=1, metadata={"help": "Threads of torch on the CPU."})
    device: str | None = field(default=None, metadata={"help": "Device of the training steps; a GPU if there is one."})


def main(args: ObjectMapArguments) -> None:
    """Measure and report."""
    torch.set_num_threads(args.threads)
    logging.getLogger("vidreason").setLevel(logging.ERROR)
    device = pick_device(args.device)
    report = {
        "machine": machine(device),
        "settings": {**settings_of(args, PLACES), "videos": load_manifest(args.manifest).source},
        "reading": reading(args),
        "steps": {name: steps(name, args, device) for name in args.model_types},
    }
    write_report(args.out, report, as_markdown(report))


def make_clips(args: ObjectMapArguments, model: Any, cache: bool, size_px: int | None) -> GuidedClips:
    """Training clips of a model, with maps of a size or without."""
    processor = build_processor(model.config)
    transform = training_transform(processor, (4, 4), AugmentationConfig(crop_scale_min=0.8, mirror_probability=0.5))
    objects = None
    if size_px is not None:
        index = DetectionIndex(load_detections(args.detections)[args.split], args.classes)
        objects = ObjectMaps(index, map_size(size_px, input_size(processor)))
    settings = ClipSettings(8, "jittered", args.decode_max_side_px, cache)
    return GuidedClips(load_manifest(args.manifest), args.split, transform, settings, objects=objects)


def reading(args: ObjectMapArguments) -> dict[str, Any]:
    """Clips a second from files and from memory, without maps and with maps of each size."""
    variants: dict[str, Callable[[], None]] = {}
    for place, cache in (("files", False), ("memory", True)):
        for size_px in (None, *args.map_sizes):
            clips = make_clips(args, make_model("tsvit", args), cache, size_px)
            name = f"{place}, {WITHOUT if size_px is None else f'maps of {size_px} px'}"
            variants[name] = lambda clips=clips: [clips[i] for i in range(min(args.num_clips, len(clips)))]
    times = interleave(variants, args.repeats, warmup=1)
    found = {}
    for name, taken in times.items():
        peer = times[f"{name.split(',')[0]}, {WITHOUT}"]
        found[name] = {
            "clips_per_s": per_second(args.num_clips, taken.wall_s),
            # how fast with maps beside without, in the same round
            "speed_against_without": paired_ratio(peer.cpu_s, taken.cpu_s).as_json(),
        }
    return found


def steps(name: str, args: ObjectMapArguments, device: torch.device) -> dict[str, Any]:
    """Training steps of a model without maps, and of the same model that is shown maps of each size."""
    sizes: list[int | None] = [None, *args.map_sizes]
    variants = {WITHOUT if size is None else f"maps of {size} px": _step(name, size, args, device) for size in sizes}
    times = interleave(variants, args.repeats, warmup=3)
    clock = "cpu_s" if device.type == "cpu" else "wall_s"
    peer = getattr(times[WITHOUT], clock)
    return {
        variant: {
            "clips_per_s": per_second(args.batch_size, taken.wall_s),
            "time_against_without": paired_ratio(getattr(taken, clock), peer).as_json(),
        }
        for variant, taken in times.items()
    }


def make_model(name: str, args: ObjectMapArguments, is_shown_maps: bool = False) -> Any:
    """A model with random weights, alone or shown maps of the classes."""
    model_type, fields = MODELS.get(name, (name, {}))
    if is_shown_maps:
        model_type, fields = f"a2o_{model_type}", {**fields, "class_texts": args.classes}
    torch.manual_seed(0)
    return build_model([str(i) for i in range(12)], None, model_type, fields)


def _step(name: str, size_px: int | None, args: ObjectMapArguments, device: torch.device) -> Callable[[], None]:
    """A training step on a batch of clips that were read before."""
    model = make_model(name, args, size_px is not None).to(device).train()
    clips = make_clips(args, model, False, size_px)
    batch = GuidedClipCollator()([clips[i % len(clips)] for i in range(args.batch_size)])
    inputs = {
        field: batch[field].to(device) for field in ("pixel_values", "frame_mask", "object_maps") if field in batch
    }
    labels = batch["labels"].to(device)
    optimizer = torch.optim.AdamW((p for p in model.parameters() if p.requires_grad), lr=1e-4)

    def step() -> None:
        loss = torch.nn.functional.cross_entropy(model(**inputs)["logits"], labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return step


def as_markdown(report: dict[str, Any]) -> str:
    """The ratios as a page."""
    settings = report["settings"]
    reading_rows = [
        [name, f"{found['clips_per_s']['median']:.0f}", show_ratio(found["speed_against_without"])]
        for name, found in report["reading"].items()
    ]
    step_rows = [
        [name, variant, f"{found['clips_per_s']['median']:.0f}", show_ratio(found["time_against_without"])]
        for name, group in report["steps"].items()
        for variant, found in group.items()
    ]
    return (
        f"# What maps of objects cost\n\n{describe_machine(report['machine'])}\n\n{len(settings['classes'])} classes, "
        f"clips of 8 frames of 64 px (vjepa2_base: 128), {settings['batch_size']} clips a step. Ratios with the 95 % interval of the "
        f"median over {settings['repeats']} rounds, in each of which the variants take turns.\n\n"
        "Reading clips, in one process; its processor time beside that without maps as speed:\n\n"
        f"{markdown_rows(['clips from', 'clips/s', 'speed x without'], reading_rows)}\n\nTraining steps:\n\n"
        f"{markdown_rows(['model', 'maps', 'clips/s', 'time x without'], step_rows)}"
    )


if __name__ == "__main__":
    sys.exit(run_command(main, ObjectMapArguments))
