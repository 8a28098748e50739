"""A manifest with a smaller training split: some videos a class, a random part, or those of a published list.

python datasets_scripts/build_few_shot.py --manifest manifests/ssv2 --shots 4 --seed 0 --out manifests/ssv2_4_shot
python datasets_scripts/build_few_shot.py --manifest manifests/ssv2 --list_file train1_few_shot_4.txt --out lists_4
python datasets_scripts/build_few_shot.py --manifest manifests/multisports --size 5000 --out manifests/multisports_5k
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

from vidreason.command_line import run_command
from vidreason.errors import ManifestError
from vidreason.manifests.few_shot import (
    Selection,
    describe_selection,
    draw_part,
    draw_shots,
    select_listed,
    write_selection,
)
from vidreason.manifests.manifest import Manifest, load_manifest


@dataclass
class BuildFewShotArguments:
    """Of which manifest, where to, and which videos: give one of --shots, --size and --list_file."""

    manifest: str = field(metadata={"help": "Folder of the whole manifest."})
    out: str = field(metadata={"help": "Folder to write; not that of the whole."})
    shots: int | None = field(default=None, metadata={"help": "Videos of each class; 2 are among 4."})
    size: int | None = field(default=None, metadata={"help": "Videos in all, whatever their class."})
    list_file: str | None = field(default=None, metadata={"help": "Text file of lines <video> <label id>."})
    seed: int = field(default=0, metadata={"help": "Seed of --shots and --size."})
    split: str = field(default="train", metadata={"help": "The split that is made smaller."})
    video_root: str | None = field(default=None, metadata={"help": "Folder of the videos, if they were moved."})
    allow_incomplete: bool = field(
        default=False,
        metadata={"help": "Take what is there of a class with fewer videos, or of a list of which some are absent."},
    )


def select(args: BuildFewShotArguments, whole: Manifest) -> Selection:
    """The rows that the flags ask for.

    Raises:
        ManifestError: Not exactly one way is given, or it does not fit the manifest.
    """
    rows = whole.split(args.split)
    if args.shots is not None:
        return draw_shots(rows, args.shots, args.seed, args.allow_incomplete)
    if args.size is not None:
        return draw_part(rows, args.size, args.seed)
    return select_listed(rows, str(args.list_file), args.allow_incomplete)


def build(args: BuildFewShotArguments) -> None:
    """Select, write, and print what was taken."""
    if sum(way is not None for way in (args.shots, args.size, args.list_file)) != 1:
        raise ManifestError("give one of --shots, --size and --list_file")
    if Path(args.out).resolve() == Path(args.manifest).resolve():
        raise ManifestError(f"{args.out} is the whole manifest; give another folder for a part of it")
    whole = load_manifest(args.manifest, args.video_root)
    selection = select(args, whole)
    written = write_selection(args.out, whole, selection, args.split)
    print(describe_selection(whole, selection, written, args.split))
    print(f"written to {args.out}")


def main() -> int:
    """Run the command line; a mistake ends with one line that names it."""
    return run_command(build, BuildFewShotArguments)


if __name__ == "__main__":
    sys.exit(main())
