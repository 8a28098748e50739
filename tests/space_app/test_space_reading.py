"""What is read of a clip, what is refused, and that a bad file harms nobody."""

import os
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from clipview.limits import Refused, check_file, is_video_header
from clipview.reader import ClipReader
from clipview.reading import read_clip
from clipview.settings import Drawing, Limits
from fixtures.space_clips import bad_files, encode_at, moving_square, quadrant_frames, rotate_flag, write_clip

from vidreason.video import decode_frames, uniform_indices


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return bad_files(tmp_path_factory.mktemp("bad"))


@pytest.fixture(scope="module")
def reader(limits):
    opened = ClipReader(limits, Drawing())
    yield opened
    opened.close()


BAD = ["empty", "text", "picture", "noise", "playlist", "script", "sound", "truncated", "cut_header"]
BAD += ["without_frames", "huge_frames", "hours", "many_frames"]


def test_frames_and_times_are_those_of_the_video(square, square_path):
    whole = decode_frames(square_path)
    assert (square.facts.width, square.facts.height, square.facts.num_frames) == (128, 96, 24)
    assert square.facts.duration_s == pytest.approx(2.0) and square.shown_fps == pytest.approx(12.0)
    assert square.shown == list(range(24))
    np.testing.assert_array_equal(square.frames, whole.frames)
    assert square.sampled == {4: uniform_indices(24, 4)} == {4: [3, 9, 15, 21]}


def test_fast_and_large_videos_are_shown_slower_and_smaller(tmp_path, limits):
    path = write_clip(tmp_path / "fast.mp4", moving_square(60, 240, 320), fps=30)
    clip = read_clip(path, [4], limits, Drawing(max_side_px=160, max_fps=10))
    assert clip.frames.shape[1:] == (120, 160, 3) and clip.shown_fps == 10 and len(clip.shown) == 20
    times_s = clip.times_s[clip.shown]
    np.testing.assert_allclose(times_s, np.arange(20) / 10, atol=1 / 60 + 1e-6)
    sampled = [round(time_s * 30) for time_s in clip.times_s[clip.sampled[4]]]
    assert sampled == [7, 22, 37, 52]  # of all 60 frames, not of those that are shown


@pytest.mark.parametrize(("turns", "corner"), [(0, (0, 0)), (1, (0, -1)), (2, (-1, -1)), (3, (-1, 0))])
def test_rotation_flags_are_heeded(tmp_path, limits, turns, corner):
    path = rotate_flag(write_clip(tmp_path / "turned.mp4", quadrant_frames(3, 64, 96)), turns)
    clip = read_clip(path, [2], limits, Drawing())
    assert clip.frames.shape[1:3] == ((64, 96) if turns % 2 == 0 else (96, 64))
    assert (clip.facts.height, clip.facts.width) == clip.frames.shape[1:3]
    assert clip.frames[0][corner].min() > 200
    corners = [clip.frames[0][y, x].mean() for y in (0, -1) for x in (0, -1)]
    assert sorted(corners)[2] < 130  # the other three are grey


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_refused_for_what_they_are_and_the_next_visitor_is_served(files, name, reader, square_path):
    path, reason = files[name]
    with pytest.raises(Refused) as caught:
        reader.read(path, [4])
    assert caught.value.reason == reason
    assert str(path.parent) not in str(caught.value) and "Traceback" not in str(caught.value)
    assert len(reader.read(square_path, [4]).shown) == 24


def test_the_table_of_bad_files_is_whole(files):
    assert sorted(files) == sorted(BAD)


def test_what_is_left_of_a_cut_video_is_shown(tmp_path, limits):
    path = write_clip(tmp_path / "cut.mp4", np.random.default_rng(0).integers(0, 255, (24, 96, 128, 3), np.uint8))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    clip = read_clip(path, [4], limits, Drawing())
    assert 8 <= clip.facts.num_frames <= 16 and len(clip.sampled[4]) == 4


