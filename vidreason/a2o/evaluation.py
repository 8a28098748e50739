"""What is reported of a model that is shown maps: accuracy, overall and by class, and how many maps were missing."""

from __future__ import annotations

from typing import Any

import numpy as np
from transformers import EvalPrediction

from ..clips.data import IGNORED_LABEL
from ..training.evaluation import ClassificationMetrics

CLASS_PREFIX = "accuracy_of_"
"""Before the name of an action, in the metrics: the share of its clips that are classified right."""


class ObjectMetrics:
    """`compute_metrics` of the Trainer.

    Gives `top1`, `top5`, `loss_classification`, `loss`, `num_clips`, `skipped_videos`, for each action that has clips
    its accuracy (`CLASS_PREFIX`), and of clips with maps `maps_missing`: the mean share of their maps that no
    detections speak for. Accuracies are shares in [0, 1].

    Args:
        class_names: Names of the actions in the order of the label ids.
    """

    def __init__(self, class_names: list[str]):
        self.class_names = class_names
        self.classification = ClassificationMetrics()

    def __call__(self, prediction: EvalPrediction) -> dict[str, Any]:
        """The metrics of a split, by name."""
        predictions: Any = prediction.predictions
        logits, missing = (np.asarray(part) for part in predictions)
        labels = np.asarray(prediction.label_ids)
        readable = labels != IGNORED_LABEL
        metrics: dict[str, float] = {"num_clips": int(readable.sum()), "skipped_videos": int((~readable).sum())}
        if not readable.any():
            return metrics
        logits, labels, missing = logits[readable], labels[readable], missing[readable]
        metrics |= self.classification.compute(logits, labels)
        metrics["loss"] = metrics["loss_classification"]
        right = logits.argmax(axis=-1) == labels
        for label in np.unique(labels).tolist():
            metrics[f"{CLASS_PREFIX}{self.class_names[label]}"] = float(right[labels == label].mean())
        if (missing >= 0).all():
            metrics["maps_missing"] = float(missing.mean())
        return metrics
