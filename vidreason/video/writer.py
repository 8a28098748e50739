"""Write frames as an H.264 file that every browser plays, or as a moving picture for a page of text."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import Colorspace, VideoReformatter
from PIL import Image

from ..errors import VidreasonError

# ITU-T H.273 code of BT.709, for the matrix, the primaries and the transfer curve; and "limited" range
_BT709, _LIMITED_RANGE = 1, 1


def write_video(
    path: str | os.PathLike,
    frames: Iterable[np.ndarray],
    fps: float,
    crf: int = 23,
    preset: str = "veryfast",
) -> Path:
    """Write frames as H.264 in an MP4 file: yuv420p, BT.709, the index before the data (`faststart`).

    yuv420p wants even sizes: an odd one is padded by repeating the last row or column. The file appears under its
    name only when it is whole. One encoder thread, so that the same frames give the same bytes on any machine.

    Args:
        path: File to write. Its folder is made where it is absent.
        frames: RGB pictures, each uint8 (height, width, 3), all of one size; any iterable, read once.
        fps: Frames per second.
        crf: Constant rate factor of x264, 0 (lossless) to 51.
        preset: Preset of x264, its trade of speed against size.

    Returns:
        The path.

    Raises:
        ValueError: There are no frames, a frame is not uint8 (height, width, 3), their sizes are unequal, or fps is
            not above zero.
        VidreasonError: The encoder refused.
    """
    path = Path(path)
    if not fps > 0:
        raise ValueError(f"{path}: fps must be above zero, got {fps}")
    checked = _checked_frames(path, frames)
    first = next(checked, None)
    if first is None:
        raise ValueError(f"{path}: no frames to write")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with av.open(str(partial), "w", format="mp4", options={"movflags": "+faststart"}) as container:
            # One thread and no macroblock tree: with either, the same frames do not always give the same bytes. One
            # thread also keeps a pool out of processes that fork, serve and hold pools of torch.
            options = {"crf": str(crf), "preset": preset, "threads": "1", "x264-params": "mbtree=0"}
            stream = _add_stream(container, first, fps, options)
            _encode(container, stream, first, checked)
        os.replace(partial, path)
    except av.error.FFmpegError as error:
        raise VidreasonError(f"{path}: could not be encoded as H.264 ({error})") from error
    finally:
        partial.unlink(missing_ok=True)
    return path


def write_animation(path: str | os.PathLike, frames: Iterable[np.ndarray], fps: float, quality: int = 70) -> Path:
    """Write frames as an animated WebP that repeats for ever, which pages show where they show no video.

    Args:
        path: File to write. Its folder is made where it is absent.
        frames: RGB pictures, each uint8 (height, width, 3), all of one size.
        fps: Frames per second.
        quality: Quality of WebP's lossy compression, 0 to 100.

    Returns:
        The path.

    Raises:
        ValueError: There are no frames, a frame is not uint8 (height, width, 3), their sizes are unequal, or fps is
            not above zero.
    """
    path = Path(path)
    if not fps > 0:
        raise ValueError(f"{path}: fps must be above zero, got {fps}")
    pictures = [Image.fromarray(frame) for frame in _checked_frames(path, frames)]
    if not pictures:
        raise ValueError(f"{path}: no frames to write")
    path.parent.mkdir(parents=True, exist_ok=True)
    settings = {"duration": round(1000 / fps), "loop": 0, "quality": quality, "minimize_size": True}
    pictures[0].save(path, format="WEBP", save_all=True, append_images=pictures[1:], **settings)
    return path


def _checked_frames(path: Path, frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Yield frames (height, width, 3) that are known to be uint8 and of one size."""
    expected = None
    for position, frame in enumerate(frames):
        frame = np.asarray(frame)
        if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8 or 0 in frame.shape:
            raise ValueError(
                f"{path}: frame {position} is {frame.dtype} {frame.shape}, expected uint8 (height, width, 3)"
            )
        expected = expected or frame.shape
        if frame.shape != expected:
            raise ValueError(f"{path}: frame {position} is {frame.shape}, the frames before it are {expected}")
        yield frame


def _add_stream(container, first: np.ndarray, fps: float, options: dict[str, str]):
    height, width = first.shape[:2]
    # Not HEVC: few browsers play it, and its encoder is not safe in this process (`tests/fixtures/odd_videos.py`).
    stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(100_000), options=options)
    stream.width, stream.height, stream.pix_fmt = width + width % 2, height + height % 2, "yuv420p"
    context = stream.codec_context
    context.colorspace = context.color_primaries = context.color_trc = _BT709
    context.color_range = _LIMITED_RANGE
    return stream


def _encode(container, stream, first: np.ndarray, others: Iterable[np.ndarray]) -> None:
    reformatter = VideoReformatter()
    time_base = 1 / Fraction(stream.codec_context.framerate)

    def encode(position: int, frame: np.ndarray) -> None:
        picture = av.VideoFrame.from_ndarray(_pad_to_even(frame), format="rgb24")
        # one thread: waiting for others costs more than a small picture takes
        picture = reformatter.reformat(picture, format="yuv420p", dst_colorspace=Colorspace.ITU709, threads=1)
        picture.pts, picture.time_base = position, time_base
        container.mux(stream.encode(picture))

    encode(0, first)
    for position, frame in enumerate(others, start=1):
        encode(position, frame)
    container.mux(stream.encode(None))


def _pad_to_even(frame: np.ndarray) -> np.ndarray:
    """(height, width, 3) to even height and width, by repeating the last row and column."""
    height, width = frame.shape[:2]
    if height % 2 or width % 2:
        frame = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    return np.ascontiguousarray(frame)
