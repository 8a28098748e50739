"""The metrics that a study can report, and how they are shown."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class MetricStyle:
    """How a metric is shown.

    Args:
        name: in words.
        unit: behind the name.
        scale: values are multiplied by it.
        decimals: of all values.
    """

    name: str
    unit: str
    scale: float
    decimals: int

    @property
    def label(self) -> str:
        return f"{self.name} ({self.unit})"

    @property
    def difference_label(self) -> str:
        """Of the difference of two values: percentages differ by points."""
        return f"difference ({'points' if self.unit == '%' else self.unit})"


METRIC_STYLES = {
    "top1": MetricStyle("top-1", "%", 100, 1),
    "top5": MetricStyle("top-5", "%", 100, 1),
    "loss": MetricStyle("clip loss", "nats", 1, 3),
    "attention_in_region": MetricStyle("attention in region", "%", 100, 1),
    "pointing_accuracy": MetricStyle("pointing", "%", 100, 1),
}

METRICS = tuple(METRIC_STYLES)
"""Under the names that `vidreason.rs.run` gives them, the main one first."""
