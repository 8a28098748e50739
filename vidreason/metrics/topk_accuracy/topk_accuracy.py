"""Top-k accuracy from class scores, with ignored labels and a stated rule for ties."""

import datasets
import evaluate
import numpy as np

_DESCRIPTION = """
Top-k accuracy is the fraction of clips whose true class is among the k classes with the highest scores.
A tie counts against the model: a class that scores the same as the true class is ranked before it.
"""

_KWARGS_DESCRIPTION = """
Args:
    predictions (`list` of `list` of `float`): for each clip, one score per class (logits or probabilities).
    references (`list` of `int`): for each clip, the index of its true class, or `ignore_index`.
    k (`int` or `list` of `int`): how many classes may be named. Defaults to 1. From the number of classes on, every
        clip is a hit.
    ignore_index (`int`): clips with this label are left out and counted. Defaults to -100.

Returns:
    top<k> (`float` or `None`): for each k, hits / clips that count, in [0, 1]; `None` where no clip counts.
    num_samples (`int`): the clips that count.
    num_ignored (`int`): the clips left out.

Raises:
    ValueError: there are no clips at all, a score is NaN, rows have unequal numbers of classes, a label is no class,
        or k is less than 1; the message names the row.

Examples:

    One k. The first clip is a hit, the second a miss.
        >>> topk_accuracy = evaluate.load("topk_accuracy")
        >>> topk_accuracy.compute(predictions=[[0.1, 0.7, 0.2], [0.5, 0.4, 0.1]], references=[1, 1])
        {'top1': 0.5, 'num_samples': 2, 'num_ignored': 0}

    Several k at once, and a clip without a label.
        >>> topk_accuracy = evaluate.load("topk_accuracy")
        >>> scores = [[0.1, 0.7, 0.2], [0.5, 0.4, 0.1], [0.2, 0.3, 0.5]]
        >>> topk_accuracy.compute(predictions=scores, references=[1, 1, -100], k=[1, 2])
        {'top1': 0.5, 'top2': 1.0, 'num_samples': 2, 'num_ignored': 1}

    Scores that say nothing earn nothing: ties count against the model.
        >>> topk_accuracy = evaluate.load("topk_accuracy")
        >>> topk_accuracy.compute(predictions=[[0.0, 0.0, 0.0]], references=[0], k=[1, 3, 5])
        {'top1': 0.0, 'top3': 1.0, 'top5': 1.0, 'num_samples': 1, 'num_ignored': 0}
"""

_CITATION = """
@article{russakovsky2015imagenet,
  title={{ImageNet} Large Scale Visual Recognition Challenge},
  author={Russakovsky, Olga and Deng, Jia and Su, Hao and Krause, Jonathan and Satheesh, Sanjeev and Ma, Sean
          and Huang, Zhiheng and Karpathy, Andrej and Khosla, Aditya and Bernstein, Michael and Berg, Alexander C.
          and Fei-Fei, Li},
  journal={International Journal of Computer Vision},
  volume={115},
  number={3},
  pages={211--252},
  year={2015}
}
"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class TopkAccuracy(evaluate.Metric):
    """Made by `evaluate.load`; its `compute` takes the arguments above."""

    def _info(self):
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            features=datasets.Features(
                {
                    # float64, so that scores which differ do not become ties on their way through the cache
                    "predictions": datasets.List(datasets.Value("float64")),
                    "references": datasets.Value("int64"),
                }
            ),
            reference_urls=["https://arxiv.org/abs/1409.0575"],
        )

    def _compute(self, predictions, references, k=1, ignore_index=-100):
        ks = _read_k(k)
        scores = _read_scores(predictions)
        labels = np.asarray(references, dtype=np.int64)
        counts = labels != ignore_index
        _check_labels(labels, counts, num_classes=scores.shape[1])

        labels, scores = labels[counts], scores[counts]
        label_scores = np.take_along_axis(scores, labels[:, None], axis=1)
        classes_before = (scores >= label_scores).sum(axis=1) - 1  # all others that score at least as high
        result = {f"top{k}": float((classes_before < k).mean()) if len(labels) else None for k in ks}
        return {**result, "num_samples": len(labels), "num_ignored": int((~counts).sum())}


def _read_k(k):
    """`k` as a list of whole numbers of at least 1."""
    ks = [k] if isinstance(k, (int, np.integer)) else list(k)
    if not ks:
        raise ValueError("topk_accuracy: k is empty")
    for value in ks:
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
            raise ValueError(f"topk_accuracy: k must be a whole number of at least 1, got {value!r}")
    return [int(value) for value in ks]


def _read_scores(predictions):
    """The scores as an array of shape (clips, classes), without NaN."""
    if len(predictions) == 0:
        raise ValueError("topk_accuracy: there are no clips to score")
    num_classes = len(predictions[0])
    for row, scores in enumerate(predictions):
        if len(scores) != num_classes or num_classes == 0:
            raise ValueError(f"topk_accuracy: row {row} has {len(scores)} class scores, row 0 has {num_classes}")
    scores = np.asarray(predictions, dtype=np.float64)
    bad = np.flatnonzero(np.isnan(scores).any(axis=1))
    if len(bad):
        raise ValueError(f"topk_accuracy: row {bad[0]} has a NaN score ({len(bad)} such rows)")
    return scores


def _check_labels(labels, counts, num_classes):
    """Refuse labels that are no class. `labels` and `counts` have shape (clips,)."""
    bad = np.flatnonzero(counts & ((labels < 0) | (labels >= num_classes)))
    if len(bad):
        raise ValueError(f"topk_accuracy: row {bad[0]}: label {labels[bad[0]]} is not one of {num_classes} classes")
