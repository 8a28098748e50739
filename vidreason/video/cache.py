"""Decoded videos that several runs of the same data share: one after the other in a process, or side by side.

A mapping that is passed on keeps what one run has decoded for the next. `write_decoded` and `open_decoded` do it for
processes that run at the same time: the frames lie in a file, which all of them map, so that they are decoded once and
lie in memory once.
"""

from __future__ import annotations

import json
import os
from collections import ChainMap
from collections.abc import Callable, Iterable, MutableMapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import VideoError, one_of_many
from .decode import DecodedFrames, decode_frames

SharedVideos = MutableMapping[tuple, DecodedFrames]
"""(path, longer side) -> all frames; or (path, longer side, rate) -> those at the times of a rate."""


def decode_whole_video(
    path: Path, max_side_px: int | None, max_pixels: int | None, shared: SharedVideos | None = None
) -> DecodedFrames:
    """All frames of a video, out of `shared` where another data set has decoded it.

    Frame `i` is at position `i`: others stand in for frames that do not decode.

    Args:
        path: The file of the video.
        max_side_px: Longer side in pixels that frames are scaled down to; None keeps their size.
        max_pixels: Largest stored width x height in pixels to accept; None accepts any.
        shared: Videos that were decoded before; those that are decoded here join it. None keeps nothing.

    Raises:
        VideoError: The video cannot be read.
    """
    return _shared_or_decoded((str(path), max_side_px), path, None, max_side_px, max_pixels, shared)


def decode_at_rate(
    path: Path,
    timestamps_s: Sequence[float],
    fps: float,
    max_side_px: int | None,
    max_pixels: int | None,
    shared: SharedVideos | None = None,
) -> DecodedFrames:
    """The frames of a video at the times of a rate, out of `shared` where they were decoded before.

    Args:
        path: The file of the video.
        timestamps_s: All times at `fps` that the video has, in seconds.
        fps: The rate in frames per second, under which the frames are kept.
        max_side_px: Longer side in pixels that frames are scaled down to; None keeps their size.
        max_pixels: Largest stored width x height in pixels to accept; None accepts any.
        shared: Videos that were decoded before; those that are decoded here join it. None keeps nothing.

    Raises:
        VideoError: The video cannot be read.
    """
    return _shared_or_decoded((str(path), max_side_px, fps), path, timestamps_s, max_side_px, max_pixels, shared)


def _shared_or_decoded(
    key: tuple,
    path: Path,
    timestamps_s: Sequence[float] | None,
    max_side_px: int | None,
    max_pixels: int | None,
    shared: SharedVideos | None,
) -> DecodedFrames:
    if shared is not None and key in shared:
        return shared[key]
    decoded = decode_frames(
        path, timestamps_s=timestamps_s, max_side_px=max_side_px, max_pixels=max_pixels, stand_ins=True
    )
    if shared is not None:
        shared[key] = decoded
    return decoded


_FRAMES, _INDEX = "frames.bin", "videos.jsonl"


def write_decoded(
    folder: Path, paths: Iterable[Path], max_side_px: int | None, progress: Callable[..., Any] | None = None
) -> None:
    """Decode videos into a folder for `open_decoded`. It is for the machine and the runs at hand: it is not portable.

    A video that cannot be read is left out; reading it later raises its error.

    Args:
        folder: Folder to make; what an earlier call left there is replaced.
        paths: Files of the videos.
        max_side_px: Longer side in pixels that frames are scaled down to; None keeps their size.
        progress: Wraps the iterable, as `tqdm.tqdm` does.
    """
    paths = list(paths)
    folder.mkdir(parents=True, exist_ok=True)

    def decode(path: Path) -> DecodedFrames | None:
        try:
            with one_of_many(path):
                return decode_frames(path, max_side_px=max_side_px, stand_ins=True)
        except VideoError:
            return None

    with (
        (folder / _FRAMES).open("wb") as frames_file,
        (folder / _INDEX).open("w", encoding="utf-8") as index_file,
        ThreadPoolExecutor(os.cpu_count()) as pool,  # threads: decoding spends its time outside Python's lock
    ):
        videos = pool.map(decode, paths)
        if progress is not None:
            videos = progress(videos, desc="decode", total=len(paths))
        for path, video in zip(paths, videos, strict=True):
            if video is None:
                continue
            row = {
                "path": str(path),
                "max_side_px": max_side_px,
                "offset": frames_file.tell(),
                "shape": video.frames.shape,
                "frame_indices": video.frame_indices,
                "timestamps_s": video.timestamps_s,
                "clock": video.clock,
            }
            frames_file.write(np.ascontiguousarray(video.frames).data)
            index_file.write(json.dumps(row) + "\n")


def open_decoded(folder: Path) -> SharedVideos:
    """What `write_decoded` wrote, as a cache of videos; videos that are not in it are decoded and kept in memory.

    The frames are read-only, and stay readable for as long as the folder is there.

    Args:
        folder: Folder that `write_decoded` wrote.
    """
    # mapped, so that processes that run side by side share one copy in the page cache
    buffer = np.asarray(np.memmap(folder / _FRAMES, dtype=np.uint8, mode="r"))
    videos: dict[tuple, DecodedFrames] = {}
    for line in (folder / _INDEX).read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        frames = buffer[row["offset"] : row["offset"] + int(np.prod(row["shape"]))].reshape(row["shape"])
        videos[row["path"], row["max_side_px"]] = DecodedFrames(
            frames, row["frame_indices"], row["timestamps_s"], row["clock"]
        )
    return ChainMap({}, videos)
