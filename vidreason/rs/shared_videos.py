"""Decoded videos that outlive a run, for a process that makes several runs of the same data one after the other."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, MutableMapping
from pathlib import Path

from ..video import DecodedFrames, decode_frames

SharedVideos = MutableMapping[tuple[str, int | None], DecodedFrames]

_shared: SharedVideos | None = None


@contextlib.contextmanager
def sharing_videos(videos: SharedVideos) -> Iterator[None]:
    """Until its end, whole videos are taken from `videos` where they are in it, and put there where they are not.

    Args:
        videos: (path, longer side) -> all frames. Whoever gives it decides how long, and for what, it is kept.
    """
    global _shared
    before, _shared = _shared, videos
    try:
        yield
    finally:
        _shared = before


def decode_whole_video(path: Path, max_side_px: int | None, max_pixels: int | None) -> DecodedFrames:
    """All frames of a video, out of `sharing_videos` where another data set has decoded it.

    Raises:
        VideoError: it cannot be read.
    """
    if _shared is None:
        return decode_frames(path, max_side_px=max_side_px, max_pixels=max_pixels)
    key = (str(path), max_side_px)
    if key not in _shared:
        _shared[key] = decode_frames(path, max_side_px=max_side_px, max_pixels=max_pixels)
    return _shared[key]
