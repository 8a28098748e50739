"""Tokens that are not read: dropped before the first block, as if they had never been there."""

import pytest
import torch

GRID_TOKENS = 16


@pytest.fixture
def masks():
    """(2, 4, 16) bool: whole frames, frames with a few tokens, one with a single token and one with none."""
    generator = torch.Generator().manual_seed(0)
    mask = torch.rand(2, 4, GRID_TOKENS, generator=generator) < 0.4
    mask[0, 0] = True
    mask[0, 1] = False
    mask[0, 1, 5] = True
    mask[1, 2] = False
    mask[1, 3] = True
    return mask


@pytest.fixture
def pixels():
    return torch.randn(2, 4, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def cells(mask: torch.Tensor, side: int = 8) -> torch.Tensor:
    """(2, 4, 16) -> (2, 4, 1, 32, 32): the pixels of the tokens."""
    grid = mask.unflatten(-1, (4, 4))
    return grid.repeat_interleave(side, -2).repeat_interleave(side, -1).unsqueeze(2)


@pytest.fixture(params=["sdpa", "eager"])
def model(make_model, request):
    model = make_model(image_size=32, num_frames=4, supervised_layers="all").eval()
    model.set_attn_implementation(request.param)
    return model


def test_reading_all_tokens_is_reading_without_a_mask(model, pixels):
    whole = torch.ones(2, 4, GRID_TOKENS, dtype=torch.bool)
    torch.testing.assert_close(model(pixels, token_mask=whole).logits, model(pixels).logits)


def test_what_is_dropped_cannot_be_seen(model, pixels, masks):
    changed = torch.where(cells(masks), pixels, torch.full_like(pixels, 7.0))
    one, two = model(pixels, token_mask=masks), model(changed, token_mask=masks)
    torch.testing.assert_close(one.segment_logits, two.segment_logits)
    torch.testing.assert_close(one.layer_attention, two.layer_attention)
    assert not torch.allclose(model(pixels).logits, model(changed).logits)


def test_what_is_kept_can_be_seen(model, pixels, masks):
    changed = pixels.clone()
    changed[0, 1, :, 8:16, 8:16] += 1.0  # the one token that its frame keeps
    assert not torch.allclose(model(pixels, token_mask=masks).logits, model(changed, token_mask=masks).logits)


def test_kept_tokens_share_the_attention_of_a_masked_softmax(model, pixels, masks):
    """Against the same model with the dropped tokens masked as keys, in the first block, where inputs are the same."""
    attention = model(pixels, token_mask=masks).layer_attention[:, 0]
    assert (attention[~masks] == 0).all()
    full = model(pixels).layer_attention[:, 0]
    cls_share = 1 - full.sum(dim=-1, keepdim=True)
    kept = torch.where(masks, full, 0.0)
    # heads are averaged, so the comparison is exact only for frames that keep all, and for the order of magnitude
    torch.testing.assert_close(attention[masks.all(-1)], full[masks.all(-1)])
    assert ((attention.sum(-1) <= 1) & (attention.sum(-1) >= kept.sum(-1) - 1e-6)).all()
    assert (cls_share < 1).all()


def test_a_batch_is_its_clips_one_by_one(model, pixels, masks):
    together = model(pixels, token_mask=masks)
    for clip in range(2):
        alone = model(pixels[clip : clip + 1], token_mask=masks[clip : clip + 1])
        torch.testing.assert_close(alone.logits[0], together.logits[clip], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(alone.frame_attention[0], together.frame_attention[clip], rtol=1e-4, atol=1e-5)


def test_dropping_is_masking_in_every_block(make_model, pixels, masks):
    """The packed pass against the plain blocks with dropped tokens masked as keys."""
    model = make_model(image_size=32, num_frames=4).eval()
    base = model.tsvit
    hidden = base.spatial_embeddings(pixels.flatten(0, 1))
    keys = torch.nn.functional.pad(masks.flatten(0, 1), (1, 0), value=True)
    for layer in base.spatial_layers:
        hidden, rows, _ = layer(hidden, keys[:, None, None, :].expand(-1, 1, 17, -1), True, False)
    expected = base.spatial_layernorm(hidden[:, 0]).unflatten(0, (2, 4))
    states, attention = base._spatial_stage_in_part(pixels, masks)
    torch.testing.assert_close(states, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(attention[:, -1], rows.unflatten(0, (2, 4)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("patch_embedding", ["linear", "conv_stem"])
def test_gradients_reach_what_is_kept_and_nothing_else(make_model, pixels, masks, patch_embedding):
    model = make_model(image_size=32, num_frames=4, patch_embedding=patch_embedding)
    pixels.requires_grad_(True)
    outputs = model(pixels, token_mask=masks)
    (outputs.logits.sum() + outputs.frame_attention.square().sum()).backward()
    touched = pixels.grad.abs().sum(dim=2, keepdim=True) > 0
    assert touched[cells(masks)].float().mean() > 0.9
    if patch_embedding == "linear":
        assert not touched[~cells(masks)].any()


def test_gradient_checkpointing_changes_nothing(make_model, pixels, masks):
    gradients = []
    for checkpointing in (False, True):
        model = make_model(image_size=32, num_frames=4).train()
        if checkpointing:
            model.gradient_checkpointing_enable()
        outputs = model(pixels, token_mask=masks)
        (outputs.logits.square().sum() + outputs.frame_attention.square().sum()).backward()
        gradients.append(model.tsvit.spatial_layers[0].attention.k_proj.weight.grad)
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (torch.ones(2, 4, 9, dtype=torch.bool), r"here \(2, 4, 16\), got torch.bool \(2, 4, 9\)"),
        (torch.ones(2, 4, 16), "must be boolean"),
    ],
)
def test_a_mask_that_does_not_fit_is_named(model, pixels, mask, message):
    with pytest.raises(ValueError, match=message):
        model(pixels, token_mask=mask)


def test_maps_of_all_tokens_are_not_kept_with_a_mask(model, pixels, masks):
    with pytest.raises(ValueError, match="token_mask"):
        model(pixels, token_mask=masks, output_attentions=True)
