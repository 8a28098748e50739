"""What every system reports of a classifier of clips: accuracy, and the mean cross-entropy."""

from __future__ import annotations

import evaluate
import numpy as np

from ..metrics import metric_path


class ClassificationMetrics:
    """Gives `top1` and `top5`, shares in [0, 1], and `loss_classification`, in nats, over some clips."""

    def __init__(self) -> None:
        # in memory: otherwise evaluate writes what it is given to files that concurrent processes share by name
        self._topk_accuracy = evaluate.load(metric_path("topk_accuracy"), keep_in_memory=True)

    def compute(self, logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        """The metrics by name.

        Args:
            logits: (clips, labels), of one clip or more.
            labels: (clips,), each an id of a label.
        """
        log_probabilities = log_softmax(logits)
        accuracy = self._topk_accuracy.compute(
            predictions=np.asarray(logits, dtype=np.float64), references=labels, k=[1, 5]
        )
        return {
            "top1": accuracy["top1"],
            "top5": accuracy["top5"],
            "loss_classification": float(-log_probabilities[np.arange(len(labels)), labels].mean()),
        }


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Logarithms of the probabilities of logits: (..., labels), float64."""
    logits = np.asarray(logits, dtype=np.float64)
    return logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)


def mean_probability_logits(readings: list[np.ndarray]) -> np.ndarray:
    """Logits of the mean of several readings' probabilities: (..., labels), of arrays of that shape.

    Probabilities are averaged and not logits, as V-JEPA 2 does over its clips and crops: a reading that is sure of
    nothing then says little, where its logits could be of any size.
    """
    # log(mean(p)) without leaving the logarithm
    return np.logaddexp.reduce([log_softmax(one) for one in readings], axis=0) - np.log(len(readings))
