"""Opening a file's video stream with PyAV, and turning what can go wrong there into `VideoError`."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from ..errors import VideoError

logger = logging.getLogger(__name__)

# FFmpeg opens these as if they were video: still images, and any text as terminal art
_NOT_VIDEO_FORMATS = ("image2", "tty")

# Here a picture that is not a reference is one that no other picture is decoded from. In HEVC it may still be one for
# pictures of a higher temporal layer.
_CODECS_THAT_CAN_SKIP = ("h264", "mpeg4", "mpeg2video", "mpeg1video")


@dataclass(frozen=True)
class OpenVideo:
    """An open container and its video stream."""

    path: str
    container: av.container.InputContainer
    stream: av.VideoStream

    @property
    def can_skip(self) -> bool:
        """Whether the decoder can leave out frames that no other frame needs."""
        return self.stream.codec_context.name in _CODECS_THAT_CAN_SKIP

    def frames(self, wanted_pts: Collection[int] | None = None) -> Iterator[av.VideoFrame]:
        """Decode from the current position, in order of presentation.

        A damaged or cut packet is passed over, and an end that comes too early ends the frames. Who needs to know
        which frames are lost compares with the frame table.

        Args:
            wanted_pts: times of the frames that are wanted, as their packets state them. Of the others those may be
                left out that no frame is decoded from; in H.264 with its usual B-frames that is half of them.
        """
        codec = self.stream.codec_context
        codec.skip_frame = "DEFAULT"
        skips = False
        try:
            for packet in self.container.demux(self.stream):
                if packet.is_corrupt:
                    continue
                if wanted_pts is not None and skips != (packet.pts is not None and packet.pts not in wanted_pts):
                    skips = not skips
                    codec.skip_frame = "NONREF" if skips else "DEFAULT"
                try:
                    decoded = packet.decode()
                except av.error.FFmpegError as error:
                    logger.debug("%s: packet at %s does not decode (%s)", self.path, packet.pts, error)
                    continue
                yield from decoded
        except av.error.FFmpegError as error:
            logger.debug("%s: reading ends early (%s)", self.path, error)


@contextmanager
def open_video(path: str | os.PathLike, max_pixels: int | None = None) -> Iterator[OpenVideo]:
    """Open the first video stream of a file.

    Args:
        path: a local file.
        max_pixels: the largest width x height to accept, looked at before anything is decoded.

    Raises:
        VideoError: missing, empty_file, not_a_video, no_video_stream, too_large or decode_failed.
    """
    _check_file(path)
    try:
        container = av.open(os.fspath(path), metadata_errors="ignore")
    except (av.error.FFmpegError, ValueError, UnicodeError) as error:
        raise VideoError(path, "not_a_video", _first_line(error)) from error
    with container:
        stream = _select_stream(path, container)
        check_pixels(path, stream.codec_context.width, stream.codec_context.height, max_pixels)
        # many videos are read side by side, by workers or threads; inside one, threads mostly wait for each other
        stream.codec_context.thread_count = 1
        try:
            yield OpenVideo(str(path), container, stream)
        except av.error.FFmpegError as error:
            raise VideoError(path, "decode_failed", _first_line(error)) from error


def check_pixels(path: str | os.PathLike, width: int, height: int, max_pixels: int | None) -> None:
    """Raise `VideoError` (too_large) for pictures of more than `max_pixels`."""
    if max_pixels is not None and width * height > max_pixels:
        raise VideoError(path, "too_large", f"{width} x {height} is more than {max_pixels} pixels")


def _check_file(path: str | os.PathLike) -> None:
    file = Path(path)
    if not file.is_file():
        raise VideoError(path, "missing", "not a regular file" if file.exists() else "")
    if file.stat().st_size == 0:
        raise VideoError(path, "empty_file")


def _select_stream(path: str | os.PathLike, container: av.container.InputContainer) -> av.VideoStream:
    format_name = container.format.name
    if format_name in _NOT_VIDEO_FORMATS or format_name.endswith("_pipe"):
        raise VideoError(path, "not_a_video", f"a still image or a text, read as {format_name!r}")
    # a song's cover picture is a video stream of one frame to FFmpeg
    streams = [stream for stream in container.streams.video if not _is_cover_picture(stream)]
    if not streams:
        kinds = sorted({stream.type for stream in container.streams})
        raise VideoError(path, "no_video_stream", f"streams: {', '.join(kinds) or 'none'}")
    if streams[0].codec_context is None:
        raise VideoError(path, "decode_failed", "no decoder for this codec")
    return streams[0]


def _is_cover_picture(stream: av.VideoStream) -> bool:
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


@dataclass(frozen=True)
class Orientation:
    """How to turn a stored picture into the displayed one: transpose first, then flip.

    The display matrix of ISO/IEC 14496-12 (tkhd) maps a stored point (x, y) to `(a x + c y, b x + d y)`. Phones write
    quarter turns, front cameras also mirrors; any other angle is taken to the nearest quarter turn.
    """

    transpose: bool = False
    flip_rows: bool = False
    flip_cols: bool = False

    @classmethod
    def of(cls, frame: av.VideoFrame) -> Orientation:
        """The orientation that a decoded frame's side data asks for."""
        matrix = frame.side_data.get("DISPLAYMATRIX")
        if matrix is None:
            return cls()
        a, b, _, c, d = np.frombuffer(bytes(matrix), dtype=np.int32)[:5].tolist()
        if abs(a) >= abs(b):
            return cls(False, flip_rows=d < 0, flip_cols=a < 0)
        return cls(True, flip_rows=b < 0, flip_cols=c < 0)

    @property
    def rotation_deg(self) -> int:
        """The clockwise turn: 0, 90, 180 or 270. Where the picture is also mirrored, the turn before the mirroring."""
        if self.transpose:
            return 270 if self.flip_rows else 90
        return 180 if self.flip_rows else 0

    @property
    def mirrored(self) -> bool:
        """Left and right are exchanged after the turn."""
        return self.flip_rows ^ self.flip_cols ^ self.transpose

    def apply(self, picture: np.ndarray) -> np.ndarray:
        """(rows, cols, channels) as stored to (height, width, channels) as displayed, without a copy."""
        if self.transpose:
            picture = picture.transpose(1, 0, 2)
        if self.flip_rows:
            picture = picture[::-1]
        return picture[:, ::-1] if self.flip_cols else picture
