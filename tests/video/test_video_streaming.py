"""Frames of a long video one after another are those that random access gives."""

import numpy as np
import pytest

from vidreason.errors import VideoError
from vidreason.video import decode_frames, write_video
from vidreason.video.streaming import FrameStream


@pytest.fixture
def video(tmp_path):
    frames = np.random.default_rng(0).integers(0, 255, (50, 48, 64, 3), dtype=np.uint8)
    return write_video(tmp_path / "video.mp4", frames, 25.0)


def read_both_ways(path, fps, max_side_px=None):
    """What a pass over a stream gives, and what the stream says of itself with the frames of random access."""
    stream = FrameStream(path, fps, max_side_px)
    given = list(stream)
    passed = {
        "count": len(given),
        "timestamps_s": [frame.timestamp_s for frame in given],
        "frames": np.stack([frame.frame for frame in given]),
    }
    decoded = decode_frames(path, timestamps_s=stream.timestamps_s, max_side_px=max_side_px)
    return passed, {"count": len(stream), "timestamps_s": stream.timestamps_s, "frames": decoded.frames}


@pytest.mark.parametrize(("fps", "count"), [(25, 50), (10, 20), (7.3, 15), (60, 120), (0.4, 1)])
def test_frames_are_those_nearest_to_the_times_of_the_rate(video, fps, count):
    passed, expected = read_both_ways(video, fps)
    np.testing.assert_equal(passed, expected)
    assert expected["count"] == count


def test_frames_are_scaled_while_they_are_decoded(video):
    stream = FrameStream(video, 10, max_side_px=32)
    assert next(iter(stream)).frame.shape == (24, 32, 3)
    passed, expected = read_both_ways(video, 10, max_side_px=32)
    np.testing.assert_equal(passed, expected)


def test_a_second_pass_gives_the_same(video):
    stream = FrameStream(video, 10)
    for one, other in zip(stream, stream, strict=True):
        np.testing.assert_array_equal(one.frame, other.frame)


def test_real_videos_give_the_same_as_random_access(shared_data):
    """Reordered frames, variable frame rates, and times that AVI does not have."""
    paths = [
        next((shared_data / "clips" / "UCF-101").rglob("*.avi")),
        next((shared_data / "clips" / "HMDB51").rglob("*.avi")),
        next((shared_data / "clips" / "Kinetics").glob("*.mp4")),
        next((shared_data / "gmdcsa24").rglob("*.mp4")),
    ]
    for path in paths:
        passed, expected = read_both_ways(path, 5, max_side_px=64)
        np.testing.assert_equal(passed, expected, err_msg=str(path))


def test_a_rotated_video_is_given_upright(odd_videos, tmp_path):
    path = odd_videos.set_display_matrix(odd_videos.encode(tmp_path / "a.mp4", num_frames=4), 0, 1, -1, 0)
    passed, expected = read_both_ways(path, 25)
    np.testing.assert_equal(passed, expected)
    frame = next(iter(FrameStream(path, 25))).frame
    assert frame.shape == (odd_videos.width, odd_videos.height, 3)
    assert frame[4, -5, 0] > 150 > frame[4, 4, 0]  # the red corner, top left as stored, is at the top right


def test_a_variable_frame_rate_gives_the_frames_of_the_times(odd_videos, tmp_path):
    pts = [0, 100, 150, 400, 420, 900]  # of 1 / 2500 s: 0, 0.04, 0.06, 0.16, 0.168 and 0.36 s
    path = odd_videos.encode(tmp_path / "a.mp4", num_frames=6, pts=pts)
    given = list(FrameStream(path, 20))[:8]  # at 0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3 and 0.35 s
    assert [odd_videos.read_number(frame.frame) for frame in given] == [0, 1, 2, 3, 4, 4, 5, 5]


def test_damage_in_the_middle_is_bridged_and_counted(odd_videos, tmp_path, caplog):
    path = odd_videos.encode(tmp_path / "a.mp4", num_frames=40, options={"bf": "0", "g": "10"})
    odd_videos.blank_packet(path, 15)
    stream = FrameStream(path, 25)
    numbers = [odd_videos.read_number(frame.frame) for frame in stream]
    assert (numbers[14], numbers[15], numbers[16], numbers[39]) == (14, 16, 16, 39)
    assert len(numbers) == 40
    assert stream.num_replaced == 1
    assert "1 of 40 frames do not decode" in caplog.text


def test_a_file_that_ends_early_gives_what_it_holds(odd_videos, tmp_path):
    path = odd_videos.encode(tmp_path / "a.mkv", num_frames=60, options={"g": "10"})
    odd_videos.truncate(path, 0.6)
    passed, expected = read_both_ways(path, 25)
    np.testing.assert_equal(passed, expected)
    assert 2 < expected["count"] < 60


def test_files_that_hold_no_video_are_named(tmp_path):
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(VideoError, match="not a video"):
        FrameStream(tmp_path / "text.mp4", 10)
    with pytest.raises(ValueError, match="fps"):
        FrameStream(write_video(tmp_path / "a.mp4", [np.zeros((16, 16, 3), dtype=np.uint8)], 1.0), 0)
