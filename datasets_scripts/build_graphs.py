"""Scene graphs as a table: from published annotations, from a synthetic world, or from detections.

    python datasets_scripts/build_graphs.py --source vidor --annotations vidor/annotation --out data/graphs
    python datasets_scripts/build_graphs.py --source star --annotations STAR --video_facts STAR/video_fps \
        --manifest data/charades --out data/graphs
    python datasets_scripts/build_graphs.py --source detections --annotations data/detections --out data/graphs

What was read, kept and dropped, and why, is printed and written to reading.json beside the tables.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import MappingProxyType

from vidreason.annotation.detection_graphs import TrackSettings, detection_graphs
from vidreason.command_line import run_command
from vidreason.detection import load_detections
from vidreason.errors import ConfigError, GraphError
from vidreason.files import write_whole
from vidreason.manifests.manifest import load_manifest
from vidreason.scenegraph import SceneGraph, write_graphs
from vidreason.scenegraph.readers import (
    KnownVideos,
    ReadingReport,
    StarSettings,
    open_action_genome,
    read_action_genome,
    read_star,
    read_star_classes,
    read_video_facts,
    read_vidor,
    split_of_videos,
    star_files,
    vidor_files,
)
from vidreason.scenegraph.readers.keyframes import MAX_GAP_S
from vidreason.synthetic.graphs import world_graphs

REPORT_FILE = "reading.json"

GraphsBySplit = Mapping[str, Iterable[SceneGraph]]


def _vidor(args: BuildGraphsArguments, known: KnownVideos, report: ReadingReport) -> GraphsBySplit:
    files = _by_split(vidor_files(args.annotations, args.split), known, lambda path: path.stem)
    return {split: read_vidor(paths, split, report, known, args.only_manifest) for split, paths in files.items()}


def _star(args: BuildGraphsArguments, known: KnownVideos, report: ReadingReport) -> GraphsBySplit:
    path = Path(args.annotations)
    settings = StarSettings(
        classes=read_star_classes(args.classes or (path if path.is_dir() else path.parent)),
        known=known,
        only_known=args.only_manifest,
        by_video=args.by_video,
        allow_trailing_commas=args.allow_trailing_commas,
        max_gap_s=args.max_keyframe_gap_s,
    )
    return {split: read_star(file, split, report, settings) for split, file in star_files(path, args.split).items()}


def _action_genome(args: BuildGraphsArguments, known: KnownVideos, report: ReadingReport) -> GraphsBySplit:
    files = open_action_genome(args.annotations, report)
    read = partial(
        read_action_genome,
        files,
        report=report,
        known=known,
        only_known=args.only_manifest,
        max_gap_s=args.max_keyframe_gap_s,
    )
    return {split: read(videos, split) for split, videos in split_of_videos(files, args.split, known).items()}


def _synthetic(args: BuildGraphsArguments, known: KnownVideos, report: ReadingReport) -> GraphsBySplit:
    return {split: _counted(graphs, report) for split, graphs in world_graphs(args.annotations).items()}


def _detections(args: BuildGraphsArguments, known: KnownVideos, report: ReadingReport) -> GraphsBySplit:
    settings = TrackSettings(args.min_score, args.min_overlap, args.max_gap_s, args.min_frames)
    return {
        split: detection_graphs(rows, report, settings, known, args.only_manifest)
        for split, rows in load_detections(args.annotations).items()
    }


def _by_split(
    files: Mapping[str, list[Path]], known: KnownVideos, name_of: Callable[[Path], str]
) -> dict[str, list[Path]]:
    """Files in the splits that the manifest has for their videos, where it has one."""
    found: dict[str, list[Path]] = {}
    for split, paths in files.items():
        for path in paths:
            found.setdefault(known.split_of(name_of(path), split), []).append(path)
    return found


def _counted(graphs: Iterable[SceneGraph], report: ReadingReport) -> Iterator[SceneGraph]:
    for graph in graphs:
        report.seen["graphs"] += 1
        report.kept["graphs"] += 1
        yield graph


SOURCES: Mapping[str, tuple[Callable[[BuildGraphsArguments, KnownVideos, ReadingReport], GraphsBySplit], str]] = (
    MappingProxyType(
        {
            "vidor": (_vidor, "VidOR: objects with tracks and relations, as people annotated them."),
            "star": (_star, "STAR: relations, boxes and actions of the key frames of questions."),
            "action_genome": (_action_genome, "Action Genome: key frames of Charades' videos."),
            "synthetic": (_synthetic, "A synthetic world: what is true in it."),
            "detections": (_detections, "Tracks of what a detector found, and where they are to one another."),
        }
    )
)
"""Name of a source -> how it is read, and what its card says. One more is a function and a line here."""


@dataclass
class BuildGraphsArguments:
    """Which graphs, and how they are read."""

    annotations: str = field(
        metadata={"help": "Files of the source: a file or folder of annotations, of a world, or of detections."}
    )
    out: str = field(metadata={"help": "Folder to write."})
    source: str = field(metadata={"help": "Kind of the source.", "choices": list(SOURCES)})
    split: str = field(default="train", metadata={"help": "Split of what the source itself puts in none."})
    manifest: str | None = field(
        default=None,
        metadata={"help": "Folder of a manifest: ids, splits, sizes and frame rates of the videos that are at hand."},
    )
    only_manifest: bool = field(
        default=False, metadata={"help": "Drop graphs of videos that the manifest lacks, and count them."}
    )
    video_facts: str | None = field(
        default=None,
        metadata={"help": "Frame rates, and sizes, of videos: JSON, or the file video_fps that STAR publishes."},
    )
    classes: str | None = field(
        default=None, metadata={"help": "Folder of STAR's lists of classes. Default: that of the annotations."}
    )
    by_video: bool = field(
        default=False, metadata={"help": "One graph for each video of STAR, in place of one for each question."}
    )
    allow_trailing_commas: bool = field(
        default=False, metadata={"help": "Read over a comma before a closing bracket in STAR's files."}
    )
    max_keyframe_gap_s: float = field(
        default=MAX_GAP_S,
        metadata={"help": "STAR, Action Genome: seconds between key frames over which a statement holds on."},
    )
    min_score: float = field(default=0.0, metadata={"help": "Detections: least score of a box."})
    min_overlap: float = field(
        default=0.3, metadata={"help": "Detections: least intersection over union of a box with its track's last one."}
    )
    max_gap_s: float = field(default=1.0, metadata={"help": "Detections: seconds that a track may be out of sight."})
    min_frames: int = field(default=2, metadata={"help": "Detections: fewest frames of a track, and of a relation."})


def find_videos(args: BuildGraphsArguments) -> KnownVideos:
    """What the manifest and the file of facts say of the videos; the manifest's word counts.

    Raises:
        VidreasonError: One of them cannot be read, or only videos of a manifest are asked for without one.
    """
    if args.only_manifest and not args.manifest:
        raise ConfigError("only_manifest needs a manifest")
    known = KnownVideos()
    if args.manifest:
        known = KnownVideos.from_rows(load_manifest(args.manifest).splits)
    if args.video_facts:
        facts = read_video_facts(args.video_facts)
        # a video with facts is not yet one that is at hand
        known = known if args.only_manifest else known.with_facts(facts)
    return known


def build(args: BuildGraphsArguments) -> None:
    """Write the tables, and print what was read, kept and dropped.

    Raises:
        VidreasonError: The source, the manifest or a setting is not usable, or not one graph could be made.
    """
    read, description = SOURCES[args.source]
    known, report = find_videos(args), ReadingReport()
    try:
        folder = write_graphs(args.out, read(args, known, report), f"Scene graphs ({args.source})", description)
    except GraphError:
        print(report.table())  # why there may be none
        raise
    report.check()
    write_whole(folder / REPORT_FILE, json.dumps(report.as_dict(), indent=2) + "\n")
    print(f"{report.table()}\nwritten to {folder}")


def main() -> int:
    """Run the command line; a mistake ends with one line that names it."""
    return run_command(build, BuildGraphsArguments)


if __name__ == "__main__":
    sys.exit(main())
