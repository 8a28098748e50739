"""Turn a copy of Mimetics into a manifest folder with one split, test, and the label ids of Kinetics-400.

python datasets_scripts/build_mimetics.py --root mimetics --labels manifests/k400 --out manifests/mimetics
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field

from vidreason.command_line import run_command
from vidreason.manifests.layouts import LayoutArguments, build_layout, describe_reports, read_mimetics


@dataclass
class BuildMimeticsArguments(LayoutArguments):
    """Where the videos (<youtube id>_<start>_<end>.mp4), their list and the classes of Kinetics-400 are."""

    annotations: str | None = field(
        default=None, metadata={"help": "The list. Default: mimetics*.csv in the root or beside it."}
    )
    labels: str | None = field(
        default=None, metadata={"help": "Manifest of Kinetics-400, or a file of its class names. Needed."}
    )


def build(args: BuildMimeticsArguments) -> None:
    """Read the layout, build the manifest, and print what came of it.

    Raises:
        VidreasonError: The layout or a setting is not usable.
    """
    layout = read_mimetics(args.root, args.annotations, args.labels, args.allow_incomplete, args.suffixes)
    print(describe_reports(layout, build_layout(layout, args)))


def main() -> int:
    """Run the command line; a mistake ends with one line that names it."""
    return run_command(build, BuildMimeticsArguments)


if __name__ == "__main__":
    sys.exit(main())
