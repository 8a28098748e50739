"""What transformers asks of every model, on the three models: its own suite is run by `make transformers-suite`."""

import pytest
import torch

from modeling_tsvit import TSViTForActionSegmentation, TSViTForVideoClassification, TSViTModel


@pytest.fixture(params=[TSViTModel, TSViTForVideoClassification, TSViTForActionSegmentation])
def model(make_model, request):
    config = make_model(supervised_layers="all").config
    torch.manual_seed(0)
    return request.param(config).eval()


def test_every_weight_is_initialised(model):
    """`from_pretrained` starts weights that a checkpoint lacks by `_init_weights` alone, from what memory holds."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(float("nan"))
            parameter._is_hf_initialized = False
    for module in model.modules():
        model._init_weights(module)
    assert [name for name, parameter in model.named_parameters() if not parameter.isfinite().all()] == []
    empty = type(model).from_pretrained(None, config=model.config, state_dict={})
    assert not any(parameter.is_meta for parameter in (*empty.parameters(), *empty.buffers()))
    assert set(empty.state_dict()) == set(model.state_dict())


def test_a_batch_gives_what_its_clips_give(model, clips):
    frame_mask = torch.tensor([[1] * 6, [1, 1, 1, 1, 0, 0]])
    options = {"output_attentions": True, "output_hidden_states": True}
    together = model(clips, frame_mask, **options)
    for clip in range(2):
        alone = model(clips[clip : clip + 1], frame_mask[clip : clip + 1], **options)
        for name, value in alone.items():
            parts = zip(value, together[name], strict=True) if isinstance(value, tuple) else [(value, together[name])]
            for one, all_of_them in parts:
                torch.testing.assert_close(one[0], all_of_them[clip], rtol=1e-4, atol=1e-5, msg=name)


def test_a_tuple_holds_what_the_output_holds(model, clips):
    options = {"output_attentions": True, "output_hidden_states": True}
    named, plain = model(clips, **options), model(clips, return_dict=False, **options)
    assert len(named) == len(plain)
    for value, expected in zip(plain, named.values(), strict=True):
        torch.testing.assert_close(value, expected)


def test_maps_and_states_are_asked_for_by_the_configuration_too(model, clips):
    asked = model(clips, output_attentions=True, output_hidden_states=True)
    model.set_attn_implementation("eager")  # transformers takes the setting under eager attention alone
    model.config.output_attentions = model.config.output_hidden_states = True
    by_configuration = model(clips)
    for name, count in (("attentions", 3 + 2), ("hidden_states", 4 + 3)):
        assert len(asked[name]) == len(by_configuration[name]) == count
        for one, two in zip(asked[name], by_configuration[name], strict=True):
            torch.testing.assert_close(one, two)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("with_maps", [False, True])
def test_implementations_agree_and_can_be_changed(model, clips, dtype, with_maps):
    """In the tolerances that transformers has for its own models."""
    model = model.to(dtype)
    frame_mask = torch.tensor([[1] * 6, [1, 1, 1, 0, 0, 0]])
    outputs = []
    for attn_implementation in ("sdpa", "eager"):
        model.set_attn_implementation(attn_implementation)
        with torch.no_grad():
            outputs.append(model(clips.to(dtype), frame_mask, output_attentions=with_maps))
    tolerance = {torch.float32: 1e-5, torch.float16: 5e-3, torch.bfloat16: 3e-2}[dtype]
    torch.testing.assert_close(outputs[0][0][0], outputs[1][0][0], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("use_reentrant", [False, True])
def test_adapters_train_under_checkpointing(model, clips, use_reentrant):
    """With all else frozen, as under PEFT, checkpointed blocks need an input that wants a gradient."""
    model.train().requires_grad_(False)
    adapted = model.base_model.spatial_layers[0].mlp.fc1.weight.requires_grad_(True)
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": use_reentrant})
    model.enable_input_require_grads()
    model(clips)[0].square().sum().backward()
    assert adapted.grad.abs().sum() > 0


def test_a_saved_model_reads_back_twice(model, clips, tmp_path):
    first = model(clips)[0]
    for turn in ("once", "twice"):
        model.save_pretrained(tmp_path / turn)
        model, report = type(model).from_pretrained(tmp_path / turn, output_loading_info=True)
        assert not report["missing_keys"]
        assert not report["unexpected_keys"]
        torch.testing.assert_close(model.eval()(clips)[0], first)


def test_a_head_of_another_size_is_new_and_the_rest_is_kept(make_model, clips, tmp_path):
    make_model().save_pretrained(tmp_path)
    options = {"num_labels": 9, "ignore_mismatched_sizes": True, "output_loading_info": True}
    model, report = TSViTForVideoClassification.from_pretrained(tmp_path, **options)
    assert {name for name, *_ in report["mismatched_keys"]} == {
        "classifier.out_proj.weight",
        "classifier.out_proj.bias",
    }
    assert model.eval()(clips).logits.shape == (2, 9)
    with pytest.raises(RuntimeError, match="ignore_mismatched_sizes"):
        TSViTForVideoClassification.from_pretrained(tmp_path, num_labels=9)
