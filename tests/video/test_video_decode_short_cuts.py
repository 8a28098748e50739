"""What decoding leaves out to be fast, and that it leaves out nothing that shows."""

import struct
from pathlib import Path

import av
import numpy as np
import pytest

from vidreason.errors import VideoError
from vidreason.video import decode as decode_module
from vidreason.video import decode_frames
from vidreason.video.decode import FrameTables, OpenVideo, forget_frame_tables, read_frame_table

B_FRAMES = {
    "h264": {"name": "a.mp4", "codec": "libx264", "options": {"bf": "3", "b-pyramid": "normal", "g": "40"}},
    "h264, open groups": {
        "name": "a.mp4",
        "codec": "libx264",
        "options": {"bf": "3", "g": "6", "x264-params": "open-gop=1"},
    },
    "mpeg-4 part 2": {"name": "a.mp4", "codec": "mpeg4", "options": {"bf": "2"}},
    "mpeg-2": {"name": "a.mkv", "codec": "mpeg2video", "options": {"bf": "2"}},
    "hevc": {"name": "a.mp4", "codec": "libx265", "options": {"x265-params": "bframes=3:log-level=none"}},
    "no b-frames": {"name": "a.mp4", "codec": "libx264", "options": {"bf": "0"}},
}


@pytest.fixture
def decoded_frames(monkeypatch) -> list[int]:
    """Counts the frames that decoders give, one entry for each pass through a file."""
    passes: list[int] = []
    real = OpenVideo.frames

    def counted(self, *arguments):
        passes.append(0)
        for frame in real(self, *arguments):
            passes[-1] += 1
            yield frame

    monkeypatch.setattr(OpenVideo, "frames", counted)
    return passes


@pytest.fixture
def opened(monkeypatch) -> list[str]:
    """Names every file that is opened."""
    names: list[str] = []
    real = av.open
    monkeypatch.setattr(
        av, "open", lambda path, *rest, **named: (names.append(Path(path).name), real(path, *rest, **named))[1]
    )
    return names


@pytest.mark.parametrize("case", B_FRAMES.values(), ids=B_FRAMES.keys())
@pytest.mark.parametrize("indices", [[20], [3, 11, 27], [0, 1, 2, 39], [39, 5, 5]])
def test_frames_that_no_other_needs_are_left_out_and_nothing_else_changes(odd_videos, tmp_path, case, indices):
    case = dict(case)
    try:
        path = odd_videos.encode(tmp_path / case.pop("name"), num_frames=40, **case)
    except (av.error.FFmpegError, ValueError) as error:
        pytest.skip(f"this build of FFmpeg cannot write it: {error}")
    whole = decode_frames(path)
    assert len(whole) == 40
    some = decode_frames(path, indices=indices)
    assert some.frame_indices == indices
    assert np.array_equal(some.frames, whole.frames[indices])
    assert some.timestamps_s == [whole.timestamps_s[index] for index in indices]


def test_half_of_the_frames_need_no_decoding(odd_videos, tmp_path, decoded_frames):
    options = {"x264-params": "bframes=3:b-adapt=0:b-pyramid=none:scenecut=0:keyint=40"}
    path = odd_videos.encode(tmp_path / "a.mp4", num_frames=40, codec="libx264", options=options)
    decode_frames(path, indices=[36])
    assert decoded_frames == [10]  # every fourth is a reference, and 36 is one of them


def test_a_frame_that_was_left_out_by_mistake_is_decoded_after_all(odd_videos, tmp_path, monkeypatch, decoded_frames):
    path = odd_videos.encode(tmp_path / "a.mp4", num_frames=40, codec="libx264", options={"bf": "3", "g": "40"})
    expected = decode_frames(path, indices=[9, 10, 11]).frames
    real = decode_module._decode_run

    def nothing_the_first_time(*arguments):
        monkeypatch.setattr(decode_module, "_decode_run", real)

    monkeypatch.setattr(decode_module, "_decode_run", nothing_the_first_time)
    assert np.array_equal(decode_frames(path, indices=[9, 10, 11]).frames, expected)


def flag_wrong_keyframes(path):
    """Say in an AVI's index that every seventh frame is a keyframe."""
    data = bytearray(path.read_bytes())
    start = data.index(b"idx1") + 8
    for number in range(0, 100, 7):
        struct.pack_into("<I", data, start + 16 * number + 4, 0x10)  # AVIIF_KEYFRAME
    path.write_bytes(bytes(data))
    return path


