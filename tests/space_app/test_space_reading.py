"""What is read of a clip, what is refused, and that a bad file harms nobody."""

import json
import math
import os
import re
import signal
import struct
import threading
import time
from dataclasses import replace
from multiprocessing import Pipe
from pathlib import Path

import numpy as np
import pytest
from clipview import reading as reading_module
from clipview import reading_process
from clipview.limits import Refused, check_file, is_video_header
from clipview.reader import ClipReader
from clipview.reading import read_clip
from clipview.settings import MIB, Drawing, Limits
from fixtures.space_clips import bad_files, encode_at, moving_square, quadrant_frames, rotate_flag, write_clip

from vidreason.video import decode_frames, uniform_indices


def transport_stream(step, before=0):
    """The beginning of an MPEG transport stream, whose packets of `step` bytes have bytes of time before them."""
    return (bytes(before) + b"G" + b"\xff" * (step - before - 1)) * 3


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return bad_files(tmp_path_factory.mktemp("bad"))


@pytest.fixture(scope="module")
def reader(limits):
    opened = ClipReader(limits, Drawing())
    yield opened
    opened.close()


BAD = ["empty", "text", "picture", "noise", "playlist", "script", "sound", "truncated", "cut_header"]
BAD += ["without_frames", "huge_frames", "hours", "many_frames", "gif", "starts_with_g"]


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


def test_what_there_is_to_decode_is_bounded_before_it_is_decoded(tmp_path, monkeypatch):
    """A short and small file may hold minutes of decoding: its packets are counted, times its pixels."""
    path = write_clip(tmp_path / "clip.mp4", moving_square(24), fps=12)
    work = 24 * 96 * 128
    assert read_clip(path, [4], Limits(max_decoded_pixels=work), Drawing()).facts.num_frames == 24
    monkeypatch.setattr(reading_module, "read_frame_table", lambda *_: pytest.fail("it decodes some files"))
    monkeypatch.setattr(reading_module, "decode_frames", lambda *_, **__: pytest.fail("it was to be refused before"))
    with pytest.raises(Refused, match="too many frames for their size") as caught:
        read_clip(path, [4], Limits(max_decoded_pixels=work - 1), Drawing())
    assert caught.value.reason == "too_much"
    with pytest.raises(Refused, match="too long"):
        read_clip(path, [4], Limits(max_frames=23), Drawing())
    assert Limits().max_decoded_pixels == 1920 * 1080 * 30 * 30  # what phones make in the longest clip is allowed


def test_a_neighbour_stands_in_for_a_damaged_frame_and_is_counted(shared_data, limits, tmp_path):
    """As in the pipeline, one frame that does not decode does not end the clip; the others keep their places."""
    path = shared_data / "faults" / "corrupted.mp4"
    if not path.is_file():
        pytest.skip("the damaged clip is not here")
    clip = read_clip(path, [50], limits, Drawing())
    readable = decode_frames(path, max_side_px=448)  # all that decode, in one go from the start
    assert (
        set(range(50)) - set(readable.frame_indices) == {30} and clip.num_replaced == 1 and clip.facts.num_frames == 50
    )
    np.testing.assert_allclose(clip.times_s, np.arange(50) / 10, atol=1e-3)
    frames = clip.frames[clip.sampled[50]]
    np.testing.assert_array_equal(np.delete(frames, 30, axis=0), readable.frames)
    np.testing.assert_array_equal(frames[30], frames[31])  # the next one, as for every other reader
    assert read_clip(write_clip(tmp_path / "whole.mp4", moving_square(24)), [4], limits, Drawing()).num_replaced == 0


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


class SilentReader(ClipReader):
    """Its processes get a file and no answer: each is stopped, as one would be that a decoder does not return to."""

    def _take(self):
        process = super()._take()
        os.kill(process._process.pid, signal.SIGSTOP)
        return process


def test_a_process_that_takes_too_long_is_ended(limits, square_path, caplog):
    for limit, timeout_s in ((0.1, math.inf), (60.0, 0.1), (60.0, -1.0)):  # the limit of reading, and of the request
        reader = SilentReader(replace(limits, read_timeout_s=limit), Drawing())
        reader.warm_up()
        process = reader._idle[0]._process
        with pytest.raises(Refused, match="too long and was stopped"):
            reader.read(square_path, [4], timeout_s=timeout_s)
        assert process.returncode == -signal.SIGKILL and not reader._idle and not reader._busy
    assert "has ended" not in caplog.text  # it is the visitor's file that was slow: nothing to tell the operator


