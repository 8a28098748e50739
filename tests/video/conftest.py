"""Makes the video files that are met in the wild. Every frame carries its own number, so that a test can read it."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest

HEIGHT, WIDTH = 64, 96
_BITS = 8


def numbered_frame(number: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """uint8 (height, width, 3): the number as 8 black or white columns in the lower half; red top left, blue right."""
    frame = np.full((height, width, 3), 90, dtype=np.uint8)
    for bit in range(_BITS):
        columns = slice(bit * width // _BITS, (bit + 1) * width // _BITS)
        frame[height // 2 :, columns] = 235 if number >> bit & 1 else 16
    frame[: height // 4, : width // 4] = (220, 30, 30)
    frame[: height // 4, -(width // 4) :] = (30, 30, 220)
    return frame


def read_number(frame: np.ndarray) -> int:
    """The number of a decoded (height, width, 3) frame."""
    height, width = frame.shape[:2]
    row = frame[height * 3 // 4].mean(axis=-1)
    centers = [(2 * bit + 1) * width // (2 * _BITS) for bit in range(_BITS)]
    return sum(int(row[center] > 128) << bit for bit, center in enumerate(centers))


def encode(
    path: Path,
    num_frames: int = 12,
    pts: list[int] | None = None,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    container_format: str | None = None,
    size: tuple[int, int] = (HEIGHT, WIDTH),
    fps: int = 25,
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    metadata: dict[str, str] | None = None,
    color: dict[str, int] | None = None,
) -> Path:
    """Encode numbered frames; pts are in units of 1 / (100 fps)."""
    with av.open(str(path), "w", format=container_format, options=container_options or {}) as container:
        container.metadata.update(metadata or {})
        stream = container.add_stream(codec, rate=fps, options=options or {})
        stream.height, stream.width = size
        stream.pix_fmt = pixel_format
        for name, value in (color or {}).items():
            setattr(stream.codec_context, name, value)
        if pts is not None:
            stream.codec_context.time_base = Fraction(1, 100 * fps)
        for number in range(num_frames):
            frame = av.VideoFrame.from_ndarray(numbered_frame(number, *size), format="rgb24")
            frame = frame.reformat(format=pixel_format)
            frame.pts = pts[number] if pts is not None else number
            frame.time_base = Fraction(1, 100 * fps) if pts is not None else Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def sound_only(path: Path, codec: str = "aac", cover_picture: bool = False) -> Path:
    """Encode silence, if asked with a picture of its cover, which FFmpeg takes for a video stream."""
    with av.open(str(path), "w") as container:
        sound = container.add_stream(codec, rate=16000, layout="mono")
        if cover_picture:
            cover = container.add_stream("mjpeg", rate=1)
            cover.width, cover.height, cover.pix_fmt = 32, 32, "yuvj420p"
            cover.disposition = av.stream.Disposition.attached_pic.value
            picture = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), dtype=np.uint8), format="rgb24")
            container.mux(cover.encode(picture.reformat(format="yuvj420p")))
            container.mux(cover.encode(None))
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), dtype=np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    return path


def set_display_matrix(path: Path, a: int, b: int, c: int, d: int) -> Path:
    """Write the matrix of ISO/IEC 14496-12's track header, by its bytes: PyAV's own reading is what is tested."""
    data = bytearray(path.read_bytes())
    start = data.index(b"tkhd") + 4
    assert data[start] == 0, "version 0 of the box"
    matrix = struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    data[start + 40 : start + 76] = matrix
    path.write_bytes(bytes(data))
    return path


def set_avi_frame_count(path: Path, count: int) -> Path:
    """Overwrite the number of frames that an AVI states, in its file header and its stream header."""
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, data.index(b"avih") + 8 + 16, count)
    struct.pack_into("<I", data, data.index(b"strh") + 8 + 32, count)
    path.write_bytes(bytes(data))
    return path


def truncate(path: Path, share: float) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def blank_packet(path: Path, number: int) -> Path:
    """Overwrite one packet with zeros, which no decoder reads."""
    with av.open(str(path)) as container:
        position, size = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size][number]
    data = bytearray(path.read_bytes())
    data[position : position + size] = bytes(size)
    path.write_bytes(bytes(data))
    return path


@pytest.fixture(scope="session")
def odd_videos() -> SimpleNamespace:
    """The functions of this file, for tests."""
    return SimpleNamespace(
        encode=encode,
        numbered_frame=numbered_frame,
        read_number=read_number,
        sound_only=sound_only,
        set_display_matrix=set_display_matrix,
        set_avi_frame_count=set_avi_frame_count,
        truncate=truncate,
        blank_packet=blank_packet,
        height=HEIGHT,
        width=WIDTH,
    )
