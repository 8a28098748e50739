"""What supervision costs: time and memory of a training step, plain against supervised, and against the usual way.

    python benchmarks/rs_overhead.py --out outputs/benchmarks/rs_overhead.json

Four variants of each model take turns, step by step, in one process, on the same batch:

- plain: the model as it is, with cross-entropy alone. TSViT's own probe of its attention is switched off.
- weights_0: the supervised model with cross-entropy alone, which is what `train.py` runs with both weights at 0.
- supervised: what `train.py` runs with both losses.
- eager: the usual way, `output_attentions=True` under eager attention, with cross-entropy and the spatial loss on the
  last map. Except for TSViT it has no temporal loss, since transformers' models give no temporal views: it does less
  than "supervised".

A step is the forward pass, the losses, the backward pass and AdamW. Ratios are medians over rounds of the ratio within
a round. TimeSformer has eager attention alone in transformers.
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
from video_models import BUILDERS, ModelArguments, build_model, used_parameters

import modeling_tsvit.modeling_tsvit as tsvit
from vidreason.backbones import backbone_for, supervised_view
from vidreason.command_line import run_command
from vidreason.rs.losses import spatial_alignment_loss, temporal_consistency_loss
from vidreason.training.parts import classification_loss

VARIANTS = ("plain", "weights_0", "supervised", "eager")
PAIRS = (("supervised", "plain"), ("weights_0", "plain"), ("supervised", "eager"), ("eager", "plain"))
NUM_LABELS = 12
CLS_MODELS = ("tsvit", "vivit", "timesformer")


@dataclass
class OverheadArguments:
    """What is measured, and how often."""

    out: str = field(
        default="outputs/benchmarks/rs_overhead.json", metadata={"help": "JSON to write; Markdown goes beside it."}
    )
    backbones: list[str] = field(
        default_factory=lambda: list(BUILDERS), metadata={"help": f"Among {', '.join(BUILDERS)}."}
    )
    batch_size: int = field(default=8, metadata={"help": "Clips of a step."})
    repeats: int = field(default=40, metadata={"help": "Steps of each variant that count."})
    warmup: int = field(default=3, metadata={"help": "Steps of each variant before them."})
    bf16: bool = field(default=False, metadata={"help": "Autocast to bfloat16."})
    threads: int | None = field(default=None, metadata={"help": "Of PyTorch on a CPU; as it is by default."})
    device: str | None = field(default=None, metadata={"help": "Default: a GPU where there is one."})


@dataclass
class Variant:
    """A model that is trained in one way."""

    model: torch.nn.Module
    optimizer: torch.optim.Optimizer
    batch: dict[str, torch.Tensor]
    loss: Callable[[], torch.Tensor]
    step: Callable[[], None]


def main() -> int:
    """Measure; a mistake ends with one line that names it."""
    return run_command(run, OverheadArguments, ModelArguments)


def run(args: OverheadArguments, size: ModelArguments) -> None:
    """Measure every backbone and write the report."""
    device = pick_device(args.device)
    if args.threads:
        torch.set_num_threads(args.threads)
    facts = machine(device)
    backbones = {name: measure_backbone(name, args, size, device) for name in args.backbones}
    settings = {**settings_of(args, ("out", "device")), **asdict(size)}
    report = {"machine": facts, "settings": settings, "backbones": backbones}
    write_report(args.out, report, as_markdown(report))


def measure_backbone(name: str, args: OverheadArguments, size: ModelArguments, device: torch.device) -> dict[str, Any]:
    """Times, memory and ratios of one backbone's variants."""
    variants = {kind: build_variant(name, kind, args, size, device) for kind in VARIANTS}
    times = interleave({kind: variant.step for kind, variant in variants.items()}, args.repeats, args.warmup, device)
    memory = {}
    for kind, variant in variants.items():
        peak = peak_step_bytes(variant.step, device)
        memory[kind] = peak + held_bytes(variant.model, variant.optimizer)
    clock = "wall_s" if device.type == "cuda" else "cpu_s"
    print(f"{name}: {', '.join(f'{kind} {median_spread(t.wall_s).median:.4f} s' for kind, t in times.items())}")
    return {
        "parameters": sum(parameter.numel() for parameter in used_parameters(variants["plain"].model)),
        "variants": {
            kind: {
                "wall_s": median_spread(times[kind].wall_s).as_json(),
                "cpu_s": median_spread(times[kind].cpu_s).as_json(),
                "peak_bytes": memory[kind],
            }
            for kind in VARIANTS
        },
        "ratios": {
            f"{kind}/{peer}": {
                "time": paired_ratio(getattr(times[kind], clock), getattr(times[peer], clock)).as_json(),
                "wall_time": paired_ratio(times[kind].wall_s, times[peer].wall_s).as_json(),
                "memory": memory[kind] / memory[peer],
            }
            for kind, peer in PAIRS
        },
    }


