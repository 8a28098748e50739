"""Detections against a world's truth, whose mistakes are known; against another table; against boxes of real clips."""

import json
import re
import sys

import numpy as np
import pytest
from fixtures.small_worlds import ACTIONS_WORLD
from PIL import Image

from datasets_scripts import audit_detections as script
from vidreason.annotation.detections import DetectArguments
from vidreason.annotation.job import AnnotationJob, VideoArguments
from vidreason.audit.detections_report import DetectionAuditSettings, audit_detections
from vidreason.detection import Found, detection_row, load_detections, make_detector, write_detections
from vidreason.detection.coco import models_folder
from vidreason.errors import ConfigError, DetectionError, GuidanceError
from vidreason.manifests.splits import split_by_fractions
from vidreason.manifests.video_folder import build_video_folder, scan_video_tree

CLASSES = ("person", "hand", "box")


@pytest.fixture(scope="module")
def world(folder_of):
    return folder_of(ACTIONS_WORLD)


@pytest.fixture(scope="module")
def make_table(world, tmp_path_factory):
    """Writes a table of detections of the world with mistakes, and returns its folder."""
    folder = tmp_path_factory.mktemp("tables")

    def make(name: str, classes=CLASSES, **mistakes):
        detect = DetectArguments(
            detector="truth", detector_truth=str(world / "truth"), classes=list(classes), **mistakes
        )
        args = VideoArguments(manifest=str(world), out=str(folder / name), splits=["train", "test_shifted"])
        return AnnotationJob(args, detect).run(progress=False)

    return make


def audit(out, **settings) -> dict:
    audit_detections(DetectionAuditSettings(out=str(out), resamples=200, **settings))
    return json.loads((out / "audit.json").read_text())


def by_class(section) -> dict:
    return {one["class_text"]: one for one in section["classes"]}


def test_exact_detections_are_perfect_and_mistakes_cost_what_they_are(world, make_table, tmp_path):
    exact, noisy = make_table("exact"), make_table("noisy", misses=0.3, jitter=0.05, false_boxes=0.2)
    (section,) = audit(tmp_path / "a", detections=str(exact), truth=str(world / "truth"))["sections"]
    for one in section["classes"]:
        assert one["frames"] == one["judged"] == 29 * 8 and one["true_boxes"] > 0
        for measure in ("average_precision", "recall", "precision", "containment", "held"):
            assert one[measure]["value"] == pytest.approx(1), (one["class_text"], measure)
    facts = audit(tmp_path / "b", detections=str(noisy), truth=str(world / "truth"), compare=str(exact))
    truth, agreement = facts["sections"]
    assert (truth["key"], agreement["key"]) == ("truth", "agreement")
    person = by_class(truth)["person"]
    recall, precision = person["recall"], person["precision"]
    assert recall["low"] < 0.7 < recall["high"] and abs(recall["value"] - 0.7) < 0.1
    assert precision["value"] == pytest.approx(0.7 / 0.9, abs=0.1)
    # true boxes score higher than false ones, so that precision at a recall is better than that of all
    assert recall["value"] * 0.8 < person["average_precision"]["value"] < recall["value"] + 0.02
    assert 0.75 < person["containment"]["value"] < 1
    # the other table is the truth itself
    assert by_class(agreement)["person"] == person
    assert truth["all"]["average_precision"]["value"] == pytest.approx(
        np.mean([one["average_precision"]["value"] for one in truth["classes"]])
    )


