"""Facts about a video file."""

from __future__ import annotations

import os
from dataclasses import dataclass

from ..errors import VideoError
from .frame_table import count_readable, read_frame_table
from .stream import Orientation, check_pixels, open_video


@dataclass(frozen=True)
class VideoInfo:
    """Facts about a video.

    Attributes:
        path: the file.
        width: pixels as displayed, after the rotation flag. A pixel aspect ratio other than 1 is not applied.
        height: likewise.
        num_frames: frames that were decoded where the file leaves any doubt about their number (`frames_decoded`),
            otherwise packets with a time of their own, which is the same number in a file without damage. The
            header's statement is not used.
        fps: frames per second on average, from the frames' times; headers are used for single frames only.
        duration_s: from the first frame's start to the last frame's end.
        rotation_deg: the clockwise turn from the stored to the displayed picture: 0, 90, 180 or 270.
        codec: FFmpeg's name, such as "h264".
        mirrored: left and right are exchanged after the turn, as some front cameras ask for.
        clock: "stream" where the file's own times are used, "counted" where they are missing or wrong.
        frames_decoded: `num_frames` counts frames that were decoded.
        damaged: the file ends early; `num_frames` is what is readable.
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
        path: a local file.
        decode_all: decode every frame, which finds damage in the middle of a file. Slow.
        max_pixels: the largest width x height to accept.

    Raises:
        VideoError: the file cannot be used; `reason` says why. With `decode_all`, decode_failed where not every frame
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
