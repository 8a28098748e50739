"""What A2O costs: the variants are what they are said to be, and the arithmetic of a search."""

import a2o_cost
import pytest
import torch
from video_models import ModelArguments

SIZE = ModelArguments(
    image_size=16,
    patch_size=8,
    num_frames=4,
    hidden_size=16,
    num_layers=2,
    num_attention_heads=2,
    intermediate_size=32,
)


@pytest.mark.parametrize("backbone", ["vjepa2", "tsvit"])
def test_the_variants_differ_by_the_adapter_and_by_depth_alone(backbone):
    args = a2o_cost.CostArguments(backbone=backbone, batch_size=2, larger_layers=4, num_classes=5)
    device = torch.device("cpu")
    models = a2o_cost.build_models(args, SIZE, device)
    count = {name: sum(p.numel() for p in a2o_cost.used_parameters(model)) for name, model in models.items()}
    assert count["maps"] == count["plain"] + 3 * 5 and count["larger"] > count["plain"]
    inputs = {name: a2o_cost.inputs_of(model, args, SIZE, device) for name, model in models.items()}
    with torch.no_grad():
        logits = {name: model.eval()(**inputs[name]).logits for name, model in models.items()}
    # an adapter that has learned nothing adds nothing: the same model inside, on the same clips
    assert torch.equal(logits["plain"], logits["maps"]) and not torch.equal(logits["plain"], logits["larger"])
    step, _ = a2o_cost.training_step(models["maps"], args, SIZE, device)
    step()
    assert models["maps"].adapter.state_dict()
    assert any(weight.abs().max() > 0 for weight in models["maps"].adapter.state_dict().values())


def test_the_cost_of_a_search_in_trainings_of_the_plain_model():
    args = a2o_cost.CostArguments(num_trials=5, proxy_epochs=1, num_epochs=20, batch_size=4, detection_seconds=2.0)
    cost = a2o_cost.search_cost(args, step_ratio=1.1, plain_step_s=0.8)
    assert cost["trials"] == pytest.approx(5 / 20 * 1.1) and cost["training_in_full"] == 1.1
    # 2 s for a clip that the plain model trains on for 20 times 0.2 s
    assert cost["detection"] == pytest.approx(0.5) and cost["all"] == pytest.approx(0.275 + 1.1 + 0.5)


def test_the_report(run_benchmark, tiny_flags):
    flags = ("--repeats", "6", "--larger_layers", "4", "--map_stride", "4")
    code, report, printed = run_benchmark("a2o_cost", *tiny_flags, *flags)
    assert code == 0 and set(report["models"]) == {"plain", "maps", "larger"}
    assert report["ratios"]["maps"]["training"]["repeats"] == 6 and "plain" not in report["ratios"]
    assert report["search"]["training_in_full"] == report["ratios"]["maps"]["training"]["median"]
    assert "A search of 5 trials of 1 epochs" in printed and "(not measured here)" in printed


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--map_stride", "5"), "map_stride 5 does not divide image_size"),
        (("--num_trials", "0"), "num_trials is 0"),
        (("--proxy_epochs", "30"), "expected 0 < proxy_epochs <= num_epochs"),
        (("--backbone", "resnet"), "no model 'resnet'"),
    ],
)
def test_settings_that_cannot_be_measured_are_named(run_benchmark, tiny_flags, flags, message):
    code, report, printed = run_benchmark("a2o_cost", *tiny_flags, *flags)
    assert code == 1 and report is None and message in printed
