"""`python -m vidreason.demo`: see the package."""

from __future__ import annotations

import sys
from pathlib import Path

from transformers.utils import logging as transformers_logging

from ..command_line import run_command
from .report import summary
from .run import DemoArguments, run_demo


def main(arguments: list[str] | None = None) -> int:
    """Run the demo; a mistake ends with one line that names it."""
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()  # of loading a megabyte of weights, among the bars of what takes long
    return run_command(_run, DemoArguments, arguments=arguments)


def _run(args: DemoArguments) -> None:
    print(summary(run_demo(args)))
    print(f"report, curves, overlays and the models that were trained here are in {Path(args.output_dir)}")


if __name__ == "__main__":
    sys.exit(main())
