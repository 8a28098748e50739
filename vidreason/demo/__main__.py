"""`python -m vidreason.demo`: see the package."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from transformers import HfArgumentParser
from transformers.utils import logging as transformers_logging

from ..errors import VidreasonError
from .report import summary
from .run import DemoArguments, run_demo


def main(arguments: list[str] | None = None) -> int:
    """Run the demo; a mistake ends with one line that names it."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()  # of loading a megabyte of weights, among the bars of what takes long
    parser = HfArgumentParser(DemoArguments)  # type: ignore[arg-type]  # its NewType fits no dataclass
    (args,) = parser.parse_args_into_dataclasses(arguments)
    try:
        report = run_demo(args)
    except VidreasonError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    print(summary(report))
    print(f"report, curves, overlays and the models that were trained here are in {Path(args.output_dir)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
