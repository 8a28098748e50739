"""What is refused, in words for the visitor, and the checks that come before any decoding.

No message names a path. A file's first bytes must be those of a container of video: FFmpeg would also open playlists
and scripts, which name other files and addresses to read.
"""

from __future__ import annotations

import os
import time

from vidreason.errors import VideoError, VidreasonError
from vidreason.video.decode import open_video

from .settings import MIB, Limits

_HEADER_BYTES = 16
_MP4_ATOMS = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot")
_SIGNATURES = (
    b"\x1a\x45\xdf\xa3",  # Matroska, WebM
    b"OggS",
    b"FLV\x01",
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",  # ASF, WMV
    b"\x00\x00\x01\xba",  # MPEG program stream
    b"\x00\x00\x01\xb3",  # MPEG video
)
_TS_SYNC = 0x47

_TEXTS = {
    "missing": "The file did not arrive. Please upload it again.",
    "empty_file": "The file is empty.",
    "not_a_video": "This is no video that can be read here, or it was cut off. MP4, MOV, WebM, MKV and AVI files can.",
    "playlist": "The file is a playlist: it names other files, which are not opened.",
    "no_video_stream": "The file has no picture: it is sound or data alone, or its beginning is damaged.",
    "no_frames": "The video has no frames. It may have been cut off.",
    "decode_failed": "The video cannot be decoded. It may be damaged or cut off.",
    "too_large": "The frames of the video are too large.",
}


class Refused(VidreasonError):
    """A request is not carried out. `str()` is for the visitor: no path, no key, no trace.

    Args:
        reason: Word for programs, such as "too_long".
        text: Sentence for the visitor.
    """

    def __init__(self, reason: str, text: str):
        super().__init__(reason, text)
        self.reason, self.text = reason, text

    def __str__(self) -> str:
        return self.text


def refusal_of(error: VideoError, limits: Limits) -> Refused:
    """What a visitor is told of a video that cannot be used."""
    if error.reason == "too_large":
        return too_large(limits)
    return Refused(error.reason, _TEXTS[error.reason])


def too_large(limits: Limits) -> Refused:
    """The refusal of frames with too many pixels."""
    return Refused("too_large", f"{_TEXTS['too_large']} At most {limits.max_side_px} pixels on the longer side.")


def too_long(limits: Limits) -> Refused:
    """The refusal of a video that lasts too long, or says that it does."""
    return Refused("too_long", f"The video is too long. At most {limits.max_duration_s:g} seconds can be shown.")


def too_slow() -> Refused:
    """The refusal of a request that ran out of time."""
    return Refused("timeout", "This took too long and was stopped. A shorter or smaller video will work.")


def check_file(path: str | os.PathLike, limits: Limits) -> None:
    """Look at a file's size and first bytes.

    Raises:
        Refused: The file is missing, empty or too large, or no container of video.
    """
    try:
        size = os.stat(path).st_size
        with open(path, "rb") as file:
            header = file.read(_HEADER_BYTES)
    except OSError:
        raise Refused("missing", _TEXTS["missing"]) from None
    if size == 0:
        raise Refused("empty_file", _TEXTS["empty_file"])
    if size > limits.max_bytes:
        raise Refused("file_too_large", f"The file is too large. At most {limits.max_bytes // MIB} MB are taken.")
    if not is_video_header(header):
        raise Refused("not_a_video", _TEXTS["not_a_video"])


def is_video_header(header: bytes) -> bool:
    """Whether a file that begins so is a container of video."""
    if header[4:8] in _MP4_ATOMS or header.startswith(_SIGNATURES):
        return True
    return (header.startswith(b"RIFF") and header[8:12] == b"AVI ") or header[:1] == bytes([_TS_SYNC])


def check_statements(path: str | os.PathLike, limits: Limits) -> None:
    """Look at what a video says of itself, before any frame of it is decoded for us.

    Raises:
        VideoError: The video cannot be opened.
        Refused: The video says that it is too long or its frames too large.
    """
    with open_video(path, limits.max_pixels) as video:
        context = video.stream.codec_context
        if max(context.width, context.height) > limits.max_side_px:
            raise too_large(limits)
        stated_us = video.container.duration  # FFmpeg counts microseconds here; None where nothing is stated
        if stated_us is not None and stated_us / 1e6 > limits.max_duration_s + 0.5:
            raise too_long(limits)


class Deadline:
    """The time that a request has. Work looks at it between two steps.

    Args:
        seconds: Seconds from now.
    """

    def __init__(self, seconds: float):
        self._end = time.monotonic() + seconds

    def check(self) -> None:
        """Raise `Refused` once the time is over."""
        if time.monotonic() > self._end:
            raise too_slow()
