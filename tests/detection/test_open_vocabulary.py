"""Detectors of open vocabulary, on tiny networks with random weights."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from fixtures import tiny_detectors

from vidreason.detection import Found, make_detector
from vidreason.errors import DetectionError

SAVE = {
    "grounding_dino": tiny_detectors.save_grounding_dino,
    "mm_grounding_dino": lambda folder: tiny_detectors.save_grounding_dino(folder, mm=True),
    "owlv2": tiny_detectors.save_owlv2,
    "sam3": tiny_detectors.save_sam3,
    "sam2": tiny_detectors.save_sam2,
}
OTHERS = ["forearm", "dog", "hot dog", "person", *(f"ball {letter}" for letter in "abcdefghijklmnopq")]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    return {name: save(root / name) for name, save in SAVE.items()}


@pytest.fixture(scope="module")
def frames():
    return np.random.default_rng(0).integers(0, 256, (3, 40, 80, 3), dtype=np.uint8)


def keys(count):
    return [{"video_id": "v", "frame_index": index} for index in range(count)]


def make(folders, name, **settings):
    settings = {"threshold": 0.0, "device": "cpu", **settings}
    return make_detector(name.removeprefix("mm_"), model=str(folders[name]), **settings)


def same(one: Found, other: Found) -> bool:
    masks = [found.masks or () for found in (one, other)]
    return (
        one.status == other.status
        and np.array_equal(one.boxes, other.boxes)
        and np.array_equal(one.scores, other.scores)
        and len(masks[0]) == len(masks[1])
        and all(np.array_equal(a, b) for a, b in zip(*masks, strict=True))
    )


@pytest.mark.parametrize("name", ["grounding_dino", "mm_grounding_dino", "owlv2", "sam3"])
def test_a_class_is_found_alike_alone_and_among_twenty_others(name, folders, frames):
    detector = make(folders, name)
    alone = detector.detect(frames, keys(3), "arm")
    among = detector.detect_classes(frames, keys(3), [*OTHERS[:10], "arm", *OTHERS[10:]])
    assert all(len(found) for found in alone)
    assert all(same(a, b) for a, b in zip(alone, among["arm"], strict=True))
    # another text gives other scores, so that the above says something
    assert not any(same(a, b) for a, b in zip(alone, among["forearm"], strict=True))
    assert not any(same(a, b) for a, b in zip(among["dog"], among["hot dog"], strict=True))


@pytest.mark.parametrize("name", ["grounding_dino", "mm_grounding_dino", "owlv2", "sam3"])
def test_frames_in_a_batch_are_found_as_single_ones(name, folders, frames):
    together = make(folders, name, batch_size=3).detect(frames, keys(3), "person")
    single = make(folders, name, batch_size=1).detect(frames, keys(3), "person")
    for one, other in zip(together, single, strict=True):
        np.testing.assert_allclose(one.scores, other.scores, atol=1e-4)
        # of two alike scores either may come first
        np.testing.assert_allclose(np.sort(one.boxes, axis=0), np.sort(other.boxes, axis=0), atol=1e-4)
    assert not same(single[0], single[1])  # the frames are not alike


@pytest.mark.parametrize("name", ["grounding_dino", "mm_grounding_dino"])
def test_the_score_is_the_largest_over_the_tokens_of_the_class_alone(name, folders, frames, monkeypatch):
    detector = make(folders, name)
    # tokens of the prompt: [CLS], "fore", "##arm", ".", [SEP]
    logits = torch.full((1, 12, 16), -20.0)
    logits[0, 0, 1], logits[0, 0, 2] = 0.0, 2.0  # the class's own
    logits[0, 1, 3] = 9.0  # the full stop
    logits[0, 2, 0] = logits[0, 2, 4] = 9.0  # special tokens
    boxes = torch.full((1, 12, 4), 0.1)
    boxes[0, 0] = torch.tensor([0.5, 0.25, 0.2, 0.5])  # centre, width and height, as shares
    given = {}

    def answer(**inputs):
        given.update(inputs)
        return type("Output", (), {"logits": logits, "pred_boxes": boxes})

    monkeypatch.setattr(detector, "_network", answer)
    found = detector.detect(frames[:1], keys(1), "forearm")[0]
    assert detector._tokenizer.decode(given["input_ids"][0]) == "[CLS] fore ##arm . [SEP]"
    assert found.scores[0] == pytest.approx(torch.tensor(2.0).sigmoid().item())
    np.testing.assert_allclose(found.boxes[0], [0.4, 0.0, 0.6, 0.5], atol=1e-6)
    assert (found.scores[1:] < 1e-6).all()


@pytest.mark.parametrize(("height", "width"), [(40, 80), (80, 40), (40, 40)])
def test_boxes_of_owlv2_are_scaled_by_the_longer_side_once(folders, height, width, monkeypatch):
    detector = make(folders, "owlv2", threshold=0.5)
    # the object covers 0.25 to 0.75 of the width and 0.5 to 1 of the height; the network speaks of the padded square
    x0, y0, x1, y1 = 0.25 * width, 0.5 * height, 0.75 * width, 1.0 * height
    side = max(height, width)
    square = torch.tensor([(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0]) / side
    beyond = torch.tensor([0.95, 0.95, 0.08, 0.08])  # in the padding of a frame that is not square
    network = detector._network
    monkeypatch.setattr(network, "box_predictor", lambda flat, features: torch.stack([square, beyond])[None])
    monkeypatch.setattr(network, "class_predictor", lambda flat, query: (torch.tensor([[[3.0], [1.0]]]), None))
    found = detector.detect(np.zeros((1, height, width, 3), np.uint8), keys(1), "ball")[0]
    np.testing.assert_allclose(found.boxes[0], [0.25, 0.5, 0.75, 1.0], atol=1e-6)
    assert len(found) == (2 if height == width else 1)
    # as the installed version's own post-processing, which also speaks of the longer side
    outputs = type("Output", (), {"logits": torch.tensor([[[3.0]]]), "pred_boxes": square[None, None]})
    own = detector._image_processor.post_process_object_detection(outputs, 0.5, target_sizes=[(height, width)])
    np.testing.assert_allclose(own[0]["boxes"][0].numpy() / np.array([width, height] * 2), found.boxes[0], atol=1e-6)


def test_owlv2_asked_class_by_class_says_what_its_whole_network_says(folders, frames):
    detector = make(folders, "owlv2", max_boxes=64)
    found = detector.detect(frames[:1], keys(1), "arm")[0]
    pixels = detector._image_processor(images=[frames[0]], return_tensors="pt")["pixel_values"]
    text = detector._tokenizer("a photo of a arm", padding="max_length", max_length=40, return_tensors="pt")
    with torch.inference_mode():
        outputs = detector._network(pixel_values=pixels, **{k: text[k] for k in ("input_ids", "attention_mask")})
    results = detector._image_processor.post_process_object_detection(outputs, 0.0, target_sizes=[(40, 80)])
    expected = Found.of(results[0]["boxes"].numpy() / np.array([80, 40, 80, 40]), results[0]["scores"])
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-5)
    np.testing.assert_allclose(np.sort(found.boxes, axis=0), np.sort(expected.boxes, axis=0), atol=1e-4)


def test_the_score_of_sam3_is_probability_times_presence(folders, frames, monkeypatch):
    detector = make(folders, "sam3", threshold=0.2)
    mask = torch.full((1, 2, 8, 8), -1.0)
    mask[0, 0, :4] = 1.0  # the upper half
    outputs = {
        "pred_logits": torch.tensor([[0.0, -2.0]]),
        "presence_logits": torch.tensor([[1.0]]),
        "pred_boxes": torch.tensor([[[0.1, 0.2, 0.3, 0.4], [0, 0, 1, 1]]]),
        "pred_masks": mask,
    }
    seen = type("Seen", (), {"fpn_hidden_states": [torch.zeros(1)]})
    monkeypatch.setattr(detector, "_look", lambda batch: seen)
    monkeypatch.setattr(detector, "_network", lambda **inputs: type("Output", (), outputs))
    found = detector.detect(frames[:1], keys(1), "arm")[0]
    assert found.scores.tolist() == pytest.approx([0.5 * torch.tensor(1.0).sigmoid().item()])
    np.testing.assert_allclose(found.boxes, [[0.1, 0.2, 0.3, 0.4]], atol=1e-6)
    assert found.masks is not None
    assert found.masks[0][:4].all()
    assert not found.masks[0][4:].any()


def test_masks_by_sam2_are_of_each_box_and_over_the_whole_frame(folders, frames):
    detector = make(folders, "grounding_dino", masks=str(folders["sam2"]))
    found = detector.detect(frames[:1], keys(1), "arm")[0]
    assert found.masks is not None
    assert len(found.masks) == len(found.boxes) > 1
    assert {mask.shape for mask in found.masks} == {(32, 32)}
    # as the processor's own way with boxes in pixels of a frame that is not square
    masks = detector._masks
    inputs = tiny_detectors.Sam2Processor.from_pretrained(folders["sam2"])(
        images=[frames[0]],
        input_boxes=[(found.boxes * np.array([80, 40, 80, 40])).tolist()],
        return_tensors="pt",
    )
    pixels, boxes = inputs["pixel_values"], inputs["input_boxes"]
    with torch.inference_mode():
        outputs = masks._network(pixel_values=pixels, input_boxes=boxes, multimask_output=False)
    expected = (outputs.pred_masks[0, :, 0] > 0).numpy()
    assert np.mean(np.stack(found.masks) == expected) > 0.999
    assert detector.key["masks"].startswith("sam2 ")
    assert make(folders, "grounding_dino").key != detector.key


def test_texts_that_a_detector_cannot_read_are_refused_and_not_cut(folders, frames, tmp_path):
    short = tiny_detectors.save_grounding_dino(tmp_path / "short", max_text_len=5)
    detector = make_detector("grounding_dino", model=str(short), device="cpu")
    assert detector.check_text(" Hot  Dog ") == "hot dog"  # [CLS] hot dog . [SEP]
    for ask in (detector.check_text, lambda text: detector.detect(frames, keys(3), text)):
        with pytest.raises(DetectionError, match=r"'hot dog net' takes 6 tokens .* reads 5"):
            ask("hot dog net")
    with pytest.raises(DetectionError, match="has no token for"):
        detector.check_text("zebra")
    for name, text in (("sam3", "a" * 31), ("owlv2", "a" * 30)):
        with pytest.raises(DetectionError, match=f"tokens .*{name!r} reads"):
            make(folders, name).check_text(text)
    assert make(folders, "sam3").check_text("a" * 30) == "a" * 30


def test_what_is_kept_hangs_on_threshold_overlap_and_number(folders, frames, monkeypatch):
    def candidates(scores):
        boxes = torch.tensor([[0, 0, 0.5, 0.5], [0, 0, 0.5, 0.45], [0.5, 0.5, 1, 1]])
        return lambda seen, text: [type("C", (), {"boxes": boxes, "scores": torch.tensor(scores), "masks": None})]

    def scores_of(given, **settings):
        detector = make(folders, "owlv2", **settings)
        monkeypatch.setattr(detector, "_find", candidates(given))
        return detector.detect(frames[:1], keys(1), "arm")[0]

    assert scores_of([0.5, 0.9, 0.3], threshold=0.3).scores.tolist() == pytest.approx([0.9, 0.5, 0.3])
    assert scores_of([0.5, 0.9, 0.3], threshold=0.31).scores.tolist() == pytest.approx([0.9, 0.5])
    assert scores_of([0.5, 0.9, 0.3], max_overlap=0.7).scores.tolist() == pytest.approx([0.9, 0.3])
    assert scores_of([0.5, 0.9, 0.3], max_boxes=1).scores.tolist() == pytest.approx([0.9])
    assert scores_of([0.1, 0.1, 0.1], threshold=0.2).status == "empty"
    odd = scores_of([0.5, float("nan"), 0.3])
    assert (odd.status, len(odd)) == ("failed", 0)


def test_the_key_changes_with_the_weights_and_with_all_that_decides(folders, tmp_path):
    other = tiny_detectors.save_grounding_dino(tmp_path / "grounding_dino", seed=1)
    detector = make(folders, "grounding_dino")
    again = shutil.copytree(folders["grounding_dino"], tmp_path / "copy" / "grounding_dino")
    assert make_detector("grounding_dino", model=str(again), threshold=0.0, device="cpu").key == detector.key
    assert len(detector.revision) == 12
    changed = [
        make_detector("grounding_dino", model=str(other), threshold=0.0, device="cpu"),
        make(folders, "grounding_dino", threshold=0.1),
        make(folders, "grounding_dino", dtype="bfloat16"),
        make(folders, "grounding_dino", max_overlap=0.5),
        make(folders, "grounding_dino", max_side_px=100),
    ]
    assert len({detector.key_text, *(one.key_text for one in changed)}) == 6
    found = changed[2].detect(np.full((1, 40, 80, 3), 100, np.uint8), keys(1), "arm")[0]
    assert found.scores.dtype == np.float32
    assert make(folders, "owlv2", prompt="{}").key != make(folders, "owlv2").key


def test_absent_unfit_and_damaged_weights_are_one_line(folders, tmp_path):
    def refused(pattern, name="grounding_dino", **settings):
        with pytest.raises(DetectionError, match=pattern) as caught:
            make_detector(name, **{"device": "cpu", **settings})
        assert "\n" not in str(caught.value)

    refused("nowhere cannot be loaded", model=str(tmp_path / "nowhere"))
    refused("of the kind 'owlv2', expected 'grounding-dino'", model=str(folders["owlv2"]))
    refused("of the kind 'owlv2', expected 'sam2'", model=str(folders["grounding_dino"]), masks=str(folders["owlv2"]))
    for setting in ({"threshold": 1.0}, {"batch_size": 0}, {"max_overlap": 2}, {"max_boxes": 0}, {"max_side_px": 0}):
        refused(f"{next(iter(setting))} is", model=str(folders["grounding_dino"]), **setting)
    refused("dtype is 'int8'", model=str(folders["grounding_dino"]), dtype="int8")
    refused("device 'abacus'", model=str(folders["grounding_dino"]), device="abacus")
    refused("prompt is", "owlv2", model=str(folders["owlv2"]), prompt="a photo")

    from safetensors.torch import load_file, save_file

    damaged = shutil.copytree(folders["grounding_dino"], tmp_path / "damaged")
    weights = load_file(damaged / "model.safetensors")
    lacking = {name: value for name, value in weights.items() if not name.startswith("model.text_projection")}
    save_file(lacking, damaged / "model.safetensors", metadata={"format": "pt"})
    # transformers would draw these at random, and only warn
    refused(r"lacks 2 weights, such as model\.text_projection", model=str(damaged))
    (damaged / "model.safetensors").write_bytes(b"\x08\x00")
    refused("damaged cannot be loaded", model=str(damaged))
