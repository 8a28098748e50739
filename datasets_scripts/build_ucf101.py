"""Turn a copy of UCF101 and its official lists into a manifest folder.

    python datasets_scripts/build_ucf101.py --root UCF-101 --splits ucfTrainTestlist --fold 1 --out manifests/ucf101
    python datasets_scripts/build_ucf101.py --root UCF-101 --fold 1 2 3 --out manifests/ucf101 --num_proc 8

The first writes one manifest to `--out`; the second reads the videos once and writes `fold_1`, `fold_2` and `fold_3`
in it.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field

from vidreason.command_line import run_command
from vidreason.manifests.layouts import LayoutArguments, build_layout, describe_reports, read_ucf101


@dataclass
class BuildUCF101Arguments(LayoutArguments):
    """Where UCF101 and its lists are. --root is the folder UCF-101, or the one that holds it."""

    splits: str | None = field(
        default=None,
        metadata={"help": "Folder of classInd.txt, trainlist0N.txt and testlist0N.txt. Default: ucfTrainTestlist."},
    )
    fold: list[int] = field(default_factory=lambda: [1], metadata={"help": "Official split: 1, 2 or 3; or several."})


def build(args: BuildUCF101Arguments) -> None:
    """Read the layout, build the manifest, and print what came of it.

    Raises:
        VidreasonError: the layout or a setting is not usable.
    """
    layout = read_ucf101(args.root, args.splits, args.fold, args.allow_incomplete, args.suffixes)
    print(describe_reports(layout, build_layout(layout, args)))


def main() -> int:
    """Run the command line; a mistake ends with one line that names it."""
    return run_command(build, BuildUCF101Arguments)


if __name__ == "__main__":
    sys.exit(main())
