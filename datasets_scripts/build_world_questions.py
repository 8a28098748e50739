"""Make scene graphs of a rendered world, and questions about them with answers, evidence and reasons.

python datasets_scripts/build_world_questions.py --world outputs/tabletop --out outputs/tabletop_questions
python datasets_scripts/build_world_questions.py --world outputs/tabletop --out outputs/q --choice_share 0.25 \
    --graphs outputs/tabletop_graphs

The same world and settings give the same questions. Training videos are also described, unless `--descriptions` names
no split.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections import Counter
from dataclasses import dataclass, field

from vidreason.command_line import run_command
from vidreason.errors import QuestionError
from vidreason.files import write_whole
from vidreason.scenegraph.table import write_graphs
from vidreason.synthetic.graphs import world_graphs
from vidreason.synthetic.questions import (
    MadeQuestions,
    QuestionSettings,
    blind_prior,
    world_descriptions,
    world_questions,
)
from vidreason.videoqa.tables import write_questions

COUNTS_FILE = "counts.json"


@dataclass
class BuildArguments:
    """What to build."""

    world: str = field(metadata={"help": "Folder of a world, as one of its builders wrote it."})
    out: str = field(metadata={"help": "Folder of the table of questions."})
    graphs: str = field(default="", metadata={"help": "Folder of the table of scene graphs; none by default."})
    splits: list[str] = field(default_factory=list, metadata={"help": "Splits to ask about; all by default."})
    descriptions: list[str] = field(
        default_factory=lambda: ["train"],
        metadata={"help": "Splits whose videos are to be described too, two rows each, for training."},
    )


def build(arguments: BuildArguments, settings: QuestionSettings) -> None:
    """Build and say what was asked and what was not.

    Raises:
        GraphError: there is no such world or split.
        QuestionError: nothing can be asked about it.
    """
    graphs = world_graphs(arguments.world, arguments.splits or None)
    if arguments.graphs:
        write_graphs(arguments.graphs, graphs, "Scene graphs of a synthetic world", "Made from its ground truth.")
    made = {split: world_questions(found, settings) for split, found in graphs.items()}
    if not any(questions.rows for questions in made.values()):
        raise QuestionError(f"{arguments.world}: no question can be asked about it")
    description = (
        "Made from the true scene graphs of a drawn world by templates; every answer is what its program gives on the "
        f"graph. Settings: {settings}. Left out: {_left_out(made)}."
    )
    rows = {
        split: itertools.chain(
            questions.rows,
            world_descriptions(graphs[split], settings.types) if split in arguments.descriptions else (),
        )
        for split, questions in made.items()
    }
    write_questions(arguments.out, rows, "Questions about a synthetic world", description)
    write_whole(f"{arguments.out}/{COUNTS_FILE}", json.dumps({s: dict(q.counts) for s, q in made.items()}) + "\n")
    for split, questions in made.items():
        print(f"{split}: {len(questions.rows)} questions; {_counts_text(questions.counts)}")
    # what a model could learn from questions alone; without a training split, the first one at hand
    known = "train" if "train" in made else next(iter(made))
    for split, questions in made.items():
        prior = blind_prior(questions.rows, made[known].rows).values()
        right, total = (sum(numbers) for numbers in zip(*prior, strict=True))
        print(
            f"{split}: a guess by the question alone, after the answers of {known}, is right for {right / total:.1%}"
        )


def _counts_text(counts: Counter[str]) -> str:
    return (
        f"{counts['nothing']} proposals without an answer, {counts['several']} with several, {counts['balance']} left "
        "out to balance the answers"
    )


def _left_out(made: dict[str, MadeQuestions]) -> str:
    return _counts_text(sum((questions.counts for questions in made.values()), Counter()))


def main() -> int:
    """Run the command line; a mistake ends with one line that names it."""
    return run_command(build, BuildArguments, QuestionSettings)


if __name__ == "__main__":
    sys.exit(main())
