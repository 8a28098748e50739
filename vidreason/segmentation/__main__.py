"""Label the actions in videos of any length.

    python -m vidreason.segmentation video.mp4 --model outputs/assembly/rs --out labels
    python -m vidreason.segmentation a.mp4 b.mp4 --model outputs/assembly/rs --out labels --truth manifests/assembly

For each video it writes `<name>.csv`, `<name>.json`, `<name>.srt` and `<name>.png`, a timeline, on which the truth
stands above where the manifest named by `--truth` has the video. A video that cannot be read is told at the end, and
ends nothing.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import sys
from pathlib import Path

from ..command_line import FAILED, OneLineParser, end_with_status
from ..errors import ConfigError, VideoError, one_of_many
from ..files import readable_name
from ..manifests.manifest import Manifest, load_manifest
from ..manifests.segments import SegmentIndex, load_segments
from .labelling import ActionSegment, VideoLabeller, load_labeller, true_segments
from .segment_files import write_csv, write_json, write_srt
from .timeline import draw_timeline


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; a mistake ends with one line that names it."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    return end_with_status(lambda: _label(arguments))


def _label(arguments: list[str] | None) -> int:
    failed = label_videos(_parser().parse_args(arguments))
    for failure in failed:
        print(f"FAILED {failure}", file=sys.stderr)
    return FAILED if failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = OneLineParser(
        prog="python -m vidreason.segmentation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("videos", nargs="+", type=Path, help="files to label")
    parser.add_argument("--model", required=True, help="folder or Hub id of a segmentation model")
    parser.add_argument("--out", required=True, type=Path, help="folder that the labels are written to")
    parser.add_argument("--truth", type=Path, help="manifest whose table of segments has the truth")
    parser.add_argument("--background", nargs="*", default=["background"], help="labels drawn pale and not subtitled")
    parser.add_argument("--fps", type=float, help="frames per second, where the model does not say it")
    parser.add_argument("--stride", type=int, help="frames from one window to the next; default: half a window")
    parser.add_argument("--averaging_s", type=float, help="seconds that scores are averaged over, if not the model's")
    parser.add_argument("--max_side_px", type=int, help="frames are scaled down to this side while they are decoded")
    return parser


def label_videos(args: argparse.Namespace) -> list[VideoError]:
    """Label every video.

    Args:
        args: What the command line says.

    Returns:
        Why videos could not be read, of those that could not.

    Raises:
        VidreasonError: The model or the truth cannot be used, or two videos would write the same files.
    """
    names = [video.stem for video in args.videos]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ConfigError(f"several videos are named {', '.join(repeated)}: label them into different folders")
    settings = {"fps": args.fps, "stride": args.stride, "averaging_s": args.averaging_s}
    labeller = load_labeller(args.model, **settings, max_side_px=args.max_side_px)
    truth = _Truth(args.truth) if args.truth else None
    args.out.mkdir(parents=True, exist_ok=True)
    failed = []
    for video in args.videos:
        try:
            with one_of_many(video):
                segments = labeller.predict_segments(video)
                write_results(video, segments, labeller, truth, args)
        except VideoError as error:
            failed.append(error)
            continue
        base = readable_name(args.out / video.stem)
        print(f"{readable_name(video)}: {len(segments)} segments, in {base}.csv, .json, .srt and .png", flush=True)
    return failed


def write_results(
    video: Path, segments: list[ActionSegment], labeller: VideoLabeller, truth: _Truth | None, args: argparse.Namespace
) -> None:
    """The four files of one video."""
    base = args.out / video.stem
    write_csv(f"{base}.csv", segments)
    name = readable_name(video.name)
    write_json(f"{base}.json", segments, video=name, model=args.model, frames_per_second=labeller.fps)
    write_srt(f"{base}.srt", segments, args.background)
    rows, labels = {"model": segments}, list(labeller.model.config.id2label.values())
    if truth is not None and (known := truth.segments_of(video)):
        rows = {"truth": known, **rows}
        labels = list(dict.fromkeys([*labels, *truth.labels]))
    draw_timeline(rows, f"{base}.png", labels, args.background, name)


class _Truth:
    """The true segments of the videos of a manifest, found by their files."""

    def __init__(self, folder: Path):
        manifest: Manifest = load_manifest(folder)
        segments = load_segments(folder)
        self.labels = next(iter(segments.values())).features["label"].names
        self._index = SegmentIndex(segments)
        rows = itertools.chain.from_iterable(manifest.splits.values())
        self._ids = {manifest.video_path(row).resolve(): row["video_id"] for row in rows}

    def segments_of(self, video: Path) -> list[ActionSegment]:
        """Those of a file; none where the manifest does not have it."""
        return true_segments(self._index, self._ids.get(video.resolve(), ""))


if __name__ == "__main__":
    sys.exit(main())
