"""TSViT's convolutional stem on channels-last frames, as it works, against the usual order in memory.

    python benchmarks/memory_format.py --out outputs/benchmarks/memory_format.json

Two copies of one model take turns, step by step, on the same batch: a training step (forward pass, cross-entropy,
backward pass, AdamW) and a forward pass without gradients. "channels_first" turns the frames back before the stem,
which costs it a copy of them. Ratios are medians over rounds of the ratio within a round.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml
from common import (
    classification_steps,
    describe_machine,
    interleave,
    machine,
    markdown_rows,
    median_spread,
    paired_ratio,
    pick_device,
    settings_of,
    show_ratio,
    write_report,
)

from modeling_tsvit import TSViTConfig, TSViTForVideoClassification
from modeling_tsvit.modeling_tsvit import TSViTPatchEmbedding
from vidreason.command_line import run_command
from vidreason.errors import ConfigError

FORMATS = ("channels_last", "channels_first")


@dataclass
class FormatArguments:
    """Which model, and how often."""

    out: str = field(
        default="outputs/benchmarks/memory_format.json", metadata={"help": "JSON to write; Markdown goes beside it."}
    )
    recipe: str = field(
        default="recipes/study/tsvit.yaml", metadata={"help": "Its model_config is the model, with a stem."}
    )
    num_labels: int = field(default=12, metadata={"help": "Classes."})
    batch_size: int = field(default=16, metadata={"help": "Clips of a step."})
    repeats: int = field(default=60, metadata={"help": "Steps of each variant that count."})
    threads: int | None = field(default=None, metadata={"help": "Of PyTorch on a CPU; as it is by default."})
    device: str | None = field(default=None, metadata={"help": "Default: a GPU where there is one."})


def main() -> int:
    """Measure; a mistake ends with one line that names it."""
    return run_command(run, FormatArguments)


def run(args: FormatArguments) -> None:
    """Measure and report.

    Raises:
        ConfigError: The recipe has no model with a convolutional stem.
    """
    device = pick_device(args.device)
    if args.threads:
        torch.set_num_threads(args.threads)
    facts = machine(device)
    settings = yaml.safe_load(Path(args.recipe).read_text(encoding="utf-8")).get("model_config", {})
    config = TSViTConfig(**settings, num_labels=args.num_labels)
    if config.patch_embedding != "conv_stem":
        raise ConfigError(f"{args.recipe}: patch_embedding is {config.patch_embedding!r}, expected 'conv_stem'")
    batch = make_batch(config, args.batch_size, device)
    models = {name: build(config, name).to(device) for name in FORMATS}
    steps = {name: classification_steps(model, *batch)[1] for name, model in models.items()}
    measured = {
        phase: measure({name: by_phase[phase] for name, by_phase in steps.items()}, args.repeats, device)
        for phase in ("training", "inference")
    }
    report = {"machine": facts, "settings": settings_of(args, ("out", "device")), "measured": measured}
    write_report(args.out, report, as_markdown(report))


def build(config: TSViTConfig, memory_format: str) -> TSViTForVideoClassification:
    """A model of one seed, whose stem gets frames in the order in memory that is named."""
    torch.manual_seed(0)
    model = TSViTForVideoClassification(config)
    if memory_format == "channels_first":
        stem = next(module.stem for module in model.modules() if isinstance(module, TSViTPatchEmbedding))
        stem.register_forward_pre_hook(lambda module, inputs: (inputs[0].contiguous(),))
    return model


def make_batch(config: TSViTConfig, batch_size: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Random clips (batch, frames, channels, height, width) and labels (batch,)."""
    generator = torch.Generator().manual_seed(1)
    shape = (batch_size, config.num_frames, config.num_channels, *config.image_shape)
    labels = torch.randint(0, config.num_labels, (batch_size,), generator=generator)
    return torch.randn(shape, generator=generator).to(device), labels.to(device)


def measure(steps: dict[str, Callable[[], None]], repeats: int, device: torch.device) -> dict[str, Any]:
    """Seconds of each variant and their ratio."""
    times = interleave(steps, repeats, warmup=3, device=device)
    first, last = times["channels_first"], times["channels_last"]
    clock = "wall_s" if device.type == "cuda" else "cpu_s"
    return {
        "wall_s": {name: median_spread(taken.wall_s).as_json() for name, taken in times.items()},
        "time_ratio": paired_ratio(getattr(last, clock), getattr(first, clock)).as_json(),
        "wall_time_ratio": paired_ratio(last.wall_s, first.wall_s).as_json(),
    }


def as_markdown(report: dict[str, Any]) -> str:
    """The ratios as a page."""
    rows = []
    for what, measured in report["measured"].items():
        seconds = [f"{measured['wall_s'][name]['median'] * 1e3:.1f}" for name in FORMATS]
        rows.append([what, *seconds, show_ratio(measured["time_ratio"])])
    settings = report["settings"]
    header = ["step", *(f"{name} ms" for name in FORMATS), "time, channels_last / channels_first"]
    return (
        f"# Order of a stem's frames in memory\n\n{describe_machine(report['machine'])}\n\nTSViT of "
        f"`{settings['recipe']}`, {settings['batch_size']} clips. In brackets: 95 % interval of the median, "
        f"{settings['repeats']} rounds.\n\n{markdown_rows(header, rows)}"
    )


if __name__ == "__main__":
    sys.exit(main())
