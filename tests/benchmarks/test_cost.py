"""What a large data set costs: numbers worked out by hand, and what is refused."""

import json
import math
import re
import shlex
from dataclasses import fields
from pathlib import Path

import pytest
from cost import (
    SOMETHING_SOMETHING_V2,
    CostArguments,
    data_costs,
    guidance_costs,
    model_costs,
    read_rates,
    rebuild_page,
    write_estimate,
)
from flops import MODELS, ModelFlops, count_flops

from vidreason.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]
RATES = {
    "videos": "like Something-Something v2",
    "decoded_clips_per_core_s": 10.0,
    "jpeg_bytes_per_frame": 10_000.0,
    "jpeg_written_frames_per_core_s": 1_000.0,
    "jpeg_read_frames_per_core_s": 2_000.0,
}
REPORT = {
    "machine": {"processor": "a processor"},
    "settings": {"frames_per_clip": 16, "short_side_px": 224, "jpeg_quality": 90},
    "measured": [RATES],
}
MODEL = ModelFlops("tsvit", "a model", num_frames=16, forward=10**11, training=3 * 10**11)


def arguments(**changes) -> CostArguments:
    return CostArguments(**{"rates": "unused", **changes})


@pytest.fixture
def report(tmp_path):
    """Writes a report with changes and returns its path."""

    def write(**changes) -> str:
        path = tmp_path / "rates.json"
        path.write_text(json.dumps({**REPORT, **changes}))
        return str(path)

    return write


def test_the_splits_add_up():
    assert SOMETHING_SOMETHING_V2.videos == 220_847


def test_disk_and_processor_time():
    costs = data_costs(arguments(epochs=2, usd_per_core_hour=0.5), RATES, frames_per_clip=16)
    assert costs["videos_gb"] == pytest.approx(19.4)
    assert costs["packed_gb"] == pytest.approx(30.9904)  # 193,690 clips x 16 frames x 10 kB
    assert costs["packing_core_hours"] == pytest.approx(6.241122, rel=1e-6)  # x (0.1 + 0.016) s / 3600
    assert costs["training_from_videos_core_hours"] == pytest.approx(9.384056, rel=1e-6)  # 337,826 x 0.1 s / 3600
    assert costs["training_from_packed_core_hours"] == pytest.approx(0.750724, rel=1e-5)  # 337,826 x 0.008 s / 3600
    assert costs["packing_usd"] == pytest.approx(3.120561, rel=1e-6)


def test_gpu_hours_of_assumed_utilisation():
    """900 TFLOP/s x 0.1 / 0.3 TFLOP = 300 clips/s; 168,913 clips / 300 / 3600 = 0.156401 h."""
    costs = model_costs(
        arguments(peak_tflops=900, utilisation=[0.1, 0.2], usd_per_gpu_hour=2.0, video_clips_per_core_s=30.0),
        RATES,
        MODEL,
    )
    assert costs["basis"] == "assumed"
    assert costs["clips_per_gpu_s"] == pytest.approx([300, 600])
    assert costs["packed_gpu_hours"] == pytest.approx([0.156401, 0.0782005], rel=1e-5)  # 16 cores bring 2,000
    assert costs["packed_usd"] == pytest.approx([0.312802, 0.156401], rel=1e-5)
    assert not costs["packed_waits"]
    assert costs["videos_gpu_hours"] == pytest.approx([0.156401, 0.0977506], rel=1e-5)  # 16 cores bring 480
    assert not costs["videos_waits"]  # at the lower of the two


def test_a_gpu_is_no_faster_than_its_cores():
    costs = model_costs(arguments(measured_clips_per_gpu_s=["tsvit=5000"], cores_per_gpu=8, epochs=3), RATES, MODEL)
    assert costs["basis"] == "measured"
    assert costs["clips_per_gpu_s"] == [5000]
    assert costs["packed_waits"]
    assert costs["packed_gpu_hours"] == pytest.approx([0.1407608], rel=1e-5)  # 506,739 clips / (8 x 125) / 3600
    assert costs["videos_gpu_hours"] == pytest.approx([1.759510], rel=1e-5)  # 506,739 clips / (8 x 10) / 3600


def test_guidance_as_in_the_paper():
    """10 % of the videos, 10 frames, 360 tokens; gpt-4.1-mini takes 0.4 and 1.6 dollars per million."""
    costs = guidance_costs(arguments(completion_tokens=0))
    assert costs["share_frames"] == 168_910
    assert costs["share_usd"] == pytest.approx(24.32304)  # 60,807,600 tokens x 0.4e-6
    assert guidance_costs(arguments(completion_tokens=30))["share_usd"] == pytest.approx(32.43072)  # + 8.10768
    assert costs["share_batch_usd"] == pytest.approx(costs["share_usd"] / 2)
    assert costs["all_frames"] == 1_689_130


def test_the_arithmetic_of_a_known_model():
    """TimeSformer's paper: 0.59 TFLOPs for three views of a clip, a multiplication with its addition being one."""
    counted = count_flops("timesformer", num_labels=400)
    assert pytest.approx(counted.forward, rel=0.01) == 2 * 0.59e12 / 3
    assert counted.training == pytest.approx(3 * counted.forward, rel=0.01)
    assert counted.num_frames == 8


