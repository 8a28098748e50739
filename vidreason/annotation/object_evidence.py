"""Guidance from detections: the evidence for an action is where a detector finds the objects that it is done with.

Which classes are evidence is a list for all actions, or a table of them by action, such as an agent's choice. The
weight of a cell is the mean, over its area, of the largest score x coverage of any of these objects: the score maps of
`vidreason.detection.score_maps`, on a grid.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from operator import itemgetter
from pathlib import Path
from typing import Any, ClassVar, Protocol

import datasets
import numpy as np
import yaml
from tqdm.auto import tqdm

from ..detection.class_text import check_class_texts
from ..detection.detector import UNKNOWN_CLASS
from ..detection.schema import FEATURES, check_row, found_of
from ..detection.score_maps import render_maps
from ..detection.store import DetectionStore
from ..detection.table import load_detections
from ..errors import ConfigError, DetectionError
from ..guidance import guidance_row
from ..guidance.merge import join_names
from ..manifests.manifest import Manifest
from ..manifests.segments import SEGMENTS_FOLDER, load_segments
from .detections import STORE_FILE, DetectionJob, DetectorSettings
from .frames import NO_ACTION, FramePolicy, SegmentLabels, find_labels
from .job import Annotation, AnnotationArguments, AnnotationRun, AnnotationTask, Producer

logger = logging.getLogger(__name__)

_FINE = 16
"""Pixels of a score map along each side of a cell: its coverage is right to a 256th of the cell."""

_MAX_FILE_BYTES = 1_000_000  # of a table of evidence; 174 labels with 10 classes each are 30 KB
_ROWS_AT_ONCE = 16_384

Frame = list[dict[str, Any]]
"""The rows of a frame's classes."""


class Evidence:
    """Which classes are evidence for which action.

    Args:
        by_label: Classes by label; labels are the same however they are spelled with underscores and capitals.
        for_all: Classes of every label.

    Raises:
        DetectionError: A class text cannot be used.
    """

    def __init__(self, by_label: Mapping[str, Sequence[str]] | None = None, for_all: Sequence[str] = ()):
        self.for_all = check_class_texts(for_all) if for_all else ()
        self.by_label = {
            spelled(label): check_class_texts(texts) if texts else () for label, texts in (by_label or {}).items()
        }

    @property
    def is_by_label(self) -> bool:
        """Whether the guidance says something of the action, which is known in training alone."""
        return bool(self.by_label)

    @property
    def class_texts(self) -> tuple[str, ...]:
        """All classes, each once."""
        return tuple(dict.fromkeys(itertools.chain(self.for_all, *self.by_label.values())))

    @property
    def sha256(self) -> str:
        """Hash of what it says, for provenance."""
        return hashlib.sha256(json.dumps([self.for_all, self.by_label], sort_keys=True).encode()).hexdigest()

    def of(self, label: str | None) -> tuple[str, ...]:
        """The classes of a label; those of every label where nothing is done."""
        return tuple(dict.fromkeys((*self.for_all, *self.by_label.get(spelled(label or ""), ()))))

    def check_labels(self, needed: Iterable[str], known: Iterable[str]) -> None:
        """Raise unless it speaks of all labels that are needed, and of none that is not known.

        Args:
            needed: Labels of the videos.
            known: Labels of the whole data set.

        Raises:
            ConfigError: A label has no entry, which an empty list would be, or an entry is of no label.
        """
        if not self.by_label:
            return
        missing = sorted({label for label in needed if spelled(label) not in self.by_label})
        if missing:
            raise ConfigError(f"the table of evidence has no entry for {_some(missing)}; [] says that there is none")
        foreign = sorted(set(self.by_label) - set(map(spelled, known)))
        if foreign:
            raise ConfigError(f"the table of evidence speaks of {_some(foreign)}: no labels of these videos")


def spelled(label: str) -> str:
    """A label as the table of evidence is searched for it: `Pick_Up` is "pick up"."""
    return " ".join(label.replace("_", " ").lower().split())


