"""How fast the actions of long videos are labelled, decoding included, and that memory does not grow with the video.

    python benchmarks/segmentation.py --out docs/results/speed/segmentation.json
    python benchmarks/segmentation.py --model outputs/assembly/rs --out outputs/benchmarks/segmentation.json

A minute of the synthetic assembly world at 30 frames per second is repeated, without encoding it anew, to files of
each length. In turns the shortest is labelled in three ways, on the same model:

- overlapped: as `VideoLabeller` does it, frames being decoded in a thread while the model works.
- in_turn: one process that decodes a chunk of frames and then labels it.
- windows: the usual way, every overlapping window through the whole model, so that frames are encoded once for each
  window that they are in. Decoding is overlapped there too.

Memory is the largest resident size of a process of its own for each length, which labels the file and does no more.
"""

from __future__ import annotations

import itertools
import json
import multiprocessing
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import torch
from common import (
    MIB,
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

from modeling_tsvit import TSViTConfig, TSViTForActionSegmentation, TSViTVideoProcessor
from vidreason.command_line import run_command
from vidreason.errors import ConfigError
from vidreason.segmentation.labelling import VideoLabeller, chunked, in_thread, load_labeller
from vidreason.synthetic.assembly import ASSEMBLY_ACTIONS, AssemblyConfig, render_assembly
from vidreason.video import write_video
from vidreason.video.decode import open_video

SOURCE_FPS, SOURCE_S = 30, 60
MODEL = {  # that of recipes/study/assembly_tsvit.yaml
    "image_size": 64,
    "num_frames": 48,
    "hidden_size": 96,
    "intermediate_size": 192,
    "num_attention_heads": 4,
    "num_spatial_layers": 2,
    "num_temporal_layers": 2,
    "patch_embedding": "conv_stem",
    "num_stem_blocks": 3,
}


@dataclass
class SegmentationArguments:
    """Which model, and how long the videos are."""

    out: str = field(
        default="outputs/benchmarks/segmentation.json", metadata={"help": "JSON to write; Markdown goes beside it."}
    )
    model: str | None = field(
        default=None, metadata={"help": "Folder or Hub id; random weights of the study's size by default."}
    )
    fps: float = field(default=10.0, metadata={"help": "Frames per second that are labelled, of a model without one."})
    minutes: list[int] = field(default_factory=lambda: [1, 60], metadata={"help": "Lengths for memory, ascending."})
    width: int = field(default=320, metadata={"help": "Of the video, in pixels."})
    height: int = field(default=240, metadata={"help": "Of the video, in pixels."})
    threads: int = field(default=1, metadata={"help": "Of the model; decoding has one of its own."})
    repeats: int = field(default=9, metadata={"help": "Rounds that count."})


def main(args: SegmentationArguments) -> None:
    """Measure and report.

    Raises:
        ConfigError: The lengths are not ascending.
    """
    if not args.minutes or sorted(set(args.minutes)) != args.minutes or args.minutes[0] < 1:
        raise ConfigError(f"--minutes is {args.minutes}, expected different lengths from 1, ascending")
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as folder:
        files = make_files(Path(folder), args)
        speed = measure_speed(files[args.minutes[0]], args)
        memory = {minutes: measure_memory(file, args) for minutes, file in files.items()}
    report = {
        "machine": machine() | {"pyav": av.__version__},
        "settings": settings_of(args),
        "speed": speed,
        "memory": memory,
    }
    write_report(args.out, json.loads(json.dumps(report)), table(report, args))


def make_files(folder: Path, args: SegmentationArguments) -> dict[int, Path]:
    """Minutes -> a video of that length, of one rendered minute."""
    config = AssemblyConfig(
        width=args.width, height=args.height, fps=SOURCE_FPS, min_duration_s=SOURCE_S, max_duration_s=2 * SOURCE_S
    )
    frames = (frame.picture for frame in render_assembly(0, "train", config))
    source = write_video(folder / "source.mp4", itertools.islice(frames, SOURCE_FPS * SOURCE_S), SOURCE_FPS)
    return {minutes: repeat_video(source, folder / f"{minutes}.mp4", minutes) for minutes in args.minutes}


def repeat_video(source: Path, target: Path, times: int) -> Path:
    """The packets of a video, one time after the other, as one video."""
    with av.open(str(target.absolute()), "w") as output:
        stream, offset = None, 0
        for _ in range(times):
            with open_video(source) as video:
                stream = stream or output.add_stream_from_template(video.stream)
                packets = [packet for packet in video.container.demux(video.stream) if packet.dts is not None]
                first = min(packet.pts for packet in packets)
                for packet in packets:
                    packet.pts, packet.dts = packet.pts - first + offset, packet.dts - first + offset
                    packet.stream = stream
                offset = max(packet.pts + packet.duration for packet in packets)
                for packet in packets:
                    output.mux(packet)
    return target


def make_labeller(args: SegmentationArguments) -> VideoLabeller:
    """The labeller that is measured."""
    if args.model:
        return load_labeller(args.model)
    torch.manual_seed(0)
    model = TSViTForActionSegmentation(TSViTConfig(**MODEL, num_labels=len(ASSEMBLY_ACTIONS)))
    size = {"height": MODEL["image_size"], "width": MODEL["image_size"]}
    processor = TSViTVideoProcessor(size=size, num_frames=MODEL["num_frames"])
    return VideoLabeller(model, processor, fps=args.fps, max_side_px=128)


class WholeWindows(VideoLabeller):
    """Sends every window through the whole model, as a user of `forward` alone would. The scores are not kept."""

    def label(self, frames, overlapped=True):
        """Take the frames of a video in, and give no labels: only the time is wanted."""
        held, start, done = [], 0, 0
        for chunk in in_thread(chunked(frames, self.chunk_frames)):
            held += chunk
            while start + self.window <= done + len(held):
                self._forward(held[start - done : start - done + self.window])
                start += self.stride
            held, done = held[start - done :], start
            yield from ()

    @torch.inference_mode()
    def _forward(self, frames) -> torch.Tensor:
        pixels = torch.stack([torch.from_numpy(frame.frame) for frame in frames]).permute(0, 3, 1, 2)
        inputs = self.processor(pixels, do_sample_frames=False, return_tensors="pt")
        return self.model(inputs["pixel_values"]).logits


def measure_speed(file: Path, args: SegmentationArguments) -> dict[str, Any]:
    """Frames per second and multiples of real time of the variants, and their ratios."""
    labeller = make_labeller(args)
    plain = WholeWindows(labeller.model, labeller.processor, labeller.fps, max_side_px=labeller.max_side_px)

    def consume(one: VideoLabeller, overlapped: bool) -> None:
        for _ in one.label(one.open(file), overlapped):
            pass

    variants = {
        "overlapped": lambda: consume(labeller, True),
        "in_turn": lambda: consume(labeller, False),
        "windows": lambda: consume(plain, True),
    }
    stream = labeller.open(file)
    times = interleave(variants, args.repeats, warmup=1)
    source_frames = round(stream.duration_s * SOURCE_FPS)
    return {
        "video_s": stream.duration_s,
        "labelled_frames": len(stream),
        "source_frames": source_frames,
        "variants": {
            name: {
                "labelled_frames_per_s": per_second(len(stream), of.wall_s),
                "times_real_time": per_second(stream.duration_s, of.wall_s),
            }
            for name, of in times.items()
        },
        "speed_of_overlapped_against": {
            name: paired_ratio(of.wall_s, times["overlapped"].wall_s).as_json()
            for name, of in times.items()
            if name != "overlapped"
        },
    }


def measure_memory(file: Path, args: SegmentationArguments) -> dict[str, Any]:
    """Largest resident size of a process that labels one file, and how long that took."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(label_alone, file, args).result()


def label_alone(file: Path, args: SegmentationArguments) -> dict[str, Any]:
    """Label a file in this process, which has done nothing else."""
    torch.set_num_threads(args.threads)
    labeller = make_labeller(args)
    before = status_bytes("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # what importing has taken for a moment is no part of the peak
    started = time.perf_counter()
    segments = labeller(file)
    wall_s = time.perf_counter() - started
    return {
        "peak_mib": round(status_bytes("VmHWM") / MIB, 1),
        "before_mib": round(before / MIB, 1),
        "wall_s": round(wall_s, 1),
        "times_real_time": round(segments[-1].end_s / wall_s, 1),
        "video_s": round(segments[-1].end_s, 2),
        "segments": len(segments),
    }


def status_bytes(name: str) -> int:
    """A size of this process as Linux counts it: VmRSS (resident now) or VmHWM (most so far).

    Not `resource.getrusage`, whose maximum a new process takes over from the one that started it.
    """
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise ConfigError(f"/proc/self/status has no {name}: memory is measured on Linux alone")


def table(report: dict[str, Any], args: SegmentationArguments) -> str:
    """The report as Markdown."""
    speed, memory = report["speed"], report["memory"]
    rows = []
    for name, variant in speed["variants"].items():
        ratio = speed["speed_of_overlapped_against"].get(name)
        rates = [f"{variant[key]['median']:.0f}" for key in ("labelled_frames_per_s", "times_real_time")]
        rows.append([name, *rates, "1" if ratio is None else show_ratio(ratio)])
    header = ["way", "labelled frames/s", "x real time", "overlapped is faster by"]
    text = f"{describe_machine(report['machine'])}; PyAV {report['machine']['pyav']}\n\n"
    text += (
        f"Video of {args.width}x{args.height} at {SOURCE_FPS} frames per second.\n\n{markdown_rows(header, rows)}\n"
    )
    lengths = [
        [f"{minutes} min", *(f"{of[key]:g}" for key in ("peak_mib", "before_mib", "wall_s", "times_real_time"))]
        for minutes, of in memory.items()
    ]
    return text + markdown_rows(["video", "peak MiB", "before MiB", "seconds", "x real time"], lengths)


if __name__ == "__main__":
    sys.exit(run_command(main, SegmentationArguments))
