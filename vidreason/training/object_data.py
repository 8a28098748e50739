"""The detections of a run: opened, checked against the model that is shown them, and joined split by split."""

from __future__ import annotations

import collections
import functools
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
from datasets import Dataset
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel

from ..backbones import backbone_for
from ..backbones.a2o import WITH_MAPS
from ..clips.object_maps import ObjectMaps, map_size
from ..clips.packed_store import PackedStore
from ..detection import UNKNOWN_CLASS, DetectionIndex, check_class_texts, load_detections
from ..errors import ConfigError, DetectionError
from ..manifests.manifest import Manifest
from .arguments import ClipArguments

logger = logging.getLogger(__name__)

_COUNTED = ("class_text", "status", "model", "revision", "threshold", "max_side_px")
_ROWS_AT_ONCE = 65_536


@dataclass(frozen=True)
class DetectionOrigin:
    """What made some detections: two runs are shown the same kind of maps only where all of it is the same.

    Args:
        detector: Kind of detector, such as "coco".
        model: Hub id or name of its weights.
        revision: Their revision; empty where it is not known.
        threshold: Least score that was kept.
        max_side_px: Longer side in pixels that frames were scaled down to; 0 for their own size.
    """

    detector: str
    model: str
    revision: str
    threshold: float
    max_side_px: int

    def describe(self) -> str:
        """In words, for messages and cards."""
        name = " ".join(filter(None, [self.detector, self.model]))
        scaled = f", frames of {self.max_side_px} px" if self.max_side_px else ""
        return f"{name}{f'@{self.revision}' if self.revision else ''}, threshold {self.threshold:g}{scaled}"


@dataclass
class DetectionRows:
    """Counts over the rows of some classes in a split.

    Args:
        statuses: Class -> number of rows of each status.
        sources: Number of rows of each source.
    """

    statuses: dict[str, collections.Counter[str]] = field(default_factory=dict)
    sources: collections.Counter[DetectionOrigin] = field(default_factory=collections.Counter)

    @property
    def never_known(self) -> list[str]:
        """Classes of which every row says that the detector cannot find them."""
        return [text for text, counts in self.statuses.items() if set(counts) == {UNKNOWN_CLASS}]


