"""Hidden states and attentions lie on the way to the output: Grad-CAM and gradient-weighted rollout work on them."""

import pytest
import torch

from modeling_tsvit import TSViTForActionSegmentation, TSViTForVideoClassification, TSViTModel
from modeling_tsvit.modeling_tsvit import attended_values, attention_probabilities


@pytest.fixture(params=["eager", "sdpa"])
def implementation(request) -> str:
    return request.param


def outputs_with_gradients(model, clips, **inputs):
    """Outputs of a model after the backward pass of its first score, with the gradients of everything they hold."""
    outputs = model(clips, output_attentions=True, output_hidden_states=True, **inputs)
    for kept in (*outputs.hidden_states, *outputs.attentions):
        kept.retain_grad()
    outputs[0].flatten()[0].backward()
    return outputs


@pytest.mark.parametrize("kind", ["base", "classifier", "segmenter"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_everything_that_is_returned_has_a_gradient(make_model, clips, implementation, kind, checkpointing):
    model = make_model(implementation, hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1).train()
    if kind == "base":
        model = model.tsvit
    elif kind == "segmenter":
        model = TSViTForActionSegmentation(model.config).train()
    if checkpointing:  # the reentrant kind runs blocks again outside of the graph, where nothing can be retained
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    frame_mask = torch.tensor([[1] * 6, [1, 1, 1, 0, 0, 0]])
    outputs = outputs_with_gradients(model, clips, frame_mask=frame_mask)
    assert len(outputs.hidden_states) == 4 + 3
    assert len(outputs.attentions) == 3 + 2
    for kept in (*outputs.hidden_states, *outputs.attentions):
        assert kept.grad.shape == kept.shape
        assert kept.grad[0].abs().max() > 0  # the first score is that of the first clip


def perturbed_score(model, clips, place: tuple, step: float, layer_module, index: int) -> float:
    """Score of the first clip with one attention probability of a layer moved by `step`.

    Args:
        model: A classifier in evaluation mode.
        clips: (batch, frames, channels, height, width).
        place: Row of the batch, head, query and key of the probability.
        step: What is added to it.
        layer_module: The attention layer.
        index: Class whose score is taken.
    """

    def shifted(query, key, value, attention_mask, attentions):
        probabilities = attention_probabilities(query, key, layer_module.scaling, attention_mask).clone()
        probabilities[place] += step
        return attended_values(probabilities.to(value.dtype), value, 0.0, False)[0]

    layer_module._context = shifted
    try:
        return model(clips).logits[0, index].item()
    finally:
        del layer_module._context


def test_gradients_are_those_of_finite_differences(make_model, clips, implementation):
    """Weights in float64, and a step that the float32 of the probabilities still resolves."""
    model = make_model(implementation).double()
    clips = clips.double()
    outputs = outputs_with_gradients(model, clips)
    step = 1e-2
    spatial, temporal = model.tsvit.spatial_layers[1].attention, model.tsvit.temporal_layers[0].attention
    cases = [
        # frame 2 of the first clip is row 2 of stage 1's batch of frames
        (spatial, (2, 1, 0, 7), outputs.attentions[1].grad[0, 2, 1, 0, 7]),
        (temporal, (0, 3, 4, 1), outputs.attentions[3].grad[0, 3, 4, 1]),
    ]
    for layer_module, place, gradient in cases:
        above, below = (perturbed_score(model, clips, place, sign * step, layer_module, 0) for sign in (1, -1))
        assert gradient.item() != 0
        assert (above - below) / (2 * step) == pytest.approx(gradient.item(), rel=5e-3)

    # A hidden state of stage 1: the input of block 1, at one token and channel.
    place, gradient = (0, 2, 5, 3), outputs.hidden_states[1].grad[0, 2, 5, 3]

    def shift(sign):
        def hook(module, args):
            hidden_states = args[0].clone()
            hidden_states[place] += sign * step
            return (hidden_states, *args[1:])

        return hook

    scores = []
    for sign in (1, -1):
        handle = model.tsvit.spatial_layers[1].register_forward_pre_hook(shift(sign))
        scores.append(model(clips).logits[0, 0].item())
        handle.remove()
    assert (scores[0] - scores[1]) / (2 * step) == pytest.approx(gradient.item(), rel=5e-3)


def test_grad_cam_and_rollout_find_what_a_score_hangs_on(make_model, clips, implementation):
    """A model whose score hangs on one cell alone: Grad-CAM of the first hidden state, and rollout, lead there."""
    cell = 6
    model = make_model(implementation, num_spatial_layers=1, supervised_layers=0)
    layer = model.tsvit.spatial_layers[0].attention
    with torch.no_grad():  # CLS looks for the cell's position and nowhere else
        positions = model.tsvit.spatial_embeddings.position_embeddings
        positions.zero_()
        positions[0, 1 + cell, 0] = 8.0
        model.tsvit.spatial_embeddings.cls_token.fill_(0.3)
        for projection in (layer.q_proj, layer.k_proj):
            projection.weight.zero_()
        layer.q_proj.bias.fill_(4.0)
        layer.k_proj.weight[:, 0] = 4.0
    outputs = outputs_with_gradients(model, clips)
    frame = 0
    states, gradient = outputs.hidden_states[0][0, frame], outputs.hidden_states[0].grad[0, frame]
    cam = (states * gradient).sum(dim=-1)[1:].abs()
    assert cam.argmax() == cell
    attention, slope = outputs.attentions[0][0, frame], outputs.attentions[0].grad[0, frame]
    rollout = (attention * slope).abs().mean(dim=0)[0, 1:]  # (heads, queries, keys) -> what CLS takes from each cell
    assert rollout.argmax() == cell


@pytest.mark.parametrize("training", [False, True])
def test_asking_for_maps_changes_no_score(make_model, clips, implementation, training):
    model = make_model(implementation, supervised_layers="all").train(training)
    frame_mask = torch.tensor([[1] * 6, [1, 1, 1, 1, 0, 0]])
    plain = model(clips, frame_mask)
    with_maps = model(clips, frame_mask, output_attentions=True, output_hidden_states=True)
    torch.testing.assert_close(with_maps.logits, plain.logits)
    torch.testing.assert_close(with_maps.layer_attention, plain.layer_attention)


def test_a_kernel_of_ones_own_runs_where_maps_are_asked_for_too(make_model, clips):
    """What a user registers may be no softmax at all, so the maps must not take its place."""
    from transformers import AttentionInterface

    calls = []

    def of_ones_own(module, query, key, value, attention_mask, **kwargs):
        calls.append(module)
        return value.mean(dim=2, keepdim=True).expand_as(value).transpose(1, 2).contiguous(), None

    AttentionInterface.register("mean_of_values", of_ones_own)
    model = make_model()
    model.set_attn_implementation("mean_of_values")
    plain, with_maps = model(clips), model(clips, output_attentions=True)
    assert len(calls) == 2 * 5
    torch.testing.assert_close(with_maps.logits, plain.logits, rtol=0, atol=0)


def test_input_embeddings_can_be_set(make_model, clips):
    for kind in (TSViTModel, TSViTForVideoClassification, TSViTForActionSegmentation):
        model = kind(make_model().config).eval()
        other = make_model(patch_embedding="conv_stem").get_input_embeddings()
        model.set_input_embeddings(other)
        assert model.get_input_embeddings() is other
        assert model.base_model.spatial_embeddings.patch_embedding is other
        assert model(clips)[0].isfinite().all()
