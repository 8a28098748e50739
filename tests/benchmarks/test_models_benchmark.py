"""TSViT and its peers: sizes, arithmetic, shares of a chip's peak, training by the clock, and the report."""

import models
import peak_flops
import pytest
import timed_training
import torch
from video_models import BUILDERS, ModelArguments, build_model, used_parameters

SIZE = ModelArguments(
    image_size=32,
    patch_size=8,
    num_frames=4,
    hidden_size=32,
    num_layers=5,
    num_attention_heads=2,
    intermediate_size=64,
)


@pytest.mark.parametrize("name", list(BUILDERS))
def test_models_have_the_asked_for_size_and_the_same_weights_for_a_seed(name):
    model = build_model(name, SIZE, 7)
    assert model.config.hidden_size == 32 and model.config.num_labels == 7
    assert model.config.num_hidden_layers == 5
    again = build_model(name, SIZE, 7)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
    clip = torch.zeros(1, 4, 3, 32, 32)
    assert model(**{model.main_input_name: clip}).logits.shape == (1, 7)
    grown = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert len(used_parameters(model)) == len([name for name in grown if ".predictor." not in name])


def test_arithmetic_of_tsvit_is_that_of_its_layers():
    counted = models.count_flops("tsvit", SIZE)
    frames, patches, width, wide = 4, 16, 32, 64

    def layer(tokens):
        return 2 * tokens * (4 * width * width + 2 * width * wide) + 4 * tokens * tokens * width

    embedding = 2 * frames * patches * width * 3 * 8 * 8
    expected = embedding + 3 * frames * layer(1 + patches) + 2 * layer(frames)
    # not counted here: the head, the probe's row and the positions over time
    assert expected < counted["inference"] < 1.05 * expected
    assert 2.8 * counted["inference"] < counted["training"] < 3 * counted["inference"]


@pytest.mark.parametrize(
    ("device", "bf16"),
    [
        ("NVIDIA H100 80GB HBM3", 989.4),
        ("NVIDIA H100 PCIe", 756.5),
        ("NVIDIA H200", 989.4),
        ("NVIDIA A100-SXM4-80GB", 311.9),
        ("NVIDIA L4", 121.0),
        ("NVIDIA L40S", 362.0),
        ("NVIDIA A10G", 70.0),
        ("NVIDIA GeForce RTX 4090", 165.2),
    ],
)
def test_peaks_of_chips(device, bf16):
    assert peak_flops.peak_flops_per_s(device, "bf16") == pytest.approx(bf16 * 1e12)
    assert peak_flops.peak_flops_per_s(device, "fp32") < bf16 * 1e12


def test_a_chip_that_is_not_known_has_no_share():
    assert peak_flops.peak_flops_per_s("Tesla K80", "bf16") is None
    assert peak_flops.utilisation(1e9, 100, None) is None
    assert peak_flops.utilisation(2e9, 100, 1e12) == pytest.approx(0.2)


def test_utilisation_is_of_the_phases_own_arithmetic():
    measured = {"tsvit": {"training": {"clips_per_s": 1000.0}, "inference": {"clips_per_s": 4000.0}}}
    sizes = {"tsvit": {"flops_per_clip": {"training": 3e9, "inference": 1e9}}}
    models.add_utilisation(measured, sizes, "NVIDIA H100 PCIe", "bf16")
    assert measured["tsvit"]["training"]["share_of_peak"] == pytest.approx(3e12 / 756.5e12)
    assert measured["tsvit"]["inference"]["share_of_peak"] == pytest.approx(4e12 / 756.5e12)


def test_the_learning_rate_follows_the_clock():
    factors = [timed_training.learning_rate_factor(share) for share in (0, 0.05, 0.1, 0.55, 1)]
    assert factors == pytest.approx([0, 0.5, 1, 0.5, 0], abs=1e-9)


def test_training_learns_and_ends_with_its_time(bright_and_dark):
    size = ModelArguments(
        image_size=16,
        patch_size=8,
        num_frames=4,
        hidden_size=16,
        num_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
    )
    training = timed_training.TrainingArguments(
        manifest=str(bright_and_dark), seconds=1.5, train_batch_size=4, seeds=[0, 1]
    )
    result = timed_training.train_for(training, "tsvit", size, torch.device("cpu"))
    assert {split: len(shares) for split, shares in result["top1"].items()} == {"test": 2, "test_shifted": 2}
    assert min(result["top1"]["test"]) == 1.0  # dark or bright
    assert min(result["epochs"]) > 2 and 0 < result["data_share"] < 1


def test_the_report(run_benchmark, tiny_flags, bright_and_dark):
    flags = ("--repeats", "6", "--models", "vivit", "--manifest", str(bright_and_dark), "--seconds", "0.3")
    code, report, printed = run_benchmark("models", *tiny_flags, *flags, "--train_batch_size", "4")
    assert code == 0 and list(report["models"]) == ["tsvit", "vivit"]
    for name, phases in report["speed"]["fp32"].items():
        for phase in ("training", "inference"):
            assert phases[phase]["clips_per_s"] == pytest.approx(2 / phases[phase]["step_s"]["median"])
            assert phases[phase]["share_of_peak"] is None
        assert phases["training"]["peak_bytes"] > phases["inference"]["peak_bytes"] > 0
        assert report["models"][name]["parameters"] > 1000
    assert report["speed"]["fp32"]["tsvit"]["training"]["tsvit_speed_ratio"]["median"] == 1
    assert report["speed"]["bf16"] == report["speed"]["bf16_compiled"] == "not run"
    assert set(report["accuracy"]["vivit"]["top1"]) == {"test", "test_shifted"}
    assert str(bright_and_dark) not in str(report)
    assert "## bf16_compiled\n\nnot run" in printed and "0.3 seconds of training" in printed


def test_without_data_accuracy_is_not_run(run_benchmark, tiny_flags):
    code, report, printed = run_benchmark("models", *tiny_flags, "--repeats", "2", "--models", "videomae")
    assert code == 0 and report["accuracy"] == "not run"
    assert printed.rstrip().endswith("not run")


@pytest.mark.parametrize(
    ("flag", "value", "message"), [("--seconds", "0", "seconds is 0.0"), ("--models", "resnet", "no model 'resnet'")]
)
def test_what_cannot_be_done_is_named(run_benchmark, tiny_flags, flag, value, message):
    code, report, printed = run_benchmark("models", *tiny_flags, flag, value)
    assert code == 1 and report is None and message in printed
