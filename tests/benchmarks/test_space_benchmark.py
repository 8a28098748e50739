"""The Space's benchmark: a small run, and mistakes that are named."""

import numpy as np
import pytest

from modeling_tsvit import TSViTConfig, TSViTForVideoClassification, TSViTVideoProcessor
from vidreason.video import write_video

pytest.importorskip("gradio", reason="the Space's extra is not installed")


@pytest.fixture
def checkpoint(tmp_path):
    shape = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2, "num_spatial_layers": 1}
    config = TSViTConfig(image_size=32, num_frames=4, num_temporal_layers=1, num_labels=3, **shape)
    TSViTForVideoClassification(config).save_pretrained(tmp_path / "tiny")
    TSViTVideoProcessor(size={"height": 32, "width": 32}, num_frames=4).save_pretrained(tmp_path / "tiny")
    return tmp_path / "tiny"


@pytest.mark.slow
def test_requests_are_measured_first_and_from_the_cache(run_benchmark, checkpoint, tmp_path):
    frames = np.random.default_rng(0).integers(0, 255, (12, 48, 64, 3), dtype=np.uint8)
    video = write_video(tmp_path / "clip.mp4", frames, 6.0)
    flags = ("--model_ids", str(checkpoint), "--videos", f"short={video}", "--repeats", "2")
    code, report, printed = run_benchmark("space", *flags)
    assert code == 0, printed
    (request,) = report["requests"].values()
    assert request["video"] == {"width": 64, "height": 48, "duration_s": pytest.approx(2.0), "codec": "h264"}
    first, cached = request["first"], request["cached"]
    assert first["wall"]["repeats"] == 2 and first["read"]["median"] > 0 and first["draw_and_write"]["median"] > 0
    assert cached["total"]["median"] < first["total"]["median"] <= first["wall"]["median"]
    assert "short, tiny (64x48, 2.0 s)" in printed and "from the cache (s)" in printed


def test_mistakes_are_named(run_benchmark, tmp_path):
    code, report, printed = run_benchmark("space", "--videos", f"none={tmp_path / 'nowhere.mp4'}")
    assert code == 1 and report is None and "no such file" in printed
    code, report, printed = run_benchmark("space", "--videos", f"script={__file__}")
    assert code == 1 and report is None and "MODEL_IDS" in printed  # the app's own words
