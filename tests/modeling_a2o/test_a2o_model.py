"""The model: what it adds to the frames, and that it is the classifier inside in all else."""

import copy

import pytest
import torch
from transformers import AutoConfig, AutoModelForVideoClassification

from modeling_a2o import A2OConfig, A2OForVideoClassification


def inputs_of(classifier, clips) -> dict[str, torch.Tensor]:
    return {classifier.main_input_name: clips}


def repeated(added: torch.Tensor, times: int) -> torch.Tensor:
    return added.repeat_interleave(times, -1).repeat_interleave(times, -2)


@pytest.mark.parametrize("depth", [0, 4])
def test_a_new_model_answers_as_the_classifier_inside(make_classifier, make_model, clips, maps, model_type, depth):
    classifier = make_classifier(model_type)
    labels = torch.tensor([0, 3])
    plain = classifier(**inputs_of(classifier, clips), labels=labels)
    model = make_model(trained=False, classifier=classifier, adapter_depth=depth, adapter_bias=bool(depth))
    for given in (maps, None):
        outputs = model(clips, given, labels=labels)
        assert torch.equal(outputs.logits, plain.logits)
        assert torch.equal(outputs.loss, plain.loss)
    # the same through a configuration alone, as a run makes it
    torch.manual_seed(0)
    made = AutoModelForVideoClassification.from_config(
        A2OConfig(backbone_config=classifier.config, class_texts=["person", "ball", "net"], adapter_depth=depth)
    )
    made.backbone.load_state_dict(classifier.state_dict())
    assert torch.equal(made.eval()(clips, maps).logits, plain.logits)


def test_what_is_added_is_a_linear_map_of_the_classes(make_classifier, make_model, clips, maps, model_type):
    classifier = make_classifier(model_type)
    model = make_model(classifier=copy.deepcopy(classifier))
    weight = model.adapter.projection.weight[:, :, 0, 0]
    added = torch.einsum("oc,btcij->btoij", weight, maps)
    torch.testing.assert_close(model.added_to_frames(maps), added)
    expected = classifier(**inputs_of(classifier, clips + repeated(added, 4))).logits
    logits = model(clips, maps).logits
    torch.testing.assert_close(logits, expected)
    assert not torch.allclose(logits, model(clips).logits)


def test_maps_of_a_smaller_size_are_maps_with_repeated_places(make_model, clips, maps):
    for depth in (0, 2):
        model = make_model(adapter_depth=depth)
        torch.testing.assert_close(model(clips, repeated(maps, 4)).logits, model(clips, maps).logits)
    wide = torch.rand(2, 6, 3, 4, 16)  # each side divides by itself
    expected = model(clips, wide.repeat_interleave(8, 3).repeat_interleave(2, 4)).logits
    torch.testing.assert_close(model(clips, wide).logits, expected)


def test_the_adapter_knows_no_place_and_no_frame(make_model, maps):
    model = make_model(adapter_depth=2, adapter_bias=True)
    added = model.added_to_frames(maps)
    torch.testing.assert_close(
        model.added_to_frames(maps.roll((2, 3, 1), (3, 4, 1))), added.roll((2, 3, 1), (3, 4, 1))
    )
    assert added.std(dim=(0, 1, 3, 4)).min() > 0


def test_no_maps_are_maps_of_zeros(make_model, clips, maps, model_type):
    model = make_model(model_type, adapter_depth=1)
    assert torch.equal(model(clips).logits, model(clips, torch.zeros_like(maps)).logits)
    biased = make_model(model_type, adapter_depth=1, adapter_bias=True)
    torch.testing.assert_close(biased(clips).logits, biased(clips, torch.zeros_like(maps)).logits)
    assert not torch.allclose(biased(clips).logits, model(clips).logits)


def test_the_order_of_the_classes_is_that_of_the_columns(make_model, clips, maps):
    model = make_model(adapter_depth=1)
    expected = model(clips, maps).logits
    order = [2, 0, 1]
    first = model.adapter.blocks[0]
    with torch.no_grad():
        first.weight.copy_(first.weight[:, order])
    torch.testing.assert_close(model(clips, maps[:, :, order]).logits, expected)
    assert not torch.allclose(model(clips, maps).logits, expected)


@pytest.mark.parametrize("depth", [0, 2])
def test_training_moves_the_adapter_from_zero(make_model, clips, maps, model_type, depth):
    model = make_model(model_type, trained=False, adapter_depth=depth).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before = model(clips, maps).logits.detach()
    for _ in range(2):  # blocks before a last layer of zeros have a gradient from the second step on
        optimizer.zero_grad()
        model(clips, maps, labels=torch.tensor([0, 3])).loss.backward()
        optimizer.step()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in model.adapter.parameters())
    assert model.adapter.projection.weight.any()
    assert not torch.allclose(model(clips, maps).logits, before)
    # without maps every weight still has a gradient, for which distributed training waits
    optimizer.zero_grad()
    model(clips, labels=torch.tensor([0, 3])).loss.backward()
    assert all(parameter.grad is not None for parameter in model.adapter.parameters())


