"""The second look: what it is given, and that evaluation and use of it say the same."""

import numpy as np
import pytest
import torch
from transformers import VideoMAEImageProcessor

from vidreason.clips.transforms import evaluation_transform
from vidreason.errors import ConfigError
from vidreason.rs.config import RSConfig
from vidreason.rs.second_look import (
    MARGIN,
    SecondLooks,
    attended_rectangles,
    attention_excess,
    average_looks,
    look_twice,
)
from vidreason.rs.segmentation.trainer import SegmentationTrainer
from vidreason.rs.trainer import RSTrainer

LOOSE = {"initializer_range": 0.5}  # large, so that attention and answers differ from clip to clip


@pytest.fixture
def evaluate(make_model, make_clips, make_arguments):
    """Metrics of the tiny world's test clips under a model that is not trained."""

    def run(clips=None, **changes):
        trainer = RSTrainer(model=make_model(**LOOSE), args=make_arguments(**changes))
        return trainer.evaluate(make_clips("test") if clips is None else clips)

    return run


def test_excess_is_what_lies_above_even_attention():
    attention = torch.tensor([[[0.5, 0.3, 0.1, 0.1], [0.25, 0.25, 0.25, 0.25], [0.0, 0.0, 0.0, 1.0]]])
    torch.testing.assert_close(attention_excess(attention), torch.tensor([[0.25, 0.05, 0.0, 0.75]]))
    mask = torch.tensor([[True, True, False]])
    torch.testing.assert_close(attention_excess(attention, mask), torch.tensor([[0.25, 0.05, 0.0, 0.0]]))
    torch.testing.assert_close(
        attention_excess(attention * 0.1), attention_excess(attention)
    )  # a CLS row may keep some


def test_the_rectangle_is_around_the_cells_that_are_attended_to():
    # the bottom row, second from the left; a second frame of even attention says nothing
    attention = torch.stack((torch.eye(16)[4 * 3 + 1], torch.full((16,), 1 / 16)))[None]
    ((x0, y0, x1, y1),) = attended_rectangles(attention, (4, 4)).tolist()
    assert x0 < 0.25 and x1 > 0.5 and y0 < 0.75 and y1 == 1
    assert (x0 + x1) / 2 == pytest.approx(0.375)
    wide = attended_rectangles(torch.tensor([[[0.5, 0.5, 0, 0, 0, 0, 0, 0]]]), (2, 4))[0].tolist()
    assert wide == pytest.approx((0.0, 0.0, 0.5 + 0.45 * MARGIN, 0.5 + 0.45 * MARGIN), abs=0.05)


def test_even_attention_keeps_the_whole_frame():
    assert attended_rectangles(torch.full((2, 3, 16), 1 / 16), (4, 4)).tolist() == [[0, 0, 1, 1]] * 2


def test_looks_are_averaged_as_probabilities():
    first, second = np.random.default_rng(0).normal(size=(2, 5, 3)) * 4
    shares = [np.exp(x) / np.exp(x).sum(axis=-1, keepdims=True) for x in (first, second)]
    np.testing.assert_allclose(np.exp(average_looks(first, second)), np.mean(shares, axis=0))


def test_second_looks_are_cut_from_the_video_and_not_from_the_models_input(make_clips):
    clips = make_clips("test")
    looks = SecondLooks(clips, np.tile([0.25, 0.125, 0.75, 0.5], (len(clips), 1)))
    x0, y0, x1, y1 = (round(64 * edge) for edge in looks.rectangles[2])
    cut = clips.frames(2).frames[:, y0:y1, x0:x1]
    expected = clips.transform(np.ascontiguousarray(cut), [None] * len(cut)).pixel_values
    torch.testing.assert_close(looks[2]["pixel_values"], expected)
    assert looks[2]["labels"] == clips[2]["labels"] and len(looks) == len(clips)


