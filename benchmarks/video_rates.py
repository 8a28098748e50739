"""What a video costs: processor time to sample its frames, and bytes and time of the same frames kept as JPEG.

    python benchmarks/video_rates.py --videos my_videos --output docs/results/speed/video_rates.json

For `benchmarks/cost.py`. Two sets of files are measured: the videos as they are, and copies of them in the form of
Something-Something v2 (VP9 in WebM, 12 frames a second, 240 pixels high, cut to its mean length and bit rate), since
that is what a decoder has to deal with there. Rates are per second of processor time, all threads of this process
together, so that what else the machine does is not in them; a core gives one such second a second.
"""

from __future__ import annotations

import io
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from common import describe_machine, machine, markdown_rows, settings_of, write_report
from cost import SOMETHING_SOMETHING_V2
from PIL import Image
from transformers import HfArgumentParser

from vidreason.errors import VidreasonError
from vidreason.video import decode_frames, probe_video, uniform_indices

VIDEO_SUFFIXES = (".avi", ".mp4", ".mkv", ".mov", ".webm")
WEBM_HEIGHT_PX, WEBM_FPS = 240, 12


@dataclass
class VideoRateArguments:
    """What is measured."""

    videos: str = field(metadata={"help": "Folder of videos, searched to its depths."})
    output: str = field(default="outputs/benchmarks/video_rates.json", metadata={"help": "Report; a .md beside it."})
    frames_per_clip: int = field(default=16, metadata={"help": "Sampled uniformly from each video."})
    short_side_px: int = field(default=224, metadata={"help": "To which frames are scaled before they are kept."})
    jpeg_quality: int = field(default=90, metadata={"help": "Of the frames that are kept."})
    repeats: int = field(default=5, metadata={"help": "Passes over all videos; the fastest counts."})