def test_size_is_looked_at_before_anything_is_opened(tmp_path):
    path = tmp_path / "large.mp4"
    path.write_bytes(b"\0\0\0\x18ftyp" + bytes(2000))
    with pytest.raises(Refused, match="At most 0 MB") as caught:
        check_file(path, Limits(max_bytes=2**20 // 1024))
    assert caught.value.reason == "file_too_large"


def test_resolution_and_length_are_those_of_the_limits(tmp_path):
    path = write_clip(tmp_path / "clip.mp4", moving_square(24), fps=12)
    assert read_clip(path, [4], Limits(max_side_px=128, max_duration_s=2), Drawing()).facts.width == 128
    with pytest.raises(Refused, match="At most 127 pixels"):
        read_clip(path, [4], Limits(max_side_px=127), Drawing())
    with pytest.raises(Refused, match="At most 1 seconds"):
        read_clip(path, [4], Limits(max_duration_s=1), Drawing())


def test_a_process_that_runs_out_of_memory_is_replaced(tmp_path, square_path):
    large = encode_at(tmp_path / "large.mp4", [n / 12 for n in range(240)], (1080, 1920))
    limits = Limits(read_memory_bytes=900 * 2**20)
    reader = ClipReader(limits, Drawing(max_side_px=1920))
    try:
        with pytest.raises(Refused) as caught:
            reader.read(large, [4])  # 240 frames of 6 MB
        assert caught.value.reason in ("too_large", "decode_failed")
        assert len(reader.read(square_path, [4]).shown) == 24
    finally:
        reader.close()


def test_a_process_that_takes_too_long_is_ended(tmp_path, limits, square_path):
    slow = encode_at(tmp_path / "slow.mp4", [n / 60 for n in range(600)], (1080, 1920))
    reader = ClipReader(replace(limits, read_timeout_s=0.2), Drawing())
    try:
        started = time.monotonic()
        with pytest.raises(Refused, match="too long and was stopped"):
            reader.read(slow, [4])
        assert time.monotonic() - started < 30 and not reader._idle  # the process is gone
    finally:
        reader.close()


def test_a_process_that_dies_is_a_refusal_and_no_more(limits, square_path):
    reader = ClipReader(limits, Drawing())
    try:
        reader.warm_up()
        process = reader._idle[0]._process
        process.kill()
        process.wait()
        with pytest.raises(Refused, match="cannot be decoded"):
            reader.read(square_path, [4])
        assert len(reader.read(square_path, [4]).shown) == 24
    finally:
        reader.close()


def test_processes_are_used_again_and_one_for_each_request_at_a_time(reader, square_path):
    results = []
    threads = [threading.Thread(target=lambda: results.append(reader.read(square_path, [4]))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 3 and all(np.array_equal(clip.frames, results[0].frames) for clip in results)
    assert 1 <= len(reader._idle) <= 3


def test_the_reading_process_is_told_no_secrets(limits, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "operator-key-0123456789")
    monkeypatch.setenv("HF_TOKEN", "hf_0123456789")
    reader = ClipReader(limits, Drawing())
    try:
        reader.warm_up()
        with open(f"/proc/{reader._idle[0]._process.pid}/environ", "rb") as file:
            environment = file.read()
        assert b"PYTHONPATH" in environment and b"0123456789" not in environment
    finally:
        reader.close()


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (b"\0\0\0\x18ftypisom", True),
        (b"\0\0\0\x08wide\0\0\0\0", True),
        (b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81", True),
        (b"RIFF\x10\0\0\0AVI LIST", True),
        (b"RIFF\x10\0\0\0WAVEfmt ", False),
        (b"#EXTM3U\n#EXT-X-VE", False),
        (b"ffconcat version", False),
        (b"\x89PNG\r\n\x1a\n", False),
        (b"<svg xmlns='http", False),
        (b"", False),
    ],
)
def test_only_containers_of_video_are_opened(header, expected):
    assert is_video_header(header) is expected


def test_what_is_missing_is_said_without_its_path(tmp_path, limits):
    with pytest.raises(Refused) as caught:
        check_file(tmp_path / "nowhere.mp4", limits)
    assert caught.value.reason == "missing" and os.fspath(tmp_path) not in str(caught.value)
