"""The page, tables and figures of a study, from the records of its runs alone."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path
from typing import Any

from ..files import write_whole
from ..reporting.statistics import PairedComparison, Summary, summarize
from ..reporting.tables import NOT_RUN, Column, MetricStyle, markdown_table
from .comparison import ContrastResult, Records, Result, as_row, compare_all, contrast_results, contrast_row, not_run
from .design import Cell, Study
from .records import RECORDS_FILE, read_results
from .study_file import STUDY_FILE, load_study
from .study_plots import draw_plots

NOT_MEASURED = "not measured"
NOTES_FILE = "NOTES.md"
_METRICS_A_TABLE = 4  # beside the main ones; with their differences, more are wider than a page


def write_tables(folder: Path) -> str:
    """Write `README.md`, `results.csv`, `results.json` and the figures of one study, and return the page.

    Args:
        folder: Folder of the results, with the copy of the study file and of its recipe.

    Raises:
        ConfigError: These cannot be read, or results are half-written, broken or foreign.
    """
    study = load_study(folder / STUDY_FILE)
    records = read_results(study, folder)
    results = compare_all(study, records)
    rows = [as_row(study, result) for result in results]
    _write_csv(folder / "results.csv", rows)
    missing = not_run(study, records)
    content = {"study": study.name, "title": study.title, **_facts(records), "not_run": missing, "results": rows}
    contrasts = contrast_results(study, records)
    if contrasts:
        content["contrasts"] = [contrast_row(result) for result in contrasts]
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    write_whole(folder / "results.json", text)
    figures = draw_plots(study, results, folder)
    page = build_page(study, records, results, contrasts, figures)
    notes = folder / NOTES_FILE
    if notes.exists():
        page += "\n" + notes.read_text(encoding="utf-8")
    write_whole(folder / "README.md", page)
    return page


def _write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    """Every number as it is, and an empty cell for what is not there."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def build_page(
    study: Study,
    records: Records,
    results: list[Result],
    contrasts: list[ContrastResult],
    figures: dict[str, Path],
) -> str:
    """The study as Markdown."""
    parts = [f"# {study.title}\n", f"{study.question}\n" if study.question else "", _facts_text(study, records)]
    main = _main_metrics(study)
    others = [metric for metric in study.metrics if metric not in main]
    for split in study.splits:
        here = [result for result in results if result.split == split]
        for metric in main:
            name = study.system.metric_styles[metric].name
            parts.append(f"## {name[0].upper()}{name[1:]} on `{split}`\n")
            parts.append(_main_table(study, [result for result in here if result.metric == metric]))
        if others:
            parts.append(f"Other measures on `{split}`:\n")
        for first in range(0, len(others), _METRICS_A_TABLE):
            parts.append(_other_table(study, here, others[first : first + _METRICS_A_TABLE]))
    parts.append(_contrasts_section(study, contrasts))
    parts += [f"![{alt}]({path.name})\n" for alt, path in figures.items()]
    parts.append(_cost_section(study, records))
    missing = not_run(study, records)
    if missing:
        parts.append(f"## Not run\n\n{len(missing)} of {len(study.runs())} runs: {', '.join(missing)}.\n")
    if study.paper:
        parts.append(_paper_section(study.paper))
    parts.append(f"Rebuilt from `{RECORDS_FILE}` by `python -m vidreason.study tables`.\n")
    return "\n".join(part for part in parts if part)


def _main_metrics(study: Study) -> list[str]:
    """Metrics that have a table each, with intervals and tests: the first one, and those that its task names."""
    tasks = study.system.tasks
    task = tasks[study.recipe.get("task", next(iter(tasks)))]
    return [name for name in study.metrics if name in (study.metrics[0], *task.main)]


