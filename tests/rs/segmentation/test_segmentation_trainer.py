"""Training and evaluation over whole videos."""

import dataclasses

import numpy as np
import pytest
import torch
from transformers import EvalPrediction

from vidreason.clips.data import IGNORED_LABEL
from vidreason.rs.config import RSConfig
from vidreason.rs.segmentation.evaluation import (
    SEGMENT_METRICS,
    SegmentationMetrics,
    WindowOutcome,
    merge_windows,
    segments_as_clips,
)
from vidreason.rs.segmentation.trainer import SegmentationTrainer
from vidreason.segmentation.windows import WindowCollator

TEST_0 = [1] * 8 + [0] * 6 + [2] * 8 + [1] * 8


@pytest.fixture
def arguments(short_training, tmp_path):
    def make(**changes) -> RSConfig:
        settings = {
            **short_training,
            "output_dir": str(tmp_path / "run"),
            "per_device_eval_batch_size": 2,
            "max_steps": 2,
            "dataloader_pin_memory": False,
        }
        return RSConfig(**{**settings, **changes})

    return make


def outcome_of(windows, logits_of):
    """The outcome and labels of all windows, with the logits that `logits_of(video, frame)` gives; no guidance."""
    count, length = len(windows), windows.settings.num_frames
    logits = np.zeros((count, length, 3), dtype=np.float32)
    labels = np.full((count, length), IGNORED_LABEL)
    pointed = np.full((count, length), -100)
    for row in range(count):
        window = windows[row]
        for step, label in enumerate(window["labels"]):
            logits[row, step] = logits_of(row, window["video"], window["start"] + step)
            labels[row, step], pointed[row, step] = label, 0
    place = (np.array([windows[row][name] for row in range(count)]) for name in ("video", "start"))
    absent = np.full((count, length), -100.0)
    region = np.full((count, length, 16), -100, dtype=np.int8)
    return WindowOutcome(logits, absent, absent, pointed, region, *place), labels


def test_frames_in_several_windows_have_the_mean_of_their_scores(make_windows):
    windows = make_windows()
    outcome, labels = outcome_of(windows, lambda row, video, frame: [float(row), float(frame), 0.0])
    first, second = merge_windows(outcome, labels, windows)
    assert (first.video_id, second.video_id) == ("test/0", "test/1")
    assert first.labels.tolist() == TEST_0
    assert second.labels.tolist() == [2] * 8
    # windows start at 0, 6, 12 and 18: frame 7 is in the first two, frame 13 in the second and third
    assert first.logits[[0, 7, 13, 29], 0].tolist() == [0.0, 0.5, 1.5, 3.0]
    assert first.logits[:, 1].tolist() == list(range(30))


def test_padding_between_batches_changes_nothing(make_windows):
    windows = make_windows()
    outcome, labels = outcome_of(windows, lambda row, video, frame: [float(frame), 1.0, 2.0])
    padded = dataclasses.replace(
        outcome, logits=np.pad(outcome.logits, ((0, 0), (0, 5), (0, 0)), constant_values=-100)
    )
    wide = np.pad(labels, ((0, 0), (0, 5)), constant_values=-100)
    for one, other in zip(merge_windows(outcome, labels, windows), merge_windows(padded, wide, windows), strict=True):
        np.testing.assert_array_equal(one.logits, other.logits)
        np.testing.assert_array_equal(one.labels, other.labels)


def test_segments_are_clips_with_the_mean_of_their_frames(make_windows):
    windows = make_windows()
    outcome, labels = outcome_of(windows, lambda row, video, frame: [float(frame), 1.0, 0.0])
    logits, targets = segments_as_clips(merge_windows(outcome, labels, windows), background_ids=[0])
    assert targets.tolist() == [1, 2, 1, 2]
    np.testing.assert_allclose(logits[:, 0], [3.5, 17.5, 25.5, 3.5])


