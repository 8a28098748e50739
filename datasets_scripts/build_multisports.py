"""Cut the action instances of MultiSports into clips, with a manifest and the boxes of the actors.

python datasets_scripts/build_multisports.py --root multisports/trainval --out data/multisports --num_proc 8 \
        --validation_fraction 0.1 --max_train_instances 5000
"""

from __future__ import annotations

import sys

from vidreason.command_line import run_command
from vidreason.manifests.layouts import build_multisports, describe_instances, read_multisports
from vidreason.manifests.layouts.multisports import MultiSportsArguments


def build(args: MultiSportsArguments) -> None:
    """Read the layout, cut the clips, build the manifest, and print what came of all instances.

    Raises:
        VidreasonError: The layout or a setting is not usable.
    """
    data = read_multisports(args.root, args.annotations, args.allow_incomplete, args.suffixes)
    print(describe_instances(data, build_multisports(data, args)))


def main() -> int:
    """Run the command line; a mistake ends with one line that names it."""
    return run_command(build, MultiSportsArguments)


if __name__ == "__main__":
    sys.exit(main())