def main() -> int:
    """Measure; a mistake ends with one line that names it."""
    (args,) = HfArgumentParser(VideoRateArguments).parse_args_into_dataclasses()
    paths = sorted(path for path in Path(args.videos).rglob("*") if path.suffix.lower() in VIDEO_SUFFIXES)
    if not paths:
        print(f"error: {args.videos} holds no videos ({', '.join(VIDEO_SUFFIXES)})", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as folder:
        copies = [copy for path in paths for copy in like_something_something(path, Path(folder))]
        sets = {"as they are": paths, "like Something-Something v2": copies}
        try:
            measured = [{"videos": name, **measure(files, args)} for name, files in sets.items()]
        except VidreasonError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
    report = {"machine": machine(), "settings": settings_of(args, ("videos", "output")), "measured": measured}
    write_report(args.output, report, describe(report))
    return 0


def like_something_something(path: Path, folder: Path) -> Iterator[Path]:
    """Cut a video into WebM files as that data set has them; the last piece that is too short is left away."""
    length = round(SOMETHING_SOMETHING_V2.mean_seconds * WEBM_FPS)
    bit_rate = SOMETHING_SOMETHING_V2.bytes * 8 / SOMETHING_SOMETHING_V2.videos / SOMETHING_SOMETHING_V2.mean_seconds
    facts = probe_video(path)
    width = 2 * round(WEBM_HEIGHT_PX * facts.width / facts.height / 2)
    frames = decode_frames(path, size=(WEBM_HEIGHT_PX, width))
    picked = np.arange(0, frames.timestamps_s[-1], 1 / WEBM_FPS)
    nearest = np.abs(np.asarray(frames.timestamps_s)[None] - picked[:, None]).argmin(axis=1)
    for piece in range(len(nearest) // length):
        target = folder / f"{path.stem}_{piece}.webm"
        write_webm(target, frames.frames[nearest[piece * length : (piece + 1) * length]], round(bit_rate))
        yield target


def write_webm(path: Path, frames: np.ndarray, bit_rate: int) -> None:
    """frames: (frames, height, width, 3), uint8. VP9, as the data set's files are coded."""
    with av.open(str(path.absolute()), "w") as container:
        stream = container.add_stream("libvpx-vp9", rate=Fraction(WEBM_FPS), options={"cpu-used": "5"})
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt, stream.bit_rate = "yuv420p", bit_rate
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def measure(paths: list[Path], args: VideoRateArguments) -> dict[str, Any]:
    """Rates over all videos of a set."""
    facts = [probe_video(path) for path in paths]
    indices = [uniform_indices(fact.num_frames, args.frames_per_clip) for fact in facts]
    sizes = [scaled_size(fact.height, fact.width, args.short_side_px) for fact in facts]
    jobs = list(zip(paths, indices, sizes, strict=True))
    clips = [decode_frames(path, wanted, size=size).frames for path, wanted, size in jobs]
    frames = [frame for clip in clips for frame in clip]
    kept = [to_jpeg(frame, args.jpeg_quality) for frame in frames]
    decode_s = fastest(lambda: [decode_frames(path, wanted, size=size) for path, wanted, size in jobs], args.repeats)
    encode_s = fastest(lambda: [to_jpeg(frame, args.jpeg_quality) for frame in frames], args.repeats)
    read_s = fastest(lambda: [np.asarray(Image.open(io.BytesIO(data))) for data in kept], args.repeats)
    return {
        "files": len(paths),
        "codecs": sorted({fact.codec for fact in facts}),
        "mean_frames": sum(fact.num_frames for fact in facts) / len(facts),
        "mean_bytes": sum(path.stat().st_size for path in paths) / len(paths),
        "decoded_clips_per_core_s": len(paths) / decode_s,
        "sampled_frames_per_core_s": len(frames) / decode_s,
        "jpeg_bytes_per_frame": sum(map(len, kept)) / len(kept),
        "jpeg_written_frames_per_core_s": len(frames) / encode_s,
        "jpeg_read_frames_per_core_s": len(frames) / read_s,
    }


def scaled_size(height: int, width: int, short_side_px: int) -> tuple[int, int]:
    """(height, width) of a frame whose shorter side is to be so long."""
    scale = short_side_px / min(height, width)
    return round(height * scale), round(width * scale)


def to_jpeg(frame: np.ndarray, quality: int) -> bytes:
    """frame: (height, width, 3), uint8."""
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def fastest(work: Callable[[], Any], repeats: int) -> float:
    """Seconds of processor time of the fastest of several passes."""
    seconds = []
    for _ in range(repeats):
        started = time.process_time()
        work()
        seconds.append(time.process_time() - started)
    return min(seconds)


def describe(report: dict[str, Any]) -> str:
    """The report for people."""
    settings = report["settings"]
    header = ["", *(f"{entry['videos']} ({entry['files']} files)" for entry in report["measured"])]
    shown = {
        "mean_frames": ("frames per file", "{:.0f}"),
        "mean_bytes": ("bytes per file", "{:,.0f}"),
        "decoded_clips_per_core_s": (f"clips of {settings['frames_per_clip']} frames decoded a core-second", "{:.1f}"),
        "sampled_frames_per_core_s": ("sampled frames a core-second", "{:.0f}"),
        "jpeg_bytes_per_frame": ("JPEG bytes per frame", "{:,.0f}"),
        "jpeg_written_frames_per_core_s": ("JPEG frames written a core-second", "{:.0f}"),
        "jpeg_read_frames_per_core_s": ("JPEG frames read a core-second", "{:.0f}"),
    }
    rows = [
        [label, *(form.format(entry[key]) for entry in report["measured"])] for key, (label, form) in shown.items()
    ]
    return (
        f"# What a video costs\n\n{describe_machine(report['machine'])}. Frames with a shorter side of "
        f"{settings['short_side_px']} pixels, JPEG quality {settings['jpeg_quality']}.\n\n"
        + markdown_rows(header, rows)
    )


if __name__ == "__main__":
    sys.exit(main())
