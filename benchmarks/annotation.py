"""How fast guidance is made by asking a model, what it holds in memory, and how long a finished run takes to resume.

    python benchmarks/annotation.py --output_dir outputs/benchmarks/annotation

A local server stands in for the model: it answers each request after 200 ms with one constant text, from a process of
its own. What is measured is therefore this side alone: videos are decoded, frames encoded as JPEG, requests sent and
answers stored, all on the cores that the machine has, the server's included. With 32 requests in flight, 160 answers a
second is the most that is possible. Every figure is a ratio to that or to another run of the same call.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import platform
import resource
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from transformers import HfArgumentParser

from vidreason.annotation.grid.run import LLMArguments
from vidreason.annotation.job import AnnotationArguments, AnnotationJob
from vidreason.manifests.manifest import manifest_row, write_manifest
from vidreason.video import probe_video, write_video

ANSWER = '{"key_r": [[1, 1], [1, 2], [2, 1], [2, 2]]}'
FPS = 25.0


@dataclass
class AnnotationBenchmarkArguments:
    """Sizes of the runs."""

    output_dir: str = field(default="outputs/benchmarks/annotation", metadata={"help": "Where to work and report."})
    num_frames: list[int] = field(
        default_factory=lambda: [1000, 5000, 10000], metadata={"help": "Frames of the runs, the smallest first."}
    )
    frames_per_video: int = field(default=100, metadata={"help": "Frames of the videos that are made."})
    height: int = field(default=240, metadata={"help": "Height of the frames in pixels."})
    width: int = field(default=320, metadata={"help": "Width of the frames in pixels."})
    latency_s: float = field(default=0.2, metadata={"help": "Seconds until the server answers."})
    max_in_flight: int = field(default=32, metadata={"help": "Requests at the same time."})


def main() -> None:
    """Make the videos, time the runs and write the report."""
    (args,) = HfArgumentParser(AnnotationBenchmarkArguments).parse_args_into_dataclasses()
    folder = Path(args.output_dir)
    shutil.rmtree(folder, ignore_errors=True)
    ideal = args.max_in_flight / args.latency_s
    runs = []
    with local_server(args.latency_s) as url:
        for num_frames in args.num_frames:
            manifest = make_videos(folder / f"videos_{num_frames}", num_frames, args)
            out = folder / f"guidance_{num_frames}"
            for name in ("first", "resumed"):
                before = server_stats(url)["requests"]
                measured = in_own_process(annotate, str(manifest), str(out), url, args.max_in_flight)
                requests = server_stats(url)["requests"] - before
                runs.append({"run": name, "frames": num_frames, "requests": requests, **measured})
                print(json.dumps(runs[-1]))
    report = {
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
        "settings": asdict(args),
        "ideal_answers_per_s": ideal,
        "runs": [run | {"share_of_ideal": share_of_ideal(run, ideal)} for run in runs],
    }
    (folder / "report.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    (folder / "report.md").write_text(table(report), encoding="utf-8")
    print(table(report))


def make_videos(folder: Path, num_frames: int, args: AnnotationBenchmarkArguments) -> Path:
    """Videos of moving noise on a gradient, no two frames alike, and their manifest."""
    rows = []
    rng = np.random.default_rng(0)
    ramp = np.linspace(0, 160, args.width)[None, :, None] + np.linspace(0, 60, args.height)[:, None, None]
    texture = rng.integers(0, 36, (args.height, args.width, 3))
    background = (ramp + texture).astype(np.uint8)
    for number in range(num_frames // args.frames_per_video):
        path = folder / f"motion/{number:04d}.mp4"
        write_video(path, moving_squares(background, args.frames_per_video, rng), FPS)
        rows.append(manifest_row(f"motion/{number:04d}.mp4", "motion", probe_video(path)))
    write_manifest(folder / "manifest", {"train": rows}, ["motion"], "benchmark@1", folder)
    return folder / "manifest"


def moving_squares(background: np.ndarray, num_frames: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Frames of a square that moves over a background that moves as well.

    Args:
        background: Picture of shape (height, width, 3), uint8.
        num_frames: Number of frames.
        rng: Random numbers that place and colour the square.

    Yields:
        Frames of shape (height, width, 3), uint8.
    """
    height, width = background.shape[:2]
    top, left = rng.integers(0, height - 60), rng.integers(0, width - 60)
    colour = rng.integers(0, 255, 3)
    for index in range(num_frames):
        frame = np.roll(background, index, axis=1)
        row, col = (top + 2 * index) % (height - 60), (left + 3 * index) % (width - 60)
        frame[row : row + 60, col : col + 60] = colour
        yield frame


def annotate(manifest: str, out: str, url: str, max_in_flight: int) -> dict[str, float]:
    """One run, timed from the first look at the manifest to the written table."""
    os.environ["OPENAI_API_KEY"] = "local"
    job = AnnotationJob(
        AnnotationArguments(manifest=manifest, out=out),
        LLMArguments(base_url=url, prompt="ucf", policy="all_frames", max_in_flight=max_in_flight),
    )
    with PeakMemory() as memory:
        start_s, start_cpu_s = time.perf_counter(), time.process_time()
        job.run(progress=False)
        wall_s, cpu_s = time.perf_counter() - start_s, time.process_time() - start_cpu_s
    return {
        "wall_s": wall_s,
        "cpu_s": cpu_s,
        "start_mib": memory.start_mib,
        "peak_mib": memory.peak_mib,
    }


class PeakMemory:
    """Resident memory before and at its peak, in MiB, as the kernel counts it."""

    def __enter__(self) -> PeakMemory:
        self.start_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        return self

    def __exit__(self, *_) -> None:
        self.peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def in_own_process(function, *args) -> dict[str, float]:
    """What a function returns in a fresh process, so that one run's memory is not another's."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *args).result()


@contextmanager
def local_server(latency_s: float) -> Iterator[str]:
    """The stand-in, in a process of its own; yields its address."""
    command = [sys.executable, "-m", "vidreason.llm.testing.chat_server", "--constant", ANSWER, "--port", "0"]
    process = subprocess.Popen([*command, "--latency_s", str(latency_s)], stdout=subprocess.PIPE, text=True)
    try:
        yield process.stdout.readline().split()[-1]
    finally:
        process.terminate()
        process.wait()


def server_stats(url: str) -> dict:
    """What the server has counted."""
    with urllib.request.urlopen(url.removesuffix("/v1") + "/stats") as response:
        return json.load(response)


def share_of_ideal(run: dict, ideal: float) -> float | None:
    """Answers a second as a share of the ideal; None where nothing was asked."""
    return run["requests"] / run["wall_s"] / ideal if run["requests"] else None


def table(report: dict) -> str:
    """The runs as Markdown."""
    lines = [
        f"{report['machine']}; ideal {report['ideal_answers_per_s']:.0f} answers a second",
        "",
        "| run | frames | requests sent | seconds | answers/s | of the ideal | CPU seconds | peak MiB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for run in report["runs"]:
        rate = f"{run['requests'] / run['wall_s']:.0f}" if run["requests"] else "-"
        share = f"{run['share_of_ideal']:.0%}" if run["share_of_ideal"] else "-"
        lines.append(
            f"| {run['run']} | {run['frames']:,} | {run['requests']:,} | {run['wall_s']:.1f} | {rate} | {share} "
            f"| {run['cpu_s']:.1f} | {run['peak_mib']:.0f} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
