r"""Turn a copy of Desktop Assembly into a manifest folder with a table of its actions in `segments`.

    python datasets_scripts/build_desktop_assembly.py --root desktop_assembly --videos recordings \
        --out manifests/assembly --fractions train=0.8 test=0.2 --group_pattern "^(\d+-\d+-\d+)"
    python datasets_scripts/build_desktop_assembly.py --root desktop_assembly --out manifests/assembly --split 1

The first divides whole days of recording at random, the second takes `splits/train.split1.bundle` and
`splits/test.split1.bundle`. The released labels come at about 10 a second: videos with more frames need `--label_fps`.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field

from vidreason.command_line import run_command
from vidreason.errors import ManifestError
from vidreason.manifests.layouts import (
    LayoutArguments,
    build_desktop_assembly,
    describe_reports,
    read_desktop_assembly,
)


@dataclass
class BuildDesktopAssemblyArguments(LayoutArguments):
    """Where the labels (groundTruth, mapping) and the videos are. --root is the folder of groundTruth."""

    videos: str | None = field(default=None, metadata={"help": "Folder of the videos. Default: videos in the root."})
    split: int | None = field(default=None, metadata={"help": "Number of the bundles, as in train.split1.bundle."})
    fractions: list[str] = field(
        default_factory=list, metadata={"help": "split=fraction pairs, to divide the videos at random instead."}
    )
    seed: int = field(default=0, metadata={"help": "Seed of --fractions."})
    group_pattern: str | None = field(
        default=None, metadata={"help": "Regular expression on the file name; its first group is never divided."}
    )
    label_fps: float | None = field(
        default=None, metadata={"help": "Labels per second, where there is not one for every frame of a video."}
    )


def parse_fractions(pairs: list[str]) -> dict[str, float]:
    """`["train=0.8"]` to `{"train": 0.8}`."""
    try:
        fractions = {name: float(value) for name, value in (pair.split("=", 1) for pair in pairs)}
    except ValueError as error:
        raise ManifestError(f"--fractions takes split=number pairs, got {pairs}") from error
    if len(fractions) != len(pairs):
        raise ManifestError(f"--fractions names a split twice: {pairs}")
    return fractions


def build(args: BuildDesktopAssemblyArguments) -> None:
    """Read the layout, build the manifest, and print what came of it.

    Raises:
        VidreasonError: the layout or a setting is not usable.
    """
    data = read_desktop_assembly(
        args.root,
        args.videos,
        args.split,
        parse_fractions(args.fractions),
        args.seed,
        args.group_pattern,
        args.label_fps,
        args.allow_incomplete,
        args.suffixes,
    )
    print(describe_reports(data.layout, build_desktop_assembly(data, args)))


def main() -> int:
    """Run the command line; a mistake ends with one line that names it."""
    return run_command(build, BuildDesktopAssemblyArguments)


if __name__ == "__main__":
    sys.exit(main())
