"""Short runs that should come out the same however many processes share them.

As a script, one process of such a run: it is started through `accelerate launch`, and leaves in a folder of each
scenario the log, what this process saw of each step, and the saved model. Imported, it is the one process to compare
with.
"""

import argparse
import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin
from torch.utils.data import Dataset, IterableDataset, Sampler, SequentialSampler, Subset
from transformers import PreTrainedModel, VideoMAEConfig, VideoMAEForVideoClassification

from modeling_tsvit import TSViTConfig, TSViTForActionSegmentation, TSViTForVideoClassification
from vidreason.backbones import supervised_view
from vidreason.clips.data import IGNORED_LABEL
from vidreason.guidance import MISSING
from vidreason.rs.config import RSConfig
from vidreason.rs.segmentation.trainer import SegmentationTrainer
from vidreason.rs.trainer import RSTrainer
from vidreason.segmentation.windows import window_starts

GLOBAL_BATCH = 8
EVALUATED = {"one clip": range(1), "no full batch": range(5), "an odd one left": range(14, 27), "even": range(12)}


class MadeUpClips(Dataset):
    """Four steps of eight clips. With two processes of four clips each, the second has in step

    0: fewer guided frames than the first; 1: none; 2: no clip that could be read; 3: none, and neither has the first.

    Args:
        equal_length: for models that cannot leave out padded frames.
    """

    def __init__(self, equal_length: bool = False):
        self.equal_length = equal_length
        generator = torch.Generator().manual_seed(0)
        self.clips = [self._clip(number, generator) for number in range(32)]

    def _clip(self, number: int, generator: torch.Generator) -> dict:
        step, place = divmod(number, GLOBAL_BATCH)
        unreadable = step == 2 and place >= 4
        frames = 4 if self.equal_length else 1 if unreadable else 3 if number % 5 == 0 else 4
        guided = {0: place not in (1, 4, 6), 1: place < 4, 2: place % 2 == 0 and not unreadable, 3: False}[step]
        ok = torch.tensor([guided and (number + frame) % 3 > 0 for frame in range(frames)])
        weights = torch.rand(frames, 16, generator=generator)
        return {
            "pixel_values": torch.randn(frames, 3, 16, 16, generator=generator) * (not unreadable),
            "labels": IGNORED_LABEL if unreadable else number % 3,
            "guidance": weights / weights.sum(dim=-1, keepdim=True) * ok[:, None],
            "guidance_status": ["ok" if valid else MISSING for valid in ok],
            "view_draw": torch.rand((), generator=generator).item(),
        }

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> dict:
        return self.clips[index]


class DrawnClips(MadeUpClips):
    """The clips with noise that is drawn anew in every epoch, as training clips are."""

    def __init__(self):
        super().__init__()
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __getitem__(self, index: int) -> dict:
        clip = super().__getitem__(index)
        noise = torch.randn(3, 16, 16, generator=torch.Generator().manual_seed(1000 * self.epoch + index))
        return {**clip, "pixel_values": clip["pixel_values"] + noise}


class MadeUpWindows(Dataset):
    """Windows of four frames of two videos, of 33 and 12 frames, whose labels and guidance are drawn; 21 windows."""

    def __init__(self):
        generator = torch.Generator().manual_seed(1)
        self.labels, self.settings = SimpleNamespace(background_ids=[0]), SimpleNamespace(num_frames=4)
        self.videos, self.content, self.windows = [], [], []
        for video, length in enumerate((33, 12)):
            self.videos.append(SimpleNamespace(video_id=str(video), times_s=list(range(length))))
            drawn = torch.randint(0, 3, (length // 3 + 1,), generator=generator).repeat_interleave(3)[:length]
            drawn[5:7] = IGNORED_LABEL
            weights = torch.rand(length, 16, generator=generator)
            pixels = torch.randn(length, 3, 16, 16, generator=generator)
            self.content.append((pixels, drawn, weights / weights.sum(dim=-1, keepdim=True)))
            self.windows += [(video, start) for start in window_starts(length, 4, 2)]

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, index: int) -> dict:
        video, start = self.windows[index]
        pixels, labels, guidance = (part[start : start + 4] for part in self.content[video])
        statuses = ["ok" if index % 3 and frame != 2 else MISSING for frame in range(len(labels))]
        ok = torch.tensor([status == "ok" for status in statuses])
        return {
            "pixel_values": pixels,
            "labels": labels.tolist(),
            "guidance": guidance * ok[:, None],
            "guidance_status": statuses,
            "video": video,
            "start": start,
        }


class CroppedClips(Dataset):
    """Some of the clips, which a second look shows brighter, the more so the larger its part of the frame."""

    split, token_grid, whole_frame = "made up", (4, 4), True

    def __init__(self, numbers: range):
        self.clips, self.numbers = MadeUpClips(), numbers

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: int) -> dict:
        return self.read_clip(index)

    def read_clip(self, index: int, rectangle: tuple[float, float, float, float] | None = None) -> dict:
        clip = self.clips[self.numbers[index]]
        x0, y0, x1, y1 = rectangle or (0.0, 0.0, 0.0, 0.0)
        return {**clip, "pixel_values": clip["pixel_values"] + (x1 - x0) * (y1 - y0)}


