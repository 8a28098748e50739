"""The tables of detections that a study's runs are shown: who detects which classes, with which mistakes.

A value of an axis, or the recipe, names a source in place of a table:

    maps:
      none: {}
      noisy: {model_type: a2o_tsvit, detections: {detector: truth, classes: [hand, mug], misses: 0.2, jitter: 0.1}}
      people: {model_type: a2o_tsvit, detections: {detector: coco, classes: [person], frames_per_second: 5}}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..annotation.detections import DetectionJob
from ..annotation.frames import find_policy
from ..detection.class_text import check_class_texts
from ..detection.detector import Detector, make_detector
from ..detection.store import DetectionStore
from ..detection.table import write_detections
from ..errors import ConfigError, DetectionError
from ..manifests.manifest import load_manifest
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
    manifest = load_manifest(data.manifest, data.video_root)
    policy = find_policy("all_frames").changed(frames_per_second=source.frames_per_second)
    with DetectionStore(store) as kept:
        # the truth costs nothing to ask again, and would fill the store with every seed's mistakes
        cache = None if source.detector == TRUTH else kept
        job = DetectionJob(manifest, policy, detector, source.classes, cache, totals={}, progress=False)
        rows = {split: job.rows(split, manifest.split(split).to_list()) for split in splits}
        write_detections(folder, rows, title="Detections of a study", description=detector.model)
