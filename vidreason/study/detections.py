"""The tables of detections that a study's runs are shown: who detects which classes, with which mistakes.

A value of an axis, or the recipe, names a source in place of a table:

    maps:
      none: {}
      noisy: {model_type: a2o_tsvit, detections: {detector: truth, classes: [hand, mug], misses: 0.2, jitter: 0.1}}
      people: {model_type: a2o_tsvit, detections: {detector: coco, classes: [person], frames_per_second: 5}}
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..detection.class_text import check_class_texts
from ..detection.detector import Detector, make_detector
from ..detection.schema import detection_row
from ..detection.store import DetectionStore
from ..detection.table import write_detections
from ..detection.videos import detect_video
from ..errors import ConfigError, DetectionError, VideoError, one_of_many
from ..files import read_folder
from ..manifests.manifest import load_manifest
from ..provenance import FRAME_KEY
from ..video.decode import read_frame_table
from .plugins import DataPlaces

SETTING = "detections"
"""The setting of a run that names a table, or is a source of one."""

TRUTH = "truth"
STORE_FILE = "detections.sqlite"

_MISTAKES = ("misses", "false_boxes", "jitter", "confusions")


@dataclass(frozen=True)
class DetectionSource:
    """How the detections of a run are made, of all the splits that it reads.

    Args:
        detector: Name of a detector; "truth" is that of a synthetic world.
        classes: The classes, in the order of the maps' channels.
        frames_per_second: Frames of each video that are searched; None takes every frame.
        options: Settings of the detector, such as `threshold`, or the mistakes of "truth".
    """

    detector: str
    classes: tuple[str, ...]
    frames_per_second: float | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, settings: Mapping[str, Any], where: str) -> DetectionSource:
        """A source from what a study file says.

        Args:
            settings: `detector`, `classes`, perhaps `frames_per_second`; all else is the detector's.
            where: Place in the study file, for messages.

        Raises:
            ConfigError: A setting is missing or of no use; the message names `where`.
        """
        options = dict(settings)
        detector, classes = options.pop("detector", None), options.pop("classes", None)
        frames_per_second = options.pop("frames_per_second", None)
        if not isinstance(detector, str) or not isinstance(classes, list):
            raise ConfigError(f"{where}: detections want a detector and a list of classes, got {dict(settings)!r}")
        if frames_per_second is not None and not (
            isinstance(frames_per_second, int | float) and frames_per_second > 0
        ):
            raise ConfigError(f"{where}: frames_per_second is {frames_per_second!r}, expected a rate in hertz")
        try:
            return cls(detector, check_class_texts(classes), frames_per_second, options)
        except DetectionError as error:
            raise ConfigError(f"{where}: {error}") from None

    @property
    def settings(self) -> dict[str, Any]:
        """As a study file would say it."""
        rate = {} if self.frames_per_second is None else {"frames_per_second": self.frames_per_second}
        return {"detector": self.detector, "classes": list(self.classes), **rate, **self.options}

    @property
    def is_drawn(self) -> bool:
        """Whether every seed of a study draws mistakes of its own."""
        return self.detector == TRUTH and any(self.options.get(name) for name in _MISTAKES)

    def make_detector(self, truth: Path | None, seed: int) -> Detector:
        """The detector of a run.

        Args:
            truth: Folder of the world's ground truth, None where there is none.
            seed: Seed of the mistakes.

        Raises:
            ConfigError: Truth is asked for, and there is none.
            DetectionError: There is no such detector, or what it needs is not there.
        """
        if self.detector != TRUTH:
            return make_detector(self.detector, **self.options)
        if truth is None:
            raise ConfigError("detections from truth, but the data name no truth")
        return make_detector(TRUTH, truth=truth, seed=seed, **self.options)


def write_source(
    folder: Path, source: DetectionSource, data: DataPlaces, splits: Sequence[str], seed: int, store: Path
) -> None:
    """Write the table of a source.

    Args:
        folder: Folder of the table.
        source: Who detects what.
        data: Places of the run's data.
        splits: Splits of the manifest that the run reads.
        seed: Seed of the run, from which mistakes are drawn.
        store: File in which detections are kept for other runs, whatever their classes.

    Raises:
        VidreasonError: The data or the detector are not there.
    """
    detector = source.make_detector(data.truth, seed)
    with DetectionStore(store) as kept:
        rows = {
            split: _rows(source, detector, data, split, None if source.detector == TRUTH else kept) for split in splits
        }
        write_detections(folder, rows, title="Detections of a study", description=detector.model)


def _rows(
    source: DetectionSource, detector: Detector, data: DataPlaces, split: str, store: DetectionStore | None
) -> Iterator[dict[str, Any]]:
    manifest = load_manifest(data.manifest, data.video_root)
    if source.detector == TRUTH and data.truth is not None:
        yield from _truth_rows(source, detector, data.truth, split, set(manifest.split(split)["video_id"]))
        return
    for video in manifest.split(split):
        path = manifest.video_path(video)
        key = {"video_id": video["video_id"], "source": manifest.source, "split": split}
        size = {"frame_height": video["height"], "frame_width": video["width"]}
        try:
            with one_of_many(path):
                keys = list(_frame_keys(path, {**key, **size}, source.frames_per_second))
                found = detect_video(path, keys, detector, source.classes, store)
        except VideoError:
            continue  # training counts and names the videos that cannot be read
        for text, of_frames in found.items():
            for frame_key, one in zip(keys, of_frames, strict=True):
                yield detection_row(frame_key, text, one, detector)


def _frame_keys(path: Path, key: Mapping[str, Any], frames_per_second: float | None) -> Iterable[dict[str, Any]]:
    times_s = read_frame_table(path).times_s
    last_s = float("-inf")
    for index, time_s in enumerate(times_s.tolist()):
        if frames_per_second is None or time_s - last_s >= 1 / frames_per_second - 1e-6 or index == len(times_s) - 1:
            last_s = time_s
            yield {**key, "frame_index": index, "timestamp_s": time_s}


def _truth_rows(
    source: DetectionSource, detector: Detector, truth: Path, split: str, videos: set[str]
) -> Iterator[dict[str, Any]]:
    """From the keys of the truth's own rows, which takes no video to be opened."""
    import numpy as np

    no_pixels = np.zeros((1, 1, 1, 3), np.uint8)
    for row in read_folder(truth)[split].select_columns(list(FRAME_KEY)):
        if row["video_id"] not in videos:
            continue
        for text in source.classes:
            yield detection_row(row, text, detector.detect_class(no_pixels, [row], text)[0], detector)
