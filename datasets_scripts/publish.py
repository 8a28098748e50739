"""Write a guidance table as it goes to the Hub, and send it there when told to.

    python datasets_scripts/publish.py --guidance data/guidance --out data/published --repo_id org/name \
        --license cc-by-4.0
    python datasets_scripts/publish.py --guidance data/guidance --out data/published --repo_id org/name \
        --license cc-by-4.0 --overwrite --push

Without --push nothing leaves this machine: the files that would go are listed.
"""

from __future__ import annotations

import importlib.resources
import sys
from dataclasses import dataclass, field
from pathlib import Path

from vidreason.command_line import run_command
from vidreason.errors import ConfigError
from vidreason.files import FileLimits
from vidreason.manifests.manifest import load_manifest
from vidreason.publishing.guidance_card import read_prompt_texts
from vidreason.publishing.guidance_folder import (
    DEFAULT_LIMITS,
    PublishedFolder,
    PublishSettings,
    publish_folder,
    push_folder,
)


@dataclass
class PublishArguments:
    """What is published, where to, and what its card says."""

    guidance: str = field(metadata={"help": "Folder of the guidance table."})
    out: str = field(metadata={"help": "Folder to write: exactly what goes to the Hub."})
    repo_id: str | None = field(default=None, metadata={"help": "Where it goes on the Hub, <owner>/<name>."})
    push: bool = field(default=False, metadata={"help": "Send it. Without this, nothing leaves this machine."})
    private: bool = field(default=False, metadata={"help": "A repository that is made for it is private."})
    license: str | None = field(default=None, metadata={"help": "Licence of the guidance, such as cc-by-4.0."})
    title: str = field(default="Grid guidance", metadata={"help": "Heading of the card."})
    description: str = field(default="", metadata={"help": "A paragraph for the card."})
    examples: int = field(default=4, metadata={"help": "Frames in the example picture; 0 for none."})
    manifest: str | None = field(default=None, metadata={"help": "Folder of the manifest, for --with_pixels."})
    video_root: str | None = field(default=None, metadata={"help": "Where the videos lie, if not where it says."})
    with_pixels: bool = field(
        default=False, metadata={"help": "Show the videos in the example picture; their licence must allow it."}
    )
    prompt_files: list[str] = field(
        default_factory=list, metadata={"help": "Prompts of your own; those of this library are known."}
    )
    raw_responses: bool = field(default=True, metadata={"help": "Keep what a model said, word for word."})
    max_rows_per_file: int = field(default=DEFAULT_LIMITS.max_rows, metadata={"help": "Of a Parquet file."})
    max_mb_per_file: int = field(default=DEFAULT_LIMITS.max_bytes // 1_000_000, metadata={"help": "In 10^6 bytes."})
    seed: int = field(default=0, metadata={"help": "Of the choice of examples."})
    overwrite: bool = field(default=False, metadata={"help": "Replace what an earlier call wrote to --out."})


def publish(args: PublishArguments) -> None:
    """Write, list, and send if told to.

    Raises:
        VidreasonError: the table cannot be published, or the Hub does not take it.
    """
    if args.push and not args.repo_id:
        raise ConfigError("--push needs --repo_id, the place on the Hub")
    settings = PublishSettings(
        title=args.title,
        description=args.description,
        license=args.license,
        repo_id=args.repo_id,
        num_examples=args.examples,
        with_pixels=args.with_pixels,
        raw_responses=args.raw_responses,
        limits=FileLimits(args.max_rows_per_file, args.max_mb_per_file * 1_000_000),
        seed=args.seed,
        overwrite=args.overwrite,
    )
    manifest = load_manifest(args.manifest, args.video_root) if args.manifest and args.with_pixels else None
    texts = read_prompt_texts([*library_prompts(), *args.prompt_files])
    published = publish_folder(args.guidance, args.out, settings, texts, manifest)
    print_files(published)
    if args.push:
        print(f"published: {push_folder(published, args.repo_id, args.private)}")
    else:
        place = args.repo_id or "a repository that --repo_id names"
        print(f"nothing was sent; with --push these files would go to {place}")


def library_prompts() -> list[Path]:
    """The prompt files of the library's annotators."""
    folder = Path(str(importlib.resources.files("vidreason.annotation.grid"))) / "prompt_texts"
    return sorted(folder.glob("*.txt"))


def print_files(published: PublishedFolder) -> None:
    """The files and their sizes."""
    for name, size in published.files.items():
        print(f"{size:>14,} bytes  {name}")
    print(f"{sum(published.files.values()):>14,} bytes in {len(published.files)} files, {published.num_rows:,} rows")


def main() -> int:
    """Run the command line; a mistake ends with one line that names it."""
    return run_command(publish, PublishArguments)


if __name__ == "__main__":
    sys.exit(main())
