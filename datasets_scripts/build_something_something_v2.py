"""Turn a copy of Something-Something v2 into a manifest folder with the filled-in sentences in `captions.jsonl`.

    python datasets_scripts/build_something_something_v2.py --root 20bn-something-something-v2 --labels labels \
        --out manifests/ssv2 --num_proc 8
"""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass, field

from transformers import HfArgumentParser

from vidreason.errors import VidreasonError
from vidreason.video.layouts import (
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


def main() -> None:
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    (args,) = HfArgumentParser(BuildSomethingSomethingArguments).parse_args_into_dataclasses()
    try:
        data = read_something_something_v2(args.root, args.labels, args.splits, args.allow_incomplete)
        print(describe_reports(data.layout, build_something_something_v2(data, args)))
    except VidreasonError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
