"""Zero times NaN is NaN, and half precision has an end: neither may reach what is valid."""

import pytest
import torch

from modeling_tsvit import TSViTForActionSegmentation
from modeling_tsvit.modeling_tsvit import attention_probabilities, eager_attention_forward, segment_means

UNDEFINED = [float("nan"), float("inf")]


def gradients(model, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    loss.backward()
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None}


@pytest.mark.parametrize("undefined", UNDEFINED)
@pytest.mark.parametrize("kind", ["linear", "conv_stem", "segmenter"])
@pytest.mark.parametrize("attn_implementation", ["sdpa", "eager"])
def test_padded_frames_may_hold_anything(make_model, clips, undefined, kind, attn_implementation):
    """Scores, views, maps and the gradient of every weight are those of a batch that is padded with zeros."""
    model = make_model(attn_implementation, patch_embedding="linear" if kind == "segmenter" else kind)
    if kind == "segmenter":
        model = TSViTForActionSegmentation(model.config).eval()
    frame_mask = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 0, 0, 0, 0]])
    padded = clips.clone()
    padded[1, 2:] = undefined
    zeroed = padded.nan_to_num(0.0, posinf=0.0)
    labels = torch.tensor([1, 2])
    if kind == "segmenter":
        labels = torch.where(frame_mask.bool(), labels[:, None], -100)
    for options in ({}, {"output_attentions": True, "output_hidden_states": True}):
        one, two = (model(pixels, frame_mask, labels, **options) for pixels in (padded, zeroed))
        for name in ("loss", "logits", "segment_logits", "frame_attention"):
            torch.testing.assert_close(one[name], two[name], msg=name)
            assert one[name].isfinite().all(), name
        for kept in (*(one.hidden_states or ()), *(one.attentions or ())):
            assert kept.isfinite().all()
        got, expected = (gradients(model, out.loss + out.frame_attention.square().sum()) for out in (one, two))
        assert set(got) == set(expected)
        for name, gradient in got.items():
            torch.testing.assert_close(gradient, expected[name], msg=name)


def test_a_clip_of_padding_alone_may_hold_anything(make_model, clips):
    clips[1] = float("nan")
    outputs = make_model()(clips, torch.tensor([[1] * 6, [0] * 6]))
    assert outputs.segment_logits.isfinite().all()
    assert outputs.frame_attention.isfinite().all()


def test_pixels_are_left_alone_where_nothing_is_padded(make_model, clips):
    """Training batches are seldom padded, and a copy of all pixels would cost their memory a second time."""
    seen = []
    model = make_model()
    model.tsvit.spatial_embeddings.register_forward_pre_hook(lambda module, args: seen.append(args[0].data_ptr()))
    for frame_mask in (None, torch.ones(2, 6), torch.tensor([[1] * 6, [1] * 5 + [0]])):
        model(clips, frame_mask)
    assert [pointer == clips.data_ptr() for pointer in seen] == [True, True, False]


@pytest.mark.parametrize("undefined", UNDEFINED)
@pytest.mark.parametrize("attn_implementation", ["sdpa", "eager"])
def test_dropped_tokens_may_hold_anything(make_model, clips, undefined, attn_implementation):
    """Rows that keep fewer tokens than others are filled up with dropped ones, which nothing may read."""
    model = make_model(attn_implementation)
    token_mask = torch.zeros(2, 6, 16, dtype=torch.bool)
    token_mask[:, :, :4] = True
    token_mask[0, 1, 1:] = False  # one token where others keep four
    token_mask[1, 2] = False  # none at all
    cells = token_mask.unflatten(-1, (4, 4)).repeat_interleave(8, -2).repeat_interleave(8, -1).unsqueeze(2)
    one, two = (model(clips.masked_fill(~cells, filler), token_mask=token_mask) for filler in (undefined, 0.0))
    torch.testing.assert_close(one.logits, two.logits)
    torch.testing.assert_close(one.frame_attention, two.frame_attention)
    got, expected = (gradients(model, outputs.logits.square().sum()) for outputs in (one, two))
    for name, gradient in got.items():
        torch.testing.assert_close(gradient, expected[name], msg=name)