class ObjectTables:
    """The detections of a run's splits, of one detector; the table is opened once.

    Args:
        data_args: Settings that name the table and the classes.
        videos: The videos or packed clips whose frames they are of.

    Raises:
        DetectionError: The table cannot be read, or a class text cannot be used.
        ConfigError: It has no training split.
    """

    def __init__(self, data_args: ClipArguments, videos: Manifest | PackedStore):
        assert data_args.detections is not None, "asked for where a table is named"
        self.name, self.data_args, self.videos = data_args.detections, data_args, videos
        self.class_texts = check_class_texts(data_args.object_classes)
        self.map_size_px = data_args.map_size_px  # where the run leaves it open, a checkpoint may say (`fit_to`)
        self._tables = load_detections(self.name)
        # caches per instance: `functools.cache` on a method would keep every instance alive with its tables
        self.rows = functools.cache(self._count_rows)
        self.index = functools.cache(self._open)

    @property
    def source(self) -> DetectionOrigin:
        """What made the detections of the training split.

        Raises:
            ConfigError: They are of several detectors, or there are none.
        """
        return self._source_of(self.data_args.train_split)

    def config_fields(self, model_type: str | None, name_or_path: str | None) -> dict[str, Any]:
        """The fields of a new adapter's configuration that say which maps it is shown; none where there is no new one.

        Args:
            model_type: Type or preset of the run's model.
            name_or_path: Checkpoint that it starts from. One that has an adapter says itself which maps it was
                trained on: there is nothing to set, and `fit_to` compares.
        """
        takes_maps = model_type is not None and f"{model_type}_".startswith(f"{WITH_MAPS}_")
        if not takes_maps or (name_or_path and _has_adapter(name_or_path)):
            return {}
        source = self.source
        return {
            "class_texts": list(self.class_texts),
            "detector": source.detector,
            "detector_model": source.model,
            "detector_revision": source.revision,
            "detector_threshold": source.threshold,
            "map_size_px": self.map_size_px,
        }

    def fit_to(self, config: PreTrainedConfig) -> None:
        """Make sure that a model is shown the maps that it was made or trained for, in the size that it says.

        Raises:
            ConfigError: It takes other classes or maps of another size, or was trained on another detector's maps; the
                message says which.
        """
        stated: Any = config
        if self.map_size_px is None:
            self.map_size_px = stated.map_size_px
        elif stated.map_size_px not in (None, self.map_size_px):
            raise ConfigError(
                f"map_size_px is {self.map_size_px}, and the model was trained with maps of {stated.map_size_px} px: "
                "leave the setting out"
            )
        if tuple(stated.class_texts) != self.class_texts:
            raise ConfigError(
                f"the model takes maps of {_named(stated.class_texts)}, in this order, and object_classes are "
                f"{_named(self.class_texts)}"
            )
        if not stated.detector:
            logger.warning("the model does not say which detector its maps were of: %s is taken", self.name)
            return
        wanted = (stated.detector, stated.detector_model, stated.detector_revision, float(stated.detector_threshold))
        source = self.source
        found = (source.detector, source.model, source.revision, source.threshold)
        names = ("detector", "detector_model", "detector_revision", "detector_threshold")
        other = [f"{n} {w!r}, not {f!r}" for n, w, f in zip(names, wanted, found, strict=True) if w != f]
        if other:
            raise ConfigError(f"detections {self.name} are not what the model was made for: it has {'; '.join(other)}")

    def maps(self, split: str, input_size: tuple[int, int]) -> ObjectMaps:
        """The maps of a split.

        Args:
            split: Name of the split.
            input_size: Height and width in pixels of the model's input.

        Raises:
            DetectionError: The table breaks its contract, or lacks a class.
            ConfigError: It lacks the split, fits none of its videos, or is of another detector than in training.
        """
        index = self.index(split)
        if self._source_of(split) != self.source:
            raise ConfigError(
                f"detections {self.name}, split {split!r}, are of {self._source_of(split).describe()}; those of "
                f"training are of {self.source.describe()}"
            )
        return ObjectMaps(index, map_size(self.map_size_px, input_size))

    def facts(self) -> dict[str, Any]:
        """What a card says of the maps, under the names of `vidreason.publishing.cards.ObjectFacts`."""
        source, split = self.source, self.data_args.train_split
        statuses = sum(self.rows(split).statuses.values(), collections.Counter())
        counts = {f"rows with status {status}": statuses[status] for status in sorted(statuses)}
        return {
            "class_texts": self.class_texts,
            "detector": " ".join(filter(None, [source.detector, source.model])),
            "revision": source.revision,
            "threshold": source.threshold,
            "source": Path(self.name).name,  # a folder's whole path is of one machine
            "coverage": {**counts, "videos with detections": len(self.index(split).video_ids)},
        }

    def _table(self, split: str) -> Dataset:
        if split not in self._tables:
            raise ConfigError(f"detections {self.name} have no split {split!r}; they have {sorted(self._tables)}")
        return self._tables[split]

    def _source_of(self, split: str) -> DetectionOrigin:
        sources = self.rows(split).sources
        if len(sources) != 1:
            found = "; ".join(source.describe() for source in sources) or "none"
            raise ConfigError(
                f"detections {self.name}, split {split!r}, are to be of one detector, threshold and size, and are of "
                f"{found}"
            )
        return next(iter(sources))

    def _count_rows(self, split: str) -> DetectionRows:
        counted = DetectionRows()
        columns = self._table(split).with_format("arrow").select_columns(list(_COUNTED))
        for batch in columns.iter(_ROWS_AT_ONCE):
            # counted in Arrow: a Python object for each of millions of rows would take minutes
            groups = pa.Table.from_batches(batch.to_batches()).group_by(list(_COUNTED)).aggregate([([], "count_all")])
            for row in groups.to_pylist():
                text = row["class_text"]
                if text not in self.class_texts:
                    continue
                counted.statuses.setdefault(text, collections.Counter())[row["status"]] += row["count_all"]
                counted.sources[_source(row)] += row["count_all"]
        return counted

    def _open(self, split: str) -> DetectionIndex:
        """The detections of a split, with what of them meets the videos reported."""
        try:
            index = DetectionIndex(self._table(split), self.class_texts, self.data_args.detection_tolerance_s)
        except DetectionError as error:
            raise DetectionError(f"detections {self.name}, split {split!r}: {error}") from error
        videos = self.videos
        ids = videos.video_ids(split) if isinstance(videos, PackedStore) else videos.split(split)["video_id"]
        coverage = index.coverage(ids)
        # ids that are spelled differently match nothing, and every map would be zeros without a word
        if coverage.videos_with_detections == 0:
            raise ConfigError(
                f"detections {self.name}, split {split!r}, fit none of the videos: {coverage.describe()}"
            )
        is_whole = coverage.videos_with_detections == coverage.videos and not coverage.unknown_videos
        log = logger.info if is_whole else logger.warning
        log("detections %s, split %r: %s", self.name, split, coverage.describe())
        unknown = self.rows(split).never_known
        if unknown:
            logger.warning(
                "detections %s, split %r: the detector cannot find %s, whose maps are zeros everywhere",
                self.name,
                split,
                _named(unknown),
            )
        return index


def open_objects(data_args: ClipArguments, videos: Manifest | PackedStore) -> ObjectTables | None:
    """The detections that a run shows its model; None for none.

    Raises:
        VidreasonError: The table cannot be used.
    """
    return None if data_args.detections is None else ObjectTables(data_args, videos)


def fit_maps(model: PreTrainedModel, objects: ObjectTables | None) -> None:
    """Make sure that a model that takes maps is given its own, and one that takes none is given none.

    Args:
        model: The model of a run.
        objects: The run's detections, whose maps take the size that the model says; None for none.

    Raises:
        ConfigError: It is not so.
    """
    takes_maps = backbone_for(model.config).takes_object_maps
    if objects is None and takes_maps:
        stated: Any = model.config
        raise ConfigError(f"the model is shown maps of {_named(stated.class_texts)}: name detections of them")
    if objects is not None and not takes_maps:
        raise ConfigError(
            f"detections {objects.name} are given, but a model of type {model.config.model_type} takes no maps: set "
            f"model_type to a2o_{model.config.model_type}, or to a2o beside a checkpoint"
        )
    if objects is not None:
        objects.fit_to(model.config)


def _has_adapter(name_or_path: str) -> bool:
    """Whether a checkpoint is of a model that takes maps."""
    try:
        return hasattr(AutoConfig.from_pretrained(name_or_path), "class_texts")
    except (OSError, ValueError):  # it cannot be loaded, of which the one who builds the model says more
        return False


def _source(row: dict[str, Any]) -> DetectionOrigin:
    detector, _, model = row["model"].partition(" ")
    # rounded: the column is float32, and 0.3 comes back as 0.30000001
    return DetectionOrigin(detector, model, row["revision"], round(float(row["threshold"]), 6), row["max_side_px"])


def _named(texts: Any) -> str:
    return ", ".join(map(repr, texts)) or "no classes"
