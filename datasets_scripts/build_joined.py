"""One manifest of several with the same classes, to train on one data set and to test on another.

python datasets_scripts/build_joined.py --manifest manifests/k400 --add mimetics=manifests/mimetics:test \
        --out manifests/k400_mimetics
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field

from vidreason.command_line import run_command
from vidreason.errors import ManifestError
from vidreason.manifests.joined import join_manifests
from vidreason.manifests.manifest import Manifest, load_manifest


@dataclass
class BuildJoinedArguments:
    """Which manifests, and where to."""

    manifest: str = field(metadata={"help": "Folder of the manifest whose splits keep their names."})
    add: list[str] = field(metadata={"help": "Further splits, as <new name>=<folder of a manifest>:<its split>."})
    out: str = field(metadata={"help": "Folder to write."})


def parse_added(pairs: list[str]) -> dict[str, tuple[Manifest, str]]:
    """`["mimetics=manifests/mimetics:test"]` to the new split's name, its manifest and its split there.

    Raises:
        ManifestError: One of another form, a name twice, or a manifest that cannot be opened.
    """
    added: dict[str, tuple[Manifest, str]] = {}
    for pair in pairs:
        name, _, rest = pair.partition("=")
        folder, _, split = rest.rpartition(":")
        if not (name and folder and split):
            raise ManifestError(f"--add takes <new name>=<folder>:<split>, got {pair!r}")
        if name in added:
            raise ManifestError(f"--add names the split {name!r} twice")
        added[name] = load_manifest(folder), split
    return added


def build(args: BuildJoinedArguments) -> None:
    """Write the manifest, and print its splits."""
    joined = join_manifests(args.out, load_manifest(args.manifest), parse_added(args.add))
    for name, rows in joined.splits.items():
        print(f"{name:<16}{len(set(rows['label'])):>9} classes{rows.num_rows:>9} videos")
    print(f"written to {args.out}")


def main() -> int:
    """Run the command line; a mistake ends with one line that names it."""
    return run_command(build, BuildJoinedArguments)


if __name__ == "__main__":
    sys.exit(main())
