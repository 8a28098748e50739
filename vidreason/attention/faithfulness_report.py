"""What deletion and insertion curves come to: areas with intervals, gains over chance, tables and the figure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.integrate import trapezoid

from ..errors import ConfigError
from ..files import write_whole
from ..reporting.bootstrap import Bootstrap, Estimate, estimate_means
from ..reporting.plots import COLORS, new_figure
from ..reporting.tables import Column, markdown_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# marks the file: JSON of another origin under the same name is neither read nor overwritten
KIND = "vidreason faithfulness"
FILE_NAME = "faithfulness.json"

Values = Mapping[tuple[str, str, str], np.ndarray]

MEASURE_LABELS = {
    "predicted_label": "probability of the label that the whole clip gets",
    "true_label": "probability of the true label",
    "top1": "top-1 accuracy",
}
GAIN_MEASURES = ("predicted_label", "true_label")
MODES = ("deletion", "insertion")
CHANCES = ("random", "shuffled")
"""The rankings that the others are held against."""


def summarize_curves(
    fractions: np.ndarray, values: Values, videos: Sequence[str], bootstrap: Bootstrap
) -> dict[str, Any]:
    """Curves, areas, AOPC and gains over chance of one model, with intervals by resampling whole videos.

    A gain is positive where a ranking is better than chance: its area is smaller under deletion and larger under
    insertion. All quantities share their resamples, so a gain's interval is that of paired differences.

    Args:
        fractions: Array of shape (steps,), from 0 to 1.
        values: (ranking, mode, measure) -> array of shape (clips, steps).
        videos: The video of each clip.
        bootstrap: How intervals are found.

    Returns:
        What JSON can hold: "curves", "gain_curves" (over random), "areas", "aopc", and "gains" as {chance: {ranking:
        {mode: {measure: estimate}}}}.
    """
    record: dict[str, Any] = {"fractions": [float(share) for share in fractions]}
    record["curves"] = _curves(values, videos, bootstrap)
    record["gain_curves"] = _curves(gains(values, CHANCES[0]), videos, bootstrap) if _has(values, CHANCES[0]) else {}
    areas = areas_under_curves(values, fractions)
    record["areas"] = _estimates(areas, videos, bootstrap)
    # AOPC of Samek et al. 2017: the mean over k = 0..L of f(x_0) - f(x_k), where k = 0 adds nothing but counts
    drops = {key: curve[:, 0] - curve.mean(axis=1) for key, curve in values.items() if key[1] == "deletion"}
    record["aopc"] = _estimates(drops, videos, bootstrap)
    record["gains"] = {
        chance: _estimates(gains(areas, chance), videos, bootstrap) for chance in CHANCES if _has(values, chance)
    }
    return record


def areas_under_curves(values: Values, fractions: np.ndarray) -> dict[tuple[str, str, str], np.ndarray]:
    """Areas by the trapezoidal rule, in the unit of the values.

    Args:
        values: (ranking, mode, measure) -> array of shape (clips, steps).
        fractions: Array of shape (steps,), from 0 to 1.

    Returns:
        (ranking, mode, measure) -> array of shape (clips,).
    """
    # with the true shares as abscissae: rounding to whole tokens makes steps uneven
    return {key: trapezoid(curve, fractions, axis=-1) for key, curve in values.items()}


def gains(areas: Values, chance: str) -> dict[tuple[str, str, str], np.ndarray]:
    """What each clip's areas (or curves) gain over those of a chance ranking, in the same shape."""
    found = {}
    for (ranking, mode, measure), area in areas.items():
        if ranking not in CHANCES:
            difference = area - areas[chance, mode, measure]
            # signed so that positive is better in both modes
            found[ranking, mode, measure] = -difference if mode == "deletion" else difference
    return found


def compare_models(
    fractions: np.ndarray, first: Values, second: Values, videos: Sequence[str], bootstrap: Bootstrap
) -> dict[str, Any]:
    """The second model's gains less the first's, on the same clips.

    Args:
        fractions: Array of shape (steps,), from 0 to 1.
        first: Values of the first model, (ranking, mode, measure) -> array of shape (clips, steps).
        second: Values of the second model in the same form.
        videos: The video of each clip.
        bootstrap: How intervals are found.

    Returns:
        {chance: {ranking: {mode: {measure: estimate}}}}.
    """
    by_model = [areas_under_curves(values, fractions) for values in (first, second)]
    found = {}
    for chance in CHANCES:
        if all(_has(areas, chance) for areas in by_model):
            of_first, of_second = (gains(areas, chance) for areas in by_model)
            # paired by clip: how sure a model is of a clip cancels within each model's own gain
            differences = {key: of_second[key] - of_first[key] for key in of_first}
            found[chance] = _estimates(differences, videos, bootstrap)
    return found