def _facts(records: Records) -> dict[str, Any]:
    """Where and with what the runs were made."""
    versions: dict[str, set[str]] = {}
    for record in records.values():
        for name, version in record.get("versions", {}).items():
            versions.setdefault(name, set()).add(version)
    reused = Counter(record["reused_from"]["study"] for record in records.values() if "reused_from" in record)
    skipped = {name: record["skipped"] for name, record in sorted(records.items()) if record.get("skipped")}
    return {
        "runs": len(records),
        "devices": sorted({record["device"] for record in records.values() if record.get("device")}),
        "versions": {name: sorted(found) for name, found in sorted(versions.items())},
        "reused": dict(sorted(reused.items())),
        "skipped": skipped,
    }


def _facts_text(study: Study, records: Records) -> str:
    facts = _facts(records)
    seeds = ", ".join(map(str, study.seeds))
    text = f"{facts['runs']} of {len(study.runs())} runs; seeds {seeds}. "
    if records:
        versions = ", ".join(f"{name} {'/'.join(found)}" for name, found in facts["versions"].items())
        text += f"Device: {'; '.join(facts['devices'])}. {versions}. "
    for name, number in facts["reused"].items():
        text += f"{number} of the runs have the settings of runs of the study `{name}`, and are those. "
    text += "Mean ± standard deviation over the seeds, with the 95 % interval of the mean from Student's t. "
    if study.baseline:
        chosen = ", ".join(f"{axis} `{value}`" for axis, value in study.baseline.items())
        text += (
            f"Differences are to the baseline ({chosen}, all else equal), seed by seed, with their 95 % interval and "
            "the p value of a paired t-test, two-sided and not corrected for the number of comparisons. "
        )
    for name, splits in facts["skipped"].items():
        counts = ", ".join(f"{len(videos)} of {split}" for split, videos in splits.items())
        text += f"Run {name} skipped videos that could not be read: {counts}. "
    return text.strip() + "\n"


def _shown_axes(study: Study) -> list[str]:
    """Axes on which the study's settings differ, or the first one."""
    varied = [axis for axis in study.axes if len({cell.values[axis] for cell in study.cells}) > 1]
    return varied or list(study.axes)[:1]


def _cell_columns(study: Study, cell: Cell) -> dict[str, str]:
    return {axis: cell.values[axis].replace("_", " ") for axis in _shown_axes(study)}


def _main_table(study: Study, results: list[Result]) -> str:
    rows = []
    for result in results:
        style = study.system.metric_styles[result.metric]
        row = {**_cell_columns(study, result.cell), "seeds": _seeds_text(result)}
        row["value"] = _value_text(result, style)
        row["interval"] = _interval_text(result.summary, style)
        if study.baseline:
            row["difference"] = _difference_text(study, result, style)
            row["relative"] = "" if result.relative is None else f"{100 * result.relative:+.1f}"
            row["p"] = _p_text(result)
        rows.append(row)
    style = study.system.metric_styles[results[0].metric]
    headers = {"value": style.label, "interval": "95 % interval", "difference": f"{style.difference_label} [95 %]"}
    headers |= {"relative": "relative (%)", "p": "p (paired)"}
    return markdown_table(rows, [Column(key, headers.get(key, key)) for key in rows[0]])


def _other_table(study: Study, results: list[Result], metrics: list[str]) -> str:
    by_cell: dict[str, dict[str, str]] = {}
    for result in results:
        row = by_cell.setdefault(result.cell.name, _cell_columns(study, result.cell))
        if result.metric in metrics:
            style = study.system.metric_styles[result.metric]
            row[style.label] = _value_text(result, style)
            if study.baseline:
                row[f"difference in {style.name}"] = _difference_text(study, result, style)
    rows = list(by_cell.values())
    return markdown_table(rows, list(rows[0]))


def _seeds_text(result: Result) -> str:
    return f"{result.n}" if result.n == result.planned else f"{result.n} of {result.planned}"


def _value_text(result: Result, style: MetricStyle) -> str:
    if result.summary is None:
        return NOT_MEASURED if result.runs else NOT_RUN
    return _summary_text(result.summary, style)