def test_a_process_that_stops_in_the_middle_of_its_answer_is_ended(limits, square_path):
    """The beginning of an answer is no answer: what is waited for is its end."""
    reader = ClipReader(replace(limits, read_timeout_s=0.5), Drawing())
    reader.warm_up()
    process = reader._idle[0]
    own = process._connection  # is kept open, since the process would end by itself without it
    process._connection, theirs = Pipe()
    os.write(theirs.fileno(), struct.pack("!i", 1000) + b"{")  # a message of 1000 bytes, of which one comes
    # the process would be the only one to hold the other end: here it is closed when that has ended
    closing = threading.Thread(target=lambda: (process._process.wait(), theirs.close()))
    closing.start()
    with pytest.raises(Refused, match="too long and was stopped"):
        reader.read(square_path, [4])
    closing.join()
    own.close()
    assert process._process.returncode == -signal.SIGKILL and not reader._idle


NONSENSE = [{"shape": [10**9, 448, 448, 3]}, {"shape": "x"}, {"shape": []}, {"refused": 1}, {}]


@pytest.mark.parametrize("answer", [*({"peak_memory_bytes": 1} | part for part in NONSENSE), [], 5])
def test_an_answer_that_makes_no_sense_is_a_refusal(limits, square_path, answer):
    reader = ClipReader(limits, Drawing())
    reader.warm_up()
    process = reader._idle[0]
    ours, theirs = Pipe()
    process._connection.close()
    process._connection = ours
    with theirs:
        theirs.send_bytes(
            json.dumps({"peak_memory_bytes": 1} | answer if isinstance(answer, dict) else answer).encode()
        )
        with pytest.raises(Refused, match="cannot be decoded"):
            reader.read(square_path, [4])
    assert process._process.returncode is not None and not reader._idle


def test_closing_ends_processes_that_read(limits, square_path):
    reader = SilentReader(limits, Drawing())
    reader.warm_up()
    process, refusals = reader._idle[0], []

    def read() -> None:
        try:
            reader.read(square_path, [4])
        except Refused as refused:
            refusals.append(refused.reason)

    thread = threading.Thread(target=read)
    thread.start()
    while process not in reader._busy:
        time.sleep(0.01)
    reader.close()
    thread.join()
    assert refusals == ["timeout"] and process._process.returncode == -signal.SIGKILL and not reader._idle


def test_a_process_gives_the_memory_of_a_large_clip_back_by_ending(limits, square_path, tmp_path):
    """After small clips the same process goes on; after one that took more than it may keep, another."""
    large = write_clip(tmp_path / "large.mp4", moving_square(24, 640, 960))
    reader = ClipReader(limits, Drawing())
    try:
        reader.warm_up()
        first = reader._idle[0]
        reader.read(square_path, [4])
        small_bytes = first.peak_memory_bytes
        reader.limits = replace(limits, kept_memory_bytes=small_bytes + 4 * MIB)
        reader.read(square_path, [5])
        assert reader._idle == [first] and first.num_requests == 2
        reader.read(large, [4])
        assert first.peak_memory_bytes > small_bytes + 4 * MIB
        assert not reader._idle and first._process.returncode == -signal.SIGKILL
        reader.read(square_path, [4])
        (second,) = reader._idle
        assert second._process.pid != first._process.pid and second.num_requests == 1
        # it is the process's own memory: that of its parent, with torch and the models, is no part of it
        own = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{second._process.pid}/status").read_text())[1]
        # up to a MiB: Linux counts pages by thread and sums them late, so that its two figures differ (proc(5), VmHWM)
        assert 10 * MIB < second.peak_memory_bytes <= int(own) * 1024 + MIB
        assert limits.kept_memory_bytes > 1.3 * second.peak_memory_bytes  # the Space's own bound leaves room for clips
    finally:
        reader.close()


def test_an_unforeseen_error_of_one_file_is_a_refusal_and_the_process_goes_on(limits, square_path, monkeypatch):
    """Such as a ValueError of the decoder's library at a kind of stream that it does not know."""
    ours, theirs = Pipe()

    def fail(*_):
        raise ValueError("29 is not a valid Type in /a/visitors/file")

    monkeypatch.setattr(reading_process, "read_clip", fail)
    reading_process.answer(theirs, str(square_path), [4], [], limits, Drawing())
    answer = json.loads(ours.recv_bytes())
    assert answer["refused"][0] == "decode_failed" and answer["unforeseen"] == "ValueError"
    assert "visitors" not in json.dumps(answer)


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
        (b"OggS\0\x02", True),
        (b"OggS of a text", False),
        (b"FLV\x01\x05", True),
        (b"FLV is a format", False),
        (bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c"), True),
        (b"0&\xb2u\x8ef\xcf\x11 cut", False),
        (transport_stream(188), True),
        (transport_stream(192, before=4), True),
        (b"G" + bytes(400), False),
        (b"GIF89a" + bytes(182) + b"G" + bytes(400), False),  # by chance two of three
        (b"GGGG" * 40, False),  # too short for three packets
        (bytes(4) + b"G" + bytes(400), False),
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
