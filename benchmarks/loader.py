"""How fast clips reach the collator: from video files, from memory, and from packed clips by index and streamed.

    python benchmarks/loader.py --manifest data/world --guidance data/guidance --out outputs/benchmarks/loader.json

Packed clips of the data set are made first. Then each source gives the same number of clips through a `DataLoader`
with the training transform and the collator, for every number of workers, and the sources take turns:

- video_first: from video files, each looked at for the first time, as in the first epoch.
- video: from video files whose tables of frames are remembered. Worth it for as many files as are remembered.
- video_cached: from videos that were decoded once and are kept in memory.
- packed: from packed clips by index.
- packed_cached: the same, decoded once and kept in memory.
- stream: from packed clips one after another through a shuffle buffer.

Workers are started before the measurement and stay. Files are in the page cache of the system. What is kept in memory
bounds what any store can reach: there is nothing left but the transform and the collator.
"""

from __future__ import annotations

import io
import itertools
import logging
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from common import (
    describe_machine,
    interleave,
    machine,
    markdown_rows,
    paired_ratio,
    per_second,
    settings_of,
    show_ratio,
    write_report,
)
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from modeling_tsvit import TSViTVideoProcessor
from vidreason.clips.data import ClipSettings, GuidedClipCollator, GuidedClips
from vidreason.clips.packed import PackedClips, PackedStream
from vidreason.clips.packed_store import open_packed
from vidreason.clips.packing import PackRequest, PackSettings, pack_clips
from vidreason.clips.transforms import AugmentationConfig, training_transform
from vidreason.command_line import run_command
from vidreason.guidance import GuidanceIndex, load_guidance
from vidreason.manifests.manifest import load_manifest
from vidreason.video import jpeg
from vidreason.video.decode import forget_frame_tables

PEER = "video_first"
PLACES = ("manifest", "guidance", "out", "store")  # where things lie on this machine is no setting


@dataclass
class LoaderArguments:
    """Which clips, and how often."""

    manifest: str = field(metadata={"help": "Folder of the manifest of videos."})
    guidance: str | None = field(default=None, metadata={"help": "Guidance table of the split."})
    split: str = field(default="train", metadata={"help": "Split of the manifest."})
    out: str = field(
        default="outputs/benchmarks/loader.json", metadata={"help": "JSON to write; Markdown goes beside it."}
    )
    store: str = field(default="outputs/benchmarks/packed", metadata={"help": "Where the clips are packed."})
    num_frames: int = field(default=8, metadata={"help": "Frames that a model takes of a clip."})
    image_size: int = field(default=64, metadata={"help": "Side in pixels of the frames that a model takes."})
    tokens_per_side: int = field(default=8, metadata={"help": "Tokens along each side of a frame."})
    short_side_px: int = field(
        default=72, metadata={"help": "Shorter side in pixels of packed frames; the same for videos."}
    )
    frames_per_clip: int = field(default=24, metadata={"help": "Frames that are packed of each clip."})
    batch_size: int = field(default=16, metadata={"help": "Clips in a batch."})
    num_clips: int = field(default=128, metadata={"help": "Clips of a measurement."})
    workers: list[int] = field(default_factory=lambda: [0, 1, 2], metadata={"help": "Numbers of workers."})
    repeats: int = field(default=7, metadata={"help": "Rounds that count."})


class FirstLook(Dataset):
    """Clips whose videos are looked at as if for the first time."""

    def __init__(self, clips: GuidedClips):
        self.clips = clips

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> dict[str, Any]:
        forget_frame_tables()
        return self.clips[index]


