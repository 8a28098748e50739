"""Decoded videos that several data sets of one process share."""

import pytest
import torch

from vidreason.errors import VideoError
from vidreason.rs import shared_videos
from vidreason.rs.shared_videos import sharing_videos


@pytest.fixture
def decoded(monkeypatch):
    """The paths that were really decoded."""
    paths = []
    decode = shared_videos.decode_frames

    def count(path, **settings):
        paths.append(path)
        return decode(path, **settings)

    monkeypatch.setattr(shared_videos, "decode_frames", count)
    return paths


def test_a_second_data_set_decodes_nothing_and_gives_the_same(make_clips, decoded):
    alone = make_clips(cache=True)
    alone.fill_cache()
    assert len(decoded) == 8
    videos = {}
    with sharing_videos(videos):
        first, second = make_clips(cache=True), make_clips(cache=True)
        first.fill_cache()
        second.fill_cache()
    assert len(decoded) == len(videos) + 8 == 16
    for one, other in zip(alone, second, strict=True):
        torch.testing.assert_close(one["pixel_values"], other["pixel_values"], rtol=0, atol=0)
    make_clips(cache=True).fill_cache()
    assert len(decoded) == 24  # sharing has ended


def test_another_size_is_another_video(tiny_world, decoded):
    path = tiny_world.manifest.video_path(tiny_world.manifest.split("train")[0])
    with sharing_videos({}):
        sizes = [shared_videos.decode_whole_video(path, side, None).frames.shape[1:3] for side in (32, None, 32)]
    assert sizes == [(32, 32), (64, 64), (32, 32)]
    assert len(decoded) == 2


def test_a_video_that_cannot_be_read_stays_an_error(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"no video")
    videos = {}
    with sharing_videos(videos):
        for _ in range(2):
            with pytest.raises(VideoError, match=r"a\.mp4"):
                shared_videos.decode_whole_video(tmp_path / "a.mp4", None, None)
    assert videos == {}
