"""What is refused, in words for the visitor, and the checks that come before any decoding.

No message names a path. A file's first bytes must be those of a container of video: FFmpeg would also open playlists
and scripts, which name other files and addresses to read.
"""

from __future__ import annotations

import os
import threading
import time

from vidreason.errors import VideoError, VidreasonError
from vidreason.video.decode import list_packets, open_video

from .settings import MIB, Limits

_MP4_ATOMS = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot")
_SIGNATURES = (
    b"\x1a\x45\xdf\xa3",  # Matroska, WebM
    b"OggS\x00",  # and the version of the page, the only one there is
    b"FLV\x01",
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\x00\xaa\x00\x62\xce\x6c",  # ASF, WMV: the GUID of its header
    b"\x00\x00\x01\xba",  # MPEG program stream
    b"\x00\x00\x01\xb3",  # MPEG video
)

# A packet of a transport stream begins with this byte, which is also a capital G: only its repetition tells.
# Broadcasts and phones write packets of 188 bytes, cameras (M2TS) put four bytes of time before each.
_TS_SYNC = 0x47
_TS_PACKETS = ((0, 188), (4, 192))  # (bytes before the first sync byte, bytes from one to the next)
_TS_PACKETS_LOOKED_AT = 3

_HEADER_BYTES = max(start + step * (_TS_PACKETS_LOOKED_AT - 1) + 1 for start, step in _TS_PACKETS)

_TEXTS = {
    "missing": "The file did not arrive. Please upload it again.",
    "empty_file": "The file is empty.",
    "not_a_video": "This is no video that can be read here, or it was cut off. MP4, MOV, WebM, MKV and AVI files can.",
    "playlist": "The file is a playlist: it names other files, which are not opened.",
    "no_video_stream": "The file has no picture: it is sound or data alone, or its beginning is damaged.",
    "no_frames": "The video has no frames. It may have been cut off.",
    "decode_failed": "The video cannot be decoded. It may be damaged or cut off.",
    "too_large": "The frames of the video are too large.",
    "too_much": "The video has too many frames for their size. A shorter, slower or smaller one will work.",
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
    # the library may come to tell more kinds of bad files apart than there are words for here
    return Refused(error.reason, _TEXTS.get(error.reason, _TEXTS["not_a_video"]))


def too_large(limits: Limits) -> Refused:
    """The refusal of frames with too many pixels."""
    return Refused("too_large", f"{_TEXTS['too_large']} At most {limits.max_side_px} pixels on the longer side.")


def too_long(limits: Limits) -> Refused:
    """The refusal of a video that lasts too long, or says that it does."""
    return Refused("too_long", f"The video is too long. At most {limits.max_duration_s:g} seconds can be shown.")


def too_much() -> Refused:
    """The refusal of a video that would take too long to decode."""
    return Refused("too_much", _TEXTS["too_much"])


def undecodable() -> Refused:
    """The refusal of a video at which reading went wrong in a way that was not foreseen."""
    return Refused("decode_failed", _TEXTS["decode_failed"])


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
    """Whether a file that begins so is a container of video. Three packets of a transport stream are looked at."""
    if header[4:8] in _MP4_ATOMS or header.startswith(_SIGNATURES):
        return True
    if header.startswith(b"RIFF") and header[8:12] == b"AVI ":
        return True
    return any(_is_transport_stream(header, start, step) for start, step in _TS_PACKETS)


def _is_transport_stream(header: bytes, start: int, step: int) -> bool:
    sync_bytes = header[start : start + step * (_TS_PACKETS_LOOKED_AT - 1) + 1 : step]
    return sync_bytes == bytes([_TS_SYNC]) * _TS_PACKETS_LOOKED_AT


def check_statements(path: str | os.PathLike, limits: Limits) -> None:
    """Look at what a video says of itself and list its packets, before any frame of it is decoded for us.

    Raises:
        VideoError: The video cannot be opened.
        Refused: The video says that it is too long or its frames too large, or it has more of them than there is time.
    """
    with open_video(path, limits.max_pixels) as video:
        context = video.stream.codec_context
        if max(context.width, context.height) > limits.max_side_px:
            raise too_large(limits)
        stated_us = video.container.duration  # FFmpeg counts microseconds here; None where nothing is stated
        if stated_us is not None and stated_us / 1e6 > limits.max_duration_s + 0.5:
            raise too_long(limits)
        # some files have to be decoded to count their frames; packets are counted without that
        num_packets = len(list_packets(video).packets)
        if num_packets > limits.max_frames:
            raise too_long(limits)
        if num_packets * context.width * context.height > limits.max_decoded_pixels:
            raise too_much()


class Deadline:
    """The time that a request has. Work looks at it between two steps.

    Args:
        seconds: Seconds from now.
        closing: Is set when the app ends, and the time of all requests with it.
    """

    def __init__(self, seconds: float, closing: threading.Event | None = None):
        self._end, self._closing = time.monotonic() + seconds, closing

    @property
    def left_s(self) -> float:
        """Seconds that are left, below zero once the time is over."""
        return self._end - time.monotonic()

    def check(self) -> None:
        """Raise `Refused` once the time is over."""
        if self.left_s < 0 or (self._closing is not None and self._closing.is_set()):
            raise too_slow()
