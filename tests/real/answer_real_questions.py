"""The questions about real frames that lie beside the repository, answered by a tiny model with random weights.

    PYTHONPATH=tests python tests/real/answer_real_questions.py --out docs/results/videoqa_real

Nothing is learned from its answers: they are nonsense, which must end as statuses or be scored as wrong. What is real
are the frames, the questions and the way from the one to the other.
"""

import argparse
import contextlib
import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from vidreason.manifests.manifest import manifest_row, write_manifest
from vidreason.video import probe_video
from vidreason.video.probe import VideoInfo
from vidreason.videoqa.__main__ import main as videoqa
from vidreason.videoqa.building import BuildSettings, build_questions

STAR_RATE = 29.452  # frames a second of video 0TXYV, whose key frames are numbered from 1
FAMILY = "llava_onevision"
SERVING_EXTRA = ("fastapi", "uvicorn", "pydantic", "openai")
START_TIMEOUT_S = 300.0


def star_questions(data: Path, folder: Path) -> tuple[Path, Path]:
    """The four questions of STAR's teaser on its 40 key frames, as a table and a manifest."""
    frames = data / "star" / "frames" / "0TXYV"
    last = max(int(path.stem) for path in frames.glob("*.png"))
    row = manifest_row("frames/0TXYV", "any", VideoInfo("", 480, 270, last, STAR_RATE, last / STAR_RATE, 0, "png"))
    manifest = write_manifest(
        folder / "manifest", {"teaser": [{**row, "video_id": "0TXYV"}]}, ["any"], "star@1.0", data / "star"
    )
    build_questions("star", data / "star", ["teaser"], folder / "questions", manifest)
    return folder / "questions", folder / "manifest"


def tempcompass_questions(data: Path, folder: Path) -> tuple[Path, Path]:
    """TempCompass' questions on the two of its videos that are there."""
    root = data / "tempcompass"
    rows = [
        {**manifest_row(f"videos/{path.name}", "any", probe_video(path)), "video_id": path.stem}
        for path in sorted((root / "videos").glob("*.gif"))
    ]
    manifest = write_manifest(folder / "manifest", {"test": rows}, ["any"], "tempcompass@1.0", root)
    settings = BuildSettings(drop_unanswerable=True)
    build_questions("tempcompass", root, ["test"], folder / "questions", manifest, settings)
    return folder / "questions", folder / "manifest"


QUESTIONS = {"star": star_questions, "tempcompass": tempcompass_questions}


def save_tiny_model(folder: Path) -> Path:
    """A LLaVA-OneVision of two small towers with random weights."""
    from fixtures.tiny_video_models import make_model, make_processor

    processor = make_processor(FAMILY)
    model = make_model(FAMILY, processor.tokenizer)
    # one token in four ends an answer, so that some answers end and others run into their limit
    model.generation_config.eos_token_id = list(range(16, len(processor.tokenizer), 4))
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@contextlib.contextmanager
def serving(model: Path, log_path: Path):
    """`transformers serve` as a user starts it; gives its base URL."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = ["--device", "cpu", "--host", "127.0.0.1", "--port", str(port)]
    # by its name alone, so that no record names a folder of this machine
    command = [sys.executable, "-m", "transformers.cli.transformers", "serve", model.name, *options]
    offline = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, env={**os.environ, **offline}, cwd=model.parent
        )
    try:
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline_s and process.poll() is None:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                yield f"http://127.0.0.1:{port}/v1"
                return
            time.sleep(0.5)
        raise TimeoutError(f"transformers serve did not start: {log_path.read_text(errors='replace')[-2000:]}")
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def working_in(folder: Path):
    """In another working folder."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def can_serve() -> bool:
    """Whether what `transformers serve` wants is installed."""
    return all(importlib.util.find_spec(name) for name in SERVING_EXTRA)


def answer(questions: Path, manifest: Path, data: Path, out: Path, *flags: str) -> dict:
    """Answer as a user does, and give the record of the run."""
    words = ["answer", "--questions", str(questions), "--manifest", str(manifest), "--video_root", str(data)]
    code = videoqa([*words, "--out", str(out), "--max_completion_tokens", "12", *flags])
    if code:
        raise RuntimeError(f"the command ended with status {code}")
    return json.loads((out / "run.json").read_text(encoding="utf-8"))


def answer_all(data: Path, work: Path, out: Path) -> dict[str, dict]:
    """Both sets of questions, by the model in this process, with and without video, and at a server.

    Args:
        data: The folder `videoqa` of the real data.
        work: Folder for questions, manifests and the model.
        out: Folder of the tables of predictions.

    Returns:
        Name of the table -> record of its run.
    """
    model, records = save_tiny_model(work / "tiny_llava_onevision"), {}
    made = {name: make(data, work / name) for name, make in QUESTIONS.items()}
    with working_in(work):
        for name, (questions, manifest) in made.items():
            ways = {"local": ["--model", model.name], "blind": ["--model", model.name, "--condition", "blind"]}
            for way, flags in ways.items():
                table = out / f"{name}_{way}"
                records[table.name] = answer(questions, manifest, data / name, table, *flags)
        if can_serve():
            with serving(model, work / "serve.log") as url:
                for name, (questions, manifest) in made.items():
                    flags = ["--model", model.name, "--base_url", url, "--timeout_s", "300", "--max_in_flight", "2"]
                    table = out / f"{name}_served"
                    records[table.name] = answer(questions, manifest, data / name, table, *flags)
        for name, record in records.items():
            record["score"] = score(Path(name.split("_")[0]) / "questions", out / name)
    return records


def score(questions: Path, table: Path) -> dict:
    """The report of a table of predictions, written beside it."""
    condition = json.loads((table / "run.json").read_text(encoding="utf-8"))["condition"]
    words = ["score", "--questions", str(questions), "--predictions", str(table), "--condition", condition]
    code = videoqa([*words, "--out", str(table / "score")])
    if code:
        raise RuntimeError(f"scoring ended with status {code}")
    return json.loads((table / "score" / "report.json").read_text(encoding="utf-8"))


def main() -> None:
    """Answer all and print the statuses."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the tables of predictions")
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2].parent / "shared" / "data" / "videoqa")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        records = answer_all(args.data.resolve(), Path(work), Path(work) / "tables")
        for name in records:  # without the journal, which the next run would go on with
            shutil.copytree(Path(work) / "tables" / name, args.out / name, ignore=shutil.ignore_patterns("state"))
    for name, record in records.items():
        print(
            name,
            record["statuses"],
            {key: record["score"].get(key) for key in ("score", "n", "unparsable", "missing")},
        )


if __name__ == "__main__":
    main()