@pytest.mark.parametrize("batch_size", [1, 3])
def test_evaluation_says_what_use_says(evaluate, make_model, make_clips, processor, batch_size):
    metrics = evaluate(second_look=True, per_device_eval_batch_size=batch_size)
    clips, model = make_clips("test"), make_model(**LOOSE).eval()
    said = [look_twice(model, processor, clips.frames(index).frames) for index in range(len(clips))]
    labels = [clips[index]["labels"] for index in range(len(clips))]
    losses = [-look.logits[label] for look, label in zip(said, labels, strict=True)]
    right = [look.logits.argmax() == label for look, label in zip(said, labels, strict=True)]
    assert metrics["eval_loss_classification"] == pytest.approx(np.mean(losses), rel=1e-5)
    assert metrics["eval_top1"] == np.mean(right)
    assert len({look.rectangle for look in said}) > 1


def test_the_first_look_stands_beside_and_all_else_is_of_it(evaluate):
    one, two = evaluate(), evaluate(second_look=True)
    for name in ("top1", "top5", "loss_classification", "loss"):
        assert two.pop(f"eval_{name}_one_look") == one.pop(f"eval_{name}")
        two.pop(f"eval_{name}")
    timing = ("runtime", "per_second", "time")
    assert {key: one[key] for key in one if not any(word in key for word in timing)} == {
        key: two[key] for key in two if not any(word in key for word in timing)
    }


def test_even_attention_looks_at_the_same_twice(evaluate, make_model, make_arguments, make_clips):
    model = make_model(**LOOSE)
    for layer in model.tsvit.spatial_layers:
        torch.nn.init.zeros_(layer.attention.q_proj.weight)  # every key gets the same share
        torch.nn.init.zeros_(layer.attention.q_proj.bias)
    metrics = RSTrainer(model=model, args=make_arguments(second_look=True)).evaluate(make_clips("test"))
    assert metrics["eval_loss"] == pytest.approx(metrics["eval_loss_one_look"], rel=1e-6)


def test_a_clip_that_cannot_be_read_is_skipped_both_times(evaluate, make_clips):
    clips = make_clips("test")
    clips.rows[1] = {**clips.rows[1], "path": "videos/test/nowhere.mp4"}
    metrics = evaluate(clips, second_look=True)
    assert (metrics["eval_num_clips"], metrics["eval_skipped_videos"]) == (3, 1)


def test_what_cannot_be_looked_at_twice_is_named(evaluate, make_clips, make_model, make_arguments, tiny_world):
    class Stream(torch.utils.data.IterableDataset):
        def __iter__(self):
            return iter(make_clips("test"))

    with pytest.raises(ConfigError, match="leave streaming off"):
        evaluate(Stream(), second_look=True)
    cut = VideoMAEImageProcessor(size={"shortest_edge": 40}, crop_size={"height": 32, "width": 32})
    clips = make_clips("test")
    clips.transform = evaluation_transform(cut, (4, 4))
    with pytest.raises(ConfigError, match="do_center_crop"):
        evaluate(clips, second_look=True)
    with pytest.raises(ConfigError, match="do_center_crop"):
        look_twice(make_model(), cut, clips.frames(0).frames)
    with pytest.raises(ConfigError, match="3 rectangles for 4 clips"):
        SecondLooks(make_clips("test"), np.zeros((3, 4)))
    with pytest.raises(ConfigError, match="not for segmentation"):
        SegmentationTrainer(model=make_model(), args=make_arguments(second_look=True))


def test_a_file_is_sampled_as_in_evaluation(make_model, make_clips, processor, tiny_world):
    clips, model = make_clips("test"), make_model(**LOOSE).eval()
    of_file = look_twice(model, processor, tiny_world.manifest.video_path(clips.rows[3]))
    of_frames = look_twice(model, processor, clips.frames(3).frames)
    np.testing.assert_array_equal(of_file.logits, of_frames.logits)
    assert of_file.rectangle == of_frames.rectangle


def test_it_is_off_unless_asked_for():
    assert not RSConfig(output_dir="unused", report_to="none").second_look