def _has(values: Values, ranking: str) -> bool:
    return any(name == ranking for name, _, _ in values)


def _curves(values: Values, videos: Sequence[str], bootstrap: Bootstrap) -> dict[str, Any]:
    """(ranking, mode, measure) -> (clips, steps) as nested mappings of lists, one entry for each step."""
    found: dict[str, Any] = {}
    for (ranking, mode, measure), curve in values.items():
        # a column for each step: intervals hold step by step, and are no band for the whole curve
        means = estimate_means(curve, videos, bootstrap)
        place = found.setdefault(ranking, {}).setdefault(mode, {})
        place[measure] = {name: [getattr(mean, name) for mean in means] for name in ("value", "low", "high")}
    return found


def _estimates(columns: Values, videos: Sequence[str], bootstrap: Bootstrap) -> dict[str, Any]:
    """(ranking, mode, measure) -> (clips,) as nested mappings of mean and interval."""
    found: dict[str, Any] = {}
    if not columns:
        return found
    # as columns of one array they share their resamples, so that intervals of differences are paired
    estimates = estimate_means(np.stack(list(columns.values()), axis=1), videos, bootstrap)
    for (ranking, mode, measure), estimate in zip(columns, estimates, strict=True):
        found.setdefault(ranking, {}).setdefault(mode, {})[measure] = _as_json(estimate)
    return found


def _as_json(estimate: Estimate) -> dict[str, float | None]:
    return {"value": estimate.value, "low": estimate.low, "high": estimate.high}


def verdict(estimate: Mapping[str, float | None]) -> str:
    """Whether a gain over chance is there: by whether its interval leaves zero out."""
    # values from fewer than two videos have no interval
    if estimate["low"] is None or estimate["high"] is None:
        return "too few clips"
    if estimate["low"] > 0:
        return "better than chance"
    return "worse than chance" if estimate["high"] < 0 else "not shown"


def read_report(folder: Path) -> dict[str, Any]:
    """The JSON of a run.

    Raises:
        ConfigError: It is not there, half written, or of something else.
    """
    path = folder / FILE_NAME
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from None
    if not isinstance(report, dict) or report.get("kind") != KIND:
        raise ConfigError(f"{path} is not a report of deletion and insertion curves; nothing was written")
    return report


def write_pages(folder: Path, report: Mapping[str, Any]) -> str:
    """Write `README.md` and a figure for each split from the JSON, and return the page."""
    text = f"# Deletion and insertion of what a model attends to\n\n{_facts(report)}\n\n{HOW_TO_READ}\n"
    for split, part in report["splits"].items():
        image = draw_curves(folder / f"{split}.png", split, part["models"])
        text += f"\n## {split}\n\n![Deletion and insertion curves]({image.name})\n"
        for name, record in part["models"].items():
            text += _model_section(name, record)
        if part["against_first"]:
            text += _comparison_section(part["against_first"], next(iter(part["models"])))
    write_whole(folder / "README.md", text)
    return text


HOW_TO_READ = """\
The tokens of every frame are deleted (or shown, from an empty clip) in the order of a ranking. A gain is the area
between a ranking's curve and that of chance, in probability, positive where the ranking is better: deletion hurts
sooner, insertion helps sooner. *random* draws every frame's order anew; *shuffled* exchanges the cells of the model's
own attention, alike in all frames of a clip, and is the stricter peer, since its holes stay in place over time as
those of attention do. *gradient* (input gradient times input) is no map that the model shows; it says how much a map
could gain. Gains compare rankings within one model. The areas of two models are not to be compared: models differ in
how sure they are, and in how they take frames with holes.
"""


def _facts(report: Mapping[str, Any]) -> str:
    settings = report["settings"]
    deleted = "the mean colour" if settings["baseline"] == "mean" else "a blurred frame"
    return (
        f"Device: {report['device']}; deleted pixels become {deleted}; at most {settings['num_steps']} steps; "
        f"{settings['num_draws']} draws of each random ranking; seed {settings['seed']}; 95 % intervals by resampling "
        "whole videos."
    )


