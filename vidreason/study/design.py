"""What a study is: settings and seeds, the runs they make, and what each is compared with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from .detections import SETTING, DetectionSource
from .plugins import DataKind, GuidanceKind, GuidanceSource, System

GUIDANCE_AXIS = "guidance"

MANIFEST = "manifest"
"""The kind of data whose settings are all that stands under `data`, where those of others stand under their name."""


@dataclass(frozen=True)
class Cell:
    """One setting of a study: a value on every axis, and the seeds it is run with."""

    values: dict[str, str]
    seeds: tuple[int, ...]

    @property
    def name(self) -> str:
        """The values, in the order of the axes."""
        return "-".join(self.values.values())

    def run_name(self, seed: int) -> str:
        """The name of the run with a seed."""
        return f"{self.name}-seed{seed}"


@dataclass(frozen=True)
class Contrast:
    """Two settings of a study and what they are compared by.

    Args:
        title: Heading of its table.
        of: The setting that is looked at.
        against: The setting that it is compared with.
        metrics: Names of the metrics.
    """

    title: str
    of: Cell
    against: Cell
    metrics: tuple[str, ...]


@dataclass(frozen=True)
class RunPlan:
    """One run: a setting and a seed.

    Args:
        study: Name of the study.
        values: The setting's value on every axis.
        seed: Seed of drawn data, of the guidance's mistakes and of the training.
        recipe: Settings of train.py, without the places of data and output.
        data: What the study file says of the data, with what this run's values add to it.
        data_name: Name of the kind of data.
        guidance: Source of the guidance of the training split; None leaves the recipe's own.
        train_share: Share of the training split that is trained on, in (0, 1].
        system: What trains.
        data_kind: What makes the data.
        guidance_kind: What makes the guidance; None where there is none, or a table that exists already.
        detections: Source of the detections that the model is shown; None leaves the recipe's own table, if any.
    """

    study: str
    values: dict[str, str]
    seed: int
    recipe: dict[str, Any]
    data: dict[str, Any]
    data_name: str
    guidance: GuidanceSource | None
    train_share: float
    system: System
    data_kind: DataKind
    guidance_kind: GuidanceKind | None = None
    detections: DetectionSource | None = None

    @property
    def name(self) -> str:
        """The setting's values and the seed; unique in a study."""
        return Cell(self.values, ()).run_name(self.seed)

    @property
    def data_settings(self) -> dict[str, Any]:
        """What the kind of data is given."""
        return self.data if self.data_name == MANIFEST else self.data[self.data_name]

    @property
    def settings(self) -> dict[str, Any]:
        """Everything that decides how the run comes out, as plain data."""
        guidance = None if self.guidance is None else self.guidance.settings
        # not in runs without, whose settings are those of records that were made before there were detections
        detections = {} if self.detections is None else {SETTING: self.detections.settings}
        return {
            **detections,
            "recipe": {**self.recipe, "seed": self.seed},
            "data": self.data,
            "guidance": guidance and {k: list(v) if isinstance(v, tuple) else v for k, v in guidance.items()},
            "train_share": self.train_share,
        }


