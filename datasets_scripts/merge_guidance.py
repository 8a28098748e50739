r"""Merge guidance tables of the same videos into one, or fill in the frames between annotated ones, or both.

python datasets_scripts/merge_guidance.py --tables data/llm_a data/llm_b --out data/llm
python datasets_scripts/merge_guidance.py --tables data/llm data/motion --weights 3 1 --out data/mixed
python datasets_scripts/merge_guidance.py --tables data/llm --out data/llm_10fps \
        --interpolate_fps 10 --manifest data/manifest --max_gap_s 1

What every merged row was made of is on record in the row.
"""

import logging
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path

from datasets import Dataset

from vidreason.annotation.frames import FramePolicy, frame_keys
from vidreason.annotation.job import merge_runs, read_run, write_run
from vidreason.command_line import run_command
from vidreason.errors import ConfigError, VideoError, one_of_many
from vidreason.guidance import load_guidance, write_guidance
from vidreason.guidance.interpolate import interpolate_rows
from vidreason.guidance.merge import MERGE_TOLERANCE_S, merge_tables, rows_by_video
from vidreason.manifests.manifest import Manifest, load_manifest

logger = logging.getLogger("merge_guidance")


@dataclass
class MergeArguments:
    """Which tables, how they are merged, and which frames are filled in."""

    tables: list[str] = field(metadata={"help": "Guidance tables: folders, or data sets on the Hub."})
    out: str = field(metadata={"help": "Folder of the new table."})
    weights: list[float] = field(default_factory=list, metadata={"help": "One for each table; all alike by default."})
    grid: list[int] = field(
        default_factory=list, metadata={"help": "Rows and columns; each frame's finest if not set."}
    )
    tolerance_s: float = field(
        default=MERGE_TOLERANCE_S, metadata={"help": "Rows so near in time speak of one frame, in seconds."}
    )
    interpolate_fps: float | None = field(
        default=None, metadata={"help": "Fill in the frames of so many a second that lie between annotated ones."}
    )
    max_gap_s: float = field(
        default=1.0, metadata={"help": "Annotated frames that are farther apart are not interpolated, in seconds."}
    )
    manifest: str | None = field(
        default=None, metadata={"help": "Folder of the manifest of the videos, for --interpolate_fps."}
    )
    video_root: str | None = field(default=None, metadata={"help": "Where the videos lie, if not where it says."})
    allow_outside_paths: bool = field(
        default=False,
        metadata={"help": "Take a manifest whose paths may leave the videos' folder, to any file of this machine."},
    )


def merge_guidance(args: MergeArguments) -> None:
    """Merge, interpolate and write.

    Raises:
        VidreasonError: the tables, the manifest or a setting is not usable.
    """
    check_arguments(args)
    tables = [load_guidance(table) for table in args.tables]
    manifest = None
    if args.interpolate_fps is not None:
        manifest = load_manifest(args.manifest, args.video_root, args.allow_outside_paths)
    rows = {}
    for split in dict.fromkeys(split for table in tables for split in table):
        weighted = zip(tables, args.weights or [1.0] * len(tables), strict=True)
        parts = [(table[split], weight) for table, weight in weighted if split in table]
        rows[split] = split_rows(args, [part for part, _ in parts], [weight for _, weight in parts])
        if manifest is not None:
            rows[split] = interpolated(args, rows[split], manifest, split)
    write_guidance(args.out, rows, title="Grid guidance (merged)", description=describe(args))
    runs = [read_run(table) for table in args.tables]
    policy = "; ".join([*dict.fromkeys(run.policy for run in runs if run and run.policy), *filled_in(args)])
    write_run(args.out, replace(merge_runs(runs, policy), splits=tuple(rows)))
    print(f"guidance for {', '.join(rows)} is in {args.out}")


def check_arguments(args: MergeArguments) -> None:
    """Find settings that do not fit together.

    Raises:
        ConfigError: naming them.
    """
    if len(args.tables) < 2 and args.interpolate_fps is None:
        raise ConfigError("nothing to do: give two --tables or more, or --interpolate_fps")
    if args.interpolate_fps is not None and args.manifest is None:
        raise ConfigError("--interpolate_fps wants --manifest: it says which frames the videos have")
    if args.weights and len(args.weights) != len(args.tables):
        raise ConfigError(f"{len(args.weights)} --weights do not fit {len(args.tables)} --tables")
    if args.grid and (len(args.grid) != 2 or min(args.grid) < 1):
        raise ConfigError(f"--grid is {args.grid}, expected rows and columns")
    if Path(args.out).resolve() in [Path(table).resolve() for table in args.tables]:
        raise ConfigError(f"--out {args.out} is one of the tables; it would be overwritten")


def split_rows(args: MergeArguments, tables: list[Dataset], weights: list[float]) -> Iterator[dict]:
    """The merged rows of a split; of a single table, its own rows by video and time."""
    if len(args.tables) > 1:
        grid = (args.grid[0], args.grid[1]) if args.grid else None
        yield from merge_tables(tables, weights, grid=grid, tolerance_s=args.tolerance_s)
        return
    for _, (rows,) in rows_by_video(tables):
        yield from rows


def interpolated(args: MergeArguments, rows: Iterator[dict], manifest: Manifest, split: str) -> Iterator[dict]:
    """The rows with those of the frames in between. A video that is not there or not readable keeps what it has."""
    policy = FramePolicy(frames_per_second=args.interpolate_fps)
    videos = {row["video_id"]: row for row in manifest.splits[split]} if split in manifest.splits else {}
    for video_id, video_rows in groupby(rows, key=lambda row: row["video_id"]):
        keys = []
        if video_id not in videos:
            logger.warning("%s (%s) is not in the manifest; its rows stay as they are", video_id, split)
        else:
            try:
                with one_of_many(video_id):
                    keys = frame_keys(manifest, split, videos[video_id], policy)
            except VideoError as error:
                logger.warning("%s; its rows stay as they are", error)
        yield from interpolate_rows(list(video_rows), keys, args.max_gap_s)


def describe(args: MergeArguments) -> str:
    """A sentence or two for the card."""
    names = [Path(table).name for table in args.tables]
    text = f"From {names[0]}."
    if len(names) > 1:
        weights = args.weights or [1.0] * len(names)
        text = f"Merged from {', '.join(f'{name} (weight {w:g})' for name, w in zip(names, weights, strict=True))}."
    return " ".join([text, *(f"Rows of the producer `interpolate` are {words}." for words in filled_in(args))])


def filled_in(args: MergeArguments) -> list[str]:
    """What is interpolated, in words; nothing where nothing is."""
    if args.interpolate_fps is None:
        return []
    return [f"frames of {args.interpolate_fps:g} per second between annotated ones at most {args.max_gap_s:g} s apart"]


def main() -> int:
    """Run the command line; a mistake ends with one line that names it."""
    return run_command(merge_guidance, MergeArguments, log_level=logging.INFO)


if __name__ == "__main__":
    sys.exit(main())
