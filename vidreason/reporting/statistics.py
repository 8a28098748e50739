"""Statistics over seeds or folds: mean, spread, interval, and the paired test of two settings.

Seeds and folds are few, so intervals come from Student's t distribution. What is not defined is None, never NaN.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from scipy import stats

from ..errors import VidreasonError

Key = TypeVar("Key", bound=Hashable)
"""A seed, or the name of a fold."""


@dataclass(frozen=True)
class Summary:
    """A sample in short.

    Args:
        n: Number of values.
        mean: Mean of the values.
        std: Sample standard deviation (n - 1 in the denominator); None for one value.
        interval: Ends (low, high) of the interval that covers the mean at the level of `confidence`; None for one
            value.
        confidence: Level of the interval, such as 0.95.
    """

    n: int
    mean: float
    std: float | None
    interval: tuple[float, float] | None
    confidence: float


@dataclass(frozen=True)
class PairedComparison:
    """A second setting against a first, on matched seeds or folds.

    Args:
        difference: Summary of second - first, per pair.
        t_statistic: Statistic of the paired t-test; None for one pair, or where all differences are equal.
        p_value: Two-sided p value; None where `t_statistic` is.
    """

    difference: Summary
    t_statistic: float | None
    p_value: float | None


def summarize(values: Iterable[float], confidence: float = 0.95) -> Summary:
    """Mean, standard deviation and interval of the mean.

    Args:
        values: One value per seed or fold.
        confidence: Level of the interval, between 0 and 1.

    Raises:
        VidreasonError: There are no values, one is not finite, or the confidence is no probability.
    """
    sample = [float(value) for value in values]
    if not sample:
        raise VidreasonError("there are no values to summarize")
    if not all(math.isfinite(value) for value in sample):
        raise VidreasonError(f"values to summarize must be finite, got {sample}")
    if not 0 < confidence < 1:
        raise VidreasonError(f"confidence is {confidence}, expected a number between 0 and 1")
    n, mean = len(sample), float(np.mean(sample))
    if n == 1:
        return Summary(n, mean, None, None, confidence)
    std = float(np.std(sample, ddof=1))
    margin = float(stats.t.ppf((1 + confidence) / 2, df=n - 1)) * std / math.sqrt(n)
    return Summary(n, mean, std, (mean - margin, mean + margin), confidence)


def compare_paired(
    first: Mapping[Key, float], second: Mapping[Key, float], confidence: float = 0.95
) -> PairedComparison:
    """Paired t-test of two settings that were run with the same seeds or on the same folds.

    Args:
        first: A value for each seed or fold.
        second: A value for each of the same seeds or folds, in any order.
        confidence: Level of the interval of the mean difference, between 0 and 1.

    Raises:
        VidreasonError: The pairs do not match, or a value is not finite; the message names the seeds or folds.
    """
    unmatched = set(first) ^ set(second)
    if unmatched:
        lacking = [sorted(map(str, unmatched - set(setting))) for setting in (first, second)]
        raise VidreasonError(f"unmatched pairs: the first lacks {lacking[0]}, the second lacks {lacking[1]}")
    differences = [float(second[key]) - float(first[key]) for key in first]
    summary = summarize(differences, confidence)
    # without spread t would be 0/0 or infinite, and the test is not defined
    if summary.n == 1 or max(differences) == min(differences):
        return PairedComparison(summary, None, None)
    test = stats.ttest_rel([second[key] for key in first], list(first.values()))
    return PairedComparison(summary, float(test.statistic), float(test.pvalue))
