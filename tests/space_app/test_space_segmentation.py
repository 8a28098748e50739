"""Checkpoints that segment: loading them, what they make of a clip, and what programs are told."""

import json

import numpy as np
import pytest
import torch
from clipview.agreement import frame_agreement
from clipview.analysis import analyse
from clipview.checkpoints import CLASSIFICATION, SEGMENTATION, load_checkpoint
from clipview.examples import ASSEMBLY_TABLE, TABLE, build_examples
from clipview.guidance import PUBLISHED, KnownClips
from clipview.limits import Deadline, Refused
from clipview.reader import ClipReader
from clipview.reading import read_clip
from clipview.segmentation import label_clip, mean_views, time_shares
from clipview.service import Ask
from clipview.settings import Drawing, Limits
from fixtures.space_clips import encode_at
from fixtures.space_segmenter import PARTS, RATE, SEGMENT_LABELS, write_colors

from modeling_tsvit import TSViTForActionSegmentation
from vidreason.attention.visualize import attention_maps
from vidreason.errors import ConfigError
from vidreason.segmentation.labelling import ActionSegment, load_labeller

PATIENT = Deadline(float("inf"))  # it is made when tests are collected, minutes before some of them run
TRUE_BORDERS_S = [0.0, *np.cumsum([seconds for _, seconds in PARTS]).tolist()]
TRUE_LABELS = [SEGMENT_LABELS[label] for label, _ in PARTS]


@pytest.fixture(scope="module")
def checkpoint(all_checkpoints):
    return all_checkpoints["segmenter"]


@pytest.fixture(scope="module")
def colors(colors_path, limits):
    """The clip of colours as it is read for the model."""
    return read_clip(colors_path, [], limits, Drawing(), [RATE])


def copied(source, target, **changes):
    """A checkpoint's folder with other fields in its configuration."""
    target.mkdir()
    for path in source.iterdir():
        if path.is_file():
            (target / path.name).write_bytes(path.read_bytes())
    config = json.loads((target / "config.json").read_text()) | changes
    (target / "config.json").write_text(json.dumps(config))
    return target


# loading


def test_a_segmentation_checkpoint_is_loaded_as_one(all_checkpoints):
    checkpoint = all_checkpoints["segmenter"]
    assert checkpoint.task == SEGMENTATION and isinstance(checkpoint.model, TSViTForActionSegmentation)
    assert checkpoint.labels == SEGMENT_LABELS and checkpoint.frames_per_second == RATE and checkpoint.per_frame
    assert checkpoint.card == "# Card of segmenter" and not checkpoint.model.training
    assert all_checkpoints["with"].task == CLASSIFICATION and all_checkpoints["with"].frames_per_second is None


@pytest.mark.parametrize("rate", [None, 1000])
def test_the_rate_must_be_known_and_within_the_limit(segmenter_folder, tmp_path, rate):
    folder = copied(segmenter_folder, tmp_path / "other", frames_per_second=rate)
    with pytest.raises(ConfigError, match=rf"other: frames_per_second is {rate}, expected the rate .* up to 30"):
        load_checkpoint(str(folder))


def test_neither_pickled_weights_nor_a_folders_code_are_run(segmenter_folder, tmp_path):
    harm = tmp_path / "harm"
    folder = copied(segmenter_folder, tmp_path / "stranger")
    code = folder / "action_segmentation_tsvit.py"  # which a saved folder brings along
    code.write_text(f"import pathlib\npathlib.Path({str(harm)!r}).touch()\n" + code.read_text())
    assert isinstance(load_checkpoint(str(folder)).model, TSViTForActionSegmentation)
    assert not harm.exists()
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'touch " + str(harm).encode() + b"'\ntR.")
    with pytest.raises(ConfigError, match="cannot be loaded"):
        load_checkpoint(str(folder))
    assert not harm.exists()


# reading