def read_evidence(path: str | Path) -> dict[str, list[str]]:
    """A table of evidence from a file of JSON or YAML: label -> list of classes.

    Raises:
        ConfigError: The file cannot be read, is larger than a megabyte, or holds something else.
    """
    try:
        with Path(path).open("rb") as file:
            content = file.read(_MAX_FILE_BYTES + 1)
        if len(content) > _MAX_FILE_BYTES:
            raise ConfigError(f"{path}: a table of evidence has at most {_MAX_FILE_BYTES:,} bytes")
        table = yaml.safe_load(content.decode("utf-8"))  # of which JSON is a part
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfigError(f"{path}: cannot be read as a table of evidence: {reason}") from error
    if not isinstance(table, dict) or not table:
        raise ConfigError(f"{path}: expected label: [classes], got {type(table).__name__}")
    for label, texts in table.items():
        if not isinstance(label, str):  # YAML takes `yes` and `1` for other things than texts
            raise ConfigError(f"{path}: label {label!r} is no text; put it in quotation marks")
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise ConfigError(f"{path}: label {label!r}: expected a list of class texts")
    return table


@dataclass(frozen=True)
class DetectorArguments(DetectorSettings, Producer[AnnotationArguments]):
    """--annotator detector: guidance where objects are that are evidence, from a table of detections or made anew."""

    name: ClassVar[str] = "detector"
    operation: ClassVar[tuple[str, ...]] = ("detector_store",)

    detections: str | None = field(
        default=None,
        metadata={"help": "Folder or Hub id of a table of detections; unset, --detector looks for the classes."},
    )
    evidence: str | None = field(
        default=None, metadata={"help": "JSON or YAML file: label -> list of the classes that are evidence for it."}
    )
    evidence_classes: list[str] = field(
        default_factory=list, metadata={"help": "Classes that are evidence for every label."}
    )
    detector_store: str | None = field(
        default=None, metadata={"help": "File where what is found is kept and reused; the table's own if unset."}
    )

    @contextmanager
    def annotate(self, task: AnnotationTask[AnnotationArguments]) -> Iterator[Annotation]:
        """Mark the cells that the objects cover which are evidence for a frame's action."""
        args = task.args
        evidence = Evidence(read_evidence(self.evidence) if self.evidence else None, self.evidence_classes)
        if not evidence.class_texts:
            raise ConfigError("nothing is evidence: give --evidence_classes, or --evidence for each label")
        manifest = task.load_manifest()
        videos = {split: manifest.split(split).to_list() for split in args.splits}
        actions = Actions(manifest, args)
        evidence.check_labels(
            {label for rows in videos.values() for row in rows for label in actions.of_video(row)}, actions.known
        )
        videos = {split: rows[task.shard.index :: task.shard.count] for split, rows in videos.items()}
        totals: dict[str, float] = {}
        with ExitStack() as opened:
            source = self._open(opened, task, manifest, evidence, totals)
            if source.unknown:
                logger.warning("%s cannot find %s: no evidence comes of them", source.model, _some(source.unknown))
            rows_of = {
                split: tqdm(
                    _guidance_rows(source, split, rows, evidence, actions, args.grid_size),
                    split,
                    unit=" frames",
                    disable=not task.progress,
                )
                for split, rows in videos.items()
            }
            settings = {
                **source.settings,
                "evidence_classes": list(evidence.class_texts),
                "evidence_sha256": evidence.sha256,
                "unknown_classes": sorted(source.unknown),
            }
            facts = AnnotationRun(
                model=source.model,
                policy=source.policy.description,
                label_in_prompt=evidence.is_by_label,
                settings=settings,
            )
            yield Annotation(rows_of, facts, totals=totals)

    def _open(
        self,
        opened: ExitStack,
        task: AnnotationTask[AnnotationArguments],
        manifest: Manifest,
        evidence: Evidence,
        totals: dict[str, float],
    ) -> FrameSource:
        """What gives the detections: a table, or a detector with a store that is closed with `opened`."""
        policy = FramePolicy(frames_per_second=task.args.frames_per_second)
        if self.detections is not None:
            return TableSource(load_detections(self.detections), evidence.class_texts, manifest, policy)
        detector = self.make_detector(task.args.seed)
        texts = tuple(detector.check_text(text) for text in evidence.class_texts)
        path = Path(self.detector_store) if self.detector_store else task.folder / STORE_FILE
        store = opened.enter_context(DetectionStore(path))
        return DetectorSource(DetectionJob(manifest, policy, detector, texts, store, totals, progress=False))

    def describe(self, facts: AnnotationRun) -> str:
        """A sentence or two for the card, from the facts of the whole run."""
        classes = ", ".join(facts.settings["evidence_classes"])
        text = f"Marked are the cells that objects cover, as {facts.model} finds them: {classes}."
        if not facts.label_in_prompt:
            return text
        return (
            f"{text} Which of them are marked hangs on the video's action, so this guidance is training-time "
            "information and no prediction."
        )


