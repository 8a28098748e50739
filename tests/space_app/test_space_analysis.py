"""What a model makes of a clip, and how that agrees with guidance."""

import math

import numpy as np
import pytest
import torch
from clipview.agreement import AgreementSummary, FrameAgreement, frame_agreement, summarize
from clipview.analysis import analyse
from clipview.checkpoints import display_name, load_checkpoint, load_checkpoints, read_card
from clipview.limits import Deadline, Refused
from clipview.reading import read_clip
from clipview.settings import Drawing
from fixtures.space_clips import LABELS, NUM_FRAMES, write_clip
from transformers import TimesformerConfig, TimesformerForVideoClassification, pipeline
from transformers.models.timesformer.video_processing_timesformer import TimesformerVideoProcessor

from modeling_tsvit import TSViTConfig, TSViTForVideoClassification
from vidreason.attention.visualize import attention_maps
from vidreason.errors import ConfigError
from vidreason.guidance import GridMap

PATIENT = Deadline(float("inf"))  # it is made when tests are collected, minutes before some of them run


# models


def test_the_answer_is_that_of_the_pipeline(checkpoint_folders, checkpoints, square, square_path):
    classify = pipeline("video-classification", model=str(checkpoint_folders[1]), top_k=3)
    expected = {entry["label"]: entry["score"] for entry in classify(str(square_path))}
    analysis = analyse(checkpoints["with"], square, PATIENT)
    assert dict(analysis.top()) == pytest.approx(expected, abs=1e-5)
    assert analysis.top(1)[0][0] == max(expected, key=expected.get)


@pytest.mark.parametrize(
    ("name", "tolerance"),
    [
        ("clips/Kinetics/R6llTwEh07w.mp4", 1e-4),
        ("clips/UCF-101/SoccerJuggling/v_SoccerJuggling_g23_c01.avi", 1e-4),
        ("gmdcsa24/subject_4/Fall/02.mp4", 0.05),  # 640 x 480: scaled down to what is shown
    ],
)
def test_on_real_video_too(shared_data, checkpoint_folders, checkpoints, limits, name, tolerance):
    path = shared_data / name
    if not path.is_file():
        pytest.skip(f"{name} is not among the real data")
    classify = pipeline("video-classification", model=str(checkpoint_folders[1]), top_k=3)
    expected = {entry["label"]: entry["score"] for entry in classify(str(path))}
    clip = read_clip(path, [NUM_FRAMES], limits, Drawing())
    assert dict(analyse(checkpoints["with"], clip, PATIENT).top()) == pytest.approx(expected, abs=tolerance)


def test_the_views_are_the_models_own(checkpoints, square):
    model, processor = checkpoints["with"].model, checkpoints["with"].processor
    inputs = processor(square.frames[square.sampled[NUM_FRAMES]], do_sample_frames=False, return_tensors="pt")
    with torch.no_grad():
        views = model(**inputs).segment_logits.softmax(dim=-1)[0].numpy()
    analysis = analyse(checkpoints["with"], square, PATIENT)
    np.testing.assert_allclose(analysis.views, views, atol=1e-5)
    np.testing.assert_allclose(analysis.views[2], analysis.shares, atol=1e-6)
    mean = views.mean(axis=0)
    assert analysis.divergence == pytest.approx((views * np.log(views / mean)).sum(axis=1).mean(), abs=1e-5)


def test_every_picture_has_the_attention_of_its_own_frame(checkpoints, square):
    checkpoint = checkpoints["with"]
    expected = attention_maps(checkpoint.model, checkpoint.processor, square.frames[square.shown])
    found = analyse(checkpoint, square, PATIENT).attention
    assert len(found) == 24 and found[0].grid == (4, 4)
    np.testing.assert_allclose([m.weights for m in found], [m.weights for m in expected], atol=1e-5)
    np.testing.assert_allclose([m.weights.sum() for m in found], 1, atol=1e-4)


def test_other_models_lend_pictures_the_attention_of_the_nearest_sampled_frame(tmp_path, square):
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = TimesformerConfig(image_size=32, patch_size=8, num_frames=NUM_FRAMES, **shape, num_labels=2)
    TimesformerForVideoClassification(config).save_pretrained(tmp_path / "other")
    size = {"height": 32, "width": 32}
    TimesformerVideoProcessor(size=size, do_center_crop=False).save_pretrained(tmp_path / "other")
    checkpoint = load_checkpoint(str(tmp_path / "other"))
    assert not checkpoint.per_frame and checkpoint.num_frames == NUM_FRAMES
    attention = analyse(checkpoint, square, PATIENT).attention
    weights = np.stack([m.weights for m in attention])
    assert weights.shape == (24, 16) and attention[0].grid == (4, 4)
    # frames 3, 9, 15 and 21 are sampled; 6, 12 and 18 lie in the middle and take the earlier one
    assert [len(np.unique(weights[part], axis=0)) for part in (slice(0, 7), slice(7, 13), slice(13, 19))] == [1, 1, 1]
    assert len(np.unique(weights, axis=0)) == 4


def test_analysis_ends_when_the_time_is_over(checkpoints, square):
    with pytest.raises(Refused, match="too long"):
        analyse(checkpoints["with"], square, Deadline(-1))


# checkpoints


