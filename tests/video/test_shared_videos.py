"""Decoded videos that several data sets of one process share."""

import numpy as np
import pytest
import torch

from vidreason.errors import VideoError
from vidreason.video import cache as shared_videos
from vidreason.video.cache import open_decoded, write_decoded


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
    first, second = make_clips(cache=True, video_cache=videos), make_clips(cache=True, video_cache=videos)
    first.fill_cache()
    second.fill_cache()
    assert len(decoded) == len(videos) + 8 == 16
    for one, other in zip(alone, second, strict=True):
        torch.testing.assert_close(one["pixel_values"], other["pixel_values"], rtol=0, atol=0)
    make_clips(cache=True).fill_cache()
    assert len(decoded) == 24  # nothing is shared unless it is passed


def test_another_size_is_another_video(tiny_world, decoded):
    path = tiny_world.manifest.video_path(tiny_world.manifest.split("train")[0])
    videos = {}
    sizes = [shared_videos.decode_whole_video(path, side, None, videos).frames.shape[1:3] for side in (32, None, 32)]
    assert sizes == [(32, 32), (64, 64), (32, 32)]
    assert len(decoded) == 2


def test_a_video_that_cannot_be_read_stays_an_error(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"no video")
    videos = {}
    for _ in range(2):
        with pytest.raises(VideoError, match=r"a\.mp4"):
            shared_videos.decode_whole_video(tmp_path / "a.mp4", None, None, videos)
    assert videos == {}


def test_a_file_of_decoded_videos_gives_the_same_clips_without_decoding(make_clips, tiny_world, tmp_path, decoded):
    alone = make_clips(cache=True)
    expected = [clip["pixel_values"] for clip in alone]
    rows = tiny_world.manifest.split("train")
    write_decoded(tmp_path / "frames", [tiny_world.manifest.video_path(row) for row in rows], None)
    decoded.clear()
    mapped = make_clips(cache=True, video_cache=open_decoded(tmp_path / "frames"))
    mapped.fill_cache()
    assert decoded == []
    for clip, pixel_values in zip(mapped, expected, strict=True):
        torch.testing.assert_close(clip["pixel_values"], pixel_values, rtol=0, atol=0)


def test_the_file_keeps_times_and_sizes_and_leaves_out_what_cannot_be_read(tiny_world, tmp_path):
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    good = [tiny_world.manifest.video_path(row) for row in tiny_world.manifest.split("train")][:2]
    for side in (32, None):  # a second call replaces the first's
        write_decoded(tmp_path / "frames", [good[0], tmp_path / "bad.mp4", good[1]], side)
    videos = open_decoded(tmp_path / "frames")
    assert list(videos) == [(str(path), None) for path in good]
    for path in good:
        expected, found = shared_videos.decode_frames(path), videos[str(path), None]
        np.testing.assert_array_equal(found.frames, expected.frames)
        assert found.timestamps_s == expected.timestamps_s
        assert (found.frame_indices, found.clock) == (expected.frame_indices, expected.clock)
    with pytest.raises(VideoError, match=r"bad\.mp4"):
        shared_videos.decode_whole_video(tmp_path / "bad.mp4", None, None, videos)


def test_a_video_outside_the_file_is_decoded_and_kept(tiny_world, tmp_path, decoded):
    first, second = [tiny_world.manifest.video_path(row) for row in tiny_world.manifest.split("train")][:2]
    write_decoded(tmp_path / "frames", [first], None)
    decoded.clear()
    videos = open_decoded(tmp_path / "frames")
    for _ in range(2):
        shared_videos.decode_whole_video(second, None, None, videos)
    assert decoded == [second]
