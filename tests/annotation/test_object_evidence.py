"""Guidance from detections: where the objects are that are evidence, and a failure where nothing is known of them."""

import json
from dataclasses import replace

import numpy as np
import pytest
from fixtures.small_worlds import ASSEMBLY_WORLD

from vidreason.annotation.detections import DetectArguments
from vidreason.annotation.job import AnnotationArguments, AnnotationJob, VideoArguments, read_run
from vidreason.annotation.object_evidence import DetectorArguments, Evidence, frame_guidance, read_evidence
from vidreason.audit.measures import compare_with_cells
from vidreason.detection import load_detections, write_detections
from vidreason.detection.truth import class_of
from vidreason.errors import ConfigError, DetectionError
from vidreason.files import read_folder
from vidreason.guidance import boxes_to_cells, load_guidance
from vidreason.manifests.manifest import load_manifest

GRID = (4, 4)


def relevant_classes(truth) -> dict[str, list[str]]:
    """What the world itself says is evidence: label -> classes of its relevant objects."""
    names = truth.features["label"].names
    by_label: dict[str, set[str]] = {name: set() for name in names}
    for row in truth:
        by_label[names[row["label"]]] |= {class_of(entry["name"]) for entry in row["objects"] if entry["relevant"]}
    return {label: sorted(texts) for label, texts in by_label.items()}


@pytest.fixture(scope="module")
def truth(small_world):
    return read_folder(small_world / "truth")["train"]


@pytest.fixture(scope="module")
def evidence_file(truth, tmp_path_factory):
    path = tmp_path_factory.mktemp("evidence") / "evidence.json"
    path.write_text(json.dumps(relevant_classes(truth)))
    return path


@pytest.fixture(scope="module")
def detections(small_world, truth, tmp_path_factory):
    """Exact detections of all objects of the small world."""
    out = tmp_path_factory.mktemp("detections") / "table"
    classes = sorted({class_of(entry["name"]) for row in truth for entry in row["objects"]})
    detect = DetectArguments(detector="truth", detector_truth=str(small_world / "truth"), classes=classes)
    return AnnotationJob(VideoArguments(manifest=str(small_world), out=str(out)), detect).run(progress=False)


def guidance(world, out, producer, split="train", **settings):
    job = AnnotationJob(AnnotationArguments(manifest=str(world), out=str(out), splits=[split], **settings), producer)
    return load_guidance(job.run(progress=False))[split].to_list()


def test_what_covers_the_evidence_is_marked_alike_from_a_table_and_from_a_detector(
    small_world, truth, detections, evidence_file, tmp_path
):
    from_table = guidance(
        small_world, tmp_path / "a", DetectorArguments(detections=str(detections), evidence=str(evidence_file))
    )
    settings = {"detector": "truth", "detector_truth": str(small_world / "truth")}
    straight = guidance(
        small_world, tmp_path / "b", DetectorArguments(**settings, evidence=str(evidence_file)), frames_per_second=None
    )
    assert from_table == straight and len(from_table) == len(truth)
    classes = sorted({*load_detections(detections)["train"]["class_text"]})
    producer = DetectorArguments(detections=str(detections), evidence_classes=classes)
    everything = guidance(small_world, tmp_path / "c", producer)
    boxes = [np.asarray([o["box"] for o in row["objects"] if o["relevant"]]).reshape(-1, 4) for row in truth]
    cells = [boxes_to_cells(one, GRID) for one in boxes]
    by_label, of_all = (
        compare_with_cells([np.asarray(row["weights"]) for row in rows], cells) for rows in (from_table, everything)
    )
    # all true cells are marked; what more is marked are cells that a box reaches into, and others of the same class
    assert by_label.num_frames == len(truth) and by_label.recall == 1 and by_label.mass_inside > 0.75
    assert of_all.mass_inside < by_label.mass_inside - 0.1
    assert read_run(tmp_path / "a").label_in_prompt is True and read_run(tmp_path / "c").label_in_prompt is False
    card = (tmp_path / "a" / "README.md").read_text()
    assert "training-time information" in card and "Detector" not in card


def test_a_cell_weighs_as_much_as_it_is_covered():
    key = {"video_id": "v", "source": "s@1", "split": "train", "frame_index": 0, "timestamp_s": 0.0}
    key |= {"frame_height": 40, "frame_width": 80, "model": "m", "revision": "", "raw_response": ""}

    def row(text, boxes, scores, status="ok"):
        found = {"boxes": boxes, "scores": scores, "masks": [], "mask_height": 0, "mask_width": 0}
        return {**key, "class_text": text, "status": status, **found}

    person = row("person", [[0.0, 0.0, 0.5, 1.0]], [1.0])
    arm = row("arm", [[0.25, 0.0, 0.75, 0.5]], [0.5])
    made = frame_guidance([person, arm], ("person", "arm"), (2, 2))
    # the arm adds its half score where no person is: a half of the upper right cell
    assert np.allclose(made["weights"], np.asarray([1, 0.25, 1, 0]) / 2.25)
    assert [entry["name"] for entry in made["objects"]] == ["person", "arm"]
    assert np.allclose(frame_guidance([person, arm], ("arm",), (2, 2))["weights"], [0.5, 0.5, 0, 0])
    assert frame_guidance([person, arm], (), (2, 2))["status"] == "empty"
    unknown = row("unicorn", [], [], "unknown_class")
    assert frame_guidance([person, unknown], ("person", "unicorn"), (2, 2))["status"] == "ok"
    # what was not looked for is not what is not there
    failed = frame_guidance([person, row("arm", [], [], "failed")], ("person", "arm"), (2, 2))
    assert failed["status"] == "failed" and not any(failed["weights"])
    lacking = frame_guidance([person], ("person", "arm"), (2, 2))
    assert lacking["status"] == "failed" and lacking["raw_response"] == "no detections of arm in this frame"


