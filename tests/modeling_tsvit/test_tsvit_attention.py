"""The CLS row: equal to full attention, before dropout, and with gradient wherever training puts the layer."""

import copy

import pytest
import torch

from modeling_tsvit import TSViTModel


def full_rows(outputs, layer: int) -> torch.Tensor:
    """CLS row of a layer's full attention, (batch, frames, tokens), mean over heads, without the CLS column."""
    return outputs.attentions[layer][:, :, :, 0, 1:].mean(dim=2)


@pytest.mark.parametrize("attn_implementation", ["sdpa", "eager"])
@pytest.mark.parametrize("training", [False, True])
def test_cls_row_equals_the_full_attention(make_model, clips, attn_implementation, training):
    model = make_model(attn_implementation, supervised_layers="all", attention_probs_dropout_prob=0.5).train(training)
    outputs = model(clips, output_attentions=True)
    assert outputs.layer_attention.shape == (2, 3, 6, 16)
    for layer in range(3):
        torch.testing.assert_close(outputs.layer_attention[:, layer], full_rows(outputs, layer))
    torch.testing.assert_close(outputs.frame_attention, outputs.layer_attention[:, -1], rtol=0, atol=0)


@pytest.mark.parametrize("layers", [0, (1,), (-1, 0), "all"])
def test_cls_row_is_what_the_eager_interface_uses(make_model, clips, layers, monkeypatch):
    """The probabilities that eager attention multiplies the values with are recorded on their way."""
    import modeling_tsvit.modeling_tsvit as layers_module

    recorded = []
    plain = layers_module.eager_attention_forward

    def recording(*args, **kwargs):
        output, weights = plain(*args, **kwargs)
        recorded.append(weights)
        return output, weights

    monkeypatch.setattr(layers_module, "eager_attention_forward", recording)
    model = make_model("eager", supervised_layers=layers)
    outputs = model(clips)
    indices = model.config.supervised_layer_indices
    rows = torch.stack([recorded[index].unflatten(0, (2, 6))[:, :, :, 0, 1:].mean(dim=2) for index in indices], dim=1)
    torch.testing.assert_close(outputs.frame_attention, rows[:, -1])
    if len(indices) > 1:
        torch.testing.assert_close(outputs.layer_attention, rows)
    else:
        assert outputs.layer_attention is None


def test_cls_row_does_not_depend_on_the_implementation(make_model, clips):
    sdpa, eager = make_model("sdpa")(clips), make_model("eager")(clips)
    torch.testing.assert_close(sdpa.frame_attention, eager.frame_attention)
    torch.testing.assert_close(sdpa.logits, eager.logits)


def test_cls_row_leaves_out_the_cls_column_and_is_not_renormalised(make_model, clips):
    outputs = make_model()(clips, output_attentions=True)
    on_itself = outputs.attentions[2][:, :, :, 0, 0].mean(dim=2)
    torch.testing.assert_close(outputs.frame_attention.sum(dim=-1), 1 - on_itself)
    assert (on_itself > 0).all()


def attention_gradients(model, clips, **autocast) -> dict[str, torch.Tensor]:
    """Gradients of a loss on the maps alone, by parameter name."""
    model = copy.deepcopy(model).train()
    target = torch.linspace(0, 1, 16)
    with torch.autocast("cpu", **(autocast or {"enabled": False})):
        outputs = model(clips)
        assert outputs.frame_attention.dtype == torch.float32
        maps = outputs.frame_attention if outputs.layer_attention is None else outputs.layer_attention
        loss = (maps * target).sum()
    loss.backward()
    return {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}


@pytest.mark.parametrize("layers", [(-1,), "all"])
@pytest.mark.parametrize("use_reentrant", [False, True])
@pytest.mark.parametrize("output_attentions", [False, True])
def test_gradient_through_the_map_survives_checkpointing(make_model, clips, layers, use_reentrant, output_attentions):
    model = make_model(supervised_layers=layers, drop_path_rate=0.2)
    model.config._output_attentions = output_attentions
    torch.manual_seed(3)
    plain = attention_gradients(model, clips)
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": use_reentrant})
    assert all(layer.gradient_checkpointing for layer in model.tsvit.spatial_layers)
    torch.manual_seed(3)
    checkpointed = attention_gradients(model, clips)
    query = f"tsvit.spatial_layers.{model.config.num_spatial_layers - 1}.attention.q_proj.weight"
    assert plain[query].abs().max() > 0
    for name, gradient in plain.items():
        torch.testing.assert_close(checkpointed[name], gradient, msg=name)


@pytest.mark.parametrize("use_reentrant", [None, False, True])
def test_gradient_through_the_map_under_bfloat16_autocast(make_model, clips, use_reentrant):
    model = make_model(supervised_layers="all")
    plain = attention_gradients(model, clips)
    if use_reentrant is not None:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": use_reentrant})
    mixed = attention_gradients(model, clips, dtype=torch.bfloat16)
    for name in ("q_proj.weight", "k_proj.weight"):
        for layer in range(3):
            full_name = f"tsvit.spatial_layers.{layer}.attention.{name}"
            assert torch.isfinite(mixed[full_name]).all()
            similarity = torch.cosine_similarity(mixed[full_name].flatten(), plain[full_name].flatten(), dim=0)
            assert similarity > 0.98, full_name


def test_map_is_a_float32_softmax_under_autocast(make_model, clips):
    """Sums of bfloat16 probabilities miss 1 by about 1e-3; these do not."""
    model = make_model()
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = model(clips, output_attentions=True)
    assert outputs.frame_attention.dtype == torch.float32
    totals = outputs.attentions[2].sum(dim=-1)
    torch.testing.assert_close(totals, torch.ones_like(totals), rtol=0, atol=1e-6)


def test_attentions_on_request_have_both_stages(make_model, clips):
    model = make_model()
    mask = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0]])
    outputs = model(clips, mask, output_attentions=True, output_hidden_states=True)
    assert [tuple(a.shape) for a in outputs.attentions] == [(2, 6, 4, 17, 17)] * 3 + [(2, 4, 6, 6)] * 2
    assert [tuple(h.shape) for h in outputs.hidden_states] == [(2, 6, 17, 16)] * 4 + [(2, 6, 16)] * 3
    for attention in outputs.attentions:
        torch.testing.assert_close(attention.sum(dim=-1), torch.ones(attention.shape[:-1]))
    temporal = outputs.attentions[-1]
    assert (temporal[1, :, :, 3:] == 0).all()
    assert (temporal[0] > 0).all()


def test_final_norms_follow_the_last_hidden_states(make_model, clips):
    model = make_model().tsvit
    outputs = model(clips, output_hidden_states=True)
    last = model.temporal_layernorm(outputs.hidden_states[-1])
    torch.testing.assert_close(outputs.last_hidden_state, last)
    frames = model.spatial_layernorm(outputs.hidden_states[3][:, :, 0])
    lengths = torch.full((2,), 6)
    torch.testing.assert_close(outputs.hidden_states[4], model.temporal_embeddings(frames, lengths))


def test_maps_only_on_request(make_model, clips):
    outputs = make_model()(clips)
    assert outputs.attentions is None
    assert outputs.hidden_states is None


def test_base_model_gives_the_same_map(make_model, clips):
    model = make_model()
    assert isinstance(model.base_model, TSViTModel)
    torch.testing.assert_close(model.base_model(clips).frame_attention, model(clips).frame_attention)
