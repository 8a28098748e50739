"""Losses and metrics that systems share."""

import numpy as np
import torch

from vidreason.training.evaluation import ClassificationMetrics, mean_probability_logits
from vidreason.training.parts import classification_loss


def test_classification_loss_ignores_unreadable_clips():
    logits, labels = torch.randn(3, 5), torch.tensor([1, -100, 4])
    expected = torch.nn.functional.cross_entropy(logits[[0, 2]], labels[[0, 2]])
    torch.testing.assert_close(classification_loss(logits, labels), expected)


def test_a_batch_of_unreadable_clips_has_no_loss_and_no_nan():
    logits = torch.randn(2, 5, requires_grad=True)
    loss = classification_loss(logits, torch.tensor([-100, -100]))
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(logits.grad, torch.zeros(2, 5))


def test_metrics_of_a_classification():
    logits = np.asarray([[2.0, 1.0, 0.0, -1.0, -2.0, -3.0], [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]])
    found = ClassificationMetrics().compute(logits, np.asarray([0, 0]))
    assert (found["top1"], found["top5"]) == (0.5, 0.5)
    expected = torch.nn.functional.cross_entropy(torch.tensor(logits), torch.tensor([0, 0])).item()
    assert abs(found["loss_classification"] - expected) < 1e-9


def test_readings_are_averaged_as_probabilities():
    readings = [np.asarray([[4.0, 0.0]]), np.asarray([[0.0, 1.0]]), np.asarray([[1000.0, 1000.0]])]
    probabilities = [torch.tensor(one).softmax(-1).numpy() for one in readings]
    assert np.allclose(np.exp(mean_probability_logits(readings)), np.mean(probabilities, axis=0))
