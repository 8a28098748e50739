"""Facts about video files."""

from __future__ import annotations

import functools
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tqdm.auto import tqdm

from ..errors import VideoError, unforeseen
from .decode import Orientation, check_pixels, count_readable, open_video, read_frame_table

VIDEO_SUFFIXES = (
    *(".avi", ".mp4", ".mkv", ".webm", ".mov", ".m4v", ".mpg", ".mpeg", ".wmv", ".flv", ".3gp", ".gif"),
    *(".mts", ".m2ts", ".m2t", ".ts", ".vob", ".mod", ".tod", ".mxf"),  # camcorders, discs, television
    *(".3g2", ".asf", ".divx", ".dv", ".f4v", ".m1v", ".m2v", ".mp4v", ".mpe", ".mpv", ".ogm", ".ogv", ".qt", ".rm"),
    *(".rmvb", ".wtv", ".y4m"),
)
"""Suffixes of the files that folders of videos are searched for, in lower case; those met most often first."""


@dataclass(frozen=True)
class VideoInfo:
    """Facts about a video.

    Attributes:
        path: Path of the file.
        width: Width in pixels as displayed, after the rotation flag. A pixel aspect ratio other than 1 is not applied.
        height: Height in pixels as displayed.
        num_frames: Number of frames that were decoded where the file leaves any doubt about it (`frames_decoded`),
            otherwise of packets with a time of their own, which is the same number in a file without damage. The
            header's statement is not used.
        fps: Frames per second on average, from the frames' times; headers are used for single frames only.
        duration_s: Seconds from the first frame's start to the last frame's end.
        rotation_deg: Clockwise turn from the stored to the displayed picture: 0, 90, 180 or 270.
        codec: FFmpeg's name of the codec, such as "h264".
        mirrored: Whether left and right are exchanged after the turn, as some front cameras ask for.
        clock: "stream" where the file's own times are used, "counted" where they are missing or wrong.
        frames_decoded: Whether `num_frames` counts frames that were decoded.
        damaged: Whether the file ends early; `num_frames` is what is readable.
    """

    path: str
    width: int
    height: int
    num_frames: int
    fps: float
    duration_s: float
    rotation_deg: int
    codec: str
    mirrored: bool = False
    clock: str = "stream"
    frames_decoded: bool = False
    damaged: bool = False


def probe_video(path: str | os.PathLike, decode_all: bool = False, max_pixels: int | None = None) -> VideoInfo:
    """Read the facts about a video: its packets are listed and its first frame is decoded.

    Args:
        path: Local file.
        decode_all: Whether every frame is decoded, which finds damage in the middle of a file. Slow.
        max_pixels: Largest width x height in pixels to accept.

    Raises:
        VideoError: The file cannot be used; `reason` says why. With `decode_all`, decode_failed where not every frame
            can be read.
    """
    table = read_frame_table(path, max_pixels)
    if decode_all and (readable := count_readable(path, table)) < len(table):
        raise VideoError(path, "decode_failed", f"{readable} of {len(table)} frames are readable")
    with open_video(path, max_pixels) as video:
        frame = next(video.frames(), None)
        if frame is None:
            raise VideoError(path, "decode_failed", f"none of {len(table)} frames decodes")
        codec = video.stream.codec_context.name
    check_pixels(path, frame.width, frame.height, max_pixels)
    orientation = Orientation.of(frame)
    width, height = (frame.height, frame.width) if orientation.transpose else (frame.width, frame.height)
    return VideoInfo(
        path=str(path),
        width=width,
        height=height,
        num_frames=len(table),
        fps=table.fps,
        duration_s=table.duration_s,
        rotation_deg=orientation.rotation_deg,
        codec=codec,
        mirrored=orientation.mirrored,
        clock=table.clock,
        frames_decoded=table.decoded or decode_all,
        damaged=table.damaged,
    )


Probed = VideoInfo | dict[str, str]
"""Facts, or why there are none: path, reason and detail, as manifests list the videos that are left out."""


@dataclass(frozen=True)
class VideoProbe:
    """Reads the facts about a video under a root; where that fails, says why in place of raising.

    Args:
        root: Folder that paths start from.
        decode_all: Whether every frame is decoded; see `probe_video`.
        max_pixels: Largest width x height in pixels to accept.
    """

    root: Path
    decode_all: bool = False
    max_pixels: int | None = None

    def __call__(self, path: str) -> Probed:
        """What a video is, or the entry for the list of those that were left out."""
        try:
            return probe_video(self.root / path, self.decode_all, self.max_pixels)
        except VideoError as error:
            return {"path": path, "reason": error.reason, "detail": error.detail}
        except OSError as error:
            return {"path": path, "reason": "missing", "detail": str(error)}


def probe_videos(probe: Callable[[str], Probed], paths: Sequence[str], num_proc: int = 1) -> dict[str, Probed]:
    """Read facts about videos, in several processes if asked, with a progress bar.

    Args:
        probe: Gives the facts about a path, or its entry in the list of videos that are left out, such as a
            `VideoProbe`. It must pickle.
        paths: Paths as the probe takes them.
        num_proc: Number of processes.

    Returns:
        Path -> what the probe said, in the order of the paths.
    """
    return dict(zip(paths, _probe_all(_OneOfMany(probe), paths, num_proc), strict=True))


@dataclass(frozen=True)
class _OneOfMany:
    """A probe whose unforeseen errors are entries in the list of videos that are left out."""

    probe: Callable[[str], Probed]

    def __call__(self, path: str) -> Probed:
        try:
            return self.probe(path)
        except Exception as caught:
            error = unforeseen(path, caught)
            return {"path": path, "reason": error.reason, "detail": error.detail}


def _probe_all(probe: Callable[[str], Probed], paths: Sequence[str], num_proc: int) -> Iterator[Probed]:
    progress = functools.partial(tqdm, total=len(paths), desc="reading videos", unit="video")
    if num_proc <= 1 or len(paths) < 2:
        yield from progress(map(probe, paths))
        return
    # not forked: the parent may hold threads of pyarrow's
    with ProcessPoolExecutor(num_proc, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from progress(pool.map(probe, paths, chunksize=max(1, min(32, len(paths) // (4 * num_proc)))))
