"""Make guidance for videos without a key: from movement, or from ground truth through a noise model.

    python datasets_scripts/annotate.py --manifest data/manifest --annotator motion --out data/guidance_motion
    python datasets_scripts/annotate.py --manifest data/world --annotator truth --truth data/world/truth \
        --misplaced_cells 0.1 --out data/guidance_noisy
"""

import logging
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field

from tqdm.auto import tqdm
from transformers import HfArgumentParser

from vidreason.errors import ConfigError, VidreasonError
from vidreason.guidance import write_guidance
from vidreason.parquet_folder import read_folder
from vidreason.rs.annotators import MotionAnnotator, NoiseModel, truth_guidance
from vidreason.video.manifest import load_manifest


@dataclass
class AnnotateArguments:
    """What to annotate, how, and where to."""

    out: str = field(metadata={"help": "Folder of the guidance table."})
    manifest: str = field(metadata={"help": "Folder of the manifest of videos."})
    annotator: str = field(default="motion", metadata={"help": "Who annotates.", "choices": ["motion", "truth"]})
    splits: list[str] = field(default_factory=lambda: ["train"], metadata={"help": "Splits to annotate."})
    grid: list[int] = field(default_factory=lambda: [4, 4], metadata={"help": "Rows and columns of the grid."})
    video_root: str | None = field(default=None, metadata={"help": "Where the videos lie, if not where it says."})
    frames_per_second: float | None = field(
        default=None, metadata={"help": "motion: frames of each video that get a row; every frame by default."}
    )
    truth: str | None = field(default=None, metadata={"help": "truth: folder of the ground truth."})
    missed_frames: float = field(default=0.0, metadata={"help": "truth: probability that a frame gets no answer."})
    misplaced_cells: float = field(default=0.0, metadata={"help": "truth: that a marked cell moves to a neighbour."})
    extra_cells: float = field(default=0.0, metadata={"help": "truth: that another cell is marked as well."})
    seed: int = field(default=0, metadata={"help": "truth: of the mistakes."})


def annotate(args: AnnotateArguments) -> None:
    """Annotate and write the table.

    Raises:
        VidreasonError: the manifest, the truth or a setting is not usable.
    """
    if len(args.grid) != 2:
        raise ConfigError(f"grid is {args.grid}, expected rows and columns")
    grid = (args.grid[0], args.grid[1])
    rows = motion_rows(args, grid) if args.annotator == "motion" else truth_rows(args, grid)
    write_guidance(args.out, rows, title=f"Grid guidance ({args.annotator})")
    print(f"guidance for {', '.join(args.splits)} is in {args.out}")


def motion_rows(args: AnnotateArguments, grid: tuple[int, int]) -> dict[str, Iterator[dict]]:
    """Split -> rows from movement."""
    manifest = load_manifest(args.manifest, args.video_root)
    annotator = MotionAnnotator(grid=grid)
    return {
        split: with_progress(annotator.annotate(manifest, split, args.frames_per_second), split)
        for split in args.splits
    }


def truth_rows(args: AnnotateArguments, grid: tuple[int, int]) -> dict[str, Iterator[dict]]:
    """Split -> rows from ground truth."""
    if args.truth is None:
        raise ConfigError("--truth is not set: name the folder of the ground truth")
    truth = read_folder(args.truth)
    missing = [split for split in args.splits if split not in truth]
    if missing:
        raise ConfigError(f"{args.truth} has no splits {missing}; it has {sorted(truth)}")
    noise = NoiseModel(args.missed_frames, args.misplaced_cells, args.extra_cells, args.seed)
    return {split: with_progress(truth_guidance(truth[split], grid, noise), split) for split in args.splits}


def with_progress(rows: Iterator[dict], split: str) -> Iterator[dict]:
    """The rows, counted on a progress bar."""
    yield from tqdm(rows, desc=split, unit=" frames")


def main() -> int:
    """Run; a mistake ends with one line that names it."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    (args,) = HfArgumentParser(AnnotateArguments).parse_args_into_dataclasses()
    try:
        annotate(args)
    except VidreasonError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
