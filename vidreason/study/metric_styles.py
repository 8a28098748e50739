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
    "top1_one_look": MetricStyle("top-1, one look", "%", 100, 1),
    "top5_one_look": MetricStyle("top-5, one look", "%", 100, 1),
    "loss_one_look": MetricStyle("clip loss, one look", "nats", 1, 3),
    "attention_in_region": MetricStyle("attention in region", "%", 100, 1),
    "pointing_accuracy": MetricStyle("pointing", "%", 100, 1),
    "mof": MetricStyle("MoF", "%", 100, 1),
    "edit": MetricStyle("Edit", "%", 100, 1),
    "f1_10": MetricStyle("F1@10", "%", 100, 1),
    "f1_25": MetricStyle("F1@25", "%", 100, 1),
    "f1_50": MetricStyle("F1@50", "%", 100, 1),
    "oversegmentation": MetricStyle("segments per true one", "ratio", 1, 2),
    "mof_unaveraged": MetricStyle("MoF, scores not averaged", "%", 100, 1),
    "edit_unaveraged": MetricStyle("Edit, scores not averaged", "%", 100, 1),
    "f1_10_unaveraged": MetricStyle("F1@10, scores not averaged", "%", 100, 1),
    "oversegmentation_unaveraged": MetricStyle("segments per true one, scores not averaged", "ratio", 1, 2),
    "loss_temporal": MetricStyle("temporal consistency", "nats", 1, 4),
    "loss_smoothing": MetricStyle("smoothing", "squared step", 1, 4),
}
"""Under the names that the tasks of `vidreason.rs` give them."""

METRICS = ("top1", "top5", "loss", "attention_in_region", "pointing_accuracy")
"""What a study of clips reports, the main one first."""

SEGMENTATION_METRICS = (
    *("mof", "edit", "f1_10", "f1_25", "f1_50", "top1", "loss"),
    *("oversegmentation", "loss_temporal", "loss_smoothing", "attention_in_region", "pointing_accuracy"),
)
"""What a study of temporal action segmentation reports."""

MAIN_SEGMENTATION_METRICS = SEGMENTATION_METRICS[:7]
"""Those that work on it is compared by: each has a table with intervals and tests of its own."""
