"""What two parts of a loss cost: a training step of a Video-LLM on answers and rationales, against one cross-entropy.

    python benchmarks/videoqa_training.py --out outputs/benchmarks/videoqa_training.json

Three ways take turns, step by step, in one process, on the same batch of conversations, half of them answers and half
rationales, each with a model of its own with the same weights:

- two_parts: what `train.py` runs, `VideoQATrainer`: counting the step's tokens, two token means, their sum.
- pooled: one cross-entropy over the same tokens, of the same logits: those that predict a labelled token.
- own_loss: the labels given to the model, which makes logits of every token, as training usually does.

A step is the forward pass, the loss, the backward pass and AdamW. Ratios are medians over rounds of the ratio within a
round. Memory is the most that a step allocates, and what model and optimizer hold.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
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
from transformers import LlavaOnevisionConfig, LlavaOnevisionForConditionalGeneration

from vidreason.command_line import run_command
from vidreason.videoqa.training.collator import ConversationCollator
from vidreason.videoqa.training.config import VideoQAConfig
from vidreason.videoqa.training.data import ClipExample
from vidreason.videoqa.training.encoding import EncodedConversation
from vidreason.videoqa.training.losses import IGNORED_TOKEN
from vidreason.videoqa.training.trainer import VideoQATrainer

PAIRS = (("two_parts", "pooled"), ("two_parts", "own_loss"))
IMAGE_TOKEN, VIDEO_TOKEN, FIRST_WORD = 0, 1, 2
PATCHES_PER_SIDE = 4


@dataclass
class BenchmarkArguments:
    """What is measured, and how often."""

    out: str = field(
        default="outputs/benchmarks/videoqa_training.json",
        metadata={"help": "JSON to write; Markdown goes beside it."},
    )
    questions: int = field(default=4, metadata={"help": "Questions of a step, each with an answer and a rationale."})
    prompt_tokens: int = field(default=60, metadata={"help": "Tokens of each prompt besides those of the video."})
    answer_tokens: int = field(default=3, metadata={"help": "Tokens of an answer."})
    rationale_tokens: int = field(default=60, metadata={"help": "Tokens of a rationale."})
    num_frames: int = field(default=8, metadata={"help": "Frames of a video."})
    hidden_size: int = field(default=128, metadata={"help": "Width of both towers."})
    num_layers: int = field(default=4, metadata={"help": "Layers of each tower."})
    vocab_size: int = field(default=16000, metadata={"help": "Tokens that the model knows."})
    repeats: int = field(default=40, metadata={"help": "Steps of each way that count."})
    warmup: int = field(default=3, metadata={"help": "Steps of each way before them."})
    threads: int | None = field(default=None, metadata={"help": "Of PyTorch on a CPU; as it is by default."})
    device: str | None = field(default=None, metadata={"help": "Default: a GPU where there is one."})


@dataclass
class Variant:
    """A model that is trained in one way."""

    model: torch.nn.Module
    optimizer: torch.optim.Optimizer
    loss: Callable[[], torch.Tensor]
    step: Callable[[], None]


def main() -> int:
    """Measure; a mistake ends with one line that names it."""
    return run_command(run, BenchmarkArguments)


def run(args: BenchmarkArguments) -> None:
    """Measure the three ways and write the report."""
    device = pick_device(args.device)
    if args.threads:
        torch.set_num_threads(args.threads)
    facts = machine(device)
    variants = build_variants(args, device)
    times = interleave({name: one.step for name, one in variants.items()}, args.repeats, args.warmup, device)
    memory = {
        name: peak_step_bytes(one.step, device) + held_bytes(one.model, one.optimizer)
        for name, one in variants.items()
    }
    clock = "wall_s" if device.type == "cuda" else "cpu_s"
    report = {
        "machine": facts,
        "settings": settings_of(args, ("out", "device")),
        "parameters": sum(one.numel() for one in variants["pooled"].model.parameters()),
        "variants": {
            name: {
                "wall_s": median_spread(times[name].wall_s).as_json(),
                "cpu_s": median_spread(times[name].cpu_s).as_json(),
                "peak_bytes": memory[name],
            }
            for name in variants
        },
        "ratios": {
            f"{name}/{peer}": {
                "time": paired_ratio(getattr(times[name], clock), getattr(times[peer], clock)).as_json(),
                "wall_time": paired_ratio(times[name].wall_s, times[peer].wall_s).as_json(),
                "memory": memory[name] / memory[peer],
            }
            for name, peer in PAIRS
        },
    }
    write_report(args.out, report, as_markdown(report))


def build_variants(args: BenchmarkArguments, device: torch.device) -> dict[str, Variant]:
    """The three ways, each with its own model, on the same batch."""
    batch = {
        name: value.to(device) if isinstance(value, torch.Tensor) else value
        for name, value in make_batch(args).items()
    }
    made = {}
    for name, loss_of in (("two_parts", two_part_loss), ("pooled", pooled_loss), ("own_loss", own_loss)):
        trainer = make_trainer(make_model(args).to(device))
        made[name] = _variant(trainer, batch, loss_of)
    return made


def _variant(
    trainer: VideoQATrainer, batch: dict[str, Any], loss_of: Callable[[VideoQATrainer, dict[str, Any]], torch.Tensor]
) -> Variant:
    optimizer = torch.optim.AdamW(trainer.model.parameters(), lr=1e-4)

    def step() -> None:
        loss_of(trainer, batch).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return Variant(trainer.model, optimizer, lambda: loss_of(trainer, batch), step)


def two_part_loss(trainer: VideoQATrainer, batch: dict[str, Any]) -> torch.Tensor:
    """The loss as `train.py` computes it, with the counts of the step."""
    device = next(trainer.model.parameters()).device
    batches, _ = trainer.get_batch_samples(iter([batch]), 1, device)
    loss = trainer.compute_loss(trainer.model, batches[0])
    assert isinstance(loss, torch.Tensor)
    return loss


def pooled_loss(trainer: VideoQATrainer, batch: Mapping[str, Any]) -> torch.Tensor:
    """One cross-entropy over the labelled tokens."""
    logits = trainer.model(**trainer.model_inputs(batch)).logits
    targets = batch["labels"][:, batch["label_positions"] + 1]
    return torch.nn.functional.cross_entropy(
        logits.flatten(0, 1).float(), targets.flatten(), ignore_index=IGNORED_TOKEN
    )


def own_loss(trainer: VideoQATrainer, batch: Mapping[str, Any]) -> torch.Tensor:
    """The loss of the model itself."""
    given = {name: value for name, value in trainer.model_inputs(batch).items() if name != "logits_to_keep"}
    return trainer.model(**given, labels=batch["labels"]).loss


def make_trainer(model: Any) -> VideoQATrainer:
    """A trainer of a model, which is called step by step."""
    folder = tempfile.mkdtemp(prefix="videoqa_training_")  # which nothing is written into
    use_cpu = next(model.parameters()).device.type == "cpu"
    settings = VideoQAConfig(output_dir=folder, report_to="none", use_cpu=use_cpu, max_steps=1)
    trainer = VideoQATrainer(model=model.train(), args=settings, train_dataset=[], data_collator=list)
    return trainer


def make_model(args: BenchmarkArguments) -> LlavaOnevisionForConditionalGeneration:
    """A Video-LLM with random weights, the same at each call."""
    torch.manual_seed(0)
    tower = {
        "hidden_size": args.hidden_size,
        "intermediate_size": 4 * args.hidden_size,
        "num_hidden_layers": args.num_layers,
        "num_attention_heads": 4,
    }
    config = LlavaOnevisionConfig(
        text_config={
            "model_type": "qwen2",
            **tower,
            "num_key_value_heads": 4,
            "vocab_size": args.vocab_size,
            "max_position_embeddings": 2048,
        },
        vision_config={
            "model_type": "siglip_vision_model",
            **tower,
            "image_size": 16 * PATCHES_PER_SIDE,
            "patch_size": 16,
            "vision_use_head": False,
        },
        image_token_id=IMAGE_TOKEN,
        video_token_id=VIDEO_TOKEN,
        vision_feature_select_strategy="full",
        vision_feature_layer=-1,
    )
    return LlavaOnevisionForConditionalGeneration(config)


def make_batch(args: BenchmarkArguments) -> dict[str, Any]:
    """A batch of questions with an answer and a rationale each, as the collator of a run gives it."""
    generator = torch.Generator().manual_seed(1)
    side = 16 * PATCHES_PER_SIDE
    # half as many tokens along each side of a frame, and one behind the last frame
    video = torch.full((1, args.num_frames * (PATCHES_PER_SIDE // 2) ** 2 + 1), VIDEO_TOKEN)

    def conversation(part: str, pixels: torch.Tensor, length: int) -> EncodedConversation:
        words = torch.randint(FIRST_WORD, args.vocab_size, (1, args.prompt_tokens + length), generator=generator)
        ids = torch.cat([video, words], dim=1)
        labels = torch.where(torch.arange(ids.shape[1]) < ids.shape[1] - length, IGNORED_TOKEN, ids)
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "pixel_values_videos": pixels}
        return EncodedConversation(part, inputs, labels)

    examples = []
    for _ in range(args.questions):
        pixels = torch.randn(1, args.num_frames, 3, side, side, generator=generator)
        # of unequal lengths, as they are
        extra = int(torch.randint(0, 1 + args.rationale_tokens // 2, (1,), generator=generator))
        answer = conversation("answer", pixels, args.answer_tokens)
        examples.append(ClipExample([answer, conversation("rationale", pixels, args.rationale_tokens + extra)]))
    return ConversationCollator(FIRST_WORD, examples[0].conversations[0])(examples)


def as_markdown(report: dict[str, Any]) -> str:
    """The ratios as a page."""
    settings = report["settings"]
    rows = [
        [pair.replace("/", " / "), show_ratio(ratio["time"]), show_ratio(ratio["wall_time"]), f"{ratio['memory']:.3f}"]
        for pair, ratio in report["ratios"].items()
    ]
    steps = [
        [name, f"{measured['wall_s']['median'] * 1e3:.1f}", f"{measured['peak_bytes'] / MIB:.1f}"]
        for name, measured in report["variants"].items()
    ]
    clock = "clock time" if report["machine"]["device"] != "cpu" else "processor time of the process"
    return (
        f"# Two parts of a loss, and one\n\n{describe_machine(report['machine'])}\n\n"
        f"{settings['questions']} questions, each with an answer of {settings['answer_tokens']} tokens and a "
        f"rationale of {settings['rationale_tokens']} or up to half as many more, {settings['num_frames']} frames; a "
        f"model of {report['parameters'] / 1e6:.1f} million weights with a vocabulary of {settings['vocab_size']}. "
        f"Ratios of {clock}, and of wall time (95 % interval of the median, {settings['repeats']} rounds), and of "
        f"peak memory.\n\n"
        f"{markdown_rows(['ways', 'time', 'wall time', 'memory'], rows)}\n"
        f"{markdown_rows(['way', 'ms a step', 'MiB'], steps)}"
    )


if __name__ == "__main__":
    sys.exit(main())
