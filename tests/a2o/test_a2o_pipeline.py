"""A file is detected and classified in one call, as the model was trained to see it."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from fixtures.color_detector import ColorDetector, color_video_frames
from transformers import pipeline

from vidreason.a2o.pictures import added_pixels, draw_added, frame_bytes
from vidreason.a2o.pipeline import ObjectVideoClassifier
from vidreason.backbones.models import build_model, build_processor
from vidreason.detection import DetectionStore, make_detector
from vidreason.errors import ConfigError, DetectionError, VideoError
from vidreason.video import write_video

NAMES = ["wave", "run", "sit"]
TSVIT = {
    "image_size": 32,
    "num_frames": 4,
    "hidden_size": 16,
    "num_spatial_layers": 1,
    "num_temporal_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 24,
}
OF_COLOR = {"detector": "color", "detector_model": "prevailing color", "detector_revision": "1"}


def make_model(class_texts=("red", "blue"), inside="tsvit", **values):
    """A plain A2O model with a trained adapter, and its processor."""
    torch.manual_seed(0)
    fields = TSVIT if inside == "tsvit" else {}
    overrides = {**fields, "class_texts": list(class_texts), **values}
    model = build_model(NAMES, model_type=f"a2o_{inside}", overrides=overrides).eval()
    with torch.no_grad():
        model.adapter.projection.weight.normal_()
    return model, build_processor(model.config)


@pytest.fixture
def video(tmp_path):
    path = tmp_path / "squares.mp4"
    write_video(path, color_video_frames(num_frames=8), fps=10)
    return path


def test_a_file_is_detected_and_classified(video, tmp_path):
    model, processor = make_model(**OF_COLOR, detector_threshold=0.1)
    detector, store = ColorDetector(), DetectionStore(tmp_path / "store.sqlite")
    classify = ObjectVideoClassifier(model, processor, detector, store=store)
    result = classify(video)
    assert result.frame_indices == [1, 3, 5, 7]  # centres of four equal parts
    assert result.timestamps_s == pytest.approx([0.1, 0.3, 0.5, 0.7])
    assert set(detector.asked) == {(text, index) for text in ("red", "blue") for index in result.frame_indices}
    assert [found.status for found in result.detections["blue"]] == ["empty", "ok", "ok", "ok"]

    logits = model(pixel_values=result.pixel_values, object_maps=result.object_maps).logits[0]
    assert [label for label, _ in result.answers] == [NAMES[i] for i in logits.argsort(descending=True)]
    scores = torch.tensor([score for _, score in result.answers])
    torch.testing.assert_close(scores, logits.softmax(-1).sort(descending=True)[0])
    assert dict(result.answers) != pytest.approx(dict(result.answers_without_maps), abs=1e-4)
    # the frames alone are read as the pipeline of transformers reads them
    model.save_pretrained(tmp_path / "model")
    processor.save_pretrained(tmp_path / "model")
    plain = pipeline("video-classification", model=str(tmp_path / "model"))(str(video), top_k=3)
    assert {one["label"]: one["score"] for one in plain} == pytest.approx(dict(result.answers_without_maps), abs=1e-4)

    saved = ObjectVideoClassifier.from_pretrained(tmp_path / "model", detector, store=store)
    again = saved(video, top_k=1)
    assert again.answers == result.answers[:1]
    assert (again.counts.made, again.counts.reused) == (0, 8)
    bare = classify(video, maps=False)
    assert bare.answers == bare.answers_without_maps == result.answers_without_maps
    assert not bare.object_maps.any() and bare.detections == {}


def test_a_model_around_tsvit_loads_by_the_pipeline_alone(tmp_path):
    """In a process that has imported nothing else, which this one has."""
    model, processor = make_model()
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    code = (
        "import sys; from vidreason.a2o.pipeline import ObjectVideoClassifier as Classifier\n"
        "from fixtures.color_detector import ColorDetector\n"
        "print(type(Classifier.from_pretrained(sys.argv[1], ColorDetector()).model.backbone).__name__)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", code, str(tmp_path)]
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert finished.stdout.strip() == "TSViTForVideoClassification", finished.stderr


@pytest.mark.parametrize("inside", ["tsvit", "vjepa2_small"])  # one sees the whole frame, the other its middle
@pytest.mark.parametrize("map_size_px", [None, 16])
def test_maps_lie_on_the_pixels_that_the_model_sees(video, inside, map_size_px):
    model, processor = make_model(("blue", "red"), inside)
    model.config.map_size_px = map_size_px  # what the configuration says is taken
    result = ObjectVideoClassifier(model, processor, ColorDetector())(video)
    assert result.object_maps.shape[-1] == (map_size_px or result.pixel_values.shape[-1])
    seen = frame_bytes(processor, result.pixel_values[0]).astype(float)
    maps = result.object_maps[0].numpy()
    times = seen.shape[1] // maps.shape[2]
    for channel, colour, others in ((1, 0, (1, 2)), (0, 2, (0, 1))):
        is_colour = seen[..., colour] > seen[..., others].max(axis=-1) + 60
        cells = is_colour.reshape(*maps.shape[:1], maps.shape[2], times, maps.shape[3], times).mean(axis=(2, 4))
        assert maps[:, channel].max() == pytest.approx(0.9)  # the detector's score
        mapped, coloured = maps[:, channel] > 0.45, cells > 0.5
        # pixels at the border are mixed by the resize; a map that lay one cell beside would meet less
        assert overlap(mapped, coloured) > 0.8
        for by in (1, -1) if colour == 0 else ():  # the blue bar has all of the width
            assert overlap(np.roll(mapped, by, axis=2), coloured) < overlap(mapped, coloured)


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    return (one & other).sum() / (one | other).sum()


def test_pictures_show_what_is_added(video):
    model, processor = make_model()
    result = ObjectVideoClassifier(model, processor, ColorDetector(), map_size_px=16)(video)
    pixels, maps = result.pixel_values[0], result.object_maps[0]
    added = added_pixels(model, processor, maps, pixels.shape[-2:])
    with torch.no_grad():
        there = model._with_maps(pixels[None], maps[None])[0]
    shown = torch.from_numpy(added)
    std = torch.tensor(processor.image_std).view(3, 1, 1)
    torch.testing.assert_close((there - pixels) * std * 255, shown, rtol=1e-4, atol=1e-3)

    pictures = draw_added(model, processor, pixels, maps, ["red", "blue"], height_px=32)
    assert len(pictures) == 4 and pictures[0].shape[1] == 5 * 32 + 4 * 8  # panels and gaps
    panels = [picture[-32:, start : start + 32] for picture in pictures for start in (0, 3 * 40, 4 * 40)]
    for frame, change, summed in zip(panels[::3], panels[1::3], panels[2::3], strict=True):
        assert (change == 128).all(axis=-1).any() and (change != 128).any()
        still = (change == 128).all(axis=-1)
        assert np.array_equal(frame[still], summed[still]) and not np.array_equal(frame, summed)
    largest = draw_added(model, processor, pixels, maps, height_px=32)
    assert largest[0].shape[1] == 4 * 32 + 3 * 8
    nothing = draw_added(model, processor, pixels, torch.zeros_like(maps), height_px=32)
    assert (nothing[0][-32:, 2 * 40 : 2 * 40 + 32] == 128).all()
    with pytest.raises(ValueError, match="'dog': the model's classes are red, blue"):
        draw_added(model, processor, pixels, maps, ["dog"])
    with pytest.raises(ValueError, match="do not divide"):
        draw_added(model, processor, pixels, maps[..., :15])


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"detector": "coco"}, r"detector coco \(given: color\)"),
        ({**OF_COLOR, "detector_revision": "2"}, r"detector_revision 2 \(given: 1\)"),
        ({**OF_COLOR, "detector_model": "eyes"}, r"detector_model eyes \(given: prevailing color\)"),
        ({**OF_COLOR, "detector_threshold": 0.5}, r"detector_threshold 0.5 \(given: 0.1\)"),
    ],
)
def test_another_detector_than_in_training_is_refused(values, named):
    model, processor = make_model(**values)
    with pytest.raises(ConfigError, match=f"maps of another detector: {named}"):
        ObjectVideoClassifier(model, processor, ColorDetector())


def test_what_cannot_be_used_is_named(video, tmp_path):
    model, processor = make_model()
    classify = ObjectVideoClassifier(model, processor, ColorDetector())
    with pytest.raises(ConfigError, match="top_k is 0"):
        classify(video, top_k=0)
    with pytest.raises(VideoError, match="nowhere"):
        classify(tmp_path / "nowhere.mp4")
    with pytest.raises(ConfigError, match="TSViTForVideoClassification is no A2O model"):
        plain = build_model(NAMES, overrides=TSVIT)
        ObjectVideoClassifier(plain, processor, ColorDetector())
    with pytest.raises(ConfigError, match="map_size_px is 5"):
        ObjectVideoClassifier(model, processor, ColorDetector(), map_size_px=5)
    with pytest.raises(ConfigError, match=r"nothing_here cannot be loaded"):
        ObjectVideoClassifier.from_pretrained(str(tmp_path / "nothing_here"), ColorDetector())
    with pytest.raises(DetectionError, match="a, b"):
        ObjectVideoClassifier(*make_model(("a, b",)), ColorDetector())
    unknown = ObjectVideoClassifier(*make_model(("red", "sky")), ColorDetector())(video)
    assert {found.status for found in unknown.detections["sky"]} == {"unknown_class"}
    assert not unknown.object_maps[:, :, 1].any() and unknown.object_maps[:, :, 0].any()


def test_real_files_with_a_real_detector(shared_data):
    try:
        detector = make_detector("coco")
    except DetectionError as error:
        pytest.skip(str(error))
    model, processor = make_model(("person", "sports ball"), detector="coco", detector_threshold=0.3)
    classify = ObjectVideoClassifier(model, processor, detector)
    juggling = shared_data / "clips" / "UCF-101" / "SoccerJuggling" / "v_SoccerJuggling_g23_c01.avi"
    for path in (juggling, next((shared_data / "clips" / "Kinetics").glob("*.mp4"))):
        result = classify(path, top_k=2)
        assert len(result.answers) == len(result.answers_without_maps) == 2
        assert result.object_maps[:, :, 0].max() > 0.5, f"a person is in {path}"
        assert result.counts.made == 8 and result.counts.failed == 0
        assert result.answers != result.answers_without_maps
    ball = classify(juggling).object_maps[0, :, 1]
    assert 0 < (ball > 0.1).float().mean() < 0.05  # it is small
