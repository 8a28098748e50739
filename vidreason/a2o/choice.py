"""Which set a search ends with, when the reward is noisy. The rule is fixed before any reward is seen.

1. The candidates are the trials whose reward is within one standard deviation of the highest, where the standard
   deviation is that between trainings of one set with different seeds; of these the two highest.
2. Two candidates are both trained with all seeds of the noise measurement, and the higher mean over the seeds that
   both have wins.
3. Of equal values the earliest trial wins. What is not a number never wins. The best of *all* trials is taken, not
   the last. (Equation 3 of the paper takes the highest single reward: with a noise of a point or two that is the
   luckiest of T trainings as much as the best.)
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from .trials import Trial

MAX_CANDIDATES = 2


def noise_std(trials: Sequence[Trial]) -> float | None:
    """Standard deviation of the accuracy between the trainings of one set with different seeds.

    Args:
        trials: Trials in order; the first with two finite accuracies is measured by.

    Returns:
        The sample standard deviation; None where no set has been trained twice.
    """
    for trial in trials:
        finite = [t.accuracy for t in trial.trainings if math.isfinite(t.accuracy)]
        if len(finite) > 1:
            return statistics.stdev(finite)
    return None


def candidates(trials: Sequence[Trial], noise: float | None) -> list[Trial]:
    """The trials that may be chosen: the best, and the second best where the noise cannot tell them apart.

    Args:
        trials: All trials, in order.
        noise: Standard deviation of the reward; None where it was not measured, and the best then stands alone.
    """
    # sorting is stable, so that of equal rewards the earliest comes first
    ranked = sorted((t for t in trials if math.isfinite(t.reward)), key=lambda trial: -trial.reward)
    if not ranked or noise is None:
        return ranked[:1]
    near = [trial for trial in ranked if ranked[0].reward - trial.reward <= noise]
    return near[:MAX_CANDIDATES]


def settle(found: Sequence[Trial]) -> Trial | None:
    """The one of the candidates with the highest mean over the seeds that all of them have; None where there is none.

    Args:
        found: Candidates, with their further trainings.
    """
    if not found:
        return None
    shared = set.intersection(*({t.seed for t in trial.trainings if math.isfinite(t.accuracy)} for trial in found))
    # by number: candidates come in the order of their rewards, and of equal means the earliest trial wins
    return max(sorted(found, key=lambda trial: trial.number), key=lambda trial: trial.mean_accuracy(shared))
