r"""Turn a tree of `<class>/<video>` files into a manifest folder with splits and a dataset card.

python datasets_scripts/build_video_folder.py --root UCF-101 --out manifests/ucf101 --source ucf101@1.0 \
        --split_files train=trainlist01.txt test=testlist01.txt
python datasets_scripts/build_video_folder.py --root clips --out manifests/clips \
        --group_pattern "_g(\d+)_" --test_groups 01 02
python datasets_scripts/build_video_folder.py --root clips --out manifests/clips --fractions train=0.8 test=0.2
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

from vidreason.command_line import run_command
from vidreason.errors import ManifestError
from vidreason.manifests.splits import (
    SplitAssignment,
    groups_from_file,
    groups_from_pattern,
    split_by_files,
    split_by_fractions,
    split_by_groups,
)
from vidreason.manifests.video_folder import (
    VIDEO_SUFFIXES,
    VideoTree,
    build_video_folder,
    describe_ignored,
    scan_video_tree,
    split_by_folders,
    summary_table,
)


@dataclass
class BuildVideoFolderArguments:
    """Which videos, where to, and how they are split: give one of the four ways to split."""

    root: str = field(metadata={"help": "Folder of <class>/<video>, or <split>/<class>/<video> with --split_dirs."})
    out: str = field(metadata={"help": "Folder to write: Parquet tables, manifest.json, skipped.jsonl and the card."})
    source: str = field(
        default="", metadata={"help": "Data set and revision, such as ucf101@1.0. Default: root's name."}
    )
    description: str = field(default="", metadata={"help": "A paragraph for the dataset card."})
    split_dirs: bool = field(default=False, metadata={"help": "Split 1: the first folder names the split."})
    split_files: list[str] = field(
        default_factory=list, metadata={"help": "Split 2: split=file pairs; a line is <class>/<video>[ anything]."}
    )
    fractions: list[str] = field(
        default_factory=list,
        metadata={"help": "Split 3: split=fraction pairs; by class, or by whole groups where there are groups."},
    )
    test_groups: list[str] = field(
        default_factory=list, metadata={"help": "Split 4: these groups are the test split, others train."}
    )
    validation_groups: list[str] = field(
        default_factory=list, metadata={"help": "Groups whose videos are the validation split."}
    )
    group_pattern: str | None = field(
        default=None, metadata={"help": "Regular expression on the path; its first group names the video's group."}
    )
    groups_file: str | None = field(
        default=None,
        metadata={"help": "JSON object of video name -> group, in place of a pattern. Videos without are left out."},
    )
    seed: int = field(default=0, metadata={"help": "Seed of --fractions."})
    suffixes: list[str] = field(
        default_factory=lambda: list(VIDEO_SUFFIXES), metadata={"help": "Suffixes of video files; others are ignored."}
    )
    more_suffixes: list[str] = field(
        default_factory=list,
        metadata={"help": "Suffixes of video files beside those; 'none' stands for files without one."},
    )
    num_proc: int = field(default=1, metadata={"help": "Processes that read videos."})
    decode_all: bool = field(
        default=False, metadata={"help": "Decode every frame, and leave out videos with damage anywhere. Slow."}
    )
    max_pixels: int | None = field(default=None, metadata={"help": "Leave out videos with larger frames."})


def parse_pairs(flag: str, pairs: list[str]) -> dict[str, str]:
    """`["train=a.txt"]` to `{"train": "a.txt"}`."""
    parsed = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
    if len(parsed) != len(pairs) or not all(name and value for name, value in parsed.items()):
        raise ManifestError(f"{flag} takes split=value pairs with each split once, got {pairs}")
    return parsed


def assign_splits(args: BuildVideoFolderArguments, tree: VideoTree, groups: dict[str, str] | None) -> SplitAssignment:
    """The splits that the flags ask for.

    Raises:
        ManifestError: none of the ways to split is given, or more than one, or they do not fit the tree.
    """
    held_out = {"test": args.test_groups, "validation": args.validation_groups}
    held_out = {split: names for split, names in held_out.items() if names}
    ways = [args.split_dirs, args.split_files, args.fractions, held_out]
    if sum(map(bool, ways)) != 1:
        raise ManifestError("give one of --split_dirs, --split_files, --fractions, --test_groups/--validation_groups")
    if args.split_dirs:
        return split_by_folders(tree)
    if args.split_files:
        return split_by_files(list(tree.class_of), parse_pairs("--split_files", args.split_files))
    if args.fractions:
        class_of = tree.class_of if groups is None else {path: tree.class_of[path] for path in groups}
        return with_unlisted(split_by_fractions(class_of, parse_fractions(args.fractions), args.seed, groups), tree)
    if groups is None:
        raise ManifestError("--test_groups and --validation_groups need --group_pattern or --groups_file")
    return with_unlisted(split_by_groups(groups, held_out), tree)


def with_unlisted(assignment: SplitAssignment, tree: VideoTree) -> SplitAssignment:
    """The same with the videos that have no group, which are left out and listed."""
    return replace(assignment, unlisted=[path for path in tree.class_of if path not in assignment.split_of])


def parse_fractions(pairs: list[str]) -> dict[str, float]:
    """`["train=0.8", "test=0.2"]` to numbers."""
    try:
        return {split: float(value) for split, value in parse_pairs("--fractions", pairs).items()}
    except ValueError as error:
        raise ManifestError(f"--fractions takes numbers: {error}") from error


def build(args: BuildVideoFolderArguments) -> None:
    """Scan, split, probe, write, and print what came of it."""
    tree = scan_video_tree(args.root, args.split_dirs, [*args.suffixes, *args.more_suffixes])
    if args.group_pattern and args.groups_file:
        raise ManifestError("give one of --group_pattern and --groups_file")
    groups = None
    if args.group_pattern:
        groups = groups_from_pattern(tree.class_of, args.group_pattern)
    elif args.groups_file:
        groups = groups_from_file(tree.class_of, args.groups_file)
    report = build_video_folder(
        tree,
        args.out,
        assign_splits(args, tree, groups),
        source=args.source or Path(args.root).resolve().name,
        groups=groups,
        description=args.description,
        num_proc=args.num_proc,
        decode_all=args.decode_all,
        max_pixels=args.max_pixels,
    )
    print(summary_table(report))
    print(describe_ignored(tree))
    print(f"written to {args.out}")


def main() -> int:
    """Run the command line; a mistake ends with one line that names it."""
    return run_command(build, BuildVideoFolderArguments)


if __name__ == "__main__":
    sys.exit(main())
