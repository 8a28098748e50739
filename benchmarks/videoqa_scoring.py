"""What scoring predictions takes: time and memory for each prediction, at several sizes of the table.

    python benchmarks/videoqa_scoring.py --num_predictions 25000 50000 100000

Tables of questions and predictions are made, with raw answers as models give them, and scored in a process of their
own each, as `python -m vidreason.videoqa score` does. Time is the processor's, so that other work on the machine does
not count. What should hold: twice as many predictions take about twice as long, and the largest table takes no more
memory than the smallest but for what is counted by video.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common import MIB, describe_machine, machine, settings_of, write_report

from vidreason.command_line import run_command
from vidreason.reporting.tables import Column, markdown_table
from vidreason.videoqa.rows import prediction_row, question_row
from vidreason.videoqa.tables import write_predictions, write_questions

_REPLIES = ("{}", "({})", "{}.", "The answer is {}.", "Best option: ({}")

# a first small step comes before the measurement, so that libraries do not count as the scorer's
_PROGRAM = """
import json, os, resource, sys, time
from vidreason.videoqa.inputs import open_inputs
from vidreason.videoqa.scoring.measures import RightOrWrong
from vidreason.videoqa.scoring.report import make_report
from vidreason.videoqa.scoring.scores import score_predictions
def private():
    # without pages of mapped files, which the system takes back when it needs them
    fields = dict(line.split(":") for line in open("/proc/self/smaps_rollup") if line.count(":") == 1)
    return int(fields["Anonymous"].split()[0]) * 1024
def run(folder):
    inputs = open_inputs(folder + "/predictions", questions=folder + "/questions")
    scores = score_predictions(inputs.questions(), inputs.predictions("video"), inputs.rule, RightOrWrong())
    return make_report(scores)
run(sys.argv[1])
before, began = private(), time.process_time()
report = run(sys.argv[2])
print(json.dumps([time.process_time() - began, private() - before, report["n"], report["score"]]))
"""


@dataclass
class ScoringArguments:
    """Sizes of the tables."""

    num_predictions: list[int] = field(
        default_factory=lambda: [25_000, 50_000, 100_000], metadata={"help": "Numbers of predictions."}
    )
    questions_per_video: int = field(default=9, metadata={"help": "Questions about each video, as NExT-QA has."})
    answer_chars: int = field(default=700, metadata={"help": "Length of each raw answer in characters."})
    out: str = field(default="outputs/benchmarks/videoqa_scoring.json", metadata={"help": "JSON file of the results."})


def make_tables(folder: Path, count: int, args: ScoringArguments) -> None:
    """Questions and predictions of a table, half of them right."""
    key = {"source": "nextqa@1.0", "split": "val"}

    def questions() -> Iterator[dict[str, Any]]:
        for number in range(count):
            yield question_row(
                **{**key, "question_id": f"{number}", "video_id": f"{number // args.questions_per_video}"},
                **{"question": f"Why does person {number} do it?", "answer_format": "choice", "producer": "benchmark"},
                **{"options": [f"reason {place}" for place in range(5)], "answer_index": number % 5},
                question_type=("CW", "CH", "TN", "TC", "DO")[number % 5],
            )

    def predictions() -> Iterator[dict[str, Any]]:
        rng = random.Random(0)
        for number in range(count):
            said = number if rng.random() < 0.5 else number + 1
            text = rng.choice(_REPLIES).format("ABCDE"[said % 5])
            raw = rng.randbytes(args.answer_chars // 2).hex()
            yield prediction_row(
                **key, question_id=f"{number}", prediction=text, producer="benchmark", raw_response=raw
            )

    write_questions(folder / "questions", {"val": questions()})
    write_predictions(folder / "predictions", {"val": predictions()})


def measure(small: Path, folder: Path) -> dict[str, float]:
    """Seconds of the processor and bytes of private memory that scoring a table takes."""
    command = [sys.executable, "-c", _PROGRAM, str(small), str(folder)]
    finished = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds, added, count, score = json.loads(finished.stdout.splitlines()[-1])
    return {"num_predictions": count, "cpu_s": seconds, "bytes": added, "score": score}


def run(args: ScoringArguments) -> None:
    """Measure, print a table and write the report."""
    results = []
    with tempfile.TemporaryDirectory() as scratch:
        small = Path(scratch) / "small"
        make_tables(small, 500, args)
        for count in sorted(args.num_predictions):
            folder = Path(scratch) / str(count)
            make_tables(folder, count, args)
            results.append(measure(small, folder))
    first, last = results[0], results[-1]
    growth = last["num_predictions"] / first["num_predictions"]
    ratios = {
        "predictions": growth,
        "time": last["cpu_s"] / first["cpu_s"],
        # 1 is linear
        "time_over_linear": last["cpu_s"] / first["cpu_s"] / growth,
        "bytes_per_prediction": (last["bytes"] - first["bytes"])
        / max(1, last["num_predictions"] - first["num_predictions"]),
    }
    facts = machine()
    report = {"machine": facts, "settings": settings_of(args), "results": results, "ratios": ratios}
    write_report(args.out, report, make_page(facts, results, ratios))


def make_page(facts: dict[str, Any], results: list[dict[str, float]], ratios: dict[str, float]) -> str:
    """The results in words and as a table."""
    rows = [
        {**entry, "rate": entry["num_predictions"] / entry["cpu_s"], "mib": entry["bytes"] / MIB} for entry in results
    ]
    columns = [
        *(Column("num_predictions", "predictions"), Column("cpu_s", "seconds of the processor")),
        *(Column("rate", "predictions a second", 0), Column("mib", "private memory added (MiB)", 1)),
    ]
    return (
        f"# Scoring predictions\n\n{describe_machine(facts)}\n\n{markdown_table(rows, columns)}\n"
        f"{ratios['predictions']:.1f} times as many predictions take {ratios['time']:.2f} times as long "
        f"({ratios['time_over_linear']:.2f} of linear) and {ratios['bytes_per_prediction']:.0f} bytes of memory for "
        f"each that there is more.\n"
    )


def main() -> int:
    """Run the command line."""
    return run_command(run, ScoringArguments)


if __name__ == "__main__":
    sys.exit(main())
