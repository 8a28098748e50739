"""Turns the strips of frames in `weizmann4` into video files, so that they go through the same pipeline as any video.

    python tests/real/weizmann_strips.py ../shared/data/weizmann4 outputs/weizmann/videos

A strip `<class>/<id>.png` holds frames of 64x64 side by side. `id // 8` is the person, even ids are originals, and odd
ids the mirror image of the id before. The video is named `<class>/person<p>_<id>_{original,mirror}.mp4`.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from vidreason.video import write_video

FRAME_SIDE_PX = 64
FRAMES_PER_SECOND = 25.0


def read_strip(path: Path) -> np.ndarray:
    """The frames of a strip: (frames, 64, 64, 3), uint8."""
    strip = np.asarray(Image.open(path).convert("RGB"))
    if strip.shape[0] != FRAME_SIDE_PX or strip.shape[1] % FRAME_SIDE_PX:
        raise ValueError(f"{path}: a strip of {strip.shape[1]}x{strip.shape[0]} is not made of frames of 64x64")
    frames = strip.reshape(FRAME_SIDE_PX, -1, FRAME_SIDE_PX, 3)
    return np.ascontiguousarray(frames.transpose(1, 0, 2, 3))


def strips_to_videos(source: Path, out: Path) -> list[Path]:
    """Write a video for every strip and return their paths."""
    videos = []
    for path in sorted(source.glob("*/*.png")):
        number = int(path.stem)
        kind = "mirror" if number % 2 else "original"
        video = out / path.parent.name / f"person{number // 8}_{number:02d}_{kind}.mp4"
        videos.append(write_video(video, read_strip(path), FRAMES_PER_SECOND, crf=12))
    return videos


if __name__ == "__main__":
    print(f"{len(strips_to_videos(Path(sys.argv[1]), Path(sys.argv[2])))} videos")
