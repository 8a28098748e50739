"""Build a data set: `vidreason-build DATA_SET --help` says what each builder wants.

    vidreason-build synthetic-actions --out data/world
    vidreason-build video-folder --root my_videos --out data/manifest --fractions train=0.8 test=0.2

Each builder is a script of its own too, such as `datasets_scripts/build_ucf101.py`.
"""

from __future__ import annotations

import argparse
import sys
from importlib import import_module

from vidreason.command_line import OneLineParser, end_with_status

BUILDERS = {
    "video-folder": "any tree of <class>/<video>",
    "ucf101": "UCF101",
    "ucf50": "UCF50",
    "something-something-v2": "Something-Something v2",
    "desktop-assembly": "Desktop Assembly, with its action segments",
    "gmdcsa24": "GMDCSA24, with its action segments",
    "kinetics400": "Kinetics-400",
    "mimetics": "Mimetics, with the labels of Kinetics-400",
    "multisports": "MultiSports: a clip of each action instance, with the actors' boxes",
    "few-shot": "a few videos a class of another manifest, or a published list",
    "joined": "several manifests with the same classes, to train on one and test on another",
    "questions": "a table of questions of a benchmark of video question answering",
    "synthetic-actions": "rendered clips of twelve actions, with full ground truth",
    "synthetic-assembly": "rendered long videos of many actions, with full ground truth",
}


def main() -> int:
    """Run the builder that the first word names, with the flags after it."""
    return end_with_status(_build)


def _build() -> int:
    parser = OneLineParser(
        description=__doc__,
        epilog="data sets:\n" + "\n".join(f"  {name:<24}{text}" for name, text in BUILDERS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("data_set", choices=BUILDERS, metavar="DATA_SET", help="one of those below")
    name = parser.parse_args(sys.argv[1:2]).data_set
    # a builder reads sys.argv, as the script that it also is; its usage line then shows both words
    sys.argv = [f"{parser.prog} {name}", *sys.argv[2:]]
    return import_module(f"datasets_scripts.build_{name.replace('-', '_')}").main()


if __name__ == "__main__":
    sys.exit(main())
