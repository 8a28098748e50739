"""The losses against values worked out by hand and against torch's own KL divergence."""

import math

import pytest
import torch

from vidreason.attention.normalize import normalize_attention
from vidreason.rs.losses import (
    linear_warmup,
    segment_divergence,
    spatial_alignment_loss,
    temporal_consistency_loss,
)


def random_maps(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def all_valid(*shape):
    return torch.ones(*shape, dtype=torch.bool)


def test_attention_is_normalised_over_the_patches_alone():
    # the CLS token kept half of the attention for itself
    p = normalize_attention(torch.tensor([0.1, 0.3, 0.1, 0.0]))
    torch.testing.assert_close(p, torch.tensor([0.2, 0.6, 0.2, 0.0]))


def test_spatial_loss_is_zero_where_attention_equals_guidance():
    guidance = random_maps(2, 3, 16) + 0.01
    loss = spatial_alignment_loss(0.4 * guidance, guidance, all_valid(2, 3))
    assert loss.item() == pytest.approx(0, abs=1e-5)


def test_spatial_loss_of_uniform_attention_on_one_marked_cell_is_log_of_the_cells():
    guidance = torch.eye(16)[5].expand(1, 2, 16)
    loss = spatial_alignment_loss(torch.full((1, 2, 16), 1 / 17), guidance, all_valid(1, 2))
    assert loss.item() == pytest.approx(math.log(16), abs=1e-5)


def test_spatial_loss_is_torchs_kl_divergence_with_the_guidance_as_target():
    attention, guidance = random_maps(2, 3, 16, seed=1), random_maps(2, 3, 16, seed=2)
    p, q = normalize_attention(attention), normalize_attention(guidance)
    expected = torch.nn.functional.kl_div(p.log(), q, reduction="none").sum(-1).mean()
    loss = spatial_alignment_loss(attention, guidance, all_valid(2, 3))
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-6)


def test_only_frames_with_guidance_count():
    attention, guidance = random_maps(2, 2, 16, seed=1), random_maps(2, 2, 16, seed=2)
    valid = torch.tensor([[True, False], [False, False]])
    alone = spatial_alignment_loss(attention[:1, :1], guidance[:1, :1], all_valid(1, 1))
    guidance[1] = float("nan")  # what stands in a frame without guidance must not matter
    torch.testing.assert_close(spatial_alignment_loss(attention, guidance, valid), alone)


def test_a_frame_whose_guidance_is_all_zero_does_not_count_even_if_marked_valid():
    attention, guidance = random_maps(1, 2, 16, seed=1), random_maps(1, 2, 16, seed=2)
    alone = spatial_alignment_loss(attention[:, :1], guidance[:, :1], all_valid(1, 1))
    guidance[:, 1] = 0
    torch.testing.assert_close(spatial_alignment_loss(attention, guidance, all_valid(1, 2)), alone)


def test_without_any_guidance_the_loss_is_zero_and_still_connected():
    attention = random_maps(2, 3, 16).requires_grad_()
    loss = spatial_alignment_loss(attention, torch.zeros(2, 3, 16), torch.zeros(2, 3, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(attention.grad, torch.zeros(2, 3, 16))


def test_several_layers_are_averaged():
    layers, guidance = random_maps(2, 3, 4, 16, seed=1), random_maps(2, 4, 16, seed=2)
    each = [spatial_alignment_loss(layers[:, i], guidance, all_valid(2, 4)) for i in range(3)]
    torch.testing.assert_close(spatial_alignment_loss(layers, guidance, all_valid(2, 4)), torch.stack(each).mean())


def test_gradient_descent_on_the_spatial_loss_moves_attention_into_the_cell():
    scores = torch.zeros(1, 1, 16, requires_grad=True)
    guidance = torch.eye(16)[3].reshape(1, 1, 16)
    optimizer = torch.optim.SGD([scores], lr=1.0)
    for _ in range(60):
        optimizer.zero_grad()
        spatial_alignment_loss(scores.softmax(-1), guidance, all_valid(1, 1)).backward()
        optimizer.step()
    assert scores.softmax(-1)[0, 0, 3] > 0.9


def test_attention_that_is_exactly_zero_on_a_marked_cell_gives_a_finite_loss_and_gradient():
    attention = torch.eye(16)[0].reshape(1, 1, 16).requires_grad_()
    loss = spatial_alignment_loss(attention, torch.eye(16)[5].reshape(1, 1, 16), all_valid(1, 1))
    loss.backward()
    assert math.isfinite(loss.item())
    assert attention.grad.isfinite().all()


def test_parts_of_a_batch_sum_up_to_the_whole_when_the_count_is_given():
    attention, guidance = random_maps(4, 3, 16, seed=1), random_maps(4, 3, 16, seed=2)
    valid = random_maps(4, 3, seed=3) > 0.4
    whole = spatial_alignment_loss(attention, guidance, valid)
    parts = [
        spatial_alignment_loss(attention[i : i + 1], guidance[i : i + 1], valid[i : i + 1], count=valid.sum())
        for i in range(4)
    ]
    torch.testing.assert_close(torch.stack(parts).sum(), whole)


def test_views_that_agree_do_not_diverge():
    logits = torch.randn(4, 1, 7).expand(4, 3, 7)
    assert temporal_consistency_loss(logits).item() == pytest.approx(0, abs=1e-6)


def test_views_that_each_are_sure_of_another_label_diverge_by_log_three():
    logits = 100 * torch.eye(3).unsqueeze(0)
    assert temporal_consistency_loss(logits).item() == pytest.approx(math.log(3), abs=1e-5)


def test_temporal_loss_is_the_mean_kl_to_the_average():
    logits, temperature = torch.randn(5, 3, 6, generator=torch.Generator().manual_seed(0)), 2.5
    views = (logits / temperature).softmax(-1)
    consensus = views.mean(dim=1, keepdim=True)
    expected = (views * (views / consensus).log()).sum(-1).mean()
    torch.testing.assert_close(temporal_consistency_loss(logits, temperature=temperature), expected)


def test_a_higher_temperature_softens_disagreement():
    logits = torch.randn(5, 3, 6, generator=torch.Generator().manual_seed(0)) * 4
    divergences = [temporal_consistency_loss(logits, temperature=t).item() for t in (0.5, 1, 4)]
    assert divergences == sorted(divergences, reverse=True)


def test_invalid_clips_do_not_count():
    logits = torch.randn(3, 3, 6)
    valid = torch.tensor([True, False, True])
    expected = segment_divergence(logits)[valid].mean()
    logits[1] = float("nan")
    torch.testing.assert_close(temporal_consistency_loss(logits, valid), expected)


@pytest.mark.parametrize(
    ("progress", "ratio", "factor"),
    [(0.0, 0.0, 1.0), (0.0, 0.2, 0.0), (0.1, 0.2, 0.5), (0.2, 0.2, 1.0), (0.9, 0.2, 1.0)],
)
def test_warmup_grows_linearly(progress, ratio, factor):
    assert linear_warmup(progress, ratio) == pytest.approx(factor)
