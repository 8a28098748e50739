"""What A2O costs: training and inference with maps, and a search, beside the plain model and a larger plain one.

    python benchmarks/a2o_cost.py --out outputs/benchmarks/a2o_cost.json

Three models take turns, step by step, in one process, on the same clips: the plain model, the same with maps of
objects (`modeling_a2o`), and a plain one that is deeper. The paper makes this comparison in its table 9: what a search
costs could have been spent on a larger model.

The cost of a search follows from these by arithmetic, in trainings in full of the plain model: `num_trials` of
`proxy_epochs` and one of `num_epochs`, each with maps. Detection is not in it: its seconds a frame are measured by
`benchmarks/detection.py`, are paid once for each class whatever the number of trials, and can be given here.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from common import (
    MIB,
    describe_machine,
    held_bytes,
    interleave,
    machine,
    median_spread,
    paired_ratio,
    peak_step_bytes,
    pick_device,
    settings_of,
    show_ratio,
    write_report,
)
from transformers import VJEPA2ForVideoClassification
from video_models import ModelArguments, build_model, used_parameters

from modeling_a2o import A2OForVideoClassification
from vidreason.command_line import run_command
from vidreason.errors import ConfigError
from vidreason.reporting.tables import text_table

NUM_LABELS = 12
VARIANTS = ("plain", "maps", "larger")


@dataclass
class CostArguments:
    """What is measured, how often, and the search that the arithmetic is for."""

    out: str = field(
        default="outputs/benchmarks/a2o_cost.json", metadata={"help": "JSON to write; Markdown goes beside it."}
    )
    backbone: str = field(default="vjepa2", metadata={"help": "The video model."})
    num_classes: int = field(default=8, metadata={"help": "Classes of objects: channels of the maps."})
    map_stride: int = field(default=4, metadata={"help": "Pixels of a frame to one of a map."})
    adapter_depth: int = field(default=0, metadata={"help": "Blocks of the adapter before its last convolution."})
    larger_layers: int = field(default=12, metadata={"help": "Layers of the larger plain model."})
    num_trials: int = field(default=5, metadata={"help": "Trials of a search."})
    proxy_epochs: float = field(default=1.0, metadata={"help": "Epochs of a trial."})
    num_epochs: float = field(default=20.0, metadata={"help": "Epochs of a training in full."})
    detection_seconds: float = field(
        default=0.0, metadata={"help": "Seconds that detection takes for a clip and all classes; 0 leaves it out."}
    )
    batch_size: int = field(default=4, metadata={"help": "Clips of a step."})
    repeats: int = field(default=20, metadata={"help": "Calls of each variant that count."})
    warmup: int = field(default=2, metadata={"help": "Calls of each variant before them."})
    device: str | None = field(default=None, metadata={"help": "Default: a GPU where there is one."})

    def __post_init__(self) -> None:
        for name in ("num_classes", "map_stride", "num_trials", "batch_size", "repeats"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}, expected at least 1")
        if not 0 < self.proxy_epochs <= self.num_epochs or self.detection_seconds < 0:
            raise ConfigError("expected 0 < proxy_epochs <= num_epochs, and detection_seconds of at least 0")


def main() -> int:
    """Measure; a mistake ends with one line that names it."""
    return run_command(run, CostArguments, ModelArguments)


def run(args: CostArguments, size: ModelArguments) -> None:
    """Measure the three models and write the report."""
    if size.image_size % args.map_stride:
        raise ConfigError(f"map_stride {args.map_stride} does not divide image_size {size.image_size}")
    device = pick_device(args.device)
    facts = machine(device)
    models = build_models(args, size, device)
    training = {name: training_step(model, args, size, device) for name, model in models.items()}
    training_times = interleave(
        {name: step for name, (step, _) in training.items()}, args.repeats, args.warmup, device
    )
    inference = {name: inference_call(model, args, size, device) for name, model in models.items()}
    inference_times = interleave(inference, args.repeats, args.warmup, device)
    clock = "wall_s" if device.type == "cuda" else "cpu_s"
    ratios = {
        name: {
            "training": paired_ratio(getattr(training_times[name], clock), getattr(training_times["plain"], clock)),
            "inference": paired_ratio(getattr(inference_times[name], clock), getattr(inference_times["plain"], clock)),
        }
        for name in VARIANTS[1:]
    }
    seconds = {
        name: {
            "training_s": median_spread(training_times[name].wall_s).as_json(),
            "inference_s": median_spread(inference_times[name].wall_s).as_json(),
            "peak_bytes": peak_step_bytes(training[name][0], device) + held_bytes(models[name], training[name][1]),
            "parameters": sum(parameter.numel() for parameter in used_parameters(models[name])),
        }
        for name in VARIANTS
    }
    report = {
        "machine": facts,
        "settings": {**settings_of(args, ("out", "device")), **asdict(size)},
        "models": seconds,
        "ratios": {name: {kind: of.as_json() for kind, of in by_kind.items()} for name, by_kind in ratios.items()},
        "search": search_cost(args, ratios["maps"]["training"].median, seconds["plain"]["training_s"]["median"]),
    }
    write_report(args.out, report, as_markdown(report))


def build_models(args: CostArguments, size: ModelArguments, device: torch.device) -> dict[str, torch.nn.Module]:
    """The plain model, the same inside A2O, and a deeper one."""
    texts = [f"object {number}" for number in range(args.num_classes)]
    inside = build_model(args.backbone, size, NUM_LABELS)
    models = {
        "plain": build_model(args.backbone, size, NUM_LABELS),
        "maps": A2OForVideoClassification.from_backbone(inside, texts, adapter_depth=args.adapter_depth),
        "larger": build_model(args.backbone, replace(size, num_layers=args.larger_layers), NUM_LABELS),
    }
    return {name: model.to(device) for name, model in models.items()}


def inputs_of(
    model: torch.nn.Module, args: CostArguments, size: ModelArguments, device: torch.device
) -> dict[str, torch.Tensor]:
    """A fixed batch; the maps for the model that takes them."""
    generator = torch.Generator().manual_seed(1)
    frames = (args.batch_size, size.num_frames)
    pixels = torch.randn(*frames, 3, size.image_size, size.image_size, generator=generator)
    # V-JEPA 2 has a name of its own for frames; A2O has the usual one, whatever is inside
    batch = {"pixel_values_videos" if isinstance(model, VJEPA2ForVideoClassification) else "pixel_values": pixels}
    if isinstance(model, A2OForVideoClassification):
        side = size.image_size // args.map_stride
        batch["object_maps"] = torch.rand(*frames, args.num_classes, side, side, generator=generator)
    return {name: tensor.to(device) for name, tensor in batch.items()}


def training_step(
    model: torch.nn.Module, args: CostArguments, size: ModelArguments, device: torch.device
) -> tuple[Callable[[], None], torch.optim.Optimizer]:
    """Forward pass, cross-entropy, backward pass and AdamW on a fixed batch."""
    batch = inputs_of(model, args, size, device)
    labels = torch.arange(args.batch_size, device=device) % NUM_LABELS
    optimizer = torch.optim.AdamW(used_parameters(model), lr=1e-4)

    def step() -> None:
        model.train()
        torch.nn.functional.cross_entropy(model(**batch).logits, labels).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step, optimizer


def inference_call(
    model: torch.nn.Module, args: CostArguments, size: ModelArguments, device: torch.device
) -> Callable[[], None]:
    """One forward pass without gradients on a fixed batch."""
    batch = inputs_of(model, args, size, device)

    def call() -> None:
        model.eval()
        with torch.inference_mode():
            model(**batch)

    return call


def search_cost(args: CostArguments, step_ratio: float, plain_step_s: float) -> dict[str, float]:
    """What a search and the training after it cost, in trainings in full of the plain model.

    Args:
        args: The search.
        step_ratio: Time of a training step with maps, relative to one without.
        plain_step_s: Seconds of a training step of the plain model.
    """
    proxies = args.num_trials * args.proxy_epochs / args.num_epochs * step_ratio
    # once for each clip, where the plain model passes over it `num_epochs` times
    detection = args.detection_seconds / (plain_step_s / args.batch_size * args.num_epochs)
    return {
        "trials": proxies,
        "training_in_full": step_ratio,
        "detection": detection,
        "all": proxies + step_ratio + detection,
    }


def as_markdown(report: dict[str, Any]) -> str:
    """The report for people."""
    rows = []
    for name, of in report["models"].items():
        ratios = report["ratios"].get(name)
        rows.append(
            (
                name,
                f"{of['parameters'] / 1e6:.2f} M",
                f"{of['training_s']['median'] * 1000:.1f} ms",
                show_ratio(ratios["training"]) if ratios else "1",
                f"{of['inference_s']['median'] * 1000:.1f} ms",
                show_ratio(ratios["inference"]) if ratios else "1",
                f"{of['peak_bytes'] / MIB:.0f} MiB",
            )
        )
    header = ("model", "parameters", "training step", "relative", "inference", "relative", "peak of a step")
    cost, settings = report["search"], report["settings"]
    return (
        f"# What maps and a search cost: {settings['backbone']}\n\n{describe_machine(report['machine'])}\n\n"
        f"{text_table(header, rows)}\n\n"
        f"A search of {settings['num_trials']} trials of {settings['proxy_epochs']:g} epochs and a training of "
        f"{settings['num_epochs']:g} epochs cost {cost['all']:.2f} trainings in full of the plain model: the trials "
        f"{cost['trials']:.2f}, the training {cost['training_in_full']:.2f}, detection {cost['detection']:.2f}"
        f"{'' if settings['detection_seconds'] else ' (not measured here)'}. Intervals are of 95 %.\n"
    )


if __name__ == "__main__":
    sys.exit(main())