# name, settings of the encoder, what is done to the file
NOT_TO_BE_SOUGHT = {
    "flags of other frames": ("a.avi", {"codec": "mpeg4", "options": {"g": "20", "bf": "0"}}, flag_wrong_keyframes),
    "a picture that is refreshed piece by piece": (
        "a.mp4",
        {"options": {"x264-params": "intra-refresh=1:keyint=20:bframes=0"}},
        None,
    ),
    "4:4:4 H.264": ("a.mp4", {"pixel_format": "yuv444p", "options": {"g": "20"}}, None),
    "cinepak": ("a.avi", {"codec": "cinepak", "pixel_format": "rgb24"}, None),
}


@pytest.mark.parametrize(("name", "settings", "change"), NOT_TO_BE_SOUGHT.values(), ids=NOT_TO_BE_SOUGHT)
def test_a_keyframe_is_sought_only_where_the_decoder_bears_it_out(
    odd_videos, tmp_path, decoded_frames, name, settings, change
):
    path = odd_videos.encode(tmp_path / name, num_frames=100, **settings)
    if change is not None:
        change(path)
    whole = decode_frames(path)
    forget_frame_tables()
    for indices in ([46], [65, 99], [30, 31]):
        np.testing.assert_array_equal(decode_frames(path, indices=indices).frames, whole.frames[indices])
    decoded_frames.clear()
    assert np.array_equal(decode_frames(path, indices=[90]).frames, whole.frames[[90]])
    assert len(decoded_frames) == 1  # at once: what was seen of the file is remembered
    assert not any(0 < index < 90 for index in read_frame_table(path).keyframes)


def test_damage_ends_the_short_cuts_of_a_file(shared_data, decoded_frames):
    """Behind a packet that does not decode, what a decoder makes of the next ones hangs on what it has decoded."""
    path = shared_data / "faults" / "corrupted.mp4"
    whole = decode_frames(path, stand_ins=True)
    forget_frame_tables()
    for index in (49, 40, 34, 10):
        np.testing.assert_array_equal(decode_frames(path, indices=[index]).frames[0], whole.frames[index])
    decoded_frames.clear()
    decode_frames(path, indices=[45])
    assert len(decoded_frames) == 1


def test_a_damaged_file_is_named_once(odd_videos, tmp_path, caplog):
    path = odd_videos.encode(tmp_path / "a.mp4", num_frames=20, options={"bf": "0"})
    odd_videos.blank_packet(path, 7)
    for indices in ([7], [6, 7], [7, 8]):
        assert decode_frames(path, indices=indices, stand_ins=True).stand_ins == {7: 8}
    assert caplog.text.count("others stand in") == 1


@pytest.mark.parametrize("indices", [[0], [4, 7], [11]])
@pytest.mark.parametrize(
    "case",
    [
        {"name": "a.mp4"},
        {"name": "a.mkv"},
        {"name": "a.avi", "codec": "mjpeg", "pixel_format": "yuvj420p"},
        {"name": "a.mp4", "options": {"bf": "3", "g": "4"}},
        {"name": "a.mp4", "pts": [700 + 100 * i for i in range(12)]},
    ],
    ids=["mp4", "mkv", "avi", "short groups", "late start"],
)
def test_a_file_is_opened_once(odd_videos, tmp_path, opened, case, indices):
    case = dict(case)
    path = odd_videos.encode(tmp_path / case.pop("name"), **case)
    opened.clear()
    decoded = decode_frames(path, indices=indices)
    assert opened == [path.name]
    assert [odd_videos.read_number(frame) for frame in decoded.frames] == indices


def test_a_file_that_is_decoded_to_count_its_frames_gives_them_at_once(odd_videos, tmp_path, decoded_frames):
    path = odd_videos.encode(tmp_path / "a.h264", container_format="h264")
    decoded = decode_frames(path, indices=[7, 2, 7])
    assert decoded.clock == "counted"
    assert decoded_frames == [12]
    assert [odd_videos.read_number(frame) for frame in decoded.frames] == [7, 2, 7]
    with pytest.raises(VideoError, match="frame 12 was asked for, 12 frames are readable"):
        decode_frames(path, indices=[12])


def test_the_tables_that_were_used_last_are_remembered():
    tables = FrameTables(2)
    for name in "ab":
        tables.put(name, name)
    assert tables.get("a") == "a"
    tables.put("c", "c")
    assert [tables.get(name) for name in "abc"] == ["a", None, "c"]
