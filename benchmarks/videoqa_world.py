"""Questions about drawn worlds, answered by a tiny Video-LLM from scratch: accuracy by steps, with and without video.

    python benchmarks/videoqa_world.py --output_dir outputs/videoqa_world_seeds --seeds 0 1 2 3 4

For each seed it runs the commands that `recipes/videoqa_world.yaml` names, on a world of that seed, answers and
scores the test split. What is there already is not done again: a run that was broken off goes on. `results.json` has
the report of each seed; `results.md` shows accuracy and blind baseline by number of steps, and the learning curve.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common import machine
from transformers import HfArgumentParser

from vidreason.files import write_whole
from vidreason.reporting.tables import text_table

_ROOT = Path(__file__).parent.parent
_STILLS = ("color_of", "name_of", "size_of", "is_there", "describe_things")


@dataclass
class WorldArguments:
    """What to run."""

    output_dir: str = field(default="outputs/videoqa_world_seeds", metadata={"help": "Where to work and report."})
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2, 3, 4], metadata={"help": "Seeds of worlds and models."})
    split_sizes: str = field(
        default='{"train": 3000, "validation": 40, "test": 300}', metadata={"help": "Videos of each split, as JSON."}
    )
    stills_steps: int = field(default=2000, metadata={"help": "Steps of the first stage."})
    steps: int = field(default=4000, metadata={"help": "Steps of the second stage, and of the blind baseline."})


def run_seed(seed: int, arguments: WorldArguments) -> dict[str, Any]:
    """Build, train, answer and score; what is there is left as it is.

    Returns:
        The report of `python -m vidreason.videoqa score`, and the learning curve.
    """
    folder = Path(arguments.output_dir) / f"seed_{seed}"
    world, questions, stills, untrained = (folder / name for name in ("world", "questions", "stills", "untrained"))
    sizes = ["--split_sizes", arguments.split_sizes, "--num_proc", "1"]
    _python("-m", "datasets_scripts.build", "synthetic-tabletop", "--out", world, "--seed", seed, *sizes)
    build = ("-m", "datasets_scripts.build", "world-questions", "--world", world)
    _once(questions / "counts.json", *build, "--out", questions)
    _once(stills / "counts.json", *build, "--out", stills, "--types", *_STILLS)
    make = ("-m", "vidreason.videoqa", "make_tiny", "--questions", questions, "--out", untrained, "--seed", seed)
    _once(untrained / "config.json", *make)
    _train("_stills", folder / "stills_model", stills, untrained, arguments.stills_steps, seed, world)
    _train("", folder / "model", questions, folder / "stills_model", arguments.steps, seed, world)
    blind = ("--show_video", "false")
    _train("", folder / "blind_model", questions, untrained, arguments.steps, seed, world, *blind)
    for model, condition in (("model", "video"), ("blind_model", "blind")):
        answer = ("answer", "--questions", questions, "--splits", "test", "--model", folder / model)
        shown = ("--manifest", world, "--num_frames", 8, "--max_side_px", 64) if condition == "video" else ()
        out = ("--out", folder / f"{condition}_answers", "--prompt", "bare_question", "--condition", condition)
        _python("-m", "vidreason.videoqa", *answer, *shown, *out)
    score = ("score", "--questions", questions, "--predictions", folder / "video_answers")
    text = _python("-m", "vidreason.videoqa", *score, "--blind", folder / "blind_answers", "--split", "test")
    state = json.loads((folder / "model" / "trainer_state.json").read_text())
    curve = [(row["step"], row["eval_accuracy"]) for row in state["log_history"] if "eval_accuracy" in row]
    return {"seed": seed, "report": json.loads(text), "curve": curve}


def _train(
    recipe: str, out: Path, questions: Path, start: Path, steps: int, seed: int, world: Path, *more: str
) -> None:
    settings = {"manifest": world, "questions": questions, "model_name_or_path": start, "output_dir": out}
    flags = [
        part for name, value in {**settings, "max_steps": steps, "seed": seed}.items() for part in (f"--{name}", value)
    ]
    _once(out / "trainer_state.json", "train.py", f"recipes/videoqa_world{recipe}.yaml", *flags, *more)


def _once(made: Path, *arguments: Any) -> None:
    if not made.is_file():
        _python(*arguments)


def _python(*arguments: Any) -> str:
    """Run one of the project's commands, and give what it printed."""
    command = [sys.executable, *map(str, arguments)]
    print(" ".join(command[1:]), flush=True)
    return subprocess.run(command, check=True, cwd=_ROOT, stdout=subprocess.PIPE, text=True).stdout


def results_page(results: Sequence[Mapping[str, Any]]) -> str:
    """Accuracy by seed and number of steps, each beside the blind baseline, and the learning curves."""
    rows, curves = [], []
    for result in results:
        for cell in result["report"]["cells"]:
            if cell["group"] in ("all", "steps"):
                rows.append((result["seed"], cell["name"] or "all", cell["n"], cell["score"], cell["blind"]))
        curves += [(result["seed"], step, f"{accuracy:.3f}") for step, accuracy in result["curve"]]
    table = text_table(("seed", "steps", "questions", "accuracy (%)", "blind (%)"), rows)
    return (
        f"{table}\n\nWhile training, on the validation split:\n\n{text_table(('seed', 'step', 'accuracy'), curves)}\n"
    )


def main() -> None:
    """Run every seed, and write what came out after each."""
    (arguments,) = HfArgumentParser(WorldArguments).parse_args_into_dataclasses()  # type: ignore[arg-type]
    arguments.output_dir = str(Path(arguments.output_dir).absolute())
    results = []
    for seed in arguments.seeds:
        results.append(run_seed(seed, arguments))
        facts = {"machine": machine(), "arguments": vars(arguments), "results": results}
        write_whole(Path(arguments.output_dir) / "results.json", json.dumps(facts, indent=2) + "\n")
        write_whole(Path(arguments.output_dir) / "results.md", results_page(results))
        print(results_page(results[-1:]))


if __name__ == "__main__":
    main()
