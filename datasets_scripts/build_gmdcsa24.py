"""Turn a copy of GMDCSA24 into manifest folders with tables of their actions in `segments`, one person left out each.

    python datasets_scripts/build_gmdcsa24.py --root gmdcsa24 --out manifests/gmdcsa24
    python datasets_scripts/build_gmdcsa24.py --root gmdcsa24 --out manifests/gmdcsa24 --leave_out subject_1
    python datasets_scripts/build_gmdcsa24.py --root gmdcsa24 --out manifests/gmdcsa24 --single_split

The first reads the videos once and writes a manifest for each person, `fold_subject_1` and so on, who is its test
split; the second writes one manifest; the third has all videos in one split `all`, as
`vidreason.study.leave_one_group_out` wants it. Typing errors in the tables are printed and written to
`label_report.csv`, with what was made of them.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field

from vidreason.command_line import run_command
from vidreason.manifests.layouts import (
    LayoutArguments,
    build_gmdcsa24,
    describe_notes,
    describe_reports,
    read_gmdcsa24,
)
from vidreason.manifests.layouts.gmdcsa24 import OVERLAP_RULE


@dataclass
class BuildGMDCSA24Arguments(LayoutArguments):
    """Where GMDCSA24 is, and who is left out."""

    out: str = field(
        metadata={
            "help": "Folder to write: Parquet tables, manifest.json, skipped.jsonl, label_report.csv, the card, and "
            f"segments, the actions, which do not overlap. {OVERLAP_RULE}"
        }
    )
    leave_out: list[str] = field(
        default_factory=list,
        metadata={"help": "Persons to test on, such as subject_1. Default: all, each in a folder."},
    )
    single_split: bool = field(default=False, metadata={"help": "All videos in one split `all`, in place of folds."})


def build(args: BuildGMDCSA24Arguments) -> None:
    """Read the layout, build the manifests, and print what came of it.

    Raises:
        VidreasonError: the layout or a setting is not usable.
    """
    data = read_gmdcsa24(args.root, args.leave_out, args.single_split, args.allow_incomplete, args.suffixes)
    reports, notes = build_gmdcsa24(data, args)
    print(describe_reports(data.layout, reports))
    print(describe_notes(notes))


def main() -> int:
    """Run the command line; a mistake ends with one line that names it."""
    return run_command(build, BuildGMDCSA24Arguments)


if __name__ == "__main__":
    sys.exit(main())
