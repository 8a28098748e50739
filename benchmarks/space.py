"""How long a visitor of the Space waits: requests to the running app, by step, first and from the cache.

    python benchmarks/space.py --model_ids release/rs_evidence --videos "ten=my_videos/ten_seconds.mp4" \
        --out outputs/benchmarks/space.json

The app runs in a process of its own, as `make space` starts it. Every video is asked about several times, each time
with a few bytes more at its end, so that no request finds its answer in the cache; then the last of these again.

- wall: from sending the request to having the answer, with upload and queue.
- cpu: processor seconds of the app and of the process that reads videos, all threads together. What other programs
  take away is not in it: on a busy machine it is the steadier figure, and about what one idle core would need.
- read, model, guidance, draw_and_write: by the clock, as the app itself says.
- readers keep: memory that the processes which read videos still hold after these requests, as a ratio of what they
  held when the app had just started. A large clip must not stay in it.

`--default_tsvit` adds a TSViT of the default size (224 pixels, width 256), with random weights.
"""

from __future__ import annotations

import itertools
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil
from common import describe_machine, machine, markdown_rows, median_spread, write_report
from gradio_client import Client, handle_file

from modeling_tsvit import TSViTConfig, TSViTForVideoClassification, TSViTVideoProcessor
from vidreason.command_line import run_command
from vidreason.errors import ConfigError
from vidreason.video import probe_video

APP = Path(__file__).resolve().parents[1] / "space_app" / "app.py"
STEPS = ("read", "model", "guidance", "draw_and_write", "total")
START_TIMEOUT_S = 180.0
DEFAULT_TSVIT = "tsvit_default"


@dataclass
class SpaceArguments:
    """Which checkpoints and videos, and how often."""

    videos: list[str] = field(metadata={"help": "name=file pairs."})
    model_ids: list[str] = field(default_factory=list, metadata={"help": "Folders or Hub ids of checkpoints."})
    default_tsvit: bool = field(default=False, metadata={"help": "Add a TSViT of the default size."})
    out: str = field(
        default="outputs/benchmarks/space.json", metadata={"help": "JSON to write; Markdown goes beside it."}
    )
    repeats: int = field(default=7, metadata={"help": "First requests of each checkpoint and video."})


def main(args: SpaceArguments) -> None:
    """Measure and report.

    Raises:
        ConfigError: A video is not there, or the app does not start.
    """
    videos = dict(pair.partition("=")[::2] for pair in args.videos)
    for name, file in videos.items():
        if not Path(file).is_file():
            raise ConfigError(f"--videos {name}={file}: no such file")
    with tempfile.TemporaryDirectory() as scratch:
        model_ids = list(args.model_ids)
        if args.default_tsvit:
            model_ids.append(save_default_tsvit(Path(scratch) / DEFAULT_TSVIT))
        with running_app(model_ids, Path(scratch)) as (url, process):
            started_bytes = readers_bytes(process)
            client, paddings = Client(url, verbose=False), itertools.count(1)
            results = {
                f"{name}, {Path(model_id).name}": measure(
                    client, process, file, Path(model_id).name, list(itertools.islice(paddings, args.repeats + 1))
                )
                | {"readers_keep": round(readers_bytes(process) / started_bytes, 2)}
                for model_id in model_ids
                for name, file in videos.items()
            }
    settings = {name: value for name, value in asdict(args).items() if name == "repeats"}
    report = {"machine": machine(), "settings": settings, "requests": results}
    write_report(args.out, report, table(report))


def save_default_tsvit(folder: Path) -> str:
    """A TSViT of the default size with random weights and 101 labels."""
    config = TSViTConfig(num_labels=101)
    TSViTForVideoClassification(config).save_pretrained(folder)
    TSViTVideoProcessor(num_frames=config.num_frames).save_pretrained(folder)
    return str(folder)