class ClipStream(IterableDataset):
    """Some of the clips, one after another, as `PackedStream` gives them."""

    def __init__(self, numbers: range):
        self.clips, self.numbers = MadeUpClips(), numbers

    def __len__(self) -> int:
        return len(self.numbers)

    def __iter__(self):
        return (self.clips[number] for number in self.numbers)


class OrderedTrainer(RSTrainer):
    """Takes the clips in their order, and notes what this process is given of each step."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.seen: list[dict[str, int]] = []

    def _get_train_sampler(self, *args) -> SequentialSampler:
        return SequentialSampler(self.train_dataset)

    def get_batch_samples(self, *args, **kwargs):
        batches, count = super().get_batch_samples(*args, **kwargs)
        guided = sum(int(batch["guidance_mask"].sum()) for batch in batches)
        readable = sum(int((batch["labels"] != IGNORED_LABEL).sum()) for batch in batches)
        self.seen.append({"guided_frames": guided, "readable_clips": readable})
        return batches, count


class ShuffledTrainer(OrderedTrainer):
    """Takes the clips in a random order."""

    def _get_train_sampler(self, *args) -> Sampler | None:
        return RSTrainer._get_train_sampler(self, *args)


def make_model(**changes) -> TSViTForVideoClassification:
    settings = {
        "image_size": 16,
        "num_frames": 4,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_attention_heads": 2,
        "num_spatial_layers": 2,
        "num_temporal_layers": 1,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "drop_path_rate": 0.0,
        "initializer_range": 0.2,  # large, so that no part of the loss starts out as rounding error
        "num_labels": 3,
    }
    torch.manual_seed(0)
    return TSViTForVideoClassification(TSViTConfig(**{**settings, **changes}))


def make_videomae() -> PreTrainedModel:
    """A model of transformers that is watched by hooks."""
    config = VideoMAEConfig(
        image_size=16,
        patch_size=4,
        num_frames=4,
        hidden_size=32,
        intermediate_size=64,
        num_attention_heads=2,
        num_hidden_layers=2,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        initializer_range=0.2,
        num_labels=3,
    )
    torch.manual_seed(0)
    return supervised_view(VideoMAEForVideoClassification(config), "all")


def make_trainer(
    folder: Path, fsdp: bool, model: PreTrainedModel | None = None, block: str | None = None, **changes
) -> OrderedTrainer:
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    steps = changes.get("gradient_accumulation_steps", 1)
    settings = {
        "output_dir": str(folder),
        "per_device_train_batch_size": GLOBAL_BATCH // world_size // steps,
        "per_device_eval_batch_size": 3,
        "num_train_epochs": 1,
        "optim": "sgd",
        "learning_rate": 0.02,
        "max_grad_norm": 0.0,  # clipping would hide a gradient of the wrong length
        "spatial_weight": 2.0,
        "temporal_weight": 0.5,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "use_cpu": True,
        "disable_tqdm": True,
    }
    args = RSConfig(**{**settings, **changes})
    if fsdp:
        shard_on_cpus(args, block)
    clips = MadeUpClips(equal_length=model is not None and model.config.model_type != "tsvit")
    return OrderedTrainer(model=make_model() if model is None else model, args=args, train_dataset=clips)


def shard_on_cpus(args: RSConfig, block: str | None = None) -> None:
    """Make accelerate shard models (FSDP2) though the devices are CPUs, which it does not offer but can do.

    What follows is its own code, with the settings that `accelerate launch` read from the config file.
    """
    precision = "bf16" if args.bf16 else "no"
    state = Accelerator(cpu=True, mixed_precision=precision).state
    state.fsdp_plugin = FullyShardedDataParallelPlugin()
    if block is not None:
        state.fsdp_plugin.transformer_cls_names_to_wrap = [block]
    if args.bf16:
        state.fsdp_plugin.set_mixed_precision(precision)
    state.distributed_type = DistributedType.FSDP
    PartialState._shared_state["distributed_type"] = DistributedType.FSDP


def finish(trainer: OrderedTrainer, folder: Path, **more) -> None:
    """Save the model and what is to be compared."""
    trainer.save_model()
    folder.mkdir(parents=True, exist_ok=True)
    rank = trainer.args.process_index
    (folder / f"seen_{rank}.json").write_text(json.dumps(trainer.seen))
    if trainer.is_world_process_zero():
        sharded = type(trainer.accelerator.unwrap_model(trainer.model)).__name__.startswith("FSDP")
        record = {"log": trainer.state.log_history, "processes": trainer.args.world_size, "sharded": sharded, **more}
        (folder / "record.json").write_text(json.dumps(record))
    trainer.accelerator.wait_for_everyone()


def steps(folder: Path, fsdp: bool, **changes) -> None:
    trainer = make_trainer(folder, fsdp, **changes)
    trainer.train()
    finish(trainer, folder)


def videomae(folder: Path, fsdp: bool) -> None:
    steps(folder, fsdp, model=make_videomae(), block="VideoMAELayer")


def evidence_views(folder: Path, fsdp: bool) -> None:
    steps(folder, fsdp, evidence_drop=0.5, evidence_blank=0.3)


def accumulation(folder: Path, fsdp: bool) -> None:
    steps(folder, fsdp, gradient_accumulation_steps=2)


def bf16(folder: Path, fsdp: bool) -> None:
    steps(folder, fsdp, bf16=True)


def resumed(folder: Path, fsdp: bool) -> None:
    """Two epochs with dropout and AdamW, and half of the last once more from a checkpoint: both are saved.

    In a random order, and with clips that are drawn anew in every epoch: of the epoch that is resumed, every process
    has to know both.
    """
    settings = {"optim": "adamw_torch", "learning_rate": 1e-3, "num_train_epochs": 2}
    settings |= {"save_strategy": "steps", "save_steps": 2}
    checkpoint = folder / "whole" / "checkpoint-6"  # of 4 steps an epoch
    for name, resume in (("whole", None), ("again", str(checkpoint))):
        model = make_model(hidden_dropout_prob=0.2, drop_path_rate=0.2)
        made = make_trainer(folder / name, fsdp, model, **settings)
        trainer = ShuffledTrainer(model=model, args=made.args, train_dataset=DrawnClips())
        trainer.train(resume_from_checkpoint=resume)
        finish(trainer, folder / name, epoch=trainer.train_dataset.epoch)


def sharded_checkpoint(folder: Path, fsdp: bool) -> None:
    os.environ["FSDP_STATE_DICT_TYPE"] = "SHARDED_STATE_DICT"
    resumed(folder, fsdp)


class OrderedSegmentationTrainer(SegmentationTrainer):
    """Takes the windows in their order."""

    def _get_train_sampler(self, *args) -> SequentialSampler:
        return SequentialSampler(self.train_dataset)


def segmentation(folder: Path, fsdp: bool) -> None:
    """Two steps over windows with every part of the loss, and the scores of whole videos."""
    windows = MadeUpWindows()
    settings = {"smoothing_weight": 0.5, "focal_gamma": 1.0, "max_steps": 2, "per_device_eval_batch_size": 3}
    template = make_trainer(folder, fsdp, **settings).args
    trainer = OrderedSegmentationTrainer(
        model=TSViTForActionSegmentation(make_model().config),
        args=template,
        train_dataset=windows,
        class_weights=[0.5, 1.0, 2.0],
    )
    trainer.model.load_state_dict(make_model().state_dict())
    trainer.train()
    found = trainer.evaluate(windows)
    timing = ("runtime", "per_second", "time", "epoch")
    metrics = {key: value for key, value in found.items() if not any(word in key for word in timing)}
    trainer.seen = []
    finish(trainer, folder, metrics=metrics)


def evaluation(folder: Path, fsdp: bool) -> None:
    """Metrics of splits that do not divide into batches and processes."""
    # without a word about it, accelerate would read a stream in one process and send the clips around
    trainer = make_trainer(folder, fsdp, accelerator_config={"dispatch_batches": False})
    clips, metrics = MadeUpClips(), {}
    if fsdp:
        trainer.train()  # a model is sharded when training starts
    for name, numbers in EVALUATED.items():
        for kind, split in (("", Subset(clips, numbers)), (", streamed", ClipStream(numbers))):
            found = trainer.evaluate(split)
            timing = ("runtime", "per_second", "time", "epoch")
            found = {key: value for key, value in found.items() if not any(word in key for word in timing)}
            metrics[f"{name}{kind}"] = found
    finish(trainer, folder, metrics=metrics)


def second_look(folder: Path, fsdp: bool) -> None:
    """Metrics of splits whose clips are read twice."""
    trainer, metrics = make_trainer(folder, fsdp, second_look=True), {}
    for name, numbers in EVALUATED.items():
        found = trainer.evaluate(CroppedClips(numbers))
        metrics[name] = {key: found[key] for key in found if "top" in key or "loss" in key or "clips" in key}
    finish(trainer, folder, metrics=metrics)


SCENARIOS = {
    function.__name__: function
    for function in (
        steps,
        videomae,
        evidence_views,
        accumulation,
        bf16,
        resumed,
        sharded_checkpoint,
        segmentation,
        evaluation,
        second_look,
    )
}


def run(folder: Path, scenarios: list[str], fsdp: bool = False) -> None:
    for name in scenarios:
        SCENARIOS[name](folder / name, fsdp)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--scenarios", nargs="+", choices=list(SCENARIOS))
    parser.add_argument("--fsdp", action="store_true")
    given = parser.parse_args()
    run(given.folder, given.scenarios, given.fsdp)
    sys.exit(0)