class Actions:
    """The labels whose evidence is looked for: a video's class, or the action at a frame's time where there are such.

    Args:
        manifest: Manifest of the videos.
        args: Says where labels come from; sentences of videos are no labels.
    """

    def __init__(self, manifest: Manifest, args: AnnotationArguments):
        if args.labels == "captions":
            raise ConfigError("--labels captions: a table of evidence speaks of classes or segments, not of sentences")
        has_segments = (Path(args.manifest) / SEGMENTS_FOLDER).is_dir()
        kind = args.labels if args.labels != "auto" else "segments" if has_segments else "class"
        self._source = find_labels(manifest, args.manifest, args.splits, kind)
        self.known = set(manifest.class_names)
        """All labels there are, also those that no video here has."""
        if isinstance(self._source, SegmentLabels):
            splits = load_segments(args.manifest).values()
            self.known = {name for rows in splits for name in rows.features["label"].names}

    def of_video(self, row: Mapping[str, Any]) -> set[str]:
        """The labels that frames of a video have."""
        if isinstance(self._source, SegmentLabels):
            found = {one["label"] for one in self._source.segments.segments_of(row["video_id"])}
            return {label for label in found if label.lower() not in NO_ACTION}
        return {self._source.describe(row)}

    def at(self, row: Mapping[str, Any], timestamp_s: float) -> str | None:
        """The label of a frame; None where nothing is done."""
        return self._source.label_at(row, timestamp_s)


class FrameSource(Protocol):
    """What gives the detections of frames."""

    model: str
    policy: FramePolicy
    unknown: set[str]  # classes that it cannot find at all

    @property
    def settings(self) -> dict[str, Any]:
        """Facts of the run."""
        ...

    def frames(self, split: str, video: Mapping[str, Any], class_texts: Sequence[str]) -> Iterator[Frame]:
        """The rows of these classes of each frame of a video, in order of time; at least one frame."""
        ...


class DetectorSource:
    """Detections that are made now, or were kept.

    Args:
        job: What detects.
    """

    def __init__(self, job: DetectionJob):
        self.job, self.policy = job, job.policy
        self.model = f"{job.detector.name} {job.detector.model}".strip()
        self.unknown = {text for text in job.class_texts if not job.detector.knows(text)}

    @property
    def settings(self) -> dict[str, Any]:
        """Facts of the run."""
        return dict(self.job.detector.key)

    def frames(self, split: str, video: Mapping[str, Any], class_texts: Sequence[str]) -> Iterator[Frame]:
        """The rows of these classes of each frame of a video, in order of time."""
        # of this video's label alone: of an open vocabulary, every class is a pass of its own
        rows = replace(self.job, class_texts=tuple(class_texts)).rows(split, [video])
        for _, frame in itertools.groupby(rows, itemgetter("frame_index")):
            yield list(frame)


class TableSource:
    """Detections of a table; its own frames are those that get guidance, so that no video is opened.

    Args:
        table: The table.
        class_texts: Classes that are needed of it.
        manifest: Manifest of the videos.
        policy: Which of the table's frames are taken.

    Raises:
        DetectionError: A class is not in the table at all.
    """

    def __init__(
        self, table: datasets.DatasetDict, class_texts: Sequence[str], manifest: Manifest, policy: FramePolicy
    ):
        self.policy, self._manifest = policy, manifest
        self._table = datasets.concatenate_datasets(list(table.values())).select_columns(list(FEATURES))
        self._places: dict[str, list[tuple[float, int, str]]] = {}  # video -> (time in seconds, row, class)
        models: set[str] = set()
        statuses: dict[str, set[str]] = {}
        columns = ["video_id", "class_text", "timestamp_s", "model", "status"]
        number = 0
        for batch in self._table.select_columns(columns).iter(_ROWS_AT_ONCE):
            for video_id, text, time_s, model, status in zip(*(batch[name] for name in columns), strict=True):
                if text in class_texts:
                    self._places.setdefault(video_id, []).append((time_s, number, text))
                    models.add(model)
                    statuses.setdefault(text, set()).add(status)
                number += 1
        absent = [text for text in class_texts if text not in statuses]
        if absent:
            raise DetectionError(f"the table of detections has no row of {_some(absent)}: detect these classes first")
        self.model = join_names(sorted(models))
        self.unknown = {text for text, found in statuses.items() if found == {UNKNOWN_CLASS}}

    @property
    def settings(self) -> dict[str, Any]:
        """Facts of the run."""
        return {}

    def frames(self, split: str, video: Mapping[str, Any], class_texts: Sequence[str]) -> Iterator[Frame]:
        """The rows of these classes of each frame of a video, in order of time."""
        places = sorted(place for place in self._places.get(video["video_id"], ()) if place[2] in class_texts)
        times_s = sorted({time_s for time_s, _, _ in places})
        if not times_s:
            yield [_absent_row(self._manifest, split, video)]
            return
        wanted_s = {times_s[index] for index in self.policy.frame_indices(times_s)}
        kept = [place for place in places if place[0] in wanted_s]
        for _, group in itertools.groupby(kept, itemgetter(0)):
            rows = self._table.select([number for _, number, _ in group]).to_list()
            for row in rows:
                check_row(row)
            # where the frame lies is the table's to say, which split it is in the manifest's
            yield [{**row, "split": split} for row in rows]


