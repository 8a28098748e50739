"""Commands of the whole: what `train.py` and the scripts of the wheel run, above every room."""

from __future__ import annotations

import logging
import sys

from .command_line import end_with_status
from .rs.run import parse_arguments, run_training


def train() -> int:
    """Train by the command line's recipe and flags; a mistake in them or in the data ends with one line.

    Returns:
        What the process should exit with.
    """
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    return end_with_status(_train)


def _train() -> None:
    result = run_training(*parse_arguments(sys.argv[1:]))
    for split, metrics in result.metrics.items():
        shown = ", ".join(f"{name} {value:.4f}" for name, value in metrics.items() if value is not None)
        print(f"{split}: {shown}")
    for split, videos in result.skipped.items():
        print(f"{split}: {len(videos)} videos could not be read: {', '.join(videos)}")


if __name__ == "__main__":
    sys.exit(train())
