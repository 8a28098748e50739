"""Serve the Space on this machine, from an installed package: `vidreason-space` or `python -m space_app`.

Settings are environment variables, as on the Hub: MODEL_IDS names the checkpoints, folders or Hub ids, separated by
commas. The page says which others there are: https://github.com/vidreason/vidreason/blob/main/docs/space.md
"""

from __future__ import annotations

import argparse
import importlib.util
import runpy
import sys
from pathlib import Path

from vidreason.command_line import OneLineParser, end_with_status


def main() -> int:
    """Serve until stopped."""
    return end_with_status(_serve)


def _serve() -> int:
    formatter = argparse.RawDescriptionHelpFormatter
    OneLineParser("vidreason-space", description=__doc__, formatter_class=formatter).parse_args()
    if importlib.util.find_spec("gradio") is None:
        print('the Space wants gradio: pip install "vidreason[space]"', file=sys.stderr)
        return 1
    folder = Path(__file__).resolve().parent
    sys.path.insert(0, str(folder))  # `app.py` imports `clipview` from the top, as it lies in a Space's repository
    runpy.run_path(str(folder / "app.py"), run_name="__main__")
    return 0


if __name__ == "__main__":
    sys.exit(main())
