"""Losses of segmentation against values worked out one frame at a time."""

import math

import pytest
import torch

from vidreason.rs.losses import temporal_consistency_loss
from vidreason.rs.segmentation.losses import frame_classification_loss, smoothing_loss
from vidreason.segmentation.views import action_runs, runs_from_frames, view_logits


@pytest.fixture
def logits() -> torch.Tensor:
    return torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)


LABELS = torch.tensor([[0, 0, 2, -100, 1], [1, -100, -100, -100, -100]])


def per_frame(logits, weigh):
    """Sum over labelled frames of weigh(probability of the label, label)."""
    probabilities = logits.softmax(dim=-1)
    return sum(
        weigh(probabilities[clip, frame, label], label)
        for clip in range(2)
        for frame in range(5)
        if (label := int(LABELS[clip, frame])) >= 0
    )


def test_cross_entropy_is_the_mean_over_labelled_frames(logits):
    expected = per_frame(logits, lambda p, _: -p.log()) / 5
    torch.testing.assert_close(frame_classification_loss(logits, LABELS), expected)
    torch.testing.assert_close(frame_classification_loss(logits, LABELS, count=torch.tensor(20)), expected / 4)


def test_class_weights_scale_the_frames_of_a_label_and_not_the_count(logits):
    weights = torch.tensor([1.0, 4.0, 0.5])
    expected = per_frame(logits, lambda p, label: -weights[label] * p.log()) / 5
    torch.testing.assert_close(frame_classification_loss(logits, LABELS, class_weights=weights), expected)


def test_focal_loss_leaves_out_what_is_easy(logits):
    expected = per_frame(logits, lambda p, _: -((1 - p) ** 2) * p.log()) / 5
    torch.testing.assert_close(frame_classification_loss(logits, LABELS, focal_gamma=2.0), expected)
    sure = torch.tensor([[[200.0, 0.0, 0.0]]])
    assert frame_classification_loss(sure, torch.tensor([[0]]), focal_gamma=0.5) == 0


def test_no_labelled_frame_gives_zero_that_is_still_connected(logits):
    loss = frame_classification_loss(logits, torch.full((2, 5), -100), focal_gamma=1.0)
    loss.backward()
    assert loss == 0
    assert (logits.grad == 0).all()


def test_smoothing_is_the_truncated_squared_step(logits):
    mask = torch.tensor([[True] * 5, [True, True, False, False, False]])
    log_probabilities = logits.log_softmax(dim=-1)
    steps = []
    for clip, frame in ((0, 1), (0, 2), (0, 3), (0, 4), (1, 1)):
        step = (log_probabilities[clip, frame] - log_probabilities[clip, frame - 1]).abs()
        steps.append(torch.minimum(step, torch.tensor(0.7)).square().mean())
    torch.testing.assert_close(smoothing_loss(logits, mask, 0.7), torch.stack(steps).mean())
    torch.testing.assert_close(smoothing_loss(logits, mask, 0.7, torch.tensor(10)), torch.stack(steps).sum() / 10)


def test_a_large_step_costs_the_square_of_the_threshold_and_no_gradient():
    logits = torch.tensor([[[50.0, 0.0], [0.0, 50.0]]], requires_grad=True)
    loss = smoothing_loss(logits, torch.ones(1, 2, dtype=torch.bool), 4.0)
    loss.backward()
    assert loss.item() == pytest.approx(16.0)
    assert (logits.grad == 0).all()


def test_the_earlier_frame_of_a_pair_has_no_gradient():
    logits = torch.tensor([[[0.3, 0.0], [0.0, 0.2]]], requires_grad=True)
    smoothing_loss(logits, torch.ones(1, 2, dtype=torch.bool)).backward()
    assert (logits.grad[0, 0] == 0).all()
    assert logits.grad[0, 1].abs().min() > 0


def test_runs_are_stretches_of_one_label_within_a_window():
    labels = torch.tensor([[1, 1, 0, 2, 2, 2], [2, 2, -100, -100, 0, 0], [-100] * 6])
    # the single 0 is no stretch, and the 2s at the end of one window and the start of the next are two
    assert action_runs(labels).tolist() == [[0, 0, 2], [0, 3, 6], [1, 0, 2], [1, 4, 6]]
    assert action_runs(torch.tensor([[3, 3], [3, 3]])).tolist() == [[0, 0, 2], [1, 0, 2]]
    assert action_runs(torch.zeros((0, 4), dtype=torch.long)).shape == (0, 3)
    # without waiting for their number: one for each frame, and whether it is a run
    runs, is_run = runs_from_frames(labels)
    assert runs[:6].tolist() == [[0, 0, 2], [0, 1, 2], [0, 2, 3], [0, 3, 6], [0, 4, 6], [0, 5, 6]]
    assert is_run[:6].tolist() == [True, False, False, True, False, False]


def test_views_of_a_run_are_its_first_fifth_its_middle_and_all_of_it():
    logits = torch.arange(24.0).reshape(1, 12, 2)
    # ten frames from the second on: immediate [0, 2), contextual [2, 8), narrative [0, 10) of the run
    views = view_logits(logits, torch.tensor([[0, 1, 11]]))
    frames = logits[0, 1:11]
    expected = torch.stack((frames[:2].mean(0), frames[2:8].mean(0), frames.mean(0)))
    torch.testing.assert_close(views, expected[None])


def test_consistency_is_zero_for_an_action_that_says_one_thing_and_log_of_the_views_is_its_bound():
    logits = torch.zeros(1, 12, 4)
    logits[0, :6, 1], logits[0, 6:, 2] = 5.0, 5.0
    two_actions = torch.tensor([[1] * 6 + [2] * 6])
    one_action = torch.tensor([[1] * 12])
    assert temporal_consistency_loss(view_logits(logits, action_runs(two_actions))) == pytest.approx(0, abs=1e-6)
    inconsistent = temporal_consistency_loss(view_logits(logits, action_runs(one_action)))
    assert 0.01 < inconsistent.item() < math.log(3)


def test_consistency_without_any_run_is_zero_and_connected():
    logits = torch.randn(1, 4, 3, requires_grad=True)
    loss = temporal_consistency_loss(view_logits(logits, action_runs(torch.full((1, 4), -100))))
    loss.backward()
    assert loss == 0
    assert (logits.grad == 0).all()
