"""What others bring to studies: a system with its way to train, kinds of data, and kinds of guidance.

A system (`vidreason.rs.study.RSStudies`) lies on a floor below this one and imports nothing from here: it matches the
protocols by its attributes, and a type checker sees to that where it is listed, in `vidreason.study.systems`. A new
system adds a line there; nothing else of `study` changes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Protocol

from ..errors import ConfigError
from ..reporting.tables import MetricStyle
from ..video.cache import SharedVideos

_MISTAKES = ("missed_frames", "misplaced_cells", "extra_cells", "wrong_cells")


@dataclass(frozen=True)
class GuidanceSource:
    """How the guidance of a run's training split is made.

    Args:
        producer: Name of a kind of guidance: "truth" (of a synthetic world, with the mistakes below), "objects" (a
            local chat server is asked for objects and their centres in frames of the assembly world), "motion",
            "table", or one that a system brings; "" for none.
        table: Folder or Hub id of a table that exists already.
        missed_frames: Probability that a frame gets no guidance. This and the three below are the mistakes of
            `vidreason.annotation.NoiseModel`, drawn anew for every seed.
        misplaced_cells: Probability that a marked cell moves to a neighbouring cell.
        extra_cells: Probability that an unmarked cell is marked.
        wrong_cells: Probability that a marked cell is replaced by one without evidence.
        coverage: Share in (0, 1] of the training videos of each class that keep their guidance. The videos of a
            smaller share are among those of a larger one.
        grid: Rows and columns of the guidance.
        frames_per_second: Frames that the producer "objects" asks about, per second of video; the paper's rate by
            default.
        options: Further settings of a kind of guidance that a system brings (`GuidanceKind.options`).
    """

    producer: str = ""
    table: str | None = None
    missed_frames: float = 0.0
    misplaced_cells: float = 0.0
    extra_cells: float = 0.0
    wrong_cells: float = 0.0
    coverage: float = 1.0
    grid: tuple[int, int] = (4, 4)
    frames_per_second: float = 10.0
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self):
        if (self.producer == "table") != (self.table is not None):
            raise ConfigError("a guidance source has a `table` if, and only if, its producer is table")
        if self.producer != "truth" and any(self.mistakes.values()):
            raise ConfigError(f"mistakes are put on the producer truth alone, and this one is {self.producer!r}")
        if not 0 < self.coverage <= 1:
            raise ConfigError(f"coverage is {self.coverage}, expected a share in (0, 1]")

    @property
    def mistakes(self) -> dict[str, float]:
        """The arguments of the noise model without its seed."""
        return {name: getattr(self, name) for name in _MISTAKES}

    @property
    def settings(self) -> dict[str, Any]:
        """What differs from the defaults, as a study file would say it."""
        named = [f for f in fields(self) if f.name != "options"]
        return {f.name: getattr(self, f.name) for f in named if getattr(self, f.name) != f.default} | {**self.options}


@dataclass(frozen=True)
class DataPlaces:
    """Where the data of a run lie.

    Args:
        folder: Folder for everything that is made from these data; runs with the same data share it.
        manifest: Folder of the manifest of videos.
        video_root: Folder of the videos, where it is not the one that the manifest names.
        truth: Folder of the ground truth of a synthetic world; None where there is none.
        guidance: Folder or Hub id of the guidance of the training split; None for none.
        evaluation_guidance: Folder or Hub id of the guidance that attention is measured against; None leaves the
            recipe's own.
        detections: Folder of the detections that the model is shown; None leaves the recipe's own.
    """

    folder: Path
    manifest: Path
    video_root: str | None = None
    truth: Path | None = None
    guidance: str | None = None
    evaluation_guidance: str | None = None
    detections: str | None = None

    @property
    def settings(self) -> dict[str, str]:
        """The places as settings of train.py, without those that are left to the recipe."""
        names = ("manifest", "guidance", "evaluation_guidance", "video_root", "detections")
        return {name: str(getattr(self, name)) for name in names if getattr(self, name) is not None}


class DataKind(Protocol):
    """A kind of data that a study can be made on: one key under `data` of a study file.

    Its settings are what stands under that key, or all of `data` where the key is "manifest".
    """

    @property
    def keys(self) -> Collection[str]:
        """The settings that it knows."""

    @property
    def run_keys(self) -> Collection[str]:
        """Those of them that differ from run to run: a value of an axis sets them, beside settings of train.py."""

    @property
    def is_drawn(self) -> bool:
        """Whether every seed of a study draws data of its own."""

    def has_truth(self, settings: Mapping[str, Any]) -> bool:
        """Whether ground truth comes with the data."""

    def make(self, study: str, settings: Mapping[str, Any], seed: int, folder: Path, num_proc: int) -> DataPlaces:
        """Make the data unless they exist, and say where they lie.

        Args:
            study: Name of the study, for messages and folders.
            settings: What the study file says of the data.
            seed: Seed of the run, from which the data are drawn where `is_drawn`.
            folder: Folder under which data are kept, for all runs and studies.
            num_proc: Number of processes that may be used.
        """


class GuidanceKind(Protocol):
    """A producer of guidance for the training split: one value of `producer` in a study file."""

    @property
    def options(self) -> Collection[str]:
        """Names of settings beside those that every `GuidanceSource` has."""

    def problem(self, data_kind: str, has_truth: bool) -> str | None:
        """Why it cannot be made for such data, or None where it can."""

    def is_drawn(self, source: GuidanceSource) -> bool:
        """Whether every seed of a study draws guidance of its own."""

    def write(self, folder: Path, data: DataPlaces, split: str, source: GuidanceSource, seed: int) -> None:
        """Write the table.

        Args:
            folder: Folder of the table, which does not exist yet.
            data: Places of the run's data.
            split: The split that gets guidance.
            source: How it is made; `coverage` is applied afterwards, by study.
            seed: Seed of the run.
        """


class TaskMetrics(Protocol):
    """What is reported of runs of one task, such as "classification"."""

    @property
    def subject(self) -> str:
        """What the task is about, in a word, for messages."""

    @property
    def reported(self) -> tuple[str, ...]:
        """What a study reports unless it names its own metrics, the main one first."""

    @property
    def main(self) -> tuple[str, ...]:
        """Metrics that have a table of their own beside the first, which always has one."""

    @property
    def over_groups(self) -> tuple[str, ...]:
        """What is reported of leaving one group out."""


class System(Protocol):
    """A way to train, with its settings and metrics: what a study compares variants of."""

    @property
    def metric_styles(self) -> Mapping[str, MetricStyle]:
        """How each metric is shown that its runs may report."""

    @property
    def tasks(self) -> Mapping[str, TaskMetrics]:
        """Value of a recipe's `task` -> what is reported. The first is that of recipes that name none."""

    @property
    def guidance_kinds(self) -> Mapping[str, GuidanceKind]:
        """Producers of guidance that it brings, by name."""

    def spell_out(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Settings with those of a named method in place of its name, so that a result is known by all of them.

        Raises:
            ConfigError: There is no such method.
        """

    def known_settings(self) -> Collection[str]:
        """The names of all settings that a recipe may have."""

    def train(
        self,
        recipe: Path,
        flags: Mapping[str, Any],
        keep_model: bool,
        video_cache: SharedVideos | None,
    ) -> dict[str, Any]:
        """Train and evaluate by a recipe.

        Under `accelerate launch` every process calls this, and each is given the whole.

        Args:
            recipe: The file of the recipe.
            flags: Settings that take the place of the recipe's.
            keep_model: Whether the trained model is left in the recipe's output folder.
            video_cache: Decoded videos that runs of one process share; None keeps nothing.

        Returns:
            {"metrics": {split: {metric: value or None}}, "train_seconds": seconds, "device": text, "skipped": {split:
            {video_id: reason}}} and further facts for the record.

        Raises:
            VidreasonError: Settings, data or training have something wrong.
        """
