"""How fast questions about videos are answered through a server, and what a finished run costs to start again.

    python benchmarks/videoqa_answering.py --output_dir outputs/benchmarks/videoqa_answering

A local server stands in for the model: it answers each request after a second with one letter, from a process of its
own on the same cores; a Video-LLM that reads eight pictures takes that long. What is measured is this side alone:
videos are decoded, eight frames of each scaled and encoded as JPEG, requests sent, answers stored and the table
written. With 32 requests in flight, 32 answers a second is the most that is possible. Every figure is a ratio to that
or to another run of the same call.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path

from annotation import PeakMemory, in_own_process, local_server, make_videos, server_stats, share_of_ideal
from common import describe_machine, machine, settings_of
from transformers import HfArgumentParser

from vidreason.llm.cost import FREE, Budget
from vidreason.llm.store import RequestStore
from vidreason.manifests.manifest import load_manifest
from vidreason.reporting.tables import text_table
from vidreason.videoqa.answering.asking import Asking, AskingSettings
from vidreason.videoqa.answering.journal import PredictionJournal
from vidreason.videoqa.answering.run import STATE_FOLDER, AnsweringRun, answer_questions
from vidreason.videoqa.answering.server import ServerAnswerer, ServerSettings
from vidreason.videoqa.tables import load_questions, question_row, write_questions


@dataclass
class AnsweringBenchmarkArguments:
    """Sizes of the runs."""

    output_dir: str = field(
        default="outputs/benchmarks/videoqa_answering", metadata={"help": "Where to work and report."}
    )
    num_questions: list[int] = field(
        default_factory=lambda: [640, 2560], metadata={"help": "Questions of the runs, the smallest first."}
    )
    questions_per_video: int = field(default=8, metadata={"help": "Questions about each video."})
    frames_per_video: int = field(default=100, metadata={"help": "Frames of the videos that are made."})
    height: int = field(default=240, metadata={"help": "Height of the frames in pixels."})
    width: int = field(default=320, metadata={"help": "Width of the frames in pixels."})
    latency_s: float = field(default=1.0, metadata={"help": "Seconds until the server answers."})
    max_in_flight: int = field(default=32, metadata={"help": "Requests at the same time."})


def main() -> None:
    """Make the videos and questions, time the runs and write the report."""
    (args,) = HfArgumentParser(AnsweringBenchmarkArguments).parse_args_into_dataclasses()
    folder = Path(args.output_dir)
    shutil.rmtree(folder, ignore_errors=True)
    ideal, runs = args.max_in_flight / args.latency_s, []
    with local_server(args.latency_s) as url:
        for count in args.num_questions:
            num_videos = -(-count // args.questions_per_video)
            manifest = make_videos(folder / f"videos_{count}", num_videos * args.frames_per_video, args)
            questions = make_questions(folder / f"questions_{count}", manifest, count)
            for name in ("first", "resumed"):
                before = server_stats(url)["requests"]
                measured = in_own_process(
                    answer, str(questions), str(manifest), str(folder / f"answers_{count}"), url, args.max_in_flight
                )
                requests = server_stats(url)["requests"] - before
                run = {"run": name, "questions": count, "requests": requests, **measured}
                runs.append(run | {"share_of_ideal": share_of_ideal(run, ideal)})
                print(json.dumps(runs[-1]))
    settings = settings_of(args, ("output_dir",))
    report = {"machine": machine(), "settings": settings, "ideal_answers_per_s": ideal, "runs": runs}
    (folder / "report.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    (folder / "report.md").write_text(page(report), encoding="utf-8")
    print(page(report))


def make_questions(folder: Path, manifest: Path, count: int) -> Path:
    """So many questions about the videos of a manifest, those about one video apart from one another."""
    rows = load_manifest(manifest).split("train")
    videos = rows["video_id"]
    write_questions(
        folder,
        {
            "train": (
                question_row(
                    **{"question_id": str(number), "source": "benchmark@1", "split": "train", "producer": "benchmark"},
                    **{"video_id": videos[number % len(videos)], "question": f"What moves? ({number})"},
                    **{"answer_format": "choice", "options": ["A square.", "A circle."], "answer": "A square."},
                )
                for number in range(count)
            )
        },
    )
    return folder


def answer(questions: str, manifest: str, out: str, url: str, max_in_flight: int) -> dict[str, float]:
    """One run, timed from the first look at the questions to the written table."""
    os.environ["OPENAI_API_KEY"] = "local"
    state = Path(out) / STATE_FOLDER
    with PeakMemory() as memory:
        start_s, start_cpu_s = time.perf_counter(), time.process_time()
        with (
            PredictionJournal(state / "predictions.sqlite") as journal,
            RequestStore(state / "requests.sqlite") as store,
        ):
            settings = ServerSettings("benchmark", url, max_in_flight=max_in_flight)
            answerer = ServerAnswerer(settings, store, FREE, Budget())
            asking = Asking(load_questions(questions), [], load_manifest(manifest), AskingSettings(), answerer.facts())
            answer_questions(AnsweringRun(Path(out), asking, answerer, journal), show_progress=False)
        wall_s, cpu_s = time.perf_counter() - start_s, time.process_time() - start_cpu_s
    return {"wall_s": wall_s, "cpu_s": cpu_s, "start_mib": memory.start_mib, "peak_mib": memory.peak_mib}


def page(report: dict) -> str:
    """The runs as Markdown."""
    heads = ["run", "questions", "requests sent", "seconds", "answers/s", "of the ideal", "CPU seconds", "peak MiB"]
    rows = [
        (
            run["run"],
            f"{run['questions']:,}",
            f"{run['requests']:,}",
            f"{run['wall_s']:.1f}",
            f"{run['requests'] / run['wall_s']:.1f}" if run["requests"] else "-",
            f"{run['share_of_ideal']:.1%}" if run["share_of_ideal"] else "-",
            f"{run['cpu_s']:.1f}",
            f"{run['peak_mib']:.0f}",
        )
        for run in report["runs"]
    ]
    first = f"{describe_machine(report['machine'])}; ideal {report['ideal_answers_per_s']:.0f} answers a second"
    return "\n\n".join([first, text_table(heads, rows, [False, *[True] * 7])]) + "\n"


if __name__ == "__main__":
    main()