@pytest.mark.parametrize("reentrant", [True, False])
def test_gradient_checkpointing_changes_no_gradient(make_model, clips, maps, model_type, reentrant):
    gradients = []
    for checkpointing in (False, True):
        model = make_model(model_type, adapter_depth=1).train()
        if checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": reentrant})
            assert any(getattr(module, "gradient_checkpointing", False) for module in model.backbone.modules())
        model(clips, maps, labels=torch.tensor([0, 3])).loss.backward()
        gradients.append([parameter.grad for parameter in model.parameters() if parameter.grad is not None])
    assert len(gradients[0]) == len(gradients[1])
    for plain, checkpointed in zip(*gradients, strict=True):
        torch.testing.assert_close(checkpointed, plain)


def test_half_precision(make_classifier, make_model, clips, maps, model_type):
    classifier = make_classifier(model_type).to(torch.bfloat16)
    model = make_model(classifier=classifier)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    pixels = clips if model_type in ("tsvit", "vjepa2") else clips.bfloat16()  # the others do not convert pixels
    outputs = model(pixels, maps)
    assert outputs.logits.dtype == torch.bfloat16 and outputs.logits.isfinite().all()
    full = make_model(model_type)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = full(clips, maps).logits
    torch.testing.assert_close(mixed.float(), full(clips, maps).logits, rtol=0.1, atol=0.1)


@pytest.mark.parametrize("model_type", ["tsvit", "vjepa2", "videomae"], indirect=True)
def test_attention_kernels_are_those_of_the_classifier_inside(make_classifier, make_model, clips, maps, model_type):
    by_kernel = {}
    for kernel in ("sdpa", "eager"):
        model = make_model(classifier=make_classifier(model_type, attn_implementation=kernel))
        assert model.backbone.config._attn_implementation == kernel
        by_kernel[kernel] = model(clips, maps).logits
    torch.testing.assert_close(by_kernel["eager"], by_kernel["sdpa"], rtol=1e-4, atol=1e-5)
    attentions = model(clips, maps, output_attentions=True, output_hidden_states=True)
    assert len(attentions.attentions) >= 2 and len(attentions.hidden_states) >= 3
    model.set_attn_implementation("sdpa")
    assert model.backbone.config._attn_implementation == "sdpa"


@pytest.mark.parametrize("model_type", ["tsvit", "vjepa2"], indirect=True)
def test_it_compiles_without_a_break_where_the_classifier_inside_does(make_model, clips, maps, model_type):
    torch._dynamo.reset()
    model = make_model(model_type, adapter_depth=1)
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    with torch.no_grad():
        for given in (maps, None):
            torch.testing.assert_close(compiled(clips, given).logits, model(clips, given).logits)


def test_what_tsvit_gives_besides_comes_through(make_model, clips, maps):
    model = make_model("tsvit")
    whole = model(clips, maps)
    assert whole.frame_attention.shape == (2, 6, 16) and whole.segment_logits.shape == (2, 3, 4)
    assert model.token_grid(32, 32) == (4, 4)
    mask = torch.tensor([[1] * 6, [1] * 4 + [0] * 2])
    padded, padded_maps = clips.clone(), maps.clone()
    padded[1, 4:] = padded_maps[1, 4:] = float("nan")  # what padded frames hold is never read, of maps neither
    outputs = model(padded, padded_maps, frame_mask=mask)
    torch.testing.assert_close(outputs.logits[1:], model(clips[1:, :4], maps[1:, :4]).logits)
    assert not hasattr(make_model("vjepa2"), "token_grid")  # it has to be made a supervised view first


def test_undefined_maps_are_not_hidden(make_model, clips, maps, model_type):
    """Also by an adapter that starts from zero, and in no other clip."""
    model = make_model(model_type, trained=False)
    broken = maps.clone()
    broken[0, 0, 0, 0, 0] = float("nan")
    logits = model(clips, broken).logits
    assert logits[0].isnan().all()
    assert torch.equal(logits[1], model(clips, maps).logits[1])


def test_pixels_have_the_name_of_v_jepa_2_too(make_model, clips, maps, model_type):
    model = make_model(model_type)
    assert torch.equal(model(pixel_values_videos=clips, object_maps=maps).logits, model(clips, maps).logits)