def test_rows_that_say_nothing_are_counted_and_not_judged(world, make_table, tmp_path):
    rows = {
        split: table.to_list() for split, table in load_detections(make_table("whole", ["hand", "unicorn"])).items()
    }
    lost = next(row["video_id"] for row in rows["train"])
    rows["train"] = [row for row in rows["train"] if row["video_id"] != lost]
    for row in rows["train"][:10]:
        row |= {"status": "failed", "boxes": [], "scores": [], "raw_response": "decode_failed"}
    part = write_detections(tmp_path / "part", rows)
    (section,) = audit(
        tmp_path / "out", detections=str(part), truth=str(world / "truth"), manifest=str(world), classes=["hand"]
    )["sections"]
    (hand,) = section["classes"]
    failed = sum(row["class_text"] == "hand" for row in rows["train"][:10])
    assert hand["statuses"]["failed"] == failed and hand["statuses"]["missing"] == 8
    assert hand["judged"] == hand["frames"] - failed - 8
    assert hand["average_precision"]["value"] == pytest.approx(1)
    text = (tmp_path / "out" / "audit.md").read_text()
    assert f"{failed + 8} have no row within 0.05 s that says anything" in text and "| hand |" in text
    page = (tmp_path / "out" / "audit.html").read_text()
    assert "Audit of the table of detections part" in page and page.count("<figure") > 3
    assert "status failed" in page or "status missing" in page
    assert np.asarray(Image.open(tmp_path / "out" / "contact_sheet.png")).std() > 10
    assert (tmp_path / "out" / "audit.csv").read_text().startswith("section,class,measure,value,low,high")
    with pytest.raises(GuidanceError, match="no class 'unicorn'"):
        audit(tmp_path / "o", detections=str(part), truth=str(world / "truth"), classes=["unicorn"])
    # under another name in the reference: a hand is within the person, and is no person
    whole = make_table("hands", ["hand"])
    (section,) = audit(tmp_path / "hand", detections=str(whole), truth=str(world / "truth"), classes=["hand=person"])[
        "sections"
    ]
    (hand,) = section["classes"]
    assert hand["containment"]["value"] > 0.95 and hand["recall"]["value"] < 0.9


def test_a_table_from_anywhere_is_not_believed(world, tmp_path):
    detector = make_detector("truth", truth=str(world / "truth"))
    key = {"video_id": "v", "source": "s@1", "split": "train", "frame_height": 9, "frame_width": 9}
    rows = [
        detection_row({**key, "frame_index": n, "timestamp_s": 0.5}, "box", Found.of([], []), detector)
        for n in range(2)
    ]
    twice = write_detections(tmp_path / "twice", {"train": rows})
    with pytest.raises(GuidanceError, match="two rows for one time"):
        audit(tmp_path / "out", detections=str(twice), truth=str(world / "truth"))
    once = write_detections(tmp_path / "once", {"train": rows[:1]})
    with pytest.raises(GuidanceError, match="no video in common"):
        audit(tmp_path / "out", detections=str(once), truth=str(world / "truth"))
    with pytest.raises(GuidanceError, match="is this a table of ground truth"):
        audit(tmp_path / "out", detections=str(once), truth=str(once))
    for settings, words in [
        ({}, "nothing to judge by"),
        ({"truth": "a", "boxes": "b"}, "not both"),
        ({"boxes": "b"}, "give --manifest"),
        ({"truth": "a", "iou": 0.0}, "--iou is 0.0"),
    ]:
        with pytest.raises(ConfigError, match=words):
            DetectionAuditSettings(detections=str(once), out="out", **settings)


def test_people_of_real_clips_lie_in_their_loose_boxes(shared_data, tmp_path, monkeypatch, capsys):
    pytest.importorskip("cv2", reason="opencv-python-headless of requirements/detection.txt is not installed")
    try:
        models_folder()
    except DetectionError as error:
        pytest.skip(str(error))
    tree = scan_video_tree(shared_data / "clips" / "UCF-101")
    splits = split_by_fractions(tree.class_of, {"train": 1.0}, 0)
    build_video_folder(tree, tmp_path / "manifest", splits, source="ucf101@1.0")
    args = VideoArguments(str(tmp_path / "manifest"), str(tmp_path / "table"), frames_per_second=2.0)
    AnnotationJob(args, DetectArguments(detector="coco", classes=["person"])).run(progress=False)
    flags = ["--detections", tmp_path / "table", "--boxes", shared_data / "clips" / "ucf101_actor_boxes.json"]
    flags += ["--manifest", tmp_path / "manifest", "--out", tmp_path / "out"]
    monkeypatch.setattr(sys, "argv", ["audit", *map(str, flags)])
    assert script.main() == 0
    printed = capsys.readouterr().out
    assert "Against the boxes of ucf101_actor_boxes.json" in printed and "audit.html" in printed
    (section,) = json.loads((tmp_path / "out" / "audit.json").read_text())["sections"]
    (person,) = section["classes"]
    assert person["judged"] > 10 and person["held"]["value"] > 0.5
    assert person["containment"]["value"] > 2 * person["true_share"]["value"]
    monkeypatch.setattr(sys, "argv", ["audit", "--detections", str(tmp_path / "table"), "--out", "x"])
    assert script.main() == 1
    assert re.match("error: there is nothing to judge by", capsys.readouterr().err.splitlines()[-1])
