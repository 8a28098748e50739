"""What detection over a manifest costs beside the bare detector, and what a trial with two other classes costs.

    python benchmarks/detection.py --detectors truth coco_by_class coco --out docs/results/detections/speed.json

A small synthetic world is made; of its frames, eight classes are looked for from nothing, then again with everything
known, then six of them with two others. Decoding, the store and the table are all inside the measured time, which
starts with an empty store in every round. Detectors:

- truth: the world's own boxes, which costs next to nothing: what is left is the job itself.
- coco: one pass finds all 80 classes, so that two others are known already.
- coco_by_class: the same network, once for each class: what a detector costs that is asked in words.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from common import (
    describe_machine,
    machine,
    markdown_rows,
    median_spread,
    paired_ratio,
    settings_of,
    show_ratio,
    write_report,
)

from vidreason.annotation.detections import DetectionJob
from vidreason.annotation.frames import FramePolicy
from vidreason.command_line import run_command
from vidreason.detection import DetectionStore, Detector, make_detector, write_detections
from vidreason.detection.coco import CocoDetector
from vidreason.errors import ConfigError
from vidreason.manifests.manifest import Manifest, load_manifest
from vidreason.synthetic import WorldConfig, build_synthetic_actions
from vidreason.video import decode_frames

CLASSES = ("person", "bicycle", "car", "bus", "dog", "cup", "chair", "bottle")
CHANGED = (*CLASSES[:6], "cat", "sports ball")
"""Two of the eight are others; which they are does not matter to what looking for them costs."""

WANTED_SHARE = 2 / 8 + 0.1
"""What a trial that changes two of eight classes may cost of one from nothing."""


class CocoByClass(CocoDetector):
    """The network of `coco`, run once for each class, as detectors of open vocabulary are."""

    name: ClassVar[str] = "coco_by_class"
    finds_all_at_once = False

    def detect_classes(self, frames: np.ndarray, frame_keys: Sequence[Any], class_texts: Sequence[str]) -> dict:
        """Detections of several classes, a pass each."""
        return {
            text: super(CocoByClass, self).detect_classes(frames, frame_keys, [text])[text] for text in class_texts
        }


@dataclass
class DetectionArguments:
    """Which detectors, in how many frames."""

    detectors: list[str] = field(
        default_factory=lambda: ["truth", "coco_by_class", "coco"], metadata={"help": "Detectors to measure."}
    )
    out: str = field(
        default="outputs/benchmarks/detection.json", metadata={"help": "JSON to write; Markdown goes beside it."}
    )
    videos: int = field(default=12, metadata={"help": "Videos of the world."})
    frames_per_video: int = field(default=2, metadata={"help": "Frames that are looked at in each."})
    repeats: int = field(default=3, metadata={"help": "Rounds."})


def main(args: DetectionArguments) -> None:
    """Measure and report."""
    with tempfile.TemporaryDirectory() as folder:
        world = Path(folder) / "world"
        build_synthetic_actions(world, WorldConfig(num_frames=8), {"train": args.videos}, seed=0)
        runs = [measure(name, world, args) for name in args.detectors]
    report = {"machine": machine(), "settings": settings_of(args), "wanted_share": WANTED_SHARE, "runs": runs}
    write_report(args.out, report, table(report))


def measure(name: str, world: Path, args: DetectionArguments) -> dict[str, Any]:
    """All that is measured of one detector.

    Raises:
        ConfigError: There is no such detector.
    """
    detector, manifest = make(name, world), load_manifest(world)
    policy = FramePolicy(frames_per_video=args.frames_per_video)
    num_frames = args.videos * args.frames_per_video
    seconds: dict[str, list[float]] = {key: [] for key in ("bare", "nothing known", "all known", "two others")}
    detections: dict[str, dict[str, float]] = {}
    for _ in range(args.repeats):
        seconds["bare"].append(bare(detector, manifest, policy))
        with tempfile.TemporaryDirectory() as folder, DetectionStore(Path(folder) / "found.sqlite") as store:
            for step, classes in (("nothing known", CLASSES), ("all known", CLASSES), ("two others", CHANGED)):
                totals: dict[str, float] = {}
                start_s = time.perf_counter()
                job = DetectionJob(manifest, policy, detector, classes, store, totals, progress=False)
                rows = job.rows("train", list(manifest.split("train")))
                write_detections(Path(folder) / step.replace(" ", "_"), {"train": rows})
                seconds[step].append(time.perf_counter() - start_s)
                detections[step] = {key: totals[f"detections_{key}"] for key in ("made", "reused")}
    return {
        "detector": name,
        "frames": num_frames,
        "classes": len(CLASSES),
        "seconds": {key: median_spread(values).as_json() for key, values in seconds.items()},
        "detections": detections,
        "job_to_bare": paired_ratio(seconds["nothing known"], seconds["bare"]).as_json(),
        "known_to_nothing": paired_ratio(seconds["all known"], seconds["nothing known"]).as_json(),
        "others_to_nothing": paired_ratio(seconds["two others"], seconds["nothing known"]).as_json(),
    }


def make(name: str, world: Path) -> Detector:
    """A detector by its name here."""
    if name == "coco_by_class":
        return CocoByClass()
    if name == "truth":
        detector = make_detector("truth", truth=str(world / "truth"))
        detector.vocabulary = None  # classes that are not in the world are looked for like others
        return detector
    if name != "coco":
        raise ConfigError(f"detector is {name!r}, expected truth, coco or coco_by_class")
    return make_detector("coco")


def bare(detector: Detector, manifest: Manifest, policy: FramePolicy) -> float:
    """Seconds that the detector alone takes for all frames and classes, which are in memory."""
    total_s = 0.0
    for row in manifest.split("train"):
        path = manifest.video_path(row)
        frames = decode_frames(path, max_side_px=detector.max_side_px).frames
        indices = policy.frame_indices(np.arange(len(frames), dtype=np.float64))
        keys = [{"video_id": row["video_id"], "frame_index": index} for index in indices]
        start_s = time.perf_counter()
        detector.detect_classes(frames[indices], keys, CLASSES)
        total_s += time.perf_counter() - start_s
    return total_s


def table(report: dict[str, Any]) -> str:
    """The runs as Markdown."""
    rows = []
    for run in report["runs"]:
        seconds = {key: value["median"] for key, value in run["seconds"].items()}
        rows.append(
            [
                run["detector"],
                str(run["frames"]),
                *(f"{run['frames'] / seconds[key]:.1f}" for key in ("bare", "nothing known", "all known")),
                show_ratio(run["job_to_bare"]),
                f"{run['detections']['two others']['made']:.0f}",
                show_ratio(run["others_to_nothing"]),
            ]
        )
    header = ["detector", "frames", "bare, frames/s", "job, frames/s", "known, frames/s", "job to bare"]
    header += ["made for two others", "two others of eight to nothing"]
    wanted = f"Wanted of the last column: at most {report['wanted_share']:.2f}."
    return f"{describe_machine(report['machine'])}\n\n{markdown_rows(header, rows)}\n{wanted}\n"


if __name__ == "__main__":
    sys.exit(run_command(main, DetectionArguments))
