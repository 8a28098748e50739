"""Labels of long videos, as they stream by, against the whole video in memory."""

import gc
import itertools
import threading
import weakref

import numpy as np
import pytest
import torch

from modeling_tsvit import TSViTForVideoClassification
from vidreason.errors import ConfigError, VideoError
from vidreason.rs.config import RSConfig
from vidreason.rs.segmentation.evaluation import WindowOutcome, merge_windows
from vidreason.rs.segmentation.trainer import SegmentationTrainer
from vidreason.segmentation.averaging import LabelledFrames, average_scores
from vidreason.segmentation.labelling import ActionSegment, VideoLabeller, load_labeller
from vidreason.segmentation.windows import window_starts
from vidreason.video import write_video
from vidreason.video.streaming import TimedFrame


def frames_of(count: int, fps: float = 8.0):
    rng = np.random.default_rng(count)
    for index in range(count):
        yield TimedFrame(index / fps, rng.integers(0, 255, (32, 32, 3), dtype=np.uint8))


@pytest.fixture
def make_labeller(make_segmenter, segment_processor):
    def make(**settings) -> VideoLabeller:
        return VideoLabeller(make_segmenter(), segment_processor, **{"fps": 8.0, "chunk_frames": 5, **settings})

    return make


def whole(labeller: VideoLabeller, frames) -> torch.Tensor:
    """Scores of all frames with everything in memory: pixels of every window through the whole model."""
    pictures = torch.from_numpy(np.stack([frame.frame for frame in frames])).permute(0, 3, 1, 2)
    pixels = labeller.processor(pictures, do_sample_frames=False, return_tensors="pt")["pixel_values"]
    sums, counts = torch.zeros(len(frames), 3), torch.zeros(len(frames), 1)
    with torch.no_grad():
        for start in window_starts(len(frames), labeller.window, labeller.stride):
            place = slice(start, start + labeller.window)
            sums[place] += labeller.model(pixels[:, place]).logits[0]
            counts[place] += 1
    return sums / counts


@pytest.mark.parametrize("stride", [1, 5, 6, 12])
@pytest.mark.parametrize("count", [1, 7, 12, 13, 18, 24, 41])
def test_streamed_scores_are_those_of_the_whole_video(make_labeller, count, stride):
    labeller = make_labeller(stride=stride)
    frames = list(frames_of(count))
    parts = list(labeller.label(iter(frames)))
    assert [time_s for part in parts for time_s in part.timestamps_s] == [frame.timestamp_s for frame in frames]
    torch.testing.assert_close(
        torch.cat([part.logits for part in parts]), whole(labeller, frames), rtol=1e-4, atol=1e-5
    )


def test_frames_are_final_as_early_as_they_can_be(make_labeller):
    labeller = make_labeller(chunk_frames=1)
    read = 0

    def counted():
        nonlocal read
        for frame in frames_of(60):
            read += 1
            yield frame

    given = 0
    for part in labeller.label(counted(), overlapped=False):
        given += len(part.timestamps_s)
        assert read - given <= labeller.window + labeller.stride
    assert given == 60


def test_no_more_than_a_window_is_kept(make_labeller):
    labeller = make_labeller(chunk_frames=4)
    alive: list[weakref.ref] = []

    def watched():
        for frame in frames_of(200):
            alive.append(weakref.ref(frame.frame))
            yield frame

    for _ in labeller.label(watched()):
        gc.collect()
        # a chunk with the model, two waiting, one being filled and one about to wait
        assert sum(reference() is not None for reference in alive) <= 5 * 4


def test_decoding_beside_the_model_changes_nothing(make_labeller):
    labeller = make_labeller()
    one = torch.cat([part.logits for part in labeller.label(frames_of(30))])
    other = torch.cat([part.logits for part in labeller.label(frames_of(30), overlapped=False)])
    torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_the_decoding_thread_ends_with_its_reader_and_its_errors_arrive(make_labeller):
    labeller = make_labeller()
    before = threading.active_count()
    stream = labeller.label(frames_of(500))
    next(stream)
    stream.close()
    assert threading.active_count() == before

    def broken():
        yield from frames_of(20)
        raise VideoError("a.mp4", "decode_failed", "made up")

    with pytest.raises(VideoError, match="made up"):
        list(labeller.label(broken()))
    assert threading.active_count() == before


