"""Turn a copy of UCF50 into manifest folders, split by its 25 groups.

    python datasets_scripts/build_ucf50.py --root UCF50 --out manifests/ucf50 --protocol leave_one_group_out
    python datasets_scripts/build_ucf50.py --root UCF50 --out manifests/ucf50 --protocol five_fold --fold 1
    python datasets_scripts/build_ucf50.py --root UCF50 --out manifests/ucf50 --test_groups 21 22 23 24 25

The first reads the videos once and writes the 25 manifests `fold_01` to `fold_25`; the others write one manifest.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field

from vidreason.command_line import run_command
from vidreason.errors import ManifestError
from vidreason.manifests.layouts import LayoutArguments, build_layout, describe_reports, read_ucf50
from vidreason.manifests.layouts.ucf50 import protocol_folds


@dataclass
class BuildUCF50Arguments(LayoutArguments):
    """Where UCF50 is, and which groups are held out: give --test_groups or --protocol."""

    test_groups: list[int] = field(default_factory=list, metadata={"help": "Numbers of the groups to test on."})
    validation_groups: list[int] = field(default_factory=list, metadata={"help": "Likewise for a validation split."})
    protocol: str = field(
        default="", metadata={"help": "leave_one_group_out (25 folds) or five_fold (groups 1 to 5, 6 to 10, ...)."}
    )
    fold: list[int] = field(
        default_factory=list, metadata={"help": "Folds of the protocol, from 1. Default: all, each in a folder."}
    )


def choose_folds(args: BuildUCF50Arguments) -> dict[str, list[int]]:
    """Name -> the groups to test on.

    Raises:
        ManifestError: neither or both ways to split are given.
    """
    if bool(args.test_groups) == bool(args.protocol):
        raise ManifestError("give one of --test_groups and --protocol")
    if args.test_groups and args.fold:
        raise ManifestError("--fold goes with --protocol")
    if args.protocol:
        return protocol_folds(args.protocol, args.fold)
    return {f"test groups {', '.join(map(str, args.test_groups))}": args.test_groups}


def build(args: BuildUCF50Arguments) -> None:
    """Read the layout, build the manifest, and print what came of it.

    Raises:
        VidreasonError: the layout or a setting is not usable.
    """
    layout = read_ucf50(args.root, choose_folds(args), args.validation_groups, args.allow_incomplete, args.suffixes)
    print(describe_reports(layout, build_layout(layout, args)))


def main() -> int:
    """Run the command line; a mistake ends with one line that names it."""
    return run_command(build, BuildUCF50Arguments)


if __name__ == "__main__":
    sys.exit(main())
