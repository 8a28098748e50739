"""The metrics that runs of reasoning supervision report, and how they are shown."""

from __future__ import annotations

from dataclasses import dataclass

from ...reporting.tables import MetricStyle

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


@dataclass(frozen=True)
class RSTaskMetrics:
    """What is reported of runs of one task.

    Args:
        subject: What the task is about, in a word.
        reported: What a study reports unless it names its own metrics, the main one first.
        main: Metrics that have a table of their own beside the first.
        over_groups: What is reported of leaving one group out.
    """

    subject: str
    reported: tuple[str, ...]
    main: tuple[str, ...]
    over_groups: tuple[str, ...]


CLIP_METRICS = ("top1", "top5", "loss", "attention_in_region", "pointing_accuracy")

SEGMENTATION_METRICS = (
    *("mof", "edit", "f1_10", "f1_25", "f1_50", "top1", "loss"),
    *("oversegmentation", "loss_temporal", "loss_smoothing", "attention_in_region", "pointing_accuracy"),
)

TASKS = {
    "classification": RSTaskMetrics(
        subject="clips",
        reported=CLIP_METRICS,
        main=(),
        # without top-5: data sets whose groups are left out have so few labels that it is 1 or close to it
        over_groups=("top1", "loss", "attention_in_region", "pointing_accuracy"),
    ),
    "segmentation": RSTaskMetrics(
        subject="segmentation",
        reported=SEGMENTATION_METRICS,
        main=SEGMENTATION_METRICS[:7],  # what work on temporal action segmentation is compared by
        over_groups=SEGMENTATION_METRICS,
    ),
}
"""Value of `DataArguments.task` -> what is reported, the default task first."""