def test_maps_may_be_channels_of_their_own(make_classifier, make_model, clips, maps, model_type, tmp_path):
    """Nothing is squeezed into three channels then; inputs that start from zero leave the logits as they were."""
    plain = make_classifier(model_type)
    expected = plain(**inputs_of(plain, clips)).logits
    model = make_model(trained=False, classifier=plain, fusion="channels")
    torch.testing.assert_close(model(clips, maps).logits, expected)
    model.train()(clips, maps, labels=torch.tensor([0, 3])).loss.backward()
    first = next(module for module in model.modules() if getattr(module, "in_channels", None) == 6)
    assert first.weight.grad[:, 3:].any()
    torch.manual_seed(1)
    with torch.no_grad():
        first.weight[:, 3:].normal_()
    logits = model.eval()(clips, maps).logits
    assert not torch.allclose(logits, expected)
    torch.testing.assert_close(model(clips, repeated(maps, 4)).logits, logits)
    assert torch.equal(model(clips).logits, model(clips, torch.zeros_like(maps)).logits)
    model.save_pretrained(tmp_path)
    read = AutoModelForVideoClassification.from_pretrained(tmp_path)
    assert torch.equal(read(clips, maps).logits, logits)
    with pytest.raises(ValueError, match="adds nothing to the frames"):
        model.added_to_frames(maps)
    # made by a configuration alone, the new inputs start from zero too
    config = A2OConfig(backbone_config=make_classifier(model_type).config, class_texts=["ball"], fusion="channels")
    made = AutoModelForVideoClassification.from_config(config).eval()
    assert torch.equal(made(clips, maps[:, :, :1]).logits, made(clips).logits)


@pytest.mark.parametrize(
    ("shape", "named"),
    [
        ((2, 6, 2, 8, 8), r"3 classes \(person, ball, tennis racket\), got \(2, 6, 2, 8, 8\)"),
        ((2, 6, 8, 8), r"3 classes \(person, ball, tennis racket\), got \(2, 6, 8, 8\)"),
        ((2, 5, 3, 8, 8), "2 clips of 5 frames, pixel_values of 2 clips of 6"),
        ((1, 6, 3, 8, 8), "1 clips of 6 frames"),
        ((2, 6, 3, 64, 64), "64x64 places do not divide frames of 32x32"),
        ((2, 6, 3, 8, 7), "8x7 places"),
        ((2, 6, 3, 0, 8), "0x8 places"),
    ],
)
def test_maps_that_do_not_fit_are_named(make_model, clips, shape, named):
    with pytest.raises(ValueError, match=named):
        make_model()(clips, torch.zeros(shape))


def test_other_wrong_inputs_are_named(make_model, make_classifier, clips, maps):
    model = make_model()
    with pytest.raises(ValueError, match=r"likelihoods in \[0, 1\], got torch.uint8"):
        model(clips, maps.byte())
    with pytest.raises(ValueError, match=r"3 channels, got \(2, 6, 1, 32, 32\)"):
        model(clips[:, :, :1], maps)
    with pytest.raises(TypeError, match="around TSViTForVideoClassification needs pixel_values"):
        model(object_maps=maps)
    with pytest.raises(TypeError, match="around VJEPA2ForVideoClassification does not take frame_mask, masks"):
        make_model("vjepa2")(clips, maps, frame_mask=torch.ones(2, 6), masks=None)
    with pytest.raises(ValueError, match="class_texts is empty"):
        make_model(class_texts=[])
    with pytest.raises(TypeError, match="revision: a model that is loaded already"):
        make_model(revision="main")
    with pytest.raises(ValueError, match="A2O model itself"):
        A2OForVideoClassification.from_backbone(model, ["ball"])


def test_the_papers_size_without_its_weights():
    """V-JEPA 2 ViT-L as it is published for Something-Something v2, on a device that holds shapes and no numbers."""
    inside = AutoConfig.for_model("vjepa2", frames_per_clip=16, crop_size=256, num_labels=174)
    with torch.device("meta"):
        classifier = AutoModelForVideoClassification.from_config(inside)
        model = A2OForVideoClassification.from_backbone(classifier, [f"object {n}" for n in range(8)], adapter_depth=4)
        clips, maps = torch.empty(2, 16, 3, 256, 256), torch.empty(2, 16, 8, 64, 64)
        assert model(clips, maps).logits.shape == (2, 174)
    own = sum(parameter.numel() for parameter in model.adapter.parameters())
    assert own == 8 * 32 + 3 * 32 * 32 + 32 * 3  # of 375 million
    assert 370e6 < model.num_parameters() < 380e6
    names = {name.removeprefix("backbone.") for name in model.state_dict() if not name.startswith("adapter.")}
    assert names == set(classifier.state_dict())  # so that the published weights find their places


def test_a_copy_is_a_model_of_its_own(make_model, clips, maps):
    model = make_model()
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.adapter.projection.weight.zero_()
    assert other.config.backbone_config is other.backbone.config is not model.backbone.config
    assert not torch.allclose(other(clips, maps).logits, model(clips, maps).logits)
