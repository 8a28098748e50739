"""What searches did: accuracy over iterations, classes before and after, how much runs agree, what the proxy is worth.

All of it is read from the tables of trials, so that a report is drawn again without training anything.
"""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from ..errors import ConfigError, VidreasonError
from ..files import read_folder, write_whole
from ..reporting.plots import Mark, plot_lines
from ..reporting.statistics import summarize
from ..reporting.tables import text_table
from ..sentence_embedding import Embed, minilm
from .loop import FACTS_NAME, TABLE_NAME
from .trials import SPLIT

logger = logging.getLogger(__name__)

FIGURE_NAME, REPORT_NAME = "accuracy_over_iterations.png", "README.md"
_MIN_PAIRS = 3  # two points always lie on a line


@dataclass(frozen=True)
class FinishedSearch:
    """A search as its folder has it.

    Args:
        folder: The folder.
        facts: `SearchResult.facts`.
        rows: Its trials, rows of `trials.FEATURES`.
    """

    folder: Path
    facts: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]]

    @property
    def agent(self) -> str:
        """Name of the agent."""
        return str(self.facts["agent"])

    @property
    def rewards(self) -> list[float]:
        """The reward of each trial; NaN where there is none."""
        return [row["proxy_accuracies"][0] if row["proxy_accuracies"] else math.nan for row in self.rows]


def load_search(folder: str | os.PathLike) -> FinishedSearch:
    """Read a search that has ended.

    Raises:
        ConfigError: There is none in the folder.
    """
    path = Path(folder)
    try:
        facts = json.loads((path / FACTS_NAME).read_text(encoding="utf-8"))
        rows = read_folder(path / TABLE_NAME)[SPLIT].to_list()
        return FinishedSearch(path, dict(facts), rows)
    except (OSError, ValueError, KeyError, TypeError, VidreasonError) as error:
        raise ConfigError(f"{folder} holds no search that has ended: {error}") from error


def best_so_far(rewards: Sequence[float]) -> list[float]:
    """The highest reward up to each trial; NaN before the first.

    Args:
        rewards: Rewards in order; NaN where a trial has none.
    """
    best, highest = [], math.nan
    for reward in rewards:
        if math.isfinite(reward) and not reward <= highest:  # true for the first, when nothing is the highest yet
            highest = reward
        best.append(highest)
    return best


@dataclass(frozen=True)
class ClassChange:
    """A set against the one that a search began with.

    Args:
        before: The first set that had a reward.
        after: The set that was chosen.
        by_class: {action: (accuracy before, accuracy after)} of the proxy trainings.
    """

    before: tuple[str, ...]
    after: tuple[str, ...]
    by_class: Mapping[str, tuple[float, float]]

    @property
    def added(self) -> tuple[str, ...]:
        """Classes that only the later set has."""
        return tuple(name for name in self.after if name not in self.before)

    @property
    def removed(self) -> tuple[str, ...]:
        """Classes that only the earlier set has."""
        return tuple(name for name in self.before if name not in self.after)


def class_change(rows: Sequence[Mapping[str, Any]]) -> ClassChange:
    """Classes before and after a search, as in listing 1 of the paper.

    Args:
        rows: Trials of a search that has ended.
    """
    first = next(row for row in rows if row["status"] == "ok")
    chosen = next(row for row in rows if row["is_chosen"])
    before, after = ({entry["name"]: entry["accuracy"] for entry in row["class_accuracy"]} for row in (first, chosen))
    shared = {name: (before[name], after[name]) for name in before if name in after}
    return ClassChange(tuple(first["class_texts"]), tuple(chosen["class_texts"]), shared)


def spread(texts: Sequence[str], embed: Embed) -> float | None:
    """Variance of some texts' embeddings: the mean squared distance from their mean.

    The paper has 0.07 for its lists and 0.10 for those of static prompts, by another embedding: values compare only
    under one.

    Args:
        texts: Texts, such as class lists joined by commas, or stated reasons.
        embed: Function of the embeddings.

    Returns:
        The variance; None for fewer than two texts.
    """
    if len(texts) < 2:
        return None
    vectors = np.asarray(embed(list(texts)), dtype=np.float64)  # (texts, size)
    return float(((vectors - vectors.mean(axis=0)) ** 2).sum(axis=1).mean())


@dataclass(frozen=True)
class RankCorrelation:
    """Whether sets that are better by the proxy are better when trained in full.

    Args:
        rho: Spearman's rank correlation; None for fewer than three pairs, or where all values of a kind are equal.
        p_value: Its two-sided p value; None where `rho` is.
        n: Number of pairs.
    """

    rho: float | None
    p_value: float | None
    n: int


def rank_correlation(proxy: Sequence[float], full: Sequence[float]) -> RankCorrelation:
    """Spearman's correlation of proxy accuracies with those of the training in full.

    Args:
        proxy: Accuracies of proxy trainings.
        full: Accuracies of the trainings in full with the same sets, in the same order.
    """
    pairs = [pair for pair in zip(proxy, full, strict=True) if all(map(math.isfinite, pair))]
    if len(pairs) < _MIN_PAIRS or any(len(set(values)) == 1 for values in zip(*pairs, strict=True)):
        return RankCorrelation(None, None, len(pairs))
    rho, p_value = stats.spearmanr(*zip(*pairs, strict=True))
    return RankCorrelation(float(rho), float(p_value), len(pairs))