def _absent_row(manifest: Manifest, split: str, video: Mapping[str, Any]) -> dict[str, Any]:
    """What stands for a video that a table of detections does not know."""
    size = {"frame_height": video["height"], "frame_width": video["width"]}
    key = {"video_id": video["video_id"], "source": manifest.source, "split": split, **size}
    found = {"boxes": [], "scores": [], "masks": [], "status": "failed", "raw_response": "no detections of this video"}
    return {**key, "frame_index": 0, "timestamp_s": 0.0, "class_text": "", "model": "", "revision": "", **found}


def _guidance_rows(
    source: FrameSource,
    split: str,
    videos: Sequence[Mapping[str, Any]],
    evidence: Evidence,
    actions: Actions,
    grid: tuple[int, int],
) -> Iterator[dict[str, Any]]:
    for video in videos:
        texts = dict.fromkeys(text for label in sorted(actions.of_video(video)) for text in evidence.of(label))
        texts |= dict.fromkeys(evidence.for_all)
        # a video whose actions have no evidence is looked at all the same: its frames are rows, which mark nothing
        for frame in source.frames(split, video, tuple(texts) or evidence.class_texts):
            wanted = evidence.of(actions.at(video, frame[0]["timestamp_s"]))
            yield frame_guidance(frame, wanted, grid)


def frame_guidance(frame: Frame, class_texts: Sequence[str], grid: tuple[int, int]) -> dict[str, Any]:
    """The guidance of one frame: cells weighted by the objects in them.

    A frame with a failure among its classes, or without a row of one, is a failure: evidence that was not looked for
    must not pass for evidence that is not there. A class that the detector does not know adds nothing.

    Args:
        frame: Rows of detections, at least one; those of other classes are left out.
        class_texts: Classes that are evidence in this frame.
        grid: (rows, columns).
    """
    first = frame[0]
    provenance = {"producer": "detector", "model": first["model"], "revision": first["revision"]}
    rows = [row for row in frame if row["class_text"] in class_texts]
    # what else of the frame failed says whether there was a picture at all
    bad = next((row for row in rows or frame if row["status"] not in ("ok", "empty", UNKNOWN_CLASS)), None)
    missing = [text for text in class_texts if text not in {row["class_text"] for row in rows}]
    if bad is not None or missing:
        reason = f"no detections of {_some(missing)} in this frame" if bad is None else bad["raw_response"]
        status = "failed" if bad is None else bad["status"]
        nowhere = [0.0] * (grid[0] * grid[1])
        return guidance_row(first, nowhere, grid, status=status, raw_response=reason, **provenance)
    fine = render_maps([found_of(row) for row in rows], (grid[0] * _FINE, grid[1] * _FINE))
    # the largest of all classes: an arm within a person is not marked twice
    whole = fine.max(axis=0) if len(fine) else np.zeros((grid[0] * _FINE, grid[1] * _FINE), np.float32)
    cells = whole.reshape(grid[0], _FINE, grid[1], _FINE).mean(axis=(1, 3), dtype=np.float64)
    objects = [
        {
            "name": row["class_text"],
            "center": [(box[0] + box[2]) / 2, (box[1] + box[3]) / 2],
            "box": list(box),
            "relevant": True,
        }
        for row in rows
        for box in row["boxes"]
    ]
    return guidance_row(first, cells.reshape(-1).tolist(), grid, objects=objects, **provenance)


def _some(names: Iterable[str], limit: int = 5) -> str:
    names = sorted(names)
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")