def test_frames_at_a_rate_are_those_nearest_in_time(colors, limits, colors_path):
    positions = colors.at_rate[RATE]
    assert len(positions) == 16
    np.testing.assert_allclose(colors.times_s[positions], np.arange(16) / RATE, atol=1e-6)
    assert colors.sampled == {} and len(colors.shown) == 48
    reader = ClipReader(limits, Drawing())
    try:
        passed_on = reader.read(colors_path, [3], [RATE, 2.5])  # through the process, as JSON
    finally:
        reader.close()
    assert list(passed_on.at_rate) == [RATE, 2.5] and len(passed_on.at_rate[2.5]) == 10
    np.testing.assert_array_equal(passed_on.frames[passed_on.at_rate[RATE]], colors.frames[positions])


# analysis


def test_the_segments_are_found(checkpoint, colors):
    segments = analyse(checkpoint, colors, PATIENT).segments
    assert [segment.label for segment in segments] == TRUE_LABELS
    assert [segment.start_s for segment in segments] == TRUE_BORDERS_S[:-1]
    assert [segment.end_s for segment in segments] == pytest.approx(TRUE_BORDERS_S[1:])
    assert all(0.5 < segment.score <= 1 for segment in segments)


def test_they_are_those_of_the_library(checkpoint, colors, colors_path, segmenter_folder):
    ours = analyse(checkpoint, colors, PATIENT).segments
    for found, expected in zip(ours, load_labeller(str(segmenter_folder))(colors_path), strict=True):
        assert (found.start_s, found.label) == (expected.start_s, expected.label)
        assert (found.end_s, found.score) == pytest.approx((expected.end_s, expected.score), abs=1e-5)


def test_shares_of_the_time_and_views_are_those_of_the_frames(checkpoint, colors):
    analysis = analyse(checkpoint, colors, PATIENT)
    assert analysis.shares.tolist() == pytest.approx([1 / 4, 2 / 4, 1 / 4])
    assert analysis.top(1) == [(SEGMENT_LABELS[1], pytest.approx(0.5))]
    probabilities = label_clip(checkpoint, colors, PATIENT)[1].numpy()
    assert probabilities.shape == (16, 3)
    expected = [probabilities[part].mean(axis=0) for part in (slice(0, 3), slice(3, 13), slice(0, 16))]
    np.testing.assert_allclose(analysis.views, expected, atol=1e-6)
    mean = analysis.views.mean(axis=0)
    divergence = (analysis.views * np.log(analysis.views / mean)).sum(axis=1).mean()
    assert analysis.divergence == pytest.approx(divergence, abs=1e-5) and divergence > 0.05


def test_views_and_shares_of_known_frames():
    views = mean_views(torch.eye(2)[[0] * 2 + [1] * 8])
    torch.testing.assert_close(views, torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.2, 0.8]]))
    segments = [ActionSegment(0.0, 0.5, "a", 1.0), ActionSegment(0.5, 2.0, "b", 1.0)]
    assert time_shares(segments, ["b", "a", "c"]).tolist() == [0.75, 0.25, 0.0]


def test_every_picture_has_its_attention_and_agreement(checkpoint, colors):
    expected = attention_maps(checkpoint.model, checkpoint.processor, colors.frames[colors.shown])
    found = analyse(checkpoint, colors, PATIENT).attention
    assert len(found) == 48 and found[0].grid == (4, 4)
    np.testing.assert_allclose([m.weights for m in found], [m.weights for m in expected], atol=1e-5)
    assert all(frame.hit for frame in frame_agreement(found, found))


def test_a_clip_of_one_frame_is_one_segment(checkpoint, tmp_path, limits):
    path = write_colors(tmp_path / "one.mp4", [(2, 1 / 12)])
    analysis = analyse(checkpoint, read_clip(path, [], limits, Drawing(), [RATE]), PATIENT)
    (segment,) = analysis.segments
    assert segment.label == SEGMENT_LABELS[2] and segment.end_s == pytest.approx(1 / 12)
    assert analysis.shares.tolist() == [0, 0, 1] and np.isfinite(analysis.divergence)


