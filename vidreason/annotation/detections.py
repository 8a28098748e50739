"""Detections of some classes in the videos of a manifest, as a job: resumed where it stopped, in parts if asked.

What is found goes into a `DetectionStore` a few frames at a time, and the table is written from there: a run that was
killed, or that has two more classes than the last one, detects what is missing and nothing else.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import yaml
from tqdm.auto import tqdm

from ..detection.class_text import check_class_texts
from ..detection.detector import Detector, Found, detector_names, make_detector
from ..detection.schema import detection_row
from ..detection.store import DetectionStore
from ..detection.table import write_detections
from ..detection.videos import DetectionCounts, detect_video
from ..errors import ConfigError, VideoError, one_of_many
from ..manifests.manifest import Manifest
from .frames import POLICIES, FramePolicy, find_policy, frame_keys
from .job import Annotation, AnnotationRun, AnnotationTask, Producer, RowsBySplit, VideoArguments

logger = logging.getLogger(__name__)

STORE_FILE = "detections.sqlite"

_FRAMES_AT_ONCE = 256
"""Frames of a video whose detections are in memory at a time; their masks could fill it for a long video."""


@dataclass(frozen=True)
class DetectorSettings:
    """Which detector, and how it is made. What is left open is the detector's own default."""

    detector: str = field(default="coco", metadata={"help": f"One of {', '.join(detector_names())}, or registered."})
    detector_model: str | None = field(default=None, metadata={"help": "Hub id or folder of its weights."})
    detector_revision: str | None = field(default=None, metadata={"help": "Commit of its weights on the Hub."})
    threshold: float | None = field(default=None, metadata={"help": "Least score of a detection that is kept."})
    detector_max_side_px: int | None = field(
        default=None, metadata={"help": "Longer side in pixels that frames are scaled down to before they are given."}
    )
    detector_truth: str | None = field(
        default=None, metadata={"help": "truth: folder of the world's ground truth, whose objects are found."}
    )
    misses: float = field(default=0.0, metadata={"help": "truth: probability that an object is not found."})
    false_boxes: float = field(default=0.0, metadata={"help": "truth: probability of a box of a class for nothing."})
    jitter: float = field(default=0.0, metadata={"help": "truth: deviation of a box's sides, as a share of them."})
    confusions: float = field(default=0.0, metadata={"help": "truth: probability that an object gets another class."})
    detector_options: list[str] = field(
        default_factory=list, metadata={"help": "Further settings of the detector's own, each as NAME=VALUE."}
    )

    def make_detector(self, seed: int = 0) -> Detector:
        """The detector.

        Args:
            seed: Seed of the mistakes of a detector that makes them on purpose.

        Raises:
            ConfigError: An option is no NAME=VALUE.
            DetectionError: There is no such detector, it has no such setting, or what it needs is not there.
        """
        settings: dict[str, Any] = {
            "model": self.detector_model,
            "revision": self.detector_revision,
            "threshold": self.threshold,
            "max_side_px": self.detector_max_side_px,
            "truth": self.detector_truth,
        }
        settings = {name: value for name, value in settings.items() if value is not None}
        mistakes = {name: getattr(self, name) for name in ("misses", "false_boxes", "jitter", "confusions")}
        if self.detector_truth is not None:
            settings |= {**mistakes, "seed": seed}
        elif any(mistakes.values()):
            raise ConfigError(
                f"{', '.join(mistakes)} are of --detector truth, which needs the folder of a world's truth"
            )
        if self.detector == "truth" and self.detector_truth is None:
            raise ConfigError("--detector truth needs the folder of a world's ground truth")
        return make_detector(self.detector, **settings, **_read_options(self.detector_options))


def _read_options(options: Sequence[str]) -> dict[str, Any]:
    """Settings from texts such as `batch_size=4`, the value in YAML."""
    settings = {}
    for option in options:
        name, equals, value = option.partition("=")
        if not equals or not name.isidentifier():
            raise ConfigError(f"--detector_options {option!r}: expected NAME=VALUE")
        try:
            settings[name] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise ConfigError(f"--detector_options {option!r}: the value is no YAML") from error
    return settings