@dataclass(frozen=True)
class Study:
    """A study file that was read and checked.

    Args:
        path: The file.
        name: Name of the study.
        title: Heading of its page.
        question: Text below the heading.
        recipe_path: File of the settings that all runs share.
        recipe: What that file holds, with the study's own `settings` over it.
        data: {kind: {...}}, or {"manifest": folder, ...}.
        data_name: Name of the kind of data.
        axes: {axis: {value: settings}}, in the order of the tables.
        cells: Every setting, in the order of the axes and their values.
        system: What trains, and what its settings and metrics are.
        data_kind: What makes the data.
        guidance_kinds: What makes guidance, by the name of the producer.
        metrics: Names of the metrics that are reported, the main one first.
        baseline: {axis: value} that a setting is compared with; None compares nothing.
        plots: Mappings that `vidreason.study.study_plots` draws.
        paper: Published figures, {"source": text, "columns": [...], "rows": [[...], ...]}, or None.
        contrasts: Settings that are compared with others than the baseline.
    """

    path: Path
    name: str
    title: str
    question: str
    recipe_path: Path
    recipe: dict[str, Any]
    data: dict[str, Any]
    data_name: str
    axes: dict[str, dict[str, dict[str, Any]]]
    cells: tuple[Cell, ...]
    system: System
    data_kind: DataKind
    guidance_kinds: Mapping[str, GuidanceKind]
    metrics: tuple[str, ...]
    baseline: dict[str, str] | None = None
    plots: list[dict[str, Any]] = field(default_factory=list)
    paper: dict[str, Any] | None = None
    contrasts: tuple[Contrast, ...] = ()

    @property
    def splits(self) -> list[str]:
        """The splits that are tested on."""
        return list(self.recipe["test_splits"])

    @property
    def seeds(self) -> list[int]:
        """All seeds, in order."""
        return sorted({seed for cell in self.cells for seed in cell.seeds})

    def runs(self) -> list[RunPlan]:
        """Every run, cell by cell."""
        return [self.plan(cell, seed) for cell in self.cells for seed in cell.seeds]

    def plan(self, cell: Cell, seed: int) -> RunPlan:
        """The run of a setting with a seed."""
        # a method that the recipe or the study's `settings` name is spelled out as one of an axis is
        recipe, guidance = self.system.spell_out(self.recipe), None
        for axis, value in cell.values.items():
            settings = dict(self.axes[axis][value])
            if axis == GUIDANCE_AXIS:
                recipe |= self.system.spell_out(settings.pop("settings", {}))
                guidance = guidance_source(settings, self.guidance_kinds, f"{self.path}: axes, {axis}, {value}")
            else:
                recipe |= self.system.spell_out(settings)
        share = recipe.pop("train_share", 1.0)
        detections = None
        if isinstance(recipe.get(SETTING), Mapping):
            detections = DetectionSource.read(recipe.pop(SETTING), f"{self.path}: {cell.name}")
            recipe["object_classes"] = list(detections.classes)
        of_data = {key: recipe.pop(key) for key in self.data_kind.run_keys if key in recipe}
        return RunPlan(
            study=self.name,
            values=cell.values,
            seed=seed,
            recipe=recipe,
            data=self._data_of_run(of_data),
            data_name=self.data_name,
            guidance=guidance,
            train_share=share,
            system=self.system,
            data_kind=self.data_kind,
            guidance_kind=None if guidance is None else self.guidance_kinds.get(guidance.producer),
            detections=detections,
        )

    def _data_of_run(self, added: dict[str, Any]) -> dict[str, Any]:
        if not added:
            return self.data
        if self.data_name == MANIFEST:
            return {**self.data, **added}
        return {self.data_name: {**self.data[self.data_name], **added}}

    def baseline_cell(self, cell: Cell) -> Cell | None:
        """What a setting is compared with; None for the baseline itself, and where there is none."""
        if self.baseline is None:
            return None
        values = {**cell.values, **self.baseline}
        found = next((other for other in self.cells if other.values == values), None)
        is_baseline = all(cell.values[axis] == self.baseline[axis] for axis in self.baseline)
        return None if is_baseline else found


def guidance_source(settings: Mapping[str, Any], kinds: Mapping[str, GuidanceKind], where: str) -> GuidanceSource:
    """A source from its settings.

    Args:
        settings: What a study file says of it.
        kinds: The producers that there are, by name, beside tables.
        where: Place in the study file, for messages.

    Raises:
        ConfigError: The settings make no source; the message names `where`.
    """
    settings = dict(settings)
    producer = settings.get("producer", "")
    if producer not in ("", "table", *kinds):
        raise ConfigError(f"{where}: producer is {producer!r}, expected {', '.join(kinds)} or table")
    known = kinds[producer].options if producer in kinds else ()
    options = {name: settings.pop(name) for name in known if name in settings}
    if "grid" in settings:
        settings["grid"] = tuple(settings["grid"])
    try:
        if "options" in settings:  # the field of the class, which is no key of a study file
            raise TypeError("got an unexpected keyword argument 'options'")
        return GuidanceSource(**settings, options=options)
    except (TypeError, ConfigError) as error:
        raise ConfigError(f"{where}: {str(error).replace('GuidanceSource.__init__() ', '')}") from None
