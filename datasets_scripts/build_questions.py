"""Turn a benchmark of video question answering into a table of questions, from the files that its authors publish.

    python datasets_scripts/build_questions.py --benchmark nextqa --data NExT-QA/dataset/nextqa --split val \
        --out data/nextqa
    python datasets_scripts/build_questions.py --benchmark star --data STAR --split train val --out data/star \
        --manifest data/charades --drop_unanswerable

Every entry of the source is a row, or is dropped by a reason that is counted and named, in `dropped.jsonl` too. With a
manifest, questions about videos that it lacks are counted and named, and left out where --drop_unanswerable says so.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field

from vidreason.command_line import run_command
from vidreason.manifests.manifest import load_manifest
from vidreason.videoqa.benchmarks import BENCHMARKS
from vidreason.videoqa.building import BuildReport, BuildSettings, build_questions


@dataclass
class BuildQuestionsArguments:
    """Which benchmark, where its files are, and what is made of them."""

    benchmark: str = field(metadata={"help": "Name of the benchmark.", "choices": sorted(BENCHMARKS)})
    data: str = field(metadata={"help": "Folder of its files, as they are published."})
    split: list[str] = field(metadata={"help": "Splits, named as in the files' names; test for MVBench, TempCompass."})
    out: str = field(metadata={"help": "Folder to write: Parquet tables, the card and dropped.jsonl."})
    manifest: str | None = field(default=None, metadata={"help": "Folder of the manifest of the videos."})
    video_root: str | None = field(
        default=None, metadata={"help": "Folder of the videos, if they are not where the manifest says."}
    )
    match_by_name: bool = field(
        default=False,
        metadata={"help": "Find a video in the manifest by the last part of its id too, where one video has it."},
    )
    drop_unanswerable: bool = field(
        default=False,
        metadata={"help": "Leave out questions about videos that the manifest lacks, or a time after a video's end."},
    )
    tolerant: bool = field(
        default=False,
        metadata={"help": "Mend commas before closing brackets, and closing brackets after the end, in JSON."},
    )
    allow_incomplete: bool = field(
        default=False, metadata={"help": "Take a benchmark of several files where some are missing."}
    )


def build(args: BuildQuestionsArguments) -> None:
    """Read the benchmark, write the table, and print what came of every entry.

    Raises:
        VidreasonError: The files, the manifest or a setting are not usable.
    """
    manifest = load_manifest(args.manifest, args.video_root) if args.manifest else None
    settings = BuildSettings(args.tolerant, args.allow_incomplete, args.match_by_name, args.drop_unanswerable)
    print_report(build_questions(args.benchmark, args.data, args.split, args.out, manifest, settings))


def print_report(report: BuildReport) -> None:
    """What was kept and dropped, by split and reason, and the first entries that were dropped."""
    print("\n".join([report.split_table(), *report.lines(), *report.named_drops()]))


def main() -> int:
    """Run the command line; a mistake ends with one line that names it."""
    return run_command(build, BuildQuestionsArguments)


if __name__ == "__main__":
    sys.exit(main())