@dataclass(frozen=True)
class DetectArguments(DetectorSettings, Producer[VideoArguments]):
    """What is looked for in which frames."""

    name: ClassVar[str] = "detector"
    operation: ClassVar[tuple[str, ...]] = ("store",)
    table_title: ClassVar[str] = "Detections"

    classes: list[str] = field(
        default_factory=list, metadata={"help": 'Classes to look for, such as person "sports ball".'}
    )
    policy: str = field(
        default="all_frames",
        metadata={"help": "Which videos and frames, where --frames_per_second is not set.", "choices": list(POLICIES)},
    )
    store: str | None = field(
        default=None,
        metadata={
            "help": "File where what is found is kept and reused, for several tables; by default the table's own."
        },
    )
    # the flag is short where no producer of guidance has one of this name
    detector_truth: str | None = field(
        default=None,
        metadata={
            "help": "truth: folder of the world's ground truth, whose objects are found.",
            "aliases": ["--truth"],
        },
    )

    @contextmanager
    def annotate(self, task: AnnotationTask[VideoArguments]) -> Iterator[Annotation]:
        """Detect all classes in all frames that the store does not know."""
        texts = check_class_texts(self.classes)
        manifest = task.load_manifest()
        videos = {split: manifest.split(split) for split in task.args.splits}
        policy = find_policy(self.policy).changed(frames_per_second=task.args.frames_per_second)
        detector = self.make_detector(task.args.seed)
        texts = tuple(detector.check_text(text) for text in texts)
        unknown = [text for text in texts if not detector.knows(text)]
        if unknown:
            logger.warning("%s cannot find %s: their rows say unknown_class", detector.name, ", ".join(unknown))
        chosen = {split: policy.choose_videos(rows, task.args.seed) for split, rows in videos.items()}
        chosen = {split: rows[task.shard.index :: task.shard.count] for split, rows in chosen.items()}
        facts = AnnotationRun(
            model=f"{detector.name} {detector.model}".strip(),
            policy=policy.description,
            label_in_prompt=False,
            settings={**detector.key, "classes": list(texts), "unknown_classes": unknown},
        )
        path = Path(self.store) if self.store else task.folder / STORE_FILE
        totals: dict[str, float] = {}
        with DetectionStore(path) as store:
            run = DetectionJob(manifest, policy, detector, texts, store, totals, task.progress)
            yield Annotation({split: run.rows(split, rows) for split, rows in chosen.items()}, facts, totals=totals)

    def write(self, out: Path, rows: RowsBySplit, title: str, description: str, allow_empty: bool) -> None:
        """Write the rows as a table of detections."""
        write_detections(out, rows, title, description, allow_empty)

    def describe(self, facts: AnnotationRun) -> str:
        """A sentence or two for the card."""
        unknown = facts.settings.get("unknown_classes")
        text = f"Frames: {facts.policy}. Detector: {facts.model}."
        return text + (f" It cannot find {', '.join(unknown)}." if unknown else "")


@dataclass(frozen=True, eq=False)
class DetectionJob:
    """Detects in videos one after another, and counts.

    Args:
        manifest: Manifest of the videos.
        policy: Which frames of a video.
        detector: What detects.
        class_texts: The classes.
        store: Where detections are kept.
        totals: Is filled while rows are drawn: videos, frames, detections made, reused and failed, seconds.
        progress: Whether to show a bar, with frames a second and the time that is left.
    """

    manifest: Manifest
    policy: FramePolicy
    detector: Detector
    class_texts: tuple[str, ...]
    store: DetectionStore | None
    totals: dict[str, float]
    progress: bool = True

    def rows(self, split: str, videos: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
        """The rows of some videos of a split, by video, frame and class.

        A video that cannot be read gives a row of each class with the status `failed` for its first frame; a frame
        that does not decode, one for itself. Neither ends the run.
        """
        num_frames = sum(map(self.policy.count, videos))
        with tqdm(total=num_frames, desc=split, unit=" frames", disable=not self.progress) as bar:
            for video in videos:
                self._count(videos=1)
                try:
                    with one_of_many(self.manifest.video_path(video)):
                        keys = frame_keys(self.manifest, split, video, self.policy)
                except VideoError as error:
                    logger.warning("%s is left out: %s", video["video_id"], error)
                    self._count(videos_failed=1)
                    yield from self._failed([self._first_frame(split, video)], error)
                    bar.update(self.policy.count(video))
                    continue
                for start in range(0, len(keys), _FRAMES_AT_ONCE):
                    piece = keys[start : start + _FRAMES_AT_ONCE]
                    yield from self._detect(self.manifest.video_path(video), piece)
                    bar.update(len(piece))

    def _detect(self, path: Any, keys: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
        counts, start_s = DetectionCounts(), time.perf_counter()
        try:
            with one_of_many(path):
                found = detect_video(path, keys, self.detector, self.class_texts, self.store, counts)
        except VideoError as error:  # the rows of the pieces before are made already, and stay
            logger.warning("%d frames failed: %s", len(keys), error)
            yield from self._failed(keys, error)
            return
        finally:
            self._count(seconds=time.perf_counter() - start_s, frames=len(keys), frames_decoded=counts.frames_decoded)
            self._count(detections_made=counts.made, detections_reused=counts.reused, detections_failed=counts.failed)
        for number, key in enumerate(keys):
            for text in self.class_texts:
                yield detection_row(key, text, found[text][number], self.detector)

    def _failed(self, keys: Sequence[Mapping[str, Any]], error: VideoError) -> Iterator[dict[str, Any]]:
        failed = Found.without("failed", error.reason)
        for key in keys:
            self._count(detections_failed=len(self.class_texts))
            for text in self.class_texts:
                yield detection_row(key, text, failed, self.detector)

    def _first_frame(self, split: str, video: Mapping[str, Any]) -> dict[str, Any]:
        size = {"frame_height": video["height"], "frame_width": video["width"]}
        place = {"video_id": video["video_id"], "source": self.manifest.source, "split": split}
        return {**place, "frame_index": 0, "timestamp_s": 0.0, **size}

    def _count(self, **amounts: float) -> None:
        for name, amount in amounts.items():
            self.totals[name] = self.totals.get(name, 0) + amount