@contextmanager
def running_app(model_ids: list[str], scratch: Path) -> Iterator[tuple[str, psutil.Process]]:
    """The app's address and its process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    own = {"MODEL_IDS": ",".join(model_ids), "GRADIO_SERVER_PORT": str(port), "GRADIO_SERVER_NAME": "127.0.0.1"}
    own |= {"GRADIO_TEMP_DIR": str(scratch / "uploads"), "EXAMPLES_FOLDER": str(scratch / "examples")}
    with open(scratch / "log.txt", "w") as log:
        process = subprocess.Popen([sys.executable, str(APP)], env={**os.environ, **own}, stdout=log, stderr=log)
    try:
        url = f"http://127.0.0.1:{port}"
        wait_for(url, process, scratch / "log.txt")
        yield url, psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait()


def wait_for(url: str, process: subprocess.Popen, log: Path) -> None:
    """Wait until the app answers. Raises ConfigError where it does not."""
    end = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < end and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/config", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.3)
    raise ConfigError(f"the app did not start:\n{log.read_text(encoding='utf-8')[-2000:]}")


def measure(client: Client, process: psutil.Process, file: str, model: str, paddings: list[int]) -> dict[str, Any]:
    """First and cached requests about one video. Each padding makes it a video that was not seen before."""
    ask(client, process, file, model, paddings[0])  # loads what is loaded at first use, and is not counted
    firsts = [ask(client, process, file, model, padding) for padding in paddings[1:]]
    cached = [ask(client, process, file, model, paddings[-1]) for _ in paddings[1:]]
    info = probe_video(file)
    return {
        "video": {"width": info.width, "height": info.height, "duration_s": info.duration_s, "codec": info.codec},
        "first": {name: median_spread([one[name] for one in firsts]).as_json() for name in ("wall", "cpu", *STEPS)},
        "cached": {name: median_spread([one[name] for one in cached]).as_json() for name in ("wall", "cpu", "total")},
    }


def ask(client: Client, process: psutil.Process, file: str, model: str, padding: int) -> dict[str, float]:
    """Seconds of one request. The file has `padding` bytes more at its end, which decoders pass over."""
    with tempfile.TemporaryDirectory() as folder:
        sent = Path(folder) / Path(file).name
        shutil.copy(file, sent)
        with open(sent, "ab") as appended:
            appended.write(bytes(padding))
        cpu_before, started = cpu_seconds(process), time.perf_counter()
        result = client.predict(
            video=handle_file(str(sent)), name=model, other="none", guidance="automatic", api_name="/analyse"
        )
        wall = time.perf_counter() - started
        return {"wall": wall, "cpu": cpu_seconds(process) - cpu_before, **result["seconds"]}


def cpu_seconds(process: psutil.Process) -> float:
    """Of a process and of those that it has started and that run."""
    times = [each.cpu_times() for each in (process, *process.children(recursive=True))]
    return sum(each.user + each.system for each in times)


def readers_bytes(process: psutil.Process) -> int:
    """Memory that lies in the processes which the app has started to read videos, in bytes."""
    return sum(child.memory_info().rss for child in process.children(recursive=True))


def table(report: dict[str, Any]) -> str:
    """The report as Markdown."""
    rows = []
    for name, request in report["requests"].items():
        video, first = request["video"], request["first"]
        about = f"{name} ({video['width']}x{video['height']}, {video['duration_s']:.1f} s)"
        medians = [f"{first[part]['median']:.2f}" for part in ("wall", "cpu", *STEPS[:-1])]
        rows.append([about, *medians, f"{request['cached']['wall']['median']:.2f}"])
        rows[-1].append(f"{request['readers_keep']:.1f}")
    header = ["request", "wall (s)", "cpu (s)", *STEPS[:-1], "from the cache (s)", "readers keep"]
    return f"{describe_machine(report['machine'])}\n\n{markdown_rows(header, rows)}"


if __name__ == "__main__":
    sys.exit(run_command(main, SpaceArguments))
