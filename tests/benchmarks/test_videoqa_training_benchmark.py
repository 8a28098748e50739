"""The benchmark of two-part losses: its ways are what they are said to be, and the arithmetic of its report."""

import pytest
import torch
import videoqa_training
from transformers import LlavaOnevisionForConditionalGeneration

TINY = (
    *("--questions", "2", "--prompt_tokens", "5", "--rationale_tokens", "12", "--num_frames", "2", "--device", "cpu"),
    *("--hidden_size", "16", "--num_layers", "1", "--vocab_size", "50"),
)
ARGUMENTS = videoqa_training.BenchmarkArguments(
    questions=2, prompt_tokens=5, rationale_tokens=12, num_frames=2, hidden_size=16, num_layers=1, vocab_size=50
)


def test_the_ways_are_the_losses_that_they_are_said_to_be():
    variants = videoqa_training.build_variants(ARGUMENTS, torch.device("cpu"))
    found = {name: variant.loss() for name, variant in variants.items()}
    batch = videoqa_training.make_batch(ARGUMENTS)
    model = videoqa_training.make_model(ARGUMENTS).train()
    assert isinstance(model, LlavaOnevisionForConditionalGeneration)
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "pixel_values_videos")}
    with torch.no_grad():
        log_probabilities = model(**inputs).logits[:, :-1].log_softmax(-1)
    targets = batch["labels"][:, 1:]
    losses = -log_probabilities.gather(2, targets.clamp_min(0).unsqueeze(2)).squeeze(2)
    labelled = targets >= 0
    rows = batch["part_of_row"][:, None].expand_as(targets)
    answers, rationales = (losses[labelled & (rows == part)] for part in (0, 1))
    assert len(rationales) > 3 * len(answers) > 0
    assert found["two_parts"].item() == pytest.approx((answers.mean() + rationales.mean()).item(), rel=1e-5)
    assert found["pooled"].item() == pytest.approx(losses[labelled].mean().item(), rel=1e-5)
    assert found["own_loss"].item() == pytest.approx(found["pooled"].item(), rel=1e-5)


def test_a_step_changes_the_weights_and_leaves_no_gradient():
    for variant in videoqa_training.build_variants(ARGUMENTS, torch.device("cpu")).values():
        before = variant.model.lm_head.weight.detach().clone()
        variant.step()
        assert not torch.equal(before, variant.model.lm_head.weight)
        assert all(parameter.grad is None for parameter in variant.model.parameters())


def test_the_report(run_benchmark):
    code, report, printed = run_benchmark("videoqa_training", *TINY, "--repeats", "6", "--warmup", "1")
    assert code == 0, printed
    assert set(report["variants"]) == {"two_parts", "pooled", "own_loss"}
    for pair, ratio in report["ratios"].items():
        kind, peer = (report["variants"][name] for name in pair.split("/"))
        assert ratio["memory"] == pytest.approx(kind["peak_bytes"] / peer["peak_bytes"])
        assert ratio["time"]["low"] <= ratio["time"]["median"] <= ratio["time"]["high"]
    assert "| two_parts / pooled |" in printed and "processor time" in printed
