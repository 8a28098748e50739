"""The benchmark of the stem's order in memory, on a tiny model."""

import memory_format
import pytest
import torch
import yaml

from modeling_tsvit import TSViTConfig
from modeling_tsvit.modeling_tsvit import TSViTPatchEmbedding

MODEL = {
    "image_size": 32,
    "num_frames": 4,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_attention_heads": 2,
    "num_spatial_layers": 1,
    "num_temporal_layers": 1,
    "patch_embedding": "conv_stem",
    "num_stem_blocks": 2,
}


def test_both_formats_reach_the_stem_and_give_the_same(monkeypatch):
    config = TSViTConfig(**MODEL, num_labels=3)
    clips, _ = memory_format.make_batch(config, 2, torch.device("cpu"))
    logits, seen = {}, {}
    for name in memory_format.FORMATS:
        model = memory_format.build(config, name).eval()
        stem = next(module.stem for module in model.modules() if isinstance(module, TSViTPatchEmbedding))
        stem[0].register_forward_pre_hook(
            lambda _, inputs, name=name: seen.update(
                {name: inputs[0].is_contiguous(memory_format=torch.channels_last)}
            )
        )
        with torch.no_grad():
            logits[name] = model(pixel_values=clips).logits
    assert seen == {"channels_last": True, "channels_first": False}
    torch.testing.assert_close(logits["channels_last"], logits["channels_first"], atol=1e-5, rtol=1e-4)


def test_the_report_has_a_ratio_for_training_and_inference(run_benchmark, tmp_path):
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(yaml.safe_dump({"model_config": MODEL}))
    flags = ("--recipe", str(recipe), "--batch_size", "2", "--repeats", "6", "--device", "cpu")
    code, report, printed = run_benchmark("memory_format", *flags)
    assert code == 0
    for measured in report["measured"].values():
        assert measured["time_ratio"]["low"] <= measured["time_ratio"]["median"] <= measured["time_ratio"]["high"]
        assert set(measured["wall_s"]) == {"channels_last", "channels_first"}
    assert "| training |" in printed and "| inference |" in printed


@pytest.mark.parametrize("settings", [{}, {"model_config": {"patch_embedding": "linear"}}])
def test_a_model_without_a_stem_is_refused(run_benchmark, tmp_path, settings):
    recipe = tmp_path / "linear.yaml"
    recipe.write_text(yaml.safe_dump(settings))
    code, report, printed = run_benchmark("memory_format", "--recipe", str(recipe), "--device", "cpu")
    assert code != 0 and report is None
    assert "patch_embedding is 'linear', expected 'conv_stem'" in printed
