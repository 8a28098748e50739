"""Turn a copy of Kinetics-400 into a manifest folder. Any folders will do, files are known by their names.

python datasets_scripts/build_kinetics400.py --root k400 --annotations k400/annotations --out manifests/k400 \
        --allow_incomplete --num_proc 8
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field

from vidreason.command_line import run_command
from vidreason.manifests.layouts import LayoutArguments, build_layout, describe_reports, read_kinetics400


@dataclass
class BuildKinetics400Arguments(LayoutArguments):
    """Where the videos (<youtube id>_<start>_<end>.mp4) and their lists are."""

    annotations: str | None = field(
        default=None,
        metadata={"help": "Folder of train.csv, val.csv and test.csv. Default: annotations in the root or beside it."},
    )
    labels: str | None = field(
        default=None,
        metadata={"help": "File of class names in the order of their ids. Default: the lists' labels, sorted."},
    )
    splits: list[str] = field(
        default_factory=lambda: ["train", "validation"],
        metadata={"help": "Those to build, of train, validation and test."},
    )


def build(args: BuildKinetics400Arguments) -> None:
    """Read the layout, build the manifest, and print what came of it.

    Raises:
        VidreasonError: The layout or a setting is not usable.
    """
    layout = read_kinetics400(
        args.root, args.annotations, args.labels, args.splits, args.allow_incomplete, args.suffixes
    )
    print(describe_reports(layout, build_layout(layout, args)))


def main() -> int:
    """Run the command line; a mistake ends with one line that names it."""
    return run_command(build, BuildKinetics400Arguments)


if __name__ == "__main__":
    sys.exit(main())
