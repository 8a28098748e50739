"""Write a table of guidance, detections, questions or graphs as it goes to the Hub, and send it there when told to.

    python datasets_scripts/publish.py --guidance data/guidance --out data/published --repo_id org/name \
        --license cc-by-4.0
    python datasets_scripts/publish.py --guidance data/guidance --out data/published --repo_id org/name \
        --license cc-by-4.0 --overwrite --push
    python datasets_scripts/publish.py --table data/detections --out data/published
    python datasets_scripts/publish.py --table data/nextqa --out data/published --license mit
    python datasets_scripts/publish.py --table data/graphs --out data/published --license mit

Without --push nothing leaves this machine: the files that would go are listed.
"""

from __future__ import annotations

import importlib.resources
import sys
from dataclasses import dataclass, field
from pathlib import Path

from vidreason.command_line import run_command
from vidreason.errors import ConfigError
from vidreason.manifests.manifest import load_manifest
from vidreason.publishing.guidance_card import read_prompt_texts
from vidreason.publishing.guidance_folder import (
    PublishedFolder,
    PublishSettings,
    publish_folder,
    push_folder,
)
from vidreason.publishing.table_kinds import KINDS
from vidreason.videoqa.question_kind import QUESTIONS


@dataclass
class PublishArguments:
    """What is published, and where to."""

    guidance: str = field(
        metadata={
            "help": "Folder of the table, of guidance, detections, questions or scene graphs.",
            "aliases": ["--table", "--detections"],
        }
    )
    out: str = field(metadata={"help": "Folder to write: exactly what goes to the Hub."})
    push: bool = field(default=False, metadata={"help": "Send it. Without this, nothing leaves this machine."})
    private: bool = field(default=False, metadata={"help": "A repository that is made for it is private."})
    manifest: str | None = field(default=None, metadata={"help": "Folder of the manifest, for --with_pixels."})
    video_root: str | None = field(
        default=None, metadata={"help": "Folder of the videos, if they are not where the manifest says."}
    )
    allow_outside_paths: bool = field(
        default=False,
        metadata={"help": "Take a manifest whose paths may leave the videos' folder, to any file of this machine."},
    )
    prompt_files: list[str] = field(
        default_factory=list, metadata={"help": "Prompts of your own; those of this library are known."}
    )


def publish(args: PublishArguments, settings: PublishSettings) -> None:
    """Write, list, and send if told to.

    Raises:
        VidreasonError: the table cannot be published, or the Hub does not take it.
    """
    if args.push and not settings.repo_id:
        raise ConfigError("--push needs --repo_id, the place on the Hub")
    manifest = None
    if args.manifest and settings.with_pixels:
        manifest = load_manifest(args.manifest, args.video_root, args.allow_outside_paths)
    texts = read_prompt_texts([*library_prompts(), *args.prompt_files])
    published = publish_folder(args.guidance, args.out, settings, texts, manifest, (QUESTIONS, *KINDS))
    print_files(published)
    if args.push and settings.repo_id:
        print(f"published: {push_folder(published, settings.repo_id, args.private)}")
    else:
        place = settings.repo_id or "a repository that --repo_id names"
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
    return run_command(publish, PublishArguments, PublishSettings)


if __name__ == "__main__":
    sys.exit(main())