def test_a_model_that_is_not_known_is_named():
    with pytest.raises(ConfigError, match="'resnet' has no FLOP count; there are tsvit"):
        count_flops("resnet")


def test_facts_measurements_and_assumptions_are_told_apart(report, tmp_path, capsys):
    write_estimate(CostArguments(rates=report(), out=str(tmp_path / "out"), models=["tsvit"]))
    written = json.loads((tmp_path / "out" / "cost.json").read_text())
    assert written["measured"]["jpeg_bytes_per_frame"] == 10_000
    assert written["assumed"]["utilisation"] == [0.3, 0.4]
    assert "rates" not in written["assumed"]
    page = (tmp_path / "out" / "README.md").read_text()
    assert "| measured: clips decoded a core-second (16 frames, shorter side 224 px) | 10.0 |" in page
    assert "| assumed: share of it that training reaches | 30 to 40 % |" in page
    assert "| measured: clips to the batch a core-second, packed store | not run |" in page
    assert re.search(r"\| tsvit \|.*\| assumed \|", page)
    assert page in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"measured": []}, "is no report"),
        ({"measured": [{**RATES, "jpeg_bytes_per_frame": 0.0}]}, "not above 0"),
        ({"measured": [{"videos": RATES["videos"]}]}, "jpeg_bytes_per_frame"),
        ({"settings": {}}, "frames_per_clip"),
    ],
)
def test_a_report_that_cannot_be_used_is_named(report, changes, message):
    with pytest.raises(ConfigError, match=message):
        read_rates(report(**changes))


def test_a_report_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.json is no report"):
        read_rates(str(tmp_path / "none.json"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "epochs is 0"),
        ({"utilisation": [1.5]}, r"utilisation is \[1.5\]"),
        ({"utilisation": []}, "utilisation"),
        ({"guided_share": 2.0}, "guided_share is 2"),
        ({"usd_per_gpu_hour": math.nan}, "usd_per_gpu_hour is nan"),
        ({"packed_clips_per_core_s": -1.0}, "packed_clips_per_core_s is -1"),
    ],
)
def test_settings_that_make_no_sense_are_named(changes, message):
    with pytest.raises(ConfigError, match=message):
        arguments(**changes)


@pytest.mark.parametrize("entry", ["tsvit", "tsvit=fast", "resnet=3", "tsvit=0", "tsvit=inf"])
def test_a_measured_rate_that_makes_no_sense_is_named(entry):
    with pytest.raises(ConfigError, match=re.escape(repr(entry))):
        model_costs(arguments(measured_clips_per_gpu_s=[entry]), RATES, MODEL)


def test_the_committed_estimate_is_that_of_the_committed_rates():
    """Without its models, whose arithmetic moves with the versions of the libraries."""
    written = json.loads((ROOT / "docs" / "results" / "ssv2_cost" / "cost.json").read_text())
    report, rates = read_rates(str(ROOT / "docs" / "results" / "speed" / "video_rates.json"))
    assumed = CostArguments(rates="", **written["assumed"])
    assert written["data"] == pytest.approx(data_costs(assumed, rates, report["settings"]["frames_per_clip"]))
    assert written["guidance"] == pytest.approx(guidance_costs(assumed))
    assert {model["model"] for model in written["models"]} == set(MODELS)


def test_the_commands_of_the_page_name_flags_that_there_are():
    page = (ROOT / "docs" / "scaling.md").read_text().replace("\\\n", " ")
    commands = [shlex.split(line) for line in page.splitlines() if line.startswith("python benchmarks/cost.py")]
    assert commands
    flags = {word[2:] for command in commands for word in command if word.startswith("--")}
    assert flags <= {field.name for field in fields(CostArguments)}


def test_the_page_shows_the_committed_estimate():
    estimate = (ROOT / "docs" / "results" / "ssv2_cost" / "README.md").read_text().splitlines()
    section = (ROOT / "docs" / "scaling.md").read_text().split("## What Something-Something v2 costs")[1]
    shown = [line for line in section.splitlines() if line.startswith("|")]
    assert len(shown) > 12
    assert [line for line in shown if line not in estimate] == []


def test_the_committed_page_is_that_of_the_committed_estimate(tmp_path):
    committed = ROOT / "docs" / "results" / "ssv2_cost"
    (tmp_path / "cost.json").write_bytes((committed / "cost.json").read_bytes())
    rebuild_page(tmp_path)
    assert (tmp_path / "README.md").read_bytes() == (committed / "README.md").read_bytes()


@pytest.mark.parametrize("text", ["{}", "{", None])
def test_a_page_without_an_estimate_is_not_written(tmp_path, text):
    if text is not None:
        (tmp_path / "cost.json").write_text(text)
    with pytest.raises(ConfigError, match=r"cost\.json is no estimate of costs"):
        rebuild_page(tmp_path)
    assert not (tmp_path / "README.md").exists()


def test_an_estimate_needs_rates(tmp_path):
    with pytest.raises(ConfigError, match="rates is not set"):
        write_estimate(CostArguments(out=str(tmp_path)))
