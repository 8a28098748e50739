"""What a study is: settings and seeds, the runs they make, and what each is compared with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError
from ..rs.methods import method_settings
from .metric_styles import METRICS

if TYPE_CHECKING:
    from .contrasts import Contrast

GUIDANCE_AXIS = "guidance"

WORLDS = ("synthetic", "assembly")
"""Worlds that a study draws anew for every seed: of clips, and of long videos of many actions."""


@dataclass(frozen=True)
class GuidanceSource:
    """How the guidance of a run's training split is made.

    Args:
        producer: "truth" (of a synthetic world, with the mistakes below), "objects" (a local chat server is asked for
            objects and their centres in frames of the assembly world), "motion", "table", or "" for none.
        table: folder or Hub id of a table that is there already.
        missed_frames: these four are the mistakes of `vidreason.annotation.NoiseModel`, drawn anew for every seed.
        misplaced_cells: see there.
        extra_cells: see there.
        wrong_cells: see there.
        coverage: share of the training videos of each class that keep their guidance. The videos of a smaller share
            are among those of a larger one.
        grid: (rows, columns).
        frames_per_second: that are asked about, by the producer "objects"; the paper's rate by default.
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

    def __post_init__(self):
        if self.producer not in ("", "truth", "objects", "motion", "table"):
            raise ConfigError(f"producer is {self.producer!r}, expected truth, objects, motion or table")
        if (self.producer == "table") != (self.table is not None):
            raise ConfigError("a guidance source has a `table` if, and only if, its producer is table")
        if self.producer != "truth" and any(self.mistakes.values()):
            raise ConfigError(f"mistakes are put on the producer truth alone, and this one is {self.producer!r}")
        if not 0 < self.coverage <= 1:
            raise ConfigError(f"coverage is {self.coverage}, expected a share in (0, 1]")

    @property
    def mistakes(self) -> dict[str, float]:
        """The arguments of the noise model but for its seed."""
        return {name: getattr(self, name) for name in _MISTAKES}

    @property
    def settings(self) -> dict[str, Any]:
        """What differs from the defaults, as a study file would say it."""
        return {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}


_MISTAKES = ("missed_frames", "misplaced_cells", "extra_cells", "wrong_cells")


@dataclass(frozen=True)
class Cell:
    """One setting of a study: a value on every axis, and the seeds it is run with."""

    values: dict[str, str]
    seeds: tuple[int, ...]

    @property
    def name(self) -> str:
        return "-".join(self.values.values())

    def run_name(self, seed: int) -> str:
        """Names a run, and its file."""
        return f"{self.name}-seed{seed}"


@dataclass(frozen=True)
class RunPlan:
    """One run: a setting and a seed.

    Args:
        study: its name.
        values: on every axis.
        seed: of the world, the guidance's mistakes and the training.
        recipe: settings of train.py, without the places of data and output.
        data: of the study file.
        guidance: of the training split; None leaves the recipe's own.
        train_share: of the training split, in (0, 1].
    """

    study: str
    values: dict[str, str]
    seed: int
    recipe: dict[str, Any]
    data: dict[str, Any]
    guidance: GuidanceSource | None
    train_share: float = 1.0

    @property
    def name(self) -> str:
        return Cell(self.values, ()).run_name(self.seed)

    @property
    def world(self) -> str | None:
        """The world that is drawn anew for every seed; None for data that are there."""
        return next((world for world in WORLDS if world in self.data), None)

    @property
    def settings(self) -> dict[str, Any]:
        """Everything that decides how the run comes out, as plain data."""
        guidance = None if self.guidance is None else self.guidance.settings
        return {
            "recipe": {**self.recipe, "seed": self.seed},
            "data": self.data,
            "guidance": guidance and {k: list(v) if isinstance(v, tuple) else v for k, v in guidance.items()},
            "train_share": self.train_share,
        }


@dataclass(frozen=True)
class Study:
    """A study file that was read and checked.

    Args:
        path: of the file.
        name: of the study.
        title: heading of its page.
        question: below the heading.
        recipe_path: of the settings that all runs share.
        recipe: what that file holds, with the study's own `settings` over it.
        data: {"synthetic": {...}}, {"assembly": {...}} or {"manifest": ..., ...}.
        axes: {axis: {value: settings}}, in the order of the tables.
        cells: every setting, in the order of the axes and their values.
        baseline: {axis: value} of what a setting is compared with; None compares nothing.
        metrics: that are reported, the main one first.
        plots: mappings for `vidreason.study.report`.
        paper: published figures, {"source": text, "columns": [...], "rows": [[...], ...]}, or None.
        contrasts: settings that are compared with others than the baseline (`vidreason.study.contrasts`).
    """

    path: Path
    name: str
    title: str
    question: str
    recipe_path: Path
    recipe: dict[str, Any]
    data: dict[str, Any]
    axes: dict[str, dict[str, dict[str, Any]]]
    cells: tuple[Cell, ...]
    baseline: dict[str, str] | None = None
    metrics: tuple[str, ...] = METRICS
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
        recipe, guidance = dict(self.recipe), None
        for axis, value in cell.values.items():
            settings = dict(self.axes[axis][value])
            if axis == GUIDANCE_AXIS:
                recipe |= _spelled_out(settings.pop("settings", {}))
                guidance = guidance_source(settings, f"{self.path}: axes, {axis}, {value}")
            else:
                recipe |= _spelled_out(settings)
        share = recipe.pop("train_share", 1.0)
        return RunPlan(self.name, cell.values, seed, recipe, self.data, guidance, share)

    def baseline_cell(self, cell: Cell) -> Cell | None:
        """What a setting is compared with; None for the baseline itself, and where there is none."""
        if self.baseline is None:
            return None
        values = {**cell.values, **self.baseline}
        found = next((other for other in self.cells if other.values == values), None)
        is_baseline = all(cell.values[axis] == self.baseline[axis] for axis in self.baseline)
        return None if is_baseline else found


def _spelled_out(settings: Mapping[str, Any]) -> dict[str, Any]:
    """A value's settings with those of the `method` it names, which are then part of what a result is known by."""
    own = dict(settings)
    return {**method_settings(own.pop("method", None)), **own}


def guidance_source(settings: Mapping[str, Any], where: str) -> GuidanceSource:
    """A source from its settings.

    Raises:
        ConfigError: naming `where`, the settings make no source.
    """
    settings = dict(settings)
    if "grid" in settings:
        settings["grid"] = tuple(settings["grid"])
    try:
        return GuidanceSource(**settings)
    except (TypeError, ConfigError) as error:
        raise ConfigError(f"{where}: {str(error).replace('GuidanceSource.__init__() ', '')}") from None
