"""Scores averaged over neighbouring frames: known means, ends of videos, and videos that come in parts."""

import numpy as np
import pytest
import torch
from scipy.ndimage import uniform_filter1d

from vidreason.segmentation.averaging import LabelledFrames, average_scores, averaged, frames_each_side


@pytest.mark.parametrize(
    ("seconds", "fps", "each_side"),
    [(None, 5, 0), (0, 5, 0), (3.0, 5, 7), (0.6, 10, 3), (0.3, 10, 1), (0.1, 10, 0), (0.2, 10, 1), (2.0, 29.97, 29)],
)
def test_the_width_follows_the_rate(seconds, fps, each_side):
    assert frames_each_side(seconds, fps) == each_side


def test_the_mean_is_centred_and_that_of_what_there_is_at_the_ends():
    scores = torch.tensor([[0.0], [3.0], [6.0], [0.0], [9.0]])
    expected = [[1.5], [3.0], [3.0], [5.0], [4.5]]
    torch.testing.assert_close(average_scores(scores, 1), torch.tensor(expected))
    torch.testing.assert_close(average_scores(scores, 9), torch.full((5, 1), 3.6))


def test_inside_a_video_it_is_the_uniform_filter():
    scores = torch.randn(50, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = uniform_filter1d(scores.numpy(), 7, axis=0)
    np.testing.assert_allclose(average_scores(scores, 3)[3:-3].numpy(), expected[3:-3], atol=1e-12)


def test_one_stray_frame_no_longer_makes_two_segments():
    labels = [0] * 6 + [1] + [0] * 6 + [1] * 8
    scores = torch.nn.functional.one_hot(torch.tensor(labels), 2).float()
    assert average_scores(scores, 2).argmax(dim=1).tolist() == [0] * 13 + [1] * 8


@pytest.mark.parametrize("each_side", [0, 1, 4, 30])
@pytest.mark.parametrize("sizes", [[20], [1] * 20, [3, 0, 5, 1, 11], [19, 1]])
def test_a_video_in_parts_gives_the_same_as_in_one(each_side, sizes):
    scores = torch.randn(20, 3, generator=torch.Generator().manual_seed(1))
    parts, start = [], 0
    for size in sizes:
        parts.append(LabelledFrames([float(i) for i in range(start, start + size)], scores[start : start + size]))
        start += size
    found = list(averaged(parts, each_side))
    assert [time_s for frames in found for time_s in frames.timestamps_s] == [float(i) for i in range(20)]
    torch.testing.assert_close(torch.cat([frames.logits for frames in found]), average_scores(scores, each_side))


def test_frames_are_given_as_soon_as_their_neighbours_are_there():
    seen = []

    def parts():
        for index in range(10):
            seen.append(index)
            yield LabelledFrames([float(index)], torch.ones(1, 2))

    found = averaged(parts(), 2)
    assert next(found).timestamps_s == [0.0]
    assert seen == [0, 1, 2]


def test_no_frames_give_none():
    assert list(averaged([], 3)) == []