def test_videos_that_a_table_does_not_know_are_failures(small_world, detections, evidence_file, tmp_path):
    rows = load_detections(detections)["train"].to_list()
    known = sorted({row["video_id"] for row in rows})
    part = write_detections(tmp_path / "part", {"train": [row for row in rows if row["video_id"] != known[3]]})
    made = guidance(small_world, tmp_path / "g", DetectorArguments(detections=str(part), evidence=str(evidence_file)))
    lacking = [row for row in made if row["video_id"] == known[3]]
    assert [(row["status"], row["raw_response"]) for row in lacking] == [("failed", "no detections of this video")]
    assert len(made) == 11 * 12 + 1
    with pytest.raises(DetectionError, match="no row of unicorn"):
        guidance(small_world, tmp_path / "h", DetectorArguments(detections=str(part), evidence_classes=["unicorn"]))


def test_evidence_follows_the_action_of_the_moment(folder_of, tmp_path):
    world = folder_of(ASSEMBLY_WORLD)
    truth = read_folder(world / "truth")["train"]
    by_label = {label: texts for label, texts in relevant_classes(truth).items() if label != "background"}
    path = tmp_path / "evidence.yaml"
    path.write_text("".join(f"{label}: {json.dumps(texts)}\n" for label, texts in by_label.items()))
    producer = DetectorArguments(detector="truth", detector_truth=str(world / "truth"), evidence=str(path))
    rows = guidance(world, tmp_path / "g", producer, frames_per_second=4.0)
    names = truth.features["label"].names
    label_of = {(row["video_id"], row["frame_index"]): names[row["label"]] for row in truth}
    labels = [label_of[row["video_id"], row["frame_index"]] for row in rows]
    assert {row["status"] for row, label in zip(rows, labels, strict=True) if label == "background"} == {"empty"}
    assert {row["status"] for row, label in zip(rows, labels, strict=True) if label != "background"} == {"ok"}
    marked = {
        entry["name"]
        for row, label in zip(rows, labels, strict=True)
        if label == labels[1]
        for entry in row["objects"]
    }
    assert marked <= set(by_label.get(labels[1], []))


def test_parts_give_the_table_of_one_run(small_world, detections, evidence_file, tmp_path):
    from vidreason.annotation.scale import AnnotateRank, MergeRanks

    producer = DetectorArguments(detections=str(detections), evidence=str(evidence_file))
    whole = guidance(small_world, tmp_path / "whole", producer)
    job = AnnotationJob(AnnotationArguments(manifest=str(small_world), out=str(tmp_path / "parts")), producer)
    for rank in range(2):
        AnnotateRank(job)(rank=rank, world_size=2)
    MergeRanks(job, 2)()
    assert load_guidance(tmp_path / "parts")["train"].to_list() == whole


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[person]", "expected label: \\[classes\\], got list"),
        ("", "got NoneType"),
        ("a: person", "expected a list of class texts"),
        ("a: [[person]]", "expected a list of class texts"),
        ("1: [person]", "label 1 is no text"),
        ("a: !!python/object/apply:os.system [id]", "cannot be read as a table of evidence"),
        ("a: [" + "[" * 3000, "cannot be read as a table of evidence"),
        ("a: [" + "x" * 1_000_001, "at most 1,000,000 bytes"),
    ],
)
def test_a_table_of_evidence_that_is_none_is_named(tmp_path, text, words):
    path = tmp_path / "evidence.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=words):
        read_evidence(path)


def test_labels_without_evidence_and_evidence_without_labels_are_named(small_world, evidence_file, tmp_path):
    table = json.loads(evidence_file.read_text())
    labels = load_manifest(small_world).class_names
    producer = DetectorArguments(detector="truth", detector_truth=str(small_world / "truth"))
    path = tmp_path / "evidence.json"
    path.write_text(json.dumps({label: texts for label, texts in table.items() if label != labels[0]}))
    with pytest.raises(ConfigError, match=f"no entry for {labels[0]}"):
        guidance(small_world, tmp_path / "g", replace(producer, evidence=str(path)))
    path.write_text(json.dumps({**table, "juggling": ["ball"]}))
    with pytest.raises(ConfigError, match="juggling: no labels of these videos"):
        guidance(small_world, tmp_path / "g", replace(producer, evidence=str(path)))
    with pytest.raises(ConfigError, match="nothing is evidence"):
        guidance(small_world, tmp_path / "g", producer)
    with pytest.raises(ConfigError, match="not of sentences"):
        guidance(small_world, tmp_path / "g", replace(producer, evidence_classes=["box"]), labels="captions")
    with pytest.raises(DetectionError, match="one concept"):
        Evidence({"a": ["a box, and a bowl"]})
