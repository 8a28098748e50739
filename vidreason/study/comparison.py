"""The records of a study in numbers: each setting over its seeds, against the baseline, and against chosen others.

Settings are compared on matched seeds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..reporting.statistics import PairedComparison, Summary, compare_paired, summarize
from .design import Cell, Contrast, Study

Records = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Result:
    """A metric of one setting on one split.

    Args:
        cell: The setting.
        split: The split that was tested on.
        metric: Name of the metric.
        n: Number of seeds with a value.
        planned: Number of seeds that the study plans.
        runs: Number of seeds that were run, with a value or without.
        summary: Mean and spread over the seeds; None where there is no value.
        paired: Comparison with the baseline, on the seeds that both have; None for the baseline, or where there is
            no pair.
        relative: Change of the mean against the baseline's on these seeds, as a fraction; None where `paired` is,
            and where the baseline's mean is 0.
    """

    cell: Cell
    split: str
    metric: str
    n: int
    planned: int
    runs: int
    summary: Summary | None
    paired: PairedComparison | None
    relative: float | None


@dataclass(frozen=True)
class ContrastResult:
    """One metric of a contrast on one split.

    Args:
        contrast: The contrast that it belongs to.
        split: The split that was tested on.
        metric: Name of the metric.
        first: Values of `contrast.against`, over the seeds that both settings have; None where there are none.
        second: Values of `contrast.of`, over the same seeds; None where there are none.
        paired: Comparison of the two, second - first; None where there are no pairs.
    """

    contrast: Contrast
    split: str
    metric: str
    first: Summary | None = None
    second: Summary | None = None
    paired: PairedComparison | None = None


def compare_all(study: Study, records: Records) -> list[Result]:
    """Every setting, split and metric of a study, those without any run included."""
    return [
        compare(study, records, cell, split, metric)
        for split in study.splits
        for metric in study.metrics
        for cell in study.cells
    ]


def compare(study: Study, records: Records, cell: Cell, split: str, metric: str) -> Result:
    """One setting, split and metric."""
    values = metric_values(records, cell, split, metric)
    baseline = study.baseline_cell(cell)
    first, second = matched(metric_values(records, baseline, split, metric) if baseline else {}, values)
    paired, relative = None, None
    if first:
        paired = compare_paired(first, second)
        mean = sum(first.values()) / len(first)
        relative = paired.difference.mean / mean if mean else None
    return Result(
        cell=cell,
        split=split,
        metric=metric,
        n=len(values),
        planned=len(cell.seeds),
        runs=sum(cell.run_name(seed) in records for seed in cell.seeds),
        summary=summarize(values.values()) if values else None,
        paired=paired,
        relative=relative,
    )


def matched(first: Mapping[int, float], second: Mapping[int, float]) -> tuple[dict[int, float], dict[int, float]]:
    """Seed -> value of two settings, on the seeds that both have, in the order of the second."""
    seeds = [seed for seed in second if seed in first]
    return {seed: first[seed] for seed in seeds}, {seed: second[seed] for seed in seeds}


def paired_row(paired: PairedComparison | None) -> dict[str, Any]:
    """A comparison as plain data; None for what is not there."""
    difference = paired.difference if paired else None
    return {
        "pairs": difference.n if difference else 0,
        "difference": difference and difference.mean,
        "difference_low": difference and difference.interval and difference.interval[0],
        "difference_high": difference and difference.interval and difference.interval[1],
        "t": paired and paired.t_statistic,
        "p": paired and paired.p_value,
    }


def metric_values(records: Records, cell: Cell, split: str, metric: str) -> dict[int, float]:
    """Seed -> value, of the runs that were made and measured it."""
    found = {}
    for seed in cell.seeds:
        record = records.get(cell.run_name(seed))
        value = None if record is None else record["metrics"].get(split, {}).get(metric)
        if value is not None:
            found[seed] = value
    return found


def as_row(study: Study, result: Result) -> dict[str, Any]:
    """A result as plain data, in fractions and nats; None for what is not there."""
    summary = result.summary
    row = {
        **result.cell.values,
        "split": result.split,
        "metric": result.metric,
        "planned_seeds": result.planned,
        "n": result.n,
        "mean": summary and summary.mean,
        "std": summary and summary.std,
        "low": summary and summary.interval and summary.interval[0],
        "high": summary and summary.interval and summary.interval[1],
        **paired_row(result.paired),
        "relative": result.relative,
    }
    return {name: as_number(value) for name, value in row.items()}


def contrast_results(study: Study, records: Records) -> list[ContrastResult]:
    """Every contrast, split and metric of a study, those without any pair of runs included."""
    return [
        _contrast_result(records, contrast, split, metric)
        for contrast in study.contrasts
        for split in study.splits
        for metric in contrast.metrics
    ]


def _contrast_result(records: Records, contrast: Contrast, split: str, metric: str) -> ContrastResult:
    sides = (metric_values(records, cell, split, metric) for cell in (contrast.against, contrast.of))
    first, second = matched(*sides)
    if not first:
        return ContrastResult(contrast, split, metric)
    paired = compare_paired(first, second)
    return ContrastResult(contrast, split, metric, summarize(first.values()), summarize(second.values()), paired)


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


def as_number(value: Any) -> Any:
    """A float with ten digits, since the last ones depend on the version of the libraries; anything else as it is."""
    return float(f"{value:.10g}") if isinstance(value, float) else value


def not_run(study: Study, records: Records) -> list[str]:
    """The names of the runs that the study plans and that have no record."""
    return [run for cell in study.cells for seed in cell.seeds if (run := cell.run_name(seed)) not in records]
