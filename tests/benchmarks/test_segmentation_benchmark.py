"""The benchmark of labelling: its files are what they are said to be, and its variants do the same work."""

import numpy as np
import pytest
import segmentation
import torch

from vidreason.errors import ConfigError
from vidreason.video import decode_frames, probe_video, write_video


@pytest.fixture
def video(tmp_path):
    frames = np.random.default_rng(0).integers(0, 255, (60, 48, 64, 3), dtype=np.uint8)
    return write_video(tmp_path / "video.mp4", frames, 30.0)


def test_a_repeated_video_is_the_video_again_and_again(video, tmp_path):
    repeated = segmentation.repeat_video(video, tmp_path / "repeated.mp4", 3)
    info = probe_video(repeated)
    assert (info.num_frames, info.duration_s) == (180, pytest.approx(6.0, abs=0.01))
    once = decode_frames(video).frames
    np.testing.assert_array_equal(decode_frames(repeated).frames, np.concatenate([once] * 3))


def test_whole_windows_are_those_that_are_merged(video, monkeypatch):
    labeller = segmentation.make_labeller(segmentation.SegmentationArguments(fps=30.0))
    plain = segmentation.WholeWindows(labeller.model, labeller.processor, 30.0, max_side_px=128)
    logits = []
    forward = segmentation.WholeWindows._forward
    monkeypatch.setattr(
        segmentation.WholeWindows, "_forward", lambda self, frames: logits.append(forward(self, frames))
    )
    list(plain.label(plain.open(video)))
    assert len(logits) == 1  # 60 frames hold one window of 48; the next would start at 24
    first = next(iter(labeller.label(labeller.open(video))))
    # frames before the 12th are in no other window: the last of them ends with the video
    torch.testing.assert_close(first.logits[:12], logits[0][0, :12], rtol=1e-3, atol=1e-4)


def test_a_process_reports_its_own_memory_and_speed(video):
    report = segmentation.label_alone(video, segmentation.SegmentationArguments())
    assert 0 < report["before_mib"] <= report["peak_mib"]
    assert report["video_s"] == pytest.approx(2.0, abs=0.01)
    assert report["segments"] >= 1


def test_lengths_that_make_no_sense_are_named():
    with pytest.raises(ConfigError, match="expected different lengths from 1, ascending"):
        segmentation.main(segmentation.SegmentationArguments(minutes=[60, 1]))