def test_what_is_reported_is_worked_out_by_hand(make_windows, tiny_assembly, arguments):
    windows = make_windows(labels=tiny_assembly.labels(background=["rest"]))
    predicted = {0: [1] * 7 + [0] * 7 + [2] * 8 + [1] * 2 + [2] * 2 + [1] * 4, 1: [2] * 8}
    outcome, labels = outcome_of(windows, lambda row, video, frame: np.eye(3)[predicted[video][frame]] * 4.0)
    metrics = SegmentationMetrics(arguments(), windows)(EvalPrediction(outcome.as_tuple(), labels))
    assert metrics["num_videos"] == 2
    assert metrics["num_frames"] == 38
    assert metrics["skipped_videos"] == 0
    assert metrics["mof"] == pytest.approx(35 / 38)
    # 1 2 1 2 1 against 1 2 1: two edits of five; and the second video is right
    assert metrics["edit"] == pytest.approx((1 - 2 / 5 + 1) / 2)
    # of the first video's 5 predicted segments: 1 (7 of 8), 2 (8 of 8), 1 (2 of 8), 2 (no overlap), 1 (4 of 8)
    assert metrics["f1_10"] == pytest.approx((2 * 3 / (5 + 3) + 1) / 2)
    assert metrics["f1_50"] == pytest.approx((2 * 3 / (5 + 3) + 1) / 2)
    assert metrics["oversegmentation"] == pytest.approx((6 + 1) / (4 + 1))
    assert metrics["top1"] == 1.0  # every segment's mean is right
    wrong, right = np.log(np.exp(4) + 2), np.log(np.exp(4) + 2) - 4
    assert metrics["loss_classification"] == pytest.approx((3 * wrong + 35 * right) / 38)
    assert metrics["loss_temporal"] > 0
    assert metrics["loss_smoothing"] == pytest.approx(2 * 4**2 / 3 * 5 / (29 + 7))  # five steps of 4 in two labels
    assert "attention_in_region" not in metrics


def test_averaged_scores_heal_what_two_frames_broke(make_windows, tiny_assembly, arguments):
    windows = make_windows(labels=tiny_assembly.labels(background=["rest"]))
    predicted = {0: [1] * 7 + [0] * 7 + [2] * 8 + [1] * 2 + [2] * 2 + [1] * 4, 1: [2] * 8}  # as above
    outcome, labels = outcome_of(windows, lambda row, video, frame: np.eye(3)[predicted[video][frame]] * 4.0)
    prediction = EvalPrediction(outcome.as_tuple(), labels)
    before = SegmentationMetrics(arguments(), windows)(prediction)
    metrics = SegmentationMetrics(arguments(score_averaging_s=0.5), windows)(prediction)
    # five frames at 8 per second make it 1 x 7, 0 x 7, 2 x 10, 1 x 6
    assert metrics["mof"] == pytest.approx(35 / 38)
    assert metrics["edit"] == metrics["f1_50"] == metrics["oversegmentation"] == 1.0
    for name in SEGMENT_METRICS:
        assert metrics[f"{name}_unaveraged"] == before[name]
    # what training goes by, and clips that are means of frames anyway, are those of the scores themselves
    assert {name: metrics[name] for name in before if name not in SEGMENT_METRICS} == {
        name: before[name] for name in before if name not in SEGMENT_METRICS
    }


def test_videos_without_a_label_are_counted_and_left_out(make_windows, arguments):
    windows = make_windows()
    outcome, labels = outcome_of(windows, lambda row, video, frame: [0.0, 0.0, 1.0])
    labels[:4] = IGNORED_LABEL
    metrics = SegmentationMetrics(arguments(), windows)(EvalPrediction(outcome.as_tuple(), labels))
    assert (metrics["num_videos"], metrics["skipped_videos"], metrics["mof"]) == (1, 1, 1.0)
    labels[:] = IGNORED_LABEL
    metrics = SegmentationMetrics(arguments(), windows)(EvalPrediction(outcome.as_tuple(), labels))
    assert metrics == {"num_videos": 0, "num_frames": 0, "skipped_videos": 2}


