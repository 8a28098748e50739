"""Render the synthetic actions: labelled H.264 clips with a manifest, and the ground truth of every frame.

python datasets_scripts/build_synthetic_actions.py --out outputs/synthetic --seed 0
"""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass, field

from vidreason.command_line import run_command
from vidreason.synthetic import DEFAULT_SPLIT_SIZES, SPLITS, TRUTH_FOLDER, WorldConfig, build_synthetic_actions


@dataclass
class BuildArguments:
    """What to build. A split of size 0 is left out."""

    out: str = field(metadata={"help": "Folder to write; a complete one with the same settings is left as it is."})
    seed: int = field(default=0, metadata={"help": "Seed of the world."})
    train: int = field(default=DEFAULT_SPLIT_SIZES["train"], metadata={"help": "Number of training clips."})
    validation: int = field(
        default=DEFAULT_SPLIT_SIZES["validation"], metadata={"help": "Number of clips for validation."}
    )
    test: int = field(default=DEFAULT_SPLIT_SIZES["test"], metadata={"help": "Number of test clips."})
    test_shifted: int = field(
        default=DEFAULT_SPLIT_SIZES["test_shifted"],
        metadata={"help": "Number of test clips whose nuisances are independent of the label."},
    )
    num_proc: int = field(default=2, metadata={"help": "Processes that render."})
    overwrite: bool = field(default=False, metadata={"help": "Build anew what is there."})


def build(arguments: BuildArguments, config: WorldConfig) -> None:
    """Build and say what is there.

    Raises:
        ConfigError: settings that make no data set, or a folder that holds something else.
    """
    sizes = {split: getattr(arguments, split) for split in SPLITS if getattr(arguments, split) != 0}
    manifest = build_synthetic_actions(
        arguments.out, config, sizes, arguments.seed, arguments.num_proc, arguments.overwrite, progress=True
    )
    for split, rows in manifest.splits.items():
        print(f"{split}: {len(rows)} clips")
    print(f"videos and manifest in {arguments.out}, ground truth in {arguments.out}/{TRUTH_FOLDER}")


def main() -> int:
    """Run the command line; a mistake ends with one line that names it."""
    return run_command(build, BuildArguments, WorldConfig, log_level=logging.INFO)


if __name__ == "__main__":
    sys.exit(main())
