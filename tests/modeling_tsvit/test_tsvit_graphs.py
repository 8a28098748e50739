"""Compiled and exported graphs give the logits of eager mode."""

import pytest
import torch

NAMES = ("logits", "segment_logits", "frame_attention")
SHALLOW = {"num_spatial_layers": 2, "num_temporal_layers": 1}  # tracing takes its time per layer


@pytest.mark.parametrize("patch_embedding", ["linear", "conv_stem"])
def test_compiled_model_gives_the_same(make_model, clips, patch_embedding):
    torch._dynamo.reset()
    model = make_model(patch_embedding=patch_embedding, **SHALLOW)
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    mask = torch.tensor([[1] * 6, [1] * 4 + [0] * 2])
    with torch.no_grad():
        for inputs in ({}, {"frame_mask": mask}):
            expected, outputs = model(clips, **inputs), compiled(clips, **inputs)
            for name in NAMES:
                torch.testing.assert_close(outputs[name], expected[name], msg=name)


def test_compiled_model_trains_the_same(make_model, clips):
    torch._dynamo.reset()
    labels = torch.tensor([0, 4])
    gradients = []
    for compiled in (False, True):
        model = make_model(supervised_layers="all", **SHALLOW).train()
        forward = torch.compile(model, backend="aot_eager", fullgraph=True) if compiled else model
        outputs = forward(clips, labels=labels)
        (outputs.loss + outputs.layer_attention.square().sum()).backward()
        gradients.append({name: parameter.grad for name, parameter in model.named_parameters()})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, msg=name)


def test_compiled_model_under_autocast_keeps_the_map_in_float32(make_model, clips):
    torch._dynamo.reset()
    model = make_model(**SHALLOW)
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        expected, outputs = model(clips), compiled(clips)
    assert outputs.frame_attention.dtype == torch.float32
    torch.testing.assert_close(outputs.frame_attention, expected.frame_attention, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("attn_implementation", ["sdpa", "eager"])
@pytest.mark.parametrize("with_mask", [False, True])
def test_exported_model_gives_the_same_for_any_batch(make_model, clips, attn_implementation, with_mask):
    model = make_model(attn_implementation, supervised_layers="all", **SHALLOW)
    batch = torch.export.Dim("batch", min=1, max=64)
    mask = torch.tensor([[1] * 6, [1] * 4 + [0] * 2])
    kwargs = {"frame_mask": mask} if with_mask else {}
    shapes = {"pixel_values": {0: batch}, **({"frame_mask": {0: batch}} if with_mask else {})}
    program = torch.export.export(model, (clips,), kwargs, dynamic_shapes=shapes)
    exported = program.module()
    with torch.no_grad():
        for batch_size in (1, 2, 5):
            frames = torch.randn(batch_size, 6, 3, 32, 32)
            inputs = {"frame_mask": mask[:1].expand(batch_size, -1)} if with_mask else {}
            expected, outputs = model(frames, **inputs), exported(frames, **inputs)
            for name in (*NAMES, "layer_attention"):
                torch.testing.assert_close(outputs[name], expected[name], msg=name)


def test_exported_program_survives_saving(make_model, clips, tmp_path):
    model = make_model(**SHALLOW)
    path = tmp_path / "tsvit.pt2"
    torch.export.save(torch.export.export(model, (clips,)), path)
    outputs = torch.export.load(path).module()(clips)
    torch.testing.assert_close(outputs["logits"], model(clips).logits)