def _summary_text(summary: Summary | None, style: MetricStyle) -> str:
    if summary is None:
        return ""
    spread = "" if summary.std is None else f" ± {summary.std * style.scale:.{style.decimals}f}"
    return f"{summary.mean * style.scale:.{style.decimals}f}{spread}"


def _interval_text(summary: Summary | None, style: MetricStyle) -> str:
    if summary is None or summary.interval is None:
        return ""
    low, high = (value * style.scale for value in summary.interval)
    return f"{low:.{style.decimals}f} to {high:.{style.decimals}f}"


def _difference_text(study: Study, result: Result, style: MetricStyle) -> str:
    if study.baseline_cell(result.cell) is None:
        return "baseline"
    if result.paired is None:
        return NOT_RUN if result.runs == 0 or result.summary is not None else NOT_MEASURED
    return _paired_text(result.paired, style)


def _paired_text(paired: PairedComparison, style: MetricStyle) -> str:
    difference = paired.difference
    text = f"{difference.mean * style.scale:+.{style.decimals}f}"
    if difference.interval:
        low, high = (value * style.scale for value in difference.interval)
        text += f" [{low:+.{style.decimals}f}, {high:+.{style.decimals}f}]"
    return text


def _p_text(result: Result | ContrastResult) -> str:
    if result.paired is None or result.paired.p_value is None:
        return ""
    p_value = result.paired.p_value
    return "< 0.0001" if p_value < 1e-4 else f"{p_value:.2g}"


def _contrasts_section(study: Study, results: list[ContrastResult]) -> str:
    """A table for each comparison that the study asks for beside those with the baseline."""
    parts = []
    for contrast in study.contrasts:
        rows = []
        for result in results:
            if result.contrast is contrast:
                style = study.system.metric_styles[result.metric]
                row = {"split": f"`{result.split}`", "measure": style.label}
                row["against"] = _summary_text(result.first, style) or NOT_RUN
                row["of"] = _summary_text(result.second, style) or NOT_RUN
                row["difference"] = NOT_RUN if result.paired is None else _paired_text(result.paired, style)
                row["p"] = _p_text(result)
                rows.append(row)
        names = {side: _setting_text(study, getattr(contrast, side)) for side in ("against", "of")}
        headers = {**names, "difference": "difference [95 %]", "p": "p (paired)"}
        table = markdown_table(rows, [Column(key, headers.get(key, key)) for key in rows[0]])
        parts.append(f"## {contrast.title}\n\n{table}")
    return "\n".join(parts)


def _setting_text(study: Study, cell: Cell) -> str:
    return ", ".join(_cell_columns(study, cell).values())


def _cost_section(study: Study, records: Records) -> str:
    """Parameters, epochs and time of each setting."""
    rows = []
    for cell in study.cells:
        made = [records[name] for seed in cell.seeds if (name := cell.run_name(seed)) in records]
        if made:
            times = summarize(record["train_seconds"] for record in made)
            rows.append(
                {
                    **_cell_columns(study, cell),
                    "parameters (M)": made[0]["num_parameters"] / 1e6,
                    "epochs": ", ".join(sorted({f"{record['epochs']:g}" for record in made})),
                    "steps": ", ".join(sorted({str(record["steps"]) for record in made})),
                    "training (s)": (times.mean, times.std),
                }
            )
    if not rows:
        return ""
    columns = [Column(key, decimals=1 if key == "training (s)" else 2) for key in rows[0]]
    note = "Wall time of training with its validations, on whatever else the machine had to do then.\n"
    return f"## Cost\n\n{note}\n{markdown_table(rows, columns)}"


def _paper_section(paper: dict[str, Any]) -> str:
    """Published figures, as they are printed there."""
    rows = [dict(zip(paper["columns"], map(str, row), strict=True)) for row in paper["rows"]]
    return f"## {paper['title']}\n\n{paper['source']}\n\n{markdown_table(rows, paper['columns'])}"
