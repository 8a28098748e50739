"""The packets of an AVI by its index: what reading the file says, and nothing where the index does not say it all."""

import struct
from pathlib import Path

import av
import numpy as np
import pytest

from vidreason.errors import VideoError
from vidreason.video import decode, decode_frames
from vidreason.video.decode import forget_frame_tables, open_video, read_frame_table
from vidreason.video.frame_table import Packets

NUM_FRAMES = 40
MPEG4 = {"codec": "mpeg4", "options": {"g": "12", "bf": "0"}}


def listed(path: Path) -> tuple[Packets | None, Packets]:
    """What the index says, and what reading says."""
    with open_video(path) as video:
        indexed = decode._indexed_packets(video)
        return indexed, decode._read_packets(video)


def with_sound(path: Path, codec: str) -> Path:
    """A picture and a piece of sound in turn, as cameras write them."""
    with av.open(str(path), "w") as container:
        picture = container.add_stream("mpeg4", rate=25, options=MPEG4["options"])
        picture.height, picture.width, picture.pix_fmt = 64, 96, "yuv420p"
        sound = container.add_stream(codec, rate=16000, layout="mono")
        for number in range(NUM_FRAMES):
            frame = av.VideoFrame.from_ndarray(np.full((64, 96, 3), 5 * number, dtype=np.uint8), format="rgb24")
            frame.pts = number
            container.mux(picture.encode(frame))
            samples = np.full((1, 640), 100 * number, dtype=np.int16)
            piece = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
            piece.sample_rate, piece.pts = 16000, 640 * number
            container.mux(sound.encode(piece))
        container.mux(picture.encode(None))
        container.mux(sound.encode(None))
    return path


def entries_of(path: Path) -> list[tuple[int, int]]:
    """(position of the chunk's header, size of what it holds), in bytes."""
    with av.open(str(path)) as container:
        return [(entry.pos, entry.size) for entry in container.streams.video[0].index_entries]


def overwrite(path: Path, position: int, data: bytes) -> Path:
    whole = bytearray(path.read_bytes())
    whole[position : position + len(data)] = data
    path.write_bytes(bytes(whole))
    return path


MADE = {
    "mpeg-4": lambda odd, folder: odd.encode(folder / "a.avi", num_frames=NUM_FRAMES, **MPEG4),
    "one frame": lambda odd, folder: odd.encode(folder / "a.avi", num_frames=1, **MPEG4),
    "motion jpeg": lambda odd, folder: odd.encode(
        folder / "a.avi", num_frames=NUM_FRAMES, codec="mjpeg", pixel_format="yuvj420p"
    ),
    "pcm sound": lambda odd, folder: with_sound(folder / "a.avi", "pcm_s16le"),
    "compressed sound": lambda odd, folder: with_sound(folder / "a.avi", "adpcm_ima_wav"),
}


@pytest.mark.parametrize("make", MADE.values(), ids=MADE.keys())
def test_an_index_says_what_reading_says(odd_videos, tmp_path, make):
    path = make(odd_videos, tmp_path)
    indexed, read = listed(path)
    assert indexed is not None and len(indexed) > 0
    assert (indexed.pts, indexed.durations, indexed.are_keyframes) == (read.pts, read.durations, read.are_keyframes)
    assert (indexed.complete, indexed.first_dts) == (read.complete, read.first_dts) == (True, 0)


def test_an_index_says_what_reading_says_of_real_files(shared_data):
    files = sorted((shared_data / "clips" / "UCF-101").rglob("*.avi"))
    assert len(files) == 2
    for file in files:
        indexed, read = listed(file)
        assert indexed is not None, file.name
        assert indexed.pts == read.pts, file.name
        assert (indexed.durations, indexed.are_keyframes) == (read.durations, read.are_keyframes), file.name


def test_a_file_with_a_good_index_is_not_read_to_count_its_frames(odd_videos, tmp_path, monkeypatch):
    path = odd_videos.encode(tmp_path / "a.avi", num_frames=NUM_FRAMES, **MPEG4)
    whole = decode_frames(path)
    forget_frame_tables()
    monkeypatch.setattr(decode, "_read_packets", lambda video: pytest.fail("the packets were read"))
    some = decode_frames(path, indices=[39, 0, 13, 13])
    assert [odd_videos.read_number(frame) for frame in some.frames] == [39, 0, 13, 13]
    assert np.array_equal(some.frames, whole.frames[[39, 0, 13, 13]])
    assert read_frame_table(path).keyframes.tolist() == [0, 12, 24, 36]


