"""Turn a copy of Something-Something v2 into a manifest folder with the filled-in sentences in `captions.jsonl`.

python datasets_scripts/build_something_something_v2.py --root 20bn-something-something-v2 --labels labels \
        --out manifests/ssv2 --num_proc 8
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field

from vidreason.command_line import run_command
from vidreason.manifests.layouts import (
    LayoutArguments,
    build_something_something_v2,
    describe_reports,
    read_something_something_v2,
)


@dataclass
class BuildSomethingSomethingArguments(LayoutArguments):
    """Where the videos (<id>.webm) and their JSON are. --root is the folder of videos, or the one that holds it."""

    labels: str | None = field(
        default=None,
        metadata={
            "help": "Folder of labels.json, train.json, validation.json, test.json and, for a test split, "
            "test-answers.csv. Default: labels in the root or beside it."
        },
    )
    splits: list[str] = field(
        default_factory=lambda: ["train", "validation", "test"],
        metadata={"help": "Those to build. Without test-answers.csv there is no test split."},
    )


def build(args: BuildSomethingSomethingArguments) -> None:
    """Read the layout, build the manifest, and print what came of it.

    Raises:
        VidreasonError: the layout or a setting is not usable.
    """
    data = read_something_something_v2(args.root, args.labels, args.splits, args.allow_incomplete, args.suffixes)
    print(describe_reports(data.layout, build_something_something_v2(data, args)))


def main() -> int:
    """Run the command line; a mistake ends with one line that names it."""
    return run_command(build, BuildSomethingSomethingArguments)


if __name__ == "__main__":
    sys.exit(main())
