"""Several readings of one clip: which frames and which parts of them."""

import numpy as np
import pytest
import torch
from torch.utils.data import IterableDataset

from vidreason.clips.views import ClipView, ViewedClips, check_views, clip_views
from vidreason.errors import ConfigError
from vidreason.video import decode_frames, uniform_indices


def test_views_of_a_wide_and_of_a_tall_frame():
    assert clip_views(1, 1) == [ClipView()]
    crops = [view.rectangle(90, 160) for view in clip_views(1, 3)]
    assert np.allclose(crops, [(0, 0, 90 / 160, 1), (35 / 160, 0, 125 / 160, 1), (70 / 160, 0, 1, 1)])
    assert np.allclose(ClipView(crop=1.0).rectangle(160, 90), (0, 70 / 160, 1, 1))
    assert ClipView().rectangle(90, 160) is None
    assert len(clip_views(2, 3)) == 6


def test_readings_in_time_take_turns(make_clips, tiny_world):
    """Two readings of four frames are the eight of the video; one is uniform sampling."""
    clips = make_clips()
    path = tiny_world.manifest.video_path(clips.rows[0])
    for count in (1, 2):
        positions = uniform_indices(8, 4 * count)
        for view in clip_views(count, 1):
            read = ViewedClips(clips, view)[0]["pixel_values"]
            frames = decode_frames(path, positions[view.number :: count]).frames
            assert torch.equal(read, clips.transform(frames, [None] * 4).pixel_values)
    assert torch.equal(ViewedClips(clips, ClipView())[2]["pixel_values"], clips[2]["pixel_values"])


def test_a_crop_shows_a_part(make_clips):
    clips = make_clips()
    whole = clips[0]["pixel_values"]
    assert torch.equal(ViewedClips(clips, ClipView(crop=0.5))[0]["pixel_values"], whole)  # a square frame


def test_streams_cannot_be_read_twice(make_clips):
    class Stream(IterableDataset):
        def __iter__(self):
            return iter(())

    for other in (Stream(), [1, 2]):
        with pytest.raises(ConfigError, match="evaluation_clips and evaluation_crops read clips several times"):
            check_views(other)
    assert check_views(make_clips()) is not None