def build_variant(
    name: str, kind: str, args: OverheadArguments, size: ModelArguments, device: torch.device
) -> Variant:
    """A model with its optimizer and its training step on a fixed batch, the same batch for every variant."""
    model = build_model(name, size, NUM_LABELS).to(device).train()
    if kind in ("weights_0", "supervised"):
        model = supervised_view(model)
    elif kind == "eager":
        use_eager_attention(model)
    elif name == "tsvit":
        switch_probe_off(model)
    generator = torch.Generator().manual_seed(1)
    frames = (args.batch_size, size.num_frames)
    batch = {
        "pixel_values": torch.randn(*frames, 3, size.image_size, size.image_size, generator=generator),
        "labels": torch.randint(0, NUM_LABELS, (args.batch_size,), generator=generator),
        "guidance": torch.rand(*frames, size.tokens_per_frame, generator=generator),
        "frame_mask": torch.ones(*frames, dtype=torch.bool),
    }
    batch = {key: value.to(device) for key, value in batch.items()}
    optimizer = torch.optim.AdamW(used_parameters(model), lr=1e-4)
    autocast = functools.partial(torch.autocast, device.type, torch.bfloat16) if args.bf16 else nullcontext
    loss_of = functools.partial(LOSSES[kind], name, model, batch)

    def step() -> None:
        with autocast():
            loss = loss_of()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return Variant(model, optimizer, batch, loss_of, step)


