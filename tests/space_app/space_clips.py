"""Clips for the tests of the Space, good ones and bad ones."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from vidreason.video import write_video

HEIGHT, WIDTH = 96, 128

LABELS = ["left_to_right", "right_to_left", "<b>neither</b>"]
NUM_FRAMES = 4
"""Of the checkpoints of conftest.py."""


def moving_square(num_frames: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """A bright square that moves from left to right through the third of four rows: (frames, height, width, 3).

    The background has a pattern that stays where it is; on a plain one, a camera could be following the square.
    """
    rng = np.random.default_rng(0)
    pattern = np.kron(rng.integers(20, 110, (height // 8, width // 8)), np.ones((8, 8))).astype(np.uint8)
    frames = np.tile(pattern[None, :, :, None], (num_frames, 1, 1, 3))
    side = height // 5
    for number in range(num_frames):
        left = round((width - side) * number / max(1, num_frames - 1))
        frames[number, height // 2 + 2 : height // 2 + 2 + side, left : left + side] = 230
    return frames


def quadrant_frames(num_frames: int, height: int, width: int) -> np.ndarray:
    """Grey with a white square in the upper left corner, so that any turn shows: (frames, height, width, 3)."""
    frames = np.full((num_frames, height, width, 3), 100, np.uint8)
    frames[:, : height // 4, : width // 4] = 240
    return frames


def write_clip(path: Path, frames: np.ndarray, fps: float = 12.0) -> Path:
    """Write frames (frames, height, width, 3) as H.264."""
    return write_video(path, frames, fps, crf=12)


def rotate_flag(path: Path, quarter_turns: int) -> Path:
    """Set the rotation flag of an MP4 to so many clockwise quarter turns, by the bytes of its track header."""
    a, b, c, d = [(1, 0, 0, 1), (0, 1, -1, 0), (-1, 0, 0, -1), (0, -1, 1, 0)][quarter_turns]
    data = bytearray(path.read_bytes())
    start = data.index(b"tkhd") + 4
    data[start + 40 : start + 76] = struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    path.write_bytes(bytes(data))
    return path


def encode_at(path: Path, pts_s: list[float], size: tuple[int, int] = (16, 16)) -> Path:
    """Black frames (height, width) at these times."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        stream.height, stream.width, stream.pix_fmt = *size, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        black = av.VideoFrame.from_ndarray(np.zeros((*size, 3), np.uint8), format="rgb24").reformat(format="yuv420p")
        for time_s in pts_s:
            black.pts, black.time_base = round(1000 * time_s), Fraction(1, 1000)
            container.mux(stream.encode(black))
        container.mux(stream.encode(None))
    return path


def sound_only(path: Path) -> Path:
    """Silence in an MP4."""
    with av.open(str(path), "w") as container:
        sound = container.add_stream("aac", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8192), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    return path


def bad_files(folder: Path) -> dict[str, tuple[Path, str]]:
    """Files that no visitor should be able to do harm with: name -> (path, reason for which it is refused)."""
    folder.mkdir(parents=True, exist_ok=True)
    good = write_clip(folder / "good.mp4", moving_square(24)).read_bytes()
    at_end = encode_at(folder / "camera.mp4", [n / 25 for n in range(50)], (96, 128)).read_bytes()  # index at the end
    secret = folder / "secret.ts"
    secret.write_bytes(good)

    def written(name: str, content: bytes) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return {
        "empty": (written("empty.mp4", b""), "empty_file"),
        "text": (written("text.mp4", b"This is no video at all.\n" * 40), "not_a_video"),
        "picture": (written("picture.mp4", b"\x89PNG\r\n\x1a\n" + bytes(64)), "not_a_video"),
        "noise": (written("noise.mp4", b"\0\0\0\x18ftypmp42" + np.random.default_rng(0).bytes(4096)), "not_a_video"),
        "playlist": (written("playlist.mp4", f"#EXTM3U\n#EXTINF:1,\n{secret}\n".encode()), "not_a_video"),
        "script": (written("script.mp4", f"ffconcat version 1.0\nfile '{secret}'\n".encode()), "not_a_video"),
        "sound": (sound_only(folder / "sound.mp4"), "no_video_stream"),
        "truncated": (written("truncated.mp4", at_end[: at_end.index(b"moov") - 4]), "not_a_video"),
        "cut_header": (written("cut_header.mp4", good[: good.index(b"trak") + 20]), "no_video_stream"),
        "without_frames": (written("without_frames.mp4", _without_media(good)), "decode_failed"),
        "huge_frames": (encode_at(folder / "huge_frames.mp4", [0, 0.04], (8192, 8192)), "too_large"),
        "hours": (encode_at(folder / "hours.mp4", [0, 0.04, 36_000]), "too_long"),
        "many_frames": (encode_at(folder / "many_frames.mp4", [n / 200 for n in range(2400)]), "too_long"),
    }


def _without_media(good: bytes) -> bytes:
    """The same MP4 with nothing but zeros where its packets are."""
    start = good.index(b"mdat") + 4
    return good[:start] + bytes(len(good) - start)
