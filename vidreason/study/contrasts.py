"""Comparisons that a study asks for by name: one setting against another that is not the baseline, on matched seeds.

contrasts:
  - title: Both losses against the spatial one alone
    of: {supervision: both, guidance: noisy}
    against: {supervision: spatial, guidance: noisy}
    metrics: [top1, loss]         # those of the study where they are not named
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from ..reporting.statistics import PairedComparison, Summary, compare_paired, summarize
from .comparison import Records, as_number, matched, metric_values, paired_row
from .design import Cell, Study

_KEYS = {"title", "of", "against", "metrics"}


@dataclass(frozen=True)
class Contrast:
    """Two settings of a study and what they are compared by.

    Args:
        title: heading of its table.
        of: the setting that is looked at.
        against: what it is compared with.
        metrics: names.
    """

    title: str
    of: Cell
    against: Cell
    metrics: tuple[str, ...]


@dataclass(frozen=True)
class ContrastResult:
    """One metric of a contrast on one split.

    Args:
        contrast: that it belongs to.
        split: that was tested on.
        metric: its name.
        first: of `against`, over the seeds that both settings have; None where there are none.
        second: of `of`, likewise.
        paired: second - first; None likewise.
    """

    contrast: Contrast
    split: str
    metric: str
    first: Summary | None
    second: Summary | None
    paired: PairedComparison | None


def read_contrasts(path: Path, listed: Any, cells: tuple[Cell, ...], metrics: tuple[str, ...]) -> tuple[Contrast, ...]:
    """The contrasts of a study file.

    Args:
        path: of the file, for messages.
        listed: what stands under `contrasts`.
        cells: every setting of the study.
        metrics: of the study.

    Raises:
        ConfigError: a contrast lacks a key, names no setting or several, or an unknown metric.
    """
    if not isinstance(listed, list):
        raise ConfigError(f"{path}: contrasts is {listed!r}, expected a list")
    return tuple(
        _read_contrast(f"{path}: contrasts, number {number}", one, cells, metrics) for number, one in enumerate(listed)
    )


def _read_contrast(where: str, content: Any, cells: tuple[Cell, ...], metrics: tuple[str, ...]) -> Contrast:
    keys = set(content) if isinstance(content, Mapping) else set()
    if not _KEYS - {"metrics"} <= keys or keys - _KEYS:
        raise ConfigError(f"{where}: expected title, of, against, and at most metrics beside, got {content!r}")
    wanted = tuple(content.get("metrics", metrics))
    unknown = [metric for metric in wanted if metric not in metrics]
    if unknown:
        raise ConfigError(f"{where}: metrics {unknown} are not among the study's {list(metrics)}")
    of, against = (_only_cell(f"{where}, {side}", content[side], cells) for side in ("of", "against"))
    return Contrast(str(content["title"]), of, against, wanted)


def _only_cell(where: str, values: Any, cells: tuple[Cell, ...]) -> Cell:
    if not isinstance(values, Mapping):
        raise ConfigError(f"{where} is {values!r}, expected {{axis: value}}")
    named = {str(axis): str(value) for axis, value in values.items()}
    found = [cell for cell in cells if named.items() <= cell.values.items()]
    if len(found) != 1:
        names = [cell.name for cell in found]
        raise ConfigError(f"{where} is {named}, which is to be one setting of the study and is {names or 'none'}")
    return found[0]


def contrast_results(study: Study, records: Records) -> list[ContrastResult]:
    """Every contrast, split and metric of a study, those without any pair of runs included."""
    return list(_results(study, records))


def _results(study: Study, records: Records) -> Iterator[ContrastResult]:
    for contrast in study.contrasts:
        for split in study.splits:
            for metric in contrast.metrics:
                sides = (metric_values(records, cell, split, metric) for cell in (contrast.against, contrast.of))
                first, second = matched(*sides)
                if not first:
                    yield ContrastResult(contrast, split, metric, None, None, None)
                    continue
                summaries = (summarize(values.values()) for values in (first, second))
                yield ContrastResult(contrast, split, metric, *summaries, compare_paired(first, second))


def contrast_row(result: ContrastResult) -> dict[str, Any]:
    """A result as plain data, in fractions and nats; None for what is not there."""
    row = {
        "title": result.contrast.title,
        "of": result.contrast.of.name,
        "against": result.contrast.against.name,
        "split": result.split,
        "metric": result.metric,
        "mean_of": result.second and result.second.mean,
        "mean_against": result.first and result.first.mean,
        **paired_row(result.paired),
    }
    return {name: as_number(value) for name, value in row.items()}