def test_segments_are_stretches_of_the_most_probable_label(make_labeller):
    sure, unsure = torch.tensor([0.0, 50.0, 0.0]), torch.tensor([0.0, 0.0, np.log(2.0)])
    parts = [
        LabelledFrames([0.0, 0.1], torch.stack((sure, sure))),
        LabelledFrames([0.2, 0.3], torch.stack((sure, unsure))),
        LabelledFrames([0.4], sure[None]),
    ]
    segments = list(make_labeller().segments(parts, 0.47))
    assert [(segment.start_s, segment.end_s, segment.label) for segment in segments] == [
        (0.0, 0.3, "move_right"), (0.3, 0.4, "move_left"), (0.4, 0.47, "move_right")
    ]  # fmt: skip
    assert [segment.score for segment in segments] == pytest.approx([1.0, 0.5, 1.0])
    assert list(make_labeller().segments([], 1.0)) == []


def test_a_file_is_labelled_as_training_evaluates_it(make_labeller, make_windows, tiny_assembly, tmp_path):
    """The same scores as the windows of the data set, and segments without gaps from start to end."""
    labeller, windows = make_labeller(), make_windows()
    args = RSConfig(output_dir=str(tmp_path), use_cpu=True, report_to="none", per_device_eval_batch_size=2)
    trainer = SegmentationTrainer(model=labeller.model, args=args)
    predictions = trainer.predict(windows)
    expected = merge_windows(WindowOutcome(*predictions.predictions), predictions.label_ids, windows)
    for video in expected:
        path = tiny_assembly.folder / "manifest" / f"{video.video_id}.mp4"
        stream = labeller.open(path)
        parts = list(labeller.label(stream))
        logits = torch.cat([part.logits for part in parts]).double()
        torch.testing.assert_close(logits, torch.from_numpy(video.logits), rtol=1e-3, atol=1e-4)
        segments = labeller(path)
        assert segments[0].start_s == 0.0
        assert segments[-1].end_s == stream.duration_s
        assert all(one.end_s == other.start_s for one, other in itertools.pairwise(segments))
        names = [labeller.model.config.id2label[index] for index in video.logits.argmax(axis=1)]
        for segment in segments:
            inside = [name for time_s, name in zip(stream.timestamps_s, names, strict=True)
                      if segment.start_s <= time_s < segment.end_s]  # fmt: skip
            assert set(inside) == {segment.label}


def test_scores_are_averaged_where_the_model_or_the_caller_says_so(make_segmenter, segment_processor):
    frames = list(frames_of(41))
    model = make_segmenter(frames_per_second=8.0, score_averaging_s=0.7)
    alone = VideoLabeller(model, segment_processor, averaging_s=0, chunk_frames=5)
    expected = average_scores(torch.cat([part.logits for part in alone.label(frames)]), 2)
    labeller = VideoLabeller(model, segment_processor, chunk_frames=5)
    parts = list(labeller.label(frames))
    assert [time_s for part in parts for time_s in part.timestamps_s] == [frame.timestamp_s for frame in frames]
    torch.testing.assert_close(torch.cat([part.logits for part in parts]), expected)
    wider = VideoLabeller(model, segment_processor, averaging_s=2.0)
    assert (labeller.each_side, wider.each_side) == (2, 8)
    assert len(list(wider.segments(wider.label(frames), 6.0))) <= len(list(alone.segments(alone.label(frames), 6.0)))


def test_a_saved_model_brings_its_rate(make_segmenter, segment_processor, tmp_path):
    model = make_segmenter(frames_per_second=4.0)
    model.save_pretrained(tmp_path / "model")
    segment_processor.save_pretrained(tmp_path / "model")
    labeller = load_labeller(str(tmp_path / "model"))
    assert (labeller.fps, labeller.window, labeller.stride) == (4.0, 12, 6)
    video = write_video(tmp_path / "a.mp4", [frame.frame for frame in frames_of(16)], 8.0)
    assert len(labeller.open(video)) == 8
    segments = labeller(video)
    assert isinstance(segments[0], ActionSegment)
    assert segments[-1].end_s == pytest.approx(2.0)


def test_models_and_settings_that_do_not_fit_are_named(make_segmenter, segment_processor, tmp_path):
    with pytest.raises(ConfigError, match="give fps"):
        VideoLabeller(make_segmenter(), segment_processor)
    with pytest.raises(ConfigError, match="stride is 13, expected 1 to the 12 frames"):
        VideoLabeller(make_segmenter(), segment_processor, fps=8.0, stride=13)
    with pytest.raises(ConfigError, match="averaging_s is -1"):
        VideoLabeller(make_segmenter(), segment_processor, fps=8.0, averaging_s=-1)
    with pytest.raises(ConfigError, match=r"segmentation model .* cannot be loaded"):
        load_labeller(str(tmp_path / "nothing"))
    TSViTForVideoClassification(make_segmenter().config).save_pretrained(tmp_path / "classifier")
    segment_processor.save_pretrained(tmp_path / "classifier")
    with pytest.raises(ConfigError, match="holds TSViTForVideoClassification, which labels no frames"):
        load_labeller(str(tmp_path / "classifier"))