def test_a_file_that_cannot_be_mapped_is_read(odd_videos, tmp_path, monkeypatch):
    path = odd_videos.encode(tmp_path / "a.avi", num_frames=NUM_FRAMES, **MPEG4)

    def refuse(*arguments, **named):
        raise OSError("no such operation on this device")

    monkeypatch.setattr(decode.mmap, "mmap", refuse)
    indexed, read = listed(path)
    assert indexed is None and read.pts == list(range(NUM_FRAMES))


def wrong_sizes_in_the_index(path: Path) -> Path:
    data = path.read_bytes()
    start = data.index(b"idx1") + 8 + 16 * 5
    assert data[start : start + 4] == b"00dc"
    (size,) = struct.unpack_from("<I", data, start + 12)
    return overwrite(path, start + 12, struct.pack("<I", size + 2))


def no_index(path: Path) -> Path:
    return overwrite(path, path.read_bytes().index(b"idx1"), b"JUNK")


def bytes_between_chunks(path: Path) -> Path:
    """A chunk in the data that the index does not know: one frame's entry is taken out of it."""
    data = bytearray(path.read_bytes())
    start = data.index(b"idx1")
    (size,) = struct.unpack_from("<I", data, start + 4)
    struct.pack_into("<I", data, start + 4, size - 16)
    entry = start + 8 + 16 * (NUM_FRAMES - 1)
    data[entry : entry + 16] = b"JUNK" + struct.pack("<I", 8) + bytes(8)
    path.write_bytes(bytes(data))
    return path


NOT_BY_INDEX = {
    "the header of a chunk is damaged": lambda path: overwrite(path, entries_of(path)[7][0], b"\0\0\0\0"),
    "a chunk belongs to another stream": lambda path: overwrite(path, entries_of(path)[7][0], b"01"),
    "a chunk states another size": lambda path: overwrite(path, entries_of(path)[7][0] + 4, b"\1\0"),
    "the index states another size": wrong_sizes_in_the_index,
    "no index": no_index,
    "a chunk that the index does not know": bytes_between_chunks,
}


@pytest.mark.parametrize("damage", NOT_BY_INDEX.values(), ids=NOT_BY_INDEX.keys())
def test_an_index_that_the_file_does_not_bear_out_is_not_believed(odd_videos, tmp_path, damage):
    path = damage(odd_videos.encode(tmp_path / "a.avi", num_frames=NUM_FRAMES, **MPEG4))
    indexed, read = listed(path)
    assert indexed is None and len(read) >= NUM_FRAMES - 1
    with open_video(path) as video:
        assert decode.list_packets(video).packets.pts == read.pts
    assert len(decode_frames(path)) >= NUM_FRAMES - 1


def test_a_file_that_ends_early_is_read(odd_videos, tmp_path):
    path = odd_videos.truncate(odd_videos.encode(tmp_path / "a.avi", num_frames=NUM_FRAMES, **MPEG4), 0.8)
    indexed, read = listed(path)
    assert indexed is None and 0 < len(read) < NUM_FRAMES
    assert len(decode_frames(path)) < NUM_FRAMES
    with pytest.raises(VideoError, match="frame 39 was asked for"):
        decode_frames(path, indices=[39])


def test_a_file_that_leaves_frames_out_is_read(odd_videos, tmp_path):
    pts = [100 * (number + 3 * (number >= 20)) for number in range(NUM_FRAMES)]
    path = odd_videos.encode(tmp_path / "a.avi", num_frames=NUM_FRAMES, pts=pts, codec="mpeg4")
    indexed, read = listed(path)
    assert indexed is None
    assert len(read) == NUM_FRAMES
    forget_frame_tables()
    assert odd_videos.read_number(decode_frames(path, indices=[25]).frames[0]) == 25


@pytest.mark.parametrize(
    "name, codec, options",
    [
        ("a.mp4", "mpeg4", {}),
        ("a.mkv", "mpeg4", {}),
        ("a.avi", "libx264", {}),
        ("a.avi", "mpeg4", {"bf": "2"}),  # FFmpeg guesses at the order of presentation
    ],
)
def test_other_containers_and_codecs_are_read(odd_videos, tmp_path, name, codec, options):
    indexed, read = listed(odd_videos.encode(tmp_path / name, num_frames=12, codec=codec, options=options))
    assert indexed is None and len(read) == 12
