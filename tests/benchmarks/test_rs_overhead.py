"""The cost of supervision: the variants compute what they are said to, and the report's arithmetic."""

import pytest
import rs_overhead
import torch
from video_models import BUILDERS, ModelArguments

SIZE = ModelArguments(
    image_size=16,
    patch_size=8,
    num_frames=4,
    hidden_size=16,
    num_layers=3,
    num_attention_heads=2,
    intermediate_size=32,
)
ARGUMENTS = rs_overhead.OverheadArguments(batch_size=2)


def loss(name, kind):
    variant = rs_overhead.build_variant(name, kind, ARGUMENTS, SIZE, torch.device("cpu"))
    batch_loss = variant.loss()
    batch_loss.backward()
    return batch_loss.item(), variant.model


def test_eager_supervision_of_tsvit_has_the_same_loss_and_gradients():
    """Both ways are the same training: what is measured is the cost alone."""
    (ours, model), (theirs, peer) = loss("tsvit", "supervised"), loss("tsvit", "eager")
    assert ours == pytest.approx(theirs, rel=1e-5)
    for (name, parameter), other in zip(model.named_parameters(), peer.parameters(), strict=True):
        assert torch.allclose(parameter.grad, other.grad, atol=1e-6), name


@pytest.mark.parametrize("name", ["vivit", "timesformer"])
def test_eager_supervision_lacks_the_temporal_loss_and_nothing_else(name):
    variant = rs_overhead.build_variant(name, "supervised", ARGUMENTS, SIZE, torch.device("cpu"))
    outputs = variant.model(pixel_values=variant.batch["pixel_values"], frame_mask=variant.batch["frame_mask"])
    temporal = 0.1 * rs_overhead.temporal_consistency_loss(outputs.segment_logits)
    assert temporal > 0
    assert variant.loss().item() - temporal.item() == pytest.approx(loss(name, "eager")[0], rel=1e-5)


@pytest.mark.parametrize("name", list(BUILDERS))
def test_plain_training_and_weights_of_zero_have_the_same_loss(name):
    assert loss(name, "plain")[0] == pytest.approx(loss(name, "weights_0")[0], rel=1e-6)


def test_the_plain_tsvit_computes_no_row():
    variant = rs_overhead.build_variant("tsvit", "plain", ARGUMENTS, SIZE, torch.device("cpu"))
    outputs = variant.model(pixel_values=variant.batch["pixel_values"])
    assert outputs.frame_attention.abs().max() == 0 and not outputs.frame_attention.requires_grad


def test_a_step_changes_the_weights_and_leaves_no_gradient():
    variant = rs_overhead.build_variant("vivit", "supervised", ARGUMENTS, SIZE, torch.device("cpu"))
    before = variant.model.classifier.weight.detach().clone()
    variant.step()
    assert not torch.equal(before, variant.model.classifier.weight)
    assert all(parameter.grad is None for parameter in variant.model.parameters())


def test_the_report(run_benchmark, tiny_flags):
    code, report, printed = run_benchmark(
        "rs_overhead", *tiny_flags, "--repeats", "6", "--backbones", "tsvit", "vivit"
    )
    assert code == 0 and set(report["backbones"]) == {"tsvit", "vivit"}
    for measured in report["backbones"].values():
        assert set(measured["variants"]) == {"plain", "weights_0", "supervised", "eager"}
        for pair, ratio in measured["ratios"].items():
            kind, peer = (measured["variants"][name] for name in pair.split("/"))
            assert ratio["memory"] == pytest.approx(kind["peak_bytes"] / peer["peak_bytes"])
            assert ratio["memory"] == pytest.approx(1, abs=0.5)
            assert ratio["time"]["low"] <= ratio["time"]["median"] <= ratio["time"]["high"]
            assert ratio["time"]["repeats"] == 6
        # weights and two moments of AdamW at least
        assert measured["variants"]["plain"]["peak_bytes"] > 3 * 4 * measured["parameters"]
    assert report["machine"]["device"] == "cpu" and report["settings"]["image_size"] == 16
    assert "| vivit |" in printed and "processor time" in printed


def test_a_backbone_that_there_is_not_is_named(run_benchmark, tiny_flags):
    code, report, printed = run_benchmark("rs_overhead", *tiny_flags, "--backbones", "resnet")
    assert code == 1 and report is None and "no model 'resnet'" in printed


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--num_frames", "3"), "num_frames is 3"),
        (("--patch_size", "7"), "patch_size 7 does not divide"),
        (("--num_layers", "1"), "num_layers is 1"),
    ],
)
def test_sizes_that_no_model_has_are_named(run_benchmark, tiny_flags, flags, message):
    code, report, printed = run_benchmark("rs_overhead", *tiny_flags, *flags)
    assert code == 1 and report is None and message in printed
