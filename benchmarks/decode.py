"""How fast sampled frames come out of video files: PyAV as this project uses it, against torchcodec and whole files.

    python benchmarks/decode.py --videos "ucf101=UCF-101/*/*.avi" "world=data/world/videos/test/*/*.mp4" \
        --out outputs/benchmarks/decode.json

From every file the middle frames of equal segments are read as RGB, one file after the other in one process, each
decoder on one thread, as a data loader's worker does it. The variants take turns:

- first: `decode_frames`, to which the file is new. It looks at all packets to know which frame is which.
- again: `decode_frames` of a file that it has seen before.
- scaled: as "again", with frames scaled down to a longer side while they are converted.
- whole: every frame is decoded and the sampled ones are taken.
- torchcodec: a new `VideoDecoder` with exact seeking, which looks at all packets too.
- torchcodec_approximate: with approximate seeking, which trusts the header instead.

Ratios of processor time are given beside those by the clock: on a busy machine they are the steadier ones.
"""

from __future__ import annotations

import glob
import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from common import (
    NOT_RUN,
    Times,
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

from vidreason.command_line import run_command
from vidreason.errors import ConfigError
from vidreason.video import decode_frames, probe_video, uniform_indices
from vidreason.video.decode import forget_frame_tables

PEER = "torchcodec"


@dataclass
class DecodeArguments:
    """Which files, and how often."""

    videos: list[str] = field(metadata={"help": "name=pattern pairs: each group of files is measured on its own."})
    out: str = field(
        default="outputs/benchmarks/decode.json", metadata={"help": "JSON to write; Markdown goes beside it."}
    )
    num_frames: int = field(default=8, metadata={"help": "Frames that are sampled from each file."})
    scaled_side_px: int = field(default=112, metadata={"help": "Longer side of the scaled variant."})
    max_files: int = field(default=16, metadata={"help": "Files of a group, the first in order of their names."})
    repeats: int = field(default=15, metadata={"help": "Rounds that count."})


def main(args: DecodeArguments) -> None:
    """Measure and report.

    Raises:
        ConfigError: A group has no files.
    """
    torch.set_num_threads(1)
    logging.getLogger("vidreason").setLevel(logging.ERROR)  # files whose times are counted say so every time
    decoder, reason = torchcodec_decoder()
    groups = {}
    for pair in args.videos:
        name, _, pattern = pair.partition("=")
        files = sorted(glob.glob(pattern, recursive=True))[: args.max_files]
        if not files:
            raise ConfigError(f"--videos {pair}: no files")
        groups[name] = measure(files, args, decoder)
        print(f"{name}: done", file=sys.stderr)
    facts = machine() | {"pyav": av.__version__, "torchcodec": reason}
    report = {"machine": facts, "settings": settings_of(args, ("videos", "out")), "groups": groups}
    write_report(args.out, report, table(report))


def torchcodec_decoder() -> tuple[type | None, str]:
    """Torchcodec's decoder and its versions, or None and why it cannot be run."""
    try:
        import torchcodec
        from torchcodec.decoders import VideoDecoder
    except (ImportError, OSError, RuntimeError) as error:
        return None, f"{NOT_RUN}: {str(error).splitlines()[0]}"
    return VideoDecoder, torchcodec.__version__


def measure(files: list[str], args: DecodeArguments, decoder: type | None) -> dict[str, Any]:
    """Frames per second and ratios of one group of files."""
    infos = [probe_video(file) for file in files]
    indices = {
        file: uniform_indices(info.num_frames, args.num_frames) for file, info in zip(files, infos, strict=True)
    }
    variants = make_variants(indices, args.scaled_side_px, decoder)
    times = interleave(variants, args.repeats, warmup=1)
    num_frames = len(files) * args.num_frames
    result: dict[str, Any] = {
        "files": len(files),
        "frames_per_file": float(np.median([info.num_frames for info in infos])),
        "sizes": sorted({f"{info.width}x{info.height}" for info in infos}),
        "variants": {name: rates(taken, num_frames) for name, taken in times.items()},
        "speed_against_torchcodec": {},
        "speed_against_whole": {},
    }
    for peer, key in ((PEER, "speed_against_torchcodec"), ("whole", "speed_against_whole")):
        for name in times:
            if peer in times and name != peer:
                result[key][name] = speed(times[name], times[peer])
    if decoder is not None:
        result["difference_from_torchcodec"] = difference(indices, decoder)
    return result


def make_variants(
    indices: dict[str, list[int]], scaled_side_px: int, decoder: type | None
) -> dict[str, Callable[[], None]]:
    """Each way to read the frames of all files."""

    def first() -> None:
        for file, wanted in indices.items():
            forget_frame_tables()
            decode_frames(file, wanted)

    def again() -> None:
        for file, wanted in indices.items():
            decode_frames(file, wanted)

    def scaled() -> None:
        for file, wanted in indices.items():
            decode_frames(file, wanted, max_side_px=scaled_side_px)

    def whole() -> None:
        for file, wanted in indices.items():
            decode_frames(file).frames[wanted].sum()

    variants = {"first": first, "again": again, "scaled": scaled, "whole": whole}
    if decoder is not None:
        variants[PEER] = lambda: [read_with_torchcodec(decoder, *item) for item in indices.items()]
        variants["torchcodec_approximate"] = lambda: [
            read_with_torchcodec(decoder, *item, seek_mode="approximate") for item in indices.items()
        ]
    return variants


def read_with_torchcodec(decoder: type, file: str, wanted: list[int], seek_mode: str = "exact") -> torch.Tensor:
    """(frames, height, width, 3), uint8."""
    video = decoder(file, seek_mode=seek_mode, num_ffmpeg_threads=1, dimension_order="NHWC")
    return video.get_frames_at(wanted).data


def difference(indices: dict[str, list[int]], decoder: type) -> dict[str, Any]:
    """Whether the decoders speak of the same frames: the mean difference of their pixels, in steps of 255."""
    differences = {}
    for file, wanted in indices.items():
        try:
            theirs = read_with_torchcodec(decoder, file, wanted).numpy().astype(int)
        except (RuntimeError, IndexError) as error:
            differences[Path(file).name] = f"torchcodec: {str(error).splitlines()[0]}"
            continue
        ours = decode_frames(file, wanted).frames
        differences[Path(file).name] = (
            round(float(np.abs(ours - theirs).mean()), 3) if ours.shape == theirs.shape else "other size"
        )
    return differences


def rates(times: Times, num_frames: int) -> dict[str, Any]:
    """Sampled frames per second."""
    return {
        "frames_per_s": per_second(num_frames, times.wall_s),
        "frames_per_cpu_s": per_second(num_frames, times.cpu_s),
    }


def speed(times: Times, peer: Times) -> dict[str, Any]:
    """How many times as fast as a peer, round by round."""
    return {
        "wall": paired_ratio(peer.wall_s, times.wall_s).as_json(),
        "cpu": paired_ratio(peer.cpu_s, times.cpu_s).as_json(),
    }


def table(report: dict[str, Any]) -> str:
    """The report as Markdown."""
    rows = []
    for name, group in report["groups"].items():
        for variant, rate in group["variants"].items():
            codec = group["speed_against_torchcodec"].get(variant)
            whole = group["speed_against_whole"].get(variant)
            rows.append(
                [
                    f"{name} ({', '.join(group['sizes'])}; {group['frames_per_file']:.0f} frames)",
                    variant,
                    f"{rate['frames_per_s']['median']:.0f}",
                    *(show_ratio(codec and codec[clock]) if variant != PEER else "1" for clock in ("wall", "cpu")),
                    show_ratio(whole and whole["wall"]) if variant != "whole" else "1",
                ]
            )
    header = ["files", "variant", "frames/s", "x torchcodec", "the same, processor time", "x whole file"]
    about = f"{describe_machine(report['machine'])}; PyAV {report['machine']['pyav']}, torchcodec "
    return f"{about}{report['machine']['torchcodec']}\n\n{markdown_rows(header, rows)}"


if __name__ == "__main__":
    sys.exit(run_command(main, DecodeArguments))