def main(args: LoaderArguments) -> None:
    """Pack, measure and report."""
    torch.set_num_threads(1)
    logging.getLogger("vidreason").setLevel(logging.ERROR)
    settings = PackSettings(args.frames_per_clip, short_side_px=args.short_side_px)
    tables = {args.split: args.guidance} if args.guidance else {}
    packed = pack_clips(PackRequest(args.manifest, None, (args.split,), tables, settings=settings), args.store)
    sources = make_sources(args)
    results = {}
    for num_workers in args.workers:
        loaders = {name: endless(source(), args, num_workers) for name, source in sources.items()}
        num_batches = -(-args.num_clips // args.batch_size)
        variants = {name: take(loader, num_batches) for name, loader in loaders.items()}
        for name in list(variants):
            if name.endswith("_cached"):
                fill(variants[name], args, num_workers)
        times = interleave(variants, args.repeats, warmup=1)
        clips = num_batches * args.batch_size
        results[str(num_workers)] = {
            name: {
                "clips_per_s": per_second(clips, taken.wall_s),
                "speed_against_video_first": paired_ratio(times[PEER].wall_s, taken.wall_s).as_json(),
                "cpu_speed_against_video_first": (
                    None if num_workers else paired_ratio(times[PEER].cpu_s, taken.cpu_s).as_json()
                ),
            }
            for name, taken in times.items()
        }
        print(f"{num_workers} workers: done", file=sys.stderr)
    report = {
        "machine": machine(),
        "settings": {**settings_of(args, PLACES), "videos": load_manifest(args.manifest).source},
        "bytes_per_clip": bytes_per_clip(args, packed.jpeg_bytes[args.split] / packed.clips[args.split]),
        "decoder": "simplejpeg" if jpeg.simplejpeg is not None else "Pillow",
        "decoders_us_per_frame": jpeg_decoders(args),
        "workers": results,
    }
    write_report(args.out, report, table(report))


def make_sources(args: LoaderArguments) -> dict[str, Callable[[], Any]]:
    """Each source of clips, made anew for each number of workers."""
    manifest = load_manifest(args.manifest)
    index = GuidanceIndex(load_guidance(args.guidance)[args.split]) if args.guidance else None
    size = {"height": args.image_size, "width": args.image_size}
    processor = TSViTVideoProcessor(size=size, num_frames=args.num_frames)
    grid = (args.tokens_per_side, args.tokens_per_side)
    augmentation = AugmentationConfig(crop_scale_min=0.8, brightness=0.0, mirror_probability=0.5)
    transform = training_transform(processor, grid, augmentation)
    store = open_packed(args.store)
    # so that videos and packed clips come in one size, whatever the aspect ratio of the first video is
    first = manifest.split(args.split)[0]
    longer = round(args.short_side_px * max(first["height"], first["width"]) / min(first["height"], first["width"]))

    def videos(cache: bool = False) -> GuidedClips:
        settings = ClipSettings(args.num_frames, "jittered", longer, cache)
        return GuidedClips(manifest, args.split, transform, settings, index)

    def packed(kind: type, cache: bool = False, **options: Any):
        settings = ClipSettings(args.num_frames, "jittered", None, cache)
        return kind(store, args.split, transform, settings, store.guidance(args.split), **options)

    return {
        PEER: lambda: FirstLook(videos()),
        "video": videos,
        "video_cached": lambda: videos(cache=True),
        "packed": lambda: packed(PackedClips),
        "packed_cached": lambda: packed(PackedClips, cache=True),
        "stream": lambda: packed(PackedStream, shuffle_buffer=256, block_size=args.batch_size),
    }


def endless(clips: Any, args: LoaderArguments, num_workers: int) -> Iterator[dict[str, torch.Tensor]]:
    """Batches of one epoch after another, of the same clips in every round."""
    if not isinstance(clips, PackedStream):
        clips = torch.utils.data.Subset(clips, range(min(len(clips), args.num_clips)))
    loader = DataLoader(
        clips,
        args.batch_size,
        collate_fn=GuidedClipCollator(),
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
        multiprocessing_context="spawn" if num_workers else None,  # a fork would not survive Arrow's threads
    )
    return itertools.chain.from_iterable(itertools.repeat(loader))


def take(batches: Iterator[dict[str, torch.Tensor]], count: int) -> Callable[[], None]:
    """A measurement: so many batches."""

    def run() -> None:
        for _ in range(count):
            next(batches)

    return run


def fill(variant: Callable[[], None], args: LoaderArguments, num_workers: int) -> None:
    """Let every worker decode every clip once: which worker gets which clip changes from one epoch to the next."""
    for _ in range(1 + 2 * num_workers):
        variant()


def bytes_per_clip(args: LoaderArguments, packed: float) -> dict[str, float]:
    """What a clip takes on disk, as a video file and packed."""
    manifest = load_manifest(args.manifest)
    sizes = [manifest.video_path(row).stat().st_size for row in manifest.split(args.split)]
    return {"video": float(np.mean(sizes)), "packed": packed}


def jpeg_decoders(args: LoaderArguments) -> dict[str, float]:
    """Microseconds of processor time for a packed frame, by decoder; those that are installed."""
    rows = open_packed(args.store).load(args.split).with_format("arrow")
    encoded = rows[0]["frames"].chunk(0).flatten().field("bytes").to_pylist()
    decoders: dict[str, Callable[[bytes], Any]] = {
        "Pillow": lambda data: np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    }
    if jpeg.simplejpeg is not None:
        decoders["simplejpeg"] = jpeg.simplejpeg.decode_jpeg
    variants = {name: lambda decode=decode: [decode(data) for data in encoded] for name, decode in decoders.items()}
    times = interleave(variants, 15)
    return {name: float(np.median(taken.cpu_s)) / len(encoded) * 1e6 for name, taken in times.items()}


def table(report: dict[str, Any]) -> str:
    """The report as Markdown."""
    rows = [
        [
            name,
            workers,
            f"{rate['clips_per_s']['median']:.0f}",
            show_ratio(rate["speed_against_video_first"]),
            show_ratio(rate["cpu_speed_against_video_first"]) if rate["cpu_speed_against_video_first"] else "-",
        ]
        for workers, group in report["workers"].items()
        for name, rate in group.items()
    ]
    header = ["clips from", "workers", "clips/s", "x video_first", "the same, processor time"]
    sizes, decoders = report["bytes_per_clip"], report["decoders_us_per_frame"]
    times = ", ".join(f"{name} {microseconds:.0f} us" for name, microseconds in decoders.items())
    return (
        f"{describe_machine(report['machine'])}; JPEG by {report['decoder']} (a packed frame takes {times})\n\n"
        f"A clip takes {sizes['video'] / 1e3:.0f} kB as a video and {sizes['packed'] / 1e3:.0f} kB packed.\n\n"
        f"{markdown_rows(header, rows)}"
    )


if __name__ == "__main__":
    sys.exit(run_command(main, LoaderArguments))