def plot_accuracy(searches: Sequence[FinishedSearch], path: str | os.PathLike) -> Path:
    """Draw the best reward up to each trial, a line for each agent with the interval over its runs.

    Args:
        searches: Searches that have ended.
        path: File of the image.
    """
    lines: dict[str, list[Mark]] = {}
    for agent, runs in by_agent(searches).items():
        curves = [[100 * value for value in best_so_far(run.rewards)] for run in runs]
        lines[agent] = [
            Mark(number + 1, summary.mean, summary.interval)
            for number in range(max(map(len, curves)))
            # an agent of one trial stays where it is
            if (values := [c[min(number, len(c) - 1)] for c in curves if math.isfinite(c[min(number, len(c) - 1)])])
            and (summary := summarize(values))
        ]
    return plot_lines({"best so far": lines}, path, "trial", "validation accuracy of the proxy (%)")


def by_agent(searches: Sequence[FinishedSearch]) -> dict[str, list[FinishedSearch]]:
    """Searches by their agents, in the order of their coming."""
    found: dict[str, list[FinishedSearch]] = {}
    for run in searches:
        found.setdefault(run.agent, []).append(run)
    return found


def write_report(out: str | os.PathLike, folders: Sequence[str | os.PathLike], embed: Embed | None = None) -> Path:
    """Write a page with a figure about some searches.

    Args:
        out: Folder to write.
        folders: Folders of searches; those of one agent are its runs.
        embed: Function of the embeddings; MiniLM's by default, and where that is not installed the page says so.

    Returns:
        Path of the page.

    Raises:
        ConfigError: A folder holds no search that has ended.
    """
    searches = [load_search(folder) for folder in folders]
    if embed is None:
        try:
            embed = minilm()
        except ConfigError as error:
            logger.warning("the spread of lists and reasons is left out: %s", error)
    plot_accuracy(searches, Path(out) / FIGURE_NAME)
    parts = [
        "# Searches for object classes",
        f"![Best proxy accuracy over the trials]({FIGURE_NAME})",
        _agents_table(searches, embed),
        "Mean and sample standard deviation over runs, in percent. Noise: standard deviation of the proxy accuracy "
        "between seeds of one set, in points. Spread: variance of the embedded class lists of all trials, and of the "
        "stated reasons, between runs" + (" (not measured: no embeddings)." if embed is None else "."),
        _correlation_line(searches),
        "## Classes before and after",
        _changes_table(searches),
    ]
    path = Path(out) / REPORT_NAME
    write_whole(path, "\n\n".join(parts) + "\n")
    return path


def _agents_table(searches: Sequence[FinishedSearch], embed: Embed | None) -> str:
    splits = list(dict.fromkeys(split for run in searches for split in run.facts["test_accuracy"]))
    header = ["agent", "runs", "proxy", "validation", *splits, "noise", "usable trials", "USD", "hours"]
    header += ["spread of lists", "spread of reasons"]
    rows = []
    for agent, runs in by_agent(searches).items():
        trials = [row for run in runs for row in run.rows]
        lists = [", ".join(row["class_texts"]) for row in trials if row["status"] == "ok" and row["class_texts"]]
        reasons = [run.facts["reasons"] for run in runs if run.facts["reasons"]]
        noises = [run.facts["noise_std"] for run in runs if run.facts["noise_std"] is not None]
        rows.append(
            [
                agent,
                len(runs),
                _mean([run.facts["proxy_accuracy"] for run in runs]),
                _mean([run.facts["validation_accuracy"] for run in runs]),
                *(_mean([run.facts["test_accuracy"].get(split, math.nan) for run in runs]) for split in splits),
                f"{100 * sum(noises) / len(noises):.2f}" if noises else "-",
                f"{sum(row['status'] == 'ok' for row in trials)} of {len(trials)}",
                f"{sum(row['cost_usd'] for row in trials):.4f}",
                f"{sum(row['seconds'] for row in trials) / 3600:.2f}",
                *(_number(None if embed is None else spread(texts, embed)) for texts in (lists, reasons)),
            ]
        )
    return text_table(header, rows, [False, *[True] * (len(header) - 1)])


def _mean(values: Sequence[float]) -> str:
    finite = [100 * value for value in values if math.isfinite(value)]
    if not finite:
        return "-"
    summary = summarize(finite)
    return f"{summary.mean:.2f}" + (f" ± {summary.std:.2f}" if summary.std is not None else "")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _correlation_line(searches: Sequence[FinishedSearch]) -> str:
    found = rank_correlation(
        [run.facts["proxy_accuracy"] for run in searches], [run.facts["validation_accuracy"] for run in searches]
    )
    if found.rho is None:
        return f"Rank correlation of proxy and full accuracy: not defined for {found.n} pairs, or for equal values."
    return f"Rank correlation of proxy and full accuracy: {found.rho:.2f} (n = {found.n}, p = {found.p_value:.3f})."


def _changes_table(searches: Sequence[FinishedSearch]) -> str:
    rows = []
    for run in searches:
        change = class_change(run.rows)
        kept = [name for name in change.after if name in change.before]
        cells = [", ".join(names) or "-" for names in (kept, change.added, change.removed)]
        rows.append([run.folder.name, run.agent, *cells])
    return text_table(["search", "agent", "kept", "added", "taken out"], rows)