def test_views_leave_padding_out_whatever_it_holds():
    states = torch.full((1, 5, 2), float("nan"))
    states[0, :3] = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    torch.testing.assert_close(segment_means(states, torch.tensor([3]))[0, 2], torch.tensor([3.0, 4.0]))


def test_the_mean_of_a_long_clip_stays_in_the_range_of_fp16():
    states = torch.full((1, 4096, 2), 40.0, dtype=torch.float16)  # their sum, 163840, is beyond 65504
    means = segment_means(states, torch.tensor([4096]))
    assert means.dtype == torch.float16
    torch.testing.assert_close(means, torch.full((1, 3, 2), 40.0, dtype=torch.float16))


@pytest.mark.parametrize("num_queries", [1, 3])
@pytest.mark.parametrize("mask_dtype", [None, torch.bool, torch.float16])
def test_large_queries_in_fp16_attend_as_under_sdpa(num_queries, mask_dtype):
    """Their dot products, about 160,000, are beyond fp16 until they are scaled; SDPA adds up in float32."""
    generator = torch.Generator().manual_seed(2)
    query, key, value = (torch.randn(2, 4, 5, 64, generator=generator).half() for _ in range(3))
    query, key, scaling = query[:, :, :num_queries] * 100, key * 100, 64**-0.5
    assert torch.matmul(query, key.transpose(-1, -2)).isinf().any()
    keep = torch.ones(2, 1, num_queries, 5, dtype=torch.bool)
    keep[1, :, :, 3:] = False
    mask = None if mask_dtype is None else keep
    expected = torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scaling)
    if mask_dtype == torch.float16:
        mask = torch.zeros(keep.shape, dtype=torch.float16).masked_fill(~keep, torch.finfo(torch.float16).min)
    context, weights = eager_attention_forward(torch.nn.Identity(), query, key, value, mask, scaling)
    assert context.dtype == weights.dtype == torch.float16
    torch.testing.assert_close(context, expected.transpose(1, 2), rtol=2e-2, atol=2e-3)
    probabilities = attention_probabilities(query, key, scaling, mask)
    torch.testing.assert_close(probabilities.half(), weights)
    if mask is not None:
        assert (probabilities[1, :, :, 3:] == 0).all()


def test_an_additive_mask_of_fp16_hides_keys_from_the_largest_scores():
    """A masked score of 10^6 less 65504 would still win."""
    query = torch.full((1, 1, 2, 64), 1000.0).half()
    key = torch.stack((torch.full((64,), 0.001), torch.full((64,), 1000.0)))[None, None].half()
    mask = torch.tensor([0.0, torch.finfo(torch.float16).min]).half()[None, None, None]
    torch.testing.assert_close(
        attention_probabilities(query, key, 64**-0.5, mask), torch.tensor([1.0, 0.0]).expand(1, 1, 2, 2)
    )


def test_a_model_in_fp16_with_large_queries_scores_as_under_sdpa(make_model, clips):
    scores = []
    for attn_implementation in ("sdpa", "eager"):
        model = make_model(attn_implementation)
        with torch.no_grad():
            for layer in (*model.tsvit.spatial_layers, *model.tsvit.temporal_layers):
                layer.attention.q_proj.weight.mul_(200)
                layer.attention.k_proj.weight.mul_(200)
        outputs = model.half()(clips.half(), torch.tensor([[1] * 6, [1, 1, 1, 0, 0, 0]]))
        assert outputs.segment_logits.isfinite().all(), attn_implementation
        scores.append(outputs.segment_logits)
    torch.testing.assert_close(*scores, rtol=2e-2, atol=2e-2)