def plain_loss(name: str, model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Cross-entropy of the model as transformers has it."""
    return classification_loss(_plain_outputs(name, model, batch).logits, batch["labels"], _count(batch["labels"]))


def weights_0_loss(name: str, model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Cross-entropy of the supervised model."""
    outputs = model(pixel_values=batch["pixel_values"], frame_mask=batch["frame_mask"])
    return classification_loss(outputs.logits, batch["labels"], _count(batch["labels"]))


def supervised_loss(name: str, model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """The three losses as `RSTrainer` has them, divided by counts that it gives as tensors."""
    outputs = model(pixel_values=batch["pixel_values"], frame_mask=batch["frame_mask"])
    clips = _count(batch["labels"])
    return (
        classification_loss(outputs.logits, batch["labels"], clips)
        + _spatial_loss(outputs.frame_attention, batch)
        + 0.1 * temporal_consistency_loss(outputs.segment_logits, batch["labels"] != -100, 1.0, clips)
    )


def eager_loss(name: str, model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Cross-entropy and the spatial loss on the last of all attention maps; for TSViT the temporal loss as well."""
    clips = _count(batch["labels"])
    if name == "tsvit":
        outputs = _plain_outputs(name, model, batch)
        maps = [vars(layer.attention).pop("recorded_map") for layer in model.tsvit.spatial_layers]
        row = maps[-1][:, :, 0, 1:].mean(dim=1)
        attention = row.unflatten(0, batch["frame_mask"].shape)  # eager attention sees all frames as one batch
        extra = 0.1 * temporal_consistency_loss(outputs.segment_logits, batch["labels"] != -100, 1.0, clips)
    else:
        outputs = _plain_outputs(name, model, batch, output_attentions=True)
        last_map = outputs.attentions[-1]
        # without a CLS token, the mean over the queries
        row = last_map[:, :, 0, 1:].mean(dim=1) if name in CLS_MODELS else last_map.mean(dim=(1, 2))
        attention = backbone_for(model.config).frame_rows(model.config, row, len(batch["labels"]))
        extra = 0.0
    return classification_loss(outputs.logits, batch["labels"], clips) + _spatial_loss(attention, batch) + extra


LOSSES = {"plain": plain_loss, "weights_0": weights_0_loss, "supervised": supervised_loss, "eager": eager_loss}


def _plain_outputs(name: str, model: torch.nn.Module, batch: dict[str, torch.Tensor], **kwargs: Any) -> Any:
    if name == "tsvit":
        return model(pixel_values=batch["pixel_values"], frame_mask=batch["frame_mask"], **kwargs)
    return model(**{model.main_input_name: batch["pixel_values"]}, **kwargs)


def _spatial_loss(attention: torch.Tensor, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    return spatial_alignment_loss(attention, batch["guidance"], batch["frame_mask"], _count(batch["frame_mask"]))


def _count(counted: torch.Tensor) -> torch.Tensor:
    return torch.tensor(counted.numel(), device=counted.device)


def switch_probe_off(model: torch.nn.Module) -> None:
    """TSViT without the CLS row that its supervised layers compute: the row is zeros, and costs nothing."""
    for layer in model.tsvit.spatial_layers:
        layer.attention.forward = functools.partial(_without_row, layer.attention.forward)


def _without_row(
    forward: Callable, hidden_states: torch.Tensor, attention_mask=None, return_cls_row=False, return_attentions=False
) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
    output, _, attentions = forward(hidden_states, attention_mask, False, return_attentions)
    row = hidden_states.new_zeros(*hidden_states.shape[:-2], hidden_states.shape[-2] - 1) if return_cls_row else None
    return output, row, attentions


def use_eager_attention(model: torch.nn.Module) -> None:
    """Eager attention; TSViT's keeps its maps, as `output_attentions` does in transformers' models.

    TSViT's own `output_attentions` keeps the maps of stage 2 as well, which supervision has no use for: holding
    supervision against that would flatter it.
    """
    model.set_attn_implementation("eager")
    if model.config.model_type == "tsvit":
        switch_probe_off(model)
        for layer in model.tsvit.spatial_layers:
            layer.attention.keeps_map = True
        tsvit.eager_attention_forward = _recording_eager_attention


_eager_attention_forward = tsvit.eager_attention_forward


def _recording_eager_attention(module: torch.nn.Module, *args: Any, **kwargs: Any):
    output, weights = _eager_attention_forward(module, *args, **kwargs)
    if getattr(module, "keeps_map", False):
        module.recorded_map = weights
    return output, weights


def as_markdown(report: dict[str, Any]) -> str:
    """The ratios as a page."""
    settings = report["settings"]
    header = ["backbone", "parameters", "plain ms", "plain MiB"]
    header += [f"{kind} / {peer}, {what}" for kind, peer in PAIRS for what in ("time", "memory")]
    rows = []
    for name, measured in report["backbones"].items():
        plain = measured["variants"]["plain"]
        row = [name, f"{measured['parameters'] / 1e6:.1f}M", f"{plain['wall_s']['median'] * 1e3:.1f}"]
        row.append(f"{plain['peak_bytes'] / MIB:.1f}")
        for ratio in measured["ratios"].values():
            row += [show_ratio(ratio["time"]), f"{ratio['memory']:.3f}"]
        rows.append(row)
    clock = "clock time" if report["machine"]["device"] != "cpu" else "processor time of the process"
    return (
        f"# Cost of supervision in a training step\n\n{describe_machine(report['machine'])}\n\n"
        f"{settings['batch_size']} clips of {settings['num_frames']} frames of {settings['image_size']} px, patches "
        f"of {settings['patch_size']}, width {settings['hidden_size']}, {settings['num_layers']} layers, "
        f"{'bfloat16 autocast' if settings['bf16'] else 'float32'}. Ratios of {clock} (95 % interval of the median, "
        f"{settings['repeats']} rounds) and of peak memory.\n\n{markdown_rows(header, rows)}"
    )


if __name__ == "__main__":
    sys.exit(main())
