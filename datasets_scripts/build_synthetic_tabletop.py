"""Render the synthetic tabletop: videos to ask questions about, with a manifest and the ground truth of every frame.

python datasets_scripts/build_synthetic_tabletop.py --out outputs/tabletop --seed 100
python datasets_scripts/build_synthetic_tabletop.py --out outputs/small --split_sizes '{"train": 40, "test": 20}'
"""

from __future__ import annotations

import json
import logging
import sys
from dataclasses import dataclass, field

from vidreason.command_line import run_command
from vidreason.synthetic import TRUTH_FOLDER
from vidreason.synthetic.tabletop import DEFAULT_SPLIT_SIZES, TabletopConfig, build_synthetic_tabletop
from vidreason.synthetic.world_folder import read_split_sizes


@dataclass
class BuildArguments:
    """What to build."""

    out: str = field(metadata={"help": "Folder to write; a complete one with the same settings is left as it is."})
    split_sizes: str = field(
        default=json.dumps(DEFAULT_SPLIT_SIZES), metadata={"help": "Number of videos of each split, as JSON."}
    )
    seed: int = field(default=0, metadata={"help": "Seed of the world."})
    num_proc: int = field(default=2, metadata={"help": "Processes that render."})
    overwrite: bool = field(default=False, metadata={"help": "Build anew what is there."})


def build(arguments: BuildArguments, config: TabletopConfig) -> None:
    """Build and say what is there.

    Raises:
        ConfigError: settings that make no data set, or a folder that holds something else.
    """
    sizes = read_split_sizes(arguments.split_sizes, DEFAULT_SPLIT_SIZES)
    manifest = build_synthetic_tabletop(
        arguments.out, config, sizes, arguments.seed, arguments.num_proc, arguments.overwrite, progress=True
    )
    for split, rows in manifest.splits.items():
        print(f"{split}: {len(rows)} videos, {sum(rows['duration_s']) / 60:.1f} minutes")
    print(f"videos and manifest in {arguments.out}, ground truth in {arguments.out}/{TRUTH_FOLDER}")


def main() -> int:
    """Run the command line; a mistake ends with one line that names it."""
    return run_command(build, BuildArguments, TabletopConfig, log_level=logging.INFO)


if __name__ == "__main__":
    sys.exit(main())
