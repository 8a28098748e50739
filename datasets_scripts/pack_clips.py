"""Pack the sampled frames of videos with their guidance, so that training reads small pictures and no video files.

    python datasets_scripts/pack_clips.py --manifest data/world --guidance data/guidance --out data/packed \
        --frames_per_clip 24 --short_side_px 72
    python datasets_scripts/pack_clips.py --manifest data/world --guidance data/noisy test=data/true \
        --splits train test --long_side_px 320 --num_proc 8 --out data/packed
    python train.py recipe.yaml --manifest "" --packed_clips data/packed

A run may be stopped at any moment; the same command goes on with it.
"""

import logging
import sys
from dataclasses import dataclass, field

from vidreason.clips.packing import PackReport, PackRequest, PackSettings, pack_clips
from vidreason.command_line import run_command
from vidreason.errors import ConfigError
from vidreason.guidance.join import DEFAULT_TOLERANCE_S
from vidreason.manifests.manifest import load_manifest


@dataclass
class PackArguments:
    """What is packed, and where to; how is said by `PackSettings`."""

    manifest: str = field(metadata={"help": "Folder of the manifest of videos."})
    out: str = field(metadata={"help": "Folder to write; a complete one of the same settings is left as it is."})
    video_root: str | None = field(default=None, metadata={"help": "Where the videos lie, if not where it says."})
    allow_outside_paths: bool = field(
        default=False,
        metadata={"help": "Take a manifest whose paths may leave the videos' folder, to any file of this machine."},
    )
    splits: list[str] = field(default_factory=list, metadata={"help": "Splits to pack; all of them by default."})
    guidance: list[str] = field(
        default_factory=list,
        metadata={"help": "Guidance table (folder or Hub id) of every split, and split=table for single ones."},
    )
    guidance_tolerance_s: float = field(
        default=DEFAULT_TOLERANCE_S, metadata={"help": "Seconds that guidance may lie from a frame."}
    )
    num_proc: int = field(default=2, metadata={"help": "Processes that decode."})
    license: str | None = field(default=None, metadata={"help": "Licence of the pictures, for the card."})
    overwrite: bool = field(default=False, metadata={"help": "Make anew what is there."})


def pack(args: PackArguments, settings: PackSettings) -> None:
    """Pack, and print what came of it.

    Raises:
        VidreasonError: the manifest, the guidance or a setting is not usable.
    """
    splits = args.splits or list(load_manifest(args.manifest, args.video_root, args.allow_outside_paths).splits)
    request = PackRequest(
        manifest=args.manifest,
        video_root=args.video_root,
        splits=tuple(splits),
        guidance=guidance_by_split(args.guidance, splits),
        tolerance_s=args.guidance_tolerance_s,
        settings=settings,
        allow_outside_paths=args.allow_outside_paths,
    )
    metadata = {"license": args.license} if args.license else {}
    report = pack_clips(request, args.out, args.num_proc, args.overwrite, progress=sys.stderr.isatty(), **metadata)
    print_report(report)
    print(f"packed clips are in {args.out}")


def guidance_by_split(tables: list[str], splits: list[str]) -> dict[str, str]:
    """`["a", "test=b"]` to the table of each split.

    Raises:
        ConfigError: two tables for all splits, or a table for a split that is not packed.
    """
    named = dict(table.split("=", 1) for table in tables if table.split("=", 1)[0] in splits)
    general = [table for table in tables if table.split("=", 1)[0] not in splits]
    if len(general) > 1:
        raise ConfigError(f"--guidance names {general} for all splits; give one, and split=table for single splits")
    return {split: named.get(split, *general) for split in splits if split in named or general}


def print_report(report: PackReport) -> None:
    """What each split holds, and how many videos were left out."""
    for split, clips in report.clips.items():
        size = f"{report.jpeg_bytes[split] / 1e6:.1f} MB of JPEG"
        statuses = ", ".join(f"{name} {count:,}" for name, count in sorted(report.statuses[split].items()))
        guidance = f"; guidance of frames: {statuses}" if statuses else "; no guidance"
        print(f"{split}: {clips:,} clips, {report.frames[split]:,} frames, {size}{guidance}")
    print(f"left out: {len(report.skipped):,} videos" + ("; skipped.jsonl names them" if report.skipped else ""))


def main() -> int:
    """Run the command line; a mistake ends with one line that names it."""
    return run_command(pack, PackArguments, PackSettings, log_level=logging.INFO)


if __name__ == "__main__":
    sys.exit(main())