def test_checkpoints_have_names_cards_and_labels(checkpoints, checkpoint_folders):
    assert list(checkpoints) == ["without", "with"]
    assert checkpoints["with"].card == "# Card of with" and checkpoints["with"].labels == LABELS
    assert not checkpoints["with"].model.training
    assert display_name(str(checkpoint_folders[0])) == "without" and display_name("someone/model") == "someone/model"
    with pytest.raises(ConfigError, match="two checkpoints are called 'with'"):
        load_checkpoints([str(checkpoint_folders[1])] * 2)


def test_pickled_weights_are_refused(tmp_path, checkpoint_folders):
    for source in checkpoint_folders[0].iterdir():
        if source.suffix != ".safetensors":
            (tmp_path / source.name).write_bytes(source.read_bytes())
    harm = tmp_path / "harm"
    (tmp_path / "pytorch_model.bin").write_bytes(
        b"cos\nsystem\n(S'touch " + str(harm).encode() + b"'\ntR."  # what unpickling would run
    )
    with pytest.raises(ConfigError, match="cannot be loaded"):
        load_checkpoint(str(tmp_path))
    assert not harm.exists()


def test_remote_code_runs_only_for_names_that_were_listed(tmp_path):
    harm = tmp_path / "harm"
    folder = tmp_path / "stranger"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "stranger", "auto_map": {"AutoConfig": "evil.Evil"}}')
    (folder / "evil.py").write_text(
        f"import pathlib\npathlib.Path({str(harm)!r}).touch()\n"
        "from transformers import PreTrainedConfig\nclass Evil(PreTrainedConfig):\n    model_type = 'stranger'\n"
    )
    with pytest.raises(ConfigError, match="cannot be loaded"):
        load_checkpoint(str(folder))
    assert not harm.exists()
    with pytest.raises(ConfigError):  # it is listed: its code runs, and is of no use here
        load_checkpoint(str(folder), remote_code=True)
    assert harm.exists()


def test_other_tasks_and_lost_weights_are_named(tmp_path, checkpoint_folders):
    for source in checkpoint_folders[0].iterdir():
        (tmp_path / source.name).write_bytes(source.read_bytes())
    config = TSViTConfig.from_pretrained(tmp_path)
    config.architectures = ["TSViTForSomethingElse"]
    config.save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="TSViTForSomethingElse"):
        load_checkpoint(str(tmp_path))
    model = TSViTForVideoClassification.from_pretrained(checkpoint_folders[0])
    state = {name: value for name, value in model.state_dict().items() if not name.startswith("classifier")}
    model.save_pretrained(tmp_path, state_dict=state)
    with pytest.raises(ConfigError, match="lacks 4 weights, such as classifier"):
        load_checkpoint(str(tmp_path))


def test_a_checkpoint_without_a_card_has_none(tmp_path):
    assert read_card(str(tmp_path)) == ""


# agreement


def test_agreement_of_known_maps():
    p = np.full(16, 0.02, np.float32)
    p[5], p[6] = 0.52, 0.2
    q = np.zeros(16, np.float32)
    q[[6, 7]] = 0.5
    (frame,) = frame_agreement([GridMap(p, (4, 4))], [GridMap(q, (4, 4))])
    assert frame.mass == pytest.approx(0.22) and frame.hit is False
    assert frame.divergence == pytest.approx(0.5 * math.log(0.5 / 0.2) + 0.5 * math.log(0.5 / 0.02), abs=1e-4)
    q[:] = 0
    q[5] = 1
    (frame,) = frame_agreement([GridMap(p, (4, 4))], [GridMap(q, (4, 4))])
    assert (frame.mass, frame.hit) == (pytest.approx(0.52), True)


def test_guidance_is_cut_to_what_the_model_sees_and_laid_over_its_tokens():
    q = np.zeros(16, np.float32)
    q[0] = 1  # upper left of the frame
    seen = GridMap(np.full(4, 0.25, np.float32), (2, 2), (0.0, 0.0, 0.5, 0.5))
    unseen = GridMap(np.full(4, 0.25, np.float32), (2, 2), (0.5, 0.5, 1.0, 1.0))
    inside, outside, unguided = frame_agreement([seen, unseen, seen], [GridMap(q, (4, 4))] * 2 + [None])
    assert inside == FrameAgreement(pytest.approx(0.25), pytest.approx(math.log(4), abs=1e-4), True)
    assert outside == unguided == FrameAgreement()


def test_the_summary_counts_guided_pictures_only():
    frames = [FrameAgreement(0.2, 1.0, True), FrameAgreement(), FrameAgreement(0.4, 3.0, False)]
    assert summarize(frames) == AgreementSummary(2, pytest.approx(0.3), 2.0, 0.5)
    assert summarize([FrameAgreement()] * 4) == AgreementSummary(0, None, None, None)


def test_a_clip_of_one_frame_is_analysed(tmp_path, checkpoints, limits):
    path = write_clip(tmp_path / "one.mp4", np.full((1, 96, 128, 3), 90, np.uint8))
    clip = read_clip(path, [NUM_FRAMES], limits, Drawing())
    analysis = analyse(checkpoints["with"], clip, PATIENT)
    assert len(clip.shown) == len(analysis.attention) == 1
    assert analysis.shares.sum() == pytest.approx(1, abs=1e-5)