def _model_section(name: str, record: Mapping[str, Any]) -> str:
    skipped = f", {len(record['skipped'])} could not be read" if record["skipped"] else ""
    headers = {f"{mode}_{measure}": (mode, measure) for measure in MEASURE_LABELS for mode in MODES}
    areas = [
        {
            "ranking": ranking,
            **{key: by_mode[mode][measure]["value"] for key, (mode, measure) in headers.items()},
            "aopc": record["aopc"][ranking]["deletion"]["predicted_label"]["value"],
        }
        for ranking, by_mode in record["areas"].items()
    ]
    shown = [Column(key, f"{mode}, {measure.replace('_', ' ')}", 3) for key, (mode, measure) in headers.items()]
    columns = [Column("ranking"), *shown, Column("aopc", "AOPC, predicted label", 3)]
    return (
        f"\n### {name}\n\n{record['num_clips']} clips{skipped}. Areas under the curves:\n\n"
        f"{markdown_table(areas, columns)}\nGains over chance, with intervals:\n\n{_gains_table(record['gains'])}"
    )


def _gains_table(gains_by_chance: Mapping[str, Any]) -> str:
    rows = [
        {
            "ranking": f"{ranking} over {chance}",
            **{
                f"{mode}_{measure}": f"{show(by_mode[mode][measure])}: {verdict(by_mode[mode][measure])}"
                for mode in MODES
                for measure in GAIN_MEASURES
            },
        }
        for chance, by_ranking in gains_by_chance.items()
        for ranking, by_mode in by_ranking.items()
    ]
    columns = [Column("ranking", "gain of")]
    columns += [Column(f"{mode}_{m}", f"{mode}, {m.replace('_', ' ')}") for m in GAIN_MEASURES for mode in MODES]
    return markdown_table(rows, columns) if rows else "none: no ranking by chance was asked for\n"


def _comparison_section(against_first: Mapping[str, Any], first: str) -> str:
    text = f"\n### Gains of attention, each model's less those of {first} on the same clips\n\n"
    for name, by_chance in against_first.items():
        for chance, by_ranking in by_chance.items():
            shown = "; ".join(f"{mode} {show(by_ranking['attention'][mode]['predicted_label'])}" for mode in MODES)
            text += f"- {name} minus {first}, over {chance}, probability of the predicted label: {shown}\n"
    return text


def show(estimate: Mapping[str, float | None]) -> str:
    """A signed value with its interval."""
    if estimate["value"] is None:
        return "-"
    if estimate["low"] is None:
        return f"{estimate['value']:+.3f}"
    return f"{estimate['value']:+.3f} ({estimate['low']:+.3f} to {estimate['high']:+.3f})"


def draw_curves(path: Path, title: str, models: Mapping[str, Any]) -> Path:
    """Curves of the predicted label's probability and their gains over random with intervals, a row for each model."""
    # scales are shared by column: probabilities and their gains differ in size, models are to be read alike
    figure, axes = new_figure(15, 3.6 * len(models) + 0.4, len(models), 4, sharex=True, sharey="col")
    for row, (name, record) in zip(axes, models.items(), strict=True):
        # not strict: there are more colours than rankings
        colors = dict(zip(record["curves"], COLORS, strict=False))
        for place, mode in enumerate(MODES):
            _draw_panel(row[place], record["fractions"], record["curves"], mode, colors)
            row[place].set(title=f"{name}: {mode}", ylabel="probability of the predicted label")
            _draw_panel(row[place + 2], record["fractions"], record["gain_curves"], mode, colors, with_intervals=True)
            row[place + 2].set(title=f"{name}: gain over random, {mode}", ylabel="probability")
            # the zero line takes the colour of the ranking that it stands for
            row[place + 2].axhline(0, color=colors.get("random", "0.5"), linestyle="--", linewidth=1.2)
    for axis in axes[0, : len(MODES)]:
        axis.set_ylim(bottom=0)  # once all models are drawn, which share the axis: a limit set earlier cuts the others
    for axis in axes[-1]:
        axis.set_xlabel("share of each frame's tokens")
    axes[0, 0].legend(fontsize="small")
    figure.suptitle(title)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    return path


def _draw_panel(
    axis: Axes,
    fractions: Sequence[float],
    curves: Mapping[str, Any],
    mode: str,
    colors: Mapping[str, str],
    with_intervals: bool = False,
) -> None:
    for ranking, by_mode in curves.items():
        curve = by_mode[mode]["predicted_label"]
        if None in curve["value"]:
            continue  # the ranking says nothing about any clip; the tables say so
        style = "--" if ranking in CHANCES else "-"
        axis.plot(fractions, curve["value"], style, color=colors[ranking], label=ranking, linewidth=1.8)
        if with_intervals and None not in curve["low"]:
            axis.fill_between(fractions, curve["low"], curve["high"], color=colors[ranking], alpha=0.2, linewidth=0)
    axis.grid(alpha=0.3)