def test_attention_counts_every_frame_once(make_windows, make_segmenter, arguments):
    model = make_segmenter()
    trainer = SegmentationTrainer(model=model, args=arguments(), eval_dataset=make_windows())
    metrics = trainer.evaluate()
    guided = sum(label != 0 for label in TEST_0) + 8
    assert metrics["eval_guided_frames"] == guided
    assert 0 < metrics["eval_attention_in_region"] < 1
    assert metrics["eval_num_frames"] == 38
    # the same with windows that do not overlap, but for what surrounds a frame
    assert trainer.evaluate(make_windows(stride=12))["eval_guided_frames"] == guided


LOSSES = {"smoothing_weight": 0.3, "temporal_weight": 0.5, "spatial_weight": 0.7, "focal_gamma": 1.0}


def test_a_step_is_the_same_however_it_is_cut_up(make_windows, make_segmenter, arguments):
    logs, weights = [], []
    for batch_size, accumulated in ((6, 1), (2, 3), (1, 6)):
        args = arguments(
            per_device_train_batch_size=batch_size, gradient_accumulation_steps=accumulated, max_steps=2, **LOSSES
        )
        windows = make_windows("train", is_training=True)
        trainer = SegmentationTrainer(
            model=make_segmenter(), args=args, train_dataset=windows, class_weights=[0.5, 2.0, 1.0]
        )
        trainer.train()
        logs.append([entry for entry in trainer.state.log_history if "loss_smoothing" in entry])
        weights.append(trainer.model.classifier.out_proj.weight.detach().clone())
    assert len(logs[0]) == 2
    for log in logs[1:]:
        for one, other in zip(logs[0], log, strict=True):
            for name in ("loss", "loss_classification", "loss_spatial", "loss_temporal", "loss_smoothing"):
                assert one[name] == pytest.approx(other[name], rel=2e-4), name
    for other in weights[1:]:
        torch.testing.assert_close(weights[0], other, rtol=1e-3, atol=1e-5)


def test_parts_without_a_weight_are_not_computed(make_windows, make_segmenter, arguments):
    args = arguments(spatial_weight=0.0, temporal_weight=0.0)
    trainer = SegmentationTrainer(model=make_segmenter(), args=args, train_dataset=make_windows("train"))
    trainer.train()
    entry = trainer.state.log_history[0]
    assert {name for name in entry if name.startswith("loss")} == {"loss", "loss_classification"}
    assert entry["loss"] == pytest.approx(entry["loss_classification"])


def test_an_unreadable_window_moves_no_loss(make_windows, make_segmenter, arguments):
    windows = make_windows("train")
    batch = WindowCollator()([windows[0], windows[1]])
    bad = {**batch, "labels": batch["labels"].clone()}
    bad["labels"][1] = IGNORED_LABEL
    trainer = SegmentationTrainer(model=make_segmenter(), args=arguments(), train_dataset=windows)
    outputs = trainer.model(batch["pixel_values"], batch["frame_mask"])
    parts = trainer.loss_parts(outputs, bad, {})
    alone = WindowCollator()([windows[0]])
    expected = trainer.loss_parts(trainer.model(alone["pixel_values"], alone["frame_mask"]), alone, {})
    for name, value in expected.items():
        torch.testing.assert_close(parts[name], value, rtol=1e-4, atol=1e-6, msg=name)


def test_evidence_views_take_windows(make_windows, make_segmenter, arguments):
    args = arguments(evidence_swap=0.5, evidence_drop=0.5, max_steps=3)
    trainer = SegmentationTrainer(
        model=make_segmenter(), args=args, train_dataset=make_windows("train", is_training=True, augment=True)
    )
    trainer.train()
    assert np.isfinite(trainer.state.log_history[0]["loss"])


def test_a_step_reads_one_value_however_many_micro_batches_it_has(host_reads, make_windows, make_segmenter, arguments):
    args = arguments(spatial_weight=2.0, temporal_weight=0.5, smoothing_weight=0.5, gradient_accumulation_steps=4)
    windows = make_windows()
    trainer = SegmentationTrainer(model=make_segmenter(), args=args, class_weights=[0.5, 1.0, 2.0])
    host_reads.step_of(trainer, [[windows[number]] for number in range(4)])
    assert host_reads.reads == ["_local_scalar_dense"], "the loss of the step, which has to be finite"
