"""Sums over questions, by group and by video: what a report needs, and no more memory than groups times videos."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from ...reporting.bootstrap import Bootstrap, Estimate, estimate_ratios
from .measures import OPEN_STATUSES, Worth

Group = tuple[str, str]
"""Kind of a group and its name, such as ("type", "CW")."""

ALL: Group = ("all", "all")


@dataclass
class _Cell:
    """Sums of one group and video."""

    count: int
    open: int
    sums: list[float]


@dataclass
class Tally:
    """Adds up what questions are worth.

    Args:
        names: Names of the values, the score's first.
    """

    names: Sequence[str]
    statuses: Counter[str] = field(default_factory=Counter)
    stale: Counter[Group] = field(default_factory=Counter)
    stale_sums: dict[Group, float] = field(default_factory=lambda: defaultdict(float))
    _cells: dict[Group, dict[str, _Cell]] = field(default_factory=dict)
    _statuses: dict[Group, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))

    def add(self, worth: Worth, video_id: str, groups: Iterable[Group]) -> None:
        """Count one question.

        Args:
            worth: What its prediction is worth.
            video_id: Its video: intervals are over videos, whose questions are alike.
            groups: Groups that it belongs to, beside `ALL`.
        """
        self.statuses[worth.status] += 1
        is_open = worth.status in OPEN_STATUSES
        values = [worth.values.get(name, 0.0) for name in self.names]
        for group in (ALL, *groups):
            cells = self._cells.setdefault(group, {})
            cell = cells.get(video_id)
            if cell is None:
                cell = cells[video_id] = _Cell(0, 0, [0.0] * len(self.names))
            cell.count += 1
            cell.open += is_open
            for place, value in enumerate(values):
                cell.sums[place] += value
            self._statuses[group][worth.status] += 1
            if worth.is_stale:
                self.stale[group] += 1
                self.stale_sums[group] += values[0]

    @property
    def groups(self) -> list[Group]:
        """All groups that have a question, `ALL` first."""
        return sorted(self._cells, key=lambda group: (group != ALL, group))

    def count(self, group: Group) -> int:
        """Number of questions of a group."""
        return sum(cell.count for cell in self._cells.get(group, {}).values())

    def count_open(self, group: Group) -> int:
        """Number of questions of a group of which nothing is known."""
        return sum(cell.open for cell in self._cells.get(group, {}).values())

    def status_counts(self, group: Group) -> Counter[str]:
        """Number of questions of a group by status."""
        return self._statuses[group]

    def total(self, group: Group, name: str) -> float:
        """Sum of a value over a group."""
        place = list(self.names).index(name)
        return sum(cell.sums[place] for cell in self._cells.get(group, {}).values())

    def mean(self, group: Group, name: str) -> float | None:
        """Mean of a value over the questions of a group of which something is known; None where there are none."""
        known = self.count(group) - self.count_open(group)
        return self.total(group, name) / known if known else None

    def estimate(self, group: Group, bootstrap: Bootstrap) -> Estimate:
        """Mean of the score over a group, with an interval by drawing whole videos anew."""
        cells = self._cells[group].values()
        sums = np.array([[cell.sums[0]] for cell in cells])
        counts = np.array([[float(cell.count - cell.open)] for cell in cells])
        return estimate_ratios(sums, counts, bootstrap)[0]
