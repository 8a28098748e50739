"""TSViT against TimeSformer, ViViT and VideoMAE of `transformers`, at the same width, depth, frames and size.

    python benchmarks/models.py --out outputs/benchmarks/models.json
    python benchmarks/models.py --manifest outputs/demo/data/world --seconds 120 --out outputs/benchmarks/models.json

Clips per second in training and inference (the models take turns, call by call), peak memory, parameters and
arithmetic; with `--manifest` also the accuracy that each model reaches when all are trained for the same time. On a
GPU the same is measured in bfloat16, and in bfloat16 compiled, with the share of the chip's peak; elsewhere these are
marked as not run.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from common import (
    MIB,
    NOT_RUN,
    classification_steps,
    describe_machine,
    held_bytes,
    interleave,
    machine,
    markdown_rows,
    median_spread,
    paired_ratio,
    peak_step_bytes,
    pick_device,
    settings_of,
    show_ratio,
    write_report,
)
from flops import pass_flops
from peak_flops import peak_flops_per_s, utilisation
from timed_training import TrainingArguments, train_for
from torch.nn.attention import SDPBackend, sdpa_kernel
from video_models import BUILDERS, ModelArguments, build_model

from vidreason.command_line import run_command

PEER = "tsvit"
NUM_LABELS = 12
PHASES = ("training", "inference")
SETUPS = {"fp32": (False, False), "bf16": (True, False), "bf16_compiled": (True, True)}
"""Name -> (bfloat16, compiled). The latter two are for GPUs."""


@dataclass
class SpeedArguments:
    """What is measured, and how often."""

    out: str = field(
        default="outputs/benchmarks/models.json", metadata={"help": "JSON to write; Markdown goes beside it."}
    )
    models: list[str] = field(
        default_factory=lambda: ["tsvit", "timesformer", "vivit", "videomae"],
        metadata={"help": f"TSViT and its peers, among {', '.join(BUILDERS)}."},
    )
    batch_size: int = field(default=8, metadata={"help": "Clips of a step."})
    repeats: int = field(default=20, metadata={"help": "Steps of each model that count."})
    warmup: int = field(default=3, metadata={"help": "Steps of each model before them."})
    threads: int | None = field(default=None, metadata={"help": "Of PyTorch on a CPU; as it is by default."})
    device: str | None = field(default=None, metadata={"help": "Default: a GPU where there is one."})


def main() -> int:
    """Measure; a mistake ends with one line that names it."""
    return run_command(run, SpeedArguments, ModelArguments, TrainingArguments)


def run(args: SpeedArguments, size: ModelArguments, training: TrainingArguments) -> None:
    """Measure everything and write the report."""
    device = pick_device(args.device)
    if args.threads:
        torch.set_num_threads(args.threads)
    facts = machine(device)
    names = list(dict.fromkeys([PEER, *args.models]))
    models = {
        name: {"parameters": _num_parameters(name, size), "flops_per_clip": count_flops(name, size)} for name in names
    }
    speed = {
        setup: measure_speed(names, setup, args, size, device) if setup == "fp32" or device.type == "cuda" else NOT_RUN
        for setup in SETUPS
    }
    for setup, measured in speed.items():
        if measured != NOT_RUN:
            add_utilisation(measured, models, facts["device"], setup)
    accuracy: Any = NOT_RUN
    if training.manifest:
        accuracy = {name: train_for(training, name, size, device) for name in names}
    settings = settings_of(args, ("out", "device")) | settings_of(training, ("manifest", "video_root"))
    report = {
        "machine": facts,
        "settings": {**settings, **asdict(size)},
        "models": models,
        "speed": speed,
        "accuracy": accuracy,
    }
    write_report(args.out, report, as_markdown(report))


def _num_parameters(name: str, size: ModelArguments) -> int:
    return sum(parameter.numel() for parameter in build_model(name, size, NUM_LABELS).parameters())


def count_flops(name: str, size: ModelArguments) -> dict[str, int]:
    """Arithmetic of one clip: {"inference", "training" (with the backward pass)}.

    Matrix products and convolutions, a multiplication and an addition each counted as one operation. Attention is
    counted as the products that it is made of, whichever kernel runs in earnest.
    """
    model = build_model(name, size, NUM_LABELS)
    clip = torch.zeros(1, size.num_frames, 3, size.image_size, size.image_size)
    with sdpa_kernel(SDPBackend.MATH):
        inference, training = pass_flops(model, pixel_values=clip)
    return {"inference": inference, "training": training}


def measure_speed(
    names: list[str], setup: str, args: SpeedArguments, size: ModelArguments, device: torch.device
) -> dict[str, Any]:
    """Each model: {phase: seconds per step, clips per second, peak bytes, and its ratio to TSViT's}."""
    steps = {phase: {} for phase in PHASES}
    models = {}
    for name in names:
        models[name], by_phase = build_steps(name, setup, args, size, device)
        for phase in PHASES:
            steps[phase][name] = by_phase[phase]
    measured: dict[str, Any] = {name: {} for name in names}
    for phase in PHASES:
        times = interleave(steps[phase], args.repeats, args.warmup, device)
        for name in names:
            peak = peak_step_bytes(steps[phase][name], device)
            step_s = median_spread(times[name].wall_s)
            measured[name][phase] = {
                "step_s": step_s.as_json(),
                "clips_per_s": args.batch_size / step_s.median,
                "peak_bytes": peak + held_bytes(*models[name][: 2 if phase == "training" else 1]),
                "tsvit_speed_ratio": paired_ratio(times[name].wall_s, times[PEER].wall_s).as_json(),
            }
            print(f"{setup} {phase} {name}: {measured[name][phase]['clips_per_s']:.1f} clips/s", flush=True)
    return measured


def build_steps(
    name: str, setup: str, args: SpeedArguments, size: ModelArguments, device: torch.device
) -> tuple[tuple[torch.nn.Module, torch.optim.Optimizer], dict[str, Callable[[], None]]]:
    """A model and its optimizer; one training step and one inference call of it on a fixed batch."""
    bf16, compiled = SETUPS[setup]
    model = build_model(name, size, NUM_LABELS).to(device)
    generator = torch.Generator().manual_seed(1)
    shape = (args.batch_size, size.num_frames, 3, size.image_size, size.image_size)
    clips = torch.randn(*shape, generator=generator).to(device)
    labels = torch.randint(0, NUM_LABELS, (args.batch_size,), generator=generator).to(device)
    autocast = functools.partial(torch.autocast, device.type, torch.bfloat16) if bf16 else nullcontext
    optimizer, steps = classification_steps(
        model, clips, labels, torch.compile(model) if compiled else model, autocast
    )
    return (model, optimizer), steps


def add_utilisation(measured: dict[str, Any], models: dict[str, Any], device_name: str, setup: str) -> None:
    """Set the share of the chip's peak that each model uses; None where the peak is not known."""
    peak = peak_flops_per_s(device_name, "bf16" if SETUPS[setup][0] else "fp32")
    for name, phases in measured.items():
        for phase, values in phases.items():
            values["share_of_peak"] = utilisation(models[name]["flops_per_clip"][phase], values["clips_per_s"], peak)


def as_markdown(report: dict[str, Any]) -> str:
    """All results as a page."""
    settings = report["settings"]
    text = (
        f"# TSViT and its peers\n\n{describe_machine(report['machine'])}\n\n{settings['batch_size']} clips of "
        f"{settings['num_frames']} frames of {settings['image_size']} px, patches of {settings['patch_size']}, width "
        f"{settings['hidden_size']}, {settings['num_layers']} layers.\n"
    )
    for setup, measured in report["speed"].items():
        text += f"\n## {setup}\n\n{NOT_RUN if measured == NOT_RUN else _speed_table(report['models'], measured)}"
        text += "\n" if measured == NOT_RUN else ""
    text += "\n## Accuracy after the same training time\n\n"
    return text + (f"{NOT_RUN}\n" if report["accuracy"] == NOT_RUN else _accuracy_table(report["accuracy"], settings))


def _speed_table(models: dict[str, Any], measured: dict[str, Any]) -> str:
    header = ["model", "parameters"]
    for phase in PHASES:
        header += [f"{phase}, GFLOP/clip", "clips/s", "TSViT is faster by", "peak MiB", "of the chip's peak"]
    rows = []
    for name, phases in measured.items():
        row = [name, f"{models[name]['parameters'] / 1e6:.1f}M"]
        for phase in PHASES:
            values = phases[phase]
            share = values["share_of_peak"]
            row += [
                f"{models[name]['flops_per_clip'][phase] / 1e9:.2f}",
                f"{values['clips_per_s']:.1f}",
                "-" if name == PEER else show_ratio(values["tsvit_speed_ratio"]),
                f"{values['peak_bytes'] / MIB:.1f}",
                NOT_RUN if share is None else f"{share:.1%}",
            ]
        rows.append(row)
    return markdown_rows(header, rows)


def _accuracy_table(accuracy: dict[str, Any], settings: dict[str, Any]) -> str:
    splits = list(next(iter(accuracy.values()))["top1"])
    header = ["model", *(f"top-1 on {split} (%)" for split in splits), "epochs", "of the time spent on data"]
    rows = []
    for name, result in accuracy.items():
        row = [name, *(", ".join(f"{100 * share:.1f}" for share in result["top1"][split]) for split in splits)]
        rows.append([*row, ", ".join(f"{epochs:.1f}" for epochs in result["epochs"]), f"{result['data_share']:.0%}"])
    return (
        f"{settings['seconds']:g} seconds of training each, seeds {', '.join(map(str, settings['seeds']))}.\n\n"
        f"{markdown_rows(header, rows)}"
    )


if __name__ == "__main__":
    sys.exit(main())