def test_labelling_ends_when_the_time_is_over(checkpoint, colors):
    with pytest.raises(Refused, match="too long"):
        label_clip(checkpoint, colors, Deadline(-1))


# requests


def test_both_tasks_side_by_side(make_service, all_checkpoints, colors_path):
    service = make_service(loaded=all_checkpoints)
    shown = service.show(Ask(str(colors_path), ("with", "segmenter")))
    with_clip, with_segments = shown.as_json()["checkpoints"]
    assert (with_clip["task"], with_clip["segments"]) == (CLASSIFICATION, None)
    assert with_segments["task"] == SEGMENTATION
    assert [set(segment) for segment in with_segments["segments"]] == [{"start_s", "end_s", "label", "score"}] * 4
    assert [segment["label"] for segment in with_segments["segments"]] == TRUE_LABELS
    assert with_segments["labels"][SEGMENT_LABELS[1]] == 0.5
    assert set(with_segments["views"]) == {"immediate", "contextual", "narrative"}
    for answer in (with_clip, with_segments):
        assert len(answer["attention"]) == len(answer["agreement"]["hit"]) == 48
        assert sum(answer["labels"].values()) == pytest.approx(1, abs=1e-4)
    again = service.show(Ask(str(colors_path), ("segmenter",)))
    assert again.answers[0].analysis is shown.answers[1].analysis  # from the cache


def test_the_limits_hold(make_service, all_checkpoints, tmp_path, colors_path):
    long = encode_at(tmp_path / "long.mp4", [n / 2 for n in range(80)], (96, 128))
    with pytest.raises(Refused, match="At most 30 seconds"):
        make_service(loaded=all_checkpoints).show(Ask(str(long), ("segmenter",)))
    with pytest.raises(Refused, match="too long and was stopped"):
        hurried = make_service(loaded=all_checkpoints, limits=Limits(request_timeout_s=0.0))
        hurried.show(Ask(str(colors_path), ("segmenter",)))


def test_an_assembly_is_among_the_examples(tmp_path, limits):
    examples = build_examples(tmp_path, assembly=True)
    assert len({clip.name for clip in examples.clips}) == 13 and set(examples.tables) == {TABLE, ASSEMBLY_TABLE}
    clip = read_clip(examples.clips[0], [], limits, Drawing(), [5.0])
    assert 15 < clip.facts.duration_s < limits.max_duration_s
    guidance = KnownClips(examples.tables).guidance(examples.clips[0].name, clip)
    assert (guidance.kind, guidance.source) == (PUBLISHED, f"the published table {ASSEMBLY_TABLE}")
    assert guidance.guided > len(clip.shown) // 3
    (segments,) = [examples.truth[path] for path in examples.clips if path in examples.truth]
    assert len({segment.label for segment in segments}) > 3 and segments[0].start_s == 0.0
    assert segments[-1].end_s == pytest.approx(clip.facts.duration_s, abs=0.05)


def test_the_truth_is_shown_of_a_clip_that_is_known_by_its_bytes(
    make_service, all_checkpoints, colors_path, square_path, tmp_path
):
    truth = [ActionSegment(0.0, 1.23456, "red", 1.0)]
    service = make_service(loaded=all_checkpoints, truth={colors_path: truth})
    (tmp_path / "uploaded.mp4").write_bytes(colors_path.read_bytes())  # as it comes from a visitor
    shown = service.show(Ask(str(tmp_path / "uploaded.mp4"), ("segmenter",)))
    assert shown.true_segments == truth
    assert shown.as_json()["true_segments"] == [{"start_s": 0.0, "end_s": 1.235, "label": "red"}]
    other = service.show(Ask(str(square_path), ("segmenter",)))
    assert not other.true_segments and other.as_json()["true_segments"] is None
