"""What version 0.1.0 wrote is read by today's code, with the values that it had. `write_with_0_1_0.py` wrote it."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForTokenClassification, AutoModelForVideoClassification, AutoVideoProcessor

import modeling_tsvit
from vidreason.clips.packed_store import open_packed
from vidreason.guidance import MISSING, GuidanceIndex, load_guidance
from vidreason.manifests.manifest import load_manifest, read_skipped
from vidreason.manifests.segments import SegmentIndex, load_segments
from vidreason.study.__main__ import main as study_command
from vidreason.video import decode_frames

WRITTEN = Path(__file__).resolve().parent / "written_by_0_1_0"
EXPECTED = json.loads((WRITTEN / "models.json").read_text())


def outputs_of(model) -> dict[str, torch.Tensor]:
    """What a model says of the clip that it was asked about when it was written."""
    pixels = torch.linspace(-1, 1, 4 * 3 * 16 * 16).reshape(1, 4, 3, 16, 16)
    with torch.no_grad():
        return model.eval()(pixels)


def test_a_classifier_answers_as_it_did():
    model, report = AutoModelForVideoClassification.from_pretrained(WRITTEN / "classifier", output_loading_info=True)
    assert isinstance(model, modeling_tsvit.TSViTForVideoClassification)
    assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert model.config.id2label == {0: "lift", 1: "slide"} and model.config.drop_path_rate == 0.1
    assert model.config.supervised_layer_indices == (0, 1)
    outputs = outputs_of(model)
    for name, values in EXPECTED["classifier"].items():
        torch.testing.assert_close(outputs[name], torch.tensor(values), rtol=1e-4, atol=1e-5, msg=name)


def test_a_segmenter_answers_as_it_did():
    model = AutoModelForTokenClassification.from_pretrained(WRITTEN / "segmenter")
    assert isinstance(model, modeling_tsvit.TSViTForActionSegmentation)
    assert (model.config.frames_per_second, model.config.score_averaging_s) == (4, 1.0)
    expected = torch.tensor(EXPECTED["segmenter"]["logits"])
    torch.testing.assert_close(outputs_of(model).logits, expected, rtol=1e-4, atol=1e-5)


def test_a_processor_has_its_settings():
    processor = AutoVideoProcessor.from_pretrained(WRITTEN / "classifier")
    assert isinstance(processor, modeling_tsvit.TSViTVideoProcessor)
    assert (processor.size["height"], processor.size["width"], processor.num_frames) == (16, 16, 4)
    clip = processor(str(WRITTEN / "manifest" / "videos" / "lift" / "a.mp4"), return_tensors="pt")["pixel_values"]
    assert clip.shape == (1, 4, 3, 16, 16)


def test_a_guidance_table_has_its_rows():
    table = load_guidance(WRITTEN / "guidance")
    assert {split: rows.num_rows for split, rows in table.items()} == {"train": 4, "test": 4}
    ok, empty, failed, cropped = table["train"]
    assert [row["status"] for row in (ok, empty, failed, cropped)] == ["ok", "empty", "failed", "ok"]
    assert ok["weights"] == [0, 0, 0.75, 0.25] and (ok["grid_rows"], ok["grid_cols"]) == (2, 2)
    assert [entry["name"] for entry in ok["objects"]] == ["square", "wall"]
    assert ok["objects"][0]["box"] == [0.125, 0.5625, 0.375, 0.8125] and ok["objects"][1]["box"] == []
    told = {"producer": "llm", "model": "a-model", "prompt_id": "ucf-1", "request_hash": "1" * 64}
    told |= {"raw_response": "cells 2 and 3", "prompt_tokens": 300, "completion_tokens": 7, "cost_usd": 0.0005}
    assert {name: ok[name] for name in told} == told
    assert cropped["rectangle"] == [0, 0.25, 1, 0.75]


def test_guidance_is_found_by_time():
    index = GuidanceIndex(load_guidance(WRITTEN / "guidance")["test"])
    found = index.lookup("slide/a", [0.01, 0.25, 0.5, 1.25])
    assert found.statuses == ["ok", "empty", "failed", MISSING]
    np.testing.assert_allclose(np.ravel(found.maps[0].weights), [0, 0, 0.75, 0.25])


def test_a_manifest_leads_to_its_videos():
    manifest = load_manifest(WRITTEN / "manifest")
    assert manifest.class_names == ["lift", "slide"] and manifest.source == "squares@1"
    (row,) = manifest.splits["test"]
    assert (row["video_id"], row["label"], row["group"], row["num_frames"]) == ("slide/a", 1, "person_test", 6)
    frames = decode_frames(manifest.video_path(row), [0, 5]).frames
    assert frames[0][22, 8, 0] > 180 > 120 > frames[1][22, 8, 0]  # the red square has moved to the right
    assert [entry["path"] for entry in read_skipped(WRITTEN / "manifest")] == ["lift/b.mp4"]


def test_segments_have_their_actions():
    index = SegmentIndex(load_segments(WRITTEN / "manifest"))
    assert index.video_ids == {"lift/a", "slide/a"}
    assert [index.label_at("lift/a", time_s) for time_s in (0.0, 0.49, 0.5, 1.2)] == ["pause", "pause", "move", "move"]


def test_packed_clips_have_their_frames_and_guidance():
    store = open_packed(WRITTEN / "packed")
    assert store.class_names == ["lift", "slide"] and store.source == "squares@1"
    assert {split: store.video_ids(split) for split in ("train", "test")} == {"train": ["lift/a"], "test": ["slide/a"]}
    (row,) = store.load("train")
    assert row["label"] == 0 and len(row["frames"]) == 3
    first = np.asarray(row["frames"][0])
    assert first.shape == (32, 32, 3) and first[19, 8, 0] > 180  # frame 1 of the video: the square is at row 15
    guidance = store.guidance("train")
    assert sorted(guidance.rows["status"]) == ["empty", "ok"]  # the third frame has none
    assert store.guidance("test") is None


@pytest.fixture
def study_folder(tmp_path) -> Path:
    """A copy, since tables are written beside the records."""
    return Path(shutil.copytree(WRITTEN / "study", tmp_path / "study"))


def test_records_of_a_study_give_its_tables(study_folder):
    """One JSON file for each run, as 0.1.0 wrote them."""
    records = [json.loads(path.read_text()) for path in sorted((WRITTEN / "study" / "runs").glob("*.json"))]
    assert study_command(["tables", str(study_folder)]) == 0
    with (study_folder / "results.csv").open(newline="", encoding="utf-8") as file:
        rows = {
            (row["supervision"], row["split"]): row
            for row in csv.DictReader(file)
            if (row["epochs"], row["metric"]) == ("20", "top1")
        }
    for supervision in ("plain", "evidence_supervision"):
        for split in ("test", "test_shifted"):
            of = [record for record in records if record["values"]["supervision"] == supervision]
            values = [record["metrics"][split]["top1"] for record in of]
            row = rows[supervision, split]
            assert int(row["n"]) == 3 and float(row["mean"]) == pytest.approx(np.mean(values), rel=1e-6)
            assert float(row["std"]) == pytest.approx(np.std(values, ddof=1), rel=1e-6)
